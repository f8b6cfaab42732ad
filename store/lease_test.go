package store

import (
	"fmt"
	"testing"
	"time"
)

// testRoute has freshness in round figures and settles for a second.
var testRoute = Route{Name: "r", KeyPrint: 1, QueryPrint: 1, Fresh: 10, Stale: 20, Keep: 100, Negative: 5, Settle: time.Second}

func newRouted(t *testing.T) (tester, RouteID) {
	x := newTester(t, Options{Memory: 4 << 20})
	return x, x.routes(testRoute)[0]
}

// lease asks for key and expects to be the one who may load it.
func (x tester) lease(id RouteID, key string) Lease {
	x.t.Helper()
	a := x.get(id, key)
	if a.leased.Serial == 0 {
		x.t.Fatalf("get %s: no lease (held %v, stale %v, hit %v)", key, a.item.Leased, a.item.Stale, a.ok)
	}
	return a.leased
}

// noLease asks for key and expects not to be.
func (x tester) noLease(id RouteID, key string) {
	x.t.Helper()
	if a := x.get(id, key); a.leased.Serial != 0 {
		x.t.Fatalf("get %s: a second lease", key)
	}
}

func TestLeaseIsOpenedOnce(t *testing.T) {
	x, id := newRouted(t)
	l := x.lease(id, "k")
	for range 5 {
		if a := x.get(id, "k"); a.leased.Serial != 0 || !a.item.Leased || a.ok {
			t.Fatalf("while leased: %+v", a)
		}
	}
	x.c.advance(time.Hour) // no deadline while queued
	x.noLease(id, "k")
	checkStatus(t, "put", x.put(l, id, "k", long), PutStored)
	x.want(id, "k", long)
	x.noLease(id, "k")
	checkStatus(t, "put again", x.put(l, id, "k", "older"), PutKilled)
	x.want(id, "k", long)
	if a := x.get(0, "plain"); a.leased.Serial != 0 || a.item.Leased {
		t.Error("a plain key has a lease")
	}
}

func TestLeaseDeadlineRunsFromSending(t *testing.T) {
	x, id := newRouted(t)
	l := x.lease(id, "k")
	x.LeaseSent(l, x.c.now+3000)
	x.c.advance(2999 * time.Millisecond)
	if !x.LeaseAlive(l) {
		t.Fatal("void before its deadline")
	}
	x.c.advance(time.Millisecond)
	if x.LeaseAlive(l) {
		t.Fatal("alive past its deadline")
	}
	second := x.lease(id, "k")
	checkStatus(t, "late put", x.put(l, id, "k", "late"), PutKilled)
	checkStatus(t, "second put", x.put(second, id, "k", "v"), PutStored)
}

func TestLeaseEndsWithoutAFill(t *testing.T) {
	x, id := newRouted(t)
	l := x.lease(id, "k")
	if !x.EndLease(l) || x.EndLease(l) || x.LeaseAlive(l) {
		t.Error("a lease ends once")
	}
	x.lease(id, "k")
}

// TestLeaseKills plays every command between the lease and the put.
func TestLeaseKills(t *testing.T) {
	h := func(k string) uint64 { return testHash([]byte(k)) }
	tests := []struct {
		name  string
		held  bool // the key holds a stale item
		do    func(x tester, id RouteID)
		kills bool
		want  string // answered afterwards; "" a miss
	}{
		{"set", false, func(x tester, id RouteID) { x.write(Set, id, "k", "client", 0) }, true, "client"},
		{"set on stale", true, func(x tester, id RouteID) { x.write(Set, id, "k", "client", 0) }, true, "client"},
		{"set expired", true, func(x tester, id RouteID) { x.write(Set, id, "k", "client", Expired) }, true, ""},
		{"add", false, func(x tester, id RouteID) { x.write(Add, id, "k", "client", 0) }, true, "client"},
		{"failed add", true, func(x tester, id RouteID) { x.write(Add, id, "k", "client", 0) }, false, "loaded"},
		{"failed replace", false, func(x tester, id RouteID) { x.write(Replace, id, "k", "client", 0) }, false, "loaded"},
		{"replace", true, func(x tester, id RouteID) { x.write(Replace, id, "k", "client", 0) }, true, "client"},
		{"failed append", false, func(x tester, id RouteID) { x.write(Append, id, "k", "client", 0) }, false, "loaded"},
		{"append", true, func(x tester, id RouteID) { x.write(Append, id, "k", "+", 0) }, true, "1+"},
		{"prepend", true, func(x tester, id RouteID) { x.write(Prepend, id, "k", "+", 0) }, true, "+1"},
		{"failed cas", true, func(x tester, id RouteID) {
			x.Write(&Write{Op: CAS, Key: []byte("k"), Hash: h("k"), Route: id, Now: x.c.now, Value: []byte("client"), CAS: 1})
		}, false, "loaded"},
		{"cas", true, func(x tester, id RouteID) {
			a := x.lookup(Lookup{Key: []byte("k"), Route: id, WantCAS: true})
			x.Write(&Write{Op: CAS, Key: []byte("k"), Hash: h("k"), Route: id, Now: x.c.now, Value: []byte("client"), CAS: a.item.CAS})
		}, true, "client"},
		{"incr", true, func(x tester, id RouteID) {
			x.Delta(&Delta{Key: []byte("k"), Hash: h("k"), Route: id, Now: x.c.now, Delta: 1})
		}, true, "2"},
		{"failed incr", false, func(x tester, id RouteID) {
			x.Delta(&Delta{Key: []byte("k"), Hash: h("k"), Route: id, Now: x.c.now, Delta: 1})
		}, false, "loaded"},
		{"touch", true, func(x tester, id RouteID) { x.Touch([]byte("k"), h("k"), id, x.c.now, x.c.now.Second()+9) }, false, "loaded"},
		{"delete", true, func(x tester, id RouteID) { x.del(id, "k") }, true, ""},
		{"delete absent", false, func(x tester, id RouteID) { x.del(id, "k") }, true, ""},
		{"too large set", true, func(x tester, id RouteID) { x.Oversized(Set, []byte("k"), h("k"), id, x.c.now) }, true, ""},
		{"too large add", true, func(x tester, id RouteID) { x.Oversized(Add, []byte("k"), h("k"), id, x.c.now) }, false, "loaded"},
		{"flush", true, func(x tester, id RouteID) { x.FlushAll(x.c.now, 0) }, true, ""},
		{"delayed flush comes", true, func(x tester, id RouteID) { x.FlushAll(x.c.now, x.c.now+1000); x.c.advance(time.Second) }, true, ""},
		{"delayed flush to come", true, func(x tester, id RouteID) { x.FlushAll(x.c.now, x.c.now+1000) }, false, "loaded"},
		{"invalidate", true, func(x tester, id RouteID) { x.Invalidate(id) }, true, ""},
		{"query changed", true, func(x tester, id RouteID) { r := testRoute; r.QueryPrint++; x.routes(r) }, true, "1"},
		{"route removed", true, func(x tester, id RouteID) { x.routes() }, true, ""},
		{"other key set", true, func(x tester, id RouteID) { x.write(Set, id, "other", "v", 0) }, false, "loaded"},
		{"nothing", true, func(x tester, id RouteID) {}, false, "loaded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x, id := newRouted(t)
			if tt.held {
				checkStatus(t, "first put", x.put(x.lease(id, "k"), id, "k", "1"), PutStored)
				x.c.advance(12 * time.Second)
			}
			l := x.lease(id, "k")
			tt.do(x, id)
			if alive := x.LeaseAlive(l); alive == tt.kills {
				t.Errorf("lease alive: %v", alive)
			}
			want := PutStored
			if tt.kills {
				want = PutKilled
			}
			checkStatus(t, "put", x.put(l, id, "k", "loaded"), want)
			if a := x.get(id, "k"); a.value != tt.want || a.ok != (tt.want != "") {
				t.Errorf("then get %q, %v; want %q", a.value, a.ok, tt.want)
			}
		})
	}
}

func TestLeaseTableFull(t *testing.T) {
	x, id := newRouted(t)
	full := 0
	for i := range 2 * x.Settings().LeaseSlots {
		a := x.get(id, fmt.Sprint("k", i))
		if a.item.NoRoom {
			full++
			if a.leased.Serial != 0 {
				t.Fatal("a lease without room")
			}
		}
	}
	if st := x.Stats(); full == 0 || st.LeasesFull != uint64(full) || st.Leases > int64(x.Settings().LeaseSlots) {
		t.Errorf("%d refused, %+v", full, st)
	}
	// A delete that finds no room makes the whole shard settle.
	x.del(id, "another")
	x.FlushAll(x.c.now, 0)
	l := x.lease(id, "another")
	x.put(l, id, "another", "v")
	if a := x.get(id, "another"); !a.item.Stale || a.leased.Serial != 0 {
		t.Errorf("loaded while settling: stale %v, lease %v", a.item.Stale, a.leased)
	}
}

func TestSettling(t *testing.T) {
	x, id := newRouted(t)
	x.put(x.lease(id, "k"), id, "k", "before")
	x.del(id, "k")
	l := x.lease(id, "k")
	x.c.advance(100 * time.Millisecond)
	checkStatus(t, "put while settling", x.put(l, id, "k", "before"), PutStored)
	if a := x.get(id, "k"); a.value != "before" || !a.item.Stale || a.leased.Serial != 0 {
		t.Fatalf("while settling: %+v", a)
	}
	x.c.advance(900 * time.Millisecond)
	l = x.lease(id, "k")
	checkStatus(t, "put after settling", x.put(l, id, "k", "after"), PutStored)
	if a := x.get(id, "k"); a.value != "after" || a.item.Stale {
		t.Fatalf("after settling: %+v", a)
	}
	// A second delete while a load is under way settles anew.
	x.del(id, "k")
	l = x.lease(id, "k")
	x.del(id, "k")
	checkStatus(t, "put of a killed lease", x.put(l, id, "k", "x"), PutKilled)
	l = x.lease(id, "k")
	x.c.advance(2 * time.Second)
	checkStatus(t, "put long after", x.put(l, id, "k", "y"), PutStored)
	if a := x.get(id, "k"); !a.item.Stale || a.leased.Serial == 0 {
		t.Fatalf("loaded by a lease from the settling: %+v", a)
	}
}

func TestFreshStaleKeep(t *testing.T) {
	x, id := newRouted(t)
	x.put(x.lease(id, "k"), id, "k", "v")
	at := func(d time.Duration) { x.c.now = 10_000 + Time(d.Milliseconds()) }
	at(9999 * time.Millisecond)
	if a := x.get(id, "k"); a.item.Stale || a.leased.Serial != 0 {
		t.Fatalf("fresh: %+v", a)
	}
	at(10 * time.Second)
	l := x.lease(id, "k")
	if a := x.get(id, "k"); a.value != "v" || !a.item.Stale || !a.item.Leased {
		t.Fatalf("stale: %+v", a)
	}
	at(30 * time.Second)
	x.wantMiss(id, "k", TTLOver)
	x.SetSourceDown(id, true)
	x.want(id, "k", "v")
	at(129 * time.Second)
	x.want(id, "k", "v")
	at(60 * time.Second)
	x.SetSourceDown(id, false) // nothing is lost at the moment the source is back
	at(79 * time.Second)
	if a := x.get(id, "k"); a.value != "v" || !a.item.Stale {
		t.Fatalf("the source is back: %+v", a)
	}
	at(80 * time.Second)
	x.wantMiss(id, "k", TTLOver)
	checkStatus(t, "put the same", x.put(l, id, "k", "v"), PutSame)
	if a := x.get(id, "k"); a.value != "v" || a.item.Stale {
		t.Fatalf("fresh again: %+v", a)
	}
	at(80*time.Second + 130*time.Second)
	x.SetSourceDown(id, true)
	x.wantMiss(id, "k", TTLOver)
	if st := x.Stats(); st.Items != 0 {
		t.Errorf("past keep and still held: %+v", st)
	}
}

func TestNegative(t *testing.T) {
	x, id := newRouted(t)
	absent := func(key string) {
		checkStatus(t, "absent", x.PutLease(x.lease(id, key), &Fill{Key: []byte(key), Route: id, Now: x.c.now, Absent: true}), PutNegative)
	}
	absent("k")
	x.wantMiss(id, "k", Negative)
	x.noLease(id, "k")
	checkStatus(t, "delete", x.del(id, "k"), NotFound)
	l := x.lease(id, "k") // the delete cleared it
	x.EndLease(l)
	x.c.advance(2 * time.Second)
	absent("k")
	checkStatus(t, "replace", x.write(Replace, id, "k", "v", 0), NotStored)
	checkStatus(t, "touch", x.Touch([]byte("k"), testHash([]byte("k")), id, x.c.now, 0), NotFound)
	if st := x.Stats(); st.Items != 0 || st.NegativeItems != 1 {
		t.Errorf("%+v", st)
	}
	x.c.advance(5 * time.Second)
	absent("k")
	checkStatus(t, "add", x.write(Add, id, "k", "v", 0), Stored)
	x.want(id, "k", "v")
	if rs := x.RouteStats(id); rs.Items != 1 || rs.Client != 1 || rs.Negative != 0 || rs.Bytes == 0 {
		t.Errorf("%+v", rs)
	}
	// A row that is gone takes its old value along.
	x.put(x.lease(id, "row"), id, "row", long)
	x.c.advance(11 * time.Second)
	absent("row")
	x.wantMiss(id, "row", Negative)
	verify(t, x.Store)
}

func TestNegativeItemsAreBounded(t *testing.T) {
	x, id := newRouted(t)
	for i := range 20_000 {
		k := fmt.Sprint("no such row ", i)
		x.PutLease(x.get(id, k).leased, &Fill{Key: []byte(k), Route: id, Now: x.c.now, Absent: true})
		if i%100 == 99 {
			x.c.advance(time.Second) // what does not fit waits in the lease table for this long
		}
	}
	st := x.Stats()
	if n := st.NegativeItems * 36; st.NegativeItems == 0 || n > st.LimitBytes/negativeShare*11/10 {
		t.Errorf("%d negative items in %d bytes: %+v", st.NegativeItems, st.LimitBytes, st)
	}
	verify(t, x.Store)
}

func TestClientItemsOnARoute(t *testing.T) {
	x, id := newRouted(t)
	sec := x.c.now.Second()
	x.write(Set, id, "k", "client", sec+60)
	x.want(id, "k", "client")
	x.noLease(id, "k")
	x.c.advance(10 * time.Second)
	l := x.lease(id, "k") // stale at fresh, served on
	checkStatus(t, "no row", x.PutLease(l, &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Absent: true}), PutKept)
	x.want(id, "k", "client")
	x.noLease(id, "k") // asked
	x.c.advance(5 * time.Second)
	l = x.lease(id, "k")
	checkStatus(t, "error", x.PutLease(l, &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Failed: true}), PutKept)
	x.noLease(id, "k")
	x.c.advance(44 * time.Second)
	x.want(id, "k", "client")
	x.c.advance(time.Second)
	x.wantMiss(id, "k", TTLOver)

	x.write(Set, id, "row", "client", x.c.now.Second()+15)
	x.c.advance(11 * time.Second)
	checkStatus(t, "row", x.put(x.lease(id, "row"), id, "row", "loaded"), PutStored)
	x.c.advance(9 * time.Second) // past the client's exptime, which went with its item
	x.want(id, "row", "loaded")

	x.c.advance(time.Minute)
	x.put(x.lease(id, "kept"), id, "kept", "one")
	x.Touch([]byte("kept"), testHash([]byte("kept")), id, x.c.now, x.c.now.Second()+25)
	x.c.advance(11 * time.Second)
	x.put(x.lease(id, "kept"), id, "kept", "two")
	x.c.advance(13 * time.Second)
	x.want(id, "kept", "two")
	x.c.advance(time.Second) // a touched exptime outlives the refill
	x.wantMiss(id, "kept", TTLOver)
	verify(t, x.Store)
}

// TestClientItemThatALoadConfirmsEnds: a client's item without an end, found to be what the source has, is taken out once the
// source's is over, though its segment knew of no end.
func TestClientItemThatALoadConfirmsEnds(t *testing.T) {
	x, id := newRouted(t)
	x.write(Set, id, "k", "v", 0)
	x.c.advance(time.Duration(testRoute.Fresh) * time.Second)
	checkStatus(t, "put", x.put(x.lease(id, "k"), id, "k", "v"), PutSame)
	x.c.advance(time.Duration(testRoute.Fresh+testRoute.Stale+testRoute.Keep) * time.Second)
	for range 2 { // its segment is being written: it is looked at after as long again
		x.c.advance(time.Duration(testRoute.Fresh+testRoute.Stale+testRoute.Keep) * time.Second)
		x.reapAll()
	}
	if st := x.RouteStats(id); st != (RouteStats{}) {
		t.Errorf("the route has %+v", st)
	}
	verify(t, x.Store)
}

// TestOutdatedStaysSoWhenMoved: a client's item that was asked for in vain is stale once its route's query has changed, also where
// a command or a pass has put its record elsewhere.
func TestOutdatedStaysSoWhenMoved(t *testing.T) {
	for name, move := range map[string]func(x tester, id RouteID){
		"touch": func(x tester, id RouteID) {
			checkStatus(t, "touch", x.Touch([]byte("k"), testHash([]byte("k")), id, x.c.now, x.c.now.Second()+1000), Touched)
		},
		"spare": func(x tester, id RouteID) {
			sh := x.shardOf(testHash([]byte("k")))
			sh.lock(x.c.now)
			defer sh.mu.Unlock()
			var k held
			sh.look(&k, testHash([]byte("k")), []byte("k"), id, x.c.now)
			k.rec.raw[1] |= 1 // a counted hit
			k.rec.meta |= 1
			if !sh.spare(testHash([]byte("k")), probation, &k, true) {
				t.Error("not spared")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			x, id := newRouted(t)
			x.write(Set, id, "k", "v", 0)
			x.c.advance(time.Duration(testRoute.Fresh) * time.Second)
			l := x.lease(id, "k")
			checkStatus(t, "put", x.PutLease(l, &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Absent: true}), PutKept)
			x.noLease(id, "k")
			x.MakeStale(id)
			move(x, id)
			x.lease(id, "k")
			verify(t, x.Store)
		})
	}
}

func TestIgnoredSets(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	r := testRoute
	r.IgnoreSets = true
	id := x.routes(r)[0]
	l := x.lease(id, "k")
	checkStatus(t, "set", x.write(Set, id, "k", "client", 0), Ignored)
	checkStatus(t, "put", x.put(l, id, "k", "loaded"), PutStored)
	x.want(id, "k", "loaded")
}

func TestFailedLoadClosesTheWindow(t *testing.T) {
	x, id := newRouted(t)
	failed := func(l Lease, key string) PutStatus {
		return x.PutLease(l, &Fill{Key: []byte(key), Route: id, Now: x.c.now, Failed: true})
	}
	checkStatus(t, "nothing held", failed(x.lease(id, "none"), "none"), PutNegative)
	x.wantMiss(id, "none", Negative)
	x.put(x.lease(id, "k"), id, "k", "v")
	x.c.advance(12 * time.Second)
	checkStatus(t, "stale held", failed(x.lease(id, "k"), "k"), PutKept)
	if a := x.get(id, "k"); a.value != "v" || !a.item.Stale || a.leased.Serial != 0 {
		t.Fatalf("after a failed refill: %+v", a)
	}
	x.c.advance(5 * time.Second)
	l := x.lease(id, "k")
	big := make([]byte, 1<<20)
	checkStatus(t, "over -I", x.PutLease(l, &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Value: big}), PutTooLarge)
	x.noLease(id, "k")
	x.c.advance(5 * time.Second)
	x.lease(id, "k")
}

func TestCASOfAFilledItem(t *testing.T) {
	x, id := newRouted(t)
	x.put(x.lease(id, "k"), id, "k", "v")
	cas := func() uint64 { return x.lookup(Lookup{Key: []byte("k"), Route: id, WantCAS: true}).item.CAS }
	first := cas()
	x.c.advance(11 * time.Second)
	l := x.lease(id, "k")
	checkStatus(t, "equal fill", x.put(l, id, "k", "v"), PutSame)
	if cas() != first {
		t.Error("an equal fill moved the CAS")
	}
	x.c.advance(11 * time.Second)
	x.put(x.lease(id, "k"), id, "k", "w")
	if cas() == first {
		t.Error("a changed fill kept the CAS")
	}
}

func TestRouteReload(t *testing.T) {
	x, id := newRouted(t)
	x.put(x.lease(id, "k"), id, "k", "v")
	x.write(Set, 0, "plain", "p", 0)

	r := testRoute
	r.Fresh = 5 // freshness alone: at once, without a reload of anything
	if ids := x.routes(r); ids[0] != id {
		t.Fatalf("id moved from %d to %d", id, ids[0])
	}
	x.c.advance(5 * time.Second)
	if a := x.get(id, "k"); !a.item.Stale {
		t.Error("fresh past the new deadline")
	}
	x.put(Lease{}, id, "k", "no lease")
	l := Lease{Hash: testHash([]byte("k")), Serial: x.shards[0].st.serial}
	x.put(l, id, "k", "v")

	r.QueryPrint = 2
	x.routes(r)
	l = x.lease(id, "k")
	checkStatus(t, "equal refill after a query change", x.put(l, id, "k", "v"), PutStored)
	if a := x.get(id, "k"); a.item.Stale || a.value != "v" {
		t.Errorf("after the refill: %+v", a)
	}

	r.QueryPrint, r.MissOnReload = 3, true
	x.routes(r)
	x.wantMiss(id, "k", Flushed)
	x.put(Lease{Hash: l.Hash, Serial: x.shards[0].st.serial}, id, "k", "v")
	x.want(id, "k", "v")

	r.KeyPrint = 2
	id2 := x.routes(r)[0]
	if id2 == id {
		t.Fatal("the id is used again while records carry it")
	}
	x.wantMiss(id2, "k", Flushed)
	x.want(0, "plain", "p")

	// A plain record under a live route is a client's, due.
	x.write(Set, 0, "was plain", "p", 0)
	if a := x.get(id2, "was plain"); a.value != "p" || !a.item.Stale || a.leased.Serial == 0 {
		t.Errorf("plain record on a route: %+v", a)
	}
	verify(t, x.Store)
}

func TestRouteIDsComeBack(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	for i := range 3 * MaxRoutes {
		r := testRoute
		r.Name = fmt.Sprint("r", i)
		x.routes(r)
	}
	rs := make([]Route, MaxRoutes+1)
	for i := range rs {
		rs[i].Name = fmt.Sprint("many", i)
	}
	if _, err := x.SetRoutes(rs); err == nil {
		t.Error("more routes than ids")
	}
	if _, err := x.SetRoutes([]Route{{Name: "a"}, {Name: "a"}}); err == nil {
		t.Error("two routes of one name")
	}
}

func TestJitterOnlyShortens(t *testing.T) {
	r := Route{Fresh: 100, JitterPercent: 10}
	lo, hi := r.Fresh, uint32(0)
	for i := range uint64(1000) {
		f := r.freshFor(i * 0x9e3779b97f4a7c15)
		lo, hi = min(lo, f), max(hi, f)
	}
	if lo < 90 || lo > 91 || hi != 100 {
		t.Errorf("fresh for %d to %d seconds", lo, hi)
	}
	if f := (&Route{Fresh: 1, JitterPercent: 100}).freshFor(^uint64(0)); f != 1 {
		t.Errorf("fresh for %d", f)
	}
}

func TestRefreshAhead(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	r := testRoute
	r.Ahead = 2
	id := x.routes(r)[0]
	x.put(x.lease(id, "k"), id, "k", "v")
	x.c.advance(7999 * time.Millisecond)
	x.noLease(id, "k")
	x.c.advance(time.Millisecond)
	a := x.get(id, "k")
	if a.value != "v" || a.item.Stale || a.leased.Serial == 0 || a.item.Urgency != ForAhead {
		t.Fatalf("near the end of freshness: %+v", a)
	}
	x.noLease(id, "k")
	x.c.advance(2 * time.Second) // stale before the load came: more urgent, once
	b := x.get(id, "k")
	if b.item.Promote != a.leased || b.item.Urgency != ForStale || b.leased.Serial != 0 {
		t.Fatalf("stale while queued ahead: %+v", b)
	}
	if c := x.get(id, "k"); c.item.Promote.Serial != 0 {
		t.Fatalf("moved up twice: %+v", c)
	}
	checkStatus(t, "put", x.put(a.leased, id, "k", "w"), PutStored)
	x.noLease(id, "k")
	x.want(id, "k", "w")
}

// TestClockBehind: a worker reads the clock once a wake-up, so it may be a second behind the one that filled.
func TestClockBehind(t *testing.T) {
	x, id := newRouted(t)
	behind := func() { x.c.now = 10_999 }
	ahead := func() { x.c.now = 11_000 }
	behind()
	l, n := x.lease(id, "k"), x.lease(id, "none")
	ahead()
	x.put(l, id, "k", "v")
	x.PutLease(n, &Fill{Key: []byte("none"), Route: id, Now: x.c.now, Absent: true})
	x.write(Set, id, "client", "mine", 0)
	behind()
	x.want(id, "k", "v")
	x.noLease(id, "k")
	x.wantMiss(id, "none", Negative)
	x.noLease(id, "client")
}

// TestSettlingOutlives plays what ends a lease that was opened while the key settles. The next load is put stale all the same.
func TestSettlingOutlives(t *testing.T) {
	for name, do := range map[string]func(x tester, id RouteID, l Lease){
		"deadline": func(x tester, id RouteID, l Lease) { x.LeaseSent(l, x.c.now+3000); x.c.advance(3 * time.Second) },
		"flush":    func(x tester, id RouteID, l Lease) { x.FlushAll(x.c.now, 0) },
		"set and delete": func(x tester, id RouteID, l Lease) {
			x.write(Set, id, "k", "v", Expired)
		},
		"drop": func(x tester, id RouteID, l Lease) { x.EndLease(l) },
		"error": func(x tester, id RouteID, l Lease) {
			x.PutLease(l, &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Failed: true})
			x.c.advance(6 * time.Second)
		},
		"flush and a late put": func(x tester, id RouteID, l Lease) { x.FlushAll(x.c.now, 0); x.put(l, id, "k", "late") },
	} {
		t.Run(name, func(t *testing.T) {
			r := testRoute
			r.Settle, r.Fresh = 20*time.Second, 60
			x := newTester(t, Options{Memory: 4 << 20})
			id := x.routes(r)[0]
			x.del(id, "k")
			do(x, id, x.lease(id, "k"))
			// Loaded a second time, or still marked by the first: either way not fresh before the settling ends.
			if a := x.get(id, "k"); a.leased.Serial != 0 {
				checkStatus(t, "put", x.put(a.leased, id, "k", "perhaps old"), PutStored)
			}
			if a := x.get(id, "k"); a.ok && !a.item.Stale {
				t.Errorf("fresh while it settles: %+v", a)
			}
			x.c.advance(20 * time.Second)
			x.lease(id, "k")
		})
	}
}

// TestFillWithADeadline: a source such as a peer may let go of an item before its freshness ends.
func TestFillWithADeadline(t *testing.T) {
	x, id := newRouted(t)
	put := func(value string, left uint32) PutStatus {
		f := Fill{Key: []byte("k"), Route: id, Now: x.c.now, Value: []byte(value)}
		if left > 0 {
			f.Deadline = x.c.now.Second() + left
		}
		return x.PutLease(x.lease(id, "k"), &f)
	}
	checkStatus(t, "put", put("v", 5), PutStored)
	x.c.advance(4999 * time.Millisecond)
	x.want(id, "k", "v")
	x.c.advance(time.Millisecond)
	x.wantMiss(id, "k", TTLOver)
	x.EndLease(Lease{Hash: testHash([]byte("k")), Serial: x.shards[0].st.serial})
	checkStatus(t, "longer than fresh", put("v", 15), PutStored)
	x.c.advance(10 * time.Second)
	checkStatus(t, "the same for longer", put("v", 100), PutStored)
	x.c.advance(6 * time.Second) // past the first deadline
	x.want(id, "k", "v")
	x.c.advance(4 * time.Second)
	checkStatus(t, "the same without a deadline", put("v", 0), PutStored)
	x.c.advance(10 * time.Second)
	checkStatus(t, "the same again", put("v", 0), PutSame)
}

// TestLeaseTableKeepsPlaceForOthers: one route's backlog fills the table, and another route's keys are leased all the same.
func TestLeaseTableKeepsPlaceForOthers(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	other := testRoute
	other.Name = "other"
	ids := x.routes(testRoute, other)
	for i := range 4 * x.Settings().LeaseSlots {
		x.get(ids[0], fmt.Sprint("slow ", i))
	}
	if x.Stats().LeasesFull == 0 {
		t.Fatal("the table is not full for the slow route")
	}
	refused := 0
	for i := range 100 {
		if a := x.get(ids[1], fmt.Sprint("fast ", i)); a.leased.Serial == 0 {
			refused++
		}
	}
	if refused > 2 {
		t.Errorf("%d of 100 keys of another route were not leased", refused)
	}
}

// TestNoRoomClosesTheWindow: a load that finds no memory is not tried again at once.
func TestNoRoomClosesTheWindow(t *testing.T) {
	x := newTester(t, Options{Memory: 1 << 20, MaxItem: 1 << 12, NoEvict: true})
	id := x.routes(testRoute)[0]
	for i := 0; x.write(Set, 0, fmt.Sprint("key ", i), digits(200, i), 0) == Stored; i++ {
	}
	for i := 0; x.write(Set, 0, fmt.Sprint("small ", i), "v", 0) == Stored; i++ {
	}
	l := x.lease(id, "k")
	if st := x.put(l, id, "k", digits(300, 1)); st != PutNoRoom {
		t.Fatalf("status %d, want no room", st)
	}
	x.noLease(id, "k")
	x.c.advance(5 * time.Second)
	x.lease(id, "k")
}

// TestSettlingEndsBeforeNegative: an absence seen while the key settles holds only until that ends, also without room for a
// negative item.
func TestSettlingEndsBeforeNegative(t *testing.T) {
	x, id := newRouted(t)
	x.shards[0].st.negBytes = 1 << 30
	x.del(id, "k")
	x.PutLease(x.lease(id, "k"), &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Absent: true})
	x.noLease(id, "k")
	x.c.advance(time.Second)
	x.lease(id, "k")
	x.shards[0].st.negBytes = 0
}
