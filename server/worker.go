package server

import (
	"sync"
	"sync/atomic"
	"time"

	"swordfish/filler"
	"swordfish/hasher"
	"swordfish/normalizer"
	"swordfish/store"
)

// worker is what sessions need to run commands, and where they count. One goroutine at a time uses it, between begin and
// end.
type worker struct {
	srv   *Server
	id    int
	store *store.Store
	seed  *hasher.Seed
	ring  *filler.Ring // nil: no filler

	// Read once per wake-up.
	routes *normalizer.Table
	now    store.Time
	wall   time.Time
	woke   time.Time

	ahead   ahead
	touched uint64 // what reading ahead came upon: of no meaning, but it has to go somewhere

	// Reused, so that a command allocates nothing.
	key      [normalizer.MaxKey]byte
	lookup   store.Lookup
	item     store.Item
	writing  store.Write
	delta    store.Delta
	deletion store.Deletion
	patient  bool // the session may run a write again when there is room
	later    bool // the last write was not done: it is to wait for what writing says

	unmatched shapes
	sample    sampler
	conn      uint64 // number of the connection whose commands run
	log       logLines

	buffers buffers // for its connections' input
	replies replies // what its connections have not taken

	// Large values of the output in hand that are sent from where the store has them. Nil: the loop cannot do that.
	pins        []pinned
	pinnedBytes int

	n           Counters // this worker's, ahead of published
	routeCounts [store.MaxRoutes + 1]routeCounter
	latency     latency

	_         [64]byte
	mu        sync.Mutex // guards published; held for a copy
	published Counters
	_         [64]byte
}

// routeCounter counts one route on one worker: the worker writes, anybody reads.
type routeCounter struct {
	hits, stale, misses, negative, leased, coalesced, ringDrops, noRoom, ignored atomic.Uint64

	latency routeLatency
}

func newWorker(s *Server, id int) *worker {
	w := &worker{srv: s, id: id, store: s.o.Store, seed: s.o.Seed}
	w.sample.start(uint64(id) + 1)
	if s.o.Filler != nil {
		w.ring = s.o.Filler.NewRing()
	}
	return w
}

// begin starts a wake-up: the clocks and the route table stand still until the next.
func (w *worker) begin() {
	w.woke = time.Now()
	w.now = w.store.Now()
	w.wall = w.woke
	if w.srv.o.Wall != nil {
		w.wall = w.srv.o.Wall()
	}
	w.routes = w.srv.routes.Load()
	w.sample.tick(w.now)
}

// end hands over what the wake-up left: fills to the filler, counters to whoever reads them.
func (w *worker) end() {
	if w.ring != nil {
		w.ring.Flush()
	}
	w.flushLog()
	w.publish()
}

func (w *worker) publish() {
	w.mu.Lock()
	w.published = w.n
	w.mu.Unlock()
}

func (w *worker) close() {
	w.buffers.close()
	if w.ring != nil {
		w.ring.Close()
	}
}

func (w *worker) tooLarge(k, n int) bool { return w.store.TooLargeFor(k, n) }

// canonical returns the key that the store knows, which is key itself where no route takes it. The result dies with the
// next call.
func (w *worker) canonical(key []byte) ([]byte, store.RouteID) {
	if w.routes == nil {
		return key, 0
	}
	out, route := w.routes.Append(w.key[:0], key)
	if route == 0 {
		return key, 0
	}
	return out, store.RouteID(route)
}

// watchKeys counts a look-up for top, now and then.
func (w *worker) watchKeys(q *store.Lookup) {
	if w.sample.left--; w.sample.left <= 0 {
		w.sample.take(q)
	}
}

// countRoute counts what a Get found under a route. opened tells that the same command opened the key's lease before.
func (w *worker) countRoute(route store.RouteID, hit bool, it *store.Item, opened bool) {
	c := &w.routeCounts[route]
	switch {
	case hit && it.Stale:
		c.stale.Add(1)
	case hit:
		c.hits.Add(1)
	default:
		c.misses.Add(1)
		if it.Miss == store.Negative {
			c.negative.Add(1)
		}
	}
	if it.NoRoom {
		c.noRoom.Add(1)
	} else if it.Leased && it.Lease.Serial == 0 && !opened {
		c.coalesced.Add(1)
	}
}
