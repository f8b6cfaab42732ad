package store

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// pool deals out the memory under the limit: segments, page runs, and the growth of directories and handle tables. Its lock
// is taken last, below a key shard's and a data shard's.
type pool struct {
	a    *arena
	z    *sizes
	meta []segMeta

	limit atomic.Int64 // bytes
	// avail is the limit less everything charged, in bytes. It is written under mu and read anywhere.
	avail atomic.Int64
	// paged counts the bytes in page runs, likewise.
	paged atomic.Int64

	mu       sync.Mutex
	hot      uint32 // free segments whose pages are still memory
	cold     uint32 // free segments given back
	spread   uint32 // first segment never used among the first z.spread, which are small pages: see segmentLocked
	fresh    uint32 // and among the others
	full     []bool // which of the first z.spread segments have been written to their end, and are memory since
	made     []bool // which huge pages among them have been made one, or tried
	resident int64  // bytes of segments and page runs that are memory, free or not, and of what was charged
	nHot     int
	partial  [tableClasses]uint32 // segments of index tables of each class that have room for more
	pageMap  []uint64             // a bit a page of the page area, set when taken
	pageHint int                  // behind the short run found last
	longHint int                  // and the long one: see longRun
	grown    chan struct{}        // has a token when segments came into use that were not before
	warm     []warmRun            // runs given back that are still memory, oldest first; their pages are set in pageMap
}

func newPool(a *arena, z *sizes) *pool {
	p := &pool{a: a, z: z, meta: sliceAt[segMeta](a, z.offMeta, z.segments), hot: noSegment, cold: noSegment, fresh: uint32(z.spread), partial: [tableClasses]uint32{noSegment, noSegment}, grown: make(chan struct{}, 1)}
	p.full = make([]bool, z.spread)
	for n := range z.begun { // of tables, whose segments fill up at once
		p.full[n] = true
	}
	p.made = make([]bool, uint64(z.spread)*z.segment/hugePage)
	p.pageMap = sliceAt[uint64](a, z.offPageMap, (z.pages+63)/64)
	p.limit.Store(int64(z.memory))
	p.avail.Store(int64(z.memory) - z.fixed)
	return p
}

// poolState is what of a pool is not in the arena already. Warm runs are given back instead.
type poolState struct {
	hot, cold, fresh, spread      uint32
	partial                       [tableClasses]uint32
	nHot, pageHint                int64
	limit, avail, paged, resident int64
}

func (p *pool) hold() poolState {
	p.mu.Lock()
	for len(p.warm) > 0 {
		p.coolRun(p.warm[0].pages)
	}
	return poolState{
		hot: p.hot, cold: p.cold, fresh: p.fresh, spread: p.spread, partial: p.partial, nHot: int64(p.nHot), pageHint: int64(p.pageHint),
		limit: p.limit.Load(), avail: p.avail.Load(), paged: p.paged.Load(), resident: p.resident,
	}
}

func (p *pool) load(st *poolState) {
	p.hot, p.cold, p.fresh, p.spread, p.partial, p.nHot, p.pageHint = st.hot, st.cold, st.fresh, st.spread, st.partial, int(st.nHot), int(st.pageHint)
	p.resident = st.resident
	for n := range p.full { // a free one has none used
		used := uint64(p.meta[n].used)
		p.full[n] = used > p.z.segment/4*3 || n < p.z.begun && used > 0
	}
	p.limit.Store(st.limit)
	p.avail.Store(st.avail)
	p.paged.Store(st.paged)
}

// purpose is what memory is taken for. Passes, which need some to free more, may use what is kept back from writes.
type purpose bool

const (
	forWrite purpose = false
	forMove  purpose = true
)

// fits tells whether n more bytes may be taken. The caller holds mu.
func (p *pool) fits(n int64, why purpose) bool {
	if why == forWrite {
		n += p.z.moves
	}
	return p.avail.Load() >= n
}

// segment takes one segment; false when the limit is reached. Its meta is reset. first tells that whoever takes it, a data shard or
// an index, has no other.
func (p *pool) segment(why purpose, first bool) (uint32, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.segmentLocked(why, first)
}

// Index tables are smaller than segments and share them over all shards, those of one class. A segment with room for more is
// in the partial list of its class; its meta says which class that is (first), how far it was carved (used), how many tables
// live in it (live), whether it is in the list (log) and which table given back comes first (clock, one more than its number),
// each of those naming the next in its first four bytes.

// table takes place for one index table and returns its offset from the first segment.
func (p *pool) table(class int) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.partial[class] == noSegment {
		seg, ok := p.segmentLocked(forWrite, int(p.spread) < p.z.begun)
		if !ok {
			return 0, false
		}
		p.meta[seg].first = uint32(class)
		p.addPartial(seg)
	}
	seg, size := p.partial[class], p.z.tableSize[class]
	m := &p.meta[seg]
	base := uint64(seg) << p.z.segShift
	off := uint64(m.used)
	if m.clock != 0 {
		off = uint64(m.clock-1) * size
		m.clock = *at[uint32](p.a, p.z.offSegments+base+off)
	} else {
		m.used += uint32(size)
	}
	m.live++
	if m.clock == 0 && uint64(m.used)+size > p.z.segment {
		p.dropPartial(seg)
	}
	return base + off, true
}

// freeTable gives a table back, and its segment with the last, and returns its size.
func (p *pool) freeTable(off uint64) (size uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seg := uint32(off >> p.z.segShift)
	m := &p.meta[seg]
	size = p.z.tableSize[m.first]
	p.a.spoil(p.z.offSegments+off, size)
	*at[uint32](p.a, p.z.offSegments+off) = m.clock
	m.clock = uint32(off&(p.z.segment-1)/size) + 1
	if m.log == 0 {
		p.addPartial(seg)
	}
	if m.live--; m.live == 0 {
		p.dropPartial(seg)
		p.releaseLocked(seg)
	}
	return size
}

func (p *pool) addPartial(seg uint32) {
	m := &p.meta[seg]
	first := &p.partial[m.first]
	m.log, m.prev, m.next = 1, noSegment, *first
	if *first != noSegment {
		p.meta[*first].prev = seg
	}
	*first = seg
}

func (p *pool) dropPartial(seg uint32) {
	m := &p.meta[seg]
	if m.prev == noSegment {
		p.partial[m.first] = m.next
	} else {
		p.meta[m.prev].next = m.next
	}
	if m.next != noSegment {
		p.meta[m.next].prev = m.prev
	}
	m.log, m.prev, m.next = 0, noSegment, noSegment
}

// segmentLocked is segment for a caller that holds mu. A data shard's first segment may stay nearly empty, so these lie together
// where no huge page makes more of them memory than is touched, until they are full: see tellFull.
func (p *pool) segmentLocked(why purpose, first bool) (uint32, bool) {
	if !p.fits(int64(p.z.segment), why) {
		return noSegment, false
	}
	if n := p.hot; n != noSegment {
		p.hot = p.meta[n].next
		p.nHot--
		return p.took(n), true
	}
	var n uint32
	switch {
	case p.cold != noSegment:
		n = p.cold
		p.cold = p.meta[n].next
	case int(p.spread) < p.z.spread && (first || int(p.fresh) == p.z.segments):
		n = p.spread
		p.spread++
	case int(p.fresh) < p.z.segments:
		n = p.fresh
		if p.fresh++; uint64(n)<<p.z.segShift&(hugePage-1) == 0 || int(n) == p.z.spread {
			p.tellGrown()
		}
	default:
		return noSegment, false
	}
	p.cool(int64(p.z.segment))
	p.resident += int64(p.z.segment)
	return p.took(n), true
}

func (p *pool) took(n uint32) uint32 {
	p.meta[n] = segMeta{next: noSegment, prev: noSegment}
	p.avail.Add(-int64(p.z.segment))
	return n
}

// release gives a segment back.
func (p *pool) release(n uint32) {
	p.mu.Lock()
	p.releaseLocked(n)
	p.mu.Unlock()
}

func (p *pool) releaseLocked(n uint32) {
	p.a.spoil(p.z.offSegments+uint64(n)<<p.z.segShift, p.z.segment)
	p.meta[n] = segMeta{next: p.hot}
	p.hot = n
	p.nHot++
	p.avail.Add(int64(p.z.segment))
	p.cool(0)
}

// charge counts n bytes of growth outside the segments against the limit; a negative n gives back.
func (p *pool) charge(n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 && !p.fits(n, forWrite) {
		return false
	}
	p.cool(n)
	p.resident += n
	p.avail.Add(-n)
	return true
}

// setLimit changes the limit. avail may be negative until eviction has caught up. Free segments beyond a smaller limit are
// given back to the system as they come free.
func (p *pool) setLimit(n int64) {
	p.mu.Lock()
	p.avail.Add(n - p.limit.Load())
	p.limit.Store(n)
	p.shrink()
	p.mu.Unlock()
}

// shrink gives free memory back to the system until the rest is within the limit. The caller holds mu, which is let go now and then.
func (p *pool) shrink() {
	for p.resident > p.limit.Load()-p.z.fixed && (p.hot != noSegment || len(p.warm) > 0) {
		p.cool(0)
		p.breathe()
	}
}

// breathe lets those who wait for mu have it for a moment.
func (p *pool) breathe() {
	p.mu.Unlock()
	p.mu.Lock()
}

// coolMost bounds what is given back to the system in one go, beyond what is needed at once: every writer waits meanwhile.
const coolMost = 1 << 20

// cool gives free memory back to the system until need more bytes fit beside what is memory. After the limit was lowered it
// gets there by pieces. The caller holds mu.
func (p *pool) cool(need int64) {
	need = min(need, p.limit.Load()-p.z.fixed-p.resident+max(need, 0)+coolMost)
	p.coolRuns(need)
	for p.resident+need > p.limit.Load()-p.z.fixed && p.hot != noSegment {
		s := p.hot
		p.hot = p.meta[s].next
		p.nHot--
		p.meta[s] = segMeta{next: p.cold}
		p.cold = s
		if int(s) < len(p.full) {
			p.full[s] = false
		}
		p.a.discard(p.z.offSegments+uint64(s)<<p.z.segShift, p.z.segment)
		p.resident -= int64(p.z.segment)
	}
}

// trim gives free segments beyond keep bytes back to the system, a part of them each time, as they may be wanted again soon.
func (p *pool) trim(keep int64) {
	part := int64(0)
	for done := int64(0); ; done += coolMost {
		p.mu.Lock()
		extra := int64(p.nHot)*int64(p.z.segment) - keep
		if done == 0 {
			part = max(extra/8, min(extra, coolMost))
		}
		if extra <= 0 || done >= part {
			p.mu.Unlock()
			return
		}
		p.cool(p.limit.Load() - p.z.fixed - p.resident + min(part-done, coolMost))
		p.mu.Unlock()
	}
}

// takePages takes a run of n pages and returns its offset in the arena. Free segments make place in memory for it.
func (p *pool) takePages(n int) (uint64, bool) {
	need := int64(n) * pageSize
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.fits(need, forWrite) {
		return 0, false
	}
	p.avail.Add(-need) // before the lock is let go
	first, ok := p.takeWarm(n)
	if !ok {
		if first, ok = p.freshRun(n); !ok {
			p.avail.Add(need)
			return 0, false
		}
		p.resident += need
		p.shrink()
	}
	p.paged.Add(need)
	return p.z.offPages + uint64(first)*pageSize, true
}

// longRun is how many pages a run has from which on it is kept apart from shorter ones: scattered over all of the page area those
// would in time leave no place for a long one, however much is free.
const longRun = 64

// dense returns the page before which short runs are put, if they find place there: half as many again as all runs have.
func (p *pool) dense() int {
	return int(min(p.paged.Load()/2*3/pageSize+16*longRun, 2*p.limit.Load()/pageSize, int64(p.z.pages)))
}

// freshRun takes n pages that are not memory. It looks on from where it found some last: a short run among other short ones, a long
// one in twice the limit, of which so at least half is free. The caller holds mu, which is let go now and then.
func (p *pool) freshRun(n int) (first int, ok bool) {
	near := int(min(2*p.limit.Load()/pageSize, int64(p.z.pages)))
	hint, parts := &p.longHint, [][2]int{{p.longHint, near}, {0, near}, {near, p.z.pages}}
	if n < longRun {
		dense := p.dense()
		hint, parts = &p.pageHint, [][2]int{{p.pageHint, dense}, {0, dense}, {dense, near}, {near, p.z.pages}}
	}
	for _, part := range parts {
		if first, ok = p.claimRun(part[0], part[1], n); ok {
			*hint = first + n
			return first, true
		}
	}
	for len(p.warm) > 0 { // together with what is warm there may be one
		p.coolRun(coolMost / pageSize)
		p.breathe()
	}
	return p.claimRun(0, p.z.pages, n)
}

// claimRun takes the first n free pages from page from on and before end. The caller holds mu, which is let go now and then.
func (p *pool) claimRun(from, end, n int) (first int, ok bool) {
	for from < end {
		if first, from = p.findRun(from, end, n); first >= 0 {
			for i := first; i < first+n; i++ {
				p.pageMap[i/64] |= 1 << (i % 64)
			}
			return first, true
		}
		p.breathe()
	}
	return 0, false
}

// findMost bounds the steps of one look for a run, each over 64 free pages or one run of taken ones.
const findMost = 2048

// findRun returns the first page of n free ones at or after from and before end, or -1 and where to look on.
func (p *pool) findRun(from, end, n int) (first, next int) {
	run, i := 0, from
	for steps := findMost + n/64; i < end; steps-- {
		if steps == 0 {
			return -1, i - run
		}
		w := p.pageMap[i/64] >> (i % 64)
		if w == 0 { // the rest of this word is free
			step := min(64-i%64, end-i)
			run += step
			i += step
			if run >= n {
				return i - run, i
			}
			continue
		}
		free := bits.TrailingZeros64(w)
		run += free
		i += free
		if run >= n && i <= end {
			return i - run, i
		}
		i += bits.TrailingZeros64(^(w >> free)) // the taken ones
		run = 0
	}
	return -1, end
}

func (p *pool) freePages(off uint64, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.a.spoil(off, uint64(n)*pageSize)
	p.keepWarm(int((off-p.z.offPages)/pageSize), n)
	p.paged.Add(-int64(n) * pageSize)
	p.avail.Add(int64(n) * pageSize)
	p.cool(0)
}

// used returns the bytes charged against the limit, the fixed part included.
func (p *pool) used() int64 { return p.limit.Load() - p.avail.Load() }
