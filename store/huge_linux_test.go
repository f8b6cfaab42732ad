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
			touched := func() int64 {
				var st unix.Stat_t
				if err := unix.Fstat(int(x.a.file.Fd()), &st); err != nil {
					t.Fatal(err)
				}
				return st.Blocks * 512
			}
			if _, err := x.SetRoutes([]Route{testRoute}); err != nil {
				t.Fatal(err)
			}
			shards := int64(x.z.shards)
			tables := 2 * shards * int64(x.z.tableSize[0])
			if got, most := touched(), tables+(4*shards+32)*pageSize; got > most {
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
