package warm

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// throttle paces a job so that other clients of the database hardly notice it. It asks the database the least there is, a hundred
// times a second, and compares how long that takes with how long it takes while the job stands still, which it does for a moment
// every half a second: other load comes and goes, and slows both. Where an answer takes too long the job goes slower, else faster.
type throttle struct {
	ping func(ctx context.Context) error // nil: only rate bounds the pace
	rate float64                         // 0: no limit of its own

	limit  atomic.Uint64 // bits of a float64, keys a second
	ratio  atomic.Uint64 // bits of a float64: how long an answer takes, in terms of an undisturbed one
	paused atomic.Bool
	sent   atomic.Int64

	next time.Time // when the next keys may go; the job's goroutine's
}

// Figures of the throttle. Clients are promised 1.5 times; the answers that are measured are the shortest there are, and suffer
// most.
const (
	slowerAt  = 1.35 // times an undisturbed answer
	fasterAt  = 1.2
	slower    = 0.75
	faster    = 1.3
	firstPace = 30_000.0 // keys a second
	leastPace = 1_000.0  // that much nobody notices, whatever the measure says

	probeEvery = 10 * time.Millisecond
	probes     = 10 // answers in a judgement
	runs       = 5  // judgements between two moments of rest
	settling   = 2  // answers of such a moment that are not counted: keys may be under way still
	restProbes = 6
	restKept   = 24          // of the last moments together
	probeMost  = time.Second // an answer that takes longer than this counts as this long
)

func newThrottle(ping func(ctx context.Context) error, rate float64) *throttle {
	t := &throttle{ping: ping, rate: rate}
	t.setLimit(firstPace)
	t.ratio.Store(math.Float64bits(1))
	return t
}

func (t *throttle) setLimit(keys float64) { t.limit.Store(math.Float64bits(keys)) }

func (t *throttle) limitNow() float64 { return math.Float64frombits(t.limit.Load()) }

// pace waits until the next keys may go; n have gone.
func (t *throttle) pace(ctx context.Context, n int) error {
	t.sent.Add(int64(n))
	limit := math.Inf(1)
	if t.ping != nil {
		limit = t.limitNow()
	}
	if t.rate > 0 {
		limit = min(limit, t.rate)
	}
	if math.IsInf(limit, 1) {
		return nil
	}
	now := time.Now()
	if t.next.Before(now.Add(-time.Duration(float64(n) / limit * float64(time.Second)))) {
		t.next = now // what was not used before is lost
	}
	t.next = t.next.Add(time.Duration(float64(n) / limit * float64(time.Second)))
	for {
		wait := time.Until(t.next)
		if wait <= 0 && !t.paused.Load() {
			return nil
		}
		timer := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// watch measures until ctx ends. The first measure is made before it calls ready: the job has not begun.
func (t *throttle) watch(ctx context.Context, ready func()) {
	if t.ping == nil {
		ready()
		return
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	calm := t.measure(ctx, tick, nil, 0, restKept/2)
	ready()
	for ctx.Err() == nil {
		for range runs {
			sent, since := t.sent.Load(), time.Now()
			busy := t.measure(ctx, tick, nil, 0, probes)
			if len(busy) == 0 || len(calm) == 0 { // the database is not there: the filler waits for it
				break
			}
			ratio := float64(mean(busy)) / float64(mean(calm))
			t.ratio.Store(math.Float64bits(ratio))
			t.judge(ratio, float64(t.sent.Load()-sent)/time.Since(since).Seconds())
		}
		t.paused.Store(true)
		calm = t.measure(ctx, tick, calm, settling, restProbes)
		calm = calm[max(0, len(calm)-restKept):]
		t.paused.Store(false)
	}
}

// judge sets the limit after the database has answered so many times slower while so many keys a second went.
func (t *throttle) judge(ratio, achieved float64) {
	limit := t.limitNow()
	switch {
	case ratio > slowerAt:
		limit = max(min(limit, 1.2*achieved)*slower, leastPace)
	case ratio < fasterAt && achieved > limit/2: // else it is not what holds the job up
		limit *= faster
	}
	t.setLimit(limit)
}

// measure appends n answers' times to dst, without those of the first few. Where the database does not answer it adds none.
func (t *throttle) measure(ctx context.Context, tick *time.Ticker, dst []time.Duration, skip, n int) []time.Duration {
	for i := range skip + n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return dst
		}
		if took := t.probe(ctx); took > 0 && i >= skip {
			dst = append(dst, took)
		}
	}
	return dst
}

// probe asks once; 0: there was no answer.
func (t *throttle) probe(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, probeMost)
	defer cancel()
	start := time.Now()
	if err := t.ping(ctx); err != nil && ctx.Err() == nil {
		return 0
	}
	return min(max(time.Since(start), 1), probeMost)
}

// mean is the mean without the longest two fifths: an answer that was held up by something else says nothing.
func mean(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	all = all[:len(all)-2*len(all)/5]
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return sum / time.Duration(len(all))
}
