package store

import (
	"slices"
	"strings"
)

const (
	loadMost = 2048 // items that are taken in together: so many that each shard has several of them
	loadHold = 16   // records that are put in one lock hold at most
)

// loadPart is what is known of items between their values and their records. Those that are to be put are numbered anew.
type loadPart struct {
	items  [loadMost]*Kept
	drafts [loadMost]draft
	sizes  [loadMost]int32  // of the values
	order  [loadMost]uint16 // by shard, and within one as they came
	ends   [mostShards]uint16
}

// digest is that of a payload.
type digest struct{ hi, lo uint64 }

// Prepare does what Put needs of items beforehand: it hashes their keys and values. It may run beside a Put of others.
func (l *Loading) Prepare(ks []Kept) {
	for i := range ks {
		k := &ks[i]
		k.hash = l.s.opt.KeyHash(k.Key)
		if len(k.Value) > maxInline || k.New { // no other value is looked for
			k.digest.hi, k.digest.lo = l.s.opt.Digest(k.Value)
		}
	}
}

// Put takes in items that were prepared, as far as nothing newer is known of their keys, and counts what became of them. A value
// is taken in if it is new, also where its item is over, not wanted or bad, as others may follow that have it; but not if it is too large for
// a store like this one. Keys and Values are copied. It locks a shard for loadHold records at most.
func (l *Loading) Put(ks []Kept, into *[LoadResults]int64) {
	for len(ks) > 0 {
		n := min(len(ks), loadMost)
		l.records(l.values(ks[:n], into), into)
		ks = ks[n:]
	}
}

// values takes in what items bring along, in their order, and makes a draft of each that is to be put. It returns how many those
// are.
func (l *Loading) values(ks []Kept, into *[LoadResults]int64) (n int) {
	now := l.s.Now()
	for i := range ks {
		if i%AheadMost == 0 {
			l.touched += l.s.aheadData(ks[i:min(i+AheadMost, len(ks))])
		}
		if res := l.begin(&ks[i], n, now); res != Loaded {
			into[res]++
			continue
		}
		l.part.items[n] = &ks[i]
		n++
	}
	return n
}

// records puts the first n drafts, shard by shard: what a shard needs of the processor's cache is there for all of its own.
func (l *Loading) records(n int, into *[LoadResults]int64) {
	s, p := l.s, l.part
	l.sort(n)
	var hashes [AheadMost]uint64
	ahead := 0
	for at := 0; at < n; {
		if at >= ahead {
			for ahead = at; ahead < min(at+AheadMost, n); ahead++ {
				hashes[ahead-at] = p.items[p.order[ahead]].hash
			}
			l.touched += s.Ahead(hashes[:ahead-at])
		}
		no := s.shardNo(p.items[p.order[at]].hash)
		end := at + 1
		for end < min(n, at+loadHold) && s.shardNo(p.items[p.order[end]].hash) == no {
			end++
		}
		l.putRecords(&s.shards[no], p.order[at:end], into)
		at = end
	}
}

// sort orders the first n items of the part by shard.
func (l *Loading) sort(n int) {
	s, p := l.s, l.part
	clear(p.ends[:])
	for i := range n {
		p.ends[s.shardNo(p.items[i].hash)]++
	}
	sum := uint16(0)
	for i := range p.ends[:len(s.shards)] {
		sum += p.ends[i]
		p.ends[i] = sum - p.ends[i]
	}
	for i := range n {
		no := s.shardNo(p.items[i].hash)
		p.order[p.ends[no]] = uint16(i)
		p.ends[no]++
	}
}

// begin makes the n-th draft, with its value, of an item. What is not Loaded is not to be put.
func (l *Loading) begin(k *Kept, n int, now Time) LoadResult {
	s, d := l.s, &l.part.drafts[n]
	if l.Ended() {
		return l.ended()
	}
	if !l.room(len(k.Value)) {
		l.full = true
		return LoadNoRoom
	}
	*d = draft{handle: noHandle}
	if k.New && !l.learn(k) {
		return l.ended()
	}
	if len(k.Key) == 0 || len(k.Key) > 250 || k.State&stateKind == stateKind || k.Route > MaxRoutes {
		return LoadBad
	}
	if s.TooLargeFor(len(k.Key), len(k.Value)) {
		return LoadTooLarge
	}
	if !l.draft(k, d) {
		return LoadGone
	}
	if s.shardOf(k.hash).endOf(d.route, d.state, d.filled, d.expiry) <= now.Second() || d.negative() && d.state&stateStale != 0 {
		return LoadOver
	}
	size := len(k.Value)
	switch {
	case k.Number != 0:
		at, i := l.number(k.Number)
		switch {
		case at == nil, at.handles[i] == 0:
			return LoadLost
		case at.handles[i] == loadTooLarge:
			return LoadTooLarge
		}
		if size = l.refer(at.handles[i]-1, d); s.TooLargeFor(len(k.Key), size) {
			var f freed
			f.add(d.handle)
			s.giveBack(&f)
			return LoadTooLarge
		}
	case size <= maxInline:
		d.value = k.Value
	default:
		d.value = k.Value
		if !s.keep(d, k.hash, k.digest.hi, k.digest.lo) {
			l.full = true
			return LoadNoRoom
		}
	}
	l.part.sizes[n] = int32(size)
	return Loaded
}

// putRecords puts drafts, by number, which are all of a shard.
func (l *Loading) putRecords(sh *shard, numbers []uint16, into *[LoadResults]int64) {
	s, p := l.s, l.part
	var f freed
	sh.lock(s.Now())
	for _, n := range numbers {
		k, d := p.items[n], &p.drafts[n]
		res := LoadNoRoom
		var unpaid *uint64 // of a new value that several items have, the first that is put pays for it
		bit := uint64(0)
		if k.Number != 0 {
			at, i := l.number(k.Number)
			if unpaid, bit = &at.unpaid[i/64], 1<<(i%64); *unpaid&bit != 0 {
				s.pays(d)
			}
		}
		if l.full = l.full || !l.room(0); !l.full {
			if booked, room := s.bookFree(s.route(d.route), d.cost(int(p.sizes[n]))); room {
				res = l.put(sh, k, d, &f)
				booked.end()
			}
		}
		switch {
		case res == Loaded && unpaid != nil:
			*unpaid &^= bit
		case res != Loaded && d.handle != noHandle:
			f.add(d.handle)
		}
		into[res]++
	}
	sh.mu.Unlock()
	s.giveBack(&f)
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
func (l *Loading) put(sh *shard, k *Kept, d *draft, f *freed) LoadResult {
	s, hash := l.s, k.hash
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

// number returns where what is known of a value stands, nil if nothing is of any beside it.
func (l *Loading) number(n uint32) (at *loadData, i uint32) {
	return l.data[n/loadNumbers], n % loadNumbers
}

// learn makes k's value, which others are to have as well, a datum that is there until the load ends. False: no memory.
func (l *Loading) learn(k *Kept) bool {
	s := l.s
	had := draft{value: k.Value, handle: noHandle}
	ok := false
	switch {
	case s.TooLargeFor(1, len(k.Value)):
		had.handle, ok = loadTooLarge-1, true
	case s.z.large(dataHead + len(k.Value)):
		ok = s.keepLarge(&had, k.digest.hi, k.digest.lo)
	default:
		ds := s.dataShardOf(k.digest.hi)
		ds.mu.Lock()
		count := ds.st.count
		had.handle, ok = ds.hold(k.digest.lo, k.Value)
		had.novel = ds.st.count > count
		ds.mu.Unlock()
	}
	if !ok {
		l.full = true
		return false
	}
	at, i := l.number(k.Number)
	if at == nil {
		at = new(loadData)
		l.data[k.Number/loadNumbers] = at
	}
	if old := at.handles[i]; old != 0 && old != loadTooLarge { // a number that comes twice
		var f freed
		f.add(old - 1)
		s.giveBack(&f)
	}
	at.handles[i] = had.handle + 1
	at.unpaid[i/64] &^= 1 << (i % 64)
	if had.novel {
		at.unpaid[i/64] |= 1 << (i % 64)
	}
	return true
}

// refer gives d the value that a handle stands for and returns its length.
func (l *Loading) refer(handle uint32, d *draft) int {
	d.handle = handle
	ds := l.s.dataShardOfHandle(handle)
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.reference(ds.local(handle))
	return len(ds.payload(ds.local(handle)))
}
