package store

import "math/bits"

// index maps a hash to a 32-bit location by extendible hashing: a directory of small tables, of which a full one grows or is
// split alone. So growth costs at most a table's rehashes at a time, never a pass over the whole index. Tables come in two
// sizes, one half again as large as the other, so that splitting in two leaves neither half nearly empty. Within a table,
// groups of eight slots are probed in order, first by a byte of hash a slot (Swiss table), then by the caller's own comparison.
//
// Bits of the hash: 0-6 tag, from 7 on the directory; the group by all of them mixed. The owner's lock guards all of it.
type index struct {
	a   *arena
	p   *pool
	st  *indexState
	dir []uint32 // table offsets in units of tableAlign from the first segment; length 1<<depth of it is live

	// hashes gives the hashes that locations were inserted under. They are asked for together, so that what has to be read for
	// them comes together from memory.
	hashes func(dst []uint64, locs []uint32)
}

// indexState is the index's part of its shard's state in the arena.
type indexState struct {
	depth uint32
	_     uint32
	size  uint64 // bytes of the tables
	count uint64
}

const (
	tableClasses = 2
	mostGroups   = 48
	mostSlots    = 8 * mostGroups
	dirShift     = 7
	groupMix     = 0x9e3779b97f4a7c15
)

// classGroups are the groups of a table of each class.
var classGroups = [tableClasses]uint32{32, mostGroups}

type group struct {
	ctrl uint64 // a byte a slot: 0 empty, 1 removed, 0x80|tag taken
	loc  [8]uint32
}

// table is a view of a table; only the first groups of g are there.
type table struct {
	depth  uint32
	count  uint32
	tombs  uint32
	groups uint32
	g      [mostGroups]group
}

// home returns the group in which the search for h begins.
func (t *table) home(h uint64) uint32 { return uint32(h * groupMix >> 32 * uint64(t.groups) >> 32) }

// after returns the group behind g.
func (t *table) after(g uint32) uint32 {
	if g++; g == t.groups {
		return 0
	}
	return g
}

func (t *table) slots() uint32 { return 8 * t.groups }

// full is how many slots may be taken before the table grows or is split.
func (t *table) full() uint32 { return t.slots() - t.slots()/16 }

const (
	lsb = 0x0101010101010101
	msb = 0x8080808080808080
)

// matchByte marks, by its top bit, each byte of ctrl that equals b. It may also mark a byte above a true match that differs
// in the lowest bit only; such a slot is taken too, so a comparison sorts it out.
func matchByte(ctrl uint64, b byte) uint64 {
	x := ctrl ^ lsb*uint64(b)
	return (x - lsb) &^ x & msb
}

func tagOf(h uint64) byte { return 0x80 | byte(h&0x7f) }

func newIndex(a *arena, p *pool, st *indexState, dir []uint32, hashes func([]uint64, []uint32)) *index {
	return &index{a: a, p: p, st: st, dir: dir, hashes: hashes}
}

// start makes the first table; false without memory.
func (x *index) start() bool {
	if !x.p.charge(4) {
		return false
	}
	off, ok := x.newTable(0, 0)
	if !ok {
		return false
	}
	x.dir[0] = off
	return true
}

func (x *index) table(h uint64) *table {
	return x.tableAt(x.dir[(h>>dirShift)&(1<<x.st.depth-1)])
}

func (x *index) tableAt(off uint32) *table {
	return at[table](x.a, x.p.z.offSegments+uint64(off)*x.p.z.tableAlign)
}

// newTable makes an empty table; false without memory.
func (x *index) newTable(class int, depth uint32) (uint32, bool) {
	byteOff, ok := x.p.table(class)
	if !ok {
		return 0, false
	}
	x.st.size += uint64(x.p.z.tableSize[class])
	off := uint32(byteOff / x.p.z.tableAlign)
	t := x.tableAt(off)
	t.depth, t.count, t.tombs, t.groups = depth, 0, 0, classGroups[class]
	clear(t.g[:t.groups])
	return off, true
}

func (x *index) freeTable(off uint32) {
	x.st.size -= x.p.freeTable(uint64(off) * x.p.z.tableAlign)
}

// insert adds loc under h. It does not look for an equal one. False: no memory for another table.
func (x *index) insert(h uint64, loc uint32) bool {
	t := x.table(h)
	for t.count+t.tombs >= t.full() {
		if t.tombs > t.count/2 {
			x.rebuild(t)
		} else if !x.grow(h) {
			if t.tombs > 0 {
				x.rebuild(t)
			}
			if t.count >= t.slots()-1 {
				return false
			}
			break
		}
		t = x.table(h)
	}
	t.place(h, loc)
	x.st.count++
	return true
}

func (t *table) place(h uint64, loc uint32) {
	g := t.home(h)
	for {
		gr := &t.g[g]
		// Taken slots carry the top bit; empty and removed ones do not.
		if free := ^gr.ctrl & msb; free != 0 {
			i := bits.TrailingZeros64(free) >> 3
			if byte(gr.ctrl>>(8*i)) == 1 {
				t.tombs--
			}
			gr.ctrl = gr.ctrl&^(0xff<<(8*i)) | uint64(tagOf(h))<<(8*i)
			gr.loc[i] = loc
			t.count++
			return
		}
		g = t.after(g)
	}
}

// slot finds where loc stands under h.
func (x *index) slot(h uint64, loc uint32) *uint32 {
	t := x.table(h)
	g := t.home(h)
	for range t.groups {
		gr := &t.g[g]
		for m := matchByte(gr.ctrl, tagOf(h)); m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m) >> 3
			if gr.loc[i] == loc {
				return &gr.loc[i]
			}
		}
		if matchByte(gr.ctrl, 0) != 0 {
			return nil
		}
		g = t.after(g)
	}
	return nil
}

// remove takes loc out from under h; false when it is not there.
func (x *index) remove(h uint64, loc uint32) bool {
	t := x.table(h)
	g := t.home(h)
	for range t.groups {
		gr := &t.g[g]
		hasEmpty := matchByte(gr.ctrl, 0) != 0
		for m := matchByte(gr.ctrl, tagOf(h)); m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m) >> 3
			if gr.loc[i] != loc {
				continue
			}
			gr.ctrl &^= 0xff << (8 * i)
			if !hasEmpty { // a probe may have gone past this group
				gr.ctrl |= 1 << (8 * i)
				t.tombs++
			}
			t.count--
			x.st.count--
			if t.count <= t.slots()/8 && t.depth > 0 {
				x.merge(h)
			}
			return true
		}
		if hasEmpty {
			return false
		}
		g = t.after(g)
	}
	return false
}

// entries is a table's content outside of it.
type entries struct {
	n    int
	hash [mostSlots]uint64
	loc  [mostSlots]uint32
}

// collect copies what t holds.
func (x *index) collect(t *table, e *entries) {
	e.n = 0
	for g := range t.g[:t.groups] {
		gr := &t.g[g]
		for m := gr.ctrl & msb; m != 0; m &= m - 1 {
			e.loc[e.n] = gr.loc[bits.TrailingZeros64(m)>>3]
			e.n++
		}
	}
	x.hashes(e.hash[:e.n], e.loc[:e.n])
}

// empty takes everything out of a table.
func (t *table) empty() {
	t.count, t.tombs = 0, 0
	clear(t.g[:t.groups])
}

// rebuild clears removed slots away.
func (x *index) rebuild(t *table) {
	var e entries
	x.collect(t, &e)
	t.empty()
	for i := range e.n {
		t.place(e.hash[i], e.loc[i])
	}
}

// grow gives the table of h, which is full, a larger one or parts it in two; false without memory, and then nothing changed.
func (x *index) grow(h uint64) bool {
	if t := x.table(h); t.groups == classGroups[0] && x.p.z.tableClasses > 1 {
		return x.resize(h, 1)
	}
	return x.split(h)
}

// point turns the directory entries of the table of h, which is of that depth, to another.
func (x *index) point(h uint64, depth, off uint32) {
	for i := h >> dirShift & (1<<depth - 1); i < 1<<x.st.depth; i += 1 << depth {
		x.dir[i] = off
	}
}

// resize moves what the table of h holds to one of another class; false without memory.
func (x *index) resize(h uint64, class int) bool {
	t := x.table(h)
	old := x.dir[h>>dirShift&(1<<x.st.depth-1)]
	off, ok := x.newTable(class, t.depth)
	if !ok {
		return false
	}
	var e entries
	x.collect(t, &e)
	to := x.tableAt(off)
	for i := range e.n {
		to.place(e.hash[i], e.loc[i])
	}
	x.point(h, t.depth, off)
	x.freeTable(old)
	return true
}

// split parts the table of h in two of the least size that fits; false without memory, and then nothing changed.
func (x *index) split(h uint64) bool {
	t := x.table(h)
	if t.depth == x.st.depth {
		n := 1 << x.st.depth
		if 2*n > len(x.dir) || !x.p.charge(int64(4*n)) {
			return false
		}
		copy(x.dir[n:2*n], x.dir[:n])
		x.st.depth++
	}
	var e entries
	x.collect(t, &e)
	bit := t.depth
	var half [2]struct {
		n   uint32
		off uint32
	}
	for i := range e.n {
		half[e.hash[i]>>(dirShift+bit)&1].n++
	}
	for i := range half {
		class := 0
		if half[i].n > 7*classGroups[0] && x.p.z.tableClasses > 1 {
			class = 1
		}
		var ok bool
		if half[i].off, ok = x.newTable(class, bit+1); !ok {
			if i == 1 {
				x.freeTable(half[0].off)
			}
			return false
		}
	}
	old := x.dir[h>>dirShift&(1<<x.st.depth-1)]
	low := h &^ (1 << (dirShift + bit))
	x.point(low, bit+1, half[0].off)
	x.point(low|1<<(dirShift+bit), bit+1, half[1].off)
	for i := range e.n {
		x.tableAt(half[e.hash[i]>>(dirShift+bit)&1].off).place(e.hash[i], e.loc[i])
	}
	x.freeTable(old)
	return true
}

// prepare takes one step towards the tables that n entries will have come to, at the table of h. False: it is there, or there is
// no memory.
func (x *index) prepare(h, n uint64) bool {
	t := x.table(h)
	each := n >> t.depth
	full := func(class int) bool { return each >= uint64(8*classGroups[class])*15/16 }
	switch {
	case full(x.p.z.tableClasses - 1):
		return x.split(h)
	case full(0) && t.groups == classGroups[0]:
		return x.resize(h, 1)
	}
	return false
}

// merge joins a nearly empty table with the one it was split from, if that has room enough for both to be far from splitting.
func (x *index) merge(h uint64) {
	t := x.table(h)
	bit := t.depth - 1
	at := (h >> dirShift) & (1<<t.depth - 1)
	off, sibOff := x.dir[at], x.dir[at^1<<bit]
	sib := x.tableAt(sibOff)
	if sib.depth != t.depth || t.count+sib.count > 4*classGroups[0] {
		return
	}
	if sib.count+sib.tombs+t.count >= sib.full() {
		x.rebuild(sib)
	}
	var e entries
	x.collect(t, &e)
	for i := range e.n {
		sib.place(e.hash[i], e.loc[i])
	}
	sib.depth--
	x.point(h, sib.depth, sibOff)
	x.freeTable(off)
	if sib.groups > classGroups[0] {
		x.resize(h, 0) // without memory it stays as it is
	}
}

// slots returns how many the directory has room for; like it they never become fewer.
func (x *index) slots() int64 { return mostSlots << x.st.depth }

// bytes returns what the index takes: tables and directory.
func (x *index) bytes() int64 {
	return int64(x.st.size) + 4<<x.st.depth
}
