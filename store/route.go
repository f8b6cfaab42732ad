package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// routeState is a live route as the shards read it.
type routeState struct {
	Route
	id   RouteID
	down atomic.Bool   // its source is down
	back atomic.Uint32 // second until which what its absence has kept alive is still served, while it is loaded anew
}

// epochs count what makes older things absent or stale: flushes, invalidations, route changes. Moving one is O(1); every
// shard notes its own log position the next time it is locked, before it does anything else.
type epochs struct {
	moved   atomic.Uint64 // sum of all counts
	flushAt atomic.Int64  // moment of a delayed flush, 0 none

	// since are the prefixes invalidated since the load of a snapshot began, nil while there is none. It is replaced under mu,
	// before moved.
	since atomic.Pointer[[]string]

	mu       sync.Mutex
	prefixes []prefixEpoch // oldest first
	prefixed uint64        // how many there have been
	flush    uint64
	gone     [MaxRoutes + 1]uint32
	stale    [MaxRoutes + 1]uint32
}

// flushNow also takes back a delayed flush.
func (e *epochs) flushNow() {
	e.mu.Lock()
	e.flush++
	e.moved.Add(1)
	e.flushAt.Store(0)
	e.mu.Unlock()
}

// delay sets a flush for a moment to come, in place of one that has not come yet.
func (e *epochs) delay(at int64) {
	e.mu.Lock()
	e.flushAt.Store(at)
	e.mu.Unlock()
}

// fire runs the delayed flush of that moment, once. Whoever sees it done by flushAt sees moved moved: what is stored from then on
// is stored behind it.
func (e *epochs) fire(at int64) {
	e.mu.Lock()
	if e.flushAt.Load() == at {
		e.flush++
		e.moved.Add(1)
		e.flushAt.Store(0)
	}
	e.mu.Unlock()
}

// fireDue runs the delayed flush if its moment has come.
func (e *epochs) fireDue(now Time) {
	if at := e.flushAt.Load(); at != 0 && int64(now) >= at {
		e.fire(at)
	}
}

func (e *epochs) invalidate(id RouteID) {
	e.mu.Lock()
	e.gone[id]++
	e.moved.Add(1)
	e.mu.Unlock()
}

// prefixEpoch makes the keys with a prefix absent. It is remembered until every shard has been swept.
type prefixEpoch struct {
	prefix string
	no     uint64
}

// prefixMost bounds how many prefixes are remembered at a time, as every look-up compares its key with them.
const prefixMost = 64

// ErrPrefixes says that too many prefixes are being invalidated at once.
var ErrPrefixes = fmt.Errorf("store: %d prefixes are being invalidated already: try again in a second, or invalidate a route", prefixMost)

// invalidatePrefix adds an epoch. One for the same prefix is superseded.
func (e *epochs) invalidatePrefix(prefix string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prefixes = slices.DeleteFunc(e.prefixes, func(p prefixEpoch) bool { return p.prefix == prefix })
	if len(e.prefixes) == prefixMost {
		return ErrPrefixes
	}
	if old := e.since.Load(); old != nil && len(*old) <= sinceLoad && !slices.Contains(*old, prefix) {
		next := append(slices.Clip(*old), prefix)
		e.since.Store(&next)
	}
	e.prefixed++
	e.prefixes = append(e.prefixes, prefixEpoch{prefix, e.prefixed})
	e.moved.Add(1)
	return nil
}

// forgetPrefixes drops the epochs up to no.
func (e *epochs) forgetPrefixes(no uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prefixes = slices.DeleteFunc(e.prefixes, func(p prefixEpoch) bool { return p.no <= no })
}

// shardPrefix is a prefix epoch as a shard has noted it.
type shardPrefix struct {
	prefixEpoch
	pos [logCount]uint64 // records before it are absent
}

// notePrefixes takes over the prefix epochs that have come since, for records before end. What was loaded for any key is not
// put: a lease does not know its key.
func (sh *shard) notePrefixes(e *epochs, end [logCount]uint64) {
	for _, p := range e.prefixes {
		if p.no > sh.seenPrefixes {
			sh.prefixes = slices.DeleteFunc(sh.prefixes, func(old shardPrefix) bool { return old.prefix == p.prefix })
			sh.prefixes = append(sh.prefixes, shardPrefix{p, end})
		}
	}
	sh.seenPrefixes = e.prefixed
	for id := range sh.s.hdr.nextID {
		sh.st.routes[id].goneSerial = sh.st.serial
	}
}

// prefixGone tells whether a record is absent for its key's prefix.
func (sh *shard) prefixGone(key []byte, log int, pos uint64) bool {
	for i := range sh.prefixes {
		if p := &sh.prefixes[i]; pos < p.pos[log] && len(key) >= len(p.prefix) && string(key[:len(p.prefix)]) == p.prefix {
			return true
		}
	}
	return false
}

func (e *epochs) makeStale(id RouteID) {
	e.mu.Lock()
	e.stale[id]++
	e.moved.Add(1)
	e.mu.Unlock()
}

// catchUp notes this shard's log position for every epoch that moved since it looked last.
func (sh *shard) catchUp() {
	e := &sh.s.epochs
	e.mu.Lock()
	defer e.mu.Unlock()
	sh.seenMoved = e.moved.Load()
	sh.st.epochs++
	end := [logCount]uint64{sh.end(probation), sh.end(mainLog)}
	over := false // there are records that nobody is to see any more
	if sh.seenFlush != e.flush {
		sh.seenFlush = e.flush
		sh.st.flushSerial = sh.st.serial
		for log := range end {
			sh.st.logs[log].flushPos = end[log]
		}
		over = true
	}
	if sh.seenPrefixes != e.prefixed {
		sh.notePrefixes(e, end)
		over = true
	}
	for id := 1; id < int(sh.s.hdr.nextID); id++ {
		if seen := &sh.seen[id]; seen.gone != e.gone[id] || seen.stale != e.stale[id] {
			c := &sh.st.routes[id]
			c.stalePos, c.goneSerial = end, sh.st.serial
			if seen.gone != e.gone[id] {
				c.gonePos = end
				over = over || c.items != 0 || c.neg != 0
			}
			seen.gone, seen.stale = e.gone[id], e.stale[id]
		}
	}
	if over {
		sh.sweep()
	}
}

// FlushAll makes everything absent that was stored or leased before the moment at. at <= now: at once, in O(1). A flush
// replaces a delayed one that has not come yet.
func (s *Store) FlushAll(now, at Time) {
	if at > now {
		s.epochs.fireDue(now) // or nobody has asked since it came, and it would be lost
		s.epochs.delay(int64(at))
		return
	}
	s.epochs.flushNow()
	if !s.opt.NoEvict {
		return // who needs the memory evicts
	}
	select {
	case s.crawl <- struct{}{}:
	default:
	}
}

// Invalidate makes every item of a route that is there now absent, and every lease on it void, in O(1).
func (s *Store) Invalidate(id RouteID) { s.epochs.invalidate(id) }

// InvalidatePrefix makes every item absent that is there now and whose canonical key begins with prefix, in O(1), and every
// lease void. ErrPrefixes refuses.
func (s *Store) InvalidatePrefix(prefix string) error { return s.epochs.invalidatePrefix(prefix) }

// MakeStale makes every item of a route that is there now stale, and every lease on it void, in O(1).
func (s *Store) MakeStale(id RouteID) { s.epochs.makeStale(id) }

// ErrRoutes says that SetRoutes was given routes it cannot hold.
var ErrRoutes = errors.New("store: bad routes")

// SetRoutes makes rs the live routes and returns their ids in the same order. A known name keeps its id unless its KeyPrint
// changed; then its old items are out of reach, as those of a route that is gone. A changed QueryPrint makes a route's items
// stale, or absent where MissOnReload says so. Everything else stays.
func (s *Store) SetRoutes(rs []Route) ([]RouteID, error) {
	s.routeMu.Lock()
	defer s.routeMu.Unlock()
	names := make(map[string]bool, len(rs))
	for _, r := range rs {
		switch {
		case r.Name == "" || len(r.Name) > routeNameMax:
			return nil, fmt.Errorf("%w: name %q: from 1 to %d bytes", ErrRoutes, r.Name, routeNameMax)
		case names[r.Name]:
			return nil, fmt.Errorf("%w: two routes are named %q", ErrRoutes, r.Name)
		}
		names[r.Name] = true
	}
	old := s.routes.Load()
	next := new([MaxRoutes + 1]*routeState)
	ids := make([]RouteID, len(rs))
	var fresh []int
	for i, r := range rs {
		id := s.rowNamed(r.Name)
		if id == 0 || s.hdr.routes[id].keyPrint != r.KeyPrint {
			fresh = append(fresh, i)
			continue
		}
		ids[i] = id
		next[id] = &routeState{Route: r, id: id}
		if old[id] != nil {
			next[id].down.Store(old[id].down.Load())
			next[id].back.Store(old[id].back.Load())
		}
	}
	if len(fresh) > 0 {
		free := s.freeRows()
		if len(free) < len(fresh) {
			return nil, fmt.Errorf("%w: %d routes, and ids for at most %d: those of removed routes come back as their items leave",
				ErrRoutes, len(rs), MaxRoutes)
		}
		for k, i := range fresh {
			ids[i] = free[k]
			next[ids[i]] = &routeState{Route: rs[i], id: ids[i]}
		}
	}
	// Nothing can fail from here on.
	s.routed.Store(true)
	for id := RouteID(1); id < RouteID(s.hdr.nextID); id++ {
		if next[id] == nil && s.hdr.routes[id].live == 1 {
			s.hdr.routes[id].live = 0
			s.epochs.invalidate(id) // its leases, too, are void
		}
	}
	for i, r := range rs {
		row := &s.hdr.routes[ids[i]]
		known := row.live == 1
		changed := row.queryPrint != r.QueryPrint
		*row = routeRow{keyPrint: r.KeyPrint, queryPrint: r.QueryPrint, nameLen: uint8(len(r.Name)), live: 1}
		copy(row.name[:], r.Name)
		s.epochs.mu.Lock() // shards read it when they catch up
		s.hdr.nextID = max(s.hdr.nextID, uint32(ids[i])+1)
		s.epochs.mu.Unlock()
		if known && changed {
			if r.MissOnReload {
				s.epochs.invalidate(ids[i])
			} else {
				s.epochs.makeStale(ids[i])
			}
		}
	}
	s.routes.Store(next)
	if !s.begun { // Begin does the rest
		return ids, nil
	}
	for i := range s.shards { // items may be over sooner than was planned
		sh := &s.shards[i]
		sh.lock(s.Now())
		sh.tally()
		sh.sweep()
		sh.mu.Unlock()
	}
	return ids, nil
}

func (s *Store) rowNamed(name string) RouteID {
	for id := RouteID(1); id < RouteID(s.hdr.nextID); id++ {
		if row := &s.hdr.routes[id]; row.live == 1 && string(row.name[:row.nameLen]) == name {
			return id
		}
	}
	return 0
}

// freeRows lists the ids that no live route has and no record carries.
func (s *Store) freeRows() []RouteID {
	var carried [MaxRoutes + 1]bool
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for id := range s.hdr.nextID { // the others' part has not been touched yet
			c := &sh.st.routes[id]
			carried[id] = carried[id] || c.items != 0 || c.neg != 0
		}
		sh.mu.Unlock()
	}
	var free []RouteID
	for id := RouteID(1); id <= MaxRoutes; id++ {
		if s.hdr.routes[id].live == 0 && !carried[id] {
			free = append(free, id)
		}
	}
	return free
}

func (s *Store) route(id RouteID) *routeState { return s.routes.Load()[id] }

// SetSourceDown tells whether id's source is down: its stale items then live on for Keep. When it is back they do not all go
// at once: they are served for another Stale while they are loaded.
func (s *Store) SetSourceDown(id RouteID, down bool) {
	s.routeMu.Lock() // a change of routes copies what is told here
	defer s.routeMu.Unlock()
	r := s.route(id)
	if r == nil {
		return
	}
	if !down && r.down.Load() {
		r.back.Store(s.Now().Second() + max(r.Stale, 1))
	}
	r.down.Store(down)
}

// verdict is what a record is worth to the asker at a moment.
type verdict uint8

const (
	isFresh    verdict = iota
	isStale            // served; a load is due
	isNegative         // a miss; no load is due
	isOver             // a miss; a load is due; the record stays for while the source is down
	isExpired          // a miss; the record can go
	isFlushed          // the same, by a flush, an invalidation or a route's end
)

func (v verdict) present() bool { return v <= isStale }

// judge tells what r, found at loc under hash h, is worth to a command on the given route (0: a plain key).
func (sh *shard) judge(r *record, loc uint32, h uint64, route RouteID, now Time) verdict {
	cell := &sh.st.routes[r.route]
	outdated := false
	if sh.st.epochs != 0 {
		log, pos := sh.place(loc)
		if pos < sh.st.logs[log].flushPos || pos < cell.gonePos[log] || len(sh.prefixes) > 0 && sh.prefixGone(r.key, log, pos) {
			return isFlushed
		}
		outdated = pos < cell.stalePos[log]
	}
	sec := now.Second()
	if r.expiry != 0 && sec >= r.expiry {
		return isExpired
	}
	if r.route == 0 {
		if route == 0 {
			return isFresh
		}
		return isStale // stored before the key had a route: as a client's item, due
	}
	rs := sh.s.route(r.route)
	if rs == nil || r.route != route {
		return isFlushed
	}
	age := sec - min(sec, r.filled) // another worker's clock may be ahead
	marked := r.state&stateStale != 0 || outdated
	switch r.state & stateKind {
	case stateNegative:
		if !marked && age < rs.Negative {
			return isNegative
		}
		return isOver
	case stateClient:
		if r.state&stateAsked != 0 && !outdated {
			if age < rs.Negative {
				return isFresh
			}
			return isStale
		}
		if !marked && age < rs.freshFor(h) {
			return isFresh
		}
		return isStale
	}
	switch {
	case !marked && age < rs.freshFor(h):
		return isFresh
	case age < rs.Fresh+rs.Stale:
		return isStale
	case age < rs.Fresh+rs.Stale+rs.Keep:
		if rs.down.Load() || sec < rs.back.Load() {
			return isStale
		}
		return isOver
	}
	return isExpired
}

// freshFor returns for how many seconds an item under h is fresh: Fresh, or less by the key's share of the jitter, so that
// keys filled together do not become stale together.
func (r *Route) freshFor(h uint64) uint32 {
	if r.JitterPercent == 0 {
		return r.Fresh
	}
	cut := uint64(r.Fresh) * uint64(r.JitterPercent) * (h >> 8 & 0xffff) / (100 << 16)
	return max(r.Fresh-uint32(cut), 1)
}
