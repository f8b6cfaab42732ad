package store

import "math"

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

// tellFull notes that a segment is full of payloads. If it is one of the first, of which a huge page would cover many, and they are
// all full by now, they are made one after all.
func (p *pool) tellFull(seg uint32) {
	if int(seg) >= p.z.spread {
		return
	}
	p.mu.Lock()
	at := uint64(seg) << p.z.segShift / hugePage
	p.full[at]++
	if p.full[at] == int(hugePage/p.z.segment) {
		p.tellGrown()
	}
	p.mu.Unlock()
}

// takeFull returns which huge pages have become full since it was asked last.
func (p *pool) takeFull() (at []uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, n := range p.full {
		if n >= int(hugePage/p.z.segment) {
			p.full[i] = math.MinInt // once is enough
			at = append(at, uint64(i)*hugePage)
		}
	}
	return at
}

// keepHuge makes the segments that come into use next huge pages. What is in use already stays as it is, but for the first segments
// of keys: all shards take them in the same moment, and there is next to nothing to copy in them. One page ahead is enough as a
// rule, and it is memory that nobody uses yet; where writers were faster than that, it is more from then on.
func (s *Store) keepHuge() {
	most := min(max(s.z.memory/64, hugePage), hugeAhead)
	ahead := uint64(hugePage)
	begin := s.z.offSegments + uint64(s.z.spread)*s.z.segment
	last := s.z.offSegments + uint64(s.z.segments)*s.z.segment
	next := begin
	copied := begin // up to where pages in use are made huge as well
	if s.usedTo() == begin {
		copied += alignUp(uint64(s.z.shards)*s.z.segment, hugePage)
	}
	for {
		select {
		case <-s.quit:
			return
		case <-s.p.grown:
		}
		for _, at := range s.p.takeFull() {
			s.a.makeHuge(s.z.offSegments + at)
		}
		used := alignUp(s.usedTo(), hugePage)
		if next >= copied && next > begin && next < used {
			ahead = min(2*ahead, most)
		}
		room := uint64(max(s.p.avail.Load()-s.reserve.Load(), 0)) // it is memory from then on
		if next >= copied {
			next = max(next, used)
		}
		for end := min(used+min(ahead, room), last); next+hugePage <= end; next += hugePage {
			s.a.makeHuge(next) // or they stay small, where the file system cannot or no such page is left
			select {
			case <-s.quit:
				return
			default:
			}
		}
	}
}

// usedTo returns how far the segments have come into use.
func (s *Store) usedTo() uint64 {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.z.offSegments + uint64(s.p.fresh)*s.z.segment
}
