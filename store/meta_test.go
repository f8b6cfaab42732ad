package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func key(k string) ([]byte, uint64) { return []byte(k), testHash([]byte(k)) }

// mg asks as the meta get command does.
func (x tester) mg(route RouteID, k string, q Lookup) answer {
	q.Key, q.Route, q.Meta = []byte(k), route, true
	return x.lookup(q)
}

type tokens struct{ stale, won, sent, created bool }

func (x tester) wantTokens(a answer, want tokens) {
	x.t.Helper()
	if got := (tokens{a.item.Stale, a.item.Won, a.item.Sent, a.item.Created}); got != want {
		x.t.Fatalf("got %+v, want %+v", got, want)
	}
}

func TestMetaFacts(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	for _, value := range []string{"v", long} {
		x.write(Set, 0, "k", value, 0)
		a := x.mg(0, "k", Lookup{Access: true})
		if a.item.Fetched || a.item.LastAccess != 0 || a.item.Deadline != 0 {
			t.Fatalf("first read: %+v", a.item)
		}
		x.c.advance(7 * time.Second)
		a = x.mg(0, "k", Lookup{Access: true, NoBump: true})
		if !a.item.Fetched || a.item.LastAccess != 7 {
			t.Fatalf("after 7 seconds: %+v", a.item)
		}
		x.c.advance(2 * time.Second)
		x.want(0, "k", value) // a plain read is an access, too
		x.c.advance(time.Second)
		if a = x.mg(0, "k", Lookup{Access: true}); a.item.LastAccess != 1 || a.value != value {
			t.Fatalf("a second after a plain read: %+v", a.item)
		}
		x.write(Set, 0, "unread", value, x.c.now.Second()+100)
		x.c.advance(30 * time.Second)
		if a = x.mg(0, "unread", Lookup{Access: true, NoBump: true}); a.item.LastAccess != 30 || a.item.Fetched || a.item.Deadline != x.c.now.Second()+70 {
			t.Fatalf("never read: %+v", a.item)
		}
	}
	verify(t, x.Store)
}

func TestMetaWinTokens(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	k, h := key("k")
	x.write(Set, 0, "k", long, x.c.now.Second()+50)
	x.wantTokens(x.mg(0, "k", Lookup{}), tokens{})
	soon := Lookup{Recache: true, RecacheBelow: x.c.now.Second() + 60}
	x.wantTokens(x.mg(0, "k", soon), tokens{won: true})
	x.wantTokens(x.mg(0, "k", soon), tokens{sent: true})
	x.write(Set, 0, "k", "rewritten", 0)
	x.wantTokens(x.mg(0, "k", soon), tokens{})

	checkStatus(t, "invalidate", x.Remove(&Deletion{Key: k, Hash: h, Now: x.c.now, Invalidate: true, Touch: true, Deadline: x.c.now.Second() + 30}), Deleted)
	x.want(0, "k", "rewritten")
	x.wantTokens(x.mg(0, "k", Lookup{}), tokens{stale: true, won: true})
	a := x.mg(0, "k", Lookup{WantCAS: true})
	x.wantTokens(a, tokens{stale: true, sent: true})
	if a.item.CAS == 0 || a.item.Deadline != x.c.now.Second()+30 || a.value != "rewritten" {
		t.Errorf("invalidated: %+v", a.item)
	}
	write := func(cas uint64, value string) Status {
		st, _ := x.Write(&Write{Op: CAS, Key: k, Hash: h, Now: x.c.now, Value: []byte(value), CAS: cas, Stale: true, Deadline: x.c.now.Second() + 999})
		return st
	}
	checkStatus(t, "higher CAS", write(a.item.CAS+1000, "no"), Exists)
	checkStatus(t, "lower CAS", write(a.item.CAS-1, "late"), Stored)
	a = x.mg(0, "k", Lookup{WantCAS: true})
	x.wantTokens(a, tokens{stale: true, sent: true})
	if a.value != "late" || a.item.Deadline != x.c.now.Second()+30 {
		t.Errorf("a late value keeps the deadline: %q %+v", a.value, a.item)
	}
	checkStatus(t, "right CAS", write(a.item.CAS, "new"), Stored)
	x.wantTokens(x.mg(0, "k", Lookup{}), tokens{})
	verify(t, x.Store)
}

func TestMetaVivify(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	q := Lookup{Vivify: true, VivifyDeadline: x.c.now.Second() + 30, NewCAS: 77, WantCAS: true}
	a := x.mg(0, "k", q)
	x.wantTokens(a, tokens{won: true, created: true})
	if !a.ok || a.value != "" || a.item.CAS != 77 {
		t.Fatalf("created: %+v", a)
	}
	a = x.mg(0, "k", q)
	x.wantTokens(a, tokens{sent: true})
	if a.item.CAS != 77 || a.item.Deadline != x.c.now.Second()+30 {
		t.Fatalf("found: %+v", a.item)
	}
	x.want(0, "k", "")
	x.c.advance(30 * time.Second)
	x.wantMiss(0, "k", TTLOver)
}

// TestMetaVivifyMakesRoom: in a full store a placeholder is made at the cost of older items. Where nothing is evicted the Get is
// a miss, with the reason and the lease that it has without a placeholder.
func TestMetaVivifyMakesRoom(t *testing.T) {
	x := newTester(t, Options{Memory: 2 << 20, RoomTime: time.Minute})
	x.stop() // so that nobody else makes room
	for i := range 100_000 {
		if a := x.mg(0, fmt.Sprint("placeholder ", i), Lookup{Vivify: true}); !a.ok || !a.item.Created {
			t.Fatalf("placeholder %d was not made, with %+v", i, x.Stats())
		}
	}
	if st := x.Stats(); st.Evictions == 0 || st.NoMemory != 0 {
		t.Errorf("%d evictions, %d times no memory", st.Evictions, st.NoMemory)
	}
	verify(t, x.Store)

	x = newTester(t, Options{Memory: 2 << 20, NoEvict: true})
	id := x.routes(testRoute)[0]
	for i := 0; x.write(Set, 0, fmt.Sprint("key ", i), long, 0) == Stored; i++ {
	}
	made := 0
	for i := range 20_000 {
		route := RouteID(i % 2 * int(id))
		before := x.Stats().NoMemory
		a := x.mg(route, fmt.Sprint("placeholder ", i), Lookup{Vivify: true})
		if a.ok {
			made++
			continue
		}
		if counted := x.Stats().NoMemory - before; counted != 1 {
			t.Fatalf("counted %d times", counted)
		}
		if a.item.Miss != Absent || (a.leased.Serial != 0) != (route != 0 && !a.item.NoRoom) {
			t.Fatalf("the miss: %+v", a.item)
		}
		if route != 0 && !a.item.NoRoom {
			x.EndLease(a.leased)
		}
	}
	if made == 20_000 {
		t.Error("never full")
	}
	verify(t, x.Store)
}

// TestMetaOnARoute: the win token of a route's item is its lease, and a placeholder does not kill it.
func TestMetaOnARoute(t *testing.T) {
	x, id := newRouted(t)
	a := x.mg(id, "k", Lookup{Vivify: true, VivifyDeadline: x.c.now.Second() + 60})
	x.wantTokens(a, tokens{won: true, created: true})
	x.wantTokens(x.mg(id, "k", Lookup{}), tokens{sent: true})
	x.want(id, "k", "")
	checkStatus(t, "fill of a placeholder", x.put(a.leased, id, "k", "row"), PutStored)
	x.wantTokens(x.mg(id, "k", Lookup{}), tokens{})
	x.want(id, "k", "row")
	x.c.advance(11 * time.Second)
	a = x.mg(id, "k", Lookup{})
	x.wantTokens(a, tokens{stale: true, won: true})
	x.wantTokens(x.mg(id, "k", Lookup{}), tokens{stale: true, sent: true})
	k, h := key("k")
	checkStatus(t, "invalidate", x.Remove(&Deletion{Key: k, Hash: h, Route: id, Now: x.c.now, Invalidate: true}), Deleted)
	checkStatus(t, "a load from before", x.put(a.leased, id, "k", "older"), PutKilled)
	x.wantTokens(x.mg(id, "k", Lookup{}), tokens{stale: true, won: true})

	// No row: the placeholder gives way to a negative item.
	a = x.mg(id, "none", Lookup{Vivify: true})
	checkStatus(t, "absent", x.PutLease(a.leased, &Fill{Key: []byte("none"), Route: id, Now: x.c.now, Absent: true}), PutNegative)
	x.wantMiss(id, "none", Negative)
	a = x.mg(id, "none", Lookup{Vivify: true})
	if !a.item.Created || a.leased.Serial != 0 {
		t.Errorf("vivified inside the negative window: %+v", a)
	}
	x.noLease(id, "none")
	verify(t, x.Store)
}

func TestMetaDrop(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	k, h := key("k")
	x.write(Set, 0, "k", long, x.c.now.Second()+10)
	checkStatus(t, "wrong CAS", x.Remove(&Deletion{Key: k, Hash: h, Now: x.c.now, Compare: true, CAS: 5}), Exists)
	checkStatus(t, "drop", x.Remove(&Deletion{Key: k, Hash: h, Now: x.c.now, Drop: true, Flags: 9}), Deleted)
	if a := x.mg(0, "k", Lookup{}); !a.ok || a.value != "" || a.item.Flags != 9 || a.item.Deadline != 0 {
		t.Errorf("dropped: %+v", a)
	}
	if n := x.Stats().TotalItems; n != 2 { // what is left is another item
		t.Errorf("%d items in all", n)
	}
	checkStatus(t, "remove", x.Remove(&Deletion{Key: k, Hash: h, Now: x.c.now}), Deleted)
	checkStatus(t, "remove again", x.Remove(&Deletion{Key: k, Hash: h, Now: x.c.now}), NotFound)
	verify(t, x.Store)
}

func TestMetaWriteAndDelta(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	k, h := key("k")
	w := Write{Op: Append, Key: k, Hash: h, Now: x.c.now, Value: []byte(long), Vivify: true, NewCAS: 5, WantCAS: true, BinaryKey: true}
	st, cas := x.Write(&w)
	if st != Stored || cas != 5 || w.Size != len(long) {
		t.Fatalf("append to nothing: %v, CAS %d, %d bytes", st, cas, w.Size)
	}
	if a := x.mg(0, "k", Lookup{WantCAS: true}); !a.item.BinaryKey || a.item.CAS != 5 {
		t.Errorf("%+v", a.item)
	}
	w = Write{Op: Append, Key: k, Hash: h, Now: x.c.now, Value: []byte("!"), CAS: 5, WantCAS: true}
	if st, cas = x.Write(&w); st != Stored || cas == 5 || cas == 0 || w.Size != len(long)+1 {
		t.Fatalf("append: %v, CAS %d, %d bytes", st, cas, w.Size)
	}
	if a := x.mg(0, "k", Lookup{}); a.item.BinaryKey || a.value != long+"!" {
		t.Errorf("%+v", a)
	}
	k, h = key("n")
	d := Delta{Key: k, Hash: h, Now: x.c.now, Delta: 2, Vivify: true, Initial: 40, Deadline: x.c.now.Second() + 9, WantCAS: true}
	n, st := x.Delta(&d)
	if st != Stored || n.Value != 40 || !n.Created || n.CAS == 0 {
		t.Fatalf("vivified: %v %+v", st, n)
	}
	d.CAS, d.Touch, d.TouchDeadline = n.CAS, true, NoDeadline
	m, st := x.Delta(&d)
	if st != Stored || m.Value != 42 || m.Created || m.CAS == n.CAS || m.Deadline != x.c.now.Second()+9 {
		t.Fatalf("added: %v %+v", st, m)
	}
	if _, st = x.Delta(&d); st != Exists {
		t.Fatalf("old CAS: %v", st)
	}
	x.c.advance(time.Hour)
	x.want(0, "n", "42")
	d.CAS, d.Deadline, d.NewCAS = 0, 0, 1234
	if m, st = x.Delta(&d); st != Stored || m.CAS != 1234 {
		t.Fatalf("chosen CAS: %v %+v", st, m)
	}
	verify(t, x.Store)
}

// A number that fits where the old one stood leaves the item what it was; a longer one makes another.
func TestDeltaKeepsAnItemStale(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	k, h := key("n")
	for _, tc := range []struct {
		name, value string
		kept        bool
	}{
		{"inline", "10", true},
		{"shared", strings.Repeat("0", 105), true},
		{"grows", "9", false},
	} {
		x.write(Set, 0, "n", tc.value, 0)
		checkStatus(t, tc.name, x.Remove(&Deletion{Key: k, Hash: h, Now: x.c.now, Invalidate: true}), Deleted)
		x.wantTokens(x.mg(0, "n", Lookup{}), tokens{stale: true, won: true})
		_, st := x.Delta(&Delta{Key: k, Hash: h, Now: x.c.now, Delta: 1})
		checkStatus(t, tc.name, st, Stored)
		x.wantTokens(x.mg(0, "n", Lookup{}), tokens{stale: tc.kept, sent: tc.kept})
	}
	verify(t, x.Store)
}

func TestWalkShowsEverythingThatStays(t *testing.T) {
	x := newTester(t, Options{Memory: 16 << 20})
	id := x.routes(testRoute)[0]
	want := map[string]int{}
	for i := range 5000 {
		k := fmt.Sprint("stays ", i)
		x.write(Set, 0, k, strings.Repeat("x", i%500), 0)
		want[k] = i % 500
	}
	x.write(Set, 0, "expired", "v", x.c.now.Second()+1)
	x.PutLease(x.lease(id, "negative"), &Fill{Key: []byte("negative"), Route: id, Now: x.c.now, Absent: true})
	x.c.advance(2 * time.Second)
	var c Cursor
	seen := map[string]int{}
	for i := 0; x.Walk(&c, x.c.now, 100, func(w *Walked) { seen[string(w.Key)] = w.Size }); i++ {
		// What is overwritten moves to the end and is met there; what comes and goes may be met or not.
		k := fmt.Sprint("stays ", i*37%5000)
		x.write(Set, 0, k, strings.Repeat("x", want[k]), 0)
		x.write(Set, 0, fmt.Sprint("comes ", i), "v", 0)
		x.del(0, fmt.Sprint("comes ", i-3))
	}
	for k, n := range want {
		if got, ok := seen[k]; !ok || got != n {
			t.Fatalf("%s of %d bytes: seen %v with %d", k, n, ok, got)
		}
	}
	if _, ok := seen["expired"]; ok {
		t.Error("an expired item was shown")
	}
	if _, ok := seen["negative"]; ok {
		t.Error("a negative item was shown")
	}
}

func TestSetMemoryBothWays(t *testing.T) {
	x := newTester(t, Options{Memory: 8 << 20, MostMemory: 20 << 20, MaxItem: 1 << 16})
	fill := func() int64 {
		for i := range 100_000 {
			x.write(Set, 0, fmt.Sprint("k", i), fmt.Sprint(long, i), 0)
		}
		st := x.Stats()
		if st.UsedBytes > st.LimitBytes {
			t.Errorf("%d bytes charged of %d", st.UsedBytes, st.LimitBytes)
		}
		return st.Items
	}
	before := fill()
	if err := x.SetMemory(16 << 20); err != nil {
		t.Fatal(err)
	}
	if more := fill(); more < before*17/10 {
		t.Errorf("%d items in twice the memory, %d before", more, before)
	}
	if err := x.SetMemory(4 << 20); err != nil {
		t.Fatal(err)
	}
	if less := fill(); less > before*6/10 || less < before*3/10 {
		t.Errorf("%d items in half the memory, %d before", less, before)
	}
	if x.SetMemory(1<<40) == nil || x.SetMemory(1<<10) == nil || x.SetMemory(21<<20) == nil {
		t.Error("an impossible limit was taken")
	}
	verify(t, x.Store)
}

// TestSmallestLimitHoldsItems: where SetMemory takes a limit, every write finds room, and items stay.
func TestSmallestLimitHoldsItems(t *testing.T) {
	type limit struct {
		memory      int64 // MiB
		size, items int
	}
	for _, tc := range fewer(6, []limit{
		{1, 100, 4000}, {1, 3000, 1000}, {1, 30_000, 200}, {4, 100, 10_000}, {8, 100, 10_000}, {8, 3000, 2000},
		{64, 100, 40_000}, {64, 3000, 10_000}, {64, 30_000, 1000}, {1024, 3000, 20_000},
	}) {
		t.Run(fmt.Sprintf("-m %d, %d bytes", tc.memory, tc.size), func(t *testing.T) {
			x := newTester(t, Options{Memory: tc.memory << 20, MaxItem: 1 << 15, RoomTime: time.Minute})
			fill := func(keys string) {
				for i := range tc.items {
					checkStatus(t, "set", x.write(Set, 0, fmt.Sprint(keys, i), keys+digits(tc.size, i), 0), Stored)
				}
			}
			fill("old ")
			least := x.leastMemory()
			if err := x.SetMemory(least - 1); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), fmt.Sprintf("at least %d ", least)) {
				t.Errorf("a limit below the smallest: %v", err)
			}
			if got := x.Stats().LimitBytes; got != tc.memory<<20 {
				t.Errorf("the limit that was refused made it %d", got)
			}
			if err := x.SetMemory(least); err != nil {
				t.Fatal(err)
			}
			fill("new ")
			if st := x.Stats(); st.Items < int64(2*x.z.shards) || st.UsedBytes > least || st.NoMemory > 0 {
				t.Errorf("%d items in %d shards, %d bytes of %d, %d refused", st.Items, x.z.shards, st.UsedBytes, least, st.NoMemory)
			}
			verify(t, x.Store)
		})
	}
}

func TestAges(t *testing.T) {
	var a ages
	for sec := range uint32(10_000) {
		a.note(uint64(sec)*100, sec)
		a.note(uint64(sec)*100+50, sec)
	}
	for back := range uint32(5) {
		if got := a.at(uint64(9999-back)*100 + 70); got != 9999-back {
			t.Errorf("%d seconds ago: taken for second %d", back, got)
		}
	}
	for _, back := range []uint32{100, 1000, 9000} {
		got := 9999 - a.at(uint64(9999-back)*100)
		if got < back || got > 4*back {
			t.Errorf("%d seconds ago: taken for %d", back, got)
		}
	}
}
