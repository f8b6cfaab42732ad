package store

import "time"

// Loading takes the items of a snapshot into a store while clients use it. What happened to a key since it began is newer than
// what the snapshot has: each shard keeps the hashes of such keys, and epochs tell of flushes and invalidations. A shard whose
// set of hashes is full takes only items of routes, as stale ones, from then on. Nothing is evicted for a snapshot: it takes
// what is free beside the reserve, and then it ends. It is for one goroutine.
type Loading struct {
	s           *Store
	flush       uint64
	gone, stale [MaxRoutes + 1]uint32
	routes      [MaxRoutes + 1]loadRoute // by the origin's id
	shift       int64                    // from the origin's item clock to ours, milliseconds
	data        map[uint32]*loadData     // handles by number, each held by a reference
	charged     int64
	flushed     bool
	full        bool
	part        *loadPart
	touched     uint64 // what was read ahead, so that it is not optimized away
}

// loadRoute is what has become of a route of the origin.
type loadRoute struct {
	id    RouteID // 0: it is not there any more, or its keys are others
	stale bool    // its query has changed
}

// loadData is what is known of loadNumbers values of consecutive numbers.
type loadData struct {
	handles [loadNumbers]uint32      // one more than they are; 0 is none
	unpaid  [loadNumbers / 64]uint64 // a bit each: its datum is new, and no item has been put with it yet
}

const (
	loadNumbers  = 1 << 12
	loadTooLarge = ^uint32(0) // in place of a handle: no item may have this value
)

// LoadResult is what became of an item of a snapshot.
type LoadResult uint8

const (
	Loaded      LoadResult = iota
	LoadOver               // its time is over
	LoadNewer              // something newer happened to its key, or may have
	LoadFlushed            // flush_all came since the load began: all of the snapshot is over
	LoadGone               // its route was invalidated, or is not the one it was loaded by; or its key's prefix was invalidated
	LoadLost               // its value was in a part of the snapshot that cannot be read
	LoadTooLarge
	LoadNoRoom // there is no memory, or its route has its share
	LoadBad    // it is none that a store could have shown
	LoadResults
)

func (r LoadResult) String() string {
	return [...]string{"loaded", "over", "newer", "flushed", "gone", "lost", "too_large", "no_room", "bad"}[r]
}

// sinceLoad bounds how many prefixes invalidated during a load are remembered; past it nothing more is loaded.
const sinceLoad = 1024

// BeginLoading begins to note what is newer than a snapshot, which is to be loaded next. Nil: another Loading has not ended.
// The caller owes an End.
func (s *Store) BeginLoading() *Loading {
	if !s.loading.CompareAndSwap(false, true) {
		return nil
	}
	l := &Loading{s: s, data: make(map[uint32]*loadData), part: new(loadPart)}
	e := &s.epochs
	e.fireDue(s.Now()) // what came before is not newer than the snapshot
	e.mu.Lock()
	l.flush, l.gone, l.stale = e.flush, e.gone, e.stale
	e.since.Store(new([]string))
	e.mu.Unlock()
	slots := min(max(floorPow2(uint64(s.p.limit.Load())/sinceShare/uint64(len(s.shards))/8), sinceLeast), sinceMost)
	for i := range s.shards {
		x := &since{}
		if bytes := 8 * int64(slots); s.p.charge(bytes) {
			l.charged += bytes
			x.slots = make([]uint64, slots)
		} else {
			x.full = true
		}
		sh := &s.shards[i]
		sh.lock(s.Now())
		sh.since = x
		// A CAS given out before the snapshot's process ended must not be met again on another item.
		sh.st.cas = max(sh.st.cas, uint64(time.Now().UnixMilli())<<casPerMilli)
		sh.mu.Unlock()
	}
	return l
}

// casPerMilli: where CAS survive by a snapshot, those that are given out begin at the wall clock's milliseconds, times this
// power of two. No shard gives out as many.
const casPerMilli = 10

// From says where the items come from. It is called once, before the first Put.
func (l *Loading) From(o *Origin) {
	s := l.s
	now := s.Now()
	passed := max(time.Since(o.Wall).Milliseconds(), 0)
	l.shift = int64(now) - int64(o.Clock) - passed
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.st.cas = max(sh.st.cas, o.CAS>>s.z.shardBits+1)
		sh.mu.Unlock()
	}
	if o.FlushAt != 0 {
		at := int64(o.FlushAt) + l.shift
		if l.flushed = at <= int64(now); !l.flushed {
			s.epochs.flushAt.CompareAndSwap(0, at)
		}
	}
	l.learnRoutes(o)
	l.expect(o)
}

// learnRoutes finds the origin's routes among those of now.
func (l *Loading) learnRoutes(o *Origin) {
	s := l.s
	s.routeMu.Lock()
	defer s.routeMu.Unlock()
	for _, r := range o.Routes {
		if r.ID == 0 || r.ID > MaxRoutes {
			continue
		}
		id := s.rowNamed(r.Name)
		rs := s.route(id)
		if id == 0 || rs == nil || rs.KeyPrint != r.KeyPrint || rs.QueryPrint != r.QueryPrint && rs.MissOnReload {
			continue
		}
		l.routes[r.ID] = loadRoute{id: id, stale: rs.QueryPrint != r.QueryPrint}
	}
}

// leastItem is less than an item takes, its place in the index included, whatever a snapshot says.
const leastItem = 16

// expect gives the index the tables that it will have when all items are there, or as many as fit: growing to that while they
// come would move each of them several times.
func (l *Loading) expect(o *Origin) {
	s := l.s
	items := float64(o.Items)
	free := float64(max(s.p.avail.Load()-s.reserve.Load(), 0))
	if took := max(float64(o.Bytes), leastItem*items); took > free {
		items *= free / took
	}
	each := uint64(items) / uint64(len(s.shards))
	for i := range s.shards {
		sh := &s.shards[i]
		for at, end := uint64(0), uint64(1); at < end && l.room(0); {
			sh.mu.Lock()
			if !sh.idx.prepare(at<<dirShift, each) {
				at++
			}
			end = 1 << sh.idx.st.depth
			sh.mu.Unlock()
		}
	}
}

// End ends it, and what it remembered goes.
func (l *Loading) End() {
	s := l.s
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.since = nil
		sh.mu.Unlock()
	}
	s.epochs.mu.Lock()
	s.epochs.since.Store(nil)
	s.epochs.mu.Unlock()
	s.p.charge(-l.charged)
	var f freed
	for _, page := range l.data {
		for _, h := range page.handles {
			if h == 0 || h == loadTooLarge {
				continue
			}
			if f.add(h - 1); f.n == len(f.h) {
				s.giveBack(&f)
			}
		}
	}
	s.giveBack(&f)
	l.data = nil
	s.loading.Store(false)
}

// Ended tells that no further item would be taken: memory is full, or everything was flushed.
func (l *Loading) Ended() bool { return l.full || l.flushed }

// second turns one of the origin's item clock into one of ours.
func (l *Loading) second(sec uint32) uint32 {
	ms := int64(sec)*1000 + l.shift
	if ms < 1000 {
		return 1
	}
	return uint32(min(ms/1000, int64(notDue-1)))
}
