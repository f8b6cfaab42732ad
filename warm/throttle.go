package warm

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// throttle paces a job so that other clients of the database hardly notice it. The job asks the database one thing at a time, a turn,
// and rests after each in proportion to the time that it took, so that the database is busy with it for a certain share of the
// time at most.
//
// That share follows from what others notice. The throttle asks the database the least there is, a hundred times a second, and
// compares how long that takes with how long it takes while the job stands still, which it does for a moment every second: other
// load comes and goes, and slows both. Where an answer takes too long the share becomes smaller, else larger. At its largest the
// job asks for more keys at a time: few are cheap for those who wait meanwhile, many for the database. On a machine of two cores that
// the server, the database and its other client share, that client's 99th percentile was 1.1 to 1.4 times as long with 64 to 512 keys, and 1.2 to 2.2
// times with 128 to 4096, however long the job rested.
type throttle struct {
	full bool                            // no turns, only rate
	ping func(ctx context.Context) error // nil: the share is all the time
	rate float64                         // keys a second; 0: no limit

	share atomic.Uint64 // bits of a float64, above 0 to 1
	keys  atomic.Int64  // to ask for at a time, at most
	speed atomic.Uint64 // bits of a float64: keys a second of the last turn with keys; 0: there was none
	ratio atomic.Uint64 // bits of a float64: how long an answer takes, in terms of an undisturbed one
	turns chan struct{} // holds a token while somebody has the turn

	next time.Time // when the next keys may go by rate; the job's goroutine's
}

// Figures of the throttle. Clients are promised 1.5 times.
const (
	slowerAt   = 1.35 // times an undisturbed answer
	fasterAt   = 1.2
	slower     = 0.75
	faster     = 1.3
	firstShare = 0.25
	leastShare = 0.02 // that much nobody notices, whatever the measure says
	mostShare  = 0.5  // above it single statements wait: too few for the measure, enough for somebody's 99th percentile
	leastKeys  = 64
	mostKeys   = 512

	probeEvery = 10 * time.Millisecond // on the average
	probes     = 50                    // answers in a judgement
	runs       = 2                     // judgements between two moments of rest
	firstCalm  = 40                    // answers before the job begins
	restCalm   = 12                    // in a moment of rest
	keepCalm   = 100                   // of the last moments together
	probeMost  = time.Second           // an answer that takes longer than this counts as this long
	outlier    = 10                    // times the median: what is longer counts as so long, else one says more than all others
)

func newThrottle(ping func(ctx context.Context) error, rate float64, full bool) *throttle {
	t := &throttle{full: full, ping: ping, rate: rate, turns: make(chan struct{}, 1)}
	t.setShare(1)
	t.keys.Store(mostKeys)
	if full {
		t.ping = nil
	} else if ping != nil {
		t.setShare(firstShare)
		t.keys.Store(leastKeys)
	}
	t.ratio.Store(math.Float64bits(1))
	return t
}

func (t *throttle) setShare(share float64) { t.share.Store(math.Float64bits(share)) }

func (t *throttle) shareNow() float64 { return math.Float64frombits(t.share.Load()) }

// limitNow is how many keys a second the throttle allows; 0: as many as the database answers one question after the other.
func (t *throttle) limitNow() float64 {
	limit := t.rate
	if share := t.shareNow(); share < 1 {
		if paced := share * math.Float64frombits(t.speed.Load()); limit == 0 || paced > 0 && paced < limit {
			limit = paced
		}
	}
	return limit
}

// turn waits for the job's turn to ask the database. Whoever has it calls end when the answer is there, with the number of keys that it
// was about; end rests, and waits as long as the rate wants, unless ctx ends. After an error end does nothing.
func (t *throttle) turn(ctx context.Context) (end func(keys int), err error) {
	if !t.full {
		select {
		case t.turns <- struct{}{}:
		case <-ctx.Done():
			return func(int) {}, ctx.Err()
		}
	}
	began := time.Now()
	return func(keys int) {
		now := time.Now()
		until := now
		if !t.full {
			took := now.Sub(began)
			if keys > 0 {
				t.speed.Store(math.Float64bits(float64(keys) / max(took, 1).Seconds()))
			}
			until = now.Add(time.Duration(float64(took) * (1/t.shareNow() - 1)))
			sleep(ctx, time.Until(until))
			<-t.turns
		}
		if t.rate > 0 && keys > 0 {
			if t.next.Before(began) {
				t.next = began // what was not used before is lost
			}
			t.next = t.next.Add(time.Duration(float64(keys) / t.rate * float64(time.Second)))
			sleep(ctx, time.Until(t.next))
		}
	}, nil
}

// sleep waits so long, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// watch measures until ctx ends. The first measure is made before it calls ready: the job has not begun.
func (t *throttle) watch(ctx context.Context, ready func()) {
	if t.ping == nil {
		ready()
		return
	}
	calm := t.measure(ctx, nil, firstCalm)
	ready()
	for ctx.Err() == nil {
		for range runs {
			busy := t.measure(ctx, nil, probes)
			if len(busy) == 0 || len(calm) == 0 { // the database is not there: the filler waits for it
				break
			}
			t.judge(compare(busy, calm))
		}
		select { // while this has the turn, nobody asks anything
		case t.turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		calm = t.measure(ctx, calm, restCalm)
		calm = calm[max(0, len(calm)-keepCalm):]
		<-t.turns
	}
}

// judge sets share and keys after the database has answered so many times slower.
func (t *throttle) judge(ratio float64) {
	t.ratio.Store(math.Float64bits(ratio))
	share, keys := t.shareNow(), t.keys.Load()
	switch {
	case ratio > slowerAt && keys > leastKeys:
		keys = max(keys/2, leastKeys)
	case ratio > slowerAt:
		share = max(share*slower, leastShare)
	case ratio < fasterAt && share < mostShare:
		share = min(share*faster, mostShare)
	case ratio < fasterAt:
		keys = min(keys*2, mostKeys)
	}
	t.setShare(share)
	t.keys.Store(keys)
}

// measure appends n answers' times to dst. Where the database does not answer it adds none. The moments are left to chance, lest they
// fall in with the job's turns.
func (t *throttle) measure(ctx context.Context, dst []time.Duration, n int) []time.Duration {
	for range n {
		sleep(ctx, probeEvery/2+rand.N(probeEvery))
		if ctx.Err() != nil {
			return dst
		}
		if took := t.probe(ctx); took > 0 {
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

// compare says how many times longer answers take when the database is busy than when it is calm: in the mean or, where that is more,
// at the 95th percentile, for those who wait notice the long ones.
func compare(busy, calm []time.Duration) float64 {
	busy, calm = slices.Sorted(slices.Values(busy)), slices.Sorted(slices.Values(calm))
	most := outlier * calm[len(calm)/2]
	mean := func(all []time.Duration) float64 {
		var sum time.Duration
		for _, d := range all {
			sum += min(d, most)
		}
		return float64(sum) / float64(len(all))
	}
	long := func(all []time.Duration) float64 { return float64(min(all[(len(all)-1)*95/100], most)) }
	return max(mean(busy)/mean(calm), long(busy)/long(calm))
}
