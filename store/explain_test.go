package store

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func (x tester) explain(id RouteID, key string) Explanation {
	return x.Explain([]byte(key), testHash([]byte(key)), id, x.c.now)
}

// TestExplain walks a key of testRoute (fresh 10, stale 20, keep 100, negative 5) through its states. The clock starts at
// second 10.
func TestExplain(t *testing.T) {
	fill := func(x tester, id RouteID) { x.put(x.lease(id, "k"), id, "k", "v") }
	for _, tt := range []struct {
		name string
		do   func(x tester, id RouteID)
		want Explanation
	}{
		{"nothing", func(x tester, id RouteID) {}, Explanation{}},
		{"leased", func(x tester, id RouteID) { x.lease(id, "k") }, Explanation{Lease: LeaseQueued}},
		{"sent", func(x tester, id RouteID) { x.LeaseSent(x.lease(id, "k"), x.c.now+3000) }, Explanation{Lease: LeaseSent, LeaseUntil: 13_000}},
		{"fresh", func(x tester, id RouteID) {
			fill(x, id)
			x.c.advance(3 * time.Second)
		}, Explanation{
			Worth: WorthFresh, Kind: KindFilled, Since: 10, Fresh: 20, Stale: 40, Keep: 140, Value: []byte("v"), Keys: 1,
		}},
		{"read", func(x tester, id RouteID) {
			fill(x, id)
			x.lookup(Lookup{Key: []byte("k"), Route: id})
		}, Explanation{
			Worth: WorthFresh, Kind: KindFilled, Since: 10, Fetched: true, Fresh: 20, Stale: 40, Keep: 140, Value: []byte("v"), Keys: 1,
		}},
		{"stale and leased", func(x tester, id RouteID) {
			fill(x, id)
			x.c.advance(12 * time.Second)
			x.lease(id, "k")
		}, Explanation{
			Worth: WorthStale, Kind: KindFilled, Since: 10, Fetched: true, Fresh: 20, Stale: 40, Keep: 140, Value: []byte("v"), Keys: 1,
			Lease: LeaseQueued, LeaseFor: ForStale,
		}},
		{"stale by a route change", func(x tester, id RouteID) {
			fill(x, id)
			x.MakeStale(id)
		}, Explanation{
			Worth: WorthStale, Kind: KindFilled, Since: 10, Outdated: true, Stale: 40, Keep: 140, Value: []byte("v"), Keys: 1,
		}},
		{"over", func(x tester, id RouteID) {
			fill(x, id)
			x.c.advance(30 * time.Second)
		}, Explanation{
			Worth: WorthOver, Kind: KindFilled, Since: 10, Fresh: 20, Stale: 40, Keep: 140, Value: []byte("v"), Keys: 1,
		}},
		{"kept while the source is down", func(x tester, id RouteID) {
			fill(x, id)
			x.c.advance(30 * time.Second)
			x.SetSourceDown(id, true)
		}, Explanation{
			Worth: WorthStale, Kind: KindFilled, Since: 10, Fresh: 20, Stale: 40, Keep: 140, Value: []byte("v"), Keys: 1, SourceDown: true,
		}},
		{"expired", func(x tester, id RouteID) {
			fill(x, id)
			x.c.advance(130 * time.Second)
		}, Explanation{
			Worth: WorthExpired, Kind: KindFilled, Since: 10, Fresh: 20, Stale: 40, Keep: 140, Value: []byte("v"), Keys: 1,
		}},
		{"invalidated", func(x tester, id RouteID) {
			fill(x, id)
			x.Invalidate(id)
		}, Explanation{
			Worth: WorthFlushed, Kind: KindFilled, Since: 10, Outdated: true, Stale: 40, Keep: 140, Value: []byte("v"), Keys: 1,
		}},
		{"touched", func(x tester, id RouteID) {
			fill(x, id)
			x.lookup(Lookup{Key: []byte("k"), Route: id, Touch: true, Deadline: 15})
		}, Explanation{
			Worth: WorthFresh, Kind: KindFilled, Since: 10, Touched: true, Fetched: true, Deadline: 15, Fresh: 20, Stale: 40, Keep: 140,
			Value: []byte("v"), Keys: 1,
		}},
		{"negative", func(x tester, id RouteID) {
			x.PutLease(x.lease(id, "k"), &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Absent: true})
		}, Explanation{Worth: WorthNegative, Kind: KindNegative, Since: 10, Negative: 15, Keys: 1}},
		{"asked in vain beside an item", func(x tester, id RouteID) {
			fill(x, id)
			x.c.advance(12 * time.Second)
			x.PutLease(x.lease(id, "k"), &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Failed: true})
		}, Explanation{
			Worth: WorthStale, Kind: KindFilled, Since: 10, Fetched: true, Fresh: 20, Stale: 40, Keep: 140, Value: []byte("v"), Keys: 1,
			Lease: LeaseAsked, LeaseUntil: 27_000,
		}},
		{"client", func(x tester, id RouteID) { x.write(Set, id, "k", "w", 30) }, Explanation{
			Worth: WorthFresh, Kind: KindClient, Since: 10, Deadline: 30, Fresh: 20, Value: []byte("w"), Keys: 1,
		}},
		{"client, not in the source", func(x tester, id RouteID) {
			x.write(Set, id, "k", "w", 0)
			x.c.advance(11 * time.Second)
			x.PutLease(x.lease(id, "k"), &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Absent: true})
		}, Explanation{
			Worth: WorthFresh, Kind: KindClient, Since: 21, Asked: true, Fetched: true, Fresh: 26, Value: []byte("w"), Keys: 1,
		}},
		{"placeholder", func(x tester, id RouteID) {
			x.lookup(Lookup{Key: []byte("k"), Route: id, Meta: true, Vivify: true, NoBump: true})
		}, Explanation{
			Worth: WorthStale, Kind: KindPlaceholder, Since: 10, Outdated: true, Keys: 1, Lease: LeaseQueued,
		}},
		{"settling", func(x tester, id RouteID) {
			fill(x, id)
			x.del(id, "k")
		}, Explanation{Lease: LeaseSettling, LeaseUntil: 11_000}},
		{"lease ended by a flush", func(x tester, id RouteID) {
			x.lease(id, "k")
			x.FlushAll(x.c.now, 0)
		}, Explanation{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, id := newRouted(t)
			tt.do(x, id)
			for range 2 { // it changes nothing
				checkExplanation(t, x.explain(id, "k"), tt.want)
			}
		})
	}
}

func checkExplanation(t *testing.T, got, want Explanation) {
	t.Helper()
	if a, b := explanationText(got), explanationText(want); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}

func TestExplainPlainKey(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	checkExplanation(t, x.explain(0, "k"), Explanation{})
	x.write(Set, 0, "k", "v", 50)
	x.c.advance(7 * time.Second)
	checkExplanation(t, x.explain(0, "k"), Explanation{Worth: WorthFresh, Since: 10, Deadline: 50, Value: []byte("v"), Keys: 1})
	cas := x.lookup(Lookup{Key: []byte("k"), WantCAS: true}).item.CAS
	if got := x.explain(0, "k"); got.CAS != cas || !got.Fetched {
		t.Errorf("CAS %d, fetched %v; want %d, true", got.CAS, got.Fetched, cas)
	}
	x.FlushAll(x.c.now, 0)
	if got := x.explain(0, "k"); got.Worth != WorthFlushed {
		t.Errorf("flushed: got %d", got.Worth)
	}
}

// Only an item with a long value that was met before shares it.
func TestExplainSharing(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	value := strings.Repeat("shared ", 30)
	for _, key := range []string{"a", "b", "c", "d"} {
		x.write(Set, 0, key, value, 0)
	}
	x.write(Set, 0, "short", "s", 0)
	for key, want := range map[string]Explanation{"a": {Keys: 1}, "d": {Keys: 3, Shared: true}, "short": {Keys: 1}} {
		if got := x.explain(0, key); got.Keys != want.Keys || got.Shared != want.Shared {
			t.Errorf("%s: shared %v by %d, want %v by %d", key, got.Shared, got.Keys, want.Shared, want.Keys)
		}
	}
	if got := x.explain(0, "d"); string(got.Value) != value {
		t.Errorf("got value %q", got.Value)
	}
}

func TestMostShared(t *testing.T) {
	x := newTester(t, Options{Memory: 64 << 20})
	never := func() bool { return false }
	if got := x.MostShared(3, never); len(got) != 0 {
		t.Errorf("an empty store: got %v", got)
	}
	values := []string{strings.Repeat("a", 100), strings.Repeat("b", 1000), strings.Repeat("c", 50), strings.Repeat("d", 60)}
	for i, n := range []int{100, 40, 3, 1} {
		for k := range n {
			x.write(Set, 0, string(rune('a'+i))+string(rune('0'+k)), values[i], 0)
		}
	}
	// The first of each stays in its record.
	want := []SharedDatum{{Size: 1000, Keys: 39}, {Size: 100, Keys: 99}, {Size: 50, Keys: 2}}
	names := map[uint64]string{}
	shown := 0
	for c := (Cursor{}); x.Walk(&c, x.c.now, 1000, func(w *Walked) {
		shown++
		if w.Datum == 0 {
			return
		}
		if prefix := names[w.Datum]; prefix != "" && prefix[0] != w.Key[0] {
			t.Errorf("%s and %s have one datum", prefix, w.Key)
		}
		names[w.Datum] = string(w.Key)
	}); {
	}
	if shown != 144 {
		t.Errorf("walked %d items, want 144", shown)
	}
	for n := range 5 {
		got := x.MostShared(n, never)
		if len(got) != min(n, len(want)) {
			t.Fatalf("%d asked for: got %v", n, got)
		}
		for i, d := range got {
			if d.Size != want[i].Size || d.Keys != want[i].Keys || names[d.Datum] == "" {
				t.Errorf("%d of %d: got %+v, want %+v", i, n, d, want[i])
			}
		}
	}
	if got := x.MostShared(3, func() bool { return true }); len(got) != 0 {
		t.Errorf("stopped at once: got %v", got)
	}
	for k := range 100 {
		x.del(0, "a"+string(rune('0'+k)))
	}
	if got := x.MostShared(3, never); len(got) != 2 || got[1].Size != 50 {
		t.Errorf("after a delete: got %v", got)
	}
}

// An operator's refresh gets a lease where a GET would not.
func TestRefresh(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(x tester, id RouteID)
		want bool // a lease
	}{
		{"absent", func(x tester, id RouteID) {}, true},
		{"fresh", func(x tester, id RouteID) { x.put(x.lease(id, "k"), id, "k", "v") }, true},
		{"negative", func(x tester, id RouteID) {
			x.PutLease(x.lease(id, "k"), &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Absent: true})
		}, true},
		{"asked in vain", func(x tester, id RouteID) {
			x.put(x.lease(id, "k"), id, "k", "v")
			x.c.advance(12 * time.Second)
			x.PutLease(x.lease(id, "k"), &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Failed: true})
		}, true},
		{"settling", func(x tester, id RouteID) {
			x.write(Set, id, "k", "v", 0)
			x.del(id, "k")
		}, true},
		{"under way", func(x tester, id RouteID) { x.lease(id, "k") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, id := newRouted(t)
			tt.do(x, id)
			var it Item
			x.Refresh([]byte("k"), testHash([]byte("k")), id, x.c.now, &it)
			if got := it.Lease.Serial != 0; got != tt.want || !it.Leased {
				t.Fatalf("leased %v (is leased %v), want %v", got, it.Leased, tt.want)
			}
			if tt.want {
				checkStatus(t, "put", x.put(it.Lease, id, "k", "new"), PutStored)
				x.want(id, "k", "new")
			}
		})
	}
	x := newTester(t, Options{Memory: 4 << 20})
	var it Item
	if x.Refresh([]byte("k"), testHash([]byte("k")), 0, x.c.now, &it); it.Leased || it.Lease.Serial != 0 {
		t.Errorf("a plain key: %+v", it)
	}
}

// explanationText writes what is not zero in an Explanation, a field a line.
func explanationText(x Explanation) string {
	v := reflect.ValueOf(x)
	var b strings.Builder
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s: %v\n", v.Type().Field(i).Name, f.Interface())
	}
	return b.String()
}
