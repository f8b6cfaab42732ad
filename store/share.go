package store

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"time"
)

// A route can have a cap on its part of the memory (Route.MemoryPercent). What it has in all shards is counted while it has one:
// its records and the payloads that they brought. Before another is put that would be too many, the route's own go, oldest
// first, from one shard after the other. So one route's flood costs the others nothing.

// share is what a route with a cap has.
type share struct {
	bytes atomic.Int64  // of its records and payloads in all shards, and of what is booked
	turn  atomic.Uint32 // counts up to the shard that is to lose some next
	_     [52]byte
}

// shareCursor is where the search for a route's oldest records in a shard goes on. It moves on when its segment is given back.
type shareCursor struct {
	log, seg uint32
	off      uint32
}

// shareScan is how many records one lock hold looks at on the search at most, nearly all of other routes perhaps.
const shareScan = 256

// cap returns the bytes that the route may have; 0: as much as there is.
func (s *Store) cap(rs *routeState) int64 {
	if rs == nil || rs.MemoryPercent == 0 {
		return 0
	}
	return s.p.limit.Load() / 100 * int64(rs.MemoryPercent)
}

// booking is what is counted for a route before it is put, so that several writers together do not go over its cap.
type booking struct {
	share *share // nil: the route has no cap
	bytes int64
}

// end is due when what was booked has been put, and counts as that, or has not.
func (b booking) end() {
	if b.share != nil {
		b.share.bytes.Add(-b.bytes)
	}
}

// book counts size bytes more for a route that has a cap, for which it takes out the route's oldest records. False: there is no
// room for them, or, with r.late, not yet. The caller holds no lock.
func (s *Store) book(rs *routeState, size int, r *room) (booking, bool) {
	most := s.cap(rs)
	if most == 0 {
		return booking{}, true
	}
	b := booking{&s.shares[rs.id], int64(size)}
	for !b.fits(most) {
		if b.bytes > most || s.opt.NoEvict {
			return booking{}, false
		}
		now := time.Now()
		r.begin(s, now)
		if r.late = now.After(r.end); r.late {
			return booking{}, false
		}
		if !s.evictOwn(rs.id, most-b.bytes) {
			runtime.Gosched() // all of it is booked by others, who are about to put it
		}
	}
	return b, true
}

// bookFree is book for one who takes nothing out for it.
func (s *Store) bookFree(rs *routeState, size int) (booking, bool) {
	most := s.cap(rs)
	if most == 0 {
		return booking{}, true
	}
	b := booking{&s.shares[rs.id], int64(size)}
	if !b.fits(most) {
		return booking{}, false
	}
	return b, true
}

// fits books what is to be booked, if there is room for it.
func (b booking) fits(most int64) bool {
	for {
		has := b.share.bytes.Load()
		if has+b.bytes > most {
			return false
		}
		if b.share.bytes.CompareAndSwap(has, has+b.bytes) {
			return true
		}
	}
}

// evictOwn takes a few of a route's oldest records out of the shard whose turn it is, as long as the route has more than most.
// False: no shard has any.
func (s *Store) evictOwn(id RouteID, most int64) bool {
	share := &s.shares[id]
	for range s.shards {
		sh := &s.shards[share.turn.Add(1)%uint32(len(s.shards))]
		var f freed
		sh.lock(s.Now())
		had := sh.st.routes[id].bytes > 0
		if had {
			began := time.Now()
			looked := sh.evictOldest(id, share, most, &f)
			s.holds.note(HoldEvict, looked, began)
			sh.check()
		}
		sh.mu.Unlock()
		s.giveBack(&f)
		if had {
			return true
		}
	}
	return false
}

// keepShares takes the oldest out of each route that has more than its cap, which a reload or a smaller limit may have lowered,
// though nobody writes to it any more. rest is as in reap; false: the work was ended.
func (s *Store) keepShares(rest func() bool) bool {
	if s.opt.NoEvict {
		return true
	}
	for id := range s.shares {
		for {
			most := s.cap(s.route(RouteID(id)))
			if most == 0 || s.shares[id].bytes.Load() <= most || !s.evictOwn(RouteID(id), most) {
				break
			}
			if !rest() {
				return false
			}
		}
	}
	return true
}

// evictOldest does evictOwn's work in one shard and returns how many records it looked at.
func (sh *shard) evictOldest(id RouteID, share *share, most int64, f *freed) (looked int) {
	c := sh.cursors[id]
	if c == nil {
		c = &shareCursor{seg: noSegment}
		if sh.cursors == nil {
			sh.cursors = make(map[RouteID]*shareCursor)
		}
		sh.cursors[id] = c
	}
	turned := false
	for left := sh.s.passInline(); share.bytes.Load() > most && looked < shareScan && left > 0; looked++ {
		if !sh.aim(c, &turned) {
			break
		}
		raw := sh.raw(uint32((uint64(c.seg)<<sh.s.z.segShift + uint64(c.off)) >> sh.s.z.unitShift))
		if raw[1]&metaRoute == 0 || RouteID(binary.LittleEndian.Uint16(raw[2:])) != id {
			_, n := recordKey(raw)
			c.off += uint32(alignUp(uint64(n), 1<<sh.s.z.unitShift))
			continue
		}
		log := int(c.log)
		h, k := sh.step(c.seg, &c.off)
		left--
		switch {
		case k.slot == nil:
		case k.is >= isExpired:
			sh.expire(h, k.loc, &k.rec, k.is, f)
		case k.rec.meta&metaHits != 0 && !k.rec.negative():
			k.rec.raw[1]-- // it has earned another turn
		default:
			sh.evictOne(h, log, &k, f)
		}
	}
	return looked
}

// tally begins or ends counting what the routes have here for their caps, as the routes now say. The caller holds the lock.
func (sh *shard) tally() {
	for id := range sh.tallied {
		if capped := sh.s.cap(sh.s.route(RouteID(id))) > 0; capped != sh.tallied[id] {
			n := sh.st.routes[id].bytes
			if !capped {
				n = -n
			}
			sh.tallied[id] = capped
			sh.s.shares[id].bytes.Add(n)
		}
	}
}

// weigh counts n bytes more of a route, or less.
func (sh *shard) weigh(id RouteID, n int64) {
	sh.st.routes[id].bytes += n
	if sh.tallied[id] {
		sh.s.shares[id].bytes.Add(n)
	}
}

// aim moves a cursor to the next record: behind a segment's end to the next segment, from probation to the main log, and from
// there back to the oldest, once; false: that was the second time, or there is nothing.
func (sh *shard) aim(c *shareCursor, turned *bool) bool {
	meta := sh.s.p.meta
	for {
		switch {
		case c.seg == noSegment:
			c.seg, c.off = sh.st.logs[c.log].head, 0
		case c.off < meta[c.seg].used:
			return true
		default:
			c.seg, c.off = meta[c.seg].next, 0
		}
		if c.seg == noSegment {
			c.log++
			if c.log == logCount {
				c.log = probation
				if *turned {
					return false
				}
				*turned = true
			}
		}
	}
}

// pays notes that d's payload is new, and so to be counted for a route that has a cap.
func (s *Store) pays(d *draft) {
	d.novel = true
	if s.cap(s.route(d.route)) > 0 {
		d.state |= statePays
	}
}

// cost is about what d adds to its route, with a value of n bytes.
func (d *draft) cost(n int) int {
	if d.handle == noHandle || d.state&statePays != 0 {
		return maxHead/4 + len(d.key) + n
	}
	return maxHead/4 + len(d.key)
}

// charge counts the payload of a record that pays for it, by sign.
func (sh *shard) charge(route RouteID, state byte, handle uint32, sign int64) {
	if route == 0 || state&statePays == 0 || handle == noHandle {
		return
	}
	ds := sh.s.dataShardOfHandle(handle)
	ds.mu.Lock()
	n := len(ds.payload(ds.local(handle)))
	ds.mu.Unlock()
	sh.weigh(route, sign*int64(n))
}
