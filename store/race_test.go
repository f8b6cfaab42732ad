package store

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
)

// TestStressConcurrent lets writers, readers, fillers, flushes, expiry and passes meet in a small store. Every value says which key
// it belongs to and how long it is, so a torn or a strange one shows.
func TestStressConcurrent(t *testing.T) {
	s, err := Open(Options{Memory: 1 << 20, KeyHash: testHash, Digest: testDigest})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ids, err := s.SetRoutes([]Route{{Name: "r", Fresh: 1, Stale: 1, Keep: 1, Negative: 1}})
	if err != nil {
		t.Fatal(err)
	}
	value := func(dst []byte, key, i, n int) []byte {
		dst = binary.LittleEndian.AppendUint32(append(dst[:0], byte(key%16)), uint32(i))
		for len(dst) < n {
			dst = append(dst, byte(key%16))
		}
		return dst
	}
	check := func(key int, v []byte) {
		ok := len(v) >= 5 && v[0] == byte(key%16)
		for _, b := range v[min(5, len(v)):] {
			ok = ok && b == byte(key%16)
		}
		if !ok {
			t.Errorf("key %d holds %q", key, v)
		}
	}
	stop := make(chan struct{})
	var reaping sync.WaitGroup
	reaping.Go(func() {
		for open := true; open; {
			select {
			case <-stop:
				open = false
			default:
			}
			s.reap(func() bool { return true })
		}
	})
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			var buf []byte
			var it Item
			for i := range 20_000 {
				n := (i*7 + w*13) % 20000
				key := fmt.Appendf(nil, "key %d", n)
				h := testHash(key)
				route := RouteID(0)
				if n%2 == 0 {
					route = ids[0]
				}
				now := s.Now()
				s.Ahead([]uint64{h, h * 31})
				switch (i + w) % 8 {
				case 0, 1:
					size := 5 + i%7*50
					if i%500 == 0 {
						size = 40_000
					}
					buf = value(buf, n, i*8+w, size)
					s.Write(&Write{Op: Set, Key: key, Hash: h, Route: route, Now: now, Value: buf, Deadline: uint32(i%2) * (now.Second() + uint32(i%3))})
				case 2:
					s.Delete(key, h, route, now, 0)
				case 3:
					if i%5000 == 3 { // seldom, or there is nothing to evict
						s.FlushAll(now, 0)
					}
					s.Write(&Write{Op: Append, Key: key, Hash: h, Route: route, Now: now, Value: []byte{byte(n % 16)}})
				default:
					if s.Get(&Lookup{Key: key, Hash: h, Route: route, Now: now, WantCAS: i%3 == 0}, &it) {
						check(n, it.Value)
						it.Release()
					}
					if it.Lease.Serial != 0 {
						buf = value(buf, n, i*8+w, 60)
						s.LeaseSent(it.Lease, now+1000)
						s.PutLease(it.Lease, &Fill{Key: key, Route: route, Now: now, Value: buf, Absent: i%5 == 0})
					}
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	reaping.Wait()
	if s.Stats().Evictions == 0 {
		t.Error("nothing was evicted: the stress is too small")
	}
	verify(t, s)
}
