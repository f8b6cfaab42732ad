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
	MostMemory     int64                                // that SetMemory takes; 0: what the address space allows
	MaxItem        int                                  // largest item in bytes as memcached's -I counts it; default 1 MiB
	NoEvict        bool                                 // -M: refuse instead of evicting
	NoCAS          bool                                 // -C
	NoSharing      bool                                 // every item has its value for itself
	RoomTime       time.Duration                        // what one insert may spend on evicting for itself, in all its tries; default 1 ms
	PassInline     int                                  // records per lock hold before an insert; default 16
	PassBackground int                                  // records per lock hold in the background; default 64
	Seed           [16]byte                             // secret of KeyHash and Digest, kept in the arena header
	KeyHash        func(key []byte) uint64              // keyed hash; must be the one callers pass in
	Digest         func(payload []byte) (hi, lo uint64) // seeded payload digest
	Clock          func() Time                          // for tests; default the process's monotonic clock since Open

	// File, if not empty, holds the memory, so that a later Open can go on with it after Save; see Warm. It belongs on a file
	// system in memory. An existing file is emptied unless Save left it and the sizes and Seed are the same.
	File string

	// Inherit, if not nil, is the memory of another process's store, to go on with: see HandOver and Begin. Memory is what the other
	// store was made with, whatever is said here.
	Inherit *Inherited

	manual bool // for tests: what is over is taken out only by reap
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
	MemoryPercent uint32 // 1 to 100: cap on its part of the memory limit; 0: none
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

	// The meta commands' part.
	Meta           bool   // fill Item's meta fields, take and give win tokens
	Peek           bool   // with Meta: leave a plain item's win token where it is
	Access         bool   // tell LastAccess, and without NoBump have a plain item remember from now on when it was read last
	NoBump         bool   // the read does not count: neither as fetched nor as an access
	Vivify         bool   // an absent key gets an empty item: Item.Created and Won
	VivifyDeadline uint32 // of that item
	NewCAS         uint64 // of that item; 0: the store's next
	Recache        bool   // a hit whose deadline is before RecacheBelow wins the token, if it is not out
	RecacheBelow   uint32 // second of the item clock
	RecacheTouched bool   // compare the deadline that Touch sets, not the one before
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
	Stale bool   // served past its freshness, or invalidated by a client and not rewritten since

	// Where Lookup.Meta, as they were before this read.
	Deadline   uint32 // NoDeadline or a second of the item clock
	LastAccess uint32 // with Access: seconds since it was stored or read last, as far as that is remembered; a route's item: since its fill
	Fetched    bool   // read before
	BinaryKey  bool   // stored under a base64-coded key
	Created    bool   // by this Get
	Won        bool   // the caller is the one to recompute it; on a route: a lease was opened now
	Sent       bool   // somebody else is; on a route: a lease is open already

	Miss    MissReason
	Lease   Lease   // opened by this Get for the caller to queue; zero Serial: none
	Urgency Urgency // of Lease or Promote
	Promote Lease   // opened by an earlier Get that was less urgent: to be moved up in the queue; zero Serial: none
	Leased  bool    // a lease is open on this key, by this Get or an earlier one
	NoRoom  bool    // a lease was due but the table was full

	sh    *shard
	ds    *dataShard
	datum uint32 // in ds
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
	WantCAS  bool // answer the new CAS

	// The meta commands' part.
	NewCAS    uint64 // the stored item's CAS; 0: the store's next
	Stale     bool   // with Op CAS: an item with a higher CAS is replaced too; it keeps its deadline and is stale
	Vivify    bool   // Append, Prepend: an absent key is stored as by Set
	BinaryKey bool   // remember that the key came base64-coded

	Patient bool // where room would take longer to make than a command may, Later

	Size  int      // out: the new value's length after Append or Prepend
	Short Shortage // out: with Later, for AwaitRoom
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
	Later   // to a Patient Write: nothing was done; to be asked again after AwaitRoom
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

	WantCAS       bool
	NewCAS        uint64 // the item's CAS afterwards; 0: the store's next
	Vivify        bool   // an absent key becomes Initial with Deadline
	Initial       uint64
	Deadline      uint32
	Touch         bool // a hit gets TouchDeadline
	TouchDeadline uint32

	digits [20]byte // scratch
}

// Number is what a Delta leaves.
type Number struct {
	Value    uint64
	CAS      uint64 // where Delta.WantCAS
	Deadline uint32 // of the item before Touch: NoDeadline or a second of the item clock
	Created  bool
}

// Deletion is a delete with the meta command's choices.
type Deletion struct {
	Key   []byte
	Hash  uint64
	Route RouteID
	Now   Time

	Compare bool // Exists where the item's CAS is not CAS, 0 included
	CAS     uint64

	Drop       bool   // the item stays with an empty value and these flags
	Flags      uint32 // with Drop
	Invalidate bool   // the item stays and is stale
	Touch      bool   // an item that stays gets Deadline
	Deadline   uint32
	NewCAS     uint64 // of an item that stays; 0: Invalidate the store's next, Drop the one it had
}

// Fill is what a load brought for a lease.
type Fill struct {
	Key      []byte
	Route    RouteID
	Now      Time
	Value    []byte
	Flags    uint32
	Deadline uint32 // a second of the item clock at which the source lets go of it; NoDeadline
	Absent   bool   // the source has no row
	Failed   bool   // nothing is known: close the window for Negative without a value
	New      bool   // Offer, which opened the lease, found nothing: there is no payload to compare with
	Stale    bool   // the value is old already: it is served, and loaded anew when somebody asks for it
	Age      uint32 // seconds ago that it was true; older than the clock can say is Stale
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
	ReserveBytes                     int64 // of the limit, what is kept free
	Age                              int64 // seconds since the oldest record was written, 0 without records
	HashBytes                        int64 // of the indexes
	HashPower                        int   // log2 of the slots that the indexes of keys have room for
	Data, References                 int64 // payloads held, and references of items to them
	DataBytes                        int64 // of those payloads, each once
	Leases                           int64
	LeasesFull, LeasesKilled         uint64
	Evictions, EvictedUnfetched      uint64
	Reclaimed, ExpiredUnfetched      uint64
	NoMemory                         uint64
	Reaped, ReapLooks                uint64 // expired items taken out in the background, and records looked at for that
	Crawls                           uint64 // runs that Crawl has asked for
	Crawling                         bool   // the last of them is not over
	Passes, PassRecords              uint64
	Holds                            [HoldKinds]Holds // lock holds of passes
}

// RouteStats is a snapshot of one route. Bytes are those of its records and, where it has a cap, of the payloads it brought.
type RouteStats struct{ Items, Negative, Client, Bytes int64 }

// Settings are the sizes Open derived, for statistics and tests.
type Settings struct{ MaxItem, Shards, Segment, LeaseSlots, PassInline, PassBackground int }
