package store

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestHistoriesNeverGoBack plays random histories of clients, loads, deletes, flushes, route changes and time on a few keys.
// Every value carries the step at which it was true: a client's write the step of the write, a load the step at which its
// query read the row. Whatever happens, no GET may answer a value older than one that was answered before, than the last
// client write, or than the last delete, flush or invalidation.
func TestHistoriesNeverGoBack(t *testing.T) {
	type load struct {
		lease  Lease
		key    int
		asOf   int // 0: the query has not read yet
		absent bool
	}
	const keys = 3
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		x := newTester(t, Options{Memory: 1 << 20})
		r := testRoute
		id := x.routes(r)[0]
		var loads []load
		var floor [keys]int // no answer may be older
		var log []string
		name := func(k int) string { return fmt.Sprint("key ", k) }
		value := func(step int) string { return strconv.Itoa(step) + strings.Repeat(" ", step%2*60) }
		for step := 1; step <= 400; step++ {
			k := rng.IntN(keys)
			op := rng.IntN(20)
			switch op {
			case 0, 1, 2, 3, 4: // get
				a := x.get(id, name(k))
				if a.leased.Serial != 0 {
					loads = append(loads, load{lease: a.leased, key: k})
				}
				if !a.ok {
					continue
				}
				got, err := strconv.Atoi(strings.TrimSpace(a.value))
				if err != nil || got < floor[k] {
					t.Fatalf("seed %d step %d: key %d answers %q, and %d was there before\n%s", seed, step, k, a.value, floor[k], strings.Join(log, "\n"))
				}
				floor[k] = got
			case 5, 6: // a query reads
				if n := len(loads); n > 0 {
					l := &loads[rng.IntN(n)]
					if l.asOf == 0 {
						x.LeaseSent(l.lease, x.c.now+3000)
						l.asOf, l.absent = step, rng.IntN(5) == 0
					}
					k = l.key
				}
			case 7, 8, 9: // a load ends
				if n := len(loads); n > 0 {
					i := rng.IntN(n)
					l := loads[i]
					if l.asOf == 0 {
						continue
					}
					loads = append(loads[:i], loads[i+1:]...)
					f := Fill{Key: []byte(name(l.key)), Route: id, Now: x.c.now, Absent: l.absent, Failed: rng.IntN(6) == 0}
					if !f.Absent && !f.Failed {
						f.Value = []byte(value(l.asOf))
					}
					k, op = l.key, 100*op+int(x.PutLease(l.lease, &f))
				}
			case 10: // a load is dropped
				if n := len(loads); n > 0 {
					x.EndLease(loads[rng.IntN(n)].lease)
				}
			case 11:
				if x.write(Set, id, name(k), value(step), x.c.now.Second()+uint32(rng.IntN(40))+1) == Stored {
					floor[k] = step
				}
			case 12:
				if x.write(WriteOp(1+rng.IntN(2)), id, name(k), value(step), 0) == Stored { // add, replace
					floor[k] = step
				}
			case 13:
				x.del(id, name(k))
				floor[k] = max(floor[k], step)
			case 14:
				x.Touch([]byte(name(k)), testHash([]byte(name(k))), id, x.c.now, x.c.now.Second()+uint32(rng.IntN(40)))
			case 15:
				switch rng.IntN(4) {
				case 0:
					x.FlushAll(x.c.now, 0)
				case 1:
					x.Invalidate(id)
				default:
					continue
				}
				for i := range floor {
					floor[i] = step
				}
			case 16:
				if rng.IntN(4) == 0 {
					r.QueryPrint++
					x.routes(r)
				}
			case 17:
				x.SetSourceDown(id, rng.IntN(2) == 0)
			default:
				x.c.advance(time.Duration(rng.IntN(4000)) * time.Millisecond)
			}
			if rng.IntN(8) == 0 {
				x.reapAll()
			}
			log = append(log, fmt.Sprintf("%d: op %d key %d at %d", step, op, k, x.c.now))
		}
		verify(t, x.Store)
	}
}
