package filler

import "sync/atomic"

// MaxKey is the longest canonical key in bytes; longer keys are plain keys and never come here.
const MaxKey = 250

// ringClosed is the bit of Ring.head that ends a ring. It shares a word with the position, so that a Push either is seen by
// whoever closed the ring or knows that it failed: no lease is lost between the two.
const ringClosed = 1 << 63

// slot is one place of a ring, reused for ever.
type slot struct {
	lease   Lease
	route   uint16
	lane    Lane
	n       uint8
	promote bool // the lease was pushed before, and lane is its new one
	key     [MaxKey]byte
}

// Ring carries leases from one producer, a worker, to the filler. It is bounded and made of slots that are reused: Push
// copies into a slot and allocates nothing. Push, Promote and Flush belong to one goroutine at a time.
type Ring struct {
	slots []slot
	wake  chan struct{} // the filler's; one token is enough for all rings

	_        [64]byte
	head     atomic.Uint64 // next position to write, and ringClosed
	seen     uint64        // the producer's last look at tail
	signaled uint64        // head when the filler was last woken
	full     atomic.Uint64 // pushes and promotions refused

	_    [64]byte
	tail atomic.Uint64 // next position to read; only the filler writes it
	_    [64]byte
}

func newRing(size int, wake chan struct{}) *Ring {
	return &Ring{slots: make([]slot, size), wake: wake}
}

// Push hands over a lease with a copy of its key. False means the ring is full (counted) or closed, or the key too long: the
// lease is still the caller's, who ends it. The filler may first hear of it at Flush.
func (r *Ring) Push(route uint16, lane Lane, l Lease, key []byte) bool {
	return r.put(route, lane, l, key, false)
}

// Promote says that somebody more urgent asks for a lease that was pushed before, here or on another ring: while it is still
// queued in a lower lane, it moves to the end of this one. It is harmless for a lease that was sent or has ended. False means the
// ring is full (counted) or closed; the lease then stays where it is. It allocates nothing, and Flush applies to it as well.
func (r *Ring) Promote(route uint16, lane Lane, l Lease) bool {
	return r.put(route, lane, l, nil, true)
}

func (r *Ring) put(route uint16, lane Lane, l Lease, key []byte, promote bool) bool {
	h := r.head.Load()
	if h&ringClosed != 0 || len(key) > MaxKey {
		return false
	}
	size := uint64(len(r.slots))
	if h-r.seen >= size {
		if r.seen = r.tail.Load(); h-r.seen >= size {
			r.full.Add(1)
			return false
		}
	}
	s := &r.slots[h&(size-1)]
	s.lease, s.route, s.lane, s.n, s.promote = l, route, lane, uint8(len(key)), promote
	copy(s.key[:], key)
	if !r.head.CompareAndSwap(h, h+1) {
		return false // closed meanwhile
	}
	if h+1-r.signaled >= size/2 {
		r.Flush() // a long pipeline must not fill the ring while the filler sleeps
	}
	return true
}

// Flush wakes the filler if anything was pushed since the last Flush. It never blocks.
func (r *Ring) Flush() {
	h := r.head.Load() &^ ringClosed
	if h == r.signaled {
		return
	}
	r.signaled = h
	wake(r.wake)
}

// Close ends the ring: later pushes fail. What was pushed before is still loaded.
func (r *Ring) Close() {
	r.close()
	wake(r.wake)
}

func (r *Ring) close() { r.head.Or(ringClosed) }

// drain hands at most limit waiting slots to f. It tells whether slots are left and whether the ring is closed and empty.
// Only the filler calls it; a slot is valid until f returns.
func (r *Ring) drain(limit int, f func(*slot)) (more, ended bool) {
	h := r.head.Load()
	end := h &^ ringClosed
	for t := r.tail.Load(); t != end; t++ {
		if limit--; limit < 0 {
			return true, false
		}
		f(&r.slots[t&uint64(len(r.slots)-1)])
		r.tail.Store(t + 1)
	}
	return false, h&ringClosed != 0
}

// wake leaves a token in a channel of capacity one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
