package filler

import "time"

// bucket is a token bucket. A rate of 0 is no limit. It belongs to the dispatcher, without locks.
type bucket struct {
	rate   float64 // tokens a second
	size   float64 // most tokens it holds
	tokens float64 // below zero after a take that was not asked for beforehand
	last   time.Time
}

func newBucket(rate, size float64, now time.Time) bucket {
	return bucket{rate: rate, size: size, tokens: size, last: now}
}

// has returns how many of want tokens are there, as a whole number of at least 0.
func (b *bucket) has(want int, now time.Time) int {
	if b.rate <= 0 {
		return want
	}
	b.refill(now)
	return max(0, min(want, int(b.tokens)))
}

// take removes n tokens. A negative n gives tokens back.
func (b *bucket) take(n int) {
	if b.rate > 0 {
		b.tokens = min(b.size, b.tokens-float64(n))
	}
}

// wait returns how long it takes until n tokens are there, counted from the last refill.
func (b *bucket) wait(n int) time.Duration {
	if b.rate <= 0 || b.tokens >= float64(n) {
		return 0
	}
	// A millisecond more than computed: rounding must not wake the dispatcher for a fraction of a token.
	return time.Duration((float64(n)-b.tokens)/b.rate*float64(time.Second)) + time.Millisecond
}

func (b *bucket) refill(now time.Time) {
	b.tokens = min(b.size, b.tokens+now.Sub(b.last).Seconds()*b.rate)
	b.last = now
}
