package store

import (
	"bytes"
	"time"
)

// fillRoomTime bounds what a fill may spend on evicting; no client waits for it.
const fillRoomTime = 100 * time.Millisecond

// PutLease ends the lease l and, if it was alive, puts what the load brought, in one critical section: whatever set, delete
// or flush came since the lease was opened has killed it, so an older value never lands on a newer one. f.Key and f.Value
// are copied.
func (s *Store) PutLease(l Lease, f *Fill) PutStatus {
	d := draft{
		key: f.Key, flags: f.Flags, route: f.Route, filled: f.filled(), state: stateFilled, handle: noHandle,
		expiry: expiryOf(f.Deadline), hasExpiry: f.Deadline != NoDeadline,
	}
	row := !f.Absent && !f.Failed
	status := PutStored
	switch {
	case !row:
	case s.TooLargeFor(len(f.Key), len(f.Value)):
		row, status = false, PutTooLarge
	default:
		if !f.New {
			if st, done := s.putSame(l, f); done {
				return st
			}
		}
		if need := s.needs(len(f.Value)); s.p.avail.Load() < need+s.low.Load() {
			s.AwaitRoom(Shortage{bytes: need}, fillRoomTime)
		}
		if !s.intern(&d, l.Hash, f.Value, new(room)) {
			row, status = false, PutNoRoom
		}
	}
	var out freed
	booked, room := s.book(s.route(f.Route), d.cost(len(f.Value)), &room{most: fillRoomTime})
	sh := s.shardOf(l.Hash)
	sh.lock(f.Now)
	st := sh.putLease(l, f, &d, row, room, &out)
	if row && d.handle != noHandle && st != PutStored {
		out.add(d.handle)
	}
	sh.mu.Unlock()
	booked.end()
	s.giveBack(&out)
	s.nudge()
	if status != PutStored && st != PutKilled {
		return status
	}
	return st
}

// filled is the second at which the value was true, as far as the clock goes back.
func (f *Fill) filled() uint32 {
	if sec := f.Now.Second(); f.Age < sec {
		return sec - f.Age
	}
	return f.Now.Second()
}

// old tells whether the value is stale from the start.
func (f *Fill) old() bool { return f.Stale || f.Age > 0 && f.Age >= f.Now.Second() }

// putLease does PutLease's work under the lock. It keeps d's reference only with PutStored.
func (sh *shard) putLease(l Lease, f *Fill, d *draft, row, room bool, out *freed) PutStatus {
	e, ok := sh.ownLease(l, f.Now)
	if !ok {
		return PutKilled
	}
	rs := sh.s.route(f.Route)
	if rs == nil || e.b.route[e.i] != f.Route {
		sh.endLease(e, f.Now)
		return PutKilled
	}
	if !f.Failed {
		sh.newer(l.Hash)
	}
	if e.b.settle[e.i] != 0 || f.old() {
		d.state |= stateStale // settled: loaded perhaps from before a commit
	}
	var k held
	sh.look(&k, l.Hash, f.Key, f.Route, f.Now)
	if k.slot != nil && k.is >= isExpired {
		sh.expire(l.Hash, k.loc, &k.rec, k.is, out)
		k.slot = nil
	}
	if !row {
		return sh.putNothing(l, f, d, rs, e, &k, out)
	}
	if k.slot != nil {
		r := &k.rec
		if r.route != 0 && r.state&stateTouched != 0 {
			d.state |= stateTouched
			d.expiry, d.hasExpiry = r.expiry, r.offExpiry != 0
		}
		d.fetched = r.meta&metaFetched != 0
	}
	sh.enlist(l.Hash, &k, d)
	if !room || !sh.reserve(d, forWrite) || !sh.link(l.Hash, k.slot, k.loc, &k.rec, d, out) {
		sh.s.noMemory.Add(1)
		sh.asked(e, int64(f.Now)+int64(rs.Negative)*1000)
		return PutNoRoom
	}
	sh.closeLease(e, f.Now, true)
	if k.slot == nil {
		sh.st.total++
	}
	return PutStored
}

// putSame ends a fill that needs no payload kept: the lease is gone, or the item has this payload already. done false: go on;
// as long as the lease lives, nobody can give the item this payload meanwhile.
func (s *Store) putSame(l Lease, f *Fill) (st PutStatus, done bool) {
	sh := s.shardOf(l.Hash)
	sh.lock(f.Now)
	defer sh.mu.Unlock()
	e, ok := sh.ownLease(l, f.Now)
	if !ok {
		return PutKilled, true
	}
	var k held
	sh.look(&k, l.Hash, f.Key, f.Route, f.Now)
	if k.slot == nil || k.is >= isExpired || sh.s.route(f.Route) == nil || e.b.route[e.i] != f.Route || !sh.same(&k, f) {
		return 0, false
	}
	state := byte(stateFilled)
	if e.b.settle[e.i] != 0 || f.old() {
		state |= stateStale
	}
	sh.closeLease(e, f.Now, true)
	sh.newer(l.Hash)
	sh.refresh(&k, f, state)
	return PutSame, true
}

// same tells whether a held record already is what the fill brings. One from before a route change is stale by its place in
// the log, so it cannot be made fresh where it stands.
func (sh *shard) same(k *held, f *Fill) bool {
	r := &k.rec
	if r.route != f.Route || r.flags != f.Flags || r.state&stateKind == stateNegative || sh.outdated(k) {
		return false
	}
	if r.state&stateTouched == 0 && (r.state&stateKind == stateFilled || f.Deadline != NoDeadline) && r.expiry != expiryOf(f.Deadline) {
		return false // the source gives it another deadline
	}
	if r.meta&metaInline != 0 {
		return bytes.Equal(r.value, f.Value)
	}
	ds := sh.s.dataShardOfHandle(r.handle)
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return bytes.Equal(ds.payload(ds.local(r.handle)), f.Value)
}

// outdated tells whether a record is stale by its place in the log: it is from before its route changed.
func (sh *shard) outdated(k *held) bool {
	log, pos := sh.place(k.loc)
	return pos < sh.st.routes[k.rec.route].stalePos[log]
}

// refresh makes a record that holds the right payload a freshly filled one.
func (sh *shard) refresh(k *held, f *Fill, state byte) {
	r := &k.rec
	sh.count(r.route, r.state, 0, -1)
	if r.state&stateKind == stateClient && r.offExpiry != 0 {
		r.setExpiry(0)
	}
	r.setState(state | r.state&(stateTouched|statePays))
	r.setFilled(f.filled())
	sh.count(r.route, r.state, 0, 1)
	sh.expect(sh.segment(k.loc), sh.endOf(r.route, r.state, r.filled, r.expiry)) // a client's may have had no end
}

// negativeShare bounds what negative items may take, as a part of the memory limit.
const negativeShare = 20

// putNothing is a load that left nothing to put. So that the key is not asked for again at once, that it was asked is kept:
// in the client's item that stays, as a negative item, or, beside an older filled item or without room, in the lease's entry.
func (sh *shard) putNothing(l Lease, f *Fill, d *draft, rs *routeState, e leaseEntry, k *held, out *freed) PutStatus {
	until := int64(f.Now) + int64(rs.Negative)*1000
	kind := k.rec.state & stateKind
	placeholder := k.rec.state&stateSent != 0
	if k.slot != nil && !placeholder && (k.rec.route == 0 || kind == stateClient) {
		if k.rec.route == 0 || sh.outdated(k) {
			sh.asked(e, until)
			return PutKept
		}
		sh.closeLease(e, f.Now, true)
		k.rec.setState(k.rec.state&^stateStale | stateAsked)
		k.rec.setFilled(d.filled)
		return PutKept
	}
	if k.slot != nil && kind == stateFilled && !f.Absent {
		sh.asked(e, until)
		return PutKept
	}
	d.state, d.value, d.handle, d.flags = d.state&^stateKind|stateNegative, nil, noHandle, 0
	d.expiry, d.hasExpiry = 0, false
	perShard := sh.s.p.limit.Load() / int64(sh.s.z.shards)
	if k.slot == nil && sh.st.negBytes > perShard/negativeShare || !sh.reserve(d, forWrite) ||
		!sh.link(l.Hash, k.slot, k.loc, &k.rec, d, out) {
		if k.slot != nil && f.Absent { // the row is gone: its old value may not stay
			sh.unlink(l.Hash, k.loc, &k.rec, out)
		}
		sh.asked(e, until)
		return PutNegative
	}
	sh.closeLease(e, f.Now, true)
	return PutNegative
}
