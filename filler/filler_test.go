package filler

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

var errRefused = &Error{FaultDown, errors.New("connection refused")}

func TestMissIsLoadedByOrd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newFake("a", "b", "c"), nil)
		for _, k := range []string{"a", "b", "none", "c"} {
			if v := r.get(k); v != "" {
				t.Errorf("cold %s: got %q", k, v)
			}
		}
		synctest.Wait()
		for _, k := range []string{"a", "b", "c"} {
			if got, want := r.get(k), "row of "+k; got != want {
				t.Errorf("%s: got %q, want %q", k, got, want)
			}
		}
		if r.shelf.absent["none"] != 1 {
			t.Errorf("absent: got %v, want none once", r.shelf.absent)
		}
		r.close()
	})
}

// TestOneColdKeyIsOneRow has 200 producers ask one key over and over while its load is under way.
func TestOneColdKeyIsOneRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake("cold")
		src.gate = make(chan struct{})
		r := newRig(t, src, nil)
		s := r.shelf
		handed := make(chan int)
		for range 200 {
			go func() {
				ring := r.f.NewRing()
				n := 0
				for range 50 {
					if _, l := s.get("cold"); l.Serial != 0 {
						if ring.Push(1, LaneMiss, l, []byte("cold")) {
							n++
						}
					}
					ring.Flush()
				}
				ring.Close()
				handed <- n
			}()
		}
		for range 200 {
			r.handed += <-handed
		}
		synctest.Wait()
		src.gate <- struct{}{}
		synctest.Wait()
		if got := src.asked["cold"]; got != 1 {
			t.Errorf("the source was asked %d times, want 1", got)
		}
		if st := r.stats(); st.Asked != 1 || st.Rows != 1 || st.Stored != 1 {
			t.Errorf("asked %d, rows %d, stored %d, want 1 each", st.Asked, st.Rows, st.Stored)
		}
		if n := len(r.f.rings); n != 1 {
			t.Errorf("%d rings left, want the open one", n)
		}
		r.close()
	})
}

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

// TestKillWins plays a client's set and delete against every station of a load, with and without a new lease after it.
func TestKillWins(t *testing.T) {
	stations := []string{"before push", "queued", "loading", "before put", "after put"}
	for _, station := range stations {
		for _, write := range []string{"set", "delete"} {
			for _, again := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/again=%v", station, write, again), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { playKill(t, station, write, again) })
				})
			}
		}
	}
}

func playKill(t *testing.T, station, write string, again bool) {
	src := newFake("k")
	src.gate = make(chan struct{}, 10)
	r := newRig(t, src, nil)
	kill := func() {
		src.add("k", "new row")
		if write == "set" {
			r.shelf.set("k", "client's")
		} else {
			r.shelf.del("k")
		}
		if again && write == "delete" {
			r.get("k")
		}
	}
	if station == "queued" {
		r.get("busy") // takes the only slot
		synctest.Wait()
	}
	if station == "before put" {
		once := false
		r.shelf.putHook = func(string) {
			if !once {
				once = true
				kill()
			}
		}
	}
	_, l := r.shelf.get("k")
	if station == "before push" {
		kill()
	}
	if !r.ring.Push(1, LaneMiss, l, []byte("k")) {
		t.Fatal("push refused")
	}
	r.handed++
	r.ring.Flush()
	synctest.Wait()
	if station == "queued" || station == "loading" {
		kill()
	}
	for range 4 {
		src.gate <- struct{}{}
		synctest.Wait()
	}
	if station == "after put" {
		kill()
		synctest.Wait()
	}
	want := ""
	switch {
	case write == "set":
		want = "client's"
	case again:
		want = "new row"
	}
	if got := r.shelf.value("k"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	st := r.stats()
	if station == "before push" || station == "queued" {
		if st.Skipped != 1 {
			t.Errorf("skipped %d, want the killed lease not to be sent", st.Skipped)
		}
	}
	if station == "loading" || station == "before put" {
		if st.Killed != 1 {
			t.Errorf("killed %d, want 1", st.Killed)
		}
	}
	r.close()
}

func TestShutdownEndsEveryLease(t *testing.T) {
	for _, station := range []string{"on the ring", "queued", "loading", "backing off", "down"} {
		t.Run(station, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFake()
				src.gate = make(chan struct{})
				r := newRig(t, src, nil)
				switch station {
				case "on the ring": // pushed without a flush
					_, l := r.shelf.get("k")
					r.ring.Push(1, LaneMiss, l, []byte("k"))
					r.handed++
				case "queued", "loading":
					r.get("a")
					synctest.Wait()
					if station == "queued" {
						for i := range 500 {
							r.get(fmt.Sprint("k", i))
						}
						synctest.Wait()
					}
				default:
					src.set(func([]string) error { return errRefused }, nil)
					for i := range 10 {
						r.get(fmt.Sprint("k", i))
					}
					synctest.Wait()
					if station == "down" {
						time.Sleep(10 * time.Second)
					}
				}
				r.close()
				if _, l := r.shelf.get("late"); r.ring.Push(1, LaneMiss, l, []byte("late")) || r.f.NewRing().Push(1, LaneMiss, l, nil) {
					t.Error("a closed filler took a lease")
				}
				if err := r.f.Shutdown(t.Context()); !errors.Is(err, ErrClosed) {
					t.Errorf("second Shutdown: got %v", err)
				}
			})
		})
	}
}

// TestShutdownDoesNotWaitForDeafSource has a source that ignores its context: the leases are ended all the same, once.
func TestShutdownDoesNotWaitForDeafSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		r := newRig(t, newFake(), func(o *Options) {
			o.Sources[0].Source = SourceFunc(func(context.Context, *Batch) error { <-free; return nil })
		})
		r.get("a")
		synctest.Wait()
		r.get("b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.f.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		r.shelf.checkAllEnded(2)
		close(free)
		synctest.Wait()
		r.shelf.checkAllEnded(2)
	})
}

func TestPanicAndGoexitFailTheBatch(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("boom") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFake("good")
				r := newRig(t, src, func(o *Options) { o.Routes[0].Limits.Concurrency = 2 })
				src.set(func(keys []string) error {
					if keys[0] == "bad" {
						end()
					}
					return nil
				}, nil)
				r.get("bad")
				synctest.Wait()
				r.get("good")
				synctest.Wait()
				st := r.stats()
				if st.Panics != 1 || st.Failed != 1 || st.Stored != 1 {
					t.Errorf("panics %d, failed %d, stored %d, want 1 each", st.Panics, st.Failed, st.Stored)
				}
				r.close()
			})
		})
	}
}

func TestQueryErrorFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.set(func([]string) error { return errors.New("relation does not exist") }, nil)
		r := newRig(t, src, nil)
		r.get("a")
		synctest.Wait()
		if st := r.stats(); r.shelf.failed["a"] != 1 || st.QueryErrors != 1 || st.Retried != 0 || st.Down {
			t.Errorf("failed %v, %+v", r.shelf.failed, st)
		}
		r.close()
	})
}

func TestTransientErrorsAreRetriedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake("a")
		n := 0
		src.set(func([]string) error {
			if n++; n <= 3 {
				return &Error{FaultTransient, errors.New("deadlock detected")}
			}
			return nil
		}, nil)
		r := newRig(t, src, nil)
		r.get("a")
		time.Sleep(5 * time.Second)
		if got := r.shelf.value("a"); got != "row of a" {
			t.Errorf("got %q", got)
		}
		for i := 1; i < len(src.times); i++ {
			wait := src.times[i].Sub(src.times[i-1])
			if most := retryFirst << (i - 1); wait < most/2 || wait > most+time.Millisecond {
				t.Errorf("retry %d after %v, want %v to %v", i, wait, most/2, most)
			}
		}
		if st := r.stats(); st.Retried != 3 || st.SourceErrors != 3 || st.Down {
			t.Errorf("%+v", st)
		}
		r.close()
	})
}

func TestRetriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake("a")
		src.set(func([]string) error { return &Error{FaultTransient, errors.New("conflict with recovery")} }, nil)
		r := newRig(t, src, func(o *Options) { o.Retries = 2 })
		r.get("a")
		time.Sleep(time.Minute)
		if len(src.batches) != 3 || r.shelf.failed["a"] != 1 {
			t.Errorf("asked %d times, failed %v, want 3 times and then failed", len(src.batches), r.shelf.failed)
		}
		r.close()
	})
}

func TestBreakerParksMissesAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		for i := range 50 {
			src.add(fmt.Sprint("k", i), "row")
		}
		src.set(func([]string) error { return errRefused }, nil)
		r := newRig(t, src, func(o *Options) { o.Routes[0].Limits.Queue = 20 })
		r.get("k0")
		time.Sleep(2 * time.Second)
		if got := r.shelf.downs(); got != "[true]" || !r.stats().Down {
			t.Fatalf("SourceDown calls %s, want one", got)
		}
		loads := len(src.batches)
		for i := 1; i < 50; i++ {
			r.get(fmt.Sprint("k", i))
		}
		time.Sleep(30 * time.Second)
		if n := len(src.batches) - loads; n > 70 {
			t.Errorf("%d loads in 30 s against a dead source, want at most two probes a second", n)
		}
		if got := r.stats().Dropped[DropQueueFull][LaneMiss]; got < 29 {
			t.Errorf("dropped %d misses beyond the queue's 20, want at least 29", got)
		}
		src.set(nil, nil)
		time.Sleep(2 * time.Second)
		if got := r.shelf.downs(); got != "[true false]" {
			t.Errorf("SourceDown calls %s, want down and up", got)
		}
		if r.shelf.value("k1") == "" || r.shelf.value("k15") == "" || r.shelf.value("k49") != "" {
			t.Error("the oldest misses were not the ones kept")
		}
		r.close()
	})
}

// pinging is a source whose probe is a ping.
type pinging struct {
	*fake
	down  func() error
	pings int
}

func (p *pinging) Ping(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pings++
	return p.down()
}

func TestDownAtStartIsNoticedByPingAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake("a")
		var err error = errRefused
		p := &pinging{fake: src, down: func() error { return err }}
		src.set(func([]string) error { return err }, nil)
		r := newRig(t, src, func(o *Options) { o.Sources[0].Source = p })
		synctest.Wait()
		if got := r.shelf.downs(); got != "[true]" {
			t.Fatalf("SourceDown calls %s, want down by the first ping", got)
		}
		r.get("a")
		time.Sleep(10 * time.Second)
		if len(src.batches) != 0 {
			t.Errorf("a key was asked of a source that is down")
		}
		if p.pings < 10 || p.pings > 30 {
			t.Errorf("%d pings in 10 s, want one or two a second", p.pings)
		}
		src.mu.Lock()
		err = nil
		src.mu.Unlock()
		src.set(nil, nil)
		time.Sleep(1200 * time.Millisecond)
		if got := r.shelf.value("a"); got != "row of a" {
			t.Errorf("got %q after the source came up", got)
		}
		if got := r.shelf.downs(); got != "[true false]" {
			t.Errorf("SourceDown calls %s", got)
		}
		r.close()
	})
}

func TestFrozenSourceIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake("a")
		src.gate = make(chan struct{})
		r := newRig(t, src, func(o *Options) { o.Sources[0].Timeout = time.Second })
		r.get("a")
		synctest.Wait()
		time.Sleep(1499 * time.Millisecond)
		if r.stats().CutOff != 0 {
			t.Error("cut off before the statement timeout and its grace")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if r.stats().CutOff != 1 {
			t.Error("not cut off 500 ms after the statement timeout")
		}
		src.set(nil, nil)
		time.Sleep(time.Second)
		if got := r.shelf.value("a"); got != "row of a" {
			t.Errorf("got %q after the thaw: the lease did not survive its wait", got)
		}
		r.close()
	})
}

func TestDataErrorIsBisected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		src.err = func(keys []string) error {
			for _, k := range keys {
				if k == "k13" || k == "k77" {
					return &Error{FaultData, errors.New("invalid input syntax")}
				}
			}
			return nil
		}
		r := newRig(t, src, nil)
		r.get("busy")
		synctest.Wait()
		for i := range 100 {
			k := fmt.Sprint("k", i)
			src.add(k, "row")
			r.get(k)
		}
		close(src.gate)
		time.Sleep(time.Second)
		st := r.stats()
		if st.Stored != 98 || st.Failed != 2 || st.DataErrors != 2 || r.shelf.failed["k13"] != 1 || r.shelf.failed["k77"] != 1 {
			t.Errorf("stored %d, failed %v, data errors %d", st.Stored, r.shelf.failed, st.DataErrors)
		}
		if st.Batches > 30 {
			t.Errorf("%d batches for two bad keys of 100", st.Batches)
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
			time.Sleep(time.Second)
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
		time.Sleep(10 * time.Second)
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
		time.Sleep(100 * time.Millisecond)
		if n := r.stats().Stored; n != 3000 {
			t.Errorf("stored %d of 3,000", n)
		}
		r.close()
	})
}

func TestOddRowsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newFake(), func(o *Options) {
			o.Sources[0].Source = SourceFunc(func(_ context.Context, b *Batch) error {
				row := func(ord int64, s string) { b.Row(ord, []Value{{Text, []byte(s)}}) }
				row(0, "x")
				row(int64(b.Len())+1, "x")
				row(-5, "x")
				row(1, "first")
				row(1, "second")
				return nil
			})
		})
		r.get("a")
		synctest.Wait()
		if got := r.shelf.value("a"); got != "first" {
			t.Errorf("got %q, want the first row", got)
		}
		if st := r.stats(); st.BadOrd != 3 || st.ExtraRows != 1 || st.Rows != 5 {
			t.Errorf("bad ord %d, extra rows %d, rows %d, want 3, 1, 5", st.BadOrd, st.ExtraRows, st.Rows)
		}
		r.close()
	})
}

func TestNullIsNoRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newFake(), func(o *Options) {
			o.Sources[0].Source = SourceFunc(func(_ context.Context, b *Batch) error {
				b.Row(1, []Value{{Kind: Null}})
				return nil
			})
		})
		r.get("a")
		synctest.Wait()
		if r.shelf.absent["a"] != 1 {
			t.Error("a NULL value is not absent")
		}
		r.close()
	})
}

func TestRowsList(t *testing.T) {
	for enc, want := range map[Encoding][2]string{
		EncodeJSON: {`["a1","a2"]`, `["b1"]`},
		EncodePHP:  {`a:2:{i:0;s:2:"a1";i:1;s:2:"a2";}`, `a:1:{i:0;s:2:"b1";}`},
	} {
		t.Run(fmt.Sprint(enc), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFake()
				src.gate = make(chan struct{})
				r := newRig(t, src, func(o *Options) {
					o.Routes[0].Encode, o.Routes[0].Rows = enc, RowsList
					o.Sources[0].Source = SourceFunc(func(ctx context.Context, b *Batch) error {
						src.Load(ctx, b)
						for _, s := range []string{"a1", "b1", "a2"} { // rows of two keys, mixed
							for i := range b.Len() {
								if b.Key(i)[0] == s[0] {
									b.Row(int64(i+1), []Value{{Text, []byte(s)}})
								}
							}
						}
						return nil
					})
				})
				r.get("x")
				synctest.Wait()
				r.get("a")
				r.get("b")
				r.get("none")
				close(src.gate)
				synctest.Wait()
				if got := [2]string{r.shelf.value("a"), r.shelf.value("b")}; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if r.shelf.absent["none"] != 1 {
					t.Error("a key without rows is not absent")
				}
				r.close()
			})
		})
	}
}

func TestFirstSourceWithARowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, main := newFake("a"), newFake("a", "b")
		old.add("a", "old row")
		r := newRig(t, old, func(o *Options) {
			o.Sources = append(o.Sources, SourceSpec{Name: "second", Source: main})
			o.Routes[0].Sources = []string{"main", "second"}
		})
		for _, k := range []string{"a", "b", "c"} {
			r.get(k)
			synctest.Wait()
		}
		if r.shelf.value("a") != "old row" || r.shelf.value("b") != "row of b" || r.shelf.absent["c"] != 1 || main.asked["a"] != 0 {
			t.Errorf("a %q, b %q, absent %v, second asked %v", r.shelf.value("a"), r.shelf.value("b"), r.shelf.absent, main.asked)
		}
		// Without the first, rows of the second still count, but nobody can say that a key is absent.
		old.set(func([]string) error { return errRefused }, nil)
		r.get("x")
		time.Sleep(time.Second)
		main.add("d", "row of d")
		r.get("d")
		r.get("e")
		time.Sleep(3 * time.Second)
		if r.shelf.value("d") != "row of d" || r.shelf.absent["e"] != 0 || r.shelf.failed["e"] != 1 {
			t.Errorf("d %q, e absent %d, failed %d", r.shelf.value("d"), r.shelf.absent["e"], r.shelf.failed["e"])
		}
		if got := r.shelf.downs(); got != "[]" {
			t.Errorf("SourceDown calls %s, want none while one source is up", got)
		}
		r.close()
	})
}

// typed is a source with parameter types.
type typed struct {
	*fake
	params Params
	err    error
}

func (s *typed) Params(context.Context, *Route) (Params, error) { return s.params, s.err }

func TestBadPartsAreNeverAsked(t *testing.T) {
	split := func(dst []Part, key []byte) []Part { // int:text, - is absent
		for v := range strings.SplitSeq(string(key), ":") {
			dst = append(dst, Part{[]byte(v), v != "-"})
		}
		return dst
	}
	tests := map[string]struct {
		types []ParamType
		key   string
		bad   bool
	}{
		"int16":        {[]ParamType{ParamInt16, ParamText}, "32767:a", false},
		"int16 over":   {[]ParamType{ParamInt16, ParamText}, "32768:a", true},
		"int32":        {[]ParamType{ParamInt32, ParamText}, "-2147483648:a", false},
		"int32 under":  {[]ParamType{ParamInt32, ParamText}, "-2147483649:a", true},
		"int64 over":   {[]ParamType{ParamInt64, ParamText}, "9223372036854775808:a", true},
		"not a number": {[]ParamType{ParamInt64, ParamText}, "x:a", true},
		"absent int":   {[]ParamType{ParamInt64, ParamText}, "-:a", false},
		"not UTF-8":    {[]ParamType{ParamInt64, ParamText}, "1:\xff", true},
		"NUL":          {[]ParamType{ParamInt64, ParamText}, "1:a\x00", true},
		"unused":       {[]ParamType{ParamUnused, ParamUnused}, "99999999999999999999:\xff", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFake("1:warm")
				r := newRig(t, src, func(o *Options) {
					o.Sources[0].Source = &typed{fake: src, params: Params{Parts: tt.types}}
					o.Routes[0].Parts = []PartSpec{{Name: "n", Int: true}, {Name: "s"}}
					o.Routes[0].Split = split
				})
				for range 2 { // types unknown first, checked in the load; then known, checked before the queue
					r.get(tt.key)
					synctest.Wait()
					r.get("1:warm")
					synctest.Wait()
				}
				asked := src.asked[tt.key] > 0
				if asked == tt.bad {
					t.Errorf("asked %v, want %v", asked, !tt.bad)
				}
				if got := r.stats().BadPart; (got > 0) != tt.bad {
					t.Errorf("bad_part %d", got)
				}
				if r.shelf.absent[tt.key] != 2 {
					t.Errorf("absent %d times, want 2", r.shelf.absent[tt.key])
				}
				r.close()
			})
		})
	}
}

func TestRouteOffEndsItsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake("a", "b", "c")
		src.gate = make(chan struct{})
		r := newRig(t, src, nil)
		r.get("a")
		synctest.Wait()
		r.get("b")
		synctest.Wait()
		if !r.f.SetOff("r", true) || r.f.SetOff("no such route", true) {
			t.Error("SetOff does not know its routes")
		}
		synctest.Wait()
		r.get("c")
		synctest.Wait()
		st := r.stats()
		if st.Dropped[DropOff][LaneMiss] != 2 || st.Queued != 0 || !st.Off {
			t.Errorf("dropped %v, queued %d", st.Dropped[DropOff], st.Queued)
		}
		src.gate <- struct{}{}
		synctest.Wait()
		if r.shelf.value("a") == "" {
			t.Error("a load under way did not finish")
		}
		r.f.SetOff("r", false)
		r.get("b")
		synctest.Wait()
		src.gate <- struct{}{}
		synctest.Wait()
		if r.shelf.value("b") == "" {
			t.Error("the route did not come back")
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

func TestUnknownRouteEndsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newFake(), nil)
		_, l := r.shelf.get("k")
		r.ring.Push(99, LaneMiss, l, []byte("k"))
		r.ring.Close()
		synctest.Wait()
		r.shelf.checkAllEnded(1)
		if _, n := r.f.RingFull(); n != 1 {
			t.Errorf("counted %d, want 1", n)
		}
		r.close0()
	})
}

func (r *rig) close0() { r.f.Shutdown(context.Background()) }

func TestLogIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		src := newFake()
		src.set(func([]string) error { return errors.New("no such table") }, nil)
		r := newRig(t, src, func(o *Options) { o.Logger = zerolog.New(&log) })
		for i := range 100 {
			r.get(fmt.Sprint("k", i))
			time.Sleep(100 * time.Millisecond)
		}
		r.close()
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("%d lines in 10 s of errors, want 2:\n%s", n, log.String())
		}
	})
}

func TestNewRefusesMistakes(t *testing.T) {
	good := func() Options {
		return Options{
			Hooks:   newShelf(t).hooks(),
			Sources: []SourceSpec{{Name: "main", Source: newFake()}},
			Routes:  []Route{{ID: 1, Name: "one", Sources: []string{"main"}}},
		}
	}
	tests := map[string]struct {
		change func(*Options)
		want   string
	}{
		"no id":          {func(o *Options) { o.Routes[0].ID = 0 }, `route "one": id 0`},
		"same id":        {func(o *Options) { o.Routes = append(o.Routes, o.Routes[0]) }, `has the id 1 of route "one"`},
		"no source":      {func(o *Options) { o.Routes[0].Sources = nil }, `it names no source`},
		"unknown source": {func(o *Options) { o.Routes[0].Sources = []string{"mian"} }, `no source "mian"`},
		"raw list":       {func(o *Options) { o.Routes[0].Rows = RowsList }, "raw has no lists"},
		"no split":       {func(o *Options) { o.Routes[0].Parts = []PartSpec{{Name: "a"}} }, "no function that splits"},
		"ring size":      {func(o *Options) { o.RingSize = 100 }, "power of two"},
		"same source":    {func(o *Options) { o.Sources = append(o.Sources, o.Sources[0]) }, `source "main"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := good()
			tt.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestColumnsOf(t *testing.T) {
	tests := map[string]struct {
		enc   Encoding
		names []string
		ord   int
		err   string
	}{
		"value last":  {EncodeRaw, []string{"ord", "value"}, 0, ""},
		"ord last":    {EncodeRaw, []string{"payload", "ord"}, 1, ""},
		"several php": {EncodePHP, []string{"a", "ord", "b"}, 1, ""},
		"several raw": {EncodeRaw, []string{"a", "ord", "b"}, 0, "raw takes one"},
		"no ord":      {EncodeRaw, []string{"key", "value"}, 0, "no column named ord"},
		"two ord":     {EncodePHP, []string{"ord", "ord", "value"}, 0, "two columns named ord"},
		"only ord":    {EncodeRaw, []string{"ord"}, 0, "no column beside ord"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &Route{Name: "r", Encode: tt.enc}
			ord, err := r.ColumnsOf(tt.names)
			if tt.err == "" && (err != nil || ord != tt.ord) {
				t.Errorf("got %d, %v, want %d", ord, err, tt.ord)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q in it", err, tt.err)
			}
		})
	}
}
