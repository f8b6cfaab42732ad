//go:build !race

package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestSizes: the smallest memory and the largest of the documentation work alike, at the beginning of their address space and at its
// end. Race builds have no memory that is only reserved.
func TestSizes(t *testing.T) {
	for name, memory := range map[string]int64{"-m 1": 1 << 20, "-m 16384": 16 << 30} {
		for _, end := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, at the end %v", name, end), func(t *testing.T) {
				x := newTester(t, Options{Memory: memory})
				last := x.z.segments - 3*x.z.shards - 80 // as many as the smallest takes
				if end {
					x.p.mu.Lock()
					x.p.fresh = uint32(last)
					x.p.longHint = x.z.pages - 2000
					x.p.mu.Unlock()
				}
				id := x.routes(testRoute)[0]
				largest := x.opt.MaxItem - itemCost - 10
				values := map[string]string{"": "", "short": "v", "inline": strings.Repeat("i", maxInline), "long": long, "pages": strings.Repeat("p", 100_000), "largest": strings.Repeat("l", largest)}
				for turn := range 2 {
					for key, value := range values {
						if memory == 1<<20 && key == "largest" && turn == 1 {
							continue
						}
						checkStatus(t, "set "+key, x.write(Set, 0, "a "+key, value, x.c.now.Second()+100), Stored)
						x.want(0, "a "+key, value)
					}
				}
				checkStatus(t, "too large", x.write(Set, 0, "k", strings.Repeat("x", x.opt.MaxItem), 0), TooLarge)
				top := 0 // the highest segment that records came to; with -m 1 the last ones may be in lower ones again
				for i := range 2000 {
					for i := range x.shards {
						if seg := x.shards[i].st.logs[probation].tail; seg != noSegment {
							top = max(top, int(seg))
						}
					}
					key, value := fmt.Sprint("key ", i), digits(40+i%60, i/2)
					checkStatus(t, "set", x.write(Set, 0, key, value, 0), Stored)
					x.want(0, key, value)
					x.fill(id, "route "+key, Fill{Value: []byte(value)})
					x.want(id, "route "+key, value)
				}
				if end != (top >= last) {
					t.Errorf("records lie up to segment %d of %d", top, x.z.segments)
				}
				x.c.advance(100 * time.Second)
				x.reapAll()
				for key := range values {
					if x.get(0, "a "+key).ok {
						t.Errorf("%s outlived its time", key)
					}
				}
				x.FlushAll(x.c.now, 0)
				x.reapAll()
				if st := x.Stats(); st.Items != 0 || st.UsedBytes > memory {
					t.Errorf("after a flush: %+v", st)
				}
				if x.a.file != nil {
					if got, most := blocks(t, x), min(memory, 128<<20); got > most {
						t.Errorf("%d MiB are memory, want at most %d", got>>20, most>>20)
					}
				}
				verify(t, x.Store)
			})
		}
	}
}

// TestMemoryBeyondHandles: a limit whose arena handles cannot name is refused, and the largest that is taken is not one.
func TestMemoryBeyondHandles(t *testing.T) {
	if _, err := Open(Options{Memory: mostMemory + 1, KeyHash: testHash, Digest: testDigest}); !errors.Is(err, ErrOptions) {
		t.Errorf("opened with %d bytes: %v", int64(mostMemory+1), err)
	}
	if z := derive(mostMemory, capacityFor(mostMemory), 1<<20); wordOffset(wordOf(1, z.total-4, true)) != z.total-4 {
		t.Errorf("an arena of %d bytes is too long", z.total)
	}
}
