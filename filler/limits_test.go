package filler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
		src.checkRate(t, 2000+2*256)
		if n := len(src.batches); n > 40_000 {
			t.Errorf("%d batches for 100,000 keys: the pace of tokens made single keys", n)
		}
		r.close()
	})
}

// TestRatesHoldWhateverHappens has routes share sources that are slow, fail, and take their time to tell their types: in no second is a
// source asked for more than its rate and what can be under way at once, nor a route for more than its own.
func TestRatesHoldWhateverHappens(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) { playRates(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func playRates(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 4))
	s := newShelf(t)
	o := Options{Hooks: s.hooks(), Logger: zerolog.Nop(), RingSize: 1 << 14, Retries: 3}
	names := []string{"a", "b"}
	fakes := map[string]*fake{}
	under := map[string]int{}
	rates := map[string]float64{}
	for _, name := range names {
		src := newFake()
		for i := range 3000 {
			if rnd.IntN(2) == 0 {
				src.rows[fmt.Sprint("k", i)] = "row"
			}
		}
		slow, bad := time.Duration(rnd.IntN(300))*time.Millisecond, rnd.IntN(5)
		src.err = func([]string) error {
			time.Sleep(slow)
			if bad == 0 && rand.IntN(4) == 0 {
				return &Error{FaultTransient, errors.New("deadlock")}
			}
			return nil
		}
		fakes[name], rates[name] = src, float64(20+rnd.IntN(400))
		spec := SourceSpec{Name: name, Source: src, Rate: rates[name]}
		if rnd.IntN(2) == 0 {
			spec.Source = &typed{fake: src, slow: time.Duration(rnd.IntN(2000)) * time.Millisecond}
		}
		o.Sources = append(o.Sources, spec)
	}
	own := map[uint16]*fake{} // what each route asked of its first source
	for id := uint16(1); id <= 3; id++ {
		l := Limits{Rate: float64(20 + rnd.IntN(300)), Batch: 1 + rnd.IntN(60), Concurrency: 1 + rnd.IntN(3), Queue: 5000, Window: 20 * time.Millisecond}
		if rnd.IntN(2) == 0 {
			l.NegativesRate = float64(10 + rnd.IntN(100))
		}
		r := Route{ID: id, Name: fmt.Sprint("r", id), Sources: [][]string{{"a"}, {"b"}, {"a", "b"}, {"b", "a"}}[rnd.IntN(4)], Limits: l}
		for _, name := range r.Sources {
			under[name] += l.Batch * l.Concurrency
		}
		o.Routes = append(o.Routes, r)
		own[id] = newFake()
	}
	for i, spec := range o.Sources {
		impl := spec.Source
		note := func(b *Batch) {
			if f := own[b.Route().ID]; b.Route().Sources[0] == spec.Name {
				f.mu.Lock()
				f.times, f.batches = append(f.times, time.Now()), append(f.batches, make([]string, b.Len()))
				f.mu.Unlock()
			}
		}
		if ty, ok := impl.(*typed); ok {
			ty.note = note
		} else {
			o.Sources[i].Source = SourceFunc(func(ctx context.Context, b *Batch) error {
				note(b)
				return impl.Load(ctx, b)
			})
		}
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ring := f.NewRing()
	handed := 0
	for i := range 3000 {
		key := fmt.Sprint("k", i)
		_, l := s.get(key)
		if ring.Push(uint16(1+i%3), Lane(rnd.IntN(4)), l, []byte(key)) {
			handed++
		}
		if rnd.IntN(100) == 0 {
			ring.Flush()
			pass(time.Duration(rnd.IntN(1000)) * time.Millisecond)
		}
	}
	ring.Flush()
	synctest.Wait() // until the filler has taken the last keys off the ring: before that no queue counts them
	for range 600 {
		queued := int64(0)
		for _, st := range f.Stats() {
			queued += st.Queued + st.InFlight
		}
		if queued == 0 {
			break
		}
		pass(time.Second)
	}
	for _, st := range f.Stats() {
		if st.Queued+st.InFlight != 0 {
			t.Errorf("seed %d: route %s has %d keys left after ten minutes: %+v", seed, st.Name, st.Queued, st)
		}
	}
	f.Shutdown(t.Context())
	s.checkAllEnded(handed)
	for name, src := range fakes {
		src.checkRate(t, int(rates[name])+under[name])
	}
	for _, r := range o.Routes {
		own[r.ID].checkRate(t, int(r.Limits.Rate)+r.Limits.Batch*r.Limits.Concurrency)
	}
}

// TestNegativesRate floods a route with keys that do not exist: they are asked at negatives_rate, oldest first, while refills
// go on, and the route says so.
func TestNegativesRate(t *testing.T) {
	for _, lane := range []Lane{LaneMiss, LaneWarm} {
		t.Run(lane.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFake()
				r := newRig(t, src, func(o *Options) {
					o.Routes[0].Limits = Limits{NegativesRate: 100, Concurrency: 1, Batch: 50}
				})
				for i := range 2000 {
					r.ask(fmt.Sprint("random", i), lane)
				}
				pass(10 * time.Second)
				if n := r.stats().Absent; n < 990 || n > 1050 {
					t.Errorf("%d absent keys asked in 10 s, want 1,000 and a burst of 50", n)
				}
				src.checkRate(t, 100+50)
				if st := r.stats(); !st.NegativesHeld || st.NegativesOpened != 1 {
					t.Errorf("held %v, opened %d, want it to be seen", st.NegativesHeld, st.NegativesOpened)
				}
				if src.asked["random0"] != 1 || src.asked["random900"] != 1 || src.asked["random1200"] != 0 {
					t.Error("not the oldest first")
				}
				src.add("held", "row")
				for _, l := range []Lane{LaneStale, LaneRefresh} {
					r.shelf.del("held")
					r.ask("held", l)
					synctest.Wait()
					if r.shelf.value("held") == "" {
						t.Errorf("a %v refill waits behind random keys", l)
					}
				}
				pass(11 * time.Second)
				if st := r.stats(); st.NegativesHeld || st.Queued != 0 || st.Absent != 2000 {
					t.Errorf("held %v, queued %d, absent %d after the flood", st.NegativesHeld, st.Queued, st.Absent)
				}
				r.close()
			})
		})
	}
}

// TestNegativesDrain has 100,000 keys without rows drain at 2,000 a second.
func TestNegativesDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		r := newRig(t, src, func(o *Options) {
			o.Routes[0].Limits = Limits{NegativesRate: 2000}
			o.RingSize = 1 << 17
		})
		for i := range 100_000 {
			r.get(fmt.Sprint("k", i))
		}
		pass(51 * time.Second)
		if st := r.stats(); st.Absent != 100_000 || st.Queued != 0 {
			t.Errorf("%d absent, %d queued after 51 s", st.Absent, st.Queued)
		}
		src.checkRate(t, 2000+2*256)
		r.close()
	})
}

// TestFailuresAreNoNegatives: what could not be asked takes nothing of negatives_rate, and what is asked again is not stopped.
func TestFailuresAreNoNegatives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		failing := true
		src.err = func([]string) error {
			if failing {
				return &Error{FaultTransient, errors.New("deadlock")}
			}
			return nil
		}
		r := newRig(t, src, func(o *Options) {
			o.Routes[0].Limits = Limits{NegativesRate: 1, Concurrency: 1, Batch: 10}
			o.Retries = 100
		})
		for i := range 100 {
			r.get(fmt.Sprint("k", i))
			src.add(fmt.Sprint("k", i), "row")
		}
		pass(5 * time.Second)
		if st := r.stats(); st.NegativesHeld || st.NegativesOpened != 0 {
			t.Errorf("held %v, opened %d times by errors", st.NegativesHeld, st.NegativesOpened)
		}
		src.mu.Lock()
		failing = false
		src.mu.Unlock()
		pass(3 * time.Second)
		if n := r.stats().Stored; n != 100 {
			t.Errorf("stored %d of 100", n)
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
