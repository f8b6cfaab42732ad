package store

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestTailThatEmptied: when all that the segment being written held is over, the log goes on behind it. The segment before it
// has room left, but a record there would count as from before the invalidation.
func TestTailThatEmptied(t *testing.T) {
	for name, change := range map[string]func(x tester, id RouteID){
		"invalidated": func(x tester, id RouteID) { x.Invalidate(id) },
		"stale": func(x tester, id RouteID) {
			x.MakeStale(id)
			x.c.advance(2 * time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTester(t, Options{Memory: 1 << 20})
			id := x.routes(Route{Name: "r", Fresh: 1000, Stale: 1000})[0]
			put := func(key, value string) {
				t.Helper()
				checkStatus(t, "put", x.put(x.get(id, key).leased, id, key, value), PutStored)
			}
			l := &x.shards[0].st.logs[probation]
			for i := 0; l.tail == l.head; i++ { // the first segment is left with room for small records
				x.write(Set, 0, fmt.Sprint("plain ", i), strings.Repeat("p", 900)+fmt.Sprint(i), 0)
			}
			x.del(0, fmt.Sprint("plain ", x.Stats().Items-1))
			put("r1", "old")
			end := x.shards[0].end(probation)
			change(x, id)
			x.reapAll()
			if now := x.shards[0].end(probation); now < end || l.tail != l.head {
				t.Errorf("the log's end is at %d after %d, with the tail %d behind %d", now, end, l.tail, l.head)
			}
			put("r2", "new")
			if a := x.get(id, "r2"); a.value != "new" || a.item.Stale {
				t.Errorf("the new item: %q, stale %v", a.value, a.item.Stale)
			}
			verify(t, x.Store)
		})
	}
}
