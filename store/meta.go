package store

// What the meta commands ask of an item beyond the classic ones: when it was read last, who is to recompute it, placeholders,
// and items that stay invalidated. A plain record grows the fields for that when it first needs them.

// tell fills it with the facts about a present record before this read, and decides the win token; true: the caller has just
// won the plain item's token, which is to be noted.
func (sh *shard) tell(q *Lookup, k *held, it *Item) (token bool) {
	r := &k.rec
	it.Deadline = r.expiry
	if q.Access {
		it.LastAccess = sh.sinceAccess(k, q.Now)
	}
	it.Fetched = r.meta&metaFetched != 0
	it.BinaryKey = r.state&stateBinary != 0
	recache := false
	if q.Recache {
		deadline := r.expiry
		if q.RecacheTouched && q.Touch {
			deadline = expiryOf(q.Deadline)
		}
		recache = deadline != 0 && deadline < q.RecacheBelow
	}
	if r.route != 0 || q.Route != 0 {
		if k.is == isFresh && recache {
			sh.lease(q, it, ForStale)
		}
		if k.is == isStale || recache {
			it.Won = it.Lease.Serial != 0
			it.Sent = it.Leased && !it.Won
		}
		return false
	}
	it.Stale = r.state&stateStale != 0
	it.Sent = r.state&stateSent != 0
	it.Won = (it.Stale || recache) && !it.Sent
	return it.Won
}

// accessed returns the second at which a record was read last, as far as it remembers that, or else stored.
func (sh *shard) accessed(k *held) uint32 {
	if k.rec.offState != 0 {
		return k.rec.filled
	}
	return sh.stored(k.loc)
}

// sinceAccess returns the seconds since then. Another worker's clock may have been ahead.
func (sh *shard) sinceAccess(k *held, now Time) uint32 {
	sec := now.Second()
	return sec - min(sec, sh.accessed(k))
}

// vivify puts an empty item where a Get found nothing, without killing the lease that the Get may have opened: the fill takes
// its place. False without memory.
func (sh *shard) vivify(q *Lookup, k *held, it *Item, f *freed) bool {
	d := draft{
		key: q.Key, handle: noHandle, expiry: expiryOf(q.VivifyDeadline), hasExpiry: q.VivifyDeadline != NoDeadline,
		filled: q.Now.Second(), state: stateSent, block: true, cas: q.NewCAS, fetched: !q.NoBump,
	}
	if sh.s.route(q.Route) != nil {
		d.route, d.state = q.Route, stateClient|stateSent|stateStale
		if it.Miss == Negative { // nothing is loaded before its window ends
			d.state = stateClient | stateSent | stateAsked
		}
	}
	if d.cas == 0 && q.WantCAS && !sh.s.opt.NoCAS {
		d.cas = sh.newCAS()
	}
	sh.newer(q.Hash)
	sh.enlist(q.Hash, k, &d)
	if !sh.reserve(&d, forWrite) || !sh.link(q.Hash, k.slot, k.loc, &k.rec, &d, f) {
		return false
	}
	sh.st.total++
	it.CAS, it.sh, it.Created, it.Won = d.cas, sh, true, true
	return true
}

// Remove deletes an item, or does to it what the meta delete command can do instead: Deleted when that worked, NotFound,
// Exists, NoMemory. On a route the key settles as after Delete.
func (s *Store) Remove(d *Deletion) Status {
	if d.Drop || d.Invalidate {
		s.makeRoom(0)
	}
	var f freed
	defer s.giveBack(&f)
	rs := s.route(d.Route)
	sh := s.shardOf(d.Hash)
	sh.lock(d.Now)
	defer sh.mu.Unlock()
	var k held
	sh.look(&k, d.Hash, d.Key, d.Route, d.Now)
	if k.present() && d.Compare && k.rec.cas != d.CAS {
		return Exists
	}
	sh.newer(d.Hash)
	if rs != nil {
		defer func() { sh.settle(d.Hash, d.Route, d.Now, rs.Settle.Milliseconds()) }()
	}
	if !k.present() {
		sh.remove(d.Hash, &k, &f)
		return NotFound
	}
	if !d.Drop && !d.Invalidate {
		sh.remove(d.Hash, &k, &f)
		return Deleted
	}
	nd := sh.redraft(&k)
	if d.Drop {
		nd.value, nd.handle, nd.flags = nil, noHandle, d.Flags
		nd.expiry, nd.hasExpiry, nd.fetched = 0, false, false
		nd.state &^= stateStale | stateSent | stateBinary
		if nd.route == 0 {
			nd.block = false
		}
		sh.claim(&nd, d.Route, d.Now)
		sh.st.total++
	}
	if d.Touch {
		nd.expiry, nd.hasExpiry = expiryOf(d.Deadline), d.Deadline != NoDeadline
		if nd.route != 0 && nd.state&stateKind == stateFilled {
			nd.state |= stateTouched
		}
	}
	if d.Invalidate {
		if nd.route == 0 && !nd.block {
			nd.block, nd.filled = true, sh.accessed(&k)
		}
		nd.state = nd.state&^(stateSent|stateAsked) | stateStale
		if d.NewCAS == 0 && !s.opt.NoCAS {
			nd.cas = sh.newCAS()
		}
	}
	if d.NewCAS != 0 {
		nd.cas = d.NewCAS
	}
	into := &f
	if !d.Drop {
		into = nil // the payload stays referenced
	}
	if !sh.reserve(&nd, forWrite) {
		sh.remove(d.Hash, &k, &f)
		return NoMemory
	}
	sh.link(d.Hash, k.slot, k.loc, &k.rec, &nd, into)
	return Deleted
}
