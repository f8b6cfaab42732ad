package store

// Which items stay: S3-FIFO (Yang et al., SOSP 2023) with a gate on what counts as a hit. New items are on probation in a
// log of a fifth of the memory; one that was hit there moves to the main log when its turn comes, the others go, and their
// prints are kept for a while, so that a key that comes back goes to the main log at once. In the main log an item passes its
// turn once for every counted hit, up to three. A hit counts only when a twentieth of the shard's memory was inserted since
// the item was written: so a burst counts once. The figures behind these numbers are in docs/decisions.
const (
	probationShare = 5   // probation has a 5th of the records' bytes
	smallShard     = 500 // items; below, half, because so little would be on probation that nothing has time to be hit
	gateShare      = 20
	spareMost      = 16 // records that may pass their turn before one goes regardless, so that a pass always frees
)

// hit notes that a present record was read.
func (sh *shard) hit(k *held) {
	r := &k.rec
	r.raw[1] |= metaFetched
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

// enlist chooses the log of a record about to be put under h: that of the record it replaces, else probation, unless the key
// was evicted from there lately.
func (sh *shard) enlist(h uint64, k *held, d *draft) {
	d.log, d.hits = probation, 0
	switch {
	case d.negative():
	case k.slot != nil && !k.rec.negative():
		d.log, _ = sh.place(k.loc)
		d.hits = k.rec.meta & metaHits
	case recall(sh.gh, h):
		d.log = mainLog
	}
}

// overfull returns the log that has more than its share.
func (sh *shard) overfull() int {
	p, m := &sh.st.logs[probation], &sh.st.logs[mainLog]
	share := int64(probationShare)
	if sh.st.items < smallShard {
		share = 2
	}
	if m.head == noSegment || p.head != noSegment && p.live*share > p.live+m.live {
		return probation
	}
	return mainLog
}

// spare lets a record that earned it pass its turn, by putting it at the end of the main log; false: it has to go. others
// tells that the record's segment is not the one being written, where it would only meet itself.
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
