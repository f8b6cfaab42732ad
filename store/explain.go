package store

import "bytes"

// Worth is what a record is worth to a GET.
type Worth uint8

const (
	WorthNothing  Worth = iota // there is no record
	WorthFresh                 // served
	WorthStale                 // served; on a route a load is due
	WorthNegative              // a miss: the source has no row, and is not asked again yet
	WorthOver                  // a miss, a load is due; served only while the source is down
	WorthExpired               // a miss; the record waits to be removed
	WorthFlushed               // the same, by a flush, an invalidation or a change of its route
)

var worths = [...]Worth{
	isFresh: WorthFresh, isStale: WorthStale, isNegative: WorthNegative, isOver: WorthOver, isExpired: WorthExpired, isFlushed: WorthFlushed,
}

// Kind is where a record comes from.
type Kind uint8

const (
	KindPlain       Kind = iota // a client wrote it under a key without a route
	KindFilled                  // the source had it
	KindClient                  // a client wrote it on a route's key
	KindNegative                // the source had no row
	KindPlaceholder             // a client's mg N made it
)

// LeaseState is how far the load of a key is.
type LeaseState uint8

const (
	LeaseNone     LeaseState = iota
	LeaseQueued              // open, and its query was not sent yet
	LeaseSent                // open, and void at Explanation.LeaseUntil
	LeaseSettling            // the key was deleted: what is loaded until LeaseUntil counts as stale
	LeaseSettled             // it was loaded while it settled, and is not loaded again before LeaseUntil
	LeaseAsked               // the last load brought nothing to put: no other before LeaseUntil
)

// Explanation is what the store knows of a key, for people who want to know why it is answered as it is. Seconds are those of
// the item clock.
type Explanation struct {
	Worth Worth

	// Of the record, where there is one.
	Kind     Kind
	Since    uint32 // second of the fill, of the search that found no row, or of the client's write; plain: as far as remembered
	Outdated bool   // stale whatever its age: a client or a change said so
	Asked    bool   // a client's item: the last load found nothing to replace it by
	Touched  bool   // a client has set the exptime of a filled item
	Ahead    bool   // fresh for so short a time yet that a GET has it loaded
	Fetched  bool   // read since it was stored
	Deadline uint32 // exptime; NoDeadline: none
	Flags    uint32
	CAS      uint64 // 0: no client has seen one

	// Ends of its times: seconds from which they are over, 0 where it has none. Fresh has the key's jitter in it.
	Fresh, Stale, Keep, Negative uint32

	Value  []byte // a copy
	Shared bool   // the value is held apart from the item, once for all that have it
	Keys   int    // how many items have it, this one included

	Lease      LeaseState
	LeaseFor   Urgency // of LeaseQueued and LeaseSent
	LeaseUntil Time    // of all but LeaseNone and LeaseQueued
	SourceDown bool    // none of the route's sources can be reached
}

// Explain looks at a key without reading it: nothing is counted, leased or removed. hash must be KeyHash(key), route the
// key's own. It copies the value under the locks that a GET takes, and allocates.
func (s *Store) Explain(key []byte, hash uint64, route RouteID, now Time) (x Explanation) {
	sh := s.shardOf(hash)
	sh.lock(now)
	defer sh.mu.Unlock()
	rs := s.route(route)
	if rs != nil {
		x.SourceDown = rs.down.Load()
		sh.explainLease(&x, hash, now)
	}
	var k held
	sh.look(&k, hash, key, route, now)
	if k.slot == nil {
		return x
	}
	r := &k.rec
	x.Worth = worths[k.is]
	x.Since = r.filled
	switch {
	case r.route == 0:
		x.Since = sh.stored(k.loc)
		x.Outdated = r.state&stateStale != 0
	case r.state&stateKind == stateNegative:
		x.Kind = KindNegative
	case r.state&stateSent != 0:
		x.Kind = KindPlaceholder
	case r.state&stateKind == stateClient:
		x.Kind = KindClient
	default:
		x.Kind = KindFilled
	}
	x.Flags, x.CAS, x.Deadline, x.Fetched = r.flags, r.cas, r.expiry, r.meta&metaFetched != 0
	if r.route != 0 {
		x.Outdated = r.state&stateStale != 0 || sh.outdated(&k)
		x.Asked = r.state&stateAsked != 0
		x.Touched = r.state&stateTouched != 0
		x.ends(r, rs, hash)
		x.Ahead = x.Worth == WorthFresh && sh.nearsEnd(r, hash, now)
	}
	x.Value, x.Keys = bytes.Clone(r.value), 1
	if r.meta&metaInline == 0 {
		ds := s.dataShardOfHandle(r.handle)
		ds.mu.Lock()
		x.Shared = true
		x.Keys = int(wordRefs(ds.hs[ds.local(r.handle)]))
		x.Value = bytes.Clone(ds.payload(ds.local(r.handle)))
		ds.mu.Unlock()
	}
	return x
}

// ends tells when the times of r, of route rs, are over; see judge.
func (x *Explanation) ends(r *record, rs *routeState, hash uint64) {
	if rs == nil || r.route != rs.id {
		return
	}
	switch x.Kind {
	case KindNegative:
		x.Negative = r.filled + rs.Negative
	case KindFilled:
		x.Stale = r.filled + rs.Fresh + rs.Stale
		x.Keep = x.Stale + rs.Keep
		if !x.Outdated {
			x.Fresh = r.filled + rs.freshFor(hash)
		}
	default:
		if x.Asked {
			x.Fresh = r.filled + rs.Negative
		} else if !x.Outdated {
			x.Fresh = r.filled + rs.freshFor(hash)
		}
	}
}

// explainLease tells how far the load of hash is. A lease that a flush or an invalidation has ended is none.
func (sh *shard) explainLease(x *Explanation, hash uint64, now Time) {
	if until := Time(sh.st.settleAll); now < until {
		x.Lease, x.LeaseUntil = LeaseSettling, until
	}
	e, ok := sh.findLease(hash, now)
	if !ok {
		return
	}
	over := e.b.serial[e.i] <= sh.goneSerial(e.b.route[e.i])
	until := Time(e.b.deadline[e.i])
	switch state := e.b.state[e.i]; {
	case state == leaseSettling && !over && e.b.serial[e.i] != 0:
		x.Lease, x.LeaseUntil = LeaseSettled, until
	case state == leaseSettling:
		x.Lease, x.LeaseUntil = LeaseSettling, until
	case over:
	case state == leaseAsked:
		x.Lease, x.LeaseUntil = LeaseAsked, until
	case until != 0:
		x.Lease, x.LeaseUntil, x.LeaseFor = LeaseSent, until, e.b.urgency[e.i]
	default:
		x.Lease, x.LeaseFor = LeaseQueued, e.b.urgency[e.i]
	}
}
