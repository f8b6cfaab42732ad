package hasher

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dchest/siphash"
	"github.com/zeebo/xxh3"
)

// testSeed is the key of SipHash's own test vectors: 00 01 .. 0f.
var testSeed = Seed{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func TestKeyPinned(t *testing.T) {
	zero := Seed{}
	for _, tt := range []struct {
		name string
		seed *Seed
		key  string
		want uint64
	}{
		// The zero seed: CPython hashes bytes with SipHash-1-3 and this key under PYTHONHASHSEED=0.
		{"zero/a", &zero, "a", 0x407448d2b89b1813},
		{"zero/7", &zero, "swordfi", 0xceecec8e61b8ee92},
		{"zero/8", &zero, "swordfis", 0xb2b5f509a1b85127},
		{"zero/40", &zero, "0123456789012345678901234567890123456789", 0xd4248f9a9ace8e0c},
		{"seed/empty", &testSeed, "", 0xabac0158050fc4dc},
		{"seed/1", &testSeed, "k", 0x23cf38008df6e65b},
		{"seed/7", &testSeed, "seven77", 0x2818785f50b4e95c},
		{"seed/8", &testSeed, "eight888", 0x7375fc46ec7bb63d},
		{"seed/9", &testSeed, "nine99999", 0xafe8fd0f06426308},
		{"seed/route", &testSeed, "chr|country=IN|dev=12|os=android", 0x3b263f2905ad6511},
		{"seed/250", &testSeed, strings.Repeat("x", 250), 0xb9794bd429da72e9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.seed.Key([]byte(tt.key)); got != tt.want {
				t.Errorf("Key(%q) = %#x, want %#x", tt.key, got, tt.want)
			}
		})
	}
}

// refSip is SipHash-c-d as the paper tells it, a byte at a time.
func refSip(c, d int, k0, k1 uint64, p []byte) uint64 {
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	round := func() {
		v[0] += v[1]
		v[1] = bits.RotateLeft64(v[1], 13)
		v[1] ^= v[0]
		v[0] = bits.RotateLeft64(v[0], 32)
		v[2] += v[3]
		v[3] = bits.RotateLeft64(v[3], 16)
		v[3] ^= v[2]
		v[0] += v[3]
		v[3] = bits.RotateLeft64(v[3], 21)
		v[3] ^= v[0]
		v[2] += v[1]
		v[1] = bits.RotateLeft64(v[1], 17)
		v[1] ^= v[2]
		v[2] = bits.RotateLeft64(v[2], 32)
	}
	word := uint64(0)
	mix := func() {
		v[3] ^= word
		for range c {
			round()
		}
		v[0] ^= word
		word = 0
	}
	for i, b := range p {
		word |= uint64(b) << (8 * (i % 8))
		if i%8 == 7 {
			mix()
		}
	}
	word |= uint64(len(p)) << 56
	mix()
	v[2] ^= 0xff
	for range d {
		round()
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

// The reference is checked against a known SipHash-2-4, then Key against the reference at 1-3.
func TestKeyIsSipHash13(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 260 {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		const k0, k1 = 0x0706050403020100, 0x0f0e0d0c0b0a0908
		if got, want := refSip(2, 4, k0, k1, p), siphash.Hash(k0, k1, p); got != want {
			t.Fatalf("length %d: the reference says %#x, siphash %#x", n, got, want)
		}
		if got, want := testSeed.Key(p), refSip(1, 3, k0, k1, p); got != want {
			t.Fatalf("length %d: Key = %#x, want %#x", n, got, want)
		}
	}
}

func TestKeyDependsOnSeed(t *testing.T) {
	a, b := NewSeed(), NewSeed()
	if a == b {
		t.Fatal("two new seeds are equal")
	}
	if a.Key([]byte("key")) == b.Key([]byte("key")) {
		t.Error("two seeds hash a key alike")
	}
	again := a
	if a.Key([]byte("key")) != again.Key([]byte("key")) {
		t.Error("a copied seed hashes a key differently")
	}
}

func TestPayload(t *testing.T) {
	for _, tt := range []struct {
		name   string
		p      string
		hi, lo uint64
	}{
		{"empty", "", 0x21a57c8b891c2145, 0x88f06f11e5953c71},
		{"short", "a:0:{}", 0x874244abb89b3ade, 0x358bdce2d92212ff},
		{"300", strings.Repeat("abc", 100), 0xe34a939efac54f1c, 0x80535d7268ec5cf1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hi, lo := testSeed.Payload([]byte(tt.p))
			if hi != tt.hi || lo != tt.lo {
				t.Errorf("Payload = %#x, %#x, want %#x, %#x", hi, lo, tt.hi, tt.lo)
			}
			other := NewSeed()
			if h, l := other.Payload([]byte(tt.p)); h == hi && l == lo {
				t.Error("another seed gives the same digest")
			}
			if plain := xxh3.HashString128(tt.p); plain.Hi == hi && plain.Lo == lo {
				t.Error("the digest is unseeded")
			}
		})
	}
}

func TestWireDigest(t *testing.T) {
	got := WireDigest([]byte("abc"))
	want, _ := hex.DecodeString("ba7816bf8f01cfea414140de5dae2223") // FIPS 180-2, example B.1, first half
	if !bytes.Equal(got[:], want) {
		t.Errorf("WireDigest(abc) = %x, want %x", got, want)
	}
}

func TestFingerprint(t *testing.T) {
	const pinned = 0xdf339de0d4f1dd5
	if got := Fingerprint("chr|country={country}", "lower=os"); got != pinned {
		t.Errorf("Fingerprint = %#x, want %#x", got, uint64(pinned))
	}
	seen := map[uint64][]string{}
	for _, parts := range [][]string{
		{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"ab", ""}, {"", "ab"}, {"b", "a"}, {"a\x00b"}, {"a", "", "b"},
	} {
		f := Fingerprint(parts...)
		if twin, dup := seen[f]; dup {
			t.Errorf("%q and %q have the same fingerprint", parts, twin)
		}
		seen[f] = parts
	}
}

func TestHashesDoNotAllocate(t *testing.T) {
	key, payload := bytes.Repeat([]byte("k"), 45), bytes.Repeat([]byte("p"), 4096)
	var sink uint64
	var wire [16]byte
	seed := testSeed
	if n := testing.AllocsPerRun(100, func() {
		hi, lo := seed.Payload(payload)
		sink += seed.Key(key) + hi + lo
		wire = WireDigest(payload)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	_, _ = sink, wire
}

func FuzzKey(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), []byte("key"))
	f.Fuzz(func(t *testing.T, seed, key []byte) {
		var s Seed
		copy(s[:], seed)
		var k0, k1 uint64
		for i := range 8 {
			k0 |= uint64(s[i]) << (8 * i)
			k1 |= uint64(s[8+i]) << (8 * i)
		}
		if got, want := s.Key(key), refSip(1, 3, k0, k1, key); got != want {
			t.Errorf("Key = %#x, want %#x", got, want)
		}
		s.Payload(key)
		WireDigest(key)
		Fingerprint(string(seed), string(key))
	})
}

var sink uint64

// BenchmarkKey sets the hash in use beside its alternatives.
func BenchmarkKey(b *testing.B) {
	seed := testSeed
	for _, algo := range []struct {
		name string
		hash func(p []byte) uint64
	}{
		{"siphash13", seed.Key},
		{"siphash24-dchest", func(p []byte) uint64 { return siphash.Hash(0x0706050403020100, 0x0f0e0d0c0b0a0908, p) }},
		{"xxh3-64-seeded", func(p []byte) uint64 { return xxh3.HashSeed(p, 0x0706050403020100) }},
	} {
		for _, n := range []int{8, 40, 250} {
			b.Run(fmt.Sprintf("algo=%s/bytes=%d", algo.name, n), func(b *testing.B) {
				p := bytes.Repeat([]byte("k"), n)
				b.ReportAllocs()
				for b.Loop() {
					sink += algo.hash(p)
				}
			})
		}
	}
}

func BenchmarkPayload(b *testing.B) {
	seed := testSeed
	for _, n := range []int{32, 300, 4096, 1 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", n), func(b *testing.B) {
			p := bytes.Repeat([]byte("p"), n)
			b.ReportAllocs()
			for b.Loop() {
				hi, lo := seed.Payload(p)
				sink += hi + lo
			}
		})
	}
}
