package testdata

import (
	"math/rand/v2"
	"sort"
	"strconv"
	"sync"
)

// HomeCountries are where ordinary traffic comes from; ColdCountry is the one nobody has asked for yet.
var HomeCountries = []string{"US", "GB", "DE", "FR", "BR", "JP"}

// ColdCountry is the region that arrives one day, all at once.
const ColdCountry = "IN"

// AppendKey appends the key that a request of d from country asks, its parts in the pattern's order.
func AppendKey(dst []byte, country string, d *Device) []byte {
	dst = append(dst, "chr"...)
	for part := range RouteParts {
		dst = appendPart(dst, part, country, d)
	}
	return dst
}

// AppendShuffledKey appends the same key with its parts in an order drawn from r, as clients spell it that build keys from
// a hash map.
func AppendShuffledKey(dst []byte, r *rand.Rand, country string, d *Device) []byte {
	order := [...]int{0, 1, 2, 3, 4, 5, 6}
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	dst = append(dst, "chr"...)
	for _, part := range order {
		dst = appendPart(dst, part, country, d)
	}
	return dst
}

// appendPart appends one part by its place in RouteParts.
func appendPart(dst []byte, part int, country string, d *Device) []byte {
	dst = append(dst, '|')
	dst = append(dst, RouteParts[part]...)
	dst = append(dst, '=')
	switch part {
	case 0:
		return append(dst, country...)
	case 1:
		return strconv.AppendInt(dst, int64(d.ID), 10)
	case 2:
		return append(dst, d.OS...)
	case 3:
		return append(dst, d.Browser...)
	case 4:
		return append(dst, d.Category...)
	case 5:
		return strconv.AppendInt(dst, int64(d.Width), 10)
	default:
		return strconv.AppendInt(dst, int64(d.Height), 10)
	}
}

var cumulative = sync.OnceValue(func() []float64 {
	sums := make([]float64, len(Devices()))
	total := 0.0
	for i := range Devices() {
		total += Devices()[i].Weight
		sums[i] = total
	}
	return sums
})

// DrawDevice draws a device by its share of traffic.
func DrawDevice(r *rand.Rand) *Device {
	sums := cumulative()
	i := sort.SearchFloat64s(sums, r.Float64()*sums[len(sums)-1])
	return &Devices()[min(i, len(sums)-1)]
}
