package store

import (
	"slices"
	"strings"
	"time"
)

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
	touched     uint64 // what was read ahead, so that it is not optimized away
}

// loadRoute is what has become of a route of the origin.
type loadRoute struct {
	id    RouteID // 0: it is not there any more, or its keys are others
	stale bool    // its query has changed
}

// loadData are handles of consecutive numbers, one more than they are; 0 is none.
type loadData [1 << 12]uint32

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
	l := &Loading{s: s, data: make(map[uint32]*loadData)}
	e := &s.epochs
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
		for _, h := range page {
			if h == 0 {
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

// LoadMost is how many items Put takes in at a time.
const LoadMost = AheadMost

// Put takes items in, as far as nothing newer is known of their keys, and counts what became of them. A value is taken in if it
// is new, whatever becomes of its item. Keys and Values are copied. It locks as so many writes do, one after the other. At most
// LoadMost items count.
func (l *Loading) Put(ks []Kept, into *[LoadResults]int64) {
	var hashes [LoadMost]uint64
	var digests [LoadMost]digest
	ks = ks[:min(len(ks), LoadMost)]
	for i := range ks {
		hashes[i] = l.s.opt.KeyHash(ks[i].Key)
		if len(ks[i].Value) > maxInline {
			digests[i].hi, digests[i].lo = l.s.opt.Digest(ks[i].Value)
		}
	}
	l.touched += l.s.Ahead(hashes[:len(ks)]) + l.s.aheadData(digests[:len(ks)])
	for i := range ks {
		into[l.take(&ks[i], hashes[i], digests[i])]++
	}
}

// digest is that of a payload.
type digest struct{ hi, lo uint64 }

// take is Put for one item.
func (l *Loading) take(k *Kept, hash uint64, dg digest) LoadResult {
	s := l.s
	if l.Ended() {
		return l.ended()
	}
	if len(k.Key) == 0 || len(k.Key) > 250 || k.State&stateKind == stateKind || k.Route > MaxRoutes {
		return LoadBad
	}
	if !l.room(len(k.Value)) {
		l.full = true
		return LoadNoRoom
	}
	d := draft{handle: noHandle}
	if s.TooLargeFor(len(k.Key), len(k.Value)) {
		return LoadTooLarge
	}
	if k.New && !l.learn(k, &d, dg) {
		return l.ended()
	}
	if !l.draft(k, &d) {
		return LoadGone
	}
	sh := s.shardOf(hash)
	now := s.Now()
	if sh.endOf(d.route, d.state, d.filled, d.expiry) <= now.Second() || d.negative() && d.state&stateStale != 0 {
		return LoadOver
	}
	size := len(k.Value)
	switch {
	case k.Number != 0:
		if size = l.refer(k.Number, &d); size < 0 {
			return LoadLost
		}
	case size <= maxInline:
		d.value = k.Value
	default:
		d.value = k.Value
		if !s.keep(&d, hash, dg.hi, dg.lo) {
			l.full = true
			return LoadNoRoom
		}
	}
	var f freed
	res := LoadNoRoom
	booked, room := s.bookFree(s.route(d.route), d.cost(size))
	sh.lock(now)
	if room {
		res = l.put(sh, hash, k, &d, &f)
	}
	if res != Loaded && d.handle != noHandle {
		f.add(d.handle)
	}
	sh.mu.Unlock()
	booked.end()
	s.giveBack(&f)
	return res
}

func (l *Loading) ended() LoadResult {
	if l.flushed {
		return LoadFlushed
	}
	return LoadNoRoom
}

// room tells whether a value of n bytes and what belongs to it fit beside the reserve.
func (l *Loading) room(n int) bool {
	z := &l.s.z
	return l.s.p.avail.Load() >= l.s.reserve.Load()+2*int64(z.segment)+int64(pagesFor(n))*pageSize
}

// draft makes k a record of this store, but for its value. False: there is no route for it.
func (l *Loading) draft(k *Kept, d *draft) bool {
	if k.Route != 0 {
		r := l.routes[k.Route]
		if r.id == 0 || l.s.route(r.id) == nil {
			return false
		}
		d.route = r.id
		if d.state |= k.State &^ statePays; r.stale {
			d.outdate()
		}
	} else if k.Noted {
		d.block = true
		d.state = k.State
	}
	if d.route != 0 || d.block {
		d.filled = l.second(k.Filled)
	}
	if k.Expiry != 0 {
		d.expiry, d.hasExpiry = l.second(k.Expiry), true
	}
	d.key, d.flags, d.fetched, d.hits, d.log = k.Key, k.Flags, k.Fetched, k.Hits&metaHits, probation
	if k.Main {
		d.log = mainLog
	}
	if !l.s.opt.NoCAS {
		d.cas = k.CAS
	}
	return true
}

// outdate makes the draft of a route's item stale, whatever else is known of it.
func (d *draft) outdate() {
	d.state |= stateStale
	if d.state&stateKind == stateClient {
		d.state &^= stateAsked
	}
}

// put links d, unless the shard knows something newer. The shard is locked.
func (l *Loading) put(sh *shard, hash uint64, k *Kept, d *draft, f *freed) LoadResult {
	s := l.s
	rs := s.route(d.route)
	switch {
	case sh.seenFlush != l.flush:
		l.flushed = true
		return LoadFlushed
	case d.route != 0 && (rs == nil || sh.seen[d.route].gone != l.gone[d.route]), l.prefixGone(k.Key):
		return LoadGone
	case sh.since.has(hash):
		return LoadNewer
	case sh.since.full && (d.route == 0 || d.negative()):
		return LoadNewer
	}
	if d.route != 0 && (sh.since.full || sh.seen[d.route].stale != l.stale[d.route]) {
		if d.outdate(); d.negative() {
			return LoadOver
		}
	}
	h := held{is: isFlushed}
	if h.slot, h.loc = sh.find(hash, k.Key); h.slot != nil {
		h.rec.decode(sh.raw(h.loc))
		if h.is = sh.judge(&h.rec, h.loc, hash, h.rec.route, sh.now); h.is < isExpired {
			return LoadNewer
		}
		sh.expire(hash, h.loc, &h.rec, h.is, f)
	}
	if d.negative() && sh.st.negBytes > s.p.limit.Load()/int64(s.z.shards)/negativeShare {
		return LoadNoRoom
	}
	if !sh.reserve(d, forWrite) || !sh.link(hash, nil, 0, nil, d, f) {
		l.full = true
		return LoadNoRoom
	}
	if !d.negative() {
		sh.st.total++
	}
	return Loaded
}

// prefixGone tells whether the prefix of a key was invalidated since the load began. One that is invalidated right now is seen
// by the shard when it is locked next.
func (l *Loading) prefixGone(key []byte) bool {
	gone := *l.s.epochs.since.Load()
	if len(gone) > sinceLoad {
		return true
	}
	return slices.ContainsFunc(gone, func(p string) bool { return strings.HasPrefix(string(key), p) })
}

// learn makes k's value, which others are to have as well, a datum that is there until the load ends. False: no memory.
func (l *Loading) learn(k *Kept, d *draft, dg digest) bool {
	s := l.s
	had := draft{value: k.Value, handle: noHandle, route: l.routes[k.Route].id}
	if len(k.Value) <= maxInline { // no store has such a one shared
		dg.hi, dg.lo = s.opt.Digest(k.Value)
	}
	ok := false
	if s.z.large(dataHead + len(k.Value)) {
		ok = s.keepLarge(&had, dg.hi, dg.lo)
	} else {
		ds := s.dataShardOf(dg.hi)
		ds.mu.Lock()
		count := ds.st.count
		if had.handle, ok = ds.hold(dg.lo, k.Value); ok && ds.st.count > count {
			s.pays(&had)
		}
		ds.mu.Unlock()
	}
	if !ok {
		l.full = true
		return false
	}
	d.state |= had.state // statePays, where it is new
	at := l.data[k.Number/uint32(len(loadData{}))]
	if at == nil {
		at = new(loadData)
		l.data[k.Number/uint32(len(loadData{}))] = at
	}
	slot := &at[k.Number%uint32(len(loadData{}))]
	if old := *slot; old != 0 { // a number that comes twice
		var f freed
		f.add(old - 1)
		s.giveBack(&f)
	}
	*slot = had.handle + 1
	return true
}

// refer gives d the value of a number and returns its length, or -1 if it is not known.
func (l *Loading) refer(number uint32, d *draft) int {
	at := l.data[number/uint32(len(loadData{}))]
	if at == nil || at[number%uint32(len(loadData{}))] == 0 {
		return -1
	}
	d.handle = at[number%uint32(len(loadData{}))] - 1
	ds := l.s.dataShardOfHandle(d.handle)
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.reference(ds.local(d.handle))
	return len(ds.payload(ds.local(d.handle)))
}
