package store

// A datum over a quarter of a segment has a run of pages for itself, which never moves. So its bytes are written, and read
// by whoever holds a Pin, without a lock.

// keepLarge is keep for a payload that gets a run of pages. Its bytes are copied before the lock is taken: a megabyte takes
// long enough for others to wait.
func (s *Store) keepLarge(d *draft, hi, lo uint64) bool {
	ds := s.dataShardOf(hi)
	ds.mu.Lock()
	h, ok := ds.share(lo, d.value)
	ds.mu.Unlock()
	if !ok {
		n := pagesFor(dataHead + len(d.value))
		off, found := s.p.takePages(n)
		if !found {
			return false
		}
		copy(s.a.mem[off+dataHead:], d.value)
		ds.mu.Lock()
		had := ds.st.count
		h, ok = ds.keepRun(lo, d.value, off)
		if ds.st.count > had {
			s.pays(d)
		}
		ds.mu.Unlock()
	}
	if ok {
		d.value, d.handle = nil, h
	}
	return ok
}

// share adds a reference to the datum that has these bytes, if there is one. The caller holds ds.mu.
func (ds *dataShard) share(lo uint64, value []byte) (handle uint32, ok bool) {
	n, _ := ds.find(dataHash32(lo), value)
	if n == noHandle {
		return 0, false
	}
	ds.reference(n)
	return ds.global(n), true
}

// keepRun makes a datum of the value that was copied to the run at off, unless another writer was faster. False: no memory.
// The run is then free again. The caller holds ds.mu.
func (ds *dataShard) keepRun(lo uint64, value []byte, off uint64) (handle uint32, ok bool) {
	hash := dataHash32(lo)
	n, chain := ds.find(hash, value)
	if n == noHandle {
		if n, ok = ds.newHandle(); ok {
			ds.hs[n] = wordOf(1, off, true)
			return ds.global(n), ds.adopt(n, hash, len(value), chain)
		}
	} else {
		ds.reference(n)
		handle, ok = ds.global(n), true
	}
	ds.s.p.freePages(off, pagesFor(dataHead+len(value)))
	return handle, ok
}

// Pin is a reference to a value. The zero Pin is none.
type Pin struct {
	ds *dataShard
	n  uint32
}

// Pin keeps the value of a hit readable where it lies, beyond Item.Release and whatever becomes of the item, until Pin.Release.
// Until then it counts against the limit. false: the value is not large enough to stay where it is, so it has to be copied.
func (it *Item) Pin() (Pin, bool) {
	if !it.Pinnable() {
		return Pin{}, false
	}
	it.ds.reference(it.datum)
	return Pin{it.ds, it.datum}, true
}

// Pinnable tells whether Pin would succeed.
func (it *Item) Pinnable() bool { return it.ds != nil && it.ds.hs[it.datum]&paged != 0 }

// Release ends the reference; the bytes are not to be read any more.
func (p Pin) Release() {
	p.ds.mu.Lock()
	p.ds.decrement(p.n)
	p.ds.mu.Unlock()
}

// warmRun is a run of pages that was given back and is still memory.
type warmRun struct{ first, pages int }

// warmRuns is how many such runs are remembered; beyond that the oldest are given back to the system, a piece of memory as large
// as what comes in, or coolMost, at a time.
const warmRuns = 64

// keepWarm takes a run that was given back. It stays memory for the next value of its size, so that storing one large value
// after another does not ask the system for every page anew. The caller holds mu.
func (p *pool) keepWarm(first, pages int) {
	for i := 0; i < len(p.warm); { // its neighbours become one with it
		switch w := p.warm[i]; {
		case w.first+w.pages == first:
			first = w.first
			pages += w.pages
		case first+pages == w.first:
			pages += w.pages
		default:
			i++
			continue
		}
		p.warm = append(p.warm[:i], p.warm[i+1:]...)
	}
	if len(p.warm) >= warmRuns {
		p.coolRun(max(pages, coolMost/pageSize))
	}
	p.warm = append(p.warm, warmRun{first, pages})
}

// takeWarm takes n pages that are memory: from the smallest run that has them, a short one not from where long ones lie. false: there
// is none. The caller holds mu.
func (p *pool) takeWarm(n int) (first int, ok bool) {
	best, end := -1, p.z.pages
	if n < longRun {
		end = p.dense()
	}
	for i, w := range p.warm {
		if w.pages >= n && w.first+n <= end && (best < 0 || w.pages <= p.warm[best].pages) {
			best = i
		}
	}
	if best < 0 {
		return 0, false
	}
	w := &p.warm[best]
	first = w.first
	w.first += n
	if w.pages -= n; w.pages == 0 {
		p.warm = append(p.warm[:best], p.warm[best+1:]...)
	}
	return first, true
}

// coolRuns gives warm runs back to the system until need more bytes fit beside what is memory. The caller holds mu.
func (p *pool) coolRuns(need int64) {
	for len(p.warm) > 0 {
		over := p.resident + need - (p.limit.Load() - p.z.fixed)
		if over <= 0 {
			return
		}
		p.coolRun(int((over + pageSize - 1) / pageSize))
	}
}

// coolRun gives pages of the oldest warm run back to the system, at most as many as it has.
func (p *pool) coolRun(pages int) {
	w := &p.warm[0]
	n := min(pages, w.pages)
	first := w.first
	w.first += n
	if w.pages -= n; w.pages == 0 {
		p.warm = append(p.warm[:0], p.warm[1:]...)
	}
	p.a.discard(p.z.offPages+uint64(first)*pageSize, uint64(n)*pageSize)
	for i := first; i < first+n; i++ {
		p.pageMap[i/64] &^= 1 << (i % 64)
	}
	p.resident -= int64(n) * pageSize
}
