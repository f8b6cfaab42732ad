package filler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
)

// lease returns the open lease of key.
func (s *shelf) lease(key string) Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Lease{Hash: 7, Serial: s.open[key]}
}

func (r *rig) promote(key string, lane Lane) {
	r.ring.Promote(1, lane, r.shelf.lease(key))
	r.ring.Flush()
}

func TestPromotedLeaseOvertakesItsOldLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		r := newRig(t, src, func(o *Options) { o.Routes[0].Limits.Batch = 2 })
		r.get("busy")
		synctest.Wait()
		for i := range 4 {
			r.ask(fmt.Sprint("w", i), LaneWarm)
			r.ask(fmt.Sprint("s", i), LaneStale)
		}
		r.get("m")
		r.promote("w2", LaneMiss)
		r.promote("w3", LaneStale)
		r.promote("s1", LaneMiss)
		r.promote("s1", LaneWarm) // not downwards
		synctest.Wait()
		st := r.stats()
		if st.QueuedByLane != [Lanes]int64{3, 4, 0, 2} || st.Queued != 9 {
			t.Errorf("queued by lane %v, %d in all, want 3 4 0 2, 9", st.QueuedByLane, st.Queued)
		}
		if st.Promoted != [Lanes]uint64{2, 1, 0, 0} {
			t.Errorf("promoted %v, want 2 1 0 0", st.Promoted)
		}
		close(src.gate)
		synctest.Wait()
		want := "[[busy] [m w2] [s1 s0] [s2 s3] [w3 w0] [w1]]"
		if got := fmt.Sprint(src.batches); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		r.close()
	})
}

// TestPromotionMayComeFirst has another worker's promotion arrive before the lease itself.
func TestPromotionMayComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		r := newRig(t, src, func(o *Options) { o.Routes[0].Limits.Batch = 1 })
		r.get("busy")
		r.ask("first", LaneStale)
		synctest.Wait()
		_, l := r.shelf.get("k")
		other := r.f.NewRing()
		other.Promote(1, LaneMiss, l)
		other.Flush()
		synctest.Wait()
		r.ring.Push(1, LaneWarm, l, []byte("k"))
		r.handed++
		r.ring.Flush()
		synctest.Wait()
		close(src.gate)
		synctest.Wait()
		if got := fmt.Sprint(src.batches); got != "[[busy] [k] [first]]" {
			t.Errorf("got %s, want k before first", got)
		}
		r.close()
	})
}

func TestPromotionIsHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		r := newRig(t, src, nil)
		r.ask("loading", LaneWarm)
		synctest.Wait()
		r.promote("loading", LaneMiss)
		r.ask("killed", LaneWarm)
		gone := r.shelf.lease("killed")
		r.shelf.del("killed")
		for range 3 {
			r.ring.Promote(1, LaneMiss, gone)
		}
		r.ring.Promote(99, LaneMiss, gone) // no such route
		r.ring.Promote(1, laneCount, gone)
		r.ring.Promote(1, LaneMiss, Lease{})
		r.ring.Promote(1, LaneMiss, Lease{7, 999})
		r.ring.Flush()
		synctest.Wait()
		close(src.gate)
		synctest.Wait()
		r.ring.Promote(1, LaneMiss, gone)
		r.ring.Flush()
		synctest.Wait()
		if _, unknown := r.f.RingFull(); unknown != 0 {
			t.Errorf("%d promotions counted as unknown leases", unknown)
		}
		if n := len(r.f.late); n > 1 {
			t.Errorf("%d promotions kept for later", n)
		}
		r.close()
		if r.ring.Promote(1, LaneMiss, gone) {
			t.Error("a closed ring took a promotion")
		}
	})
}

func TestPromoteDoesNotAllocate(t *testing.T) {
	r := newRing(1024, make(chan struct{}, 1))
	n := testing.AllocsPerRun(5000, func() {
		if !r.Promote(1, LaneMiss, Lease{1, 2}) {
			r.drain(1024, func(*slot) {})
		}
		r.Flush()
	})
	if n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// TestCutKeepsOrder takes entries out of the middle of queues at random and compares with a slice.
func TestCutKeepsOrder(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var pool chunkPool
		var q queue
		var want []uint64
		places := map[uint64]place{}
		next := uint64(1)
		check := func(e *entry, key []byte, serial uint64) {
			if e.lease.Serial != serial || string(key) != fmt.Sprint("key", serial) {
				t.Fatalf("seed %d: got %d %q, want %d", seed, e.lease.Serial, key, serial)
			}
		}
		for range 3000 {
			switch n := rnd.IntN(10); {
			case n < 4+rnd.IntN(3):
				places[next] = q.push(&pool, entry{lease: Lease{1, next}}, fmt.Append(nil, "key", next))
				want = append(want, next)
				next++
			case len(want) == 0:
			case n < 8:
				e, key := q.front(&pool)
				check(e, key, want[0])
				q.drop(&pool)
				want = want[1:]
			default:
				i := rnd.IntN(len(want))
				e, key := q.cut(&pool, places[want[i]])
				check(&e, key, want[i])
				want = slices.Delete(want, i, i+1)
			}
			if q.n != len(want) || (q.n == 0) != (q.head == nil) {
				t.Fatalf("seed %d: the queue holds %d, want %d", seed, q.n, len(want))
			}
		}
		used := 0
		for _, c := range pool.byID {
			if c != nil {
				used++
			}
		}
		if most := len(want)/2 + 2; used > most {
			t.Errorf("seed %d: %d chunks in use for %d entries", seed, used, len(want))
		}
	}
}

func TestIndexGivesItsMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		r := newRig(t, src, func(o *Options) { o.RingSize = 1 << 16 })
		r.get("busy")
		synctest.Wait()
		for i := range 20_000 {
			r.ask(fmt.Sprint("s", i), LaneStale)
		}
		synctest.Wait()
		if n := len(r.f.index); n != 20_000 {
			t.Fatalf("the index holds %d", n)
		}
		close(src.gate)
		synctest.Wait()
		if r.f.index != nil {
			t.Errorf("an empty index of once 20,000 is kept")
		}
		r.close()
	})
}

// TestFillerBoundLeavesRoomForMisses fills the queue of all routes with other lanes.
func TestFillerBoundLeavesRoomForMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		src.gate = make(chan struct{})
		r := newRig(t, src, func(o *Options) {
			o.Queue = 16
			o.Routes = append(o.Routes, o.Routes[0])
			o.Routes[1].ID, o.Routes[1].Name = 2, "s"
		})
		for i := range 2 {
			k := fmt.Sprint("busy", i)
			_, l := r.shelf.get(k)
			r.ring.Push(uint16(i+1), LaneMiss, l, []byte(k))
			r.ring.Flush()
			r.handed++
			synctest.Wait()
		}
		push := func(route uint16, lane Lane, n int) {
			for i := range n {
				k := fmt.Sprint(route, lane, i)
				_, l := r.shelf.get(k)
				if r.ring.Push(route, lane, l, []byte(k)) {
					r.handed++
				}
			}
			r.ring.Flush()
			synctest.Wait()
		}
		push(1, LaneWarm, 20)
		push(2, LaneRefresh, 20)
		push(1, LaneStale, 20)
		push(2, LaneMiss, 20)
		st := r.f.Stats()
		if st[0].QueuedByLane != [Lanes]int64{0, 2, 0, 8} || st[1].QueuedByLane != [Lanes]int64{2, 0, 4, 0} {
			t.Errorf("queued %v and %v, want 8 warm, 4 refresh, 2 stale, 2 misses", st[0].QueuedByLane, st[1].QueuedByLane)
		}
		if d := st[1].Dropped[DropFillerFull]; d != [Lanes]uint64{18, 0, 16, 0} {
			t.Errorf("dropped %v, want 18 misses and 16 refreshes", d)
		}
		close(src.gate)
		synctest.Wait()
		r.f.Shutdown(t.Context())
		r.shelf.checkAllEnded(r.handed)
	})
}
