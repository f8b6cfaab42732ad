package store

// Get looks one key up; see Item for what is then locked and what a miss tells. On a route, a key that is absent, expired or
// stale gets a lease where none is open. It does not allocate.
func (s *Store) Get(q *Lookup, it *Item) bool {
	if q.Vivify && s.cap(s.route(q.Route)) > 0 {
		return s.getOrMake(q, it)
	}
	return s.find(q, it)
}

// getOrMake is Get for a placeholder that counts for a route's cap.
func (s *Store) getOrMake(q *Lookup, it *Item) bool {
	booked, room := s.book(s.route(q.Route), maxHead/4+len(q.Key), new(room))
	defer booked.end()
	look := *q
	look.Vivify = room
	return s.find(&look, it)
}

// find is Get with what it may put accounted for.
func (s *Store) find(q *Lookup, it *Item) bool {
	ok, again := s.get(q, it, true)
	if again {
		var r room
		for try := 0; again; try++ {
			why := it.Miss
			r.make(s, 2*int64(s.z.segment))
			if ok, again = s.get(q, it, try < 3); it.Miss == Absent && (!ok || it.Created) {
				it.Miss = why // the first try has taken out what was there
			}
		}
	}
	return ok
}

// get is one try of Get. again: the item needs a field more, or is to be made, and there is no memory for it; nothing is locked
// and no lease was opened. Without more it does what it can.
func (s *Store) get(q *Lookup, it *Item, more bool) (ok, again bool) {
	*it = Item{}
	sh := s.shardOf(q.Hash)
	sh.lock(q.Now)
	var k held
	k.is = isFlushed
	if k.slot, k.loc = sh.find(q.Hash, q.Key); k.slot == nil {
		return s.missed(sh, q, &k, it, more)
	}
	r := &k.rec
	r.decode(sh.raw(k.loc))
	switch k.is = sh.judge(r, k.loc, q.Hash, q.Route, q.Now); k.is {
	case isFresh:
		if r.route != 0 && sh.nearsEnd(r, q.Hash, q.Now) {
			sh.lease(q, it, ForAhead)
		}
	case isStale:
		it.Stale = r.state&stateSent == 0 // a placeholder was never fresh
		sh.lease(q, it, ForStale)
	default:
		return s.missed(sh, q, &k, it, more)
	}
	ch := change{touch: q.Touch, deadline: q.Deadline}
	if q.Touch {
		sh.newer(q.Hash)
	}
	if q.WantCAS && r.cas == 0 && !s.opt.NoCAS {
		ch.cas = sh.newCAS()
	}
	token := q.Meta && sh.tell(q, &k, it) && !q.Peek
	if r.route == 0 {
		ch.block = token || q.Access && !q.NoBump
	}
	if ch != (change{}) && !sh.rewrite(q.Hash, &k, ch) {
		if more {
			if it.Lease.Serial != 0 {
				sh.dropLease(it.Lease, q.Now)
			}
			sh.mu.Unlock()
			return false, true
		}
		s.noMemory.Add(1)
		if ch.touch && ch.deadline != NoDeadline && r.offExpiry == 0 { // without its deadline it may not stay
			var f freed
			sh.evictOne(q.Hash, probation, &k, &f)
			if it.Lease.Serial != 0 {
				sh.dropLease(it.Lease, q.Now)
			}
			sh.mu.Unlock()
			s.giveBack(&f)
			*it = Item{Miss: TTLOver}
			return false, false
		}
	}
	if token && r.route == 0 && r.offState != 0 {
		r.setState(r.state | stateSent)
	}
	if !q.NoBump {
		sh.bump(&k, q.Now)
	}
	it.Flags, it.CAS, it.sh = r.flags, r.cas, sh
	if r.meta&metaInline != 0 {
		it.Value = r.value
		return true, false
	}
	ds := s.dataShardOfHandle(r.handle)
	ds.mu.Lock()
	it.ds, it.datum = ds, ds.local(r.handle)
	it.Value = ds.payload(it.datum)
	return true, false
}

// missed ends a Get that found nothing to answer: it says why, leases the load that is due, removes what is over, and makes
// the placeholder that the caller asked for, which is then a hit. again and more are those of get.
func (s *Store) missed(sh *shard, q *Lookup, k *held, it *Item, more bool) (ok, again bool) {
	it.Miss = k.missReason()
	if it.Miss != Negative {
		sh.lease(q, it, ForMiss)
	}
	var f freed
	if k.slot != nil && k.is >= isExpired {
		sh.expire(q.Hash, k.loc, &k.rec, k.is, &f)
		k.slot = nil
	}
	if q.Vivify && sh.vivify(q, k, it, &f) {
		s.giveBack(&f) // a data lock may follow a key lock
		return true, false
	}
	if again = q.Vivify && more; again && it.Lease.Serial != 0 {
		sh.dropLease(it.Lease, q.Now)
	}
	sh.mu.Unlock()
	s.giveBack(&f)
	if q.Vivify && !more {
		s.noMemory.Add(1)
	}
	return false, again
}

// missReason says why k is not to be answered.
func (k *held) missReason() MissReason {
	switch {
	case k.slot == nil:
		return Absent
	case k.is == isNegative:
		return Negative
	case k.is == isFlushed:
		return Flushed
	case k.rec.negative():
		return Absent
	}
	return TTLOver
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
func (sh *shard) nearsEnd(r *record, hash uint64, now Time) bool {
	rs := sh.s.route(r.route)
	if rs == nil || rs.Ahead == 0 || r.state&stateAsked != 0 {
		return false
	}
	sec := now.Second()
	return sec-min(sec, r.filled)+rs.Ahead >= rs.freshFor(hash)
}

// expire removes a record that judge found over.
func (sh *shard) expire(h uint64, loc uint32, r *record, v verdict, f *freed) {
	sh.countOver(r, v)
	sh.unlink(h, loc, r, f)
}

// countOver counts a record that judge found over and a command removes.
func (sh *shard) countOver(r *record, v verdict) {
	if r.negative() {
		return
	}
	sh.st.reclaimed++
	if v == isExpired && r.meta&metaFetched == 0 {
		sh.st.expiredUnfetched++
	}
}

// change is what a command alters of an item beside its value.
type change struct {
	cas      uint64 // 0: as it is
	touch    bool
	deadline uint32 // with touch
	block    bool   // a plain item gets the route's fields, to remember more
}

// rewrite makes the change, in place where the record has the fields, else by a new record; k then names that. False: there
// is no memory for that, and what could be done in place is done.
func (sh *shard) rewrite(h uint64, k *held, ch change) bool {
	r := &k.rec
	needExpiry := ch.touch && ch.deadline != NoDeadline && r.offExpiry == 0
	needBlock := ch.block && r.offState == 0
	ok := true
	if needExpiry || needBlock || ch.cas != 0 && r.offCAS == 0 {
		d := sh.redraft(k)
		if ch.cas != 0 {
			d.cas = ch.cas
		}
		d.hasExpiry = d.hasExpiry || needExpiry
		if needBlock {
			d.block, d.filled = true, sh.now.Second()
		}
		if ok = sh.reserve(&d, forWrite); ok {
			sh.link(h, k.slot, k.loc, r, &d, nil)
			k.loc = *k.slot
			r.decode(sh.raw(k.loc))
		}
	}
	if ch.cas != 0 {
		r.cas = ch.cas // without memory for the field, one that will not match
		if r.offCAS != 0 {
			r.setCAS(ch.cas)
		}
	}
	if ch.touch {
		sh.setDeadline(r, k.loc, ch.deadline)
	}
	return ok
}

// setDeadline sets the exptime of a record, which has the field unless the deadline is NoDeadline.
func (sh *shard) setDeadline(r *record, loc, deadline uint32) {
	if r.route != 0 && r.state&stateKind == stateFilled {
		r.setState(r.state | stateTouched)
	}
	if r.offExpiry != 0 {
		r.setExpiry(expiryOf(deadline))
		if r.expiry != 0 {
			sh.expect(sh.segment(loc), r.expiry)
		}
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
