package store

// Refresh opens a lease for a route's key whatever is held under it and however lately it was asked for, as an operator wants
// who knows better. it tells how that went: Lease is the caller's to queue, Leased without one means that a load is under way
// already, NoRoom that the lease table is full.
func (s *Store) Refresh(key []byte, hash uint64, route RouteID, now Time, it *Item) {
	*it = Item{}
	sh := s.shardOf(hash)
	sh.lock(now)
	defer sh.mu.Unlock()
	if s.route(route) == nil {
		return
	}
	if e, ok := sh.findLease(hash, now); ok && e.b.state[e.i] == leaseAsked {
		sh.endLease(e, now)
	}
	sh.openLease(hash, route, now, ForMiss, it)
}
