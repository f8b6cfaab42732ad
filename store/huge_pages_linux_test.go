//go:build !race

package store

import (
	"fmt"
	"slices"
	"testing"

	"swordfish/internal/testenv"
)

// TestHugePages: the first segments of keys become huge pages while they are in use, with one more ahead, and those of payloads
// when they are full. Another process that takes the memory over knows which are. Race builds have no such memory.
func TestHugePages(t *testing.T) {
	if noHugePages() || !sharedIsFast() {
		testenv.Missing(t, "a huge page in shared memory", "Linux 6.1 or later, with /sys/kernel/mm/transparent_hugepage/enabled not never")
	}
	x := newTester(t, Options{Memory: 1 << 30})
	x.stop()
	x.quit = make(chan struct{})
	k := x.newHugeKeeper()
	before := blocks(t, x)
	for i := range 20 * x.z.shards {
		checkStatus(t, "set", x.write(Set, 0, fmt.Sprint("key ", i), "value", NoDeadline), Stored)
	}
	k.turn()
	want := int64(alignUp(uint64(x.z.shards)*x.z.segment, hugePage)) + hugePage
	if got := blocks(t, x) - before; got < want {
		t.Errorf("a few keys a shard: %d KiB more than before, want %d at least", got>>10, want>>10)
	}
	n := 45 * x.z.shards
	payload := func(i int) string { return fmt.Sprintf("%5000d", i) }
	for i := range n {
		checkStatus(t, "set", x.write(Set, 0, fmt.Sprint("large ", i), payload(i), NoDeadline), Stored)
	}
	k.turn()
	made := 0
	for _, m := range x.p.made {
		if m {
			made++
		}
	}
	if want := (x.z.begun + x.z.shards) / int(hugePage/x.z.segment); made != want {
		t.Errorf("%d huge pages over first segments, want %d", made, want)
	}
	for i := range n {
		x.want(0, fmt.Sprint("large ", i), payload(i))
	}
	verify(t, x.Store)
	h := x.HandOver()
	y, err := inherited(t, x, h)
	if err != nil {
		t.Fatal(err)
	}
	y.Begin()
	if !slices.Equal(y.p.full, x.p.full) {
		t.Errorf("taken over, segments are full: %v; want %v", y.p.full, x.p.full)
	}
	for i := range n {
		y.want(0, fmt.Sprint("large ", i), payload(i))
	}
	if err := y.Close(); err != nil {
		t.Error(err)
	}
}
