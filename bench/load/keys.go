package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
)

// Sequence yields the ids of the keys to ask for, one after the other. It is for one goroutine; every loop has its own.
type Sequence func() uint32

// zipfLength is how many draws of a Zipf sequence are made before a run; then they repeat. Drawing costs a binary search,
// too much for the loop.
const zipfLength = 1 << 22

// Uniform draws ids below n evenly.
func Uniform(n int, seed uint64) Sequence {
	state := mix(seed)
	return func() uint32 {
		state++
		return uint32(mix(state) >> 32 * uint64(n) >> 32)
	}
}

// Zipf draws ids below n so that the one of rank r comes up in proportion to r^-s, for any s >= 0. Ranks are strewn over the
// ids, so popular keys are not neighbours in the server's memory.
func Zipf(n int, s float64, seed uint64) Sequence {
	sum := make([]float64, n)
	total := 0.0
	for i := range sum {
		total += math.Pow(float64(i+1), -s)
		sum[i] = total
	}
	stride := strideOf(n)
	rng := rand.New(rand.NewPCG(seed, 1))
	ids := make([]uint32, zipfLength)
	for i := range ids {
		rank := sort.SearchFloat64s(sum, rng.Float64()*total)
		ids[i] = uint32(uint64(min(rank, n-1)) * stride % uint64(n))
	}
	return Repeat(ids, 0)
}

// strideOf returns a number without a common factor with n, near n times the golden section: multiplying by it modulo n
// permutes 0 to n-1.
func strideOf(n int) uint64 {
	gcd := func(a, b uint64) uint64 {
		for b != 0 {
			a, b = b, a%b
		}
		return a
	}
	stride := max(uint64(float64(n)*0.618), 1)
	for gcd(stride, uint64(n)) != 1 {
		stride++
	}
	return stride
}

// Repeat yields ids in their order, beginning at the index start, over and over. It keeps ids.
func Repeat(ids []uint32, start int) Sequence {
	i := start % len(ids)
	return func() uint32 {
		id := ids[i]
		if i++; i == len(ids) {
			i = 0
		}
		return id
	}
}

// mix is one step of splitmix64: different inputs give unrelated outputs.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Keys is the form of keys: a prefix and the id in decimal, padded with zeros to Size bytes in all; or, with Parts, seven
// parts out of order, of which one is the id.
type Keys struct {
	Size  int
	Parts bool
}

const keyPrefix = "key:"

// minKeySize has room for the prefix and every uint32.
const minKeySize = len(keyPrefix) + 10

// PartsTemplate is the template of the route that keys with parts belong to.
const PartsTemplate = "chr|browser={browser}|cat={cat}|country={country}|dev={dev}|h={h:int}|os={os}|w={w:int}"

// The spelling of a key with parts: what comes before and behind the ten digits of dev.
const (
	partsBefore = "chr|w=1080|os=android|dev="
	partsBehind = "|country=IN|h=1920|cat=smartphone|browser=chrome_mobile"
)

// PartsSize is the size of a key with parts in bytes.
const PartsSize = len(partsBefore) + 10 + len(partsBehind)

// Check says what is wrong with the form.
func (k Keys) Check() error {
	if k.Parts && k.Size != PartsSize {
		return fmt.Errorf("load: keys with parts have %d bytes, not %d", PartsSize, k.Size)
	}
	if k.Size < minKeySize || k.Size > 250 {
		return fmt.Errorf("load: keys of %d bytes: want %d to 250", k.Size, minKeySize)
	}
	return nil
}

// zeros is copied from for the padding.
var zeros = func() (z [250]byte) {
	for i := range z {
		z[i] = '0'
	}
	return z
}()

// Append appends the key of id.
func (k Keys) Append(dst []byte, id uint32) []byte {
	if k.Parts {
		dst = append(dst, partsBefore...)
		dst = appendDigits(dst, 10, id)
		return append(dst, partsBehind...)
	}
	dst = append(dst, keyPrefix...)
	return appendDigits(dst, k.Size-len(keyPrefix), id)
}

// appendDigits appends id with n digits.
func appendDigits(dst []byte, n int, id uint32) []byte {
	dst = append(dst, zeros[:n]...)
	for i := len(dst) - 1; id > 0; i-- {
		dst[i] += byte(id % 10)
		id /= 10
	}
	return dst
}
