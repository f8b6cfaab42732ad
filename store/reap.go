package store

import (
	"math/bits"
	"slices"
	"time"
)

// Memory of what has expired or was flushed comes back without anyone asking. Each segment of a log knows the second at which
// it is worth a look (segMeta.due), each shard the earliest of its segments. A look walks the segment, takes out what is over
// and plans the next one: when an eighth of what is left will be over, or the first of it for as long as it has lived. So an
// expired item outlives its end at most by the age it had then (by a second at least), most of them far less, and every
// record is looked at a bounded number of times however its neighbours' deadlines lie. What a look leaves thinly filled,
// compaction moves together.

const (
	reapShare = 8                // part of a segment that has to be over before the next look
	reapTick  = time.Second      // distance of the background's looks at the shards
	reapRun   = time.Millisecond // it works so long, then rests as long, so that commands find a processor
)

// notDue is the due second of a segment in which nothing ends.
const notDue = ^uint32(0)

// endOf returns the second from which a record with these fields is over for good, notDue if there is none.
func (sh *shard) endOf(route RouteID, state byte, filled, expiry uint32) uint32 {
	end := notDue
	if expiry != 0 {
		end = expiry
	}
	if route == 0 {
		return end
	}
	rs := sh.s.route(route)
	if rs == nil {
		return filled
	}
	switch state & stateKind {
	case stateNegative:
		end = min(end, filled+rs.Negative)
	case stateFilled:
		end = min(end, filled+rs.Fresh+rs.Stale+rs.Keep)
	}
	return end
}

// expect notes that a record of the segment ends at that second. An open segment is looked at when that record has been over
// for as long as it was to live, as more are still to come; once closed, at the first end (see closed).
func (sh *shard) expect(m *segMeta, end uint32) {
	if end == notDue {
		return
	}
	m.first = min(m.first, end)
	now := sh.now.Second()
	sh.plan(m, later(end, end-min(end, now)))
}

// later returns the second that comes as long after end as said, and at least one.
func later(end, by uint32) uint32 {
	return uint32(min(uint64(end)+uint64(max(by, 1)), uint64(notDue-1)))
}

// closed plans the first look at a segment that gets no more records.
func (sh *shard) closed(m *segMeta) {
	if m.first != notDue {
		sh.plan(m, later(m.first, 0))
	}
}

func (sh *shard) plan(m *segMeta, due uint32) {
	if due < m.due {
		m.due = due
	}
	if due < sh.due.Load() {
		sh.due.Store(due)
	}
}

// sweep has every record that is there now looked at soon: some may be over that no plan knew of.
func (sh *shard) sweep() {
	for log := range sh.st.logs {
		sh.st.logs[log].sweep = sh.end(log)
	}
	sh.due.Store(0)
}

// reaper is one look at a segment, over as many lock holds as it takes.
type reaper struct {
	seg   uint32
	log   uint32
	start uint64 // log position of its first byte
	off   uint32
	sec   uint32             // when it began
	ends  [endClasses]uint32 // bytes of what will be over, by how long from then
	first uint32             // the earliest of those ends
	live  uint32
}

// endClasses are quarters of powers of two of seconds from now.
const endClasses = 4 * 33

func endClass(in uint32) int {
	if in < 4 {
		return int(in)
	}
	n := bits.Len32(in) - 1
	return 4*(n-1) + int(in>>(n-2)&3)
}

// classEnd is the last second of a class.
func classEnd(class int) uint32 {
	if class < 4 {
		return uint32(class)
	}
	n := class/4 + 1
	return uint32(min(uint64(4+class%4+1)<<(n-2)-1, uint64(notDue-1)))
}

// reap looks at every segment that is due, and sees to the routes' caps. rest is called between two lock holds; false ends the work.
func (s *Store) reap(rest func() bool) {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	now := s.Now()
	s.epochs.fireDue(now)
	s.epochs.mu.Lock()
	prefixed := s.epochs.prefixed
	s.epochs.mu.Unlock()
	if n := s.epochs.moved.Load(); n != s.swept {
		for i := range s.shards { // each catches up
			s.shards[i].lock(now)
			s.shards[i].mu.Unlock()
		}
		s.swept = n
	}
	for i := range s.shards {
		sh := &s.shards[i]
		if sh.due.Load() > s.Now().Second() {
			continue
		}
		s.beginTurn(sh)
		var r reaper
		for due, more := s.nextDue(sh, &r); more; due, more = s.nextDue(sh, &r) {
			for due {
				if due = s.reapSome(sh, &r); !rest() {
					sh.lock(s.Now())
					sh.sweep() // this look has to begin anew
					sh.mu.Unlock()
					return
				}
			}
		}
		for s.thin(sh) {
			if n, _ := s.tidy(sh, s.passBackground()); n == 0 {
				break
			}
			if !rest() {
				return
			}
		}
	}
	s.epochs.forgetPrefixes(prefixed)
	if !s.keepShares(rest) {
		return
	}
	for i := range s.data {
		for s.compactData(&s.data[i], s.passBackground(), false) > 0 {
			if !rest() {
				return
			}
		}
	}
}

// turn is one pass over the segments of a shard, the oldest of each log first, over many lock holds. Those that come due again
// meanwhile, or that an invalidation makes due, have to wait for the next turn: however many there are, other shards get theirs.
// The shard's lock guards it, and Store.reaping sees to it that there is one at a time.
type turn struct {
	log      int
	seg      uint32           // to be asked next; noSegment at the end of the log. It moves on when that is given back
	sweep    [logCount]uint64 // segments from before it are due in any case
	earliest uint32           // of those that were asked and not due
	prefixes uint64           // that were invalidated before it began
}

// beginTurn begins a pass over the shard. What is planned from now on shows in the shard's due.
func (s *Store) beginTurn(sh *shard) {
	sh.lock(s.Now())
	defer sh.mu.Unlock()
	sh.turn = turn{seg: sh.st.logs[probation].head, earliest: notDue, prefixes: sh.seenPrefixes}
	for log := range sh.st.logs {
		sh.turn.sweep[log], sh.st.logs[log].sweep = sh.st.logs[log].sweep, 0
	}
	sh.due.Store(notDue)
}

// nextDue asks the next segments of a turn, in one lock hold, whether their second has come. due: one's has, and a look at it has
// begun. more: the turn goes on; else it is over.
func (s *Store) nextDue(sh *shard, r *reaper) (due, more bool) {
	sh.lock(s.Now())
	defer sh.mu.Unlock()
	began, asked := time.Now(), 0
	defer func() { s.holds.note(HoldExpire, asked, began) }()
	now, t := sh.now.Second(), &sh.turn
	for ; t.log < logCount; t.seg = sh.st.logs[t.log].head {
		for t.seg != noSegment {
			if asked == searchMost {
				return false, true
			}
			asked++
			seg, m := t.seg, &s.p.meta[t.seg]
			t.seg = m.next
			if m.due <= now || m.start < t.sweep[t.log] {
				*r = reaper{seg: seg, log: m.log, start: m.start, sec: now, first: notDue}
				m.due, m.first, sh.looked = notDue, notDue, seg
				return true, true
			}
			t.earliest = min(t.earliest, m.due)
		}
		if t.log++; t.log == logCount {
			break
		}
	}
	sh.due.Store(min(sh.due.Load(), t.earliest))
	// Every record from before these was looked at.
	sh.prefixes = slices.DeleteFunc(sh.prefixes, func(p shardPrefix) bool { return p.no <= t.prefixes })
	return false, false
}

// reapSome works on for one lock hold; false: the look is over.
func (s *Store) reapSome(sh *shard, r *reaper) (more bool) {
	var f freed
	sh.lock(s.Now())
	began := time.Now()
	kind, touched := HoldExpire, 0
	z := &s.z
	m := &s.p.meta[r.seg]
	if sh.looked != r.seg { // it was emptied and is something else now
		sh.mu.Unlock()
		return false
	}
	var rec record
	for n := s.passBackground(); n > 0 && r.off < m.used; n-- {
		loc := uint32((uint64(r.seg)<<z.segShift + uint64(r.off)) >> z.unitShift)
		rec.decode(sh.raw(loc))
		size := uint32(alignUp(uint64(rec.size), 1<<z.unitShift))
		r.off += size
		sh.st.reapLooks++
		// Whether the index still names it is asked only where that matters.
		is := sh.judge(&rec, loc, 0, rec.route, sh.now)
		if is < isExpired && !(is == isOver && rec.negative()) {
			r.live += size
			if end := sh.endOf(rec.route, rec.state, rec.filled, rec.expiry); end != notDue {
				end = max(end, r.sec+1)
				r.first = min(r.first, end)
				r.ends[endClass(end-r.sec)] += size
			}
			continue
		}
		h := s.opt.KeyHash(rec.key)
		if sh.idx.slot(h, loc) == nil {
			continue
		}
		touched++
		switch {
		case is == isFlushed:
			kind = HoldFlush
		case !rec.negative():
			sh.st.reaped++
			if rec.meta&metaFetched == 0 {
				sh.st.expiredUnfetched++
			}
		}
		tail := sh.st.logs[r.log].tail == r.seg
		last := m.live == size
		sh.unlink(h, loc, &rec, &f)
		if last {
			if tail { // the next record opens another
				sh.release(r.seg)
			}
			sh.mu.Unlock()
			s.holds.note(kind, touched, began)
			s.giveBack(&f)
			return false
		}
	}
	sh.check()
	if more = r.off < m.used; !more && r.first != notDue {
		m.first = min(m.first, r.first)
		sh.plan(m, r.next(sh.st.logs[r.log].ages.at(r.start)))
	}
	sh.mu.Unlock()
	s.holds.note(kind, touched, began)
	s.giveBack(&f)
	return more
}

// next returns the second of the next look at a segment that was opened at born: an eighth of what is live will be over, or
// the first of it will have been over for as long as it was there before.
func (r *reaper) next(born uint32) uint32 {
	latest := later(r.first, r.first-min(born, r.first))
	sum := uint32(0)
	for class, n := range r.ends {
		if sum += n; n > 0 && sum*reapShare >= r.live {
			return min(later(r.sec, classEnd(class)+1), latest)
		}
	}
	return latest
}

// thin tells whether so much of a shard is dead that moving the rest together is worth it without need.
func (s *Store) thin(sh *shard) bool {
	sh.lock(s.Now())
	defer sh.mu.Unlock()
	used := sh.st.logs[probation].used + sh.st.logs[mainLog].used
	return used > 4*int64(s.z.segment) && (used-sh.st.bytes)*4 > used
}

// reapDue runs the background's share of time: it works and rests by turns, and without resting while memory is short.
func (s *Store) reapDue() {
	began := time.Now()
	s.reap(func() bool {
		select {
		case <-s.quit:
			return false
		default:
		}
		if time.Since(began) > reapRun && s.p.avail.Load() > s.reserve.Load() {
			time.Sleep(reapRun)
			began = time.Now()
		}
		return true
	})
}

// Crawl has all items that are there now looked at as soon as may be. Stats tells until when.
func (s *Store) Crawl() {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.lock(s.Now())
		sh.sweep()
		sh.mu.Unlock()
	}
	s.crawls.Add(1)
	select {
	case s.crawl <- struct{}{}:
	default:
	}
}

// keepReaping takes out what is over, once a second and when asked to crawl, or after a flush where nothing is evicted.
func (s *Store) keepReaping() {
	t := time.NewTicker(reapTick)
	defer t.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-s.crawl:
		case <-t.C:
		}
		asked := s.crawls.Load()
		s.reapDue()
		s.crawled.Store(asked)
		s.p.trim(max(s.reserve.Load(), s.p.limit.Load()/16))
	}
}
