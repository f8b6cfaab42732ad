package filler

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoadingTellsTheLastLoad(t *testing.T) {
	const hash = 7 // of all leases of the shelf
	synctest.Test(t, func(t *testing.T) {
		src := newFake("here", "busy")
		r := newRig(t, src, func(o *Options) { o.Retries = 1 })
		loading := func(key string, hash uint64) Loading {
			t.Helper()
			l, ok := r.f.Loading(1, []byte(key), hash)
			if !ok || l.Route.Query != "q" {
				t.Fatalf("%s: got %+v, %v", key, l, ok)
			}
			return l
		}
		if l := loading("here", hash); l.Known {
			t.Errorf("before the first load: %+v", l)
		}
		for _, step := range []struct {
			name string
			err  error
			want Load
		}{
			{"here", nil, Load{Source: "main", Keys: 1, Rows: 1, Took: 20 * time.Millisecond, Result: "a value"}},
			{"none", nil, Load{Source: "main", Keys: 1, Took: 20 * time.Millisecond, Result: "no row"}},
			{"bad\x00", nil, Load{Source: "main", Keys: 1, Took: 20 * time.Millisecond, Result: "no row"}}, // refused, never asked
			{"here", errors.New("no such table\nLINE 1"), Load{Source: "main", Keys: 1, Took: 20 * time.Millisecond, Err: "no such table", Result: "failed"}},
		} {
			src.set(func([]string) error {
				time.Sleep(20 * time.Millisecond)
				return step.err
			}, nil)
			r.shelf.del(step.name)
			r.get(step.name)
			pass(time.Second)
			l := loading(step.name, hash)
			if !l.Known || l.Last.At.IsZero() || l.Refused != (step.name == "bad\x00") {
				t.Errorf("%q: got %+v", step.name, l)
			}
			if l.Last.At = (time.Time{}); l.Last != step.want {
				t.Errorf("%q: got %+v, want %+v", step.name, l.Last, step.want)
			}
		}
		if l := loading("other", hash+recentLoads); l.Known {
			t.Errorf("a key in the same place: got %+v", l)
		}
		r.f.SetOff("r", true)
		if l := loading("here", hash); !l.Off || l.Down {
			t.Errorf("off: got %+v", l)
		}
		if _, ok := r.f.Loading(2, []byte("here"), hash); ok {
			t.Error("a route that is not there was found")
		}
		var n uint64
		for i, c := range r.stats().LoadTimes {
			if n += c; c > 0 && (LoadTimeBound(i) <= 20*time.Millisecond || LoadTimeBound(i-1) > 20*time.Millisecond) {
				t.Errorf("%d loads in the bucket up to %v", c, LoadTimeBound(i))
			}
		}
		if want := uint64(3); n != want {
			t.Errorf("%d loads timed, want %d", n, want)
		}
		r.close()
	})
}

func TestLoadTimesBuckets(t *testing.T) {
	var l loadTimes
	for _, d := range []time.Duration{0, 63 * time.Microsecond, 64 * time.Microsecond, time.Millisecond, time.Hour} {
		l.record(d)
	}
	want := LoadTimes{0: 2, 1: 1, 4: 1, loadBuckets - 1: 1}
	if got := l.load(); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	for i := range loadBuckets - 1 {
		var one loadTimes
		one.record(LoadTimeBound(i) - 1)
		one.record(LoadTimeBound(i))
		if got := one.load(); got[i] != 1 || got[i+1] != 1 {
			t.Errorf("around %v: got %v", LoadTimeBound(i), got)
		}
	}
}
