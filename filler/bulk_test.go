package filler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// told is a Bulk and what was told of it.
type told struct {
	Bulk
	mu    sync.Mutex
	ended map[string]End
	done  int
}

// bulk hands the keys that can be leased over as one Bulk.
func (r *rig) bulk(keys ...string) *told {
	r.t.Helper()
	b := &told{ended: map[string]End{}}
	b.Ended = func(i int, how End) {
		key, _ := b.Key(i)
		b.mu.Lock()
		defer b.mu.Unlock()
		if before, ok := b.ended[string(key)]; ok || b.done > 0 {
			r.t.Errorf("%s: told %d, after %d and %d times done", key, how, before, b.done)
		}
		b.ended[string(key)] = how
	}
	b.Done = func(time.Duration) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.done++
	}
	b.Reset(1)
	for _, key := range keys {
		if _, l := r.shelf.get(key); l.Serial != 0 {
			b.Add(l, []byte(key), true)
		}
	}
	if r.handed += b.Len(); !r.f.LoadBulk(&b.Bulk) {
		r.t.Fatal("the bulk was not taken")
	}
	return b
}

// counts says how many keys ended how, and whether all have.
func (b *told) counts() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := []string{EndLoaded: "loaded", EndNoRow: "no row", EndFailed: "failed", EndKilled: "killed", EndDropped: "dropped", EndQueued: "queued"}
	n := make([]int, len(names))
	for _, how := range b.ended {
		n[how]++
	}
	var text []string
	for how, name := range names {
		if n[how] > 0 {
			text = append(text, fmt.Sprint(n[how], " ", name))
		}
	}
	if b.done != 1 {
		text = append(text, fmt.Sprint("done ", b.done, " times"))
	}
	return strings.Join(text, ", ")
}

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(prefix, i)
	}
	return all
}

// TestBulkIsOneQuestion: larger than a batch, after those that wait already, and what a client does meanwhile wins.
func TestBulkIsOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake(names("k", 20)...)
		src.gate = make(chan struct{})
		many := 0
		r := newRig(t, src, func(o *Options) {
			o.Routes[0].Limits.Batch = 4
			put := o.Hooks.Put
			o.Hooks.PutMany = func(route uint16, puts []BulkPut) {
				many += len(puts)
				for i := range puts {
					p := &puts[i]
					p.Status = put(p.Lease, route, p.Key, p.Value, p.Flags)
				}
			}
		})
		r.get("busy")
		synctest.Wait()
		b := r.bulk(append(names("k", 20), "none")...)
		r.get("asked for")
		synctest.Wait()
		src.gate <- struct{}{}
		synctest.Wait()
		src.gate <- struct{}{}
		synctest.Wait()
		r.shelf.set("k3", "a client's")
		src.gate <- struct{}{}
		synctest.Wait()
		if got, want := src.lens(), "1 1 21"; got != want {
			t.Errorf("batches %s, want %s", got, want)
		}
		if got, want := b.counts(), "19 loaded, 1 no row, 1 killed"; got != want || many != 20 {
			t.Errorf("%s, %d put; want %s, 20 put", got, many, want)
		}
		if got := r.shelf.value("k3") + ", " + r.shelf.value("k4"); got != "a client's, row of k4" {
			t.Error(got)
		}
		r.close()
	})
}

// TestBulkIsQueued where one question is not the way. Its keys are loaded all the same, and the hooks tell.
func TestBulkIsQueued(t *testing.T) {
	down := &Error{FaultDown, errors.New("gone")}
	for name, tt := range map[string]struct {
		change  func(*Options)
		err     func(keys []string) error
		batches string
	}{
		"a rate of the route":  {func(o *Options) { o.Routes[0].Limits.Rate = 1000 }, nil, "4 3 3"},
		"a rate of the source": {func(o *Options) { o.Sources[0].Rate = 1000 }, nil, "4 3 3"},
		"too slow for it": {nil, func(keys []string) error {
			if len(keys) > 4 {
				return errors.New("statement timeout")
			}
			return nil
		}, "10 4 4 2"},
		"the database refuses a key": {nil, func(keys []string) error {
			if len(keys) > 4 {
				return &Error{FaultData, errors.New("out of range")}
			}
			return nil
		}, "10 4 4 2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFake(names("k", 10)...)
				src.err = tt.err
				r := newRig(t, src, func(o *Options) {
					o.Routes[0].Limits.Batch = 4
					if tt.change != nil {
						tt.change(o)
					}
				})
				b := r.bulk(names("k", 10)...)
				pass(time.Second)
				if got := src.lens(); got != tt.batches || b.counts() != "10 queued" || len(r.shelf.items) != 10 {
					t.Errorf("batches %s, %s, %d items; want %s, all queued and there", got, b.counts(), len(r.shelf.items), tt.batches)
				}
				r.close()
			})
		})
	}
	t.Run("the source is down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFake(names("k", 10)...)
			src.err = func([]string) error { return down }
			r := newRig(t, src, nil)
			r.get("k0")
			pass(5 * time.Second)
			b := r.bulk(names("k", 10)...)
			synctest.Wait()
			if b.counts() != "9 queued" {
				t.Error(b.counts())
			}
			src.set(nil, nil)
			pass(5 * time.Second)
			if len(r.shelf.items) != 10 {
				t.Errorf("%d items when it is back, want 10", len(r.shelf.items))
			}
			r.close()
		})
	})
}

// TestBulkKeepsNegativesRate: keys without a row cost what a batch of them costs, and the next ones are asked for at the rate.
func TestBulkKeepsNegativesRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		r := newRig(t, src, func(o *Options) { o.Routes[0].Limits.Batch, o.Routes[0].Limits.NegativesRate = 10, 10 })
		first := r.bulk(names("a", 100)...)
		synctest.Wait()
		second := r.bulk(names("b", 100)...)
		pass(3 * time.Second)
		if got, want := first.counts()+"; "+second.counts(), "100 no row; 100 queued"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if asked := len(src.asked) - 100; asked < 25 || asked > 40 {
			t.Errorf("%d keys asked for in 3 s, want 10 a second", asked)
		}
		r.close()
	})
}

// TestBulkEnds when its route is off, its source panics and the filler shuts down.
func TestBulkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake(names("k", 5)...)
		r := newRig(t, src, nil)
		r.f.SetOff("r", true)
		if b := r.bulk(names("k", 5)...); true {
			synctest.Wait()
			if b.counts() != "5 dropped" {
				t.Errorf("off: %s", b.counts())
			}
		}
		r.f.SetOff("r", false)
		src.set(func([]string) error { panic("a mistake") }, nil)
		if b := r.bulk(names("k", 5)...); true {
			synctest.Wait()
			if b.counts() != "5 failed" {
				t.Errorf("panic: %s", b.counts())
			}
		}
		src.set(nil, make(chan struct{}))
		loading := r.bulk(names("l", 5)...)
		synctest.Wait()
		waiting := r.bulk(names("m", 5)...)
		synctest.Wait()
		r.close()
		if got := loading.counts() + "; " + waiting.counts(); got != "5 dropped; 5 dropped" {
			t.Errorf("shutdown: %s", got)
		}
		if r.f.LoadBulk(new(Bulk)) {
			t.Error("a filler that was shut down takes a bulk")
		}
	})
}

// TestBulkOfNoRoute: a route that Apply took away.
func TestBulkOfNoRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newFake(), nil)
		if err := r.f.Apply(nil, nil); err != nil {
			t.Fatal(err)
		}
		b := r.bulk("k")
		synctest.Wait()
		if b.counts() != "1 dropped" {
			t.Error(b.counts())
		}
		if err := r.f.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
