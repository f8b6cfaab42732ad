package store

import (
	"fmt"
	"testing"
)

// Values of which so few fit into a segment that a good part of it stays free, are evicted like others: moving them from
// segment to segment would gain nothing, for ever.
func TestValuesThatLeaveRoomInSegments(t *testing.T) {
	for _, size := range []int{9_000, 11_000, 13_500, 15_900} {
		t.Run(fmt.Sprint("size=", size), func(t *testing.T) {
			x := newTester(t, Options{Memory: 16 << 20})
			for i := range 3 * (16 << 20) / size {
				if st := x.write(Set, 0, fmt.Sprint("key ", i), digits(size, i), NoDeadline); st != Stored {
					t.Fatalf("set %d: %v; %d evictions", i, st, x.Stats().Evictions)
				}
			}
			if x.Stats().Evictions == 0 {
				t.Error("nothing was evicted")
			}
			verify(t, x.Store)
		})
	}
}
