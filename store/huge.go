package store

import "slices"

// Memory that can be handed to another process is a file, and Linux gives a file no huge pages by itself. So the background asks
// for them, range by range, before the ranges come into use: then nobody waits for it, and nothing has to be copied.

const (
	hugeLeast = 16 << 20 // a smaller memory has no use for huge pages
	hugeAhead = 16 << 20 // most bytes that are made ready ahead, at most a 64th of the limit and at least one page
)

// tellGrown wakes keepHuge.
func (p *pool) tellGrown() {
	select {
	case p.grown <- struct{}{}:
	default:
	}
}

// tellFull notes that a segment is full. If it is one of the first, of which a huge page would cover many, and they are all full by
// now, they are made one after all.
func (p *pool) tellFull(seg uint32) {
	if int(seg) >= len(p.full) {
		return
	}
	p.mu.Lock()
	p.full[seg] = true
	if p.fullPage(int(uint64(seg) << p.z.segShift / hugePage)) {
		p.tellGrown()
	}
	p.mu.Unlock()
}

// fullPage tells whether all segments that huge page i covers are full. The caller holds mu.
func (p *pool) fullPage(i int) bool {
	n := int(hugePage / p.z.segment)
	return (i+1)*n <= len(p.full) && !slices.Contains(p.full[i*n:(i+1)*n], false)
}

// takeFull returns where the next huge page begins that is full and was not returned before, from the first segment on.
func (p *pool) takeFull() (at uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.made {
		if !p.made[i] && p.fullPage(i) {
			p.made[i] = true
			return uint64(i) * hugePage, true
		}
	}
	return 0, false
}

// hugeKeeper makes the segments that come into use next huge pages. What is in use already stays as it is, but for the first segments
// of keys: all shards take them in the same moment, and there is next to nothing to copy in them. In a memory that another process
// has used they stay as that left them. One page ahead is enough as a rule, and it is memory that nobody uses yet; where writers were
// faster than that, it is more from then on.
type hugeKeeper struct {
	s           *Store
	begin, last uint64 // where the segments lie that it makes ready
	copied      uint64 // up to where pages in use are made huge as well
	next        uint64 // page to look at next
	ahead, most uint64 // bytes
}

func (s *Store) newHugeKeeper() *hugeKeeper {
	k := &hugeKeeper{s: s, ahead: hugePage, most: min(max(s.z.memory/64, hugePage), hugeAhead)}
	k.begin = s.z.offSegments + uint64(s.z.spread)*s.z.segment
	k.last = s.z.offSegments + uint64(s.z.segments)*s.z.segment
	k.next, k.copied = k.begin, k.begin
	if s.usedTo() == k.begin {
		k.copied += alignUp(uint64(s.z.shards)*s.z.segment, hugePage)
	}
	return k
}

// keepHuge does what a hugeKeeper is for until the store is closed.
func (s *Store) keepHuge() {
	for k := s.newHugeKeeper(); ; k.turn() {
		select {
		case <-s.quit:
			return
		case <-s.p.grown:
		}
	}
}

// turn makes huge pages for what is in use by now.
func (k *hugeKeeper) turn() {
	s := k.s
	for at, ok := s.p.takeFull(); ok; at, ok = s.p.takeFull() {
		s.a.makeHuge(s.z.offSegments + at)
	}
	used := alignUp(s.usedTo(), hugePage)
	if k.next >= k.copied && k.next > k.begin && k.next < used {
		k.ahead = min(2*k.ahead, k.most)
	}
	if k.next >= k.copied {
		k.next = max(k.next, used)
	}
	room := uint64(max(s.p.avail.Load()-s.reserve.Load(), 0)) // it is memory from then on
	for end := min(used+min(k.ahead, room), k.last); k.next+hugePage <= end; k.next += hugePage {
		s.a.makeHuge(k.next) // or they stay small, where the file system cannot or no such page is left
		select {
		case <-s.quit:
			return
		default:
		}
	}
}

// usedTo returns how far the segments have come into use.
func (s *Store) usedTo() uint64 {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.z.offSegments + uint64(s.p.fresh)*s.z.segment
}
