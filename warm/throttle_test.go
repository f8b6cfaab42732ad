package warm

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestThrottleJudges(t *testing.T) {
	for name, tt := range map[string]struct{ before, ratio, achieved, want float64 }{
		"undisturbed":                    {10_000, 1, 10_000, 13_000},
		"undisturbed, others hold it up": {10_000, 1, 4_000, 10_000},
		"between":                        {10_000, 1.3, 10_000, 10_000},
		"slower":                         {10_000, 1.4, 10_000, 7_500},
		"far from the limit":             {100_000, 2, 10_000, 9_000},
		"never less than the least":      {1_000, 9, 1_000, leastPace},
	} {
		th := newThrottle(func(context.Context) error { return nil }, 0)
		th.setLimit(tt.before)
		th.judge(tt.ratio, tt.achieved)
		if got := th.limitNow(); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// database answers later the more keys a second come: by half at 20,000 a second.
type database struct{ th *throttle }

func (d *database) ping(ctx context.Context) error {
	load := 0.0
	if !d.th.paused.Load() {
		load = min(d.th.limitNow(), 200_000)
	}
	timer := time.NewTimer(time.Duration(float64(time.Millisecond) * (1 + load/40_000)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestThrottleKeepsOthersFast: the job settles where others' answers take less than half as long again.
func TestThrottleKeepsOthersFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &database{}
		th := newThrottle(db.ping, 0)
		db.th = th
		th.setLimit(200_000)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ready := make(chan struct{})
		go func() {
			th.paused.Store(true) // nothing goes before ready
			th.watch(ctx, func() { th.paused.Store(false); close(ready) })
		}()
		<-ready
		end := time.Now().Add(20 * time.Second)
		over, n := 0, 0
		for time.Now().Before(end) {
			if err := th.pace(ctx, 256); err != nil {
				t.Fatal(err)
			}
			if time.Until(end) < 10*time.Second {
				n += 256
				if th.limitNow() > 20_000 {
					over++
				}
			}
		}
		if rate := n / 10; over > 0 || rate < 5_000 {
			t.Errorf("%d keys a second, %d times too fast; want it just below 20,000", rate, over)
		}
		cancel()
		synctest.Wait()
	})
}

func TestThrottlePaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			rate float64
			want time.Duration // of 10 batches of 100
		}{"no limit": {0, 0}, "2000 a second": {2000, 500 * time.Millisecond}} {
			th := newThrottle(nil, tt.rate)
			begin := time.Now()
			for range 10 {
				if err := th.pace(t.Context(), 100); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(begin); took < tt.want-60*time.Millisecond || took > tt.want+60*time.Millisecond {
				t.Errorf("%s: 1000 keys took %v, want %v", name, took, tt.want)
			}
		}
	})
}

// TestThrottleWithoutADatabase: one that does not answer neither holds the job up for ever nor counts as fast.
func TestThrottleWithoutADatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		th := newThrottle(func(context.Context) error {
			if down.Load() {
				return errors.New("nobody there")
			}
			return nil
		}, 0)
		ctx, cancel := context.WithCancel(t.Context())
		ready := make(chan struct{})
		go th.watch(ctx, func() { close(ready) })
		<-ready
		before := th.limitNow()
		time.Sleep(time.Second) // the bubble's time
		if th.limitNow() != before {
			t.Errorf("the limit moved from %v to %v", before, th.limitNow())
		}
		cancel()
		synctest.Wait()
	})
}
