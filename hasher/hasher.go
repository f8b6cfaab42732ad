// Package hasher turns keys and payloads into numbers: a keyed 64-bit hash for the key index, a seeded 128-bit digest by
// which identical payloads meet in memory, an unkeyed digest for the wire and a fingerprint for route settings. Everything
// here is a pure function of its arguments; the values are pinned by tests because they outlive the process (arena headers,
// snapshots, peers).
package hasher

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// Seed is the 128-bit secret behind Key and Payload. It is kept in the arena header, so that a restart finds its records
// again, and must reach no client: whoever knows it can make keys collide. A Seed may be used by many goroutines.
type Seed [16]byte

// NewSeed returns a seed from the system's random source.
func NewSeed() Seed {
	var s Seed
	rand.Read(s[:]) // never fails: crypto/rand ends the process instead
	return s
}

// Payload returns the digest of p under s: xxh3-128 with a 64-bit seed derived from s. Equal payloads have equal digests;
// a match still wants the bytes compared, since xxh3 makes no promise against someone who chooses payloads.
func (s *Seed) Payload(p []byte) (hi, lo uint64) {
	d := xxh3.Hash128Seed(p, s.payloadSeed())
	return d.Hi, d.Lo
}

// payloadSeed keeps the key of the index out of xxh3, whose seed could be worked out by timing; it costs one short SipHash.
func (s *Seed) payloadSeed() uint64 {
	return s.Key(payloadLabel)
}

var payloadLabel = []byte("payload digest")

// WireDigest returns the first 128 bits of p's SHA-256, for places where the receiver cannot compare bytes.
func WireDigest(p []byte) [16]byte {
	sum := sha256.Sum256(p)
	return [16]byte(sum[:16])
}

// Fingerprint returns 64 bits that change when any part changes, when a part is added or removed, or when bytes move over
// the border between two parts. It depends on nothing else, in this and every later version.
func Fingerprint(parts ...string) uint64 {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.LittleEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	return binary.LittleEndian.Uint64(h.Sum(nil))
}
