package filler

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

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
						pass(10 * time.Second)
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
