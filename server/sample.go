package server

import (
	"math"
	"sync"

	"swordfish/normalizer"
	"swordfish/store"
)

// sampler watches on one worker which keys are asked for most. It looks at every get while there are few, and else at some of
// them, chosen at random, each standing for as many as were passed over. The others cost a decrement.
//
// The keys are counted by a space-saving sketch: a key that is not there takes the place of the rarest, with its count and its
// own. What it inherits so is kept apart: without it the count may be too low, but never too high. Counts fade: each sample weighs twice as much as one half-life before it, and a report takes all back to now. The
// memory is fixed.
type sampler struct {
	left   int    // gets until the next sample
	every  int    // gets that a sample stands for
	taken  int    // samples in this second
	second uint32 // of the item clock
	random uint64

	mu      sync.Mutex // the worker's but for the moment of a report; guards the rest
	tape    tape
	begun   store.Time // first sample; 0: none yet
	base    store.Time // samples of this moment weigh 1
	n       int
	hashes  [topSlots]uint64
	weights [topSlots]float64
	foreign [topSlots]float64 // of weights: inherited
	ids     [topSlots]store.RouteID
	sizes   [topSlots]uint8
	keys    [topSlots][normalizer.MaxKey]byte
	routes  [store.MaxRoutes + 1]float64 // of all samples, by route
}

const (
	topSlots    = 512    // keys told apart: none with a share of over 1/512 is missed
	topHalfLife = 30_000 // milliseconds

	// A sample costs about half a microsecond, so that a worker spends at most a thousandth of its time on them.
	sampleMost = 1000 // samples a second, after which each stands for twice as many gets
	sampleFew  = sampleMost / 4
)

func (p *sampler) start(seed uint64) {
	p.left, p.every = 1, 1
	p.random = seed*0x9e3779b97f4a7c15 | 1
}

// tick notes at a wake-up that time has gone by. After quiet seconds more gets are looked at.
func (p *sampler) tick(now store.Time) {
	second := now.Second()
	if second == p.second {
		return
	}
	quiet := second - p.second // seconds with few samples, or none
	if p.taken >= sampleFew {
		quiet--
	}
	if quiet > 0 && p.every > 1 {
		p.every = max(p.every>>min(quiet, 30), 1)
		p.left = p.next()
	}
	p.taken, p.second = 0, second
}

// next draws how many gets there are up to the next sample, every on average.
func (p *sampler) next() int {
	p.random ^= p.random << 13
	p.random ^= p.random >> 7
	p.random ^= p.random << 17
	return 1 + int(p.random%uint64(2*p.every-1))
}

// take counts the get of q, unless a report is being made: it does not wait for that.
func (p *sampler) take(q *store.Lookup) {
	if p.mu.TryLock() {
		p.count(q, float64(p.every))
		p.tape.add(q, p.every)
		p.mu.Unlock()
	}
	if p.taken++; p.taken >= sampleMost {
		p.taken = 0
		p.every *= 2
	}
	p.left = p.next()
}

func (p *sampler) count(q *store.Lookup, weight float64) {
	if p.begun == 0 {
		p.begun, p.base = q.Now, q.Now
	}
	if q.Now-p.base > 40*topHalfLife { // long before the weights are too large for their sums
		p.rebase(q.Now)
	}
	weight *= math.Exp2(float64(q.Now-p.base) / topHalfLife)
	p.routes[q.Route] += weight
	rarest := 0
	for i := range p.n {
		if p.hashes[i] == q.Hash { // another key of that hash is one in 2^64
			p.weights[i] += weight
			return
		}
		if p.weights[i] < p.weights[rarest] {
			rarest = i
		}
	}
	if p.n < topSlots {
		rarest = p.n
		p.n++
	}
	p.hashes[rarest], p.ids[rarest], p.foreign[rarest] = q.Hash, q.Route, p.weights[rarest]
	p.weights[rarest] += weight
	p.sizes[rarest] = uint8(copy(p.keys[rarest][:], q.Key))
}

// rebase makes samples of now weigh 1.
func (p *sampler) rebase(now store.Time) {
	fade := math.Exp2(float64(p.base-now) / topHalfLife)
	for i := range p.weights {
		p.weights[i] *= fade
		p.foreign[i] *= fade
	}
	for i := range p.routes {
		p.routes[i] *= fade
	}
	p.base = now
}

// addTo adds this worker's counts to a report, as gets a second.
func (p *sampler) addTo(sum *sampled, now store.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun == 0 {
		return
	}
	// A steady rate r has come to r * half-life / ln 2, less what was before the beginning.
	age := float64(max(now-p.begun, 1000)) / topHalfLife
	perSecond := math.Exp2(float64(p.base-now)/topHalfLife) * math.Ln2 / (topHalfLife / 1000) / (1 - math.Exp2(-age))
	for i := range p.n {
		at := sampledKey{p.ids[i], string(p.keys[i][:p.sizes[i]])}
		sum.keys[at] += (p.weights[i] - p.foreign[i]) * perSecond
	}
	for id, weight := range p.routes {
		sum.routes[id] += weight * perSecond
	}
}

// sampled is the sum of the workers' samples, in gets a second.
type sampled struct {
	keys   map[sampledKey]float64
	routes [store.MaxRoutes + 1]float64
}

type sampledKey struct {
	route store.RouteID
	key   string
}
