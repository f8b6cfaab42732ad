package store

import (
	"testing"
	"time"
)

func TestOfferLeasesWhatIsDue(t *testing.T) {
	const ahead = 30 * time.Second
	for name, tt := range map[string]struct {
		before  func(x tester, id RouteID)
		absent  bool
		want    Worth
		leased  bool
		loading bool // somebody else's
	}{
		"absent":                  {func(tester, RouteID) {}, false, WorthNothing, true, false},
		"fresh":                   {func(x tester, id RouteID) { x.put(x.lease(id, "k"), id, "k", long) }, false, WorthFresh, false, false},
		"stale":                   {stale, false, WorthStale, true, false},
		"stale, only absent ones": {stale, true, WorthStale, false, false},
		"over":                    {func(x tester, id RouteID) { stale(x, id); x.c.advance(ahead) }, true, WorthNothing, true, false},
		"negative": {func(x tester, id RouteID) {
			x.PutLease(x.lease(id, "k"), &Fill{Key: []byte("k"), Route: id, Now: x.c.now, Absent: true})
		}, false, WorthNegative, false, false},
		"being loaded":                {func(x tester, id RouteID) { x.lease(id, "k") }, false, WorthNothing, false, true},
		"a client's":                  {func(x tester, id RouteID) { x.write(Set, id, "k", "client", NoDeadline) }, false, WorthFresh, false, false},
		"a client's, due":             {func(x tester, id RouteID) { x.write(Set, id, "k", "client", NoDeadline); x.c.advance(ahead) }, false, WorthStale, true, false},
		"a client's, only absent one": {func(x tester, id RouteID) { x.write(Set, id, "k", "client", NoDeadline); x.c.advance(ahead) }, true, WorthStale, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			x, id := newRouted(t)
			tt.before(x, id)
			var it Item
			got := x.Offer([]byte("k"), testHash([]byte("k")), id, x.c.now, 0, tt.absent, &it)
			if got != tt.want || (it.Lease.Serial != 0) != tt.leased || it.Leased != (tt.leased || tt.loading) {
				t.Errorf("got %v, lease %v, leased %v; want %v, %v, loading by others %v", got, it.Lease, it.Leased, tt.want, tt.leased, tt.loading)
			}
			if tt.leased && it.Urgency != ForWarm {
				t.Errorf("urgency %v", it.Urgency)
			}
			if a := x.get(id, "k"); tt.leased && a.item.Promote != it.Lease {
				t.Errorf("a client's get moves up %v, want the lease %v", a.item.Promote, it.Lease)
			}
		})
	}
}

func stale(x tester, id RouteID) {
	x.put(x.lease(id, "k"), id, "k", long)
	x.c.advance(15 * time.Second)
}

func TestOfferOfAPlainKeyOpensNothing(t *testing.T) {
	x, _ := newRouted(t)
	var it Item
	if got := x.Offer([]byte("k"), testHash([]byte("k")), 0, x.c.now, 0, false, &it); got != WorthNothing || it.Leased {
		t.Errorf("got %v, leased %v", got, it.Leased)
	}
}

func TestHoldsIsNoRead(t *testing.T) {
	x, id := newRouted(t)
	x.write(Set, 0, "plain", "v", NoDeadline)
	x.put(x.lease(id, "k"), id, "k", long)
	for key, route := range map[string]RouteID{"plain": 0, "k": id} {
		if !x.Holds([]byte(key), testHash([]byte(key)), route, x.c.now) {
			t.Errorf("%s: not held", key)
		}
		if w := x.Explain([]byte(key), testHash([]byte(key)), route, x.c.now); w.Fetched {
			t.Errorf("%s: counts as read", key)
		}
	}
	if x.Holds([]byte("none"), testHash([]byte("none")), 0, x.c.now) {
		t.Error("held what is not there")
	}
}

// TestAFillThatIsOldAlready: it is served, and the next GET loads anew.
func TestAFillThatIsOldAlready(t *testing.T) {
	x, id := newRouted(t)
	for range 2 { // put, and found the same
		l := x.lease(id, "k")
		f := Fill{Key: []byte("k"), Route: id, Now: x.c.now, Value: []byte(long), Stale: true}
		if st := x.PutLease(l, &f); st != PutStored && st != PutSame {
			t.Fatal(st)
		}
		if w := x.Explain([]byte("k"), testHash([]byte("k")), id, x.c.now); w.Worth != WorthStale {
			t.Fatalf("worth %v, want stale", w.Worth)
		}
	}
}

// TestAFillKeepsItsAge: freshness counts from when the value was true; beyond the clock's beginning it is stale.
func TestAFillKeepsItsAge(t *testing.T) {
	for name, tt := range map[string]struct {
		age    uint32
		want   Worth
		freshS uint32 // seconds that it stays fresh
	}{
		"new": {0, WorthFresh, 10}, "younger than fresh": {6, WorthFresh, 4}, "older than fresh": {12, WorthStale, 0},
		"over": {31, WorthOver, 0}, "older than the clock": {1_000_000, WorthStale, 0},
	} {
		t.Run(name, func(t *testing.T) {
			x, id := newRouted(t)
			x.c.advance(time.Minute)
			f := Fill{Key: []byte("k"), Route: id, Now: x.c.now, Value: []byte(long), Age: tt.age}
			checkStatus(t, "put", x.PutLease(x.lease(id, "k"), &f), PutStored)
			worth := func() Worth { return x.Explain([]byte("k"), testHash([]byte("k")), id, x.c.now).Worth }
			if got := worth(); got != tt.want {
				t.Fatalf("worth %v, want %v", got, tt.want)
			}
			if tt.freshS > 0 {
				x.c.advance(time.Duration(tt.freshS)*time.Second - time.Millisecond)
				if worth() != WorthFresh {
					t.Error("stale too early")
				}
				x.c.advance(time.Millisecond)
				if worth() != WorthStale {
					t.Error("fresh for too long")
				}
			}
		})
	}
}
