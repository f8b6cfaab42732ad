package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// shown is what a Saving showed, with keys and values of its own.
type shown struct {
	origin Origin
	items  []Kept
}

// save shows everything; between is called after every lock hold.
func (x tester) save(between func()) (all shown) {
	x.t.Helper()
	sv := x.BeginSaving()
	if sv == nil {
		x.t.Fatal("a Saving is under way")
	}
	defer sv.End()
	all.origin = sv.Origin()
	all.origin.Wall = all.origin.Wall.Add(time.Hour) // a clock set back counts as none passed: seconds are exact
	for more := true; more; {
		more = sv.Next(func(k *Kept) {
			own := *k
			own.Key, own.Value = bytes.Clone(k.Key), bytes.Clone(k.Value)
			all.items = append(all.items, own)
		})
		if between != nil {
			between()
		}
	}
	return all
}

// load takes everything in, at once or, where between is to be called after every item, one by one.
func (x tester) load(all shown, between func(i int)) [LoadResults]int64 {
	x.t.Helper()
	return x.loading(all, func(l *Loading, results *[LoadResults]int64) {
		if between == nil {
			l.Put(all.items, results)
			return
		}
		for i := range all.items {
			l.Put(all.items[i:i+1], results)
			between(i)
		}
	})
}

// loadTogether takes everything in at once; between is called when the values are there and the records are not.
func (x tester) loadTogether(all shown, between func()) [LoadResults]int64 {
	x.t.Helper()
	return x.loading(all, func(l *Loading, results *[LoadResults]int64) {
		n := l.values(all.items, results)
		between()
		l.records(n, results)
	})
}

func (x tester) loading(all shown, put func(l *Loading, results *[LoadResults]int64)) (results [LoadResults]int64) {
	x.t.Helper()
	l := x.BeginLoading()
	if l == nil {
		x.t.Fatal("a Loading is under way")
	}
	defer l.End()
	l.From(&all.origin)
	l.Prepare(all.items)
	put(l, &results)
	return results
}

// other is another store, whose clock has come less or further far.
func (x tester) other(o Options, clock Time) tester {
	y := newTester(x.t, o)
	y.c.now = clock
	return y
}

// facts are what clients can learn of a key, in words.
func (x tester) facts(route RouteID, key string) string {
	e := x.Explain([]byte(key), testHash([]byte(key)), route, x.c.now)
	in := func(sec uint32) int64 {
		if sec == 0 {
			return 0
		}
		return int64(sec) - int64(x.c.now.Second())
	}
	since := in(e.Since)
	if e.Kind == KindPlain {
		since = 0 // when a plain item was stored is not kept
	}
	return fmt.Sprintf("worth %d kind %d since %d outdated %v asked %v touched %v fetched %v deadline %d flags %d cas %d fresh %d stale %d keep %d negative %d value %.20q (%d)",
		e.Worth, e.Kind, since, e.Outdated, e.Asked, e.Touched, e.Fetched, in(e.Deadline), e.Flags, e.CAS,
		in(e.Fresh), in(e.Stale), in(e.Keep), in(e.Negative), e.Value, len(e.Value))
}

// fill loads a key of a route.
func (x tester) fill(id RouteID, key string, f Fill) {
	x.t.Helper()
	a := x.get(id, key)
	if a.leased.Serial == 0 {
		x.t.Fatalf("%s: no lease", key)
	}
	f.Key, f.Route, f.Now = []byte(key), id, x.c.now
	if st := x.PutLease(a.leased, &f); st > PutKept {
		x.t.Fatalf("%s: put %d", key, st)
	}
}

// furnish stores an item of each kind and returns the keys of the route and the plain ones.
func (x tester) furnish(id RouteID) (routed, plain []string) {
	big, huge := strings.Repeat("big ", 2000), strings.Repeat("huge ", 60_000)
	for i, v := range []string{"", "small", strings.Repeat("s", maxInline), long, big, huge} {
		for copies := range 3 {
			key := fmt.Sprintf("plain %d %d", i, copies)
			x.Write(&Write{Op: Set, Key: []byte(key), Hash: testHash([]byte(key)), Now: x.c.now, Value: []byte(v), Flags: uint32(i * 7), Deadline: uint32(copies) * (x.c.now.Second() + 500), WantCAS: copies == 1})
			plain = append(plain, key)
			key = fmt.Sprintf("route %d %d", i, copies)
			x.fill(id, key, Fill{Value: []byte(v), Flags: uint32(copies), Deadline: uint32(copies) * (x.c.now.Second() + 400)})
			routed = append(routed, key)
		}
	}
	for _, key := range []string{"noted", "stale token", "placeholder", "number", "long alone"} {
		x.write(Set, 0, key, "17", 0)
		plain = append(plain, key)
	}
	x.write(Set, 0, "long alone", strings.Repeat("alone ", 300), 0)
	x.lookup(Lookup{Key: []byte("noted"), Meta: true, Access: true})
	x.Remove(&Deletion{Key: []byte("stale token"), Hash: testHash([]byte("stale token")), Now: x.c.now, Invalidate: true})
	x.lookup(Lookup{Key: []byte("stale token"), Meta: true})
	x.del(0, "placeholder")
	x.lookup(Lookup{Key: []byte("placeholder"), Meta: true, Vivify: true, VivifyDeadline: x.c.now.Second() + 300})
	x.Delta(&Delta{Key: []byte("number"), Hash: testHash([]byte("number")), Now: x.c.now, Delta: 5})
	x.write(Set, id, "client", long, x.c.now.Second()+900)
	x.write(Set, id, "asked", "a client's", 0)
	x.fill(id, "absent", Fill{Absent: true})
	x.fill(id, "touched", Fill{Value: []byte(long)})
	x.Touch([]byte("touched"), testHash([]byte("touched")), id, x.c.now, x.c.now.Second()+700)
	x.c.advance(12 * time.Second)
	x.fill(id, "asked", Fill{Absent: true})
	x.fill(id, "young", Fill{Value: []byte("young")})
	return append(routed, "client", "asked", "absent", "touched", "young"), plain
}

var snapshotRoute = Route{Name: "r", KeyPrint: 1, QueryPrint: 1, Fresh: 10, Stale: 1000, Keep: 1000, Negative: 60}

// TestSnapshotRoundTrip takes items of each kind to stores of other sizes and clocks and finds them as they were.
func TestSnapshotRoundTrip(t *testing.T) {
	x := newTester(t, Options{Memory: 64 << 20})
	id := x.routes(Route{Name: "other", Fresh: 1, Negative: 1}, snapshotRoute)[1]
	routed, plain := x.furnish(id)
	all := x.save(nil)
	payloads := map[string]int{}
	for _, k := range all.items {
		if len(k.Value) > maxInline {
			payloads[string(k.Value)]++
		}
	}
	for v, n := range payloads {
		if n > 2 { // one stays with the key that it was met under first
			t.Errorf("the value %.20q is shown %d times", v, n)
		}
	}
	for _, o := range []Options{{Memory: 64 << 20}, {Memory: 8 << 20}, {Memory: 1 << 30}} {
		for _, clock := range []Time{10_000_000, 5_000_000_000} {
			t.Run(fmt.Sprintf("memory=%d,clock=%d", o.Memory, clock), func(t *testing.T) {
				x.t = t
				y := x.other(o, clock)
				to := y.routes(snapshotRoute)[0]
				if got := y.load(all, nil); int(got[Loaded]) != len(all.items) {
					t.Fatalf("%d items, results %v", len(all.items), got)
				}
				for _, key := range routed {
					if got, want := y.facts(to, key), x.facts(id, key); got != want {
						t.Errorf("%s:\ngot  %s\nwant %s", key, got, want)
					}
				}
				for _, key := range plain {
					if got, want := y.facts(0, key), x.facts(0, key); got != want {
						t.Errorf("%s:\ngot  %s\nwant %s", key, got, want)
					}
				}
				if x.Stats().Items != y.Stats().Items || x.Stats().NegativeItems != y.Stats().NegativeItems {
					t.Errorf("%+v\n%+v", x.Stats(), y.Stats())
				}
				if data := y.Stats().Data; data != x.Stats().Data {
					t.Errorf("%d payloads are held, %d were", data, x.Stats().Data)
				}
				verify(t, y.Store)
			})
		}
	}
}

// TestSnapshotTimePasses: what passed while nobody served counts.
func TestSnapshotTimePasses(t *testing.T) {
	x := newTester(t, Options{Memory: 1 << 20})
	id := x.routes(snapshotRoute)[0]
	x.write(Set, 0, "short", "v", x.c.now.Second()+30)
	x.write(Set, 0, "long", "v", x.c.now.Second()+90)
	x.write(Set, 0, "ever", "v", 0)
	x.fill(id, "row", Fill{Value: []byte("v")})
	x.fill(id, "none", Fill{Absent: true})
	all := x.save(nil)
	all.origin.Wall = time.Now().Add(-70 * time.Second)
	y := x.other(Options{Memory: 1 << 20}, 2_000_000)
	y.routes(snapshotRoute)
	if got := y.load(all, nil); got != [LoadResults]int64{Loaded: 3, LoadOver: 2} {
		t.Errorf("results %v", got)
	}
	y.wantMiss(0, "short", Absent)
	y.want(0, "long", "v")
	y.want(0, "ever", "v")
	if a := y.get(id, "row"); !a.ok || !a.item.Stale {
		t.Errorf("a row loaded 70 s ago, fresh for 10: %+v", a)
	}
	y.c.advance(20 * time.Second)
	y.wantMiss(0, "long", TTLOver)
	// A flush that was to come while nobody served.
	x.FlushAll(x.c.now, x.c.now+20_000)
	all = x.save(nil)
	y = x.other(Options{Memory: 1 << 20}, 2_000_000)
	y.load(all, nil)
	y.want(0, "ever", "v")
	y.c.advance(20 * time.Second)
	y.wantMiss(0, "ever", Flushed)
	all.origin.Wall = time.Now().Add(-20 * time.Second)
	if got := x.other(Options{Memory: 1 << 20}, 2_000_000).load(all, nil); int(got[LoadFlushed]) != len(all.items) {
		t.Errorf("a flush that has passed: %v", got)
	}
}

// TestSnapshotRoutes: items of a route are taken in under what the route is now.
func TestSnapshotRoutes(t *testing.T) {
	x := newTester(t, Options{Memory: 1 << 20})
	id := x.routes(snapshotRoute)[0]
	x.fill(id, "row", Fill{Value: []byte("v")})
	x.fill(id, "none", Fill{Absent: true})
	all := x.save(nil)
	with := func(change func(r *Route)) []Route {
		r := snapshotRoute
		change(&r)
		return []Route{{Name: "first", Fresh: 1}, r}
	}
	for _, tt := range []struct {
		name   string
		routes []Route
		row    bool
		stale  bool
		none   bool
	}{
		{"as it was", with(func(*Route) {}), true, false, true},
		{"another query", with(func(r *Route) { r.QueryPrint++ }), true, true, false},
		{"another query, on_reload: miss", with(func(r *Route) { r.QueryPrint++; r.MissOnReload = true }), false, false, false},
		{"another pattern", with(func(r *Route) { r.KeyPrint++ }), false, false, false},
		{"another name", with(func(r *Route) { r.Name = "s" }), false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x.t = t
			y := x.other(Options{Memory: 1 << 20}, 2_000_000)
			to := y.routes(tt.routes...)[1]
			y.load(all, nil)
			if a := y.get(to, "row"); a.ok != tt.row || a.item.Stale != tt.stale {
				t.Errorf("row: %v, stale %v", a.ok, a.item.Stale)
			}
			if a := y.get(to, "none"); (a.item.Miss == Negative) != tt.none {
				t.Errorf("no row: %+v", a.item)
			}
		})
	}
	// A plain item whose key has come under a route is a client's, due for a load.
	x.write(Set, 0, "plain", "v", 0)
	all = x.save(nil)
	y := x.other(Options{Memory: 1 << 20}, 2_000_000)
	to := y.routes(snapshotRoute)[0]
	y.load(all, nil)
	if a := y.get(to, "plain"); !a.ok || !a.item.Stale || a.leased.Serial == 0 {
		t.Errorf("a plain item under a route: %+v", a)
	}
	// A query that changes while the snapshot is written: what it brought is not taken for what the old one brings.
	changed := snapshotRoute
	changed.QueryPrint++
	once := sync.OnceFunc(func() {
		x.routes(changed)
		x.fill(id, "late", Fill{Value: []byte("of the new query")})
	})
	all = x.save(once)
	for _, k := range all.items {
		if string(k.Key) == "late" {
			t.Error("an item of a query that the origin does not have is shown")
		}
	}
}

// TestSnapshotValuesWithoutTheirItem: a value that several items have is there for the others, whatever becomes of the item that
// brings it, unless it is too large for any; and the first of them that is put pays for it in its route.
func TestSnapshotValuesWithoutTheirItem(t *testing.T) {
	const maxItem = 10_000
	capped := testRoute
	capped.MemoryPercent = 50
	fits := strings.Repeat("f", maxItem-itemCost-20)
	for name, tc := range map[string]struct {
		first       Kept
		was, others LoadResult
	}{
		"too large with its key": {Kept{Key: bytes.Repeat([]byte("k"), 100), Value: []byte(fits)}, LoadTooLarge, Loaded},
		"too large":              {Kept{Key: []byte("k"), Value: make([]byte, maxItem)}, LoadTooLarge, LoadTooLarge},
		"bad":                    {Kept{Value: []byte(fits)}, LoadBad, Loaded},
		"no route like that":     {Kept{Key: []byte("k"), Value: []byte(fits), Route: MaxRoutes + 1}, LoadBad, Loaded},
		"route gone":             {Kept{Key: []byte("k"), Value: []byte(fits), Route: MaxRoutes}, LoadGone, Loaded},
		"over":                   {Kept{Key: []byte("k"), Value: []byte(fits), Expiry: 1}, LoadOver, Loaded},
		"short":                  {Kept{Key: []byte("k"), Value: []byte(strings.Repeat("s", 100)), Expiry: 1}, LoadOver, Loaded},
		"put":                    {Kept{Key: []byte("k"), Value: []byte(fits)}, Loaded, Loaded},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTester(t, Options{Memory: 1 << 20, MaxItem: maxItem})
			id := x.routes(capped)[0]
			all := x.save(nil)
			tc.first.Number, tc.first.New = 7, true
			all.items = []Kept{tc.first}
			for i := range 3 {
				all.items = append(all.items, Kept{Key: fmt.Append(nil, i), Route: id, Filled: x.c.now.Second(), Number: 7})
			}
			all.items = append(all.items, Kept{Key: []byte("stray"), Number: 9})
			var want [LoadResults]int64
			want[tc.was]++
			want[tc.others] += 3
			want[LoadLost]++
			if got := x.load(all, nil); got != want {
				t.Errorf("loaded %v, want %v", got, want)
			}
			if tc.others == Loaded {
				for i := range 3 {
					x.want(id, fmt.Sprint(i), string(tc.first.Value))
				}
				if got, n := x.RouteStats(id).Bytes, int64(len(tc.first.Value)); tc.was != Loaded && (got < n || got > n+3*maxHead) {
					t.Errorf("the route has %d bytes with a value of %d", got, n)
				}
			}
			verify(t, x.Store)
		})
	}
}

// TestSnapshotClientsWin does, after every item of a load, each thing that makes a snapshot's item outdated, and ends the load.
// Nothing comes back that a client deleted or flushed, and nothing is overwritten.
func TestSnapshotClientsWin(t *testing.T) {
	const items = 12
	x := newTester(t, Options{Memory: 1 << 20})
	id := x.routes(snapshotRoute)[0]
	name := func(i int) (RouteID, string) { return RouteID(i % 2), fmt.Sprintf("%c:%d", "pr"[i%2], i) }
	value := func(i int) string { return strings.Repeat("v", i%3*40+1) }
	for i := range items {
		if route, key := name(i); route == 0 {
			x.write(Set, 0, key, value(i), 0)
		} else {
			x.fill(id, key, Fill{Value: []byte(value(i))})
		}
	}
	all := x.save(nil)
	if len(all.items) != items {
		t.Fatalf("%d items are shown", len(all.items))
	}
	each := func(do func(y tester, route RouteID, key string)) func(y tester) {
		return func(y tester) {
			for i := range items {
				route, key := name(i)
				do(y, route, key)
			}
		}
	}
	gone := func(RouteID) string { return "" }
	is := func(v string) func(RouteID) string { return func(RouteID) string { return v } }
	only := func(left RouteID) func(RouteID) string {
		return func(route RouteID) string {
			if route == left {
				return "as it was"
			}
			return ""
		}
	}
	hash := func(key string) uint64 { return testHash([]byte(key)) }
	for _, tt := range []struct {
		name string
		do   func(y tester)
		want func(route RouteID) string
	}{
		{"set", each(func(y tester, r RouteID, k string) { y.write(Set, r, k, "new", 0) }), is("new")},
		{"set with an exptime that has passed", each(func(y tester, r RouteID, k string) { y.write(Set, r, k, "new", Expired) }), gone},
		{"set, and time passes", each(func(y tester, r RouteID, k string) {
			y.write(Set, r, k, "new", y.c.now.Second()+1)
			y.c.advance(2 * time.Second)
			y.reapAll()
		}), gone},
		{"set and delete", each(func(y tester, r RouteID, k string) { y.write(Set, r, k, "new", 0); y.del(r, k) }), gone},
		{"delete", each(func(y tester, r RouteID, k string) { y.del(r, k) }), gone},
		{"md", each(func(y tester, r RouteID, k string) {
			y.Remove(&Deletion{Key: []byte(k), Hash: hash(k), Route: r, Now: y.c.now})
		}), gone},
		{"a value that is too large", each(func(y tester, r RouteID, k string) { y.Oversized(Set, []byte(k), hash(k), r, y.c.now) }), gone},
		{"add after delete, append", each(func(y tester, r RouteID, k string) {
			y.del(r, k)
			y.write(Add, r, k, "n", 0)
			y.write(Append, r, k, "ew", 0)
		}), is("new")},
		{"mg N", each(func(y tester, r RouteID, k string) {
			y.del(r, k)
			y.lookup(Lookup{Key: []byte(k), Route: r, Meta: true, Vivify: true, VivifyDeadline: y.c.now.Second() + 1})
			y.c.advance(2 * time.Second)
		}), gone},
		{"a load that finds no row", each(func(y tester, r RouteID, k string) {
			if r != 0 {
				y.c.advance(20 * time.Second)
				y.fill(r, k, Fill{Absent: true})
			}
		}), only(0)},
		{"a load, and what it brought is evicted", each(func(y tester, r RouteID, k string) {
			y.c.advance(20 * time.Second)
			if r == 0 {
				y.write(Set, r, k, "new", 0)
			} else {
				y.fill(r, k, Fill{Value: []byte("new")})
			}
			for y.get(r, k).ok {
				y.pass(maxPass)
			}
		}), gone},
		{"flush_all", func(y tester) { y.FlushAll(y.c.now, 0) }, gone},
		{"a delayed flush_all", func(y tester) { y.FlushAll(y.c.now, y.c.now+1000); y.c.advance(time.Second) }, gone},
		{"invalidate the route", func(y tester) { y.Invalidate(id) }, only(0)},
		{"invalidate the prefix r:", func(y tester) { y.InvalidatePrefix("r:") }, only(0)},
		{"invalidate the prefix p:", func(y tester) { y.InvalidatePrefix("p:"); y.reapAll() }, only(1)},
		{"the route goes", func(y tester) { y.routes() }, only(0)},
		{"the route goes and comes back", func(y tester) { y.routes(); y.routes(snapshotRoute) }, only(0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for step := range items + 1 {
				y := newTester(t, Options{Memory: 1 << 20})
				y.routes(snapshotRoute)
				when := fmt.Sprintf("after %d items", step)
				if step == 0 {
					when = "between the values and the records"
					y.loadTogether(all, func() { tt.do(y) })
				} else {
					y.load(all, func(i int) {
						if i+1 == step {
							tt.do(y)
						}
					})
				}
				y.SetSourceDown(id, true) // what is stale for long is served nevertheless
				for i := range items {
					route, key := name(i)
					want := tt.want(route)
					a := y.get(route, key)
					if want == "as it was" {
						want = value(i)
					}
					if a.ok != (want != "") || a.value != want {
						t.Fatalf("%s: %s is %q, %v; want %q", when, key, a.value, a.ok, want)
					}
				}
				verify(t, y.Store)
			}
		})
	}
	// The old items of the same keys are no reason to keep the snapshot's out: they were flushed before.
	x.FlushAll(x.c.now, 0)
	if got := x.load(all, nil); got[Loaded] != items {
		t.Errorf("into the store itself, which was flushed: %v", got)
	}
	for i := range items {
		route, key := name(i)
		x.want(route, key, value(i))
	}
	// Without a flush what is there wins.
	if got := x.load(all, nil); got[LoadNewer] != items {
		t.Errorf("into the store itself: %v", got)
	}
	// A change of the query makes the rest stale.
	for step := range items + 1 {
		y := newTester(t, Options{Memory: 1 << 20})
		y.routes(snapshotRoute)
		if step == 0 {
			y.loadTogether(all, func() { y.MakeStale(id) })
		} else {
			y.load(all, func(i int) {
				if i+1 == step {
					y.MakeStale(id)
				}
			})
		}
		for i := range items {
			if route, key := name(i); route != 0 && !y.get(route, key).item.Stale {
				t.Errorf("after %d items, of 0 between the values and the records: %s is fresh", step, key)
			}
		}
	}
}

// TestSnapshotForgetsKeys: a shard that knows no more which keys are outdated takes stale items of routes only.
func TestSnapshotForgetsKeys(t *testing.T) {
	x := newTester(t, Options{Memory: 1 << 20})
	id := x.routes(snapshotRoute)[0]
	for i := range 20 {
		x.write(Set, 0, fmt.Sprint("p", i), "v", 0)
		x.fill(id, fmt.Sprint("r", i), Fill{Value: []byte("v")})
		x.fill(id, fmt.Sprint("n", i), Fill{Absent: true})
	}
	all := x.save(nil)
	y := newTester(t, Options{Memory: 1 << 20})
	y.routes(snapshotRoute)
	half := len(all.items) / 2
	loaded := 0
	got := y.load(all, func(i int) {
		if i != half {
			return
		}
		loaded = int(y.Stats().Items)
		sh := &y.shards[0]
		for n := range len(sh.since.slots) {
			y.del(0, fmt.Sprint("flood ", n))
		}
		if !sh.since.full {
			t.Error("the set is not full")
		}
		used := y.Stats().UsedBytes
		if charged := int64(8 * len(sh.since.slots)); charged == 0 || used < charged {
			t.Errorf("%d bytes of hashes are not charged", charged)
		}
	})
	stale, plain := 0, 0
	for i := range 20 {
		if y.get(0, fmt.Sprint("p", i)).ok {
			plain++
		}
		if a := y.get(id, fmt.Sprint("r", i)); a.ok && a.item.Stale {
			stale++
		}
	}
	if items := int(y.Stats().Items); items != loaded+stale || stale == 0 || plain == 20 || got[LoadNewer] == 0 {
		t.Errorf("%d items before, %d after: %d stale, %d plain; %v", loaded, items, stale, plain, got)
	}
	verify(t, y.Store)
}

// TestSnapshotLeavesRoom: a load evicts nothing and leaves the reserve; the items that earned the main log come first.
func TestSnapshotLeavesRoom(t *testing.T) {
	x := newTester(t, Options{Memory: 16 << 20})
	for i := range 60_000 {
		x.write(Set, 0, fmt.Sprint("key ", i), digits(100, i), 0)
		if i >= 10_000 && i%10 == 0 {
			for j := i - 10_000; j < i; j += 2_000 {
				x.get(0, fmt.Sprint("key ", j))
			}
		}
	}
	for x.pass(maxPass) && x.Stats().Evictions < 5_000 {
	}
	all := x.save(nil)
	inMain := 0
	for _, k := range all.items {
		if k.Main {
			inMain++
		}
	}
	y := newTester(t, Options{Memory: 4 << 20})
	const mine = 500
	for i := range mine {
		y.write(Set, 0, fmt.Sprint("mine ", i), "v", 0)
	}
	got := y.load(all, nil)
	st := y.Stats()
	if st.Evictions != 0 || got[LoadNoRoom] == 0 || got[Loaded] == 0 || st.UsedBytes+st.ReserveBytes > st.LimitBytes {
		t.Errorf("%v, %+v", got, st)
	}
	for i := range mine {
		y.want(0, fmt.Sprint("mine ", i), "v")
	}
	first := 0
	for _, k := range all.items[:got[Loaded]] {
		if k.Main {
			first++
		}
	}
	if inMain == 0 || first != min(inMain, int(got[Loaded])) {
		t.Errorf("%d items of the main log, %d of them among the first %d", inMain, first, got[Loaded])
	}
	verify(t, y.Store)

	// A route takes no more than its share.
	r := snapshotRoute
	id := x.routes(r)[0]
	for i := range 2000 {
		x.fill(id, fmt.Sprint("row ", i), Fill{Value: []byte(digits(500, i))})
	}
	all = x.save(nil)
	y = newTester(t, Options{Memory: 32 << 20})
	r.MemoryPercent = 1
	id = y.routes(r)[0]
	y.load(all, nil)
	if rs := y.RouteStats(id); rs.Items == 0 || rs.Bytes > 32<<20/100 {
		t.Errorf("a route with 1 %% of 32 MiB: %+v", rs)
	}
	verify(t, y.Store)
}

// TestSnapshotReadiesIndex: the index has its size before the items come, in a smaller store one for what fits, and one that is told
// nonsense has room for items nevertheless.
func TestSnapshotReadiesIndex(t *testing.T) {
	x := newTester(t, Options{Memory: 32 << 20})
	const items = 60_000
	for i := range items {
		x.write(Set, 0, fmt.Sprint("key ", i), digits(300, i), 0)
	}
	all := x.save(nil)
	rand.New(rand.NewPCG(1, 1)).Shuffle(items, func(i, j int) { // as with another seed
		all.items[i], all.items[j] = all.items[j], all.items[i]
	})
	if all.origin.Items != items || all.origin.Bytes < items*300 {
		t.Fatalf("the origin has %d items in %d bytes", all.origin.Items, all.origin.Bytes)
	}
	in := func(memory int64, o Origin) (before, after Stats) {
		y := newTester(t, Options{Memory: memory})
		l := y.BeginLoading()
		l.From(&o)
		before = y.Stats()
		l.Prepare(all.items)
		l.Put(all.items, new([LoadResults]int64))
		l.End()
		after = y.Stats()
		verify(t, y.Store)
		return before, after
	}
	untold := all.origin
	untold.Items, untold.Bytes = 0, 0
	for _, memory := range fewer(2, []int64{32 << 20, 8 << 20, 64 << 20}) {
		before, after := in(memory, all.origin)
		if after.HashBytes > before.HashBytes*5/4 {
			t.Errorf("%d MiB: the index grew from %d bytes to %d", memory>>20, before.HashBytes, after.HashBytes)
		}
		_, plain := in(memory, untold)
		if after.HashBytes > plain.HashBytes*21/20 || after.Items < plain.Items*97/100 {
			t.Errorf("%d MiB: %d items with an index of %d bytes; one that was not told has %d with %d", memory>>20, after.Items, after.HashBytes, plain.Items, plain.HashBytes)
		}
	}
	untold.Items = 1 << 60
	if _, after := in(32<<20, untold); after.Items == 0 {
		t.Error("tables alone")
	}
}

// TestSnapshotCAS: a CAS is kept, and none comes twice.
func TestSnapshotCAS(t *testing.T) {
	x := newTester(t, Options{Memory: 64 << 20})
	given := map[uint64]bool{}
	for i := range 500 {
		x.write(Set, 0, fmt.Sprint("key ", i), "v", 0)
		given[x.lookup(Lookup{Key: []byte(fmt.Sprint("key ", i)), WantCAS: true}).item.CAS] = true
	}
	x.write(Set, 0, "unasked", "v", 0)
	all := x.save(nil)
	for range 500 { // given out after the snapshot
		_, cas := x.Write(&Write{Op: Set, Key: []byte("k"), Hash: testHash([]byte("k")), Now: x.c.now, WantCAS: true})
		given[cas] = true
	}
	y := newTester(t, Options{Memory: 8 << 20})
	y.load(all, nil)
	for i := range 500 {
		key := []byte(fmt.Sprint("key ", i))
		cas := x.lookup(Lookup{Key: key, WantCAS: true}).item.CAS
		if got := y.lookup(Lookup{Key: key, WantCAS: true}).item.CAS; got != cas {
			t.Fatalf("%s: CAS %d was %d", key, got, cas)
		}
	}
	if cas := y.lookup(Lookup{Key: []byte("unasked"), WantCAS: true}).item.CAS; cas == 0 || given[cas] {
		t.Errorf("CAS %d was given out before", cas)
	}
	y = newTester(t, Options{Memory: 8 << 20, NoCAS: true})
	y.load(all, nil)
	if cas := y.lookup(Lookup{Key: []byte("key 1"), WantCAS: true}).item.CAS; cas != 0 {
		t.Errorf("with -C: CAS %d", cas)
	}
}

// TestSnapshotWhileWritten: whatever clients, eviction and compaction do while a snapshot is written, each item in it has a value
// that its key had meanwhile, and no item is missing that nobody touched.
func TestSnapshotWhileWritten(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 5))
		x := newTester(t, Options{Memory: 2 << 20})
		const keys = 3000
		value := func(n int) string { return strings.Repeat(fmt.Sprint(n%40, " "), 1+n%40*(1+n%40/30*100)) }
		had := make([]map[string]bool, keys)
		touched := make([]bool, keys)
		set := func(i int) {
			v := value(rng.IntN(1000))
			if x.write(Set, 0, fmt.Sprint(i), v, 0) == Stored {
				had[i][v] = true
			}
		}
		for i := range keys {
			had[i] = map[string]bool{}
			set(i)
		}
		began := x.Stats().Evictions // the background goes on evicting
		for i := range had {
			touched[i] = !x.get(0, fmt.Sprint(i)).ok // there was no room for it, or it was evicted
		}
		all := x.save(func() {
			for range rng.IntN(30) {
				i := rng.IntN(keys)
				touched[i] = true
				switch rng.IntN(32) {
				case 0, 1, 2, 3:
					x.del(0, fmt.Sprint(i))
				case 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15:
					x.get(0, fmt.Sprint(i))
				case 16:
					if seed%2 == 0 {
						x.pass(maxPass)
					}
				default:
					set(i)
				}
			}
		})
		y := newTester(t, Options{Memory: 64 << 20})
		seen := map[string]bool{}
		for i := range all.items {
			seen[string(all.items[i].Key)] = true
		}
		if got := y.load(all, nil); int(got[Loaded]) != len(seen) || int(got[Loaded]+got[LoadNewer]) != len(all.items) {
			t.Fatalf("seed %d: %d items of %d keys: %v", seed, len(all.items), len(seen), got)
		}
		missing := 0
		for i := range keys {
			a := y.get(0, fmt.Sprint(i))
			if a.ok && !had[i][a.value] {
				t.Fatalf("seed %d: key %d has %.40q, which it never had", seed, i, a.value)
			}
			if !a.ok && !touched[i] {
				missing++
			}
		}
		if evicted := int(x.Stats().Evictions - began); missing > evicted {
			t.Errorf("seed %d: %d items are missing, %d were evicted", seed, missing, evicted)
		}
		verify(t, x.Store)
		verify(t, y.Store)
	}
}

// TestSnapshotBesideClients saves from one store and loads into another while clients read and write both.
func TestSnapshotBesideClients(t *testing.T) {
	const keys = 4000
	name := func(i int) []byte { return fmt.Appendf(nil, "key %d", i) }
	x, y := newTester(t, Options{Memory: 16 << 20}), newTester(t, Options{Memory: 16 << 20})
	for i := range keys {
		x.write(Set, 0, string(name(i)), strings.Repeat("v", i%900), 0)
	}
	var wg sync.WaitGroup
	quit := make(chan struct{})
	for n := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 3))
			var it Item
			for {
				select {
				case <-quit:
					return
				default:
				}
				s := x.Store
				if rng.IntN(2) == 0 {
					s = y.Store
				}
				i := rng.IntN(keys)
				key := name(i)
				switch rng.IntN(5) {
				case 0:
					s.Write(&Write{Op: Set, Key: key, Hash: testHash(key), Now: s.Now(), Value: bytes.Repeat([]byte("v"), i%900)})
				case 1:
					s.Delete(key, testHash(key), 0, s.Now(), 0)
				default:
					if s.Get(&Lookup{Key: key, Hash: testHash(key), Now: s.Now()}, &it) {
						if len(it.Value) != i%900 {
							t.Errorf("%s has %d bytes", key, len(it.Value))
						}
						it.Release()
					}
				}
			}
		})
	}
	for range 3 {
		if got := y.load(x.save(nil), nil); got[Loaded]+got[LoadNewer] == 0 {
			t.Errorf("%v", got)
		}
	}
	close(quit)
	wg.Wait()
	verify(t, x.Store)
	verify(t, y.Store)
}
