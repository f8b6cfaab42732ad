package store

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// modelItem is what a map knows of an item.
type modelItem struct {
	value    string
	flags    uint32
	deadline uint32
	cas      uint64 // 0: none was given out
}

// model plays random histories of plain keys into a store and into a map, and compares every answer.
type model struct {
	tester
	o        Options
	rng      *rand.Rand
	tight    bool // items may be evicted: then they may be absent, but never return
	items    map[string]modelItem
	flushAt  Time
	given    map[uint64]bool // every CAS
	flooded  int
	evicted  int
	reopened int
}

// play runs one step.
func (m *model) play() {
	m.t.Helper()
	if m.flushAt != 0 && m.c.now >= m.flushAt {
		clear(m.items)
		m.flushAt = 0
	}
	m.drop()
	k := fmt.Sprintf("%c:%d", "aabbn"[m.rng.IntN(5)], m.rng.IntN(40))
	switch op := m.rng.IntN(40); op {
	case 0, 1, 2, 3, 4, 5, 6:
		m.write(Set, k)
	case 7, 8:
		m.write(Add, k)
	case 9:
		m.write(Replace, k)
	case 10, 11:
		m.write(Append, k)
	case 12:
		m.write(Prepend, k)
	case 13, 14:
		m.write(CAS, k)
	case 15, 16, 17:
		m.count(k)
	case 18:
		if m.has(k) != (m.del(0, k) == Deleted) {
			m.miss(k, "delete")
		}
		delete(m.items, k)
	case 19, 20:
		it, has := m.items[k]
		it.deadline = m.deadline()
		switch st := m.Touch([]byte(k), testHash([]byte(k)), 0, m.c.now, it.deadline); {
		case has != (st == Touched):
			m.miss(k, "touch")
		case has:
			m.items[k] = it
		}
	case 21, 22:
		m.read(k, true)
	case 23, 24, 25:
		m.c.advance(time.Duration(m.rng.IntN(2500)) * time.Millisecond)
	case 26:
		m.reapAll()
	case 27:
		m.seldom()
	case 28:
		if m.tight {
			for range 300 + m.rng.IntN(300) {
				m.flooded++
				m.tester.write(Set, 0, fmt.Sprint("flood ", m.flooded), strings.Repeat(fmt.Sprint(m.flooded, " "), m.rng.IntN(200)), 0)
			}
		}
	default:
		m.read(k, false)
	}
}

// drop forgets what is over by now.
func (m *model) drop() {
	for k, it := range m.items {
		if it.deadline != NoDeadline && (it.deadline == Expired || m.c.now.Second() >= it.deadline) {
			delete(m.items, k)
		}
	}
}

// has tells whether the item has to be there.
func (m *model) has(k string) bool {
	_, ok := m.items[k]
	return ok
}

// miss is an item that is not there although it should; where memory is tight it may have been evicted.
func (m *model) miss(k, op string) {
	m.t.Helper()
	if !m.tight || !m.has(k) || m.Stats().Evictions == 0 && m.reopened == 0 {
		m.t.Fatalf("%s of %s: the model has it: %v, %+v", op, k, m.has(k), m.Stats())
	}
	m.evicted++
	delete(m.items, k)
}

func (m *model) deadline() uint32 {
	switch m.rng.IntN(6) {
	case 0, 1:
		return m.c.now.Second() + 1 + uint32(m.rng.IntN(30))
	case 2:
		return m.c.now.Second() + uint32(m.rng.IntN(3000))
	case 3:
		return []uint32{Expired, Expired - 1, 1 << 31, m.c.now.Second()}[m.rng.IntN(4)]
	}
	return NoDeadline
}

func (m *model) value(k string) string {
	if k[0] == 'n' {
		return strconv.FormatUint(m.rng.Uint64()>>m.rng.IntN(64), 10)
	}
	n := m.rng.IntN(60)
	switch m.rng.IntN(40) {
	case 0:
		n = 20_000 + m.rng.IntN(30_000)
	case 1, 2, 3, 4, 5, 6:
		n = m.rng.IntN(5000)
	}
	return strings.Repeat(string(rune('a'+m.rng.IntN(3))), n)
}

// fresh notes a CAS that was given out, which nothing has had before.
func (m *model) fresh(cas uint64, want bool) uint64 {
	m.t.Helper()
	if want && (cas == 0 || m.given[cas]) {
		m.t.Fatalf("CAS %d: there was one like that", cas)
	}
	m.given[cas] = true
	return cas
}

func (m *model) write(op WriteOp, k string) {
	m.t.Helper()
	old, has := m.items[k]
	next := modelItem{value: m.value(k), flags: [...]uint32{0, 1, 254, 255, 1<<32 - 1}[m.rng.IntN(5)], deadline: m.deadline()}
	if (op == Append || op == Prepend) && (k[0] == 'n' || len(old.value) > 60_000) {
		return
	}
	w := Write{
		Op: op, Key: []byte(k), Hash: testHash([]byte(k)), Now: m.c.now, Value: []byte(next.value), Flags: next.flags,
		Deadline: next.deadline, WantCAS: m.rng.IntN(3) == 0,
	}
	want := Stored
	switch op {
	case Add:
		if has {
			want = NotStored
		}
	case Replace, Append, Prepend:
		if !has {
			want = NotStored
		}
		if op == Append {
			next = modelItem{value: old.value + next.value, flags: old.flags, deadline: old.deadline}
		} else if op == Prepend {
			next = modelItem{value: next.value + old.value, flags: old.flags, deadline: old.deadline}
		}
	case CAS:
		w.CAS = old.cas
		if old.cas == 0 || m.rng.IntN(3) == 0 {
			if w.CAS = old.cas - 1; old.cas < 2 {
				w.CAS = old.cas + 1
			}
			want = Exists
		}
		if !has {
			want = NotFound
		}
	}
	st, cas := m.Write(&w)
	switch {
	case st == NoMemory && m.tight:
		m.del(0, k)
		delete(m.items, k)
		return
	case st != want:
		m.miss(k, fmt.Sprint("write ", op, ": ", st))
		if op != Add {
			return
		}
	case st != Stored:
		return
	}
	if next.cas = m.fresh(cas, w.WantCAS && w.Deadline != Expired); next.deadline == Expired {
		delete(m.items, k)
		return
	}
	m.items[k] = next
}

func (m *model) count(k string) {
	m.t.Helper()
	old, has := m.items[k]
	d := Delta{
		Key: []byte(k), Hash: testHash([]byte(k)), Now: m.c.now, Decr: m.rng.IntN(2) == 0,
		Delta: m.rng.Uint64() >> m.rng.IntN(64), WantCAS: m.rng.IntN(3) == 0,
	}
	n, st := m.Delta(&d)
	number, err := strconv.ParseUint(strings.TrimRight(old.value, " "), 10, 64)
	want := Stored
	switch {
	case !has:
		want = NotFound
	case err != nil:
		want = NonNumeric
	}
	if st != want {
		m.miss(k, fmt.Sprint("delta: ", st))
		return
	}
	if st != Stored {
		return
	}
	if d.Decr {
		number -= min(number, d.Delta)
	} else {
		number += d.Delta
	}
	if n.Value != number {
		m.t.Fatalf("delta of %s: %d, want %d", k, n.Value, number)
	}
	old.value = fmt.Sprintf("%-*d", len(old.value), number)
	old.cas = m.fresh(n.CAS, d.WantCAS)
	m.items[k] = old
}

func (m *model) read(k string, touch bool) {
	m.t.Helper()
	want, has := m.items[k]
	q := Lookup{Key: []byte(k), Meta: true, WantCAS: m.rng.IntN(4) == 0, Access: m.rng.IntN(20) == 0}
	if touch {
		q.Touch, q.Deadline = true, m.deadline()
	}
	a := m.lookup(q)
	if a.ok != has {
		m.miss(k, fmt.Sprintf("get, which has %.40q,", a.value))
		return
	}
	if !has {
		return
	}
	got := modelItem{a.value, a.item.Flags, a.item.Deadline, a.item.CAS}
	if want.cas == 0 && q.WantCAS {
		want.cas = m.fresh(got.cas, true)
	}
	if !q.WantCAS {
		got.cas = want.cas
	}
	if got != want {
		m.t.Fatalf("get %s: flags %d, deadline %d, CAS %d, %d bytes %.40q; want %d, %d, %d, %d bytes %.40q", k,
			got.flags, got.deadline, got.cas, len(got.value), got.value, want.flags, want.deadline, want.cas, len(want.value), want.value)
	}
	if touch {
		want.deadline = q.Deadline
	}
	m.items[k] = want
}

// seldom flushes, invalidates, reopens, changes the limit, works a pass or takes everything out and in again as a snapshot.
func (m *model) seldom() {
	m.t.Helper()
	switch m.rng.IntN(16) {
	case 0:
		m.FlushAll(m.c.now, m.c.now)
		m.flushAt = 0
		clear(m.items)
	case 1, 2:
		m.flushAt = m.c.now + 1 + Time(m.rng.IntN(20_000))
		m.FlushAll(m.c.now, m.flushAt)
	case 3:
		if m.o.File == "" {
			return
		}
		if err := m.Save(); err != nil {
			m.t.Fatal(err)
		}
		m.Close()
		m.reopened++
		m.open()
		if warm, why := m.Warm(); !warm {
			m.t.Fatalf("cold: %s", why)
		}
	case 4:
		if !m.tight { // or a smaller limit would evict
			return
		}
		if err := m.SetMemory(1<<20 + int64(m.rng.IntN(1<<20))); err != nil {
			m.t.Fatal(err)
		}
	case 5, 6:
		if m.tight {
			m.pass(1 + m.rng.IntN(maxPass))
		} else {
			m.compactAny(1 + m.rng.IntN(maxPass))
		}
	case 7:
		m.snapshot()
	default:
		prefix := []string{"a:1", "b:2", "n:3", "a:", "fl"}[m.rng.IntN(5)]
		if m.InvalidatePrefix(prefix) != nil {
			m.t.Fatal("too many prefixes")
		}
		for k := range m.items {
			if strings.HasPrefix(k, prefix) {
				delete(m.items, k)
			}
		}
	}
}

// snapshot saves everything, flushes it and loads it: it is there again, as far as there is room.
func (m *model) snapshot() {
	m.t.Helper()
	if m.flushAt != 0 {
		return
	}
	all := m.save(nil)
	m.FlushAll(m.c.now, 0)
	for res, n := range m.load(all, nil) {
		switch LoadResult(res) {
		case Loaded, LoadOver:
		case LoadNoRoom:
			if m.tight {
				m.reopened++
				break
			}
			fallthrough
		default:
			if n > 0 {
				m.t.Fatalf("%d of %d items of a snapshot: %v", n, len(all.items), LoadResult(res))
			}
		}
	}
}

func (m *model) open() {
	m.t.Helper()
	s, err := Open(m.o)
	if err != nil {
		m.t.Fatal(err)
	}
	m.Store = s
}

// readAll compares every key.
func (m *model) readAll() {
	m.t.Helper()
	m.drop()
	if m.flushAt != 0 && m.c.now >= m.flushAt {
		clear(m.items)
		m.flushAt = 0
	}
	for _, kind := range "abn" {
		for i := range 40 {
			m.read(fmt.Sprintf("%c:%d", kind, i), false)
		}
	}
}

// TestHistoriesAgainstModel: values, flags, deadlines and CAS of plain items are those of a map, whatever clients, the clock,
// flushes, the reaper and restarts do; and where memory is short, an item is either that or gone for good.
func TestHistoriesAgainstModel(t *testing.T) {
	const seeds, steps = 10, 2500
	evicted, reopened := 0, 0
	for seed := range uint64(seeds) {
		m := &model{rng: rand.New(rand.NewPCG(seed, 11)), items: map[string]modelItem{}, given: map[uint64]bool{}}
		m.tight = seed%2 == 1
		m.o = Options{Memory: 16 << 20, KeyHash: testHash, Digest: testDigest, NoSharing: seed%4 > 1, manual: true}
		if m.tight {
			m.o.Memory = 1 << 20
		}
		if canMap && seed%3 != 0 {
			m.o.File = filepath.Join(t.TempDir(), "memory")
		}
		m.t, m.c = t, &clock{now: 10_000}
		m.o.Clock = m.c.read
		m.open()
		for step := range steps {
			m.play()
			if t.Failed() {
				t.Fatalf("seed %d step %d", seed, step)
			}
		}
		m.readAll()
		verify(t, m.Store)
		evicted += m.evicted
		reopened += m.reopened
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if evicted == 0 || canMap && reopened == 0 {
		t.Errorf("%d items evicted, %d restarts: the test is too small", evicted, reopened)
	}
}
