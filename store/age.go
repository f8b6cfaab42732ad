package store

// ages tells when a record was written from its place in the log: a list of positions, each the first at or after which
// records were written in that second or later. It is exact for the last seconds and coarser the older it gets.
type ages struct {
	n    uint32
	_    uint32
	mark [agesMax]struct {
		pos uint64
		sec uint32
		_   uint32
	}
}

const agesMax = 48

// note says that what is written at pos is written at sec.
func (a *ages) note(pos uint64, sec uint32) {
	if a.n > 0 && a.mark[a.n-1].sec >= sec {
		return
	}
	if a.n == agesMax {
		a.forget(sec)
	}
	a.mark[a.n].pos, a.mark[a.n].sec = pos, sec
	a.n++
}

// forget drops the mark whose neighbours are closest together for their age, so that the marks thin out evenly with age.
func (a *ages) forget(now uint32) {
	drop, gap, age := uint32(1), uint32(1), uint32(0) // gap/age: the smallest share so far
	for i := uint32(1); i < a.n-1; i++ {
		g, o := a.mark[i+1].sec-a.mark[i-1].sec, now-a.mark[i].sec
		if uint64(g)*uint64(age) < uint64(gap)*uint64(o) {
			drop, gap, age = i, g, o
		}
	}
	copy(a.mark[drop:a.n-1], a.mark[drop+1:a.n])
	a.n--
}

// at returns the second at which what stands at pos was written, or the latest one before that which is remembered.
func (a *ages) at(pos uint64) uint32 {
	for i := int(a.n) - 1; i > 0; i-- {
		if a.mark[i].pos <= pos {
			return a.mark[i].sec
		}
	}
	return a.mark[0].sec
}

// stored returns the second at which the record at loc was written.
func (sh *shard) stored(loc uint32) uint32 {
	log, pos := sh.place(loc)
	return sh.st.logs[log].ages.at(pos)
}
