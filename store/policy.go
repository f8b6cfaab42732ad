package store

// Which items stay: S3-FIFO (Yang et al., SOSP 2023) with a gate on what counts as a hit. New items are on probation in a
// log of an eighth of the memory; one that was hit there moves to the main log when its turn comes, the others go. In the main
// log an item passes its turn once for every counted hit, up to three. A hit counts only when a twentieth of the shard's
// memory was inserted since the item was written: so a burst counts once.
//
// Prints are kept of one and a half times as many evicted keys as items are held, of two kinds. A key that went from probation
// comes back to the main log at once, as it is asked for again and again, only slowly; but not if it is so slow that the main
// log would not keep it until the next time. A key that went from the main log, though it had been read, is on probation
// again, but with a hit. The figures behind these numbers are in docs/decisions.
const (
	probationShare = 8   // probation has an 8th of the items,
	probationLeast = 120 // but this many of all shards', or in a tiny store half: with fewer nothing has time to be hit
	gateShare      = 20
	spareMost      = 128 // records that may pass their turn before one goes regardless, so that a few passes always free
)

// hit notes that a present record was read.
func (sh *shard) hit(k *held) {
	r := &k.rec
	if r.meta&metaFetched == 0 { // else the line of memory stays as it is
		r.raw[1] |= metaFetched
	}
	count := r.raw[1] & metaHits
	if count == metaHits {
		return
	}
	if count == 0 {
		log, pos := sh.place(k.loc)
		since := sh.end(log) - pos
		if log == mainLog {
			since = uint64(sh.inserted()-sh.s.p.meta[uint64(k.loc)<<sh.s.z.unitShift>>sh.s.z.segShift].clock) << 10
		}
		if since*gateShare < uint64(sh.st.logs[probation].live+sh.st.logs[mainLog].live) {
			return
		}
	}
	r.raw[1]++
}

// bump notes that a present record was read, and when, where it remembers that.
func (sh *shard) bump(k *held, now Time) {
	sh.hit(k)
	if r := &k.rec; r.route == 0 && r.offState != 0 {
		r.setFilled(now.Second())
	}
}

// enlist chooses the log of a record about to be put under h, and the hits that it begins with: those of the record it
// replaces, else what its print tells.
func (sh *shard) enlist(h uint64, k *held, d *draft) {
	d.log, d.hits = probation, 0
	switch {
	case d.negative():
	case k.slot != nil && !k.rec.negative():
		d.log, _ = sh.place(k.loc)
		d.hits = k.rec.meta & metaHits
	default:
		switch how, ago := sh.gh.recall(h, sh.st.items); {
		case how == evictedFromMain:
			d.hits = 1
		case how == evictedOnProbation && sh.lasts(ago):
			d.log = mainLog
		}
	}
}

// lasts tells whether a key that comes back after about ago other evictions would stay in the main log for as long as it was
// away, its time on probation included. The oldest record there tells how long things stay, in what was put on probation since.
// What comes back later would go again before it is asked for, and only make the others' time shorter. While the main log is
// far from full it takes everything.
func (sh *shard) lasts(ago int64) bool {
	p, m := &sh.st.logs[probation], &sh.st.logs[mainLog]
	if m.head == noSegment || p.items > 2*sh.probationMost() {
		return true
	}
	stay := int64(sh.inserted()-sh.s.p.meta[m.head].clock) << 10   // bytes
	return (p.items+ago)*(p.live+m.live) <= stay*(p.items+m.items) // both in bytes, times items
}

// probationMost returns how many items may be on probation.
func (sh *shard) probationMost() int64 {
	all := sh.st.logs[probation].items + sh.st.logs[mainLog].items
	return min(max(all/probationShare, probationLeast/int64(sh.s.z.shards)), all/2)
}

// overfull returns the log that has more than its share.
func (sh *shard) overfull() int {
	p, m := &sh.st.logs[probation], &sh.st.logs[mainLog]
	if m.head == noSegment || p.head != noSegment && p.items > sh.probationMost() {
		return probation
	}
	return mainLog
}

// spare lets a record that earned it pass its turn, by putting it at the end of the main log; false: it has to go. others
// tells that it will not be the next to have a turn, alone in the segment being written.
func (sh *shard) spare(h uint64, log int, k *held, others bool) bool {
	r := &k.rec
	hits := r.meta & metaHits
	if hits == 0 || r.negative() || log == mainLog && (!others || sh.spared >= spareMost) {
		sh.spared = 0
		return false
	}
	d := sh.redraft(k)
	d.log, d.hits = mainLog, 0
	if log == mainLog {
		d.hits = hits - 1
		sh.spared++
	}
	if !sh.reserve(&d, forMove) {
		return false
	}
	sh.link(h, k.slot, k.loc, r, &d, nil)
	return true
}
