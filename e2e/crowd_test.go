//go:build linux

package e2e

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// crowd is steady traffic: visitors with a connection each who ask one key after another at a pace. It notes how long answers
// take and how many are hits.
type crowd struct {
	t        testing.TB
	visitors []*visitor
	began    time.Time
	stop     chan struct{}
	all      sync.WaitGroup
	failed   atomic.Bool
}

// kind is a kind of key that is counted apart.
type kind int

const (
	usual kind = iota
	cold
	kinds
)

// visitor is one of the crowd. Its methods are for the function that the crowd calls with it.
type visitor struct {
	*client
	random *rand.Rand
	crowd  *crowd

	mu      sync.Mutex // guards the rest
	tally   tally
	seconds [][kinds]ratio
}

// tally is what was met in a phase.
type tally struct {
	ratios [kinds]ratio
	took   *hdrhistogram.Histogram // microseconds for a round trip
	from   time.Time
}

type ratio struct{ gets, hits int }

func (r *ratio) add(o ratio) { r.gets += o.gets; r.hits += o.hits }

// percent is the hit ratio; 0 where nothing was asked.
func (r ratio) percent() float64 { return 100 * float64(r.hits) / float64(max(r.gets, 1)) }

// String is the hit ratio as tables show it.
func (r ratio) String() string {
	if r.gets == 0 {
		return "-"
	}
	return strconv.FormatFloat(r.percent(), 'f', 2, 64)
}

func newTally() tally {
	return tally{took: hdrhistogram.New(1, 10_000_000, 3), from: time.Now()}
}

// gather sends n visitors; each calls visit every pace, or as often as it can, until the end of the test or halt.
func gather(t testing.TB, addr string, n int, pace time.Duration, visit func(v *visitor) error) *crowd {
	t.Helper()
	c := &crowd{t: t, began: time.Now(), stop: make(chan struct{})}
	for i := range n {
		v := &visitor{client: dial(t, addr), random: rand.New(rand.NewPCG(1, uint64(i))), crowd: c, tally: newTally()}
		c.visitors = append(c.visitors, v)
		c.all.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				select {
				case <-c.stop:
					return
				case <-tick.C:
				}
				if err := visit(v); err != nil {
					c.failed.Store(true)
					t.Errorf("visitor %d, after %v: %v", i, time.Since(c.began).Round(time.Millisecond), err)
					return
				}
			}
		})
	}
	t.Cleanup(c.halt)
	return c
}

// halt sends everybody home.
func (c *crowd) halt() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.all.Wait()
}

// ask gets a key, and notes how it went.
func (v *visitor) ask(k kind, key string) (value []byte, err error) {
	from := time.Now()
	v.SetDeadline(from.Add(patience))
	value, _, err = v.tryGet(key)
	if err != nil {
		return nil, err
	}
	r := ratio{gets: 1}
	if value != nil {
		r.hits = 1
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tally.ratios[k].add(r)
	err = v.tally.took.RecordValue(min(max(1, time.Since(from).Microseconds()), 10_000_000))
	for second := int(from.Sub(v.crowd.began).Seconds()); len(v.seconds) <= second; {
		v.seconds = append(v.seconds, [kinds]ratio{})
	}
	v.seconds[len(v.seconds)-1][k].add(r)
	return value, err
}

// now returns the tally of the phase up to now.
func (c *crowd) now() tally { return c.sum(false) }

// next returns the tally of the phase and begins another.
func (c *crowd) next() tally { return c.sum(true) }

func (c *crowd) sum(begin bool) tally {
	sum := newTally()
	for _, v := range c.visitors {
		v.mu.Lock()
		for k := range sum.ratios {
			sum.ratios[k].add(v.tally.ratios[k])
		}
		sum.took.Merge(v.tally.took)
		sum.from = v.tally.from
		if begin {
			v.tally = newTally()
		}
		v.mu.Unlock()
	}
	return sum
}

// perSecond returns what was asked in each second since the crowd gathered; the last one is not over.
func (c *crowd) perSecond() (sum [][kinds]ratio) {
	for _, v := range c.visitors {
		v.mu.Lock()
		for i, s := range v.seconds {
			if i == len(sum) {
				sum = append(sum, [kinds]ratio{})
			}
			for k := range s {
				sum[i][k].add(s[k])
			}
		}
		v.mu.Unlock()
	}
	return sum
}

// lately returns the ratio of the last full second.
func (c *crowd) lately(k kind) ratio {
	s := c.perSecond()
	if len(s) < 2 {
		return ratio{}
	}
	return s[len(s)-2][k]
}

// gets returns how many keys were asked in the phase.
func (t *tally) gets() int { return t.ratios[usual].gets + t.ratios[cold].gets }
