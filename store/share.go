package store

import "encoding/binary"

// A route can have a cap on its part of the memory (Route.MemoryPercent). Each shard keeps its part of the cap: it counts the
// records of the route and the payloads that they brought, and before it puts another one that would be too many it takes out
// the route's own, oldest first. So one route's flood costs the others nothing.

// shareCursor is where the search for a route's oldest records in a shard goes on. It moves on when its segment is given back.
type shareCursor struct {
	log, seg uint32
	off      uint32
}

const (
	shareScan  = 256 // records that one insert looks at on its search at most
	shareEvict = 16  // and takes out
)

// cap returns the bytes that the route may have in one shard; 0: as much as there is.
func (s *Store) cap(rs *routeState) int64 {
	if rs == nil || rs.MemoryPercent == 0 {
		return 0
	}
	return s.p.limit.Load() / int64(s.z.shards) * int64(rs.MemoryPercent) / 100
}

// keepShare takes out the route's oldest records while it has more than its cap with size bytes more. It is called before the
// key is looked up, as it changes the index. False, only with NoEvict: the route has its share.
func (sh *shard) keepShare(rs *routeState, size int, f *freed) (room bool) {
	most := sh.s.cap(rs)
	if most == 0 {
		return true
	}
	cell := &sh.st.routes[rs.id]
	if sh.s.opt.NoEvict {
		return cell.bytes+int64(size) <= most
	}
	c := sh.cursors[rs.id]
	if c == nil {
		if cell.bytes+int64(size) <= most {
			return true
		}
		c = &shareCursor{seg: noSegment}
		if sh.cursors == nil {
			sh.cursors = make(map[RouteID]*shareCursor)
		}
		sh.cursors[rs.id] = c
	}
	turned := false
	for scanned, taken := 0, 0; cell.bytes+int64(size) > most && scanned < shareScan && taken < shareEvict; scanned++ {
		if !sh.aim(c, &turned) {
			return true
		}
		raw := sh.raw(uint32((uint64(c.seg)<<sh.s.z.segShift + uint64(c.off)) >> sh.s.z.unitShift))
		if raw[1]&metaRoute == 0 || RouteID(binary.LittleEndian.Uint16(raw[2:])) != rs.id {
			_, n := recordKey(raw)
			c.off += uint32(alignUp(uint64(n), 1<<sh.s.z.unitShift))
			continue
		}
		log := int(c.log)
		h, k := sh.step(c.seg, &c.off)
		switch {
		case k.slot == nil:
		case k.is >= isExpired:
			sh.expire(h, k.loc, &k.rec, k.is, f)
			taken++
		case k.rec.meta&metaHits != 0 && !k.rec.negative():
			k.rec.raw[1]-- // it has earned another turn
		default:
			sh.evictOne(h, log, &k, f)
			taken++
		}
	}
	return true
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
	sh.st.routes[route].bytes += sign * int64(n)
}
