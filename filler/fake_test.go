package filler

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// shelf is the least store that the filler's promises can be checked against: leases by key, killed by writes, and what was
// put. It fails the test when a lease is ended twice.
type shelf struct {
	t  testing.TB
	mu sync.Mutex

	serial  uint64
	open    map[string]uint64 // key: serial of its lease
	keyOf   map[uint64]string
	ended   map[uint64]string // serial: how
	until   map[uint64]time.Time
	items   map[string]string
	flags   map[string]uint32
	absent  map[string]int
	failed  map[string]int
	down    []bool // calls of SourceDown
	putHook func(key string)

	// Where fresh is set, an item is stale after it, served with a lease on the new value, and gone after twice that time.
	fresh time.Duration
	since map[string]time.Time
}

func newShelf(t testing.TB) *shelf {
	return &shelf{
		t: t, open: map[string]uint64{}, keyOf: map[uint64]string{}, ended: map[uint64]string{}, until: map[uint64]time.Time{},
		items: map[string]string{}, flags: map[string]uint32{}, absent: map[string]int{}, failed: map[string]int{},
		since: map[string]time.Time{},
	}
}

// get is a GET: a hit, or a miss or a stale hit that opens a lease where none is open.
func (s *shelf) get(key string) (value string, l Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.items[key]
	if age := time.Since(s.since[key]); ok && (s.fresh == 0 || age < s.fresh) {
		return value, Lease{}
	} else if ok && age >= 2*s.fresh {
		delete(s.items, key)
		value = ""
	}
	if serial := s.open[key]; serial != 0 {
		if s.aliveLocked(serial) {
			return value, Lease{}
		}
	}
	s.serial++
	s.open[key] = s.serial
	s.keyOf[s.serial] = key
	return value, Lease{Hash: 7, Serial: s.serial}
}

// set and del are a client's: they kill the lease.
func (s *shelf) set(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[key], s.since[key] = value, time.Now()
	delete(s.open, key)
}

// flush is a flush_all.
func (s *shelf) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.items)
	clear(s.open)
}

func (s *shelf) del(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.items, key)
	delete(s.open, key)
}

func (s *shelf) aliveLocked(serial uint64) bool {
	key, ok := s.keyOf[serial]
	if !ok || s.open[key] != serial {
		return false
	}
	if at, ok := s.until[serial]; ok && !time.Now().Before(at) {
		delete(s.open, key)
		return false
	}
	return true
}

// finish ends a lease and tells whether it was alive.
func (s *shelf) finish(l Lease, how string, key []byte) bool {
	if before, ok := s.ended[l.Serial]; ok {
		s.t.Errorf("lease %d ended twice: %s, then %s", l.Serial, before, how)
	}
	s.ended[l.Serial] = how
	if want := s.keyOf[l.Serial]; key != nil && string(key) != want {
		s.t.Errorf("lease %d is of %q, ended for %q", l.Serial, want, key)
	}
	alive := s.aliveLocked(l.Serial)
	if alive {
		delete(s.open, s.keyOf[l.Serial])
	}
	return alive
}

func (s *shelf) hooks() Hooks {
	closed := func(m map[string]int, how string) func(Lease, uint16, []byte) PutStatus {
		return func(l Lease, _ uint16, key []byte) PutStatus {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.finish(l, how, key) {
				return Killed
			}
			if m[string(key)]++; how == "absent" {
				delete(s.items, string(key))
			}
			return Negative
		}
	}
	return Hooks{
		Put: func(l Lease, _ uint16, key, value []byte, flags uint32) PutStatus {
			if s.putHook != nil {
				s.putHook(string(key))
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.finish(l, "put", key) {
				return Killed
			}
			s.items[string(key)], s.flags[string(key)], s.since[string(key)] = string(value), flags, time.Now()
			return Stored
		},
		Absent: closed(s.absent, "absent"),
		Failed: closed(s.failed, "failed"),
		End: func(l Lease) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.finish(l, "end", nil)
		},
		Alive: func(l Lease) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.aliveLocked(l.Serial)
		},
		Sent: func(l Lease, within time.Duration) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if within == 0 {
				delete(s.until, l.Serial)
			} else {
				s.until[l.Serial] = time.Now().Add(within)
			}
		},
		SourceDown: func(_ uint16, down bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.down = append(s.down, down)
		},
	}
}

// checkAllEnded fails the test unless every lease that was handed in has been ended. handed counts successful pushes.
func (s *shelf) checkAllEnded(handed int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ended) != handed {
		s.t.Errorf("%d leases were handed in, %d ended", handed, len(s.ended))
	}
}

func (s *shelf) value(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items[key]
}

func (s *shelf) downs() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.down)
}

// fake is a Source: rows from a map, a gate, errors and a record of what was asked.
type fake struct {
	mu      sync.Mutex
	rows    map[string]string
	batches [][]string
	times   []time.Time
	err     func(keys []string) error // nil: none
	gate    chan struct{}             // nil: open; else a load waits for a token, or for its context
	asked   map[string]int
	early   bool // rows are read before the gate: their values are old when it opens
}

func newFake(rows ...string) *fake {
	f := &fake{rows: map[string]string{}, asked: map[string]int{}}
	for _, k := range rows {
		f.rows[k] = "row of " + k
	}
	return f
}

func (f *fake) Load(ctx context.Context, b *Batch) error {
	keys := make([]string, b.Len())
	for i := range keys {
		keys[i] = string(b.Key(i))
	}
	f.mu.Lock()
	f.batches = append(f.batches, keys)
	f.times = append(f.times, time.Now())
	for _, k := range keys {
		f.asked[k]++
	}
	gate, fail := f.gate, f.err
	rows := f.rows
	if f.early {
		rows = maps.Clone(rows)
	}
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail != nil {
		if err := fail(keys); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(keys) - 1; i >= 0; i-- { // backwards: order must not matter
		if row, ok := rows[keys[i]]; ok {
			b.Row(int64(i+1), []Value{{Text, []byte(row)}})
		}
	}
	return nil
}

func (f *fake) set(err func([]string) error, gate chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.gate = err, gate
}

func (f *fake) add(key, row string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows[key] = row
}

func (f *fake) remove(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.rows, key)
}

func (f *fake) lens() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var n []string
	for _, b := range f.batches {
		n = append(n, fmt.Sprint(len(b)))
	}
	return strings.Join(n, " ")
}

// checkRate fails the test if more than most keys were asked in any second.
func (f *fake) checkRate(t testing.TB, most int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	from, keys := 0, 0
	for i, at := range f.times {
		keys += len(f.batches[i])
		for at.Sub(f.times[from]) >= time.Second {
			keys -= len(f.batches[from])
			from++
		}
		if keys > most {
			t.Fatalf("%d keys in the second up to %v, want at most %d", keys, at.Sub(f.times[0]), most)
		}
	}
}

// rig is a filler over one fake source and one route, with a worker's ring.
type rig struct {
	t      testing.TB
	shelf  *shelf
	src    *fake
	f      *Filler
	ring   *Ring
	handed int
}

func newRig(t testing.TB, src *fake, change func(*Options)) *rig {
	s := newShelf(t)
	o := Options{
		Sources: []SourceSpec{{Name: "main", Source: src}},
		Routes:  []Route{{ID: 1, Name: "r", Query: "q", Sources: []string{"main"}, Limits: Limits{Concurrency: 1}}},
		Hooks:   s.hooks(),
		Logger:  zerolog.Nop(),
	}
	if change != nil {
		change(&o)
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, shelf: s, src: src, f: f, ring: f.NewRing()}
}

// get asks key as a worker does: a miss with a lease goes on the ring.
func (r *rig) get(key string) string { return r.ask(key, LaneMiss) }

func (r *rig) ask(key string, lane Lane) string {
	v, l := r.shelf.get(key)
	if l.Serial != 0 {
		if r.ring.Push(1, lane, l, []byte(key)) {
			r.handed++
		} else {
			r.shelf.mu.Lock()
			delete(r.shelf.open, key)
			r.shelf.mu.Unlock()
		}
	}
	r.ring.Flush()
	return v
}

func (r *rig) stats() RouteStats { return r.f.Stats()[0] }

// close shuts down and checks that no lease was forgotten or ended twice.
func (r *rig) close() {
	r.t.Helper()
	if err := r.f.Shutdown(context.Background()); err != nil {
		r.t.Error(err)
	}
	r.shelf.checkAllEnded(r.handed)
	s := r.stats()
	sum := s.Stored + s.Same + s.Absent + s.Failed + s.Killed + s.TooLarge + s.NoRoom + s.Skipped
	for _, lanes := range s.Dropped {
		for _, n := range lanes {
			sum += n
		}
	}
	var leased uint64
	for _, n := range s.Leased {
		leased += n
	}
	if s.Queued != 0 || s.InFlight != 0 {
		r.t.Errorf("after the end %d leases are queued and %d batches in flight", s.Queued, s.InFlight)
	}
	if leased != sum {
		r.t.Errorf("%d leases taken from rings, %d accounted for: %+v", leased, sum, s)
	}
}

// pass lets d go by on the bubble's clock and everything that follows from it come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
