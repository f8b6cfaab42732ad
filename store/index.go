package store

import "math/bits"

// index maps a hash to a 32-bit location by extendible hashing: a directory of small tables, of which a full one is split
// alone. So growth costs at most tableSlots rehashes at a time, never a pass over the whole index. Within a table, groups of
// eight slots are probed in order, first by a byte of hash a slot (Swiss table), then by the caller's own comparison.
//
// Bits of the hash: 0-6 tag, 7-11 group, from 12 on the directory. The owner's lock guards all of it.
type index struct {
	a    *arena
	p    *pool
	st   *indexState
	dir  []uint32                // table offsets in units of tableAlign from the first segment; length 1<<depth of it is live
	hash func(loc uint32) uint64 // the hash that loc was inserted under
}

// indexState is the index's part of its shard's state in the arena.
type indexState struct {
	depth  uint32
	tables uint32
	count  uint64
}

const (
	tableGroups = 32
	tableSlots  = tableGroups * 8
	tableFull   = tableSlots * 7 / 8
	groupShift  = 7
	dirShift    = groupShift + 5
)

type group struct {
	ctrl uint64 // a byte a slot: 0 empty, 1 removed, 0x80|tag taken
	loc  [8]uint32
}

type table struct {
	depth uint32
	count uint32
	tombs uint32
	_     uint32
	g     [tableGroups]group
}

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

func newIndex(a *arena, p *pool, st *indexState, dir []uint32, hash func(uint32) uint64) *index {
	return &index{a: a, p: p, st: st, dir: dir, hash: hash}
}

// start makes the first table; false without memory.
func (x *index) start() bool {
	if !x.p.charge(4) {
		return false
	}
	off, ok := x.newTable()
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

func (x *index) newTable() (uint32, bool) {
	byteOff, ok := x.p.table()
	if !ok {
		return 0, false
	}
	x.st.tables++
	off := uint32(byteOff / x.p.z.tableAlign)
	*x.tableAt(off) = table{}
	return off, true
}

// insert adds loc under h. It does not look for an equal one. False: no memory for another table.
func (x *index) insert(h uint64, loc uint32) bool {
	t := x.table(h)
	for t.count+t.tombs >= tableFull {
		if t.tombs > t.count/2 {
			x.rebuild(t)
		} else if !x.split(h) {
			if t.tombs > 0 {
				x.rebuild(t)
			}
			if t.count >= tableSlots-1 {
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
	g := (h >> groupShift) % tableGroups
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
		g = (g + 1) % tableGroups
	}
}

// slot finds where loc stands under h.
func (x *index) slot(h uint64, loc uint32) *uint32 {
	t := x.table(h)
	g := (h >> groupShift) % tableGroups
	for range tableGroups {
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
		g = (g + 1) % tableGroups
	}
	return nil
}

// remove takes loc out from under h; false when it is not there.
func (x *index) remove(h uint64, loc uint32) bool {
	t := x.table(h)
	g := (h >> groupShift) % tableGroups
	for range tableGroups {
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
			if t.count <= tableSlots/8 && t.depth > 0 {
				x.merge(h)
			}
			return true
		}
		if hasEmpty {
			return false
		}
		g = (g + 1) % tableGroups
	}
	return false
}

// drain copies a table's content out and empties it.
func (x *index) drain(t *table, hashes *[tableSlots]uint64, locs *[tableSlots]uint32) int {
	n := 0
	for g := range t.g {
		gr := &t.g[g]
		for m := gr.ctrl & msb; m != 0; m &= m - 1 {
			loc := gr.loc[bits.TrailingZeros64(m)>>3]
			hashes[n], locs[n] = x.hash(loc), loc
			n++
		}
	}
	*t = table{depth: t.depth}
	return n
}

// rebuild clears removed slots away.
func (x *index) rebuild(t *table) {
	var hashes [tableSlots]uint64
	var locs [tableSlots]uint32
	n := x.drain(t, &hashes, &locs)
	for i := range n {
		t.place(hashes[i], locs[i])
	}
}

// split parts the table of h in two; false without memory, and then nothing changed.
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
	off, ok := x.newTable()
	if !ok {
		return false
	}
	var hashes [tableSlots]uint64
	var locs [tableSlots]uint32
	bit := t.depth
	t.depth++
	n := x.drain(t, &hashes, &locs)
	sib := x.tableAt(off)
	sib.depth = t.depth
	// Every directory entry that ends in this table's bits and has the new bit set turns to the sibling.
	low := (h >> dirShift) & (1<<bit - 1)
	for i := low | 1<<bit; i < 1<<x.st.depth; i += 1 << (bit + 1) {
		x.dir[i] = off
	}
	for i := range n {
		if hashes[i]>>(dirShift+bit)&1 == 1 {
			sib.place(hashes[i], locs[i])
		} else {
			t.place(hashes[i], locs[i])
		}
	}
	return true
}

// merge joins a nearly empty table with the one it was split from, if that has room enough for both to be far from splitting.
func (x *index) merge(h uint64) {
	t := x.table(h)
	bit := t.depth - 1
	at := (h >> dirShift) & (1<<t.depth - 1)
	off, sibOff := x.dir[at], x.dir[at^1<<bit]
	sib := x.tableAt(sibOff)
	if sib.depth != t.depth || t.count+sib.count > tableSlots/2 {
		return
	}
	if sib.count+sib.tombs+t.count >= tableFull {
		x.rebuild(sib)
	}
	for g := range t.g {
		gr := &t.g[g]
		for m := gr.ctrl & msb; m != 0; m &= m - 1 {
			loc := gr.loc[bits.TrailingZeros64(m)>>3]
			sib.place(x.hash(loc), loc)
		}
	}
	sib.depth--
	for i := at & (1<<bit - 1); i < 1<<x.st.depth; i += 1 << bit {
		x.dir[i] = sibOff
	}
	x.st.tables--
	x.p.freeTable(uint64(off) * x.p.z.tableAlign)
}

// bytes returns what the index takes: tables and directory.
func (x *index) bytes() int64 {
	return int64(x.st.tables)*int64(sizeOf[table]()) + 4<<x.st.depth
}
