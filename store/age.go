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
	if a.n == agesMax { // of the older two thirds every second one goes
		keep := uint32(0)
		for i := uint32(0); i < a.n; i++ {
			if i >= agesMax*2/3 || i%2 == 0 {
				a.mark[keep] = a.mark[i]
				keep++
			}
		}
		a.n = keep
	}
	a.mark[a.n].pos, a.mark[a.n].sec = pos, sec
	a.n++
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
func (sh *shard) stored(loc uint32) uint32 { return sh.st.ages.at(sh.pos(loc)) }
