package store

// Cursor is a place in a Walk. The zero value is the beginning. It is a plain value that stays good for as long as one likes.
type Cursor struct {
	shard, log int
	pos        uint64
}

// Place is the cursor as plain numbers, for another process that goes on with the same memory: see CursorAt.
func (c *Cursor) Place() [3]uint64 { return [3]uint64{uint64(c.shard), uint64(c.log), c.pos} }

// CursorAt is the cursor whose Place that is. One that no cursor has is at the end.
func CursorAt(place [3]uint64) Cursor {
	if place[0] > 1<<16 || place[1] >= logCount {
		return Cursor{shard: 1 << 16}
	}
	return Cursor{shard: int(place[0]), log: int(place[1]), pos: place[2]}
}

// Walked is what Walk shows of an item. Key aliases the store and is valid only during the call.
type Walked struct {
	Key                []byte
	Route              RouteID
	Size               int // length of the value
	Flags              uint32
	CAS                uint64 // 0: none was given out yet
	Deadline           uint32 // NoDeadline or a second of the item clock
	LastAccess         uint32 // seconds, as in Item
	Fetched, BinaryKey bool
	Datum              uint64 // the same for all items that share one value; 0: the item has its own
	Keys               int    // how many items have it, this one included
}

// Walk calls f with the present items from c on, in insertion order within each log, and moves c behind them. It looks at
// about n records, with one shard locked at a time and for at most PassBackground records; f must neither block nor call the
// store. What is stored or rewritten meanwhile may be shown twice; what is there throughout is shown at least once. False:
// that was the end.
func (s *Store) Walk(c *Cursor, now Time, n int, f func(*Walked)) (more bool) {
	for n > 0 && c.shard < len(s.shards) {
		step := min(n, s.passBackground())
		walked, end := s.shards[c.shard].walk(c.log, &c.pos, now, step, f)
		n -= max(walked, 1)
		// Items move from probation to the main log, so that one comes second.
		if end && c.log == probation {
			c.log, c.pos = mainLog, 0
		} else if end {
			c.shard, c.log, c.pos = c.shard+1, probation, 0
		}
	}
	return c.shard < len(s.shards)
}

func (sh *shard) walk(log int, pos *uint64, now Time, n int, f func(*Walked)) (walked int, end bool) {
	sh.lock(now)
	defer sh.mu.Unlock()
	return sh.each(log, pos, n, func(k *held) bool {
		if !k.is.present() {
			return true
		}
		r := &k.rec
		w := Walked{
			Key: r.key, Route: r.route, Size: len(r.value), Flags: r.flags, CAS: r.cas, Deadline: r.expiry,
			LastAccess: sh.sinceAccess(k, now), Fetched: r.meta&metaFetched != 0, BinaryKey: r.state&stateBinary != 0,
			Keys: 1,
		}
		if r.meta&metaInline == 0 {
			ds := sh.s.dataShardOfHandle(r.handle)
			ds.mu.Lock()
			n := ds.local(r.handle)
			w.Size, w.Keys, w.Datum = len(ds.payload(n)), int(wordRefs(ds.hs[n])), datumOf(r.handle)
			ds.mu.Unlock()
		}
		f(&w)
		return true
	})
}

// each calls f with the records of a log from pos on that the index names, the oldest first, until n records were looked at or
// f says false, and moves pos behind the last one. end: there are no more. The caller holds the lock; f must not move records.
func (sh *shard) each(log int, pos *uint64, n int, f func(k *held) bool) (walked int, end bool) {
	for seg := sh.st.logs[log].head; seg != noSegment; seg = sh.s.p.meta[seg].next {
		m := &sh.s.p.meta[seg]
		if m.start+uint64(m.used) <= *pos {
			continue
		}
		off := uint64(0)
		if *pos > m.start {
			off = *pos - m.start
		}
		for off < uint64(m.used) {
			if walked == n {
				*pos = m.start + off
				return walked, false
			}
			walked++
			at := uint32(off)
			_, k := sh.step(seg, &at)
			off = uint64(at)
			if k.slot != nil && !f(&k) {
				n = walked
			}
		}
		*pos = m.start + off
	}
	return walked, true
}
