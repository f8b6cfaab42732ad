// Package stat summarizes the few, noisy figures of a benchmark: the median with the range it was seen in, and an interval
// of the median by bootstrap. Means and standard deviations are left out, because interrupted rounds are not normal.
package stat

import (
	"math/rand/v2"
	"slices"
)

// Summary of one series of figures. Low and High bound the median with 95 % confidence.
type Summary struct {
	N      int     `json:"n"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
	Low    float64 `json:"low95"`
	High   float64 `json:"high95"`
}

// resamples of the bootstrap: enough for two digits of the interval, and a few milliseconds.
const resamples = 10000

// Of summarizes xs, which it leaves as it is. The same figures give the same interval. No figures give the zero Summary.
func Of(xs []float64) Summary {
	if len(xs) == 0 {
		return Summary{}
	}
	sorted := slices.Clone(xs)
	slices.Sort(sorted)
	s := Summary{N: len(xs), Min: sorted[0], Median: median(sorted), Max: sorted[len(sorted)-1]}
	rng := rand.New(rand.NewPCG(1, uint64(len(xs))))
	medians := make([]float64, resamples)
	draw := make([]float64, len(xs))
	for i := range medians {
		for j := range draw {
			draw[j] = sorted[rng.IntN(len(sorted))]
		}
		slices.Sort(draw)
		medians[i] = median(draw)
	}
	slices.Sort(medians)
	s.Low, s.High = medians[resamples/40], medians[resamples-1-resamples/40]
	return s
}

// Ratios divides each figure of a by its partner in b, which was measured right after or before it: what slows both, as a
// neighbour on the machine does, cancels out. It panics if the series differ in length.
func Ratios(a, b []float64) []float64 {
	if len(a) != len(b) {
		panic("stat: series of different lengths")
	}
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}

// median of a sorted, non-empty series.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
