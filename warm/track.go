package warm

import (
	"sync"
	"sync/atomic"

	"swordfish/filler"
)

// End is what became of a lease.
type End uint8

const (
	Loaded  End = iota // a value was put, or is fresh again
	NoRow              // the source has none
	Failed             // nothing came back for it, or it could not be kept
	Killed             // something newer happened
	Dropped            // it was not loaded after all
)

// Tracker is told of all leases that end and passes on those of jobs. Its zero value is ready; it is safe for concurrent use.
type Tracker struct {
	n       atomic.Int64 // waited for: while there are none, nobody is held up
	mu      sync.Mutex
	waiting map[filler.Lease]place
}

// place is where a job keeps the key of a lease.
type place struct {
	f    *feeder
	slot int
}

// Ended tells of a lease that ended. Every hook of the filler that ends leases calls it.
func (t *Tracker) Ended(l filler.Lease, how End) {
	if t.n.Load() == 0 {
		return
	}
	t.mu.Lock()
	at, ok := t.waiting[l]
	if ok {
		delete(t.waiting, l)
		t.n.Add(-1)
	}
	t.mu.Unlock()
	if ok {
		at.f.ended(at.slot, how)
	}
}

func (t *Tracker) add(l filler.Lease, at place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = make(map[filler.Lease]place)
	}
	t.waiting[l] = at
	t.n.Add(1)
}

// remove takes a lease back that was not handed over after all.
func (t *Tracker) remove(l filler.Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.waiting[l]; ok {
		delete(t.waiting, l)
		t.n.Add(-1)
	}
}

// leave forgets all leases of f.
func (t *Tracker) leave(f *feeder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l, at := range t.waiting {
		if at.f == f {
			delete(t.waiting, l)
			t.n.Add(-1)
		}
	}
}
