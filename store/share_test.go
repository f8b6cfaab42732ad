package store

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRouteKeepsToItsShare: a route with a cap stays within it however much of it is asked for, takes its own oldest out, and
// leaves the others theirs, whether its payloads lie in records, are shared or have pages.
func TestRouteKeepsToItsShare(t *testing.T) {
	for _, tc := range []struct {
		name  string
		size  int
		twice int // keys with one payload
		keys  int
		part  int64 // of the memory, in parts of a hundred
	}{
		{"in records", 400, 1, 40_000, 20},
		{"shared", 400, 4, 100_000, 20},
		{"large", 40_000, 1, 800, 20},
		{"few large ones", 90_000, 1, 200, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := newTester(t, Options{Memory: 32 << 20, MaxItem: 1 << 18, RoomTime: time.Minute})
			capped, other := testRoute, testRoute
			capped.MemoryPercent, other.Name = uint32(tc.part), "other"
			ids := x.routes(capped, other)
			load := func(id RouteID, key, value string) {
				t.Helper()
				l := x.get(id, key).leased
				if l.Serial == 0 {
					t.Fatalf("no lease for %s", key)
				}
				checkStatus(t, "put", x.put(l, id, key, value), PutStored)
			}
			for i := range 5000 {
				load(ids[1], fmt.Sprint("other ", i), digits(300, i))
				x.write(Set, 0, fmt.Sprint("plain ", i), digits(300, -i-1), 0)
			}
			most := int64(32<<20) * tc.part / 100
			for i := range tc.keys {
				key, value := fmt.Sprint("key ", i), digits(tc.size, i/tc.twice)
				if i%3 == 0 {
					x.write(Set, ids[0], key, value, 0)
				} else {
					load(ids[0], key, value)
				}
				if i%1000 == 0 || i == tc.keys-1 {
					if got := x.RouteStats(ids[0]).Bytes; got > most {
						t.Fatalf("%d bytes after %d keys, the cap is %d", got, i, most)
					}
				}
			}
			st := x.RouteStats(ids[0])
			if st.Bytes < most*8/10-int64(tc.size) {
				t.Errorf("the route has %d bytes of %d", st.Bytes, most)
			}
			if all := x.Stats(); int64(all.Evictions) < int64(tc.keys)-st.Items-10 {
				t.Errorf("%d evicted, %d of %d held", all.Evictions, st.Items, tc.keys)
			}
			for i := range 5000 {
				x.want(ids[1], fmt.Sprint("other ", i), digits(300, i))
				x.want(0, fmt.Sprint("plain ", i), digits(300, -i-1))
			}
			held, late := 0, 0
			for i := range tc.keys {
				if x.get(ids[0], fmt.Sprint("key ", i)).ok {
					if held++; i > tc.keys-int(st.Items)*2 {
						late++
					}
				}
			}
			if late < held*9/10 {
				t.Errorf("only %d of %d held keys are of the latest", late, held)
			}
			for i := range tc.keys {
				x.del(ids[0], fmt.Sprint("key ", i))
			}
			if st := x.RouteStats(ids[0]); st.Bytes != 0 || st.Items != 0 {
				t.Errorf("after all was deleted: %+v", st)
			}
			verify(t, x.Store)
		})
	}
}

// TestShareCountsWhateverHappens: what a capped route is said to have is what its records and their payloads take, through all
// that changes them.
func TestShareCountsWhateverHappens(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 3))
		x := newTester(t, Options{Memory: 2 << 20, MaxItem: 1 << 18, RoomTime: time.Minute})
		r := testRoute
		r.MemoryPercent = 20
		id := x.routes(r)[0]
		for step := range 3000 {
			k := fmt.Sprint("key ", rng.IntN(300))
			key, h := []byte(k), testHash([]byte(k))
			route := id
			if rng.IntN(20) == 0 {
				route = 0 // a plain item, which the route's commands then meet
			}
			value := strings.Repeat(fmt.Sprint(rng.IntN(40), " "), []int{1, 100, 100, 500, 6000}[rng.IntN(5)])
			if rng.IntN(5) == 0 {
				value = strings.Repeat("7", 50)
			}
			switch rng.IntN(16) {
			case 0, 1:
				x.write(WriteOp(rng.IntN(3)), route, k, value, rng.Uint32N(2)*(x.c.now.Second()+9))
			case 2:
				x.Write(&Write{Op: Append, Key: key, Hash: h, Route: route, Now: x.c.now, Value: []byte("+" + value[:1]), WantCAS: true, Vivify: true})
			case 3:
				x.Delta(&Delta{Key: key, Hash: h, Route: route, Now: x.c.now, Delta: 5, Vivify: rng.IntN(3) == 0, WantCAS: rng.IntN(2) == 0})
			case 4:
				x.del(route, k)
			case 5:
				x.Touch(key, h, route, x.c.now, x.c.now.Second()+rng.Uint32N(20))
			case 6:
				x.Remove(&Deletion{Key: key, Hash: h, Route: route, Now: x.c.now, Drop: rng.IntN(2) == 0, Invalidate: rng.IntN(2) == 0})
			case 7:
				x.lookup(Lookup{Key: key, Route: route, Meta: true, Vivify: true, WantCAS: true, Access: true, Touch: rng.IntN(2) == 0})
			case 8:
				x.c.advance(time.Duration(rng.IntN(4000)) * time.Millisecond)
			case 9:
				x.reapAll()
			case 10:
				switch rng.IntN(8) {
				case 0:
					r.MemoryPercent = 20 - r.MemoryPercent // with and without a cap
					x.routes(r)
				case 1:
					r.QueryPrint++
					x.routes(r)
				case 2:
					x.Invalidate(id)
				}
			case 11:
				x.pass(16)
			default:
				if l := x.get(id, k).leased; l.Serial != 0 {
					x.PutLease(l, &Fill{Key: key, Route: id, Now: x.c.now, Value: []byte(value), Absent: rng.IntN(6) == 0, Failed: rng.IntN(6) == 0})
				}
			}
			if step%500 == 499 {
				x.pass(64)
			}
		}
		verify(t, x.Store)
		for i := range 300 {
			x.del(id, fmt.Sprint("key ", i))
		}
		if st := x.RouteStats(id); st != (RouteStats{}) {
			t.Errorf("seed %d: after all was deleted: %+v", seed, st)
		}
	}
}

// TestShareWithoutEviction: where nothing is evicted, a route that has its share is refused more.
func TestShareWithoutEviction(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20, NoEvict: true, MaxItem: 1 << 16})
	r := testRoute
	r.MemoryPercent = 20
	id := x.routes(r)[0]
	stored := 0
	for i := range 10_000 {
		switch st := x.write(Set, id, fmt.Sprint("key ", i), digits(300, i), 0); st {
		case Stored:
			stored++
		case NoMemory:
		default:
			t.Fatalf("set: %v", st)
		}
	}
	l := x.get(id, "filled").leased
	checkStatus(t, "put", x.put(l, id, "filled", digits(300, -1)), PutNoRoom)
	st := x.Stats()
	if most := int64(4<<20) / 5; st.Evictions != 0 || st.Items != int64(stored) || x.RouteStats(id).Bytes > most || stored < 1500 {
		t.Errorf("%d of 10,000 stored, %d held, %d evicted, %d bytes", stored, st.Items, st.Evictions, x.RouteStats(id).Bytes)
	}
	checkStatus(t, "a plain key", x.write(Set, 0, "plain", "v", 0), Stored)
	verify(t, x.Store)
}

// TestLoweredShareIsKeptWithoutWrites: a route that has more than its cap, which was lowered, loses the oldest in the background,
// though nobody writes to it; the others lose nothing.
func TestLoweredShareIsKeptWithoutWrites(t *testing.T) {
	x := newTester(t, Options{Memory: 32 << 20, MaxItem: 1 << 18, RoomTime: time.Minute})
	capped, other, large := testRoute, testRoute, testRoute
	capped.MemoryPercent, other.Name, large.Name, large.MemoryPercent = 40, "other", "large", 10
	ids := x.routes(capped, other, large)
	for i := range 20_000 {
		x.write(Set, ids[0], fmt.Sprint("key ", i), digits(400, i), 0)
	}
	for i := range 5000 {
		x.write(Set, ids[1], fmt.Sprint("other ", i), digits(300, i), 0)
	}
	x.write(Set, ids[2], "large", digits(100000, 1), 0)
	x.reapAll()
	if st := x.Stats(); st.Evictions != 0 || st.Items != 25_001 {
		t.Fatalf("%d items, %d evicted within the caps", st.Items, st.Evictions)
	}
	capped.MemoryPercent = 10
	x.routes(capped, other, large)
	x.reapAll()
	most := int64(32<<20) / 100 * 10
	st := x.RouteStats(ids[0])
	if st.Bytes > most || st.Bytes < most*9/10 {
		t.Errorf("%d bytes, the cap is %d", st.Bytes, most)
	}
	if all := x.Stats(); all.Items != 5001+st.Items || int64(all.Evictions) != 20_000-st.Items || x.RouteStats(ids[1]).Items != 5000 {
		t.Errorf("%d items, %d of the route, %d evicted", all.Items, st.Items, all.Evictions)
	}
	x.want(ids[0], "key 19999", digits(400, 19_999))
	capped.MemoryPercent = 5
	x.routes(capped, other, large)
	passes := 0
	x.keepShares(func() bool { passes++; return passes < 3 })
	if got := x.RouteStats(ids[0]); got.Items < st.Items-int64(3*x.passInline()) || got.Items == st.Items {
		t.Errorf("%d items after three passes, %d before", got.Items, st.Items)
	}
	verify(t, x.Store)
}

// TestEveryWriteKeepsToTheShare: what makes a route's items more or larger never takes it over its cap, whichever command it is.
func TestEveryWriteKeepsToTheShare(t *testing.T) {
	x := newTester(t, Options{Memory: 16 << 20, MaxItem: 1 << 18, RoomTime: time.Minute})
	r := testRoute
	r.MemoryPercent = 3
	id := x.routes(r)[0]
	for name, write := range map[string]func(key []byte, hash uint64, n int){
		"append": func(key []byte, hash uint64, n int) {
			x.Write(&Write{Op: WriteOp(int(Append) + n%2), Key: key, Hash: hash, Route: id, Now: x.c.now, Value: []byte(digits(50+n%2000*20, n)), Vivify: true})
		},
		"count": func(key []byte, hash uint64, n int) {
			x.Delta(&Delta{Key: key, Hash: hash, Route: id, Now: x.c.now, Delta: 1 << 40, Vivify: true, WantCAS: true})
		},
		"make placeholders": func(key []byte, _ uint64, n int) {
			x.lookup(Lookup{Key: key, Route: id, Meta: true, Vivify: true, WantCAS: true})
		},
		"load": func(key []byte, _ uint64, n int) {
			if l := x.get(id, string(key)).leased; l.Serial != 0 {
				x.PutLease(l, &Fill{Key: key, Route: id, Now: x.c.now, Value: []byte(digits(n%700*100, n)), Absent: n%9 == 0})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			x.Invalidate(id)
			x.reapAll()
			most, seen := x.cap(x.route(id)), int64(0)
			for i := range 20_000 {
				key := fmt.Append(nil, name, "|", i*7919%18_000)
				write(key, testHash(key), i)
				got := x.shares[id].bytes.Load()
				if seen = max(seen, got); got > most {
					t.Fatalf("%d bytes after %d writes, the cap is %d", got, i, most)
				}
			}
			if seen < most*8/10 {
				t.Errorf("it had at most %d bytes of %d", seen, most)
			}
		})
	}
	verify(t, x.Store)
}

// TestWritersAtOnceKeepToTheShare: several writers of large values together do not go over what each of them would keep to.
func TestWritersAtOnceKeepToTheShare(t *testing.T) {
	x := newTester(t, Options{Memory: 32 << 20, MaxItem: 1 << 18, RoomTime: time.Minute})
	r := testRoute
	r.MemoryPercent = 2
	id := x.routes(r)[0]
	most := x.cap(x.route(id))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 300 {
				key := fmt.Appendf(nil, "%d|%d", w, i)
				x.Write(&Write{Op: Set, Key: key, Hash: testHash(key), Route: id, Now: x.c.now, Value: []byte(digits(150_000, i*4+w))})
			}
		})
	}
	wg.Wait()
	if got := x.RouteStats(id).Bytes; got > most || got < most-300_000 {
		t.Errorf("%d bytes, the cap is %d", got, most)
	}
	verify(t, x.Store)
}

// TestShareIsWaitedFor: a large value for which too many of the route's small ones would have to go is put off, and stored then.
func TestShareIsWaitedFor(t *testing.T) {
	x := newTester(t, Options{Memory: 32 << 20, MaxItem: 4 << 20, RoomTime: 1})
	r := testRoute
	r.MemoryPercent = 20
	id := x.routes(r)[0]
	for i := range 60_000 {
		x.write(Set, id, fmt.Sprint("small ", i), digits(100, i), NoDeadline)
	}
	later := 0
	for i := range 4 {
		key := fmt.Append(nil, "large ", i)
		w := Write{Op: Set, Key: key, Hash: testHash(key), Route: id, Now: x.c.now, Value: []byte(strings.Repeat(fmt.Sprint(i), 3_000_000)), Patient: true}
		st, _ := x.Write(&w)
		for ; st == Later; later++ {
			if later > 100 {
				t.Fatal("there is never room")
			}
			x.AwaitRoom(w.Short, time.Minute)
			st, _ = x.Write(&w)
		}
		checkStatus(t, "set", st, Stored)
		if got, most := x.RouteStats(id).Bytes, x.cap(x.route(id)); got > most {
			t.Errorf("%d bytes, the cap is %d", got, most)
		}
	}
	if later == 0 {
		t.Error("nothing was put off")
	}
	if st, _ := x.Write(&Write{Op: Set, Key: []byte("x"), Hash: testHash([]byte("x")), Route: x.routes(func() Route { r.MemoryPercent = 1; return r }())[0], Now: x.c.now, Value: make([]byte, 1_000_000), Patient: true}); st != NoMemory {
		t.Errorf("a value larger than the whole share: %v", st)
	}
	verify(t, x.Store)
}
