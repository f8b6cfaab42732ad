package filler

import "time"

// End is what became of a key that was to be loaded ahead of the asking.
type End uint8

const (
	EndLoaded  End = iota // a value was put, or is fresh again
	EndNoRow              // the source has none
	EndFailed             // nothing came back for it, or it could not be kept
	EndKilled             // something newer happened
	EndDropped            // it was not loaded after all
	EndQueued             // a Bulk's alone: it is loaded as a miss is, and Hooks tell how its lease ends
)

// EndOf says what became of a key whose load ended as done, and what the store made of that.
func EndOf(st PutStatus, done End) End {
	switch st {
	case Killed:
		return EndKilled
	case TooLarge, NoRoom:
		return EndFailed
	}
	return done
}

// Bulk is keys of one route that are loaded ahead of the asking by one question, however many they are. It goes around the rings and
// queues, which cost more than the load itself; but it takes one of the route's places for loads like a batch, and only when no
// other key waits for one.
//
// Where one question is not the way, because there is a rate to be kept, keys without a row have used up theirs or the source is down,
// and when the question fails, the keys are queued in the last lane one by one. That is told as EndQueued.
//
// A Bulk belongs to whoever fills it, except from LoadBulk to Done. It is made for being used again: Reset keeps its memory.
type Bulk struct {
	Ended func(i int, how End)     // tells of each key, numbered from 0; of each once. It must neither block nor call the Filler
	Done  func(took time.Duration) // tells that Ended was called for all keys, and how long the source took. The same holds for it

	route uint16
	b     Batch
	isNew []bool    // by item
	puts  []BulkPut // scratch
	put   []int     // their items
}

// Reset empties k for keys of a route.
func (k *Bulk) Reset(route uint16) {
	k.route = route
	k.b.keys, k.b.items = k.b.keys[:0], k.b.items[:0]
	k.b.results, k.b.done, k.isNew = k.b.results[:0], k.b.done[:0], k.isNew[:0]
}

// Add adds a lease with a copy of its key, of MaxKey bytes at most. The lease has a deadline that no load outlives. isNew tells that
// nothing was held under the key when the lease was opened.
func (k *Bulk) Add(l Lease, key []byte, isNew bool) {
	k.b.add(entry{lease: l, n: uint8(len(key)), lane: LaneWarm}, key)
	k.isNew = append(k.isNew, isNew)
}

// Len is the number of keys.
func (k *Bulk) Len() int { return len(k.b.items) }

// Key returns a key and its lease. The key is valid until Reset.
func (k *Bulk) Key(i int) ([]byte, Lease) { return k.b.key(int32(i)), k.b.items[i].lease }

// LoadBulk hands k over. False: the Filler has been shut down, and the leases are still the caller's. It waits for the dispatcher
// but not for the load.
func (f *Filler) LoadBulk(k *Bulk) bool {
	select {
	case f.bulks <- k:
		return true
	case <-f.done:
		return false
	}
}

// acceptBulk queues k, or ends its leases.
func (f *Filler) acceptBulk(k *Bulk) {
	r := f.routeOf(k.route)
	if r == nil {
		f.unknown.Add(uint64(k.Len()))
		for i := range k.b.items {
			f.hooks.End(k.b.items[i].lease)
			k.Ended(i, EndDropped)
		}
		k.Done(0)
		return
	}
	r.count.leased[LaneWarm].Add(uint64(k.Len()))
	if r.off.Load() {
		f.discardBulk(r, k, DropOff)
		return
	}
	r.bulks = append(r.bulks, k)
}

// discardBulk ends the leases of a Bulk that was not sent.
func (f *Filler) discardBulk(r *route, k *Bulk, why DropReason) {
	for i := range k.b.items {
		f.discard(r, k.b.items[i].lease, LaneWarm, why)
		k.Ended(i, EndDropped)
	}
	k.Done(0)
}

// formBulk returns the batch of the bulk that waited longest, if it may be sent now. Bulks that may not be sent as they are it queues
// key by key: queued, there may be something else to send.
func (f *Filler) formBulk(r *route, now time.Time) (b *Batch, queued bool) {
	for len(r.bulks) > 0 {
		k := r.bulks[0]
		if !r.takesBulks(now) {
			r.bulks = r.bulks[1:]
			queued = true
			for i := range k.b.items {
				k.Ended(i, EndQueued)
				f.hooks.Sent(k.b.items[i].lease, 0)
				f.admit(r, k.b.items[i].lease, LaneWarm, k.b.key(int32(i)))
			}
			k.Done(0)
			continue
		}
		if _, ok := r.plan.reachable(); !ok {
			return nil, queued // all its loads are under way
		}
		r.bulks = r.bulks[1:]
		k.b.begin(r, f.maxValue, f.batchBytes)
		k.b.bulk = k
		return &k.b, queued
	}
	return nil, queued
}

// takesBulks tells whether a Bulk can be asked for by one question: there is no rate to be kept, negatives_rate has room for a batch,
// and all sources are there. How many of a bulk's keys have no row is known afterwards; it is for whoever fills bulks to begin with
// small ones.
func (r *route) takesBulks(now time.Time) bool {
	l := &r.plan.cfg.Limits
	if l.Rate > 0 || r.negatives.has(l.Batch, now) < l.Batch {
		return false
	}
	for _, fd := range r.plan.feeds {
		if fd.src.state != sourceUp || fd.src.tokens.limited() {
			return false
		}
	}
	return true
}

// settleBulk ends the leases of a bulk's items that have a value, some at a time, and leaves the others to settle. b.mu is held.
func (f *Filler) settleBulk(b *Batch) {
	k := b.bulk
	flush := func() {
		f.hooks.PutMany(b.r.id, k.puts)
		for n, i := range k.put {
			b.r.count.put(k.puts[n].Status)
			k.Ended(i, EndOf(k.puts[n].Status, EndLoaded))
		}
		k.puts, k.put = k.puts[:0], k.put[:0]
	}
	k.puts, k.put = k.puts[:0], k.put[:0]
	for i := range b.items {
		res := &b.results[i]
		if b.done[i] || res.state != resultValue || res.ttl > 0 {
			continue
		}
		b.done[i] = true
		k.put = append(k.put, i)
		k.puts = append(k.puts, BulkPut{
			Lease: b.items[i].lease, Key: b.key(int32(i)), Value: b.out[res.off:res.end], Flags: res.flags, New: k.isNew[i],
		})
		if len(k.puts) == PutsAtOnce {
			flush()
		}
	}
	if len(k.puts) > 0 {
		flush()
	}
}
