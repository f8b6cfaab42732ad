package store

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// HoldKind is what a pass does while it holds a key shard's or a data shard's lock.
type HoldKind uint8

const (
	HoldEvict HoldKind = iota
	HoldExpire
	HoldCompact
	HoldFlush
	HoldSnapshot
	HoldKinds
)

func (k HoldKind) String() string {
	return [...]string{"evict", "expire", "compact", "flush", "snapshot"}[k]
}

// Holds tells how long the lock holds of one kind were that touched a record. A percentile is the upper end of its class: of
// eight to each power of two.
type Holds struct {
	Count    uint64
	P50, P99 time.Duration
	Max      time.Duration
}

const holdClasses = 8 * 40

// holds is a histogram of durations for each kind. Passes write it, at most a few hundred thousand times a second.
type holds [HoldKinds]struct {
	class [holdClasses]atomic.Uint64
	max   atomic.Int64
}

// note counts a hold that began then, unless it touched nothing.
func (h *holds) note(kind HoldKind, touched int, began time.Time) {
	if touched == 0 {
		return
	}
	d := time.Since(began)
	k := &h[kind]
	k.class[holdClass(d)].Add(1)
	for {
		old := k.max.Load()
		if int64(d) <= old || k.max.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

func holdClass(d time.Duration) int {
	n := uint64(max(d, 8))
	e := bits.Len64(n) - 4
	return min(8*e+int(n>>e&7), holdClasses-1)
}

func holdEnd(class int) time.Duration { return time.Duration(uint64(8+class%8+1)<<(class/8) - 1) }

func (h *holds) read(kind HoldKind) (r Holds) {
	k := &h[kind]
	var n [holdClasses]uint64
	for i := range n {
		n[i] = k.class[i].Load()
		r.Count += n[i]
	}
	r.Max = time.Duration(k.max.Load())
	sum := uint64(0)
	for i := range n {
		before := sum
		sum += n[i]
		if half := (r.Count + 1) / 2; before < half && sum >= half {
			r.P50 = min(holdEnd(i), r.Max)
		}
		if most := r.Count - r.Count/100; before < most && sum >= most {
			r.P99 = min(holdEnd(i), r.Max)
		}
	}
	return r
}
