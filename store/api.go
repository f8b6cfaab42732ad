package store

import "time"

// Time is a moment of the item clock: milliseconds of CLOCK_MONOTONIC since the arena's birth. Records hold whole seconds
// of it, so an item lives until the clock's second reaches its deadline.
type Time int64

// Second returns the whole second that t falls into.
func (t Time) Second() uint32 { return uint32(t / 1000) }

// RouteID names a route in records. Zero is "no route": a plain key.
type RouteID uint16

// MaxRoutes bounds the ids that can be alive in one arena.
const MaxRoutes = 255

// Seconds of the item clock with a special meaning as a deadline.
const (
	NoDeadline uint32 = 0         // never expires
	Expired    uint32 = 1<<32 - 1 // expired on arrival (a negative exptime)
)

// Options configure a Store. The zero value of a field means its default.
type Options struct {
	Memory         int64                                // limit in bytes, overhead included; default 64 MiB
	MaxItem        int                                  // largest item in bytes as memcached's -I counts it; default 1 MiB
	NoEvict        bool                                 // -M: refuse instead of evicting
	NoCAS          bool                                 // -C
	PassInline     int                                  // records per lock hold before an insert; default 16
	PassBackground int                                  // records per lock hold in the background; default 64
	Seed           [16]byte                             // secret of KeyHash and Digest, kept in the arena header
	KeyHash        func(key []byte) uint64              // keyed hash; must be the one callers pass in
	Digest         func(payload []byte) (hi, lo uint64) // seeded payload digest
	Clock          func() Time                          // for tests; default the process's monotonic clock since Open
}

// Route is what the store has to know of a route: identity and freshness. Durations are whole seconds.
type Route struct {
	Name          string
	KeyPrint      uint64 // fingerprint of pattern and normalize: a change makes old keys unreachable
	QueryPrint    uint64 // fingerprint of query, encode, flags, source: a change makes items stale
	Fresh         uint32
	Stale         uint32
	Keep          uint32 // counted from the end of Stale; used while the source is down
	Negative      uint32
	Ahead         uint32 // so long before the end of Fresh a GET has the item loaded again; 0: only afterwards
	JitterPercent uint32 // 0 to 100: how much earlier, by hash, freshness may end
	Settle        time.Duration
	IgnoreSets    bool // on_client_set: ignore
	MissOnReload  bool // on_reload: miss
}

// Lease is the right to put one fill. The zero Serial is no lease.
type Lease struct {
	Hash   uint64
	Serial uint64
}

// Urgency is why a key is to be loaded. Smaller is sooner.
type Urgency uint8

const (
	ForMiss  Urgency = iota // a client got nothing
	ForStale                // a client got an old value
	ForAhead                // a value in use is about to turn stale
	ForWarm                 // nobody has asked yet
)

// Lookup is one question to Get. Hash must be KeyHash(Key). Get keeps nothing of it.
type Lookup struct {
	Key      []byte // canonical
	Hash     uint64
	Route    RouteID
	Now      Time
	WantCAS  bool
	Touch    bool   // gat: set the deadline of a hit
	Deadline uint32 // with Touch; see NoDeadline and Expired
}

// MissReason says why Get found nothing, as memcached's statistics count it.
type MissReason uint8

const (
	Absent   MissReason = iota
	TTLOver             // get_expired
	Flushed             // get_flushed
	Negative            // the source has no row; no fill until the negative window ends
)

// Item is what Get answers. After a hit Value aliases the store's memory and the shard is locked until Release, which the
// caller owes at once: copy and release, never block in between. After a miss nothing is locked.
type Item struct {
	Value []byte
	Flags uint32
	CAS   uint64 // where Lookup.WantCAS
	Stale bool   // served past its freshness

	Miss    MissReason
	Lease   Lease   // opened by this Get for the caller to queue; zero Serial: none
	Urgency Urgency // of Lease or Promote
	Promote Lease   // opened by an earlier Get that was less urgent: to be moved up in the queue; zero Serial: none
	Leased  bool    // a lease is open on this key, by this Get or an earlier one
	NoRoom  bool    // a lease was due but the table was full

	sh *shard
	ds *dataShard
}

// WriteOp is the kind of a Write.
type WriteOp uint8

const (
	Set WriteOp = iota
	Add
	Replace
	Append
	Prepend
	CAS // compare and swap against Write.CAS
)

// Write is one storage command. Key and Value are copied. Hash must be KeyHash(Key).
type Write struct {
	Op       WriteOp
	Key      []byte
	Hash     uint64
	Route    RouteID
	Now      Time
	Value    []byte
	Flags    uint32
	Deadline uint32
	CAS      uint64
	WantCAS  bool // answer the new CAS in Result (binary, meta c)
}

// Status is the outcome of a command.
type Status uint8

const (
	Stored Status = iota
	NotStored
	Exists
	NotFound
	Deleted
	Touched
	TooLarge
	NoMemory
	NonNumeric
	Ignored // on_client_set: ignore; answered STORED
)

// Delta is incr and decr. With Decr the value stops at 0; an incr wraps at 2^64.
type Delta struct {
	Key   []byte
	Hash  uint64
	Route RouteID
	Now   Time
	Decr  bool
	Delta uint64
	CAS   uint64 // 0: any
}

// Fill is what a load brought for a lease.
type Fill struct {
	Key    []byte
	Route  RouteID
	Now    Time
	Value  []byte
	Flags  uint32
	Absent bool // the source has no row
	Failed bool // nothing is known: close the window for Negative without a value
}

// PutStatus is the outcome of PutLease.
type PutStatus uint8

const (
	PutStored   PutStatus = iota // a new or changed item
	PutSame                      // the payload had not changed; it is fresh again
	PutNegative                  // absent, remembered
	PutKept                      // absent or failed, and the client's item stays
	PutKilled                    // the lease was gone: something newer happened
	PutTooLarge
	PutNoRoom
)

// Stats is a snapshot. Counters run from Open; what is marked with a unit is in bytes.
type Stats struct {
	Items, NegativeItems, TotalItems int64
	Bytes                            int64 // of live records and payloads
	LimitBytes, UsedBytes            int64 // the limit, and what is charged against it: segments, pages, tables
	HashBytes                        int64 // of the indexes
	HashPower                        int   // log2 of the slots, about
	Data, References                 int64 // payloads held, and references of items to them
	DataBytes                        int64 // of those payloads, each once
	Leases                           int64
	LeasesFull, LeasesKilled         uint64
	Evictions, EvictedUnfetched      uint64
	Reclaimed, ExpiredUnfetched      uint64
	NoMemory                         uint64
	Passes, PassRecords              uint64
}

// RouteStats is a snapshot of one route.
type RouteStats struct{ Items, Negative, Client int64 }

// Settings are the sizes Open derived, for statistics and tests.
type Settings struct{ Shards, Segment, LeaseSlots, PassInline, PassBackground int }
