package store

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// history plays random histories of clients, loads, deletes, flushes, route changes and time on a few keys of a route. Every value
// carries the step at which it was true: a client's write the step of the write, a load the step at which its query read the row.
// Whatever happens, no GET may answer a value older than one that was answered before, than the last client write, or than the last
// delete, flush or invalidation.
type history struct {
	tester
	rng     *rand.Rand
	r       Route
	id      RouteID
	loads   []historyLoad
	floor   [historyKeys]int // no answer may be older
	step    int
	log     []string
	flushed func() // is told of every flush
}

type historyLoad struct {
	lease  Lease
	key    int
	asOf   int // 0: the query has not read yet
	absent bool
}

const historyKeys = 3

func (h *history) name(k int) string { return fmt.Sprint("key ", k) }

func (h *history) value(step int) string { return strconv.Itoa(step) + strings.Repeat(" ", step%2*60) }

// play runs one step.
func (h *history) play() {
	h.t.Helper()
	h.step++
	step, id := h.step, h.id
	k := h.rng.IntN(historyKeys)
	op := h.rng.IntN(20)
	switch op {
	case 0, 1, 2, 3, 4: // get
		a := h.get(id, h.name(k))
		if a.leased.Serial != 0 {
			h.loads = append(h.loads, historyLoad{lease: a.leased, key: k})
		}
		if !a.ok {
			return
		}
		got, err := strconv.Atoi(strings.TrimSpace(a.value))
		if err != nil || got < h.floor[k] {
			h.t.Fatalf("step %d: key %d answers %q, and %d was there before\n%s", step, k, a.value, h.floor[k], strings.Join(h.log, "\n"))
		}
		h.floor[k] = got
	case 5, 6: // a query reads
		if n := len(h.loads); n > 0 {
			l := &h.loads[h.rng.IntN(n)]
			if l.asOf == 0 {
				h.LeaseSent(l.lease, h.c.now+3000)
				l.asOf, l.absent = step, h.rng.IntN(5) == 0
			}
			k = l.key
		}
	case 7, 8, 9: // a load ends
		if n := len(h.loads); n > 0 {
			i := h.rng.IntN(n)
			l := h.loads[i]
			if l.asOf == 0 {
				return
			}
			h.loads = append(h.loads[:i], h.loads[i+1:]...)
			f := Fill{Key: []byte(h.name(l.key)), Route: id, Now: h.c.now, Absent: l.absent, Failed: h.rng.IntN(6) == 0}
			if !f.Absent && !f.Failed {
				f.Value = []byte(h.value(l.asOf))
			}
			k, op = l.key, 100*op+int(h.PutLease(l.lease, &f))
		}
	case 10: // a load is dropped
		if n := len(h.loads); n > 0 {
			h.EndLease(h.loads[h.rng.IntN(n)].lease)
		}
	case 11:
		if h.write(Set, id, h.name(k), h.value(step), h.c.now.Second()+uint32(h.rng.IntN(40))+1) == Stored {
			h.floor[k] = step
		}
	case 12:
		if h.write(WriteOp(1+h.rng.IntN(2)), id, h.name(k), h.value(step), 0) == Stored { // add, replace
			h.floor[k] = step
		}
	case 13:
		h.del(id, h.name(k))
		h.floor[k] = max(h.floor[k], step)
	case 14:
		h.Touch([]byte(h.name(k)), testHash([]byte(h.name(k))), id, h.c.now, h.c.now.Second()+uint32(h.rng.IntN(40)))
	case 15:
		switch h.rng.IntN(4) {
		case 0:
			h.FlushAll(h.c.now, 0)
			h.flushed()
		case 1:
			h.Invalidate(id)
		default:
			return
		}
		for i := range h.floor {
			h.floor[i] = step
		}
	case 16:
		if h.rng.IntN(4) == 0 {
			h.r.QueryPrint++
			h.routes(h.r)
		}
	case 17:
		h.SetSourceDown(id, h.rng.IntN(2) == 0)
	default:
		h.c.advance(time.Duration(h.rng.IntN(4000)) * time.Millisecond)
	}
	if h.rng.IntN(8) == 0 {
		h.reapAll()
	}
	h.log = append(h.log, fmt.Sprintf("%d: op %d key %d at %d", step, op, k, h.c.now))
}

func TestHistoriesNeverGoBack(t *testing.T) {
	for seed := range uint64(300) {
		h := history{tester: newTester(t, Options{Memory: 1 << 20}), rng: rand.New(rand.NewPCG(seed, 7)), r: testRoute, flushed: func() {}}
		h.id = h.routes(h.r)[0]
		for range 400 {
			if h.play(); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		verify(t, h.Store)
	}
}
