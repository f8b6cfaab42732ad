package store

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

// keepHuge makes the segments that come into use next huge pages. What is in use already stays as it is. One page ahead is
// enough as a rule, and it is memory that nobody uses yet; where writers were faster than that, it is more from then on.
func (s *Store) keepHuge() {
	most := min(max(s.z.memory/64, hugePage), hugeAhead)
	ahead := uint64(hugePage)
	last := s.z.offSegments + uint64(s.z.segments)*s.z.segment
	next := uint64(0)
	for {
		select {
		case <-s.quit:
			return
		case <-s.p.grown:
		}
		s.p.mu.Lock()
		used := s.z.offSegments + uint64(s.p.fresh)*s.z.segment
		s.p.mu.Unlock()
		if next > 0 && used > next {
			ahead = min(2*ahead, most)
		}
		room := uint64(max(s.p.avail.Load()-s.reserve.Load(), 0)) // it is memory from then on
		next = max(next, alignUp(used, hugePage))
		for end := min(alignUp(used, hugePage)+min(ahead, room), last); next+hugePage <= end; next += hugePage {
			s.a.makeHuge(next) // or they stay small, where the file system cannot or no such page is left
			select {
			case <-s.quit:
				return
			default:
			}
		}
	}
}
