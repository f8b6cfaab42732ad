package filler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestQueueGivesBackWhatWasMoved: behind one old entry others come and are moved up, without end. They keep no memory.
func TestQueueGivesBackWhatWasMoved(t *testing.T) {
	var pool chunkPool
	var q queue
	q.push(&pool, entry{lease: Lease{Hash: 1, Serial: 1}}, []byte("oldest"))
	for i := range uint64(100_000) {
		at := q.push(&pool, entry{lease: Lease{Hash: i, Serial: i + 2}}, []byte("moved"))
		if e, key := q.cut(&pool, at); e.lease.Serial != i+2 || string(key) != "moved" {
			t.Fatalf("%d: cut %+v, %s", i, e, key)
		}
	}
	if n := len(pool.byID) - len(pool.ids); n > 2 {
		t.Errorf("%d chunks for one entry", n)
	}
	if e, key := q.front(&pool); e.lease.Serial != 1 || string(key) != "oldest" {
		t.Errorf("front: %+v, %s", e, key)
	}
}

// TestQueueAgainstModel plays pushes, drops, cuts and moves against a list.
func TestQueueAgainstModel(t *testing.T) {
	type item struct {
		serial uint64
		at     place
	}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var pool chunkPool
		var q, other queue
		var model, rest []item
		serial := uint64(0)
		for range 20_000 {
			switch n := rng.IntN(100); {
			case n < 55:
				serial++
				at := q.push(&pool, entry{lease: Lease{Serial: serial}}, fmt.Append(nil, serial))
				model = append(model, item{serial, at})
			case n < 75 && len(model) > 0:
				e, key := q.front(&pool)
				if e.lease.Serial != model[0].serial || string(key) != fmt.Sprint(e.lease.Serial) {
					t.Fatalf("seed %d: front %d, key %s, want %d", seed, e.lease.Serial, key, model[0].serial)
				}
				q.drop(&pool)
				model = model[1:]
			case n < 99 && len(model) > 0:
				i := rng.IntN(len(model))
				if e, key := q.cut(&pool, model[i].at); e.lease.Serial != model[i].serial || string(key) != fmt.Sprint(e.lease.Serial) {
					t.Fatalf("seed %d: cut %d, key %s, want %d", seed, e.lease.Serial, key, model[i].serial)
				}
				model = slices.Delete(model, i, i+1)
			case n == 99:
				q.moveTo(&other)
				rest, model = append(rest, model...), nil
				other.moveTo(&q)
				model, rest = rest, nil
			}
			if q.n != len(model) {
				t.Fatalf("seed %d: %d queued, want %d", seed, q.n, len(model))
			}
		}
		for q.n > 0 {
			q.front(&pool)
			q.drop(&pool)
		}
		if n := len(pool.byID) - len(pool.ids); n != 0 {
			t.Errorf("seed %d: %d chunks for nothing", seed, n)
		}
	}
}
