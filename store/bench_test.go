package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// filled makes a store with n keys of 40 bytes, whose values are one of distinct.
func filled(b *testing.B, memory int64, n, distinct, size int) *Store {
	s, _ := open(b, Options{Memory: memory})
	value := make([]byte, size)
	for i := range n {
		copy(value, fmt.Sprintf("%016d", i%distinct))
		key := benchKey(nil, i)
		if st, _ := s.Write(&Write{Key: key, Hash: testHash(key), Now: 10_000, Value: value}); st != Stored {
			b.Fatal(st, s.Stats())
		}
	}
	return s
}

func benchKey(dst []byte, i int) []byte { return fmt.Appendf(dst[:0], "key:of:forty:bytes:%021d", i) }

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		for _, size := range []int{16, 300} {
			b.Run(fmt.Sprintf("hit/keys=%d/value=%d", n, size), func(b *testing.B) {
				s := filled(b, 1<<30, n, n/10, size)
				const asked = 1 << 16
				keys, hashes := make([][]byte, asked), make([]uint64, asked)
				for i := range keys {
					keys[i] = benchKey(nil, rand.IntN(n))
					hashes[i] = testHash(keys[i])
				}
				var it Item
				dst := make([]byte, 0, 512)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					q := Lookup{Key: keys[i%asked], Hash: hashes[i%asked], Now: 10_000}
					if s.Get(&q, &it) {
						dst = append(dst[:0], it.Value...)
						it.Release()
					}
					i++
				}
			})
		}
	}
}

func BenchmarkSet(b *testing.B) {
	for _, size := range []int{16, 300} {
		b.Run(fmt.Sprintf("full/value=%d", size), func(b *testing.B) {
			s, _ := open(b, Options{Memory: 64 << 20})
			value, key := make([]byte, size), []byte(nil)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				copy(value, fmt.Sprintf("%016d", i))
				key = benchKey(key, i)
				s.Write(&Write{Key: key, Hash: testHash(key), Now: 10_000, Value: value})
				i++
			}
		})
	}
}
