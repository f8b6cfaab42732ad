package store

// held is a key as a command finds it under its shard's lock.
type held struct {
	slot *uint32 // nil: the index does not have it
	loc  uint32
	rec  record
	is   verdict
}

// look finds key and judges it; k is empty before.
func (sh *shard) look(k *held, h uint64, key []byte, route RouteID, now Time) {
	k.is = isFlushed
	if k.slot, k.loc = sh.find(h, key); k.slot != nil {
		k.rec.decode(sh.raw(k.loc))
		k.is = sh.judge(&k.rec, k.loc, h, route, now)
	}
}

func (k *held) present() bool { return k.slot != nil && k.is.present() }

// remove takes the key's record out, present or not.
func (sh *shard) remove(h uint64, k *held, f *freed) {
	if k.slot != nil {
		sh.unlink(h, k.loc, &k.rec, f)
		k.slot = nil
	}
}

// itemCost is what memcached counts of an item beside its key and value: header, CAS and line end. -I is compared with it
// included, so that the same values fit.
const itemCost = 48 + 8 + 1 + 2

// TooLargeFor tells whether a value of n bytes under a key of k bytes is over MaxItem.
func (s *Store) TooLargeFor(k, n int) bool { return k+n+itemCost > s.opt.MaxItem }

// Write runs a storage command and returns its status and, where asked, the new CAS. Stored, NotStored, Exists, NotFound
// answer as memcached; Ignored means that the route drops client writes. It may spend a millisecond on evicting.
func (s *Store) Write(w *Write) (Status, uint64) {
	rs := s.route(w.Route)
	if w.Route != 0 && rs != nil && rs.IgnoreSets {
		return Ignored, 0
	}
	if w.Op == Append || w.Op == Prepend {
		st, cas := s.concat(w)
		if st != NotFound {
			return st, cas
		}
		w.Op = Set // Vivify
		w.Size = len(w.Value)
	}
	if s.TooLargeFor(len(w.Key), len(w.Value)) {
		s.Oversized(w.Op, w.Key, w.Hash, w.Route, w.Now)
		return TooLarge, 0
	}
	var d draft
	d.key, d.flags, d.filled = w.Key, w.Flags, w.Now.Second()
	d.expiry, d.hasExpiry = expiryOf(w.Deadline), w.Deadline != NoDeadline
	if rs != nil {
		d.route, d.state = w.Route, stateClient
	}
	if w.BinaryKey {
		d.state |= stateBinary
		d.block = true
	}
	var f freed
	var r room
	ok := s.intern(&d, w.Hash, w.Value, &r)
	if w.Patient && r.late && (!ok || s.p.avail.Load() < s.z.moves+int64(s.z.segment)) {
		if ok && d.handle != noHandle {
			f.add(d.handle)
			s.giveBack(&f)
		}
		w.Short = Shortage{bytes: s.needs(len(w.Value))}
		return Later, 0
	}
	var own room
	booked, room := s.book(rs, d.cost(len(w.Value)), &own)
	if w.Patient && own.late {
		if ok && d.handle != noHandle {
			f.add(d.handle)
			s.giveBack(&f)
		}
		w.Short = Shortage{route: rs, share: int64(d.cost(len(w.Value)))}
		return Later, 0
	}
	sh := s.shardOf(w.Hash)
	sh.lock(w.Now)
	var k held
	sh.look(&k, w.Hash, w.Key, w.Route, w.Now)
	st := sh.allowed(w, &k)
	if st == Stored {
		if w.Op == CAS && k.rec.cas != w.CAS {
			d.expiry, d.hasExpiry = k.rec.expiry, k.rec.offExpiry != 0
			d.state |= stateStale | k.rec.state&stateSent
			d.block = true
		}
		d.cas = sh.chosenCAS(w.NewCAS, w.WantCAS)
		st = sh.store(w, &k, &d, ok, room, &f)
	} else if ok && d.handle != noHandle {
		f.add(d.handle)
	}
	sh.mu.Unlock()
	booked.end()
	s.giveBack(&f)
	s.nudge()
	return st, d.cas
}

// allowed tells whether the command's condition holds.
func (sh *shard) allowed(w *Write, k *held) Status {
	switch w.Op {
	case Add:
		if k.present() {
			return NotStored
		}
	case Replace:
		if !k.present() {
			return NotStored
		}
	case CAS:
		if !k.present() {
			return NotFound
		}
		has := k.rec.cas
		if has == 0 { // it will get the next, which is higher than any given out before
			has = (sh.st.cas+1)<<sh.s.z.shardBits | uint64(sh.no)
		}
		lower := w.CAS < has
		if (k.rec.cas == 0 || k.rec.cas != w.CAS) && !(w.Stale && lower) {
			return Exists
		}
	}
	return Stored
}

// chosenCAS is the CAS of an item about to be put: the client's choice, the next where the client wants to know it, or none
// until one asks.
func (sh *shard) chosenCAS(chosen uint64, want bool) uint64 {
	switch {
	case chosen != 0:
		return chosen
	case want && !sh.s.opt.NoCAS:
		return sh.newCAS()
	}
	return 0
}

// store puts the draft of a write whose condition holds. A write that finds no memory removes the old value, as memcached's
// does, so that no older value is served after it.
func (sh *shard) store(w *Write, k *held, d *draft, interned, room bool, f *freed) Status {
	sh.newer(w.Hash)
	if d.route != 0 {
		sh.killLease(w.Hash, w.Now)
	}
	if k.slot != nil && k.is >= isExpired {
		sh.countOver(&k.rec, k.is)
	}
	sh.enlist(w.Hash, k, d)
	if !interned || !room || !sh.reserve(d, forWrite) || !sh.link(w.Hash, k.slot, k.loc, &k.rec, d, f) {
		if interned && d.handle != noHandle {
			f.add(d.handle)
		}
		sh.remove(w.Hash, k, f)
		sh.s.noMemory.Add(1)
		return NoMemory
	}
	sh.st.total++
	return Stored
}

// needs is how many bytes a value of n bytes takes beyond what is kept free for small things.
func (s *Store) needs(n int) int64 {
	if !s.z.large(dataHead + n) {
		return 0
	}
	return int64(pagesFor(dataHead+n)) * pageSize
}

// intern gives d its value: in the record, or a reference to a datum. It makes room first where there is little; false when
// there is none.
func (s *Store) intern(d *draft, hash uint64, value []byte, r *room) bool {
	d.handle, d.value = noHandle, value
	if len(value) <= maxInline {
		r.make(s, 0)
		return true
	}
	need := s.needs(len(value))
	hi, lo := s.digest(hash, value)
	r.make(s, need)
	for range 4 {
		if s.keep(d, hash, hi, lo) {
			return true
		}
		// Enough memory may be free and yet no run of pages: a pass makes others.
		if !r.make(s, need+2*int64(s.z.segment)) || !s.pass(s.passInline()) {
			break
		}
	}
	return s.keep(d, hash, hi, lo)
}

// keep turns d's value into a reference where it is to be a datum. False: no memory.
func (s *Store) keep(d *draft, hash, hi, lo uint64) bool {
	if s.z.large(dataHead + len(d.value)) {
		return s.keepLarge(d, hi, lo)
	}
	ds := s.dataShardOf(hi)
	ds.mu.Lock()
	had := ds.st.count
	h, ok := ds.keep(hash, lo, d.value)
	if ds.st.count > had {
		s.pays(d)
	}
	ds.mu.Unlock()
	if ok && h != noHandle {
		d.value, d.handle = nil, h
	}
	return ok
}

// Oversized is a storage command whose value was over MaxItem and was swallowed: a set removes what the key held.
func (s *Store) Oversized(op WriteOp, key []byte, hash uint64, route RouteID, now Time) {
	if rs := s.route(route); op != Set || rs != nil && rs.IgnoreSets {
		return
	}
	var f freed
	sh := s.shardOf(hash)
	sh.lock(now)
	var k held
	sh.look(&k, hash, key, route, now)
	sh.newer(hash)
	sh.remove(hash, &k, &f)
	if route != 0 {
		sh.killLease(hash, now)
	}
	sh.mu.Unlock()
	s.giveBack(&f)
}

// concat is one append or prepend. A short value is read and the new one put under one hold of the key's lock, a long one is
// rebuilt.
type concat struct {
	buf   []byte // its capacity is for the new value
	need  int    // the new value's length, when it was looked at last
	grows int    // what the key's route has more of then
	rebuild
}

func (s *Store) concat(w *Write) (Status, uint64) {
	var r, own room
	var c concat
	defer c.drop(s)
	rs := s.route(w.Route)
	for tries := 0; ; {
		booked, room := s.book(rs, c.grows, &own)
		if !room {
			if w.Patient && own.late {
				w.Short = Shortage{route: rs, share: int64(c.grows)}
				return Later, 0
			}
			s.noMemory.Add(1)
			return NoMemory, 0
		}
		st, cas, done := s.tryConcat(w, &c)
		booked.end()
		if !done {
			if c.work(s, w, &r) {
				continue
			}
			st, tries = NoMemory, concatTries // to make room was part of it
		}
		switch {
		case st == NoMemory && tries < concatTries && r.make(s, int64(cap(c.buf))+pageSize):
			tries++
		case st == NoMemory && w.Patient && r.late:
			w.Short = Shortage{bytes: int64(cap(c.buf)) + pageSize}
			return Later, 0
		default:
			if st == NoMemory {
				s.noMemory.Add(1)
			}
			s.nudge()
			return st, cas
		}
	}
}

// concatTries is how often a concat that finds no memory makes room.
const concatTries = 7

// work does what the next tryConcat needs and no lock is needed for. False: no memory.
func (c *concat) work(s *Store, w *Write, r *room) bool {
	switch {
	case c.ready: // and the key has another value by now
		c.drop(s)
		c.lost++
	case c.taken:
		value := c.buf[:c.need]
		if w.Op == Append {
			copy(value[copy(value, c.old):], w.Value)
		} else {
			copy(value[copy(value, w.Value):], c.old)
		}
		return c.make(s, w.Hash, value, r)
	default:
		c.buf = make([]byte, 0, c.need)
	}
	return true
}

// tryConcat is one hold of the key's lock. Unless it is done, work is to be done before the next.
func (s *Store) tryConcat(w *Write, c *concat) (st Status, cas uint64, done bool) {
	var f freed
	defer s.giveBack(&f)
	sh := s.shardOf(w.Hash)
	sh.lock(w.Now)
	defer sh.mu.Unlock()
	var k held
	sh.look(&k, w.Hash, w.Key, w.Route, w.Now)
	if !k.present() {
		if w.Vivify {
			return NotFound, 0, true
		}
		return NotStored, 0, true
	}
	if w.CAS != 0 && w.CAS != k.rec.cas {
		return Exists, 0, true
	}
	old := k.rec.value
	var ds *dataShard
	if k.rec.meta&metaInline == 0 {
		ds = s.dataShardOfHandle(k.rec.handle)
		ds.mu.Lock()
		old = ds.payload(ds.local(k.rec.handle))
	}
	n := len(old) + len(w.Value)
	c.need, c.grows = n, maxHead/4+n
	if r := &k.rec; r.route == w.Route && (r.meta&metaInline != 0 || r.state&statePays != 0) {
		c.grows = maxHead/4 + len(w.Value)
	}
	tooLarge := s.TooLargeFor(len(w.Key), n)
	switch {
	case tooLarge:
		st, done = NotStored, true
	case c.ready:
		done = c.of(&k.rec)
	case cap(c.buf) < n:
	case n > s.z.privateMax && c.lost < mostLost:
		at := 0
		if w.Op == Prepend {
			at = len(w.Value)
		}
		c.take(ds, &k.rec, old, c.buf[at:n])
	default:
		done = true
		if w.Op == Append {
			c.buf = append(append(c.buf[:0], old...), w.Value...)
		} else {
			c.buf = append(append(c.buf[:0], w.Value...), old...)
		}
	}
	if ds != nil {
		ds.mu.Unlock()
	}
	if !done || tooLarge {
		return st, 0, done
	}
	d := sh.redraft(&k)
	sh.claim(&d, w.Route, w.Now)
	d.value, d.handle, d.fetched = c.buf, noHandle, false
	d.cas = sh.chosenCAS(w.NewCAS, w.WantCAS)
	if c.ready {
		c.fill(s, &d)
	} else if n > maxInline {
		if hi, lo := s.digest(w.Hash, c.buf); !s.keep(&d, w.Hash, hi, lo) {
			return NoMemory, 0, true
		}
	}
	if !sh.reserve(&d, forWrite) || !sh.link(w.Hash, k.slot, k.loc, &k.rec, &d, &f) {
		if d.handle != noHandle && !c.ready {
			f.add(d.handle)
		}
		return NoMemory, 0, true
	}
	c.spent()
	sh.newer(w.Hash)
	if w.Route != 0 {
		sh.killLease(w.Hash, w.Now)
	}
	sh.st.total++
	w.Size = n
	return Stored, d.cas, true
}

// claim makes a draft a client's item with the deadlines that it had. What the meta commands remembered of it is forgotten.
func (sh *shard) claim(d *draft, route RouteID, now Time) {
	switch {
	case d.route != 0:
		d.state = d.state&stateStale | stateClient
	case sh.s.route(route) != nil:
		d.route, d.filled, d.state = route, now.Second(), stateClient|stateStale
	default:
		d.block, d.state = false, 0
	}
}

// Delete removes key: Deleted, NotFound, or Exists where cas is not 0 and differs. A route's key then settles.
func (s *Store) Delete(key []byte, hash uint64, route RouteID, now Time, cas uint64) Status {
	var f freed
	rs := s.route(route)
	sh := s.shardOf(hash)
	sh.lock(now)
	var k held
	sh.look(&k, hash, key, route, now)
	st := NotFound
	if k.present() {
		st = Deleted
		if cas != 0 && cas != k.rec.cas {
			sh.mu.Unlock()
			return Exists
		}
	}
	sh.newer(hash)
	sh.remove(hash, &k, &f)
	if rs != nil {
		sh.settle(hash, route, now, rs.Settle.Milliseconds())
	}
	sh.mu.Unlock()
	s.giveBack(&f)
	return st
}

// Touch sets the deadline: Touched, NotFound, or NoMemory.
func (s *Store) Touch(key []byte, hash uint64, route RouteID, now Time, deadline uint32) Status {
	var r room
	for try := 0; ; try++ {
		st := s.tryTouch(key, hash, route, now, deadline)
		if st != NoMemory || try == 3 || !r.make(s, 2*int64(s.z.segment)) {
			s.nudge()
			return st
		}
	}
}

func (s *Store) tryTouch(key []byte, hash uint64, route RouteID, now Time, deadline uint32) Status {
	sh := s.shardOf(hash)
	sh.lock(now)
	defer sh.mu.Unlock()
	var k held
	sh.look(&k, hash, key, route, now)
	switch {
	case !k.present():
		return NotFound
	case !sh.rewrite(hash, &k, change{touch: true, deadline: deadline}):
		return NoMemory
	}
	sh.newer(hash)
	sh.bump(&k, now)
	return Touched
}
