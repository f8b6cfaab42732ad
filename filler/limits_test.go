package filler

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

func TestBatchesGatherOnlyWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		r := newRig(t, src, func(o *Options) { o.Routes[0].Limits.Batch = 10 })
		r.get("first")
		synctest.Wait()
		if got := src.lens(); got != "1" {
			t.Fatalf("a free slot: batches %s, want 1 at once", got)
		}
		for i := range 25 {
			r.get(fmt.Sprint("k", i))
		}
		synctest.Wait()
		if got := src.lens(); got != "1" {
			t.Errorf("all slots busy: batches %s, want 1", got)
		}
		for range 4 {
			src.gate <- struct{}{}
			synctest.Wait()
		}
		if got := src.lens(); got != "1 10 10 5" {
			t.Errorf("batches %s, want 1 10 10 5", got)
		}
		r.close()
	})
}

func TestLanesAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		r := newRig(t, src, func(o *Options) { o.Routes[0].Limits.Batch = 2 })
		r.get("busy")
		synctest.Wait()
		for _, lane := range []Lane{LaneWarm, LaneRefresh, LaneStale, LaneMiss} {
			r.ask(fmt.Sprint(lane, "-1"), lane)
			r.ask(fmt.Sprint(lane, "-2"), lane)
		}
		for range 5 {
			src.gate <- struct{}{}
			synctest.Wait()
		}
		want := "[[busy] [miss-1 miss-2] [stale-1 stale-2] [refresh-1 refresh-2] [warm-1 warm-2]]"
		if got := fmt.Sprint(src.batches); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		r.close()
	})
}

func TestQueueBoundsLeaveRoomForMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		r := newRig(t, src, func(o *Options) { o.Routes[0].Limits.Queue = 8 })
		r.get("busy")
		synctest.Wait()
		for i := range 20 {
			r.ask(fmt.Sprint("w", i), LaneWarm)
			r.ask(fmt.Sprint("r", i), LaneRefresh)
		}
		for i := range 20 {
			r.get(fmt.Sprint("m", i))
		}
		synctest.Wait()
		st := r.stats()
		if st.Queued != 8 {
			t.Errorf("queued %d, want 8", st.Queued)
		}
		drops := st.Dropped[DropQueueFull]
		if drops[LaneWarm] == 0 || drops[LaneRefresh] == 0 || drops[LaneMiss] != 18 {
			t.Errorf("dropped %v, want 18 misses and some of the others", drops)
		}
		close(src.gate)
		synctest.Wait()
		if src.asked["m0"] != 1 || src.asked["m1"] != 1 || src.asked["m2"] != 0 {
			t.Error("not the oldest misses were kept")
		}
		r.close()
	})
}

// TestRateHolds drains 100,000 keys at 2,000 rows a second and looks at every second of it.
func TestRateHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		r := newRig(t, src, func(o *Options) {
			o.Routes[0].Limits = Limits{Rate: 2000, Concurrency: 2, Batch: 256}
			o.RingSize = 1 << 17
		})
		start := time.Now()
		for i := range 100_000 {
			r.get(fmt.Sprint("k", i))
		}
		for r.stats().Absent < 100_000 {
			pass(time.Second)
			if time.Since(start) > 2*time.Minute {
				t.Fatalf("only %d keys in two minutes", r.stats().Absent)
			}
		}
		if took := time.Since(start); took < 48*time.Second || took > 55*time.Second {
			t.Errorf("100,000 keys at 2,000 a second took %v", took)
		}
		from, rows := 0, 0
		for i, at := range src.times {
			rows += len(src.batches[i])
			for at.Sub(src.times[from]) >= time.Second {
				rows -= len(src.batches[from])
				from++
			}
			if rows > 2000+2*256 {
				t.Fatalf("%d rows in one second", rows)
			}
		}
		if n := len(src.batches); n > 40_000 {
			t.Errorf("%d batches for 100,000 keys: the pace of tokens made single keys", n)
		}
		r.close()
	})
}

// TestNegativesRate floods a route with keys that do not exist: they are asked at negatives_rate, while refills and found
// keys go on.
func TestNegativesRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		r := newRig(t, src, func(o *Options) {
			o.Routes[0].Limits = Limits{NegativesRate: 100, Concurrency: 1, Batch: 50}
		})
		for i := range 4000 {
			r.get(fmt.Sprint("random", i))
		}
		pass(10 * time.Second)
		if n := r.stats().Absent; n < 1000 || n > 1200 {
			t.Errorf("%d absent keys asked in 10 s, want 1,000 and a burst", n)
		}
		src.add("held", "row")
		r.ask("held", LaneStale)
		synctest.Wait()
		if r.shelf.value("held") == "" {
			t.Error("a refill waits behind random keys")
		}
		r.close()
	})
}

func TestFoundKeysAreNotHeldBackByNegativesRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		r := newRig(t, src, func(o *Options) {
			o.Routes[0].Limits = Limits{NegativesRate: 10, Concurrency: 1, Batch: 50}
		})
		for i := range 3000 {
			src.add(fmt.Sprint("k", i), "row")
			r.get(fmt.Sprint("k", i))
		}
		pass(100 * time.Millisecond)
		if n := r.stats().Stored; n != 3000 {
			t.Errorf("stored %d of 3,000", n)
		}
		r.close()
	})
}

func TestMaxLoadsHoldsAcrossRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		r := newRig(t, src, func(o *Options) {
			o.Sources[0].MaxLoads = 3
			o.Routes[0].Limits.Concurrency = 2
			o.Routes = append(o.Routes, o.Routes[0])
			o.Routes[1].ID, o.Routes[1].Name = 2, "s"
		})
		for i := range 6 {
			k := fmt.Sprint("k", i)
			_, l := r.shelf.get(k)
			r.ring.Push(uint16(i%2+1), LaneMiss, l, []byte(k))
			r.ring.Flush()
			synctest.Wait()
		}
		if n := len(src.batches); n != 3 {
			t.Errorf("%d loads at once, want 3", n)
		}
		close(src.gate)
		synctest.Wait()
		if st := r.f.Stats(); st[0].Absent != 3 || st[1].Absent != 3 {
			t.Errorf("absent %d and %d, want 3 each", st[0].Absent, st[1].Absent)
		}
		r.f.Shutdown(t.Context())
	})
}

func TestLogIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		src := newFake()
		src.set(func([]string) error { return errors.New("no such table") }, nil)
		r := newRig(t, src, func(o *Options) { o.Logger = zerolog.New(&log) })
		for i := range 100 {
			r.get(fmt.Sprint("k", i))
			pass(100 * time.Millisecond)
		}
		r.close()
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("%d lines in 10 s of errors, want 2:\n%s", n, log.String())
		}
	})
}
