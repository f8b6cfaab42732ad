package store

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMemoryUntouched: what nobody uses yet is no memory. An empty store has a few pages a shard, with routes as well, and a
// shard's first payloads take what they need, not a segment or a huge page.
func TestMemoryUntouched(t *testing.T) {
	for name, file := range handedKinds(t) {
		t.Run(name, func(t *testing.T) {
			fast := sharedIsFast
			sharedIsFast = func() bool { return true }
			t.Cleanup(func() { sharedIsFast = fast })
			x := newTester(t, Options{Memory: 256 << 20, File: file})
			if _, err := x.SetRoutes([]Route{testRoute}); err != nil {
				t.Fatal(err)
			}
			shards := int64(x.z.shards)
			tables := 2 * shards * int64(x.z.tableSize[0])
			if got, most := blocks(t, x), tables+(4*shards+32)*pageSize; got > most {
				t.Errorf("empty: %d KiB, want at most %d", got>>10, most>>10)
			}
			// Half of the values are met twice and shared, half stay in their records.
			for i := range 40 * int(shards) {
				value := fmt.Sprintf("%04d%s", i/4, strings.Repeat("v", 96))
				if i%2 == 0 {
					value = fmt.Sprintf("%04d%s", i, strings.Repeat("w", 96))
				}
				if st := x.write(Set, 0, fmt.Sprint("key ", i), value, NoDeadline); st != Stored {
					t.Fatalf("set %d: %v", i, st)
				}
			}
			// Besides the above a few pages of payloads, prints and handles, the first segments of keys, and what is made ready ahead.
			keys := int64(alignUp(uint64(shards)*x.z.segment, hugePage))
			ahead := int64(min(max(x.z.memory/64, hugePage), hugeAhead))
			if got, most := blocks(t, x), tables+(12*shards+64)*pageSize+keys+ahead; got > most {
				t.Errorf("with 40 items a shard: %d KiB, want at most %d", got>>10, most>>10)
			}
			// The first payloads of a shard lie where no huge page is made for them, keys elsewhere.
			for i := range x.shards {
				if seg := x.data[i].st.head; seg != noSegment && int(seg) >= x.z.spread {
					t.Errorf("data shard %d begins in segment %d, want one below %d", i, seg, x.z.spread)
				}
				if seg := x.shards[i].st.logs[probation].head; int(seg) < x.z.spread {
					t.Errorf("key shard %d begins in segment %d, want one from %d on", i, seg, x.z.spread)
				}
			}
			verify(t, x.Store)
		})
	}
}

// TestFullPages: a huge page is made over the first segments when each of them is full, and memory, and only once.
func TestFullPages(t *testing.T) {
	x := newTester(t, Options{Memory: 256 << 20})
	x.stop()
	p := x.p
	n := uint32(hugePage / x.z.segment)
	first := n // the segments before have tables among them
	if int(first+n) > x.z.spread {
		t.Fatalf("%d first segments: fewer than two pages of %d", x.z.spread, n)
	}
	none := func(when string) {
		t.Helper()
		if at, ok := p.takeFull(); ok {
			t.Fatalf("%s: page at %d is full", when, at)
		}
	}
	for range 2 * n {
		p.tellFull(first)
	}
	none("one segment filled often")
	for i := range n - 1 {
		p.tellFull(first + i)
	}
	none("all segments but one")
	p.tellFull(uint32(x.z.spread))
	none("a segment that is not among the first")
	p.meta[first].next, p.hot, p.nHot = noSegment, first, 1
	p.setLimit(x.z.fixed)
	if p.cold != first {
		t.Fatalf("segment %d was not given back to the system", first)
	}
	p.setLimit(int64(x.z.memory))
	p.tellFull(first + n - 1)
	none("a segment given back to the system")
	p.tellFull(first)
	if at, ok := p.takeFull(); !ok || at != uint64(first)*x.z.segment {
		t.Fatalf("all segments full: page at %d, %v; want %d", at, ok, uint64(first)*x.z.segment)
	}
	none("it was made")
}

// blocks returns how many bytes of x's file are memory.
func blocks(t *testing.T, x tester) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(x.a.file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}
