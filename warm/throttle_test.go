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
	for name, tt := range map[string]struct {
		before, ratio, want float64
		keys, wantKeys      int64
	}{
		"undisturbed":               {0.25, 1, 0.325, leastKeys, leastKeys},
		"up to the largest share":   {0.45, 1, mostShare, leastKeys, leastKeys},
		"then more keys":            {mostShare, 1, mostShare, 128, 256},
		"up to the most":            {mostShare, 1, mostShare, mostKeys, mostKeys},
		"between":                   {0.25, 1.3, 0.25, leastKeys, leastKeys},
		"slower, with many keys":    {mostShare, 1.4, mostShare, 256, 128},
		"slower":                    {0.25, 1.4, 0.1875, leastKeys, leastKeys},
		"never less than the least": {0.02, 9, leastShare, leastKeys, leastKeys},
	} {
		th := newThrottle(func(context.Context) error { return nil }, 0, false)
		th.setShare(tt.before)
		th.keys.Store(tt.keys)
		th.judge(tt.ratio)
		if got, keys := th.shareNow(), th.keys.Load(); got != tt.want || keys != tt.wantKeys {
			t.Errorf("%s: %v and %d keys, want %v and %d", name, got, keys, tt.want, tt.wantKeys)
		}
	}
}

func TestThrottleCompares(t *testing.T) {
	ms := func(all ...int) (d []time.Duration) {
		for _, n := range all {
			d = append(d, time.Duration(n)*time.Millisecond)
		}
		return d
	}
	for name, tt := range map[string]struct {
		busy, calm []time.Duration
		want       float64
	}{
		"the same":             {ms(1, 2, 3), ms(3, 2, 1), 1},
		"all are longer":       {ms(2, 4, 6), ms(1, 2, 3), 2},
		"some are much longer": {ms(1, 1, 1, 5), ms(1, 1, 1, 1), 2},
		"long ones are longer": {ms(1, 1, 1, 3, 3), ms(1, 1, 1, 1, 1), 3},
		"one is an outlier":    {ms(1, 1, 1, 1000), ms(1, 1, 1, 1), 3.25},
	} {
		if got := compare(tt.busy, tt.calm); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// database is one whose least statement takes a millisecond, and three while the job asks something.
type database struct{ busy atomic.Bool }

func (d *database) ping(ctx context.Context) error {
	took := time.Millisecond
	if d.busy.Load() {
		took *= 3
	}
	sleep(ctx, took)
	return ctx.Err()
}

// TestThrottleKeepsOthersFast: the job settles at the share of the time at which others' answers take less than half as long again. At
// a quarter of it that is so in the mean, and long ones are much longer.
func TestThrottleKeepsOthersFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &database{}
		th := newThrottle(db.ping, 0, false)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ready := make(chan struct{})
		go th.watch(ctx, func() { close(ready) })
		<-ready
		begin, busy := time.Now(), time.Duration(0)
		for time.Since(begin) < 60*time.Second {
			end, err := th.turn(ctx)
			if err != nil {
				t.Fatal(err)
			}
			db.busy.Store(true)
			time.Sleep(5 * time.Millisecond)
			db.busy.Store(false)
			end(1000)
			if time.Since(begin) > 10*time.Second {
				busy += 5 * time.Millisecond
			}
		}
		if share := float64(busy) / float64(50*time.Second); share < 0.01 || share > 0.2 {
			t.Errorf("the database is busy with the job %.2f of the time, want 0.01 to 0.2", share)
		}
		if limit := th.limitNow(); limit <= 0 || limit > 0.3*200_000 {
			t.Errorf("a limit of %v keys a second, of 200,000 while the database is busy", limit)
		}
		cancel()
		synctest.Wait()
	})
}

func TestThrottlePaces(t *testing.T) {
	for name, tt := range map[string]struct {
		rate  float64
		share float64
		full  bool
		want  time.Duration // of 10 turns of 10 ms with 100 keys each
	}{
		"no limit":              {0, 1, false, 100 * time.Millisecond},
		"a quarter of the time": {0, 0.25, false, 400 * time.Millisecond},
		"2000 a second":         {2000, 1, false, 500 * time.Millisecond},
		"2000 a second at most": {2000, 0.1, false, time.Second},
		"full speed":            {0, 0.25, true, 100 * time.Millisecond},
		"full, 2000 a second":   {2000, 0.25, true, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				th := newThrottle(nil, tt.rate, tt.full)
				th.setShare(tt.share)
				begin := time.Now()
				for range 10 {
					end, err := th.turn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(10 * time.Millisecond)
					end(100)
				}
				if took := time.Since(begin); took < tt.want-20*time.Millisecond || took > tt.want+20*time.Millisecond {
					t.Errorf("1000 keys took %v, want %v", took, tt.want)
				}
			})
		})
	}
}

// TestThrottleWithoutADatabase: one that does not answer neither holds the job up for ever nor counts as fast.
func TestThrottleWithoutADatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle(func(context.Context) error { return errors.New("nobody there") }, 0, false)
		ctx, cancel := context.WithCancel(t.Context())
		ready := make(chan struct{})
		go th.watch(ctx, func() { close(ready) })
		<-ready
		before := th.shareNow()
		time.Sleep(3 * time.Second) // the bubble's time
		if th.shareNow() != before {
			t.Errorf("the share moved from %v to %v", before, th.shareNow())
		}
		end, err := th.turn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		end(1)
		cancel()
		synctest.Wait()
	})
}
