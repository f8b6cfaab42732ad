package hasher

import (
	"encoding/binary"
	"math/bits"
)

// Key returns the SipHash-1-3 of key under s. Without s nobody can find keys that share a shard or an index slot, and with
// s the same value comes out in every process. It does not allocate and does not keep key.
//
// The last word is read as the last 8 bytes of the key, shifted, instead of byte by byte: keys of 8 bytes and more, that is
// nearly all, then have no data-dependent branch but the loop. docs/decisions/0001-key-hash.md has the figures.
func (s *Seed) Key(key []byte) uint64 {
	k0 := binary.LittleEndian.Uint64(s[:8])
	k1 := binary.LittleEndian.Uint64(s[8:])
	v0 := k0 ^ 0x736f6d6570736575
	v1 := k1 ^ 0x646f72616e646f6d
	v2 := k0 ^ 0x6c7967656e657261
	v3 := k1 ^ 0x7465646279746573

	last := uint64(len(key)) << 56
	if rest := len(key) & 7; rest != 0 {
		if len(key) >= 8 {
			last |= binary.LittleEndian.Uint64(key[len(key)-8:]) >> (64 - 8*uint(rest))
		} else {
			last |= shortWord(key)
		}
	}
	for ; len(key) >= 8; key = key[8:] {
		m := binary.LittleEndian.Uint64(key)
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last

	v2 ^= 0xff
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32) + v3
	v2 += v1
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	return v0, v1, bits.RotateLeft64(v2, 32), v3
}

// shortWord reads the 1 to 7 bytes of key as a little-endian number.
func shortWord(key []byte) (w uint64) {
	for i := len(key) - 1; i >= 0; i-- {
		w = w<<8 | uint64(key[i])
	}
	return w
}
