package store

// leaseBucket holds eight entries of a shard's lease table. An entry is found by the key's hash alone, in one of two
// buckets: two keys of one hash share it, which only kills too much. The table has a fixed size; when both buckets are
// full there is no lease, and the caller counts it.
type leaseBucket struct {
	hash     [8]uint64
	serial   [8]uint64
	deadline [8]int64 // Time from which the entry is void; 0 never
	settle   [8]int64 // leased while the key settled: until then its load is put stale
	route    [8]RouteID
	state    [8]uint8
	urgency  [8]Urgency // of an open lease: the most urgent of those who asked
}

// States of a lease entry.
const (
	leaseFree     = iota
	leaseOpen     // somebody may put one fill
	leaseSettling // the key was deleted: what is loaded now may be from before the deleting transaction's commit
	leaseAsked    // the last load brought nothing to put: no other before the deadline
)

// leaseEntry names one entry of a table.
type leaseEntry struct {
	b *leaseBucket
	i int
}

func (sh *shard) leaseBuckets(h uint64) (a, b *leaseBucket) {
	n := uint64(len(sh.lt))
	return &sh.lt[(h>>20)%n], &sh.lt[(h>>40)%n]
}

// findLease returns the entry of h. Entries that are void by now count as free.
func (sh *shard) findLease(h uint64, now Time) (leaseEntry, bool) {
	if sh.st.leases == 0 {
		return leaseEntry{}, false
	}
	a, b := sh.leaseBuckets(h)
	for _, bk := range [2]*leaseBucket{a, b} {
		for i := range bk.hash {
			if bk.hash[i] == h && bk.state[i] != leaseFree {
				e := leaseEntry{bk, i}
				if d := bk.deadline[i]; d != 0 && int64(now) >= d {
					return e, sh.endLease(e, now)
				}
				return e, true
			}
		}
	}
	return leaseEntry{}, false
}

// routeSlots is how many of a bucket's eight places one route may hold. The others are for other routes: a slow one that has
// leased all it can must not keep them from loading.
const routeSlots = 6

// takeLease finds a free entry for h, which has none, for a load of the given route; 0: for a settling, which may have any.
func (sh *shard) takeLease(h uint64, route RouteID, now Time) (leaseEntry, bool) {
	a, b := sh.leaseBuckets(h)
	for _, bk := range [2]*leaseBucket{a, b} {
		free, held := -1, 0
		for i := range bk.hash {
			if bk.state[i] != leaseFree {
				d := bk.deadline[i]
				over := bk.state[i] != leaseSettling && bk.serial[i] <= sh.goneSerial(bk.route[i])
				if !over && (d == 0 || int64(now) < d) || sh.endLease(leaseEntry{bk, i}, now) {
					if bk.route[i] == route {
						held++
					}
					continue
				}
			}
			free = i
		}
		if free >= 0 && (route == 0 || held < routeSlots) {
			bk.hash[free] = h
			bk.settle[free], bk.deadline[free] = 0, 0
			sh.st.leases++
			return leaseEntry{bk, free}, true
		}
	}
	return leaseEntry{}, false
}

// endLease ends an entry's state. While its key still settles, that is what stays (true); else the entry is free.
func (sh *shard) endLease(e leaseEntry, now Time) bool {
	if until := e.b.settle[e.i]; until > int64(now) {
		e.b.state[e.i], e.b.deadline[e.i], e.b.serial[e.i] = leaseSettling, until, 0
		return true
	}
	e.b.state[e.i] = leaseFree
	sh.st.leases--
	return false
}

// openLease gives the caller, in it, the right to load h's key, unless somebody has it, the key was asked for just now, or
// the load made while it settled stands until the settling ends. A lease that somebody less urgent has is moved up.
func (sh *shard) openLease(h uint64, route RouteID, now Time, why Urgency, it *Item) {
	settle := int64(0)
	if int64(now) < sh.st.settleAll {
		settle = sh.st.settleAll
	}
	e, ok := sh.findLease(h, now)
	if ok {
		// What a flush or an invalidation has ended holds nobody back.
		over := e.b.serial[e.i] <= sh.goneSerial(e.b.route[e.i])
		switch {
		case e.b.state[e.i] == leaseOpen && !over:
			it.Leased = true
			if why < e.b.urgency[e.i] {
				e.b.urgency[e.i] = why
				it.Promote, it.Urgency = Lease{Hash: h, Serial: e.b.serial[e.i]}, why
			}
			return
		case e.b.state[e.i] == leaseAsked && !over, e.b.state[e.i] == leaseSettling && !over && e.b.serial[e.i] != 0:
			it.Leased = true
			return
		}
		settle = max(settle, e.b.settle[e.i])
	} else if e, ok = sh.takeLease(h, route, now); !ok {
		sh.st.leasesFull++
		it.NoRoom = true
		return
	}
	sh.st.serial++
	e.b.state[e.i], e.b.serial[e.i], e.b.urgency[e.i] = leaseOpen, sh.st.serial, why
	e.b.deadline[e.i], e.b.settle[e.i], e.b.route[e.i] = 0, settle, route
	it.Lease, it.Urgency, it.Leased = Lease{Hash: h, Serial: sh.st.serial}, why, true
}

// goneSerial returns the last serial that a flush or an invalidation of route has ended.
func (sh *shard) goneSerial(route RouteID) uint64 {
	return max(sh.st.flushSerial, sh.st.routes[route].goneSerial)
}

// ownLease returns the entry of l while it lives.
func (sh *shard) ownLease(l Lease, now Time) (leaseEntry, bool) {
	e, ok := sh.findLease(l.Hash, now)
	if !ok || e.b.state[e.i] != leaseOpen || e.b.serial[e.i] != l.Serial || l.Serial == 0 {
		return leaseEntry{}, false
	}
	if l.Serial <= sh.goneSerial(e.b.route[e.i]) {
		sh.endLease(e, now)
		return leaseEntry{}, false
	}
	return e, true
}

// closeLease ends an open lease. A key that was loaded while it settles waits for the settling's end.
func (sh *shard) closeLease(e leaseEntry, now Time, loaded bool) {
	serial := e.b.serial[e.i]
	if sh.endLease(e, now) && loaded {
		e.b.serial[e.i] = serial
	}
}

// killLease ends whatever load of h's key is under way, because something newer than it can be happened.
func (sh *shard) killLease(h uint64, now Time) {
	if e, ok := sh.findLease(h, now); ok && e.b.state[e.i] != leaseSettling {
		if e.b.state[e.i] == leaseOpen {
			sh.st.leasesKilled++
		}
		sh.endLease(e, now)
	}
}

// settle kills the lease of h's key and leaves the key settling for ms milliseconds from now.
func (sh *shard) settle(h uint64, route RouteID, now Time, ms int64) {
	sh.killLease(h, now)
	if ms <= 0 {
		return
	}
	e, ok := sh.findLease(h, now)
	if !ok {
		if e, ok = sh.takeLease(h, 0, now); !ok {
			sh.st.leasesFull++
			sh.st.settleAll = max(sh.st.settleAll, int64(now)+ms)
			return
		}
	}
	until := int64(now) + ms
	e.b.state[e.i], e.b.serial[e.i], e.b.route[e.i] = leaseSettling, 0, route
	e.b.deadline[e.i], e.b.settle[e.i] = until, until
}

// asked leaves h's key without another load until the given moment, or until its settling ends: what is true by then was not
// asked for yet.
func (sh *shard) asked(e leaseEntry, until int64) {
	if settled := e.b.settle[e.i]; settled != 0 {
		until = min(until, settled)
	}
	e.b.state[e.i], e.b.deadline[e.i] = leaseAsked, until
}

// dropLease takes back a lease that the caller, who holds the lock, has opened a moment ago.
func (sh *shard) dropLease(l Lease, now Time) {
	if e, ok := sh.ownLease(l, now); ok {
		sh.closeLease(e, now, false)
	}
}

// EndLease gives a lease back without a fill: the next Get may open another. It tells whether the lease was alive.
func (s *Store) EndLease(l Lease) bool {
	sh := s.shardOf(l.Hash)
	now := s.Now()
	sh.lock(now)
	defer sh.mu.Unlock()
	e, ok := sh.ownLease(l, now)
	if ok {
		sh.closeLease(e, now, false)
	}
	return ok
}

// LeaseAlive tells whether a lease still stands.
func (s *Store) LeaseAlive(l Lease) bool {
	sh := s.shardOf(l.Hash)
	now := s.Now()
	sh.lock(now)
	defer sh.mu.Unlock()
	_, ok := sh.ownLease(l, now)
	return ok
}

// LeaseSent gives a lease its deadline: past it the lease is void. A lease that is gone stays gone.
func (s *Store) LeaseSent(l Lease, deadline Time) {
	sh := s.shardOf(l.Hash)
	now := s.Now()
	sh.lock(now)
	defer sh.mu.Unlock()
	if e, ok := sh.ownLease(l, now); ok {
		e.b.deadline[e.i] = int64(deadline)
	}
}
