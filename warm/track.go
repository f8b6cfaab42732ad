package warm

import (
	"sync"
	"sync/atomic"

	"swordfish/filler"
)

// Tracker is told of all leases that end and passes on those that jobs wait for one by one. Its zero value is ready; it is safe for
// concurrent use.
type Tracker struct {
	n       atomic.Int64 // waited for: while there are none, nobody is held up
	mu      sync.Mutex
	waiting map[filler.Lease]queued
}

// queued is a key that the filler loads by itself, and the feeder that waits for it.
type queued struct {
	f *feeder
	k key
}

// Ended tells of a lease that ended. Every hook of the filler that ends leases calls it.
func (t *Tracker) Ended(l filler.Lease, how filler.End) {
	if t.n.Load() == 0 {
		return
	}
	t.mu.Lock()
	q, ok := t.waiting[l]
	if ok {
		delete(t.waiting, l)
		t.n.Add(-1)
	}
	t.mu.Unlock()
	if ok {
		q.f.ended(q.k, how)
	}
}

func (t *Tracker) add(l filler.Lease, q queued) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = make(map[filler.Lease]queued)
	}
	t.waiting[l] = q
	t.n.Add(1)
}

// leave forgets all leases of f.
func (t *Tracker) leave(f *feeder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l, q := range t.waiting {
		if q.f == f {
			delete(t.waiting, l)
			t.n.Add(-1)
		}
	}
}
