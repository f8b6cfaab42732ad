package store

import (
	"fmt"
	"testing"
)

// TestRouteKeepsToItsShare: a route with a cap stays within it however much of it is asked for, takes its own oldest out, and
// leaves the others theirs, whether its payloads lie in records, are shared or have pages.
func TestRouteKeepsToItsShare(t *testing.T) {
	for _, tc := range []struct {
		name  string
		size  int
		twice int // keys with one payload
		keys  int
	}{
		{"in records", 400, 1, 60_000},
		{"shared", 400, 4, 200_000},
		{"large", 40_000, 1, 800},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := newTester(t, Options{Memory: 32 << 20, MaxItem: 1 << 18})
			capped, other := testRoute, testRoute
			capped.MemoryPercent, other.Name = 20, "other"
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
				load(ids[1], fmt.Sprint("other ", i), fmt.Sprintf("%0300d", i))
				x.write(Set, 0, fmt.Sprint("plain ", i), fmt.Sprintf("%0300d", -i-1), 0)
			}
			most := int64(32<<20) / 5
			for i := range tc.keys {
				key, value := fmt.Sprint("key ", i), fmt.Sprintf("%0*d", tc.size, i/tc.twice)
				if i%3 == 0 {
					x.write(Set, ids[0], key, value, 0)
				} else {
					load(ids[0], key, value)
				}
				if i%1000 == 0 || i == tc.keys-1 {
					if got := x.RouteStats(ids[0]).Bytes; got > most+most/20 {
						t.Fatalf("%d bytes after %d keys, the cap is %d", got, i, most)
					}
				}
			}
			st := x.RouteStats(ids[0])
			if st.Bytes < most*8/10 {
				t.Errorf("the route has %d bytes of %d", st.Bytes, most)
			}
			if all := x.Stats(); int64(all.Evictions) < int64(tc.keys)-st.Items-10 {
				t.Errorf("%d evicted, %d of %d held", all.Evictions, st.Items, tc.keys)
			}
			for i := range 5000 {
				x.want(ids[1], fmt.Sprint("other ", i), fmt.Sprintf("%0300d", i))
				x.want(0, fmt.Sprint("plain ", i), fmt.Sprintf("%0300d", -i-1))
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
