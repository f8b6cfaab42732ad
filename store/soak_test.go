package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestSoakEvictionAndExpiry: writers and readers at once in a store that is too small for what they store, whose clock goes on and whose
// limit changes meanwhile. No value is another key's, or is answered after its second; in the end all that was to end has
// left, and its memory is back.
func TestSoakEvictionAndExpiry(t *testing.T) {
	x := newTester(t, Options{Memory: 2 << 20})
	const workers, steps, keys = 4, 15_000, 20_000
	empty := x.Stats().UsedBytes
	value := func(dst []byte, key int, end uint32, n int) []byte {
		dst = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(dst[:0], uint32(key)), end)
		return append(dst, bytes.Repeat([]byte{byte(key)}, n)...)
	}
	check := func(key int, v []byte, sec uint32) {
		if len(v) < 8 || binary.LittleEndian.Uint32(v) != uint32(key) || bytes.Count(v[8:], []byte{byte(key)}) != len(v)-8 {
			t.Errorf("key %d holds %.40q", key, v)
		} else if end := binary.LittleEndian.Uint32(v[4:]); sec >= end {
			t.Errorf("key %d, for second %d, is answered at %d", key, end, sec)
		}
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			var buf []byte
			var it Item
			for i := range steps {
				n := rng.IntN(keys)
				key := fmt.Appendf(nil, "key %d", n)
				h, now := testHash(key), x.c.read()
				switch rng.IntN(4) {
				case 0, 1:
					size := rng.IntN(600)
					if rng.IntN(400) == 0 {
						size = 30_000
					}
					end := now.Second() + 1 + rng.Uint32N(1<<rng.IntN(13))
					buf = value(buf, n, end, size)
					x.Write(&Write{Op: Set, Key: key, Hash: h, Now: now, Value: buf, Deadline: end})
				case 2:
					if x.Get(&Lookup{Key: key, Hash: h, Now: now}, &it) {
						check(n, it.Value, now.Second())
						it.Release()
					}
				default:
					switch rng.IntN(100) {
					case 0:
						x.c.advance(time.Duration(rng.IntN(3000)) * time.Millisecond)
					case 1:
						x.reapAll()
					case 2:
						if err := x.SetMemory(2<<20 + int64(rng.IntN(1<<20))); err != nil {
							t.Error(err)
						}
					case 3:
						x.Delete(key, h, 0, now, 0)
					}
				}
				if i%1000 == 0 && t.Failed() {
					return
				}
			}
		})
	}
	wg.Wait()
	st := x.Stats()
	if st.Evictions == 0 || st.Reaped == 0 {
		t.Errorf("%d items evicted and %d reaped: the soak is too small", st.Evictions, st.Reaped)
	}
	for range 3 {
		x.c.advance(5000 * time.Second)
		x.reapAll()
	}
	st = x.Stats()
	if left := st.UsedBytes - empty; st.Items != 0 || left > 1<<19 {
		t.Errorf("%d items and %d bytes are left", st.Items, left)
	}
	verify(t, x.Store)
}
