package filler

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// LoadTimes counts loads by how long they took: bucket i those of less than LoadTimeBound(i), and not less than the bound
// before it. The last has no bound.
type LoadTimes [loadBuckets]uint64

const (
	loadBuckets = 21
	loadUnit    = 64 * time.Microsecond
)

// LoadTimeBound is the upper bound of bucket i: doublings from 64 microseconds, the last but one 33 seconds.
func LoadTimeBound(i int) time.Duration { return loadUnit << i }

type loadTimes [loadBuckets]atomic.Uint64

func (l *loadTimes) record(d time.Duration) {
	l[min(bits.Len64(uint64(d/loadUnit)), loadBuckets-1)].Add(1)
}

func (l *loadTimes) load() (sum LoadTimes) {
	for i := range l {
		sum[i] = l[i].Load()
	}
	return sum
}
