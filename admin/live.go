package admin

import (
	"encoding/json"
	"math"
	"sync"
	"time"

	"swordfish/server"
	"swordfish/store"
)

// The figures of one second, in the order of columnNames. Rates are by the second.
const (
	colTime = iota // Unix seconds
	colGets
	colHits
	colMisses
	colSets
	colRatio // of hits, 0 to 1; without gets the last one
	colP50   // of gets, milliseconds; 0 without gets
	colP99
	colConnections
	colLoaded
	colAbsent
	colFailed
	colQueued
	colInFlight
	colUsed // bytes
	colLive
	colLimit
	colItems
	colValues
	colSharedItems
	colPasses
	colEvicted
	colExpired
	colHold // the longest lock hold of a pass, milliseconds, rounded up to a doubling
	columns
)

var columnNames = [columns]string{
	"time", "gets", "hits", "misses", "sets", "hit_ratio", "get_p50_ms", "get_p99_ms", "connections", "loaded", "absent", "failed",
	"queued", "batches_in_flight", "used_bytes", "live_bytes", "limit_bytes", "items", "shared_values", "shared_items", "passes",
	"evicted", "expired", "longest_hold_ms",
}

type point [columns]float64

// MarshalJSON writes a point as an object.
func (p point) MarshalJSON() ([]byte, error) {
	m := make(map[string]float64, columns)
	for i, name := range columnNames {
		m[name] = p[i]
	}
	return json.Marshal(m)
}

const (
	liveEvery  = time.Second
	livePoints = 900 // a quarter of an hour
	maxStreams = 16
)

// live looks at the figures once a second, keeps those of the last quarter of an hour and sends them to who listens.
type live struct {
	o    *Options
	stop func() // ends streams and looking; may be called more than once

	done    chan struct{} // closed by stop
	looking sync.WaitGroup

	mu     sync.Mutex // guards the rest
	ring   []point
	next   int // where in a full ring the oldest is
	stream map[chan point]struct{}
	last   *reading
}

// reading is what a point is made from: the difference of two.
type reading struct {
	at    time.Time
	stats server.Stats
	fills fills
	holds [store.HoldKinds]store.HoldTimes
	ratio float64
}

func newLive(o *Options) *live {
	l := &live{o: o, done: make(chan struct{}), stream: make(map[chan point]struct{})}
	l.stop = sync.OnceFunc(func() { close(l.done) })
	return l
}

// start begins to look.
func (l *live) start() {
	l.look(time.Now())
	l.looking.Go(func() {
		tick := time.NewTicker(liveEvery)
		defer tick.Stop()
		for {
			select {
			case <-l.done:
				return
			case now := <-tick.C:
				l.look(now)
			}
		}
	})
}

func (l *live) wait() { l.looking.Wait() }

// look takes a reading and, but for the first time, adds a point.
func (l *live) look(now time.Time) {
	s := &reading{at: now, stats: l.o.Server.Stats(), fills: sumFills(l.o.Filler.Stats())}
	for kind := range s.holds {
		s.holds[kind] = l.o.Store.HoldTimes(store.HoldKind(kind))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.last
	l.last = s
	if before == nil || s.at.Sub(before.at) <= 0 {
		return
	}
	p := s.since(before)
	if len(l.ring) < livePoints {
		l.ring = append(l.ring, p)
	} else {
		l.ring[l.next] = p
		l.next = (l.next + 1) % livePoints
	}
	for c := range l.stream {
		select {
		case c <- p:
		default: // it does not keep up and has a gap
		}
	}
}

// since makes a point of what has happened since an earlier reading, and sets s.ratio.
func (s *reading) since(before *reading) (p point) {
	seconds := s.at.Sub(before.at).Seconds()
	rate := func(now, then uint64) float64 { return round(float64(now-min(then, now)) / seconds) }
	n, m := &s.stats.Counters, &before.stats.Counters
	p[colTime] = round(float64(s.at.UnixMilli()) / 1000)
	p[colHits], p[colMisses] = rate(n.GetHits, m.GetHits), rate(n.GetMisses, m.GetMisses)
	p[colGets] = round(p[colHits] + p[colMisses])
	p[colSets] = rate(n.CmdSet, m.CmdSet)
	s.ratio = before.ratio
	if hits, misses := n.GetHits-m.GetHits, n.GetMisses-m.GetMisses; hits+misses > 0 {
		s.ratio = float64(hits) / float64(hits+misses)
	}
	p[colRatio] = math.Round(s.ratio*1e5) / 1e5
	times := s.stats.Latency
	for i := range times {
		times[i] -= before.stats.Latency[i]
	}
	p[colP50], p[colP99] = millis(times.Quantile(0.5)), millis(times.Quantile(0.99))
	p[colConnections] = float64(s.stats.Connections)
	f, g := &s.fills, &before.fills
	p[colLoaded], p[colAbsent], p[colFailed] = rate(f.loaded, g.loaded), rate(f.absent, g.absent), rate(f.failed, g.failed)
	p[colQueued], p[colInFlight] = float64(f.queued), float64(f.inFlight)
	st, old := &s.stats.Store, &before.stats.Store
	p[colUsed], p[colLive], p[colLimit] = float64(st.UsedBytes), float64(st.Bytes), float64(st.LimitBytes)
	p[colItems], p[colValues], p[colSharedItems] = float64(st.Items), float64(st.Data), float64(st.References)
	p[colPasses], p[colEvicted] = rate(st.Passes, old.Passes), rate(st.Evictions, old.Evictions)
	p[colExpired] = rate(st.Reclaimed+st.Reaped, old.Reclaimed+old.Reaped)
	for kind := range s.holds {
		for i := range s.holds[kind] {
			if s.holds[kind][i] > before.holds[kind][i] {
				p[colHold] = max(p[colHold], millis(store.HoldTimeBound(i)))
			}
		}
	}
	return p
}

// silent is how long ago the last reading was taken.
func (l *live) silent() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		return 0
	}
	return time.Since(l.last.at)
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }

func millis(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

// history returns the columns, oldest first.
func (l *live) history() map[string][]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := make(map[string][]float64, columns)
	for i, name := range columnNames {
		column := make([]float64, 0, len(l.ring))
		for k := range l.ring {
			column = append(column, l.ring[(l.next+k)%len(l.ring)][i])
		}
		h[name] = column
	}
	return h
}

// listen registers a stream; nil: there are too many.
func (l *live) listen() chan point {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.stream) >= maxStreams {
		return nil
	}
	c := make(chan point, 4)
	l.stream[c] = struct{}{}
	return c
}

func (l *live) leave(c chan point) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.stream, c)
}
