package store

import (
	"bytes"
	"math/bits"
	"sync"
	"sync/atomic"
)

// shard is one lock domain of keys: an index over records in two logs of segments, oldest first, and the leases of its keys.
// mu guards everything below it and the arena bytes it owns.
type shard struct {
	mu  sync.Mutex
	now Time // of the command that holds the lock; beside mu, as each lock writes both
	s   *Store
	st  *shardState
	idx *index
	lt  []leaseBucket
	gh  ghosts // keys evicted lately
	no  int

	spared uint32 // records that eviction has let pass in the main log since it last took one
	moving uint32 // segment that is being emptied; noSegment if none
	moved  uint32 // how far
	looked uint32 // segment that reap looks at; noSegment if none, or once it was given back
	search emptySearch
	turn   turn // of reap

	due atomic.Uint32 // second at which the first of its segments is due for reaping; written under mu

	cursors  map[RouteID]*shareCursor
	tallied  [MaxRoutes + 1]bool // counted in Store.shares
	prefixes []shardPrefix       // invalidated, until what was there is swept
	since    *since              // while a snapshot is loaded; else nil

	seenMoved, seenFlush, seenPrefixes uint64 // counts of the store's epochs that this shard stands at
	seen                               [MaxRoutes + 1]struct{ gone, stale uint32 }
	_                                  [64]byte
}

// shardState is a key shard's part of the arena.
type shardState struct {
	logs        [logCount]logState
	epochs      uint32 // how often one has moved: while 0, no record is looked up in them
	leases      uint32
	ghosts      uint32 // buckets of them in use
	_           uint32
	flushSerial uint64 // leases up to it are flushed
	serial      uint64 // of the last lease
	cas         uint64 // of the last CAS given out here
	settleAll   int64  // until then every route key settles: its lease table had no room
	idx         indexState

	items, negative, total, bytes                 int64
	negBytes                                      int64
	evictions, evictedUnfetched, expiredUnfetched uint64
	reclaimed, reaped, reapLooks                  uint64
	leasesFull, leasesKilled                      uint64
	routes                                        [MaxRoutes + 1]routeCell
}

// routeCell is a route's part of a shard.
type routeCell struct {
	gonePos, stalePos  [logCount]uint64 // records before them are absent, or stale
	goneSerial         uint64           // leases up to it are void
	bytes              int64            // of its records, and of the payloads that they pay for
	items, client, neg int32
	_                  uint32
}

// The logs of a shard: what is new is on probation; what was read there often enough when its turn came moves to the main one.
const (
	probation = iota
	mainLog
	logCount
)

// logState is one log of a shard: a list of segments to which records are appended. A record's place in it is its birth.
type logState struct {
	head, tail uint32 // segments; noSegment where there is none
	walked     uint32 // how far eviction has come in head
	sealed     uint32 // 1: tail takes no more records
	next       uint64 // log position of the next segment
	used, live int64  // bytes of records, dead ones included or not
	items      int64  // live records that are not negative
	flushPos   uint64 // records before it are flushed
	sweep      uint64 // segments from before it are to be looked at, whatever their plan
	ages       ages
}

func (s *Store) shardOf(h uint64) *shard { return &s.shards[s.shardNo(h)] }

func (s *Store) shardNo(h uint64) int { return int(h >> (64 - s.z.shardBits) & uint64(s.z.shards-1)) }

// raw views the record at loc and whatever follows it in its segment.
func (sh *shard) raw(loc uint32) []byte {
	z := &sh.s.z
	off := uint64(loc) << z.unitShift
	end := (off>>z.segShift + 1) << z.segShift
	return sh.s.a.mem[z.offSegments+off : z.offSegments+end]
}

// find returns the index slot and location of key, or nil.
func (sh *shard) find(h uint64, key []byte) (*uint32, uint32) {
	t := sh.idx.table(h)
	g := t.home(h)
	for range t.groups {
		gr := &t.g[g]
		for m := matchByte(gr.ctrl, tagOf(h)); m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m) >> 3
			loc := gr.loc[i]
			raw := sh.raw(loc)
			if int(raw[0]) != len(key) {
				continue
			}
			if k, _ := recordKey(raw); bytes.Equal(k, key) {
				return &gr.loc[i], loc
			}
		}
		if matchByte(gr.ctrl, 0) != 0 {
			return nil, 0
		}
		g = t.after(g)
	}
	return nil, 0
}

// place returns the log and the log position of the record at loc.
func (sh *shard) place(loc uint32) (log int, pos uint64) {
	z := &sh.s.z
	off := uint64(loc) << z.unitShift
	m := &sh.s.p.meta[off>>z.segShift]
	return int(m.log), m.start + off&(z.segment-1)
}

// segment returns the meta of the segment that loc is in.
func (sh *shard) segment(loc uint32) *segMeta {
	z := &sh.s.z
	return &sh.s.p.meta[uint64(loc)<<z.unitShift>>z.segShift]
}

// end returns the log position that the next record will not be below.
func (sh *shard) end(log int) uint64 {
	l := &sh.st.logs[log]
	if l.tail == noSegment || l.sealed != 0 {
		return l.next
	}
	m := &sh.s.p.meta[l.tail]
	return m.start + uint64(m.used)
}

// reserve makes room for d at the end of its log; false without memory.
func (sh *shard) reserve(d *draft, why purpose) bool {
	z := &sh.s.z
	l := &sh.st.logs[d.log]
	size := uint32(alignUp(uint64(d.size()), 1<<z.unitShift))
	if l.tail != noSegment && l.sealed == 0 && uint64(sh.s.p.meta[l.tail].used+size) <= z.segment {
		return true
	}
	seg, ok := sh.s.p.segment(why, false)
	if !ok {
		return false
	}
	m := &sh.s.p.meta[seg]
	m.start, m.log = l.next, uint32(d.log)
	m.clock = sh.inserted()
	m.first, m.due = notDue, notDue
	l.next += z.segment
	old := l.tail
	if old != noSegment {
		sh.closed(&sh.s.p.meta[old])
		sh.s.p.meta[old].next = seg
		m.prev = old
	} else {
		l.head, l.walked = seg, 0
	}
	l.tail, l.sealed = seg, 0
	if old != noSegment && sh.s.p.meta[old].live == 0 {
		sh.release(old)
	}
	return true
}

// held returns how many items the shard holds.
func (sh *shard) held() int64 {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.st.items
}

// inserted is the shard's insertion clock, in KiB that were put on probation.
func (sh *shard) inserted() uint32 { return uint32(sh.end(probation) >> 10) }

// release takes a segment of a log that holds nothing live out of the list and gives it back.
func (sh *shard) release(seg uint32) {
	meta := sh.s.p.meta
	m := &meta[seg]
	l := &sh.st.logs[m.log]
	if m.prev == noSegment {
		l.head, l.walked = m.next, 0
	} else {
		meta[m.prev].next = m.next
	}
	if m.next == noSegment {
		l.tail, l.sealed = m.prev, 1 // or records would come before what was noted of the log's end
	} else {
		meta[m.next].prev = m.prev
	}
	l.used -= int64(m.used)
	if sh.moving == seg {
		sh.moving = noSegment
	}
	if sh.looked == seg {
		sh.looked = noSegment
	}
	if sh.turn.seg == seg {
		sh.turn.seg = m.next
	}
	sh.search.leave(seg, m.next)
	for _, c := range sh.cursors {
		if c.seg == seg {
			c.seg, c.off = m.next, 0
		}
	}
	sh.s.p.release(seg)
}

// append writes d at the end of its log, where reserve has made room, and counts it.
func (sh *shard) append(d *draft) (loc uint32) {
	z := &sh.s.z
	l := &sh.st.logs[d.log]
	m := &sh.s.p.meta[l.tail]
	size := uint32(alignUp(uint64(d.size()), 1<<z.unitShift))
	off := uint64(l.tail)<<z.segShift + uint64(m.used)
	d.put(sh.s.a.mem[z.offSegments+off : z.offSegments+off+uint64(size)])
	l.ages.note(m.start+uint64(m.used), sh.now.Second())
	m.used += size
	m.live += size
	l.used += int64(size)
	l.live += int64(size)
	if !d.negative() {
		l.items++
	}
	sh.count(d.route, d.state, int64(size), 1)
	sh.expect(m, sh.endOf(d.route, d.state, d.filled, d.expiry))
	return uint32(off >> z.unitShift)
}

// count adds or takes away, by sign, one record of the shard's figures.
func (sh *shard) count(route RouteID, state byte, size, sign int64) {
	st := sh.st
	st.bytes += sign * size
	cell := &st.routes[route]
	sh.weigh(route, sign*size)
	if route != 0 && state&stateKind == stateNegative {
		st.negative += sign
		st.negBytes += sign * (size + indexCost)
		cell.neg += int32(sign)
		return
	}
	st.items += sign
	if route != 0 {
		cell.items += int32(sign)
		if state&stateKind == stateClient {
			cell.client += int32(sign)
		}
	}
}

// indexCost is about what the index takes for a key.
const indexCost = 8

// drop takes a record that the index no longer names out of the figures, and gives its segment back when that emptied it
// (the one being written stays). r is invalid afterwards.
func (sh *shard) drop(loc uint32, r *record) {
	z := &sh.s.z
	seg := uint32(uint64(loc) << z.unitShift >> z.segShift)
	size := uint32(alignUp(uint64(r.size), 1<<z.unitShift))
	m := &sh.s.p.meta[seg]
	l := &sh.st.logs[m.log]
	m.live -= size
	l.live -= int64(size)
	sh.s.dead(size)
	if !r.negative() {
		l.items--
	}
	sh.count(r.route, r.state, int64(size), -1)
	if m.live == 0 && seg != l.tail {
		sh.release(seg)
	}
}

// unlink removes the record r at loc from the index and the figures. Its handle goes to f. r is invalid afterwards.
func (sh *shard) unlink(h uint64, loc uint32, r *record, f *freed) {
	sh.idx.remove(h, loc)
	if r.meta&metaInline == 0 {
		sh.charge(r.route, r.state, r.handle, -1)
		f.add(r.handle)
	}
	sh.drop(loc, r)
}

// redraft makes a draft like the held record, to be put anew in the same log. What made the record stale by its place goes
// into its state.
func (sh *shard) redraft(k *held) draft {
	d := draftOf(&k.rec)
	log, pos := sh.place(k.loc)
	d.log = log
	if pos < sh.st.routes[d.route].stalePos[log] {
		d.outdate()
	}
	return d
}

// link puts d, for which reserve has made room, under h: in the place of the record r at loc where slot is one, else as a
// new key; false when the index has no room for that. The reference that r held goes to f; with a nil f it moves over to d.
// r is invalid afterwards.
func (sh *shard) link(h uint64, slot *uint32, loc uint32, r *record, d *draft, f *freed) bool {
	n := sh.append(d)
	if slot == nil && !sh.idx.insert(h, n) {
		var dead record
		dead.decode(sh.raw(n))
		sh.drop(n, &dead)
		return false
	}
	if f != nil {
		sh.charge(d.route, d.state, d.handle, 1)
	}
	if slot == nil {
		return true
	}
	*slot = n
	if f != nil && r.meta&metaInline == 0 {
		sh.charge(r.route, r.state, r.handle, -1)
		f.add(r.handle)
	}
	sh.drop(loc, r)
	return true
}

// freed collects data handles whose references end, to be given back after the key lock.
type freed struct {
	n int
	h [64]uint32
}

func (f *freed) add(h uint32) {
	f.h[f.n] = h
	f.n++
}
