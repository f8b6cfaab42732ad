package filler

import (
	"sort"
	"sync"
	"time"
)

// Batch is the keys that one query answers, and the place for its rows. A Source uses it in the goroutine that Load was
// called in and keeps nothing of it.
type Batch struct {
	r     *route
	plan  *plan   // when it was formed
	trial *source // the source that this batch probes, if any
	bulk  *Bulk   // that it belongs to, if any

	keys  []byte
	items []entry // their keys lie in keys

	// What the source under way is asked: all of items, or what sources before it had not.
	todo    []int32
	results []result      // one an item
	out     []byte        // payloads
	rows    int           // rows that the source under way returned
	source  string        // the source asked last
	took    time.Duration // of all loads
	list    []listed      // with RowsList: the rows in order of arrival
	names   []string      // columns without ord
	parts   []Part        // with split: of all keys in todo, one behind the other; else scratch of Parts
	split   bool

	maxValue int // Options.MaxValue
	maxOut   int // Options.BatchBytes

	paid   int       // tokens of negatives_rate taken for it
	failed bool      // a load of it ended in an error
	asked  []outcome // by source, for the breakers

	mu   sync.Mutex
	done []bool // by item: its lease has been ended; guarded by mu
}

// result is what came back for one item.
type result struct {
	state    resultState
	asIs     bool   // the payload is a source's item, not a row
	off, end uint32 // of the payload in out
	flags    uint32
	size     int           // with RowsList: bytes of the rows so far
	ttl      time.Duration // 0: none
}

type resultState uint8

const (
	resultNone     resultState = iota // no row so far
	resultValue                       // a payload
	resultRefused                     // the sources refuse a part: absent
	resultTooLarge                    // a payload over maxValue
	resultFailed                      // the row cannot be encoded, or the source failed for good
	resultUnsure                      // no row, but not every source was asked
	resultLater                       // the dispatcher sends it again
)

// listed is a row of a list.
type listed struct {
	item     int32
	off, end uint32
}

// outcome is the end of one load.
type outcome struct {
	src *source
	err error
}

// Route returns the route with its query. It is shared: do not change it.
func (b *Batch) Route() *Route { return &b.plan.cfg }

// Len returns the number of keys asked for, at least 1.
func (b *Batch) Len() int { return len(b.todo) }

// Ahead tells whether the keys are loaded ahead of the asking, by a Bulk.
func (b *Batch) Ahead() bool { return b.bulk != nil }

// Key returns the canonical key with index i. It is valid until Load returns.
func (b *Batch) Key(i int) []byte { return b.key(b.todo[i]) }

func (b *Batch) key(item int32) []byte {
	e := &b.items[item]
	return b.keys[e.off : e.off+uint32(e.n)]
}

// Parts returns the parts of the key with index i in the order of Route.Parts. They are valid until the next call.
func (b *Batch) Parts(i int) []Part {
	if b.split {
		n := len(b.plan.cfg.Parts)
		return b.parts[i*n : (i+1)*n]
	}
	if b.plan.cfg.Split == nil {
		return nil
	}
	b.parts = b.plan.cfg.Split(b.parts[:0], b.Key(i))
	return b.parts
}

// Columns announces the names of the columns beside ord, in the order in which Row gets their values. Names are only needed
// where there are several.
func (b *Batch) Columns(names []string) { b.names = names }

// Row hands over a row for the key with index ord-1: ord counts from 1, as WITH ORDINALITY does. vals are its columns
// without ord; they are encoded at once and not kept. An ord outside the batch is counted and ignored, and so is, with
// RowsOne, a second row for the same key. A row over Options.MaxValue is not kept.
func (b *Batch) Row(ord int64, vals []Value) {
	cfg := &b.plan.cfg
	list := cfg.Rows == RowsList
	item, ok := b.arrived(ord, list)
	if !ok || (!list && len(vals) == 1 && vals[0].Kind == Null) {
		return
	}
	res := &b.results[item]
	if b.tooLong(vals) {
		*res = result{state: resultTooLarge}
		return
	}
	off := len(b.out)
	out, flags, err := cfg.appendRow(b.out, b.names, vals, list)
	if err != nil {
		b.out = out[:off]
		res.state = resultFailed
		b.r.count.encodeErrors.Add(1)
		return
	}
	if b.fits(res, out) {
		res.flags = flags
		if list {
			b.list = append(b.list, listed{item, res.off, res.end})
		}
	}
}

// Item hands over the payload for the key with index ord-1 as another cache holds it, with its client flags: neither encoding nor
// flags of the route apply, and with RowsList it is the whole list. ttl is the time that it remains there; 0 is no limit.
func (b *Batch) Item(ord int64, payload []byte, flags uint32, ttl time.Duration) {
	item, ok := b.arrived(ord, false)
	if !ok {
		return
	}
	res := &b.results[item]
	if len(payload) > b.maxValue {
		*res = result{state: resultTooLarge}
		return
	}
	if b.fits(res, append(b.out, payload...)) {
		res.flags, res.ttl, res.asIs = flags, max(ttl, 0), true
	}
}

// TooLarge says that the payload for the key with index ord-1 is too large to be handed over.
func (b *Batch) TooLarge(ord int64) {
	if item, ok := b.arrived(ord, false); ok {
		b.results[item] = result{state: resultTooLarge}
	}
}

// arrived counts a row and returns the item that it is for, unless it is for none.
func (b *Batch) arrived(ord int64, list bool) (item int32, ok bool) {
	b.rows++
	if ord < 1 || ord > int64(len(b.todo)) {
		b.r.count.badOrd.Add(1)
		return 0, false
	}
	item = b.todo[ord-1]
	switch b.results[item].state {
	case resultNone:
		return item, true
	case resultValue:
		if list && !b.results[item].asIs {
			return item, true
		}
		b.r.count.extraRows.Add(1)
	case resultTooLarge, resultFailed, resultLater: // decided by a row before it
		if !list {
			b.r.count.extraRows.Add(1)
		}
	}
	return 0, false
}

// tooLong tells whether a row is beyond all hope, so that it is not even encoded: an encoding may leave blanks out.
func (b *Batch) tooLong(vals []Value) bool {
	n := 0
	for i := range vals {
		n += len(vals[i].Text)
	}
	return n > 2*b.maxValue
}

// fits takes out, to which a payload or a list's next row was appended, unless that is too much for the item or the batch.
func (b *Batch) fits(res *result, out []byte) bool {
	off := len(b.out)
	size := res.size + len(out) - off
	switch {
	case size > b.maxValue:
		*res = result{state: resultTooLarge}
	case len(out) > b.maxOut:
		*res = result{state: resultLater}
		b.r.count.overflowed.Add(1)
	default:
		b.out = out
		*res = result{state: resultValue, off: uint32(off), end: uint32(len(out)), size: size}
		return true
	}
	b.out = out[:off]
	return false
}

// Restart takes back the rows that this load has handed over so far, for a source that asks once more.
func (b *Batch) Restart() {
	for _, item := range b.todo {
		b.results[item] = result{}
	}
	b.list = b.list[:0]
}

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
		b.out, res.flags = b.plan.cfg.appendList(b.out, rows)
		res.off, res.end = uint32(off), uint32(len(b.out))
		if len(b.out)-off > b.maxValue {
			*res = result{state: resultTooLarge}
			b.out = b.out[:off]
		}
	}
	b.list = b.list[:0]
}

// batchKeep bounds the buffers that a batch takes along when it is reused.
const batchKeep = 1 << 20

func (b *Batch) reset(r *route, maxValue, maxOut int) {
	if cap(b.out) > batchKeep {
		b.out = nil
	}
	b.keys, b.items, b.results, b.done = b.keys[:0], b.items[:0], b.results[:0], b.done[:0]
	b.begin(r, maxValue, maxOut)
}

// begin readies b for its load, whose keys may be there already.
func (b *Batch) begin(r *route, maxValue, maxOut int) {
	clear(b.asked)
	b.r, b.plan, b.trial, b.bulk, b.names = r, r.plan, nil, nil, nil
	b.todo = b.todo[:0]
	b.out, b.list, b.asked, b.rows = b.out[:0], b.list[:0], b.asked[:0], 0
	b.maxValue, b.maxOut = maxValue, maxOut
	b.paid, b.failed = 0, false
	b.source, b.took, b.split = "", 0, false
}

func (b *Batch) add(e entry, key []byte) {
	e.off = uint32(len(b.keys))
	b.keys = append(b.keys, key...)
	b.items = append(b.items, e)
	b.results = append(b.results, result{})
	b.done = append(b.done, false)
}

// abandon ends, by end, the leases that the load has not ended, and leaves it none to end.
func (b *Batch) abandon(end func(i int)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.items {
		if !b.done[i] {
			b.done[i] = true
			end(i)
		}
	}
}
