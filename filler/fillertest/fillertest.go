// Package fillertest drives sources in tests: a filler over one route, with hooks that take every fill.
package fillertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
)

// Rig is a filler with one route over one source. Its leases never die. Safe for concurrent use.
type Rig struct {
	Filler *filler.Filler

	t      testing.TB
	ring   *filler.Ring
	handed int

	mu     sync.Mutex
	end    *sync.Cond
	ended  int
	Values map[string]string // by key; read them after Wait
	Flags  map[string]uint32
	TTLs   map[string]time.Duration // where the source told one
	Absent map[string]bool
	Failed map[string]bool
	downs  []bool
}

// New starts a rig. route's id, name and source are set here; spec's name too. change, if there is one, may change the options.
func New(t testing.TB, spec filler.SourceSpec, route filler.Route, change ...func(*filler.Options)) *Rig {
	t.Helper()
	r := &Rig{
		t: t, Values: map[string]string{}, Flags: map[string]uint32{}, TTLs: map[string]time.Duration{},
		Absent: map[string]bool{}, Failed: map[string]bool{},
	}
	r.end = sync.NewCond(&r.mu)
	spec.Name = "db"
	route.ID, route.Name, route.Sources = 1, "r", []string{"db"}
	o := filler.Options{
		Sources: []filler.SourceSpec{spec}, Routes: []filler.Route{route}, Hooks: r.hooks(),
		Logger: zerolog.New(zerolog.NewTestWriter(t)), RingSize: 1 << 14,
	}
	for _, c := range change {
		c(&o)
	}
	f, err := filler.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Filler, r.ring = f, f.NewRing()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // t.Context has ended by now
		defer cancel()
		if err := f.Shutdown(ctx); err != nil && !errors.Is(err, filler.ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

func (r *Rig) hooks() filler.Hooks {
	note := func(f func(key string), key []byte) filler.PutStatus {
		r.mu.Lock()
		defer r.mu.Unlock()
		f(string(key))
		r.ended++
		r.end.Broadcast()
		return filler.Stored
	}
	return filler.Hooks{
		Put: func(_ filler.Lease, _ uint16, key, value []byte, flags uint32) filler.PutStatus {
			return note(func(k string) { r.Values[k], r.Flags[k] = string(value), flags }, key)
		},
		PutTTL: func(_ filler.Lease, _ uint16, key, value []byte, flags uint32, ttl time.Duration) filler.PutStatus {
			return note(func(k string) { r.Values[k], r.Flags[k], r.TTLs[k] = string(value), flags, ttl }, key)
		},
		Absent: func(_ filler.Lease, _ uint16, key []byte) filler.PutStatus {
			return note(func(k string) { r.Absent[k] = true }, key)
		},
		Failed: func(_ filler.Lease, _ uint16, key []byte) filler.PutStatus {
			return note(func(k string) { r.Failed[k] = true }, key)
		},
		End: func(filler.Lease) bool {
			note(func(string) {}, nil)
			return true
		},
		Alive: func(filler.Lease) bool { return true },
		Sent:  func(filler.Lease, time.Duration) {},
		SourceDown: func(_ uint16, down bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.downs = append(r.downs, down)
			r.end.Broadcast()
		},
	}
}

// Ask hands in a lease for each key, in the miss lane.
func (r *Rig) Ask(keys ...string) {
	r.t.Helper()
	for _, k := range keys {
		r.handed++
		if !r.ring.Push(1, filler.LaneMiss, filler.Lease{Hash: 1, Serial: uint64(r.handed)}, []byte(k)) {
			r.t.Fatalf("push %d refused", r.handed)
		}
	}
	r.ring.Flush()
}

// AskAhead hands in a lease for each key, all as one Bulk.
func (r *Rig) AskAhead(keys ...string) {
	r.t.Helper()
	b := &filler.Bulk{Ended: func(int, filler.End) {}, Done: func(time.Duration) {}}
	b.Reset(1)
	for _, k := range keys {
		r.handed++
		b.Add(filler.Lease{Hash: 1, Serial: uint64(r.handed)}, []byte(k), true)
	}
	if !r.Filler.LoadBulk(b) {
		r.t.Fatal("the bulk was refused")
	}
}

// Wait returns when every lease handed in has ended and is counted.
func (r *Rig) Wait() {
	r.mu.Lock()
	for r.ended < r.handed {
		r.end.Wait()
	}
	r.mu.Unlock()
	for r.Stats().InFlight > 0 {
		time.Sleep(100 * time.Microsecond)
	}
}

// WaitDown returns when the last call of the hook SourceDown said down.
func (r *Rig) WaitDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.downs) == 0 || r.downs[len(r.downs)-1] != down {
		r.end.Wait()
	}
}

// WaitStats returns when ok says so of the route's counters, which it looks at every few milliseconds.
func (r *Rig) WaitStats(ok func(filler.RouteStats) bool) {
	for !ok(r.Stats()) {
		time.Sleep(5 * time.Millisecond)
	}
}

// Stats returns the route's counters.
func (r *Rig) Stats() filler.RouteStats { return r.Filler.Stats()[0] }

// Load asks keys of src through a rig and waits for all of them.
func Load(t testing.TB, src filler.Source, route filler.Route, timeout time.Duration, keys ...string) (*Rig, filler.RouteStats) {
	t.Helper()
	r := New(t, filler.SourceSpec{Source: src, Timeout: timeout}, route)
	r.Ask(keys...)
	r.Wait()
	if err := r.Filler.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	return r, r.Stats()
}

// Split returns a Route.Split for keys like name|part=value|part=value, whose parts are returned in the order of names.
func Split(names []string) func([]filler.Part, []byte) []filler.Part {
	return func(dst []filler.Part, key []byte) []filler.Part {
		for _, n := range names {
			p := filler.Part{}
			for field := range strings.SplitSeq(string(key), "|") {
				if v, ok := strings.CutPrefix(field, n+"="); ok {
					p = filler.Part{Value: []byte(v), Present: true}
				}
			}
			dst = append(dst, p)
		}
		return dst
	}
}

// Parts returns specs for names, of which ints are of class int.
func Parts(names []string, ints ...string) []filler.PartSpec {
	var ps []filler.PartSpec
	for _, n := range names {
		ps = append(ps, filler.PartSpec{Name: n, Int: slices.Contains(ints, n)})
	}
	return ps
}
