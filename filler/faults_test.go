package filler

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

var errRefused = &Error{FaultDown, errors.New("connection refused")}

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
		pass(5 * time.Second)
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

// TestRowsBeforeAnErrorDoNotCount: half an answer is none, with single rows and with lists.
func TestRowsBeforeAnErrorDoNotCount(t *testing.T) {
	for _, rows := range []Rows{RowsOne, RowsList} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			r := newRig(t, newFake(), func(o *Options) {
				o.Routes[0].Encode, o.Routes[0].Rows = EncodeJSON, rows
				o.Sources[0].Source = SourceFunc(func(_ context.Context, b *Batch) error {
					b.Row(1, []Value{{Text, []byte("old")}})
					switch calls++; calls {
					case 1:
						return &Error{FaultTransient, errors.New("gone")}
					case 2:
						b.Restart()
						b.Row(1, []Value{{Text, []byte("new")}})
					default:
						return errors.New("wrong")
					}
					return nil
				})
			})
			r.get("a")
			synctest.Wait()
			if got := r.shelf.value("a"); got != "" {
				t.Errorf("got %q after an error", got)
			}
			pass(time.Second)
			want := map[Rows]string{RowsOne: `"new"`, RowsList: `["new"]`}[rows]
			if got := r.shelf.value("a"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			r.get("b")
			synctest.Wait()
			if r.shelf.value("b") != "" || r.shelf.failed["b"] != 1 {
				t.Errorf("b: got %q, failed %v", r.shelf.value("b"), r.shelf.failed)
			}
			r.close()
		})
	}
}

// TestParkedKeysKeepTheirLeases: a lease has a deadline only while its batch is under way, not while it waits for a source.
func TestParkedKeysKeepTheirLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake("a")
		p := &pinging{fake: src, down: func() error { return nil }}
		src.set(func([]string) error { return errRefused }, nil)
		r := newRig(t, src, func(o *Options) { o.Sources[0].Source = p })
		r.get("a")
		for src.lens() != "1 1" { // sent twice
			pass(10 * time.Millisecond)
		}
		src.mu.Lock()
		p.down = func() error { return errRefused }
		src.mu.Unlock()
		pass(10 * time.Minute)
		src.mu.Lock()
		p.down = func() error { return nil }
		src.mu.Unlock()
		src.set(nil, nil)
		pass(5 * time.Second)
		if st := r.stats(); r.shelf.value("a") != "row of a" || st.Skipped+st.Killed != 0 {
			t.Errorf("got %q, skipped %d, killed %d", r.shelf.value("a"), st.Skipped, st.Killed)
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
		pass(time.Minute)
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
		pass(2 * time.Second)
		if got := r.shelf.downs(); got != "[true]" || !r.stats().Down {
			t.Fatalf("SourceDown calls %s, want one", got)
		}
		loads := len(src.batches)
		for i := 1; i < 50; i++ {
			r.get(fmt.Sprint("k", i))
		}
		pass(30 * time.Second)
		if n := len(src.batches) - loads; n > 70 {
			t.Errorf("%d loads in 30 s against a dead source, want at most two probes a second", n)
		}
		if got := r.stats().Dropped[DropQueueFull][LaneMiss]; got < 29 {
			t.Errorf("dropped %d misses beyond the queue's 20, want at least 29", got)
		}
		src.set(nil, nil)
		pass(2 * time.Second)
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
		pass(10 * time.Second)
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
		pass(1200 * time.Millisecond)
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
		pass(1499 * time.Millisecond)
		if r.stats().CutOff != 0 {
			t.Error("cut off before the statement timeout and its grace")
		}
		pass(2 * time.Millisecond)
		synctest.Wait()
		if r.stats().CutOff != 1 {
			t.Error("not cut off 500 ms after the statement timeout")
		}
		src.set(nil, nil)
		pass(time.Second)
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
		pass(time.Second)
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
		pass(time.Second)
		main.add("d", "row of d")
		r.get("d")
		r.get("e")
		pass(3 * time.Second)
		if r.shelf.value("d") != "row of d" || r.shelf.absent["e"] != 0 || r.shelf.failed["e"] != 1 {
			t.Errorf("d %q, e absent %d, failed %d", r.shelf.value("d"), r.shelf.absent["e"], r.shelf.failed["e"])
		}
		if got := r.shelf.downs(); got != "[]" {
			t.Errorf("SourceDown calls %s, want none while one source is up", got)
		}
		r.close()
	})
}
