package filler

import "time"

// dispatcher is the state of the one goroutine that owns all queues. Nothing in it is locked.
type dispatcher struct {
	routes  []*route // in the order of the last Apply
	byID    []*route // by id, with holes
	sources []*source
	retired []*source // no longer named, but in use

	chunks   chunkPool
	index    map[Lease]place // what is queued in lanes that a lease can be moved up from
	indexMax int             // most entries that index has held
	late     []promotion     // for leases that were not queued yet
	batches  []*Batch        // for reuse
	queued   int             // leases queued, all routes
	inFlight int             // loads and probes under way
	running  map[*Batch]struct{}
	turn     int // the route that is served first, moving on with every pass
}

// drainLimit is how many leases are taken from a ring before ends of loads and free slots are looked at again.
const drainLimit = 1024

// idle is how long the dispatcher sleeps when nothing is due.
const idle = time.Hour

func (f *Filler) dispatch() {
	defer close(f.done)
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		select {
		case <-f.wakeup:
		case ev := <-f.events:
			f.handle(ev)
		case k := <-f.bulks:
			f.acceptBulk(k)
		case c := <-f.changes:
			c.result <- f.apply(c.sources, c.routes)
		case <-timer.C:
		case <-f.stopping:
			f.end()
			return
		}
		for {
			f.handleAll()
			f.applyAll()
			more := f.drain(drainLimit, f.accept)
			if !more {
				f.promoteLate()
			}
			next := f.send(time.Now())
			if !more || f.isStopping() {
				timer.Reset(next)
				break
			}
		}
	}
}

func (f *Filler) isStopping() bool {
	select {
	case <-f.stopping:
		return true
	default:
		return false
	}
}

func (f *Filler) handleAll() {
	for {
		select {
		case ev := <-f.events:
			f.handle(ev)
		default:
			return
		}
	}
}

// drain takes leases off all rings, at most limit from each, forgets closed rings and tells whether leases are left.
func (f *Filler) drain(limit int, accept func(*slot)) (more bool) {
	f.mu.Lock()
	rings := f.rings
	f.mu.Unlock()
	for _, r := range rings {
		left, ended := r.drain(limit, accept)
		more = more || left
		if ended {
			f.forget(r)
		}
	}
	return more
}

func (f *Filler) forget(r *Ring) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ringFull += r.full.Load()
	kept := make([]*Ring, 0, len(f.rings))
	for _, other := range f.rings {
		if other != r {
			kept = append(kept, other)
		}
	}
	f.rings = kept
}

// accept queues the lease in a ring's slot, or ends it.
func (f *Filler) accept(s *slot) {
	r := f.routeOf(s.route)
	known := r != nil && s.lane < laneCount && s.lease.Serial != 0
	if s.promote {
		if known && !f.promote(r, s.lane, s.lease) && len(f.late) < lateMost {
			f.late = append(f.late, promotion{lease: s.lease, route: s.route, lane: s.lane})
		}
		return
	}
	if !known {
		f.unknown.Add(1)
		f.hooks.End(s.lease)
		return
	}
	r.count.leased[s.lane].Add(1)
	if r.off.Load() {
		f.discard(r, s.lease, s.lane, DropOff)
		return
	}
	f.admit(r, s.lease, s.lane, s.key[:s.n])
}

// admit queues a lease that may be queued, or ends it.
func (f *Filler) admit(r *route, l Lease, lane Lane, key []byte) {
	bad := false
	if r.parts, bad = r.plan.refused(r.parts, key); bad {
		r.count.badPart.Add(1)
		r.count.closed(f.hooks.Absent(l, r.id, key), &r.count.absent)
		return
	}
	switch {
	case r.queued >= roomFor(r.plan.cfg.Limits.Queue, lane):
		f.discard(r, l, lane, DropQueueFull)
	case f.queued >= roomFor(f.bound, lane):
		f.discard(r, l, lane, DropFillerFull)
	default:
		e := entry{lease: l, lane: lane}
		if r.plan.typesKnown() {
			e.checked = r.plan.gen
		}
		f.enqueue(r, e, key)
		f.grow(r, e.lane, 1)
	}
}

// enqueue puts e at the end of its lane.
func (f *Filler) enqueue(r *route, e entry, key []byte) {
	at := r.lanes[e.lane].push(&f.chunks, e, key)
	if e.lane == LaneMiss {
		return // no lane is above it
	}
	if f.index == nil {
		f.index = make(map[Lease]place)
	}
	at.route = r.id
	f.index[e.lease] = at
	f.indexMax = max(f.indexMax, len(f.index))
}

// indexKeep is the size up to which an index that has become empty is kept: maps never shrink.
const indexKeep = 1 << 13

// unindex forgets where a lease lies that leaves the queue of its lane.
func (f *Filler) unindex(e *entry) {
	if e.lane == LaneMiss {
		return
	}
	delete(f.index, e.lease)
	if len(f.index) == 0 && f.indexMax > indexKeep {
		f.index, f.indexMax = nil, 0
	}
}

// promotion is a lease to be moved up.
type promotion struct {
	lease Lease
	route uint16
	lane  Lane
	tried bool
}

// lateMost bounds the promotions that wait for their lease.
const lateMost = 1024

// promote moves a queued lease to the end of a more urgent lane. It returns false when the lease is in no lane's queue: it may
// have been sent already, or may still lie in another worker's ring.
func (f *Filler) promote(r *route, lane Lane, l Lease) bool {
	at, ok := f.index[l]
	if !ok || at.route != r.id {
		return false
	}
	from := f.chunks.byID[at.chunk].entries[at.at].lane
	if lane >= from {
		return true
	}
	e, key := r.lanes[from].cut(&f.chunks, at)
	f.unindex(&e)
	f.grow(r, from, -1)
	e.lane = lane
	f.enqueue(r, e, key)
	f.grow(r, lane, 1)
	r.count.promoted[lane].Add(1)
	return true
}

// promoteLate tries the promotions once more that came before their lease. All rings have been emptied since.
func (f *Filler) promoteLate() {
	kept := f.late[:0]
	for _, p := range f.late {
		r := f.routeOf(p.route)
		if r == nil || f.promote(r, p.lane, p.lease) || p.tried {
			continue
		}
		p.tried = true
		kept = append(kept, p)
	}
	f.late = kept
}

// discard ends a lease without an answer.
func (f *Filler) discard(r *route, l Lease, lane Lane, why DropReason) {
	r.count.dropped[why][lane].Add(1)
	f.hooks.End(l)
}

// grow notes that n leases of a lane entered r's queues, or left them.
func (f *Filler) grow(r *route, lane Lane, n int) {
	f.queued += n
	r.queued += n
	r.count.queued[lane].Add(int64(n))
}
