package filler

import (
	"sort"
	"sync/atomic"
)

// Batch is the keys that one query answers, and the place for its rows. A Source uses it in the goroutine that Load was
// called in and keeps nothing of it.
type Batch struct {
	r     *route
	trial *source // the source that this batch probes, if any

	keys  []byte
	items []entry // their keys lie in keys

	// What the source under way is asked: all of items, or what sources before it had not.
	todo    []int32
	results []result // one an item
	out     []byte   // payloads
	rows    int      // rows that the source under way returned
	list    []listed // with RowsList: the rows in order of arrival
	names   []string // columns without ord
	parts   []Part   // scratch of Parts

	settled      int         // items[:settled] have been ended
	paid         int         // tokens of negatives_rate taken for it
	absentMisses int         // of them not to be given back
	asked        []outcome   // by source, for the breakers
	claimed      atomic.Bool // whoever sets it ends the leases
}

// result is what came back for one item.
type result struct {
	state    resultState
	off, end uint32 // of the payload in out
	flags    uint32
}

type resultState uint8

const (
	resultNone    resultState = iota // no row so far
	resultValue                      // a payload
	resultRefused                    // the sources refuse a part: absent
	resultFailed                     // the row cannot be encoded, or the source failed for good
	resultUnsure                     // no row, but not every source was asked
	resultLater                      // the dispatcher sends it again
)

// listed is a row of a list.
type listed struct {
	item     int32
	off, end uint32
}

// outcome is the end of one load.
type outcome struct {
	src  *source
	err  error
	keys int
}

// Route returns the route with its query. It is shared: do not change it.
func (b *Batch) Route() *Route { return &b.r.cfg }

// Len returns the number of keys asked for, at least 1.
func (b *Batch) Len() int { return len(b.todo) }

// Key returns the canonical key with index i. It is valid until Load returns.
func (b *Batch) Key(i int) []byte { return b.key(b.todo[i]) }

func (b *Batch) key(item int32) []byte {
	e := &b.items[item]
	return b.keys[e.off : e.off+uint32(e.n)]
}

// Parts returns the parts of the key with index i in the order of Route.Parts. They are valid until the next call.
func (b *Batch) Parts(i int) []Part {
	if b.r.cfg.Split == nil {
		return nil
	}
	b.parts = b.r.cfg.Split(b.parts[:0], b.Key(i))
	return b.parts
}

// Columns announces the names of the columns beside ord, in the order in which Row gets their values. Names are only needed
// where there are several.
func (b *Batch) Columns(names []string) { b.names = names }

// Row hands over a row for the key with index ord-1: ord counts from 1, as WITH ORDINALITY does. vals are its columns
// without ord; they are encoded at once and not kept. An ord outside the batch is counted and ignored, and so is, with
// RowsOne, a second row for the same key.
func (b *Batch) Row(ord int64, vals []Value) {
	b.rows++
	if ord < 1 || ord > int64(len(b.todo)) {
		b.r.count.badOrd.Add(1)
		return
	}
	item := b.todo[ord-1]
	res := &b.results[item]
	list := b.r.cfg.Rows == RowsList
	if res.state != resultNone && (!list || res.state != resultValue) {
		b.r.count.extraRows.Add(1)
		return
	}
	if !list && len(vals) == 1 && vals[0].Kind == Null {
		return
	}
	off := len(b.out)
	out, flags, err := b.r.cfg.appendRow(b.out, b.names, vals, list)
	if err != nil || len(out) > 1<<31 {
		b.out = out[:off]
		res.state = resultFailed
		b.r.count.encodeErrors.Add(1)
		return
	}
	b.out = out
	*res = result{state: resultValue, off: uint32(off), end: uint32(len(out)), flags: flags}
	if list {
		b.list = append(b.list, listed{item, res.off, res.end})
	}
}

// Restart takes back the rows that this load has handed over so far, for a source that asks once more.
func (b *Batch) Restart() { b.forget() }

// join makes one payload of the rows of each key. They may have arrived in any order of keys.
func (b *Batch) join() {
	sort.SliceStable(b.list, func(i, j int) bool { return b.list[i].item < b.list[j].item })
	var rows [][]byte
	for i := 0; i < len(b.list); {
		item := b.list[i].item
		rows = rows[:0]
		for ; i < len(b.list) && b.list[i].item == item; i++ {
			rows = append(rows, b.out[b.list[i].off:b.list[i].end])
		}
		res := &b.results[item]
		if res.state != resultValue {
			continue // one of its rows could not be encoded
		}
		off := len(b.out)
		b.out, res.flags = b.r.cfg.appendList(b.out, rows)
		res.off, res.end = uint32(off), uint32(len(b.out))
	}
	b.list = b.list[:0]
}

// forget takes back the rows of the source under way.
func (b *Batch) forget() {
	for _, item := range b.todo {
		b.results[item] = result{}
	}
	b.list = b.list[:0]
}

// batchKeep bounds the buffers that a batch takes along when it is reused.
const batchKeep = 1 << 20

func (b *Batch) reset(r *route) {
	if cap(b.out) > batchKeep {
		b.out = nil
	}
	clear(b.asked)
	b.r, b.trial, b.names = r, nil, nil
	b.keys, b.items, b.todo, b.results = b.keys[:0], b.items[:0], b.todo[:0], b.results[:0]
	b.out, b.list, b.asked, b.rows = b.out[:0], b.list[:0], b.asked[:0], 0
	b.settled, b.paid, b.absentMisses = 0, 0, 0
	b.claimed.Store(false)
}

func (b *Batch) add(e entry, key []byte) {
	e.off = uint32(len(b.keys))
	b.keys = append(b.keys, key...)
	b.items = append(b.items, e)
	b.results = append(b.results, result{})
}
