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

// BenchmarkGetMany looks keys up in groups, one after the other or read ahead.
func BenchmarkGetMany(b *testing.B) {
	const n, asked = 1_000_000, 1 << 16
	for _, load := range []struct{ distinct, size int }{{n, 100}, {n / 10, 300}} {
		s := filled(b, 1<<30, n, load.distinct, load.size)
		keys, hashes := make([][]byte, asked), make([]uint64, asked)
		for i := range keys {
			keys[i] = benchKey(nil, rand.IntN(n))
			hashes[i] = testHash(keys[i])
		}
		for _, ahead := range []bool{false, true} {
			b.Run(fmt.Sprintf("distinct=%d/value=%d/ahead=%v", load.distinct, load.size, ahead), func(b *testing.B) {
				var it Item
				dst := make([]byte, 0, 512)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if ahead && i%AheadMost == 0 {
						s.Ahead(hashes[i%asked : i%asked+AheadMost])
					}
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
