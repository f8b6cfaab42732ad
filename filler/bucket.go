package filler

import (
	"sync"
	"time"
)

// bucket is a token bucket. A rate of 0 is no limit, and so is the zero value. Without locks.
type bucket struct {
	rate   float64 // tokens a second
	size   float64 // most tokens it holds
	tokens float64 // below zero after a take that was not asked for beforehand
	last   time.Time
}

// set changes rate and size. What was spent stays spent; a bucket that had no limit before starts full.
func (b *bucket) set(rate, size float64, now time.Time) {
	size = max(1, size)
	if b.rate > 0 {
		b.refill(now)
	} else {
		b.tokens = size
	}
	b.rate, b.size, b.last = rate, size, now
	b.tokens = min(b.tokens, size)
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

// pace returns how many of want tokens are there. Where that is less than want, it waits for as many as window brings, rather
// than have single keys sent at the pace of the tokens.
func (b *bucket) pace(want int, window time.Duration, now time.Time) (n int, wait time.Duration) {
	n = b.has(want, now)
	if n < want {
		if least := max(1, min(want, int(b.rate*window.Seconds()), int(b.size))); n < least {
			wait = b.wait(least)
		}
	}
	return n, wait
}

func (b *bucket) refill(now time.Time) {
	b.tokens = min(b.size, b.tokens+now.Sub(b.last).Seconds()*b.rate)
	b.last = now
}

// meter is a bucket that loads take tokens from as well as the dispatcher.
type meter struct {
	mu sync.Mutex
	b  bucket
}

func (m *meter) set(rate, size float64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b.set(rate, size, now)
}

func (m *meter) pace(want int, window time.Duration, now time.Time) (n int, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.b.pace(want, window, now)
}

// limited tells whether there is a rate to be kept.
func (m *meter) limited() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.b.rate > 0
}

func (m *meter) take(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b.take(n)
}

// reserve takes n tokens, perhaps some that are not there yet, and returns how long it takes until they are.
func (m *meter) reserve(n int, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b.has(n, now)
	m.b.take(n)
	return m.b.wait(0)
}
