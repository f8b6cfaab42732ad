package filler

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// TestRandomHistories plays random histories of an application that writes its row and then sets or deletes the cached
// value, of flushes, expiry and reloads, against loads that are slow, fail, find nothing, are promoted or dropped. Rows carry a version
// that only grows. Nobody may ever be served a version older than the last one whose write to the cache was done, or than one that was
// served before, and once all is quiet everybody gets the newest.
func TestRandomHistories(t *testing.T) {
	seeds := 1000
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { playHistory(t, uint64(seed)) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func playHistory(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 9))
	src := newFake()
	src.gate = make(chan struct{})
	src.early = rnd.IntN(4) > 0
	specs := []SourceSpec{{Name: "main", Source: src}}
	route := func() Route {
		return Route{ID: 1, Name: "r", Query: "q", Sources: []string{"main"}, Limits: Limits{
			Concurrency: 1 + rnd.IntN(2), Batch: 1 + rnd.IntN(3), Queue: 1 + rnd.IntN(4), NegativesRate: float64(rnd.IntN(20)),
		}}
	}
	r := newRig(t, src, func(o *Options) {
		o.Sources, o.Routes = specs, []Route{route()}
		o.Retries = 1 + rnd.IntN(3)
		o.RingSize = 4
	})
	r.shelf.fresh = []time.Duration{0, 300 * time.Millisecond, 3 * time.Second}[rnd.IntN(3)]
	keys := []string{"a", "b", "c"}
	version := 0
	least := map[string]int{} // the oldest version that may be served
	check := func(k string, lane Lane) {
		v := r.ask(k, lane)
		if v == "" {
			return
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < least[k] {
			t.Errorf("%s: served version %q after %d", k, v, least[k])
		}
		least[k] = max(least[k], n)
	}
	errs := []error{errRefused, &Error{FaultTransient, errors.New("deadlock")}, &Error{FaultData, errors.New("bad")}, errors.New("no table")}
	for range 150 {
		k := keys[rnd.IntN(len(keys))]
		switch rnd.IntN(16) {
		case 0, 1, 2, 3:
			check(k, Lane(rnd.IntN(int(laneCount))))
		case 4:
			version++
			src.add(k, fmt.Sprint(version))
			r.shelf.set(k, fmt.Sprint(version))
			least[k] = version
		case 5:
			version++
			src.add(k, fmt.Sprint(version))
			r.shelf.del(k)
			least[k] = version
		case 6: // the row changes and nobody tells: an old value may be served, a load brings the new one
			version++
			src.add(k, fmt.Sprint(version))
		case 7, 8:
			select {
			case src.gate <- struct{}{}:
			default:
			}
		case 9:
			var err error
			if rnd.IntN(3) == 0 {
				err = errs[rnd.IntN(len(errs))]
			}
			src.set(func([]string) error { return err }, src.gate)
		case 10, 11:
			pass(time.Duration(rnd.IntN(400)) * time.Millisecond)
		case 12:
			r.f.SetOff("r", rnd.IntN(4) == 0)
		case 13:
			r.promote(k, Lane(rnd.IntN(int(laneCount))))
		case 14:
			switch rnd.IntN(4) {
			case 0: // what was leased before may not come back
				r.shelf.flush()
			case 1:
				src.remove(k)
			}
		case 15:
			var routes []Route
			if rnd.IntN(5) > 0 {
				routes = append(routes, route())
			}
			apply(t, r.f, specs, routes...)
		}
		if rnd.IntN(2) == 0 {
			synctest.Wait()
		}
	}
	apply(t, r.f, specs, route())
	r.f.SetOff("r", false)
	src.set(nil, nil)
	pass(10 * time.Second)
	for _, k := range keys {
		r.shelf.del(k)
		src.add(k, "100000")
		r.get(k)
		pass(10 * time.Second)
		r.get(k)
		pass(10 * time.Second)
		if got := r.shelf.value(k); got != "100000" {
			t.Errorf("%s: got %q at the end, want the newest", k, got)
		}
	}
	r.close()
}
