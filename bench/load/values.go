package load

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Values is what is stored under the ids: the payload follows from the id alone, so every answer can be checked.
type Values struct {
	Distinct int      // how many different payloads; 0: one per id
	sizes    []uint32 // a payload's size is drawn from these by its number
	byID     []uint32 // sizes from a trace, by id, in place of sizes
}

// ParseSizes reads a distribution of value sizes in bytes: "100" is one size, "50-500" all between with equal weight,
// "64*5,1024*3" sizes with integer weights.
func ParseSizes(s string) (Values, error) {
	var v Values
	bad := func() (Values, error) {
		return Values{}, fmt.Errorf("load: value sizes %q: want 100, 50-500 or 64*5,1024*3, each at most %d", s, maxValue)
	}
	if low, high, ok := strings.Cut(s, "-"); ok {
		a, err1 := strconv.Atoi(low)
		b, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || a < 0 || b < a || b > maxValue {
			return bad()
		}
		for n := a; n <= b; n++ {
			v.sizes = append(v.sizes, uint32(n))
		}
		return v, nil
	}
	for _, part := range strings.Split(s, ",") {
		size, weight, weighted := strings.Cut(part, "*")
		n, err := strconv.Atoi(size)
		if err != nil || n < 0 || n > maxValue {
			return bad()
		}
		w := 1
		if weighted {
			if w, err = strconv.Atoi(weight); err != nil || w < 1 || w > 1000 {
				return bad()
			}
		}
		for range w {
			v.sizes = append(v.sizes, uint32(n))
		}
	}
	return v, nil
}

// maxValue keeps values under memcached's default item size of 1 MB, header included.
const maxValue = 1<<20 - 512

// SizedByID returns Values whose sizes are given per id, as a trace has them; larger ones are cut to what memcached takes.
func SizedByID(sizes []uint32) Values {
	byID := make([]uint32, len(sizes))
	for i, n := range sizes {
		byID[i] = min(n, maxValue)
	}
	return Values{byID: byID}
}

// payload is the number of id's payload.
func (v *Values) payload(id uint32) uint32 {
	if v.Distinct > 0 {
		return id % uint32(v.Distinct)
	}
	return id
}

// Size returns the size in bytes of id's value.
func (v *Values) Size(id uint32) int {
	if v.byID != nil {
		return int(v.byID[int(id)%len(v.byID)])
	}
	if len(v.sizes) == 1 {
		return int(v.sizes[0])
	}
	h := mix(uint64(v.payload(id)) + 7)
	return int(v.sizes[h>>32*uint64(len(v.sizes))>>32])
}

// Flags returns the client flags of id's value.
func (v *Values) Flags(id uint32) uint32 { return v.payload(id) & 3 }

// Append appends id's value: printable bytes that look random and differ from the first eight on.
func (v *Values) Append(dst []byte, id uint32) []byte {
	n := v.Size(id)
	state := uint64(v.payload(id))
	for ; n > 0; n -= 8 {
		state = mix(state)
		// Six bits a byte, from '0' to 'o'.
		dst = binary.LittleEndian.AppendUint64(dst, state&0x3f3f3f3f3f3f3f3f+0x3030303030303030)
	}
	return dst[:len(dst)+n] // n is now how much the last word was too long, negated
}
