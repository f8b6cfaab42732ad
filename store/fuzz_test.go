package store

import (
	"math/rand/v2"
	"testing"
)

// script is random numbers that a fuzz target chooses: each byte is one. Behind its end they are any.
type script struct {
	bytes []byte
	drawn uint64
}

func (s *script) Uint64() uint64 {
	s.drawn++
	if len(s.bytes) == 0 {
		return s.drawn * 0x9e3779b97f4a7c15
	}
	b := uint64(s.bytes[0])
	s.bytes = s.bytes[1:]
	return b*0x0101010101010101 | 2<<32 // all zeros would be refused by some, and asked for again
}

// FuzzHistory plays a history that the bytes tell: plain keys against a map, and keys of a route, loads included, which never go
// back, in one store, with flushes, changed limits, passes and snapshots between. The first byte says what kind of store it is.
func FuzzHistory(f *testing.F) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		b := []byte{byte(seed)}
		for range 200 << (seed % 4) {
			b = append(b, byte(rng.Uint64()))
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 8<<10 {
			return
		}
		kind := b[0]
		sc := &script{bytes: b[1:]}
		rng := rand.New(sc)
		m := &model{rng: rng, items: map[string]modelItem{}, given: map[uint64]bool{}, tight: kind&1 != 0}
		o := Options{Memory: 16 << 20, NoSharing: kind&2 != 0}
		if m.tight {
			o.Memory = 1 << 20
		}
		m.tester = newTester(t, o)
		h := &history{tester: m.tester, rng: rng, r: testRoute}
		h.flushed = func() {
			clear(m.items)
			m.flushAt = 0
		}
		h.id = h.routes(h.r)[0]
		for len(sc.bytes) > 0 {
			if rng.IntN(4) == 0 {
				h.play()
			} else {
				m.play()
			}
		}
		m.readAll()
		verify(t, m.Store)
	})
}
