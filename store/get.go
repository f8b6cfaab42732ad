package store

// Get looks one key up; see Item for what is then locked and what a miss tells. On a route, a key that is absent, expired or
// stale gets a lease where none is open. It does not allocate.
func (s *Store) Get(q *Lookup, it *Item) bool {
	*it = Item{}
	sh := s.shardOf(q.Hash)
	sh.lock(q.Now)
	slot, loc := sh.find(q.Hash, q.Key)
	if slot == nil {
		sh.lease(q, it, ForMiss)
		sh.mu.Unlock()
		return false
	}
	var r record
	r.decode(sh.raw(loc))
	switch v := sh.judge(&r, loc, q.Hash, q.Route, q.Now); v {
	case isFresh:
		if r.route != 0 && sh.nearsEnd(&r, q) {
			sh.lease(q, it, ForAhead)
		}
	case isStale:
		it.Stale = true
		sh.lease(q, it, ForStale)
	case isNegative:
		it.Miss = Negative
		sh.mu.Unlock()
		return false
	case isOver:
		it.Miss = TTLOver
		if r.state&stateKind == stateNegative {
			it.Miss = Absent
		}
		sh.lease(q, it, ForMiss)
		sh.mu.Unlock()
		return false
	default:
		it.Miss = TTLOver
		if v == isFlushed {
			it.Miss = Flushed
		}
		sh.lease(q, it, ForMiss)
		var f freed
		sh.expire(q.Hash, loc, &r, v, &f)
		sh.mu.Unlock()
		s.giveBack(&f)
		return false
	}
	if q.Touch || q.WantCAS && r.cas == 0 && !s.opt.NoCAS {
		if !sh.rewrite(q, slot, loc, &r) {
			it.Miss = TTLOver
			var f freed
			sh.unlink(q.Hash, loc, &r, &f)
			sh.mu.Unlock()
			s.giveBack(&f)
			return false
		}
	}
	r.raw[1] |= metaFetched
	it.Flags, it.CAS, it.sh = r.flags, r.cas, sh
	if r.meta&metaInline != 0 {
		it.Value = r.value
		return true
	}
	ds := s.dataShardOfHandle(r.handle)
	ds.mu.Lock()
	it.ds = ds
	it.Value = ds.payload(ds.local(r.handle))
	return true
}

// Release unlocks what a hit locked. Value is invalid afterwards.
func (it *Item) Release() {
	if it.ds != nil {
		it.ds.mu.Unlock()
	}
	it.sh.mu.Unlock()
	it.sh, it.ds, it.Value = nil, nil, nil
}

// lease opens a lease for a route's key and tells in it how that went.
func (sh *shard) lease(q *Lookup, it *Item, why Urgency) {
	if q.Route != 0 && sh.s.route(q.Route) != nil {
		sh.openLease(q.Hash, q.Route, q.Now, why, it)
	}
}

// nearsEnd tells whether a fresh item that is being read is close enough to the end of its freshness to be loaded again, so
// that it is never served stale. A client's item that was asked for in vain has its own window.
func (sh *shard) nearsEnd(r *record, q *Lookup) bool {
	rs := sh.s.route(r.route)
	if rs == nil || rs.Ahead == 0 || r.state&stateAsked != 0 {
		return false
	}
	return q.Now.Second()-r.filled+rs.Ahead >= rs.freshFor(q.Hash)
}

// expire removes a record that judge found over.
func (sh *shard) expire(h uint64, loc uint32, r *record, v verdict, f *freed) {
	if v == isExpired {
		sh.st.reclaimed++
		if r.meta&metaFetched == 0 {
			sh.st.expiredUnfetched++
		}
	}
	sh.unlink(h, loc, r, f)
}

// rewrite gives the item the deadline and the CAS that q asks for, in place where the record has the fields, else by a new
// record. False without memory for that: the item may then not outlive its deadline, so the caller removes it.
func (sh *shard) rewrite(q *Lookup, slot *uint32, loc uint32, r *record) bool {
	cas := uint64(0)
	if q.WantCAS && r.cas == 0 && !sh.s.opt.NoCAS {
		cas = sh.newCAS()
	}
	needExpiry := q.Touch && q.Deadline != NoDeadline && r.meta&metaExpiry == 0
	if cas == 0 && !needExpiry {
		sh.setDeadline(r, q.Deadline)
		return true
	}
	d := draftOf(r)
	if cas != 0 {
		d.cas = cas
	}
	d.hasExpiry = d.hasExpiry || needExpiry
	if !sh.reserve(d.size()) {
		if !needExpiry { // only the CAS is missing: the client gets one that will not match
			r.cas = cas
			return true
		}
		return false
	}
	sh.link(q.Hash, slot, loc, r, &d, nil)
	r.decode(sh.raw(*slot))
	if q.Touch {
		sh.setDeadline(r, q.Deadline)
	}
	return true
}

// setDeadline sets the exptime of a record, which has the field unless the deadline is NoDeadline.
func (sh *shard) setDeadline(r *record, deadline uint32) {
	if r.route != 0 && r.state&stateKind == stateFilled {
		r.setState(r.state | stateTouched)
	}
	if r.meta&metaExpiry != 0 {
		r.setExpiry(expiryOf(deadline))
	}
}

// expiryOf turns a deadline into a record's expiry.
func expiryOf(deadline uint32) uint32 {
	if deadline == Expired {
		return 1 // the clock starts later than that
	}
	return deadline
}

// newCAS returns a value that no item of this store has had.
func (sh *shard) newCAS() uint64 {
	sh.st.cas++
	return sh.st.cas<<sh.s.z.shardBits | uint64(sh.no)
}
