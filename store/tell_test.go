package store

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Who wants to know is told of every eviction, of each key once, and of nothing once it no longer does.
func TestOnEvict(t *testing.T) {
	x := newTester(t, Options{Memory: 1 << 20, MaxItem: 1 << 12})
	value := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", i%300)) }
	key := func(i int) string { return fmt.Sprint("key ", i) }
	fill := func(from, n int) {
		for i := from; i < from+n; i++ {
			checkStatus(t, "set", x.write(Set, 0, key(i), value(i), NoDeadline), Stored)
		}
	}
	fill(0, 20_000)
	before := x.Stats().Evictions
	if before == 0 {
		t.Fatal("nothing was evicted")
	}
	checkStatus(t, "set", x.write(Set, 0, "read", "abc", x.c.now.Second()+1000), Stored)
	x.want(0, "read", "abc")
	x.c.advance(100 * time.Second)
	var mu sync.Mutex
	told := make(map[string]Evicted)
	x.OnEvict(func(e *Evicted) {
		mu.Lock()
		defer mu.Unlock()
		if _, again := told[string(e.Key)]; again {
			t.Errorf("told of %s twice", e.Key)
		}
		copied := *e
		copied.Key = nil
		told[string(e.Key)] = copied
	})
	fill(20_000, 20_000)
	x.stop() // the background evicts as well, and may lag behind
	after := x.Stats().Evictions
	if uint64(len(told)) != after-before {
		t.Errorf("told of %d evictions, there were %d", len(told), after-before)
	}
	for i := range 40_000 {
		e, gone := told[key(i)]
		if gone && (e.Size != len(value(i)) || e.Fetched || e.TTL != -1 || i < 20_000 && e.Idle != 100) {
			t.Errorf("%s: %+v", key(i), e)
		}
		if _, _, held := x.Peek([]byte(key(i)), testHash([]byte(key(i))), 0, x.c.now); held && gone {
			t.Errorf("%s is there", key(i))
		}
	}
	if e, gone := told["read"]; gone && e.TTL != 900 || e.Fetched != gone {
		t.Errorf("read: %+v", e)
	}
	x.OnEvict(nil)
	n := len(told)
	fill(40_000, 20_000)
	if len(told) != n {
		t.Error("told after the end")
	}
	verify(t, x.Store)
}

// Peek finds what Get would, and leaves everything as it is.
func TestPeek(t *testing.T) {
	x := newTester(t, Options{})
	route := x.routes(Route{Name: "r", Fresh: 10, Stale: 10, Negative: 10})[0]
	peek := func(route RouteID, key string, size int, why MissReason, ok bool) {
		t.Helper()
		gotSize, gotWhy, gotOK := x.Peek([]byte(key), testHash([]byte(key)), route, x.c.now)
		if gotSize != size || gotWhy != why || gotOK != ok {
			t.Errorf("peek %s = %d, %d, %v; want %d, %d, %v", key, gotSize, gotWhy, gotOK, size, why, ok)
		}
	}
	x.write(Set, 0, "short", "abc", NoDeadline)
	x.write(Set, 0, "long", long, NoDeadline)
	x.write(Set, 0, "shared", long, NoDeadline)
	x.write(Set, 0, "dying", "x", x.c.now.Second()+5)
	peek(0, "none", 0, Absent, false)
	peek(0, "short", 3, Absent, true)
	peek(0, "long", len(long), Absent, true)
	peek(0, "shared", len(long), Absent, true)
	peek(0, "dying", 1, Absent, true)
	peek(route, "r none", 0, Absent, false)
	if n := x.Stats().Leases; n != 0 {
		t.Errorf("%d leases", n)
	}
	x.put(x.get(route, "r loaded").leased, route, "r loaded", "value")
	checkStatus(t, "put", x.PutLease(x.get(route, "r absent").leased, &Fill{Key: []byte("r absent"), Route: route, Now: x.c.now, Absent: true}), PutNegative)
	peek(route, "r loaded", 5, Absent, true)
	peek(route, "r absent", 0, Negative, false)
	x.c.advance(6 * time.Second)
	peek(0, "dying", 0, TTLOver, false)
	x.c.advance(6 * time.Second)
	peek(route, "r loaded", 5, Absent, true)
	peek(route, "r absent", 0, Absent, false)
	if a := x.mg(0, "short", Lookup{Access: true}); a.item.Fetched || a.item.LastAccess != 12 {
		t.Errorf("peeking counts as a read: %+v", a.item)
	}
	x.FlushAll(x.c.now, x.c.now)
	peek(0, "short", 0, Flushed, false)
	if n := x.Stats().Leases; n != 0 {
		t.Errorf("%d leases", n)
	}
	verify(t, x.Store)
}

// TestOnEvictOfAShare: what has to go for its route's cap is told of as well.
func TestOnEvictOfAShare(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	r := testRoute
	r.MemoryPercent = 5
	id := x.routes(r)[0]
	told := uint64(0)
	x.OnEvict(func(*Evicted) { told++ })
	for i := range 2000 {
		x.write(Set, id, fmt.Sprint("key ", i), digits(400, i), 0)
	}
	if st := x.Stats(); st.Evictions == 0 || told != st.Evictions {
		t.Errorf("%d evictions, told of %d", st.Evictions, told)
	}
}
