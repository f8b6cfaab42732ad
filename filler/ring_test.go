package filler

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestRingPushDoesNotAllocate(t *testing.T) {
	r := newRing(1024, make(chan struct{}, 1))
	key := []byte("chr|country=IN|dev=812|os=ios|browser=safari|cat=mobile|w=414|h=896")
	n := testing.AllocsPerRun(5000, func() {
		if !r.Push(1, LaneMiss, Lease{1, 2}, key) {
			r.drain(1024, func(*slot) {})
		}
		r.Flush()
	})
	if n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func TestRingKeepsOrderAndRefusesWhenFull(t *testing.T) {
	r := newRing(8, make(chan struct{}, 1))
	for round := range 5 {
		for i := range 8 {
			if !r.Push(uint16(i), LaneStale, Lease{1, uint64(i + 1)}, []byte(fmt.Sprint("k", i))) {
				t.Fatalf("round %d: push %d refused", round, i)
			}
		}
		if r.Push(9, LaneMiss, Lease{1, 9}, []byte("x")) {
			t.Fatal("push into a full ring accepted")
		}
		i := 0
		more, ended := r.drain(5, func(s *slot) {
			if want := fmt.Sprint("k", i); string(s.key[:s.n]) != want || s.route != uint16(i) || s.lane != LaneStale || s.lease.Serial != uint64(i+1) {
				t.Errorf("slot %d is %q of route %d", i, s.key[:s.n], s.route)
			}
			i++
		})
		if !more || ended || i != 5 {
			t.Fatalf("drain took %d, more %v, ended %v", i, more, ended)
		}
		r.drain(100, func(*slot) { i++ })
		if i != 8 {
			t.Fatalf("drained %d of 8", i)
		}
	}
	if got := r.full.Load(); got != 5 {
		t.Errorf("counted %d refused pushes, want 5", got)
	}
}

func TestRingWakes(t *testing.T) {
	c := make(chan struct{}, 1)
	r := newRing(8, c)
	r.Flush()
	if len(c) != 0 {
		t.Error("a flush of nothing woke the filler")
	}
	for range 4 {
		r.Push(1, LaneMiss, Lease{}, nil)
	}
	if len(c) != 1 {
		t.Error("a half full ring did not wake the filler")
	}
	r.Flush() // the channel is full: must not block
}

func TestRingRefusesLongKeys(t *testing.T) {
	r := newRing(8, make(chan struct{}, 1))
	if !r.Push(1, LaneMiss, Lease{}, []byte(strings.Repeat("k", MaxKey))) {
		t.Error("a key of 250 bytes was refused")
	}
	if r.Push(1, LaneMiss, Lease{}, []byte(strings.Repeat("k", MaxKey+1))) {
		t.Error("a key of 251 bytes was accepted")
	}
}

// TestRingCloseLosesNothing closes a ring while its producer pushes: what Push accepted is drained, all of it.
func TestRingCloseLosesNothing(t *testing.T) {
	for range 200 {
		r := newRing(64, make(chan struct{}, 1))
		pushed, drained := 0, 0
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 50 {
				if r.Push(1, LaneMiss, Lease{}, []byte("key")) {
					pushed++
				}
			}
		})
		r.close()
		for ended := false; !ended; {
			_, ended = r.drain(8, func(*slot) { drained++ })
		}
		wg.Wait()
		if pushed != drained {
			t.Fatalf("%d pushed, %d drained", pushed, drained)
		}
	}
}

func TestQueueKeepsOrderAcrossChunks(t *testing.T) {
	var pool chunkPool
	var q, other queue
	next, want := 0, 0
	push := func(q *queue, n int) {
		for range n {
			q.push(&pool, entry{lease: Lease{1, uint64(next + 1)}}, []byte(fmt.Sprint("key", next)))
			next++
		}
	}
	pop := func(n int) {
		for range n {
			e, key := q.front(&pool)
			if e.lease.Serial != uint64(want+1) || string(key) != fmt.Sprint("key", want) {
				t.Fatalf("got %d %q, want %d", e.lease.Serial, key, want)
			}
			q.drop(&pool)
			want++
		}
	}
	push(&q, 300)
	pop(10)
	push(&other, 5) // moved behind a half full chunk
	other.moveTo(&q)
	push(&q, 200)
	pop(495)
	if q.n != 0 || q.head != nil || q.tail != nil {
		t.Errorf("the empty queue holds %d", q.n)
	}
	for range 1000 {
		push(&q, 3)
		pop(3)
	}
	if pool.n == 0 {
		t.Error("no chunk was kept for reuse")
	}
}

func BenchmarkRingPush(b *testing.B) {
	r := newRing(4096, make(chan struct{}, 1))
	key := []byte("chr|country=IN|dev=812|os=ios|browser=safari|cat=mobile|w=414|h=896")
	b.ReportAllocs()
	for b.Loop() {
		if !r.Push(1, LaneMiss, Lease{1, 2}, key) {
			r.drain(4096, func(*slot) {})
		}
	}
}
