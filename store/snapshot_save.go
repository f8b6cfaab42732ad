package store

import (
	"bytes"
	"time"
)

// Saving shows a store's items to whoever writes a snapshot, shard by shard and a few at a time, while clients go on. The items of
// the main log come first, each log's oldest first: a smaller store that takes them in order gets the better ones. It is for
// one goroutine.
type Saving struct {
	s       *Store
	origin  Origin
	prints  [MaxRoutes + 1]OriginRoute
	stage   int
	shard   int
	pos     [logCount][]uint64 // by shard: how far it has come in its logs
	limit   uint64             // position at which the log at hand ends at the latest; 0: not known yet
	numbers uint32             // given out
	large   []pinned
	copied  int
}

// stages are the logs in the order in which they are shown. What is read often moves from probation to the end of the main log,
// so that is looked at again.
var stages = [...]int{mainLog, probation, mainLog}

// pinned is an item whose value is shown once the lock is gone.
type pinned struct {
	k   Kept
	pin Pin
}

// savingBytes bounds the bytes that are copied in one lock hold, but for the last value.
const savingBytes = 64 << 10

// BeginSaving begins to show the items that are there. Nil: another Saving has not ended. What is stored meanwhile may be
// shown, in its older or newer form or in both; what is there throughout is shown, unless its shard was written over eight times
// meanwhile. The caller owes an End.
func (s *Store) BeginSaving() *Saving {
	if !s.saving.CompareAndSwap(false, true) {
		return nil
	}
	sv := &Saving{s: s, origin: Origin{Clock: s.Now(), Wall: time.Now(), FlushAt: Time(s.epochs.flushAt.Load())}}
	for id, rs := range s.routes.Load() {
		if rs != nil {
			sv.prints[id] = OriginRoute{RouteID(id), rs.Name, rs.KeyPrint, rs.QueryPrint}
			sv.origin.Routes = append(sv.origin.Routes, sv.prints[id])
		}
	}
	for log := range sv.pos {
		sv.pos[log] = make([]uint64, len(s.shards))
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sv.origin.CAS = max(sv.origin.CAS, (sh.st.cas+1)<<s.z.shardBits)
		sv.origin.Items += uint64(sh.st.items + sh.st.negative)
		sh.mu.Unlock()
	}
	sv.origin.Bytes = uint64(s.p.used() - s.z.fixed)
	return sv
}

// Origin describes the store as it was at the beginning.
func (sv *Saving) Origin() Origin { return sv.origin }

// End ends it. Next must not be called any more.
func (sv *Saving) End() {
	for i := range sv.s.data {
		ds := &sv.s.data[i]
		ds.mu.Lock()
		ds.nos = nil
		ds.mu.Unlock()
	}
	sv.s.saving.Store(false)
}

// Next calls f with some items more. One shard is locked for at most PassBackground records, and some copying; f must only
// copy what it needs: key and value alias the store. False: that was the end.
func (sv *Saving) Next(f func(k *Kept)) (more bool) {
	if sv.stage == len(stages) {
		return false
	}
	sh, log := &sv.s.shards[sv.shard], stages[sv.stage]
	pos := &sv.pos[log][sv.shard]
	sv.copied = 0
	sh.lock(sv.s.Now())
	began := time.Now()
	if sv.limit == 0 { // what comes to the log's end faster than it is shown does not go on for ever
		sv.limit = sh.end(log) + 8*uint64(sh.st.logs[log].used) + 64*sv.s.z.segment
	}
	walked, end := sh.each(log, pos, sv.s.passBackground(), func(k *held) bool {
		sv.show(sh, log, k, f)
		return sv.copied < savingBytes
	})
	end = end || *pos >= sv.limit
	sv.s.holds.note(HoldSnapshot, walked, began)
	sh.mu.Unlock()
	for i := range sv.large {
		sv.showLarge(&sv.large[i], f)
	}
	sv.large = sv.large[:0]
	if end {
		sv.limit = 0
		if sv.shard++; sv.shard == len(sv.s.shards) {
			sv.shard = 0
			sv.stage++
		}
	}
	return sv.stage < len(stages)
}

// show shows an item, or keeps it for showLarge. The shard is locked.
func (sv *Saving) show(sh *shard, log int, h *held, f func(k *Kept)) {
	r := &h.rec
	if h.is >= isExpired || r.negative() && h.is == isOver {
		return
	}
	if r.route != 0 {
		// What was loaded by a query that the origin does not know would be taken for what it knows.
		was, rs := &sv.prints[r.route], sv.s.route(r.route)
		if rs == nil || was.Name != rs.Name || was.KeyPrint != rs.KeyPrint || was.QueryPrint != rs.QueryPrint {
			return
		}
	}
	k := Kept{
		Key: r.key, Flags: r.flags, CAS: r.cas, Expiry: r.expiry, Route: r.route, Filled: r.filled, State: r.state &^ statePays,
		Hits: r.meta & metaHits, Fetched: r.meta&metaFetched != 0, Noted: r.route == 0 && r.offState != 0, Main: log == mainLog,
	}
	if r.route != 0 && sh.outdated(h) {
		k.State |= stateStale
		if k.State&stateKind == stateClient {
			k.State &^= stateAsked
		}
	}
	if r.meta&metaInline != 0 {
		k.Value = r.value
		sv.copied += len(k.Value)
		f(&k)
		return
	}
	ds := sv.s.dataShardOfHandle(r.handle)
	ds.mu.Lock()
	defer ds.mu.Unlock()
	n := ds.local(r.handle)
	shared := wordRefs(ds.hs[n]) > 1
	if ds.hs[n]&paged != 0 {
		ds.reference(n)
		k.Key = bytes.Clone(k.Key)
		k.New = shared
		sv.copied += len(ds.payload(n))
		sv.large = append(sv.large, pinned{k, Pin{ds, n}})
		return
	}
	sv.value(&k, ds, n, shared)
	sv.copied += len(k.Value)
	f(&k)
}

// showLarge shows an item whose value has pages for itself: that stays where it is as long as it is pinned.
func (sv *Saving) showLarge(p *pinned, f func(k *Kept)) {
	shared := p.k.New
	p.pin.ds.mu.Lock()
	sv.value(&p.k, p.pin.ds, p.pin.n, shared)
	p.pin.ds.mu.Unlock()
	f(&p.k)
	p.pin.Release()
	*p = pinned{}
}

// value gives k the payload of local handle n, or its number if it was shown before. The data shard is locked.
func (sv *Saving) value(k *Kept, ds *dataShard, n uint32, shared bool) {
	k.New = false
	if !shared {
		k.Value = ds.payload(n)
		return
	}
	if int(n) >= len(ds.nos) {
		nos := make([]uint32, min(int(ds.st.handles)+int(ds.st.handles)/8+64, len(ds.hs)))
		copy(nos, ds.nos)
		ds.nos = nos
	}
	if k.Number = ds.nos[n]; k.Number == 0 {
		sv.numbers++
		ds.nos[n] = sv.numbers
		k.Number, k.New, k.Value = sv.numbers, true, ds.payload(n)
	}
}
