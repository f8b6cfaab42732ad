package store

import (
	"fmt"
	"hash/fnv"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// clock is an item clock that a test moves.
type clock struct{ now Time }

func (c *clock) advance(d time.Duration) { atomic.AddInt64((*int64)(&c.now), d.Milliseconds()) }

// read is for the store, whose background reads it while the test goes on.
func (c *clock) read() Time { return Time(atomic.LoadInt64((*int64)(&c.now))) }

func testHash(key []byte) uint64 {
	h := fnv.New64a()
	h.Write(key)
	x := h.Sum64()
	x ^= x >> 32
	return x * 0x9e3779b97f4a7c15
}

// testDigest reads words, where testHash reads bytes: the race detector looks at every read, and payloads are long.
func testDigest(p []byte) (hi, lo uint64) {
	lo = uint64(len(p))
	for ; len(p) >= 8; p = p[8:] {
		lo = bits.RotateLeft64((lo^*(*uint64)(unsafe.Pointer(&p[0])))*0x9e3779b97f4a7c15, 29)
	}
	lo = (lo ^ testHash(p)) * 0x9e3779b97f4a7c15
	lo ^= lo >> 32
	return lo * 0xd6e8feb86659fd93, lo
}

func open(t testing.TB, o Options) (*Store, *clock) {
	t.Helper()
	c := &clock{now: 10_000}
	o.KeyHash, o.Digest, o.manual = testHash, testDigest, true
	o.Clock = c.read
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, c
}

// tester speaks to a store in strings.
type tester struct {
	t *testing.T
	*Store
	c *clock
}

func newTester(t *testing.T, o Options) tester {
	s, c := open(t, o)
	return tester{t, s, c}
}

func (x tester) write(op WriteOp, route RouteID, key, value string, deadline uint32) Status {
	st, _ := x.Write(&Write{
		Op: op, Key: []byte(key), Hash: testHash([]byte(key)), Route: route, Now: x.c.now,
		Value: []byte(value), Deadline: deadline,
	})
	return st
}

type answer struct {
	value  string
	ok     bool
	item   Item
	leased Lease
}

func (x tester) lookup(q Lookup) (a answer) {
	q.Hash, q.Now = testHash(q.Key), x.c.now
	var it Item
	if a.ok = x.Get(&q, &it); a.ok {
		a.value = string(it.Value)
		a.item = it
		it.Release()
	} else {
		a.item = it
	}
	a.leased = a.item.Lease
	return a
}

func (x tester) get(route RouteID, key string) answer {
	return x.lookup(Lookup{Key: []byte(key), Route: route})
}

func (x tester) want(route RouteID, key, value string) {
	x.t.Helper()
	if a := x.get(route, key); !a.ok || a.value != value {
		x.t.Fatalf("get %s = %.40q, %v; want %.40q", key, a.value, a.ok, value)
	}
}

func (x tester) wantMiss(route RouteID, key string, why MissReason) {
	x.t.Helper()
	if a := x.get(route, key); a.ok || a.item.Miss != why {
		x.t.Fatalf("get %s = %.40q, %v, miss %d; want a miss %d", key, a.value, a.ok, a.item.Miss, why)
	}
}

func (x tester) del(route RouteID, key string) Status {
	return x.Delete([]byte(key), testHash([]byte(key)), route, x.c.now, 0)
}

func (x tester) put(l Lease, route RouteID, key, value string) PutStatus {
	return x.PutLease(l, &Fill{Key: []byte(key), Route: route, Now: x.c.now, Value: []byte(value)})
}

func (x tester) routes(rs ...Route) []RouteID {
	x.t.Helper()
	ids, err := x.SetRoutes(rs)
	if err != nil {
		x.t.Fatal(err)
	}
	return ids
}

func checkStatus[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

var long = strings.Repeat("long value ", 20)

// fewer is all of a test's cases, and with the race detector the first n. It is for tests of one goroutine, which under it take ten
// times as long and show nothing more: CI plays all of them in the run with the tag invariants.
func fewer[T any](n int, all []T) []T {
	if raceBuild {
		return all[:n]
	}
	return all
}

// rounds is the same for a test that does something again and again.
func rounds(full, raced int) int {
	if raceBuild {
		return raced
	}
	return full
}

// digits writes n with zeros before it, as many as make size bytes. fmt does that byte by byte, which under the race detector took
// longer than what the tests do with it.
func digits(size, n int) string {
	s := strconv.Itoa(n)
	return strings.Repeat("0", max(size-len(s), 0)) + s
}

func TestStoreWrites(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	for _, value := range []string{"v", "", strings.Repeat("i", maxInline), long, strings.Repeat("p", 100_000)} {
		x.FlushAll(x.c.now, 0)
		checkStatus(t, "replace absent", x.write(Replace, 0, "k", value, 0), NotStored)
		checkStatus(t, "append absent", x.write(Append, 0, "k", value, 0), NotStored)
		checkStatus(t, "add", x.write(Add, 0, "k", value, 0), Stored)
		x.want(0, "k", value)
		checkStatus(t, "add again", x.write(Add, 0, "k", "other", 0), NotStored)
		x.want(0, "k", value)
		checkStatus(t, "append", x.write(Append, 0, "k", " tail", 0), Stored)
		x.want(0, "k", value+" tail")
		checkStatus(t, "prepend", x.write(Prepend, 0, "k", "head ", 0), Stored)
		x.want(0, "k", "head "+value+" tail")
		checkStatus(t, "set", x.write(Set, 0, "k", value+"2", 0), Stored)
		x.want(0, "k", value+"2")
		checkStatus(t, "delete", x.del(0, "k"), Deleted)
		x.wantMiss(0, "k", Absent)
		checkStatus(t, "delete absent", x.del(0, "k"), NotFound)
	}
	if st := x.Stats(); st.Items != 0 || st.Data != 0 || st.References != 0 || st.Bytes != 0 {
		t.Errorf("after all was deleted: %+v", st)
	}
}

func TestStoreCASIsPerItem(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	x.write(Set, 0, "a", long, 0)
	x.write(Set, 0, "b", long, 0)
	a := x.lookup(Lookup{Key: []byte("a"), WantCAS: true})
	b := x.lookup(Lookup{Key: []byte("b"), WantCAS: true})
	if a.item.CAS == 0 || a.item.CAS == b.item.CAS || a.value != long {
		t.Fatalf("CAS of a %d, of b %d", a.item.CAS, b.item.CAS)
	}
	if again := x.lookup(Lookup{Key: []byte("a"), WantCAS: true}); again.item.CAS != a.item.CAS {
		t.Errorf("CAS of an untouched item moved from %d to %d", a.item.CAS, again.item.CAS)
	}
	swap := func(key string, cas uint64) Status {
		st, _ := x.Write(&Write{Op: CAS, Key: []byte(key), Hash: testHash([]byte(key)), Now: x.c.now, Value: []byte("new"), CAS: cas})
		return st
	}
	checkStatus(t, "cas absent", swap("c", 1), NotFound)
	checkStatus(t, "cas wrong", swap("a", b.item.CAS), Exists)
	checkStatus(t, "cas right", swap("a", a.item.CAS), Stored)
	checkStatus(t, "cas twice", swap("a", a.item.CAS), Exists)
	x.want(0, "a", "new")
	x.write(Set, 0, "b", long, 0)
	checkStatus(t, "cas after an equal set", swap("b", b.item.CAS), Exists)
	x.write(Set, 0, "n", "1", 0)
	n := x.lookup(Lookup{Key: []byte("n"), WantCAS: true})
	if _, st := x.Delta(&Delta{Key: []byte("n"), Hash: testHash([]byte("n")), Now: x.c.now, Delta: 1}); st != Stored {
		t.Fatal(st)
	}
	checkStatus(t, "cas after incr", swap("n", n.item.CAS), Exists)
	checkStatus(t, "delete with a wrong CAS", x.Delete([]byte("n"), testHash([]byte("n")), 0, x.c.now, n.item.CAS), Exists)
}

func TestStoreExpiryIsExact(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	now := x.c.now.Second()
	x.write(Set, 0, "k", long, now+2)
	x.write(Set, 0, "gone", "v", Expired)
	x.wantMiss(0, "gone", TTLOver)
	x.wantMiss(0, "gone", Absent)
	x.c.advance(1999 * time.Millisecond)
	x.want(0, "k", long)
	x.c.advance(time.Millisecond)
	x.wantMiss(0, "k", TTLOver)
	x.wantMiss(0, "k", Absent)
	if st := x.Stats(); st.Items != 0 || st.Data != 0 {
		t.Errorf("an expired item was read and is still held: %+v", st)
	}
	x.write(Set, 0, "k", "v", 0)
	checkStatus(t, "touch", x.Touch([]byte("k"), testHash([]byte("k")), 0, x.c.now, x.c.now.Second()+5), Touched)
	checkStatus(t, "touch absent", x.Touch([]byte("no"), testHash([]byte("no")), 0, x.c.now, 0), NotFound)
	x.c.advance(4 * time.Second)
	if a := x.lookup(Lookup{Key: []byte("k"), Touch: true, Deadline: NoDeadline}); a.value != "v" {
		t.Fatal("gat missed")
	}
	x.c.advance(time.Hour)
	x.want(0, "k", "v")
	checkStatus(t, "touch to the past", x.Touch([]byte("k"), testHash([]byte("k")), 0, x.c.now, Expired), Touched)
	x.wantMiss(0, "k", TTLOver)
}

func TestStoreDelta(t *testing.T) {
	tests := []struct {
		name, value string
		decr        bool
		delta       uint64
		want        string
		status      Status
	}{
		{"grows", "9", false, 1, "10", Stored},
		{"pads", "10", true, 1, "9 ", Stored},
		{"stops at zero", "5", true, 9, "0", Stored},
		{"wraps", "18446744073709551615", false, 1, "0" + strings.Repeat(" ", 19), Stored},
		{"leading space and zeros", " 007", false, 1, "8   ", Stored},
		{"words behind", "12 monkeys", false, 1, "13        ", Stored},
		{"long with words behind", "12 " + long, false, 1, "13" + strings.Repeat(" ", len(long)+1), Stored},
		{"letters", "5x", false, 1, "5x", NonNumeric},
		{"empty", "", false, 1, "", NonNumeric},
		{"negative", "-5", false, 1, "-5", NonNumeric},
		{"too large", "18446744073709551616", false, 1, "18446744073709551616", NonNumeric},
	}
	x := newTester(t, Options{Memory: 4 << 20})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x.write(Set, 0, "n", tt.value, 0)
			_, st := x.Delta(&Delta{Key: []byte("n"), Hash: testHash([]byte("n")), Now: x.c.now, Decr: tt.decr, Delta: tt.delta})
			checkStatus(t, "status", st, tt.status)
			x.want(0, "n", tt.want)
		})
	}
}

func TestStoreHoldsEqualPayloadsOnce(t *testing.T) {
	x := newTester(t, Options{Memory: 8 << 20})
	for i := range 1000 {
		x.write(Set, 0, fmt.Sprint("key", i), fmt.Sprint(long, i%10), 0)
	}
	st := x.Stats()
	// The first of each stays in its record, as nobody knew that there would be others, and now and then the second.
	if st.Data != 10 || st.References < 980 || st.References > 990 || st.DataBytes != 10*int64(len(long)+1) {
		t.Errorf("1000 keys with 10 payloads: %+v", st)
	}
	for i := range 1000 {
		x.want(0, fmt.Sprint("key", i), fmt.Sprint(long, i%10))
	}
	for i := range 1000 {
		if i%10 != 3 {
			x.del(0, fmt.Sprint("key", i))
		}
	}
	if st := x.Stats(); st.Data != 1 || st.References < 96 || st.References > 99 {
		t.Errorf("100 keys with one payload: %+v", st)
	}
}

// Without sharing equal payloads fill memory as others do, whichever way they are kept.
func TestStoreHoldsEqualPayloadsApart(t *testing.T) {
	for _, size := range []int{10, 300, 5000, 200_000} {
		x := newTester(t, Options{Memory: 8 << 20, NoSharing: true})
		value := strings.Repeat("z", size)
		n := 3*8<<20/(size+60) + 10
		for i := range n {
			checkStatus(t, "set", x.write(Set, 0, fmt.Sprint("key", i), value, 0), Stored)
		}
		x.want(0, fmt.Sprint("key", n-1), value)
		if st := x.Stats(); st.Evictions == 0 || st.Items*int64(size) > 8<<20 || st.References != st.Data {
			t.Errorf("of %d values of %d bytes %d are held and %d evicted, %d data have %d references", n, size, st.Items, st.Evictions, st.Data, st.References)
		}
		checkStatus(t, "append", x.write(Append, 0, fmt.Sprint("key", n-1), "y", 0), Stored)
		x.want(0, fmt.Sprint("key", n-1), value+"y")
		verify(t, x.Store)
	}
}

func TestStoreComparesPayloadsOfEqualDigest(t *testing.T) {
	s, err := Open(Options{Memory: 1 << 20, KeyHash: testHash, Digest: func([]byte) (hi, lo uint64) { return 7, 7 }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := tester{t, s, &clock{now: s.Now()}}
	for i := range 50 {
		x.write(Set, 0, fmt.Sprint(i), fmt.Sprint(long, i+100), 0)
	}
	for i := range 50 {
		x.want(0, fmt.Sprint(i), fmt.Sprint(long, i+100))
		x.del(0, fmt.Sprint(i))
	}
	if st := x.Stats(); st.Data != 0 || st.References != 0 {
		t.Errorf("left: %+v", st)
	}
}

func TestStoreFlush(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	x.write(Set, 0, "c", long, 0)
	x.FlushAll(x.c.now, x.c.now)
	x.write(Set, 0, "d", "v", 0)
	x.want(0, "d", "v")
	x.wantMiss(0, "c", Flushed)
	x.FlushAll(x.c.now, x.c.now+2000)
	x.write(Set, 0, "e", "v", 0)
	x.c.advance(1999 * time.Millisecond)
	x.want(0, "e", "v")
	x.c.advance(time.Millisecond)
	x.write(Set, 0, "f", "v", 0)
	x.wantMiss(0, "e", Flushed)
	x.wantMiss(0, "d", Flushed)
	x.want(0, "f", "v")
	x.FlushAll(x.c.now, x.c.now+5000)
	x.c.advance(5 * time.Second)
	x.FlushAll(x.c.now, x.c.now+5000) // the one before has come, though nobody has asked since
	x.wantMiss(0, "f", Flushed)
	x.FlushAll(x.c.now, x.c.now)
	x.write(Set, 0, "g", "v", 0)
	x.c.advance(time.Minute)
	x.want(0, "g", "v")
}

func TestStoreTooLarge(t *testing.T) {
	x := newTester(t, Options{Memory: 64 << 20})
	fits := strings.Repeat("x", 1<<20-512)
	checkStatus(t, "1 MiB - 512", x.write(Set, 0, "k", fits, 0), Stored)
	x.want(0, "k", fits)
	checkStatus(t, "append over the limit", x.write(Append, 0, "k", strings.Repeat("y", 512), 0), NotStored)
	x.want(0, "k", fits)
	checkStatus(t, "add of 1 MiB", x.write(Add, 0, "k", strings.Repeat("x", 1<<20), 0), TooLarge)
	x.want(0, "k", fits)
	checkStatus(t, "set of 1 MiB", x.write(Set, 0, "k", strings.Repeat("x", 1<<20), 0), TooLarge)
	x.wantMiss(0, "k", Absent)
}

// TestStoreKeepsItsLimit fills each size of store several times over, with values of every way of keeping.
func TestStoreKeepsItsLimit(t *testing.T) {
	for _, mem := range fewer(2, []int64{1 << 20, 8 << 20, 64 << 20}) {
		for _, size := range []int{10, 300, 5000, 200_000} {
			if int64(size) > mem/4 {
				continue
			}
			t.Run(fmt.Sprintf("m=%d/value=%d", mem>>20, size), func(t *testing.T) {
				x := newTester(t, Options{Memory: mem})
				n := int(3*mem)/(size+60) + 10
				if size < 1000 {
					n = min(n, 200_000)
				}
				value := []byte(strings.Repeat("z", size))
				for i := range n {
					copy(value, fmt.Sprintf("%08d", i))
					if st := x.write(Set, 0, fmt.Sprint("key:", i), string(value), 0); st != Stored {
						t.Fatalf("set %d: status %d, %+v", i, st, x.Stats())
					}
					if x.p.used() > mem {
						t.Fatalf("%d bytes charged", x.p.used())
					}
				}
				if size >= 5000 { // few items: the latest are held, in whichever shard they are
					for i := n - min(5, int(mem)/size/4); i < n; i++ {
						copy(value, fmt.Sprintf("%08d", i))
						x.want(0, fmt.Sprint("key:", i), string(value))
					}
				}
				copy(value, fmt.Sprintf("%08d", n-1))
				x.want(0, fmt.Sprint("key:", n-1), string(value))
				st := x.Stats()
				if st.Evictions+uint64(st.Items) != uint64(n) {
					t.Errorf("%d stored, %d held, %d evicted", n, st.Items, st.Evictions)
				}
				verify(t, x.Store)
				t.Logf("%d bytes of %d live, %d charged", st.Bytes, mem, st.UsedBytes)
				if st.Evictions > 0 && st.Bytes < mem*2/5 {
					t.Errorf("full, yet only %d bytes of %d live", st.Bytes, mem)
				}
			})
		}
	}
}

// TestStoreChurnKeepsTheOld overwrites a few keys very often beside many that stay.
func TestStoreChurnKeepsTheOld(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	for i := range 5000 {
		x.write(Set, 0, fmt.Sprint("stays", i), long, 0)
	}
	for i := range 200_000 {
		x.write(Set, 0, fmt.Sprint("churns", i%50), fmt.Sprint(long, i), 0)
	}
	for i := range 5000 {
		x.want(0, fmt.Sprint("stays", i), long)
	}
	verify(t, x.Store)
}

func TestStoreNoEvict(t *testing.T) {
	x := newTester(t, Options{Memory: 2 << 20, NoEvict: true})
	n := 0
	for ; n < 100_000; n++ {
		if st := x.write(Set, 0, fmt.Sprint("k", n), fmt.Sprint(long, n), 0); st != Stored {
			checkStatus(t, "full", st, NoMemory)
			break
		}
	}
	if n == 100_000 {
		t.Fatal("never full")
	}
	for i := range n {
		x.want(0, fmt.Sprint("k", i), fmt.Sprint(long, i))
	}
	for i := range n / 2 {
		x.del(0, fmt.Sprint("k", i))
	}
	checkStatus(t, "set after deletes", x.write(Set, 0, "k", long+"!", 0), Stored)
	if st := x.Stats(); st.Evictions != 0 || st.NoMemory == 0 {
		t.Errorf("%+v", st)
	}
}

func TestStoreDoesNotAllocate(t *testing.T) {
	x := newTester(t, Options{Memory: 64 << 20})
	id := x.routes(Route{Name: "r", Fresh: 60, Negative: 10})[0]
	key, value := []byte("some key of ordinary length"), []byte(long)
	h := testHash(key)
	w := &Write{Key: key, Hash: h, Value: value}
	x.Write(w)
	q, missing, routed := &Lookup{Key: key, Hash: h}, &Lookup{Key: []byte("absent"), Hash: 1}, &Lookup{Key: []byte("absent"), Hash: 2, Route: id}
	number := &Delta{Key: []byte("n"), Hash: testHash([]byte("n")), Vivify: true, WantCAS: true}
	var it Item
	for name, f := range map[string]func(){
		"hit":        func() { x.Get(q, &it); it.Release() },
		"miss":       func() { x.Get(missing, &it) },
		"route miss": func() { x.Get(routed, &it); x.EndLease(it.Lease) },
		"set":        func() { x.Write(w) },
		"vivify": func() {
			x.Delta(number)
			x.Delete(number.Key, number.Hash, 0, 10_000, 0)
		},
		"delete": func() { x.Delete(key, h, 0, 10_000, 0); x.Write(w) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// verify ends the background work, walks all that the store holds and compares it with its figures.
func verify(t *testing.T, s *Store) {
	t.Helper()
	s.stop()
	refs := map[uint32]uint64{}
	var shares [MaxRoutes + 1]int64
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for id, tallied := range sh.tallied {
			if tallied {
				shares[id] += sh.st.routes[id].bytes
			}
		}
		n, live := int64(0), map[uint32]uint32{}
		var cells [MaxRoutes + 1]routeCell
		for _, off := range tablesOf(sh.idx) {
			for g := range sh.idx.tableAt(off).groups {
				gr := &sh.idx.tableAt(off).g[g]
				for j := range gr.loc {
					if byte(gr.ctrl>>(8*j))&0x80 == 0 {
						continue
					}
					var r record
					r.decode(sh.raw(gr.loc[j]))
					if slot, loc := sh.find(testHash(r.key), r.key); slot == nil || loc != gr.loc[j] {
						t.Errorf("shard %d: %q is not found where it stands", i, r.key)
					}
					if r.meta&metaInline == 0 {
						refs[r.handle]++
						if r.route != 0 && r.state&statePays != 0 {
							cells[r.route].bytes += int64(s.valueSize(&r))
						}
					}
					n++
					cell := &cells[r.route]
					cell.bytes += int64(alignUp(uint64(r.size), 1<<s.z.unitShift))
					switch {
					case r.negative():
						cell.neg++
					case r.route != 0:
						cell.items++
						if r.state&stateKind == stateClient {
							cell.client++
						}
					}
					live[uint32(uint64(gr.loc[j])<<s.z.unitShift>>s.z.segShift)] += uint32(alignUp(uint64(r.size), 1<<s.z.unitShift))
				}
			}
		}
		if n != sh.st.items+sh.st.negative || n != int64(sh.st.idx.count) {
			t.Errorf("shard %d: %d records in the index, %d items, %d negative, count %d", i, n, sh.st.items, sh.st.negative, sh.st.idx.count)
		}
		for id, c := range cells {
			if has := &sh.st.routes[id]; has.bytes != c.bytes || has.items != c.items || has.client != c.client || has.neg != c.neg {
				t.Errorf("shard %d route %d: %d bytes, %d items, %d of clients, %d negative; counted %d, %d, %d, %d",
					i, id, c.bytes, c.items, c.client, c.neg, has.bytes, has.items, has.client, has.neg)
			}
		}
		sh.check()
		for log := range sh.st.logs {
			used, alive := int64(0), int64(0)
			for seg := sh.st.logs[log].head; seg != noSegment; seg = s.p.meta[seg].next {
				if m := &s.p.meta[seg]; live[seg] != m.live || int(m.log) != log {
					t.Errorf("shard %d segment %d: %d bytes live, counted %d; in log %d of %d", i, seg, live[seg], m.live, log, m.log)
				}
				used += int64(s.p.meta[seg].used)
				alive += int64(s.p.meta[seg].live)
				if s.p.meta[seg].live == 0 && seg != sh.st.logs[log].tail {
					t.Errorf("shard %d segment %d: nothing in it lives, and it was not given back", i, seg)
				}
			}
			if l := &sh.st.logs[log]; used != l.used || alive != l.live {
				t.Errorf("shard %d log %d: %d bytes, %d of them live, counted %d and %d", i, log, used, alive, l.used, l.live)
			}
		}
		sh.mu.Unlock()
	}
	for id := range shares {
		if got := s.shares[id].bytes.Load(); got != shares[id] {
			t.Errorf("route %d: %d bytes in its shards, and %d count for its cap", id, shares[id], got)
		}
	}
	for i := range s.data {
		ds := &s.data[i]
		ds.mu.Lock()
		for n := range ds.st.handles {
			if w := ds.hs[n]; wordRefs(w) != refs[ds.global(n)] {
				t.Errorf("data shard %d handle %d: %d references, counted %d", i, n, refs[ds.global(n)], wordRefs(w))
			}
		}
		for seg := ds.st.head; seg != noSegment; seg = s.p.meta[seg].next {
			if s.p.meta[seg].live == 0 && seg != ds.st.tail {
				t.Errorf("data shard %d segment %d: nothing in it lives, and it was not given back", i, seg)
			}
		}
		ds.mu.Unlock()
	}
}

func tablesOf(x *index) []uint32 {
	seen := map[uint32]bool{}
	var offs []uint32
	for _, off := range x.dir[:1<<x.st.depth] {
		if !seen[off] {
			seen[off] = true
			offs = append(offs, off)
		}
	}
	return offs
}

// TestMostReferencedDatumStays: a datum with as many references as its word can count stays for ever, and the figures still say
// how many items have it.
func TestMostReferencedDatumStays(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20, MaxItem: 1 << 16})
	value := strings.Repeat("v", 5000)
	x.write(Set, 0, "first", value, 0)
	ds, h := x.onlyDatum(t)
	for range refMax - 2 { // as that many items would
		ds.reference(h)
	}
	for i := range 10 {
		x.write(Set, 0, fmt.Sprint("key ", i), value, 0)
	}
	if st := x.Stats(); st.References != refMax-1+10 || wordRefs(ds.hs[h]) != refMax {
		t.Errorf("%d references, %d in the word", st.References, wordRefs(ds.hs[h]))
	}
	for i := range 10 {
		x.del(0, fmt.Sprint("key ", i))
	}
	x.del(0, "first")
	if st := x.Stats(); st.References != refMax-2 || st.Data != 1 || st.DataBytes != int64(len(value)) {
		t.Errorf("%d references to %d data of %d bytes", st.References, st.Data, st.DataBytes)
	}
	x.write(Set, 0, "again", value, 0)
	x.want(0, "again", value)
	if st := x.Stats(); st.Data != 1 || st.References != refMax-1 {
		t.Errorf("%d references to %d data", st.References, st.Data)
	}
}

// onlyDatum returns the local handle of the only payload there is, and its shard.
func (x tester) onlyDatum(t *testing.T) (ds *dataShard, n uint32) {
	t.Helper()
	for i := range x.data {
		ds = &x.data[i]
		for n = range ds.st.handles {
			if wordRefs(ds.hs[n]) > 0 {
				return ds, n
			}
		}
	}
	t.Fatal("there is no payload")
	return nil, 0
}

// TestStoreTakesMemoryBackFromTables fills it with tiny keys, flushes, and then needs the memory for large values.
func TestStoreTakesMemoryBackFromTables(t *testing.T) {
	x := newTester(t, Options{Memory: 8 << 20})
	held := func() int64 {
		for i := range 300 {
			x.write(Set, 0, fmt.Sprint("large ", i), digits(100000, i), 0)
		}
		return x.Stats().Items
	}
	before := held()
	x.FlushAll(x.c.now, 0)
	for i := range 400_000 {
		x.write(Set, 0, fmt.Sprint(i), "v", 0)
	}
	if st := x.Stats(); st.HashBytes < 1<<20 {
		t.Fatalf("tables of %d bytes: the test is too small", st.HashBytes)
	}
	x.FlushAll(x.c.now, 0)
	if after := held(); after < before*8/10 {
		t.Errorf("%d large values held, %d before there were tiny keys", after, before)
	}
	verify(t, x.Store)
}

// TestStoreOverwritesWithoutEvicting: what fits stays, however often it is overwritten.
func TestStoreOverwritesWithoutEvicting(t *testing.T) {
	for _, size := range fewer(1, []int{300, 8}) {
		x := newTester(t, Options{Memory: 4 << 20, MaxItem: 1 << 16})
		n := 0
		for ; x.Stats().UsedBytes < 5<<19; n++ { // 60 % of it
			x.write(Set, 0, fmt.Sprint("key ", n), digits(size, n), 0)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		for i := range 6 * n {
			k := rng.IntN(n)
			x.write(Set, 0, fmt.Sprint("key ", k), digits(size, n+i), 0)
		}
		if st := x.Stats(); st.Evictions != 0 || st.Items != int64(n) {
			t.Errorf("values of %d bytes: %d of %d keys held, %d evicted", size, st.Items, n, st.Evictions)
		}
		verify(t, x.Store)
	}
}

// TestStoreFullOfRunsEnds: memory for a large value may be free and yet no run of pages for it. The set must come to an end.
func TestStoreFullOfRunsEnds(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20, MaxItem: 2 << 20})
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range rounds(3000, 600) {
		k := fmt.Sprint("k", rng.IntN(60))
		if rng.IntN(3) == 0 {
			x.del(0, k)
			continue
		}
		size := 20_000 << rng.IntN(7)
		x.write(Set, 0, k, digits(size, i), 0)
	}
	verify(t, x.Store)
}

// TestStoreFullTouchesWithoutLoss: an item that needs a field more is given it, at the cost of others that are counted.
func TestStoreFullTouchesWithoutLoss(t *testing.T) {
	x := newTester(t, Options{Memory: 2 << 20})
	n := 0
	for ; x.Stats().Evictions == 0; n++ {
		x.write(Set, 0, fmt.Sprint("key ", n), "v", 0)
	}
	before := x.Stats()
	for i := range n {
		x.lookup(Lookup{Key: fmt.Append(nil, "key ", i), Touch: true, Deadline: x.c.now.Second() + 100, WantCAS: i%2 == 0})
	}
	after := x.Stats()
	if lost, counted := before.Items-after.Items, int64(after.Evictions-before.Evictions); lost != counted {
		t.Errorf("%d items lost, %d evictions counted", lost, counted)
	}
	verify(t, x.Store)
}
