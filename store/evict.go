package store

import "time"

// maxPass bounds the records one lock hold may work on, and so the pause it is.
const maxPass = 64

// roomTime bounds what one insert may spend on evicting for itself. A large value gets more: its room is more.
const (
	roomTime      = time.Millisecond
	roomTimePerMB = 8 * time.Millisecond
)

// makeRoom sees to it that need bytes can be taken, plus what several writers at once may take for small things. It works
// passes itself only when the background has fallen behind, and for a bounded time. False: there is not enough.
func (s *Store) makeRoom(need int64) bool {
	want := need + s.low.Load()
	if s.p.avail.Load() >= want {
		return true
	}
	s.nudge()
	end := time.Now().Add(roomTime + time.Duration(need)*roomTimePerMB/(1<<20))
	for s.p.avail.Load() < want {
		if !s.pass(s.opt.PassInline) || time.Now().After(end) {
			return s.p.avail.Load() >= need+s.z.moves && need > 0
		}
	}
	return true
}

// nudge wakes the background when the reserve is touched.
func (s *Store) nudge() {
	if s.p.avail.Load() < s.reserve.Load() {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// keepReserve keeps the reserve free, so that an insert seldom has to evict for itself.
func (s *Store) keepReserve() {
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		}
		for s.p.avail.Load() < s.reserve.Load() && s.pass(s.opt.PassBackground) {
			select {
			case <-s.quit:
				return
			default:
			}
		}
	}
}

// pass does one bounded piece of work towards free memory: it compacts data where a good part of a segment is dead, else it
// evicts the oldest keys. False: there was nothing to do.
func (s *Store) pass(n int) bool {
	s.passes.Add(1)
	ds := &s.data[s.compact.Add(1)%uint32(len(s.data))]
	ds.mu.Lock()
	moved := ds.compact(n)
	ds.mu.Unlock()
	if s.opt.NoEvict {
		if moved == 0 {
			moved = s.compactAny(n)
		}
		s.passRecords.Add(uint64(moved))
		return moved > 0
	}
	if moved == 0 {
		moved = s.evictAny(n)
	}
	if moved == 0 {
		moved = s.compactAny(n)
	}
	s.passRecords.Add(uint64(moved))
	return moved > 0
}

// compactAny looks for work in every data shard.
func (s *Store) compactAny(n int) int {
	for i := range s.data {
		ds := &s.data[i]
		ds.mu.Lock()
		moved := ds.compact(n)
		ds.mu.Unlock()
		if moved > 0 {
			return moved
		}
	}
	return 0
}

// evictAny evicts from one shard until its oldest segment is free and then goes on to the next, so that whole segments come
// back soon and no shard is emptied before the others.
func (s *Store) evictAny(n int) int {
	for range s.shards {
		v := s.victim.Load()
		sh := &s.shards[v%uint32(len(s.shards))]
		walked, done := s.evict(sh, n)
		if done {
			s.victim.CompareAndSwap(v, v+1)
		}
		if walked > 0 {
			return walked
		}
	}
	return 0
}

// evict takes at most n records from the old end of one of the shard's logs. done: a segment was freed, or there is none.
func (s *Store) evict(sh *shard, n int) (walked int, done bool) {
	var f freed
	now := s.Now()
	sh.lock(now)
	log := sh.overfull()
	l := &sh.st.logs[log]
	seg := l.head
	if seg == noSegment {
		sh.mu.Unlock()
		return 0, true
	}
	z := &s.z
	m := &s.p.meta[seg]
	for walked < n && l.head == seg && l.walked < m.used {
		k := held{loc: uint32((uint64(seg)<<z.segShift + uint64(l.walked)) >> z.unitShift)}
		k.rec.decode(sh.raw(k.loc))
		l.walked += uint32(alignUp(uint64(k.rec.size), 1<<z.unitShift))
		walked++
		h := s.opt.KeyHash(k.rec.key)
		if k.slot = sh.idx.slot(h, k.loc); k.slot == nil {
			continue // overwritten or deleted
		}
		k.is = sh.judge(&k.rec, k.loc, h, k.rec.route, now)
		switch {
		case k.is >= isExpired:
			sh.expire(h, k.loc, &k.rec, k.is, &f)
		case sh.spare(h, log, &k, seg != l.tail):
		default:
			large := s.inPages(&k.rec)
			sh.evictOne(h, log, &k, &f)
			if large {
				n = walked // that frees much already
			}
		}
	}
	done = l.head != seg
	if !done && l.walked >= m.used && m.live == 0 {
		// It is the segment being written: the next record opens another.
		sh.release(seg)
		done = true
	}
	sh.mu.Unlock()
	s.giveBack(&f)
	return walked, done
}

// evictOne takes a record out for want of memory. Its key is remembered, so that it is not on probation again when it comes
// back soon.
func (sh *shard) evictOne(h uint64, log int, k *held, f *freed) {
	if r := &k.rec; !r.negative() {
		sh.st.evictions++
		if r.meta&metaFetched == 0 {
			sh.st.evictedUnfetched++
		}
		if log == probation {
			met(sh.gh, h)
		}
	}
	sh.unlink(h, k.loc, &k.rec, f)
}

// inPages tells whether the record's value has a run of pages for itself.
func (s *Store) inPages(r *record) bool {
	if r.meta&metaInline != 0 || s.p.paged.Load() == 0 {
		return false
	}
	ds := s.dataShardOfHandle(r.handle)
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return ds.hs[ds.local(r.handle)]&paged != 0
}
