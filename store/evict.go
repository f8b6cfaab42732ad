package store

import "time"

// maxPass bounds the records one lock hold may work on, and so the pause it is.
const maxPass = 64

// room is one insert's share of time for making room; the zero value has not begun.
type room struct {
	most time.Duration // 0: Options.RoomTime
	end  time.Time
	late bool // it was not enough, and there is more to evict
}

func (r *room) begin(s *Store, now time.Time) {
	if r.end.IsZero() {
		most := r.most
		if most == 0 {
			most = s.opt.RoomTime
		}
		r.end = now.Add(most)
	}
}

// make sees to it that need bytes can be taken, plus what several writers at once may take for small things. It works passes
// itself only when the background has fallen behind. False: there is not enough, and the time is up or nothing is left to do.
func (r *room) make(s *Store, need int64) bool {
	want := need + s.low.Load()
	if s.p.avail.Load() >= want {
		return true
	}
	s.nudge()
	now := time.Now()
	r.begin(s, now)
	for s.p.avail.Load() < want {
		if r.late = now.After(r.end); r.late || !s.pass(s.passInline()) {
			return s.p.avail.Load() >= need+s.z.moves && need > 0
		}
		now = time.Now()
	}
	return true
}

// makeRoom is make for a command that asks once.
func (s *Store) makeRoom(need int64) bool { return new(room).make(s, need) }

// Shortage is what a Write that said Later lacked.
type Shortage struct {
	bytes int64 // beyond what is kept free for small things
	route *routeState
	share int64 // of that route's cap; 0: it is not that
}

// AwaitRoom evicts until there is what was short, nothing is left to evict, or the time is up. It is for callers that may wait,
// of which one evicts at a time.
func (s *Store) AwaitRoom(want Shortage, most time.Duration) {
	end := time.NewTimer(most)
	defer end.Stop()
	select {
	case s.making <- struct{}{}:
	case <-end.C:
		return
	}
	defer func() { <-s.making }()
	for {
		select {
		case <-end.C:
			return
		case <-s.quit:
			return
		default:
		}
		if want.share > 0 {
			least := s.cap(want.route) - want.share
			if least < 0 || s.shares[want.route.id].bytes.Load() <= least || !s.evictOwn(want.route.id, least) {
				return
			}
		} else if !s.pass(s.passInline()) || s.p.avail.Load() >= want.bytes+s.low.Load() {
			return
		}
	}
}

// nudge wakes the background when the reserve is touched.
func (s *Store) nudge() {
	if s.p.avail.Load() < s.reserve.Load() && !s.vain() {
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
		for s.p.avail.Load() < s.reserve.Load() && s.pass(s.passBackground()) {
			select {
			case <-s.quit:
				return
			default:
			}
		}
	}
}

// deadShare is which part of a shard's bytes may be dead before moving the live ones together goes before evicting.
const deadShare = 8

// pass does one bounded piece of work towards free memory: it moves live data or keys together where much is dead, else it
// evicts the oldest keys. False: there was nothing to do.
func (s *Store) pass(n int) bool {
	if s.vain() {
		return false
	}
	died, avail := s.died.Load(), s.p.avail.Load()
	s.passes.Add(1)
	ds := &s.data[s.compact.Add(1)%uint32(len(s.data))]
	moved := s.compactData(ds, n, true)
	if moved == 0 {
		moved = s.evictAny(n)
	}
	if moved == 0 {
		moved = s.compactAny(n)
	}
	if moved == 0 {
		s.vainUntil.Store(died + int64(s.z.segment)/deadShare)
		s.vainAvail.Store(avail)
	}
	s.passRecords.Add(uint64(moved))
	return moved > 0
}

// vain tells, where nothing is evicted, that a pass found nothing to do and hardly anything has died or come free since. So a
// write that is refused costs no look at every shard.
func (s *Store) vain() bool {
	return s.opt.NoEvict && s.died.Load() < s.vainUntil.Load() && s.p.avail.Load() <= s.vainAvail.Load()
}

// dead notes that bytes of a segment are dead. Only where nothing is evicted does anybody ask.
func (s *Store) dead(bytes uint32) {
	if s.opt.NoEvict {
		s.died.Add(int64(bytes))
	}
}

// compactAny looks for work in every data shard.
func (s *Store) compactAny(n int) int {
	for i := range s.data {
		if moved := s.compactData(&s.data[i], n, true); moved > 0 {
			return moved
		}
	}
	return 0
}

// compactData compacts a data shard; without need only if a quarter of its segments is dead.
func (s *Store) compactData(ds *dataShard, n int, need bool) (moved int) {
	for more := true; more; {
		moved, more = s.compactSome(ds, n, need)
	}
	return moved
}

// compactSome does compactData's work for one lock hold. more: it has only looked for what to compact, and not everywhere.
func (s *Store) compactSome(ds *dataShard, n int, need bool) (moved int, more bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if used := int64(s.z.segment) * ds.st.segments; !need && (ds.st.segments <= 4 || (used-ds.st.live)*4 <= used) {
		return 0, false
	}
	began, looked := time.Now(), 0
	if ds.st.moveSeg == noSegment {
		var over bool
		looked, over = ds.seek()
		more = !over
	}
	if !more {
		moved = ds.compact(n)
	}
	s.holds.note(HoldCompact, looked+moved, began)
	return moved, more
}

// evictAny works on one shard until a segment is free, if that is soon, and then goes on to another, so that whole segments
// come back and no shard is emptied before the others. 0: there was nothing to do in any.
func (s *Store) evictAny(n int) int {
	v := s.victim.Load()
	for i := range uint32(len(s.shards)) {
		at := (v + i) % uint32(len(s.shards))
		sh := &s.shards[at]
		walked, done := s.tidy(sh, n)
		if !done && walked == 0 && !s.opt.NoEvict {
			walked, done = s.evict(sh, n)
		}
		if walked > 0 {
			if done {
				at = s.nextVictim()
			}
			s.victim.CompareAndSwap(v, at)
			return walked
		}
	}
	return 0
}

// nextVictim returns the shard whose turn it is, or the next one where that holds more items: all shards lose alike then, and
// what chance brought one more than the others goes first.
func (s *Store) nextVictim() uint32 {
	n := uint32(len(s.shards))
	v := s.turn.Add(1) % n
	if o := (v + 1) % n; s.shards[o].held() > s.shards[v].held() {
		return o
	}
	return v
}

// tidy moves at most n records out of the emptiest segment of a shard whose logs are dead by more than their share. The
// records go to the end of their log. done: a segment was freed.
func (s *Store) tidy(sh *shard, n int) (walked int, done bool) {
	var f freed
	sh.lock(s.Now())
	began, looked := time.Now(), 0
	for over := false; sh.moving == noSegment; {
		if used := sh.st.logs[probation].used + sh.st.logs[mainLog].used; (used-sh.st.bytes)*deadShare > used {
			looked, over = sh.seek()
		} else {
			over = true
		}
		if sh.moving != noSegment {
			break
		}
		s.holds.note(HoldCompact, looked, began)
		sh.mu.Unlock()
		if over {
			return 0, false
		}
		sh.lock(s.Now())
		began, looked = time.Now(), 0
	}
	seg := sh.moving
	for m := &s.p.meta[seg]; walked < n && sh.moving == seg; walked++ {
		if sh.moved >= m.used {
			sh.moving = noSegment
			break
		}
		from := sh.moved
		h, k := sh.step(seg, &sh.moved)
		if k.slot == nil {
			continue
		}
		if k.is >= isExpired {
			sh.expire(h, k.loc, &k.rec, k.is, &f)
			continue
		}
		d := sh.redraft(&k)
		if !sh.reserve(&d, forMove) {
			sh.moved = from
			break
		}
		sh.link(h, k.slot, k.loc, &k.rec, &d, nil)
	}
	done = sh.moving != seg
	s.holds.note(HoldCompact, looked+walked, began)
	sh.check()
	sh.mu.Unlock()
	s.giveBack(&f)
	return walked, done
}

// seek goes on looking for the closed segment of the logs with the most dead bytes, if freeing it is worth the moves, to be
// emptied next. It returns how many it looked at; over: the search has come to its end, found or not.
func (sh *shard) seek() (looked int, over bool) {
	e := &sh.search
	if !e.begun {
		e.begin(sh.st.logs[probation].head, uint32(sh.s.z.segment/(2*deadShare)))
	}
	for {
		looked += e.walk(sh.s.p.meta, sh.st.logs[e.log].tail, searchMost-looked)
		if e.at != noSegment {
			return looked, false
		}
		if e.log++; e.log == logCount {
			sh.moving, sh.moved = e.best, 0
			e.begun = false
			return looked, true
		}
		e.at = sh.st.logs[e.log].head
	}
}

// step reads the record of a segment at off and moves off behind it. Its slot is nil when the index names another.
func (sh *shard) step(seg uint32, off *uint32) (h uint64, k held) {
	z := &sh.s.z
	k.loc = uint32((uint64(seg)<<z.segShift + uint64(*off)) >> z.unitShift)
	k.rec.decode(sh.raw(k.loc))
	*off += uint32(alignUp(uint64(k.rec.size), 1<<z.unitShift))
	h = sh.s.opt.KeyHash(k.rec.key)
	if k.slot = sh.idx.slot(h, k.loc); k.slot != nil {
		k.is = sh.judge(&k.rec, k.loc, h, k.rec.route, sh.now)
	}
	return h, k
}

// evict takes at most n records from the old end of one of the shard's logs. done: the next shard has its turn.
func (s *Store) evict(sh *shard, n int) (walked int, done bool) {
	var f freed
	sh.lock(s.Now())
	log := sh.overfull()
	l := &sh.st.logs[log]
	seg := l.head
	if seg == noSegment {
		sh.mu.Unlock()
		return 0, true
	}
	m := &s.p.meta[seg]
	began := time.Now()
	// Where a segment holds much of the shard, its memory lies elsewhere, in data: then the others have their turn as well.
	// And no pass takes so much from one log that it is far below its share.
	most := sh.st.items / maxPass
	coarse := int64(m.live)*8 > sh.st.logs[probation].live+sh.st.logs[mainLog].live
	for walked < n && l.head == seg && l.walked < m.used {
		h, k := sh.step(seg, &l.walked)
		walked++
		if k.slot == nil {
			continue // overwritten or deleted
		}
		switch {
		case k.is >= isExpired:
			sh.expire(h, k.loc, &k.rec, k.is, &f)
		case sh.spare(h, log, &k, seg != l.tail || m.live > uint32(alignUp(uint64(k.rec.size), 1<<s.z.unitShift))):
		default:
			large := s.inPages(&k.rec)
			sh.evictOne(h, log, &k, &f)
			if most--; large || most <= 0 {
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
	s.holds.note(HoldEvict, walked, began)
	sh.check()
	sh.mu.Unlock()
	s.giveBack(&f)
	return walked, done || coarse
}

// evictOne takes a record out for want of memory, and tells of it. Its key is remembered unless it was in the main log for
// nothing.
func (sh *shard) evictOne(h uint64, log int, k *held, f *freed) {
	if r := &k.rec; !r.negative() {
		if tell := sh.s.onEvict.Load(); tell != nil {
			e := sh.evicted(k)
			(*tell)(&e)
		}
		sh.st.evictions++
		if r.meta&metaFetched == 0 {
			sh.st.evictedUnfetched++
		}
		switch {
		case log == probation:
			sh.gh.remember(h, evictedOnProbation, sh.st.items)
		case r.meta&metaFetched != 0:
			sh.gh.remember(h, evictedFromMain, sh.st.items)
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
