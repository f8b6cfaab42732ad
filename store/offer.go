package store

// Offer opens a lease for a route's key that nobody has asked for, where a load of it is due, and tells what the key is worth now:
// WorthFresh, WorthStale and WorthNegative as a GET would find it, and nothing for all that a GET would miss. it tells how the
// lease went: Lease is the caller's to queue, Leased without one means that somebody else's load is under way or was made just
// now, NoRoom that the lease table is full. With absent, an item that is served, however stale, gets no lease. A lease is void from
// deadline on, where that is not 0; LeaseSent changes it. Nothing is counted as read.
func (s *Store) Offer(key []byte, hash uint64, route RouteID, now, deadline Time, absent bool, it *Item) Worth {
	*it = Item{}
	sh := s.shardOf(hash)
	sh.lock(now)
	defer sh.mu.Unlock()
	if s.route(route) == nil {
		return WorthNothing
	}
	var k held
	sh.look(&k, hash, key, route, now)
	worth := WorthNothing
	if k.slot != nil {
		worth = worths[k.is]
	}
	switch worth {
	case WorthFresh, WorthNegative:
		return worth
	case WorthStale:
		if absent {
			return worth
		}
	default:
		worth = WorthNothing
	}
	if sh.openLease(hash, route, now, ForWarm, it); deadline != 0 && it.Lease.Serial != 0 {
		e, _ := sh.findLease(hash, now)
		e.b.deadline[e.i] = int64(deadline)
	}
	return worth
}

// Holds tells whether a GET of key, a plain one where route is 0, would be answered with a value. Nothing is counted as read.
func (s *Store) Holds(key []byte, hash uint64, route RouteID, now Time) bool {
	sh := s.shardOf(hash)
	sh.lock(now)
	defer sh.mu.Unlock()
	var k held
	sh.look(&k, hash, key, route, now)
	return k.present()
}
