// Package store holds items in memory: shards of keys, shards of deduplicated payloads, an insertion-ordered log of key
// records, leases for fills, eviction and expiry.
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

	Miss   MissReason
	Lease  Lease // opened by this Get for the caller to queue; zero Serial: none
	Leased bool  // a lease is open on this key, by this Get or an earlier one
	NoRoom bool  // a lease was due but the table was full

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

type shard struct{}
type dataShard struct{}

// Store is safe for concurrent use.
type Store struct{}

// Open makes an empty store.
func Open(o Options) (*Store, error) { panic("stub") }

// Close gives the memory back. No other call may be under way or follow.
func (s *Store) Close() error { panic("stub") }

// Now reads the item clock.
func (s *Store) Now() Time { panic("stub") }

// SetRoutes makes rs the live routes and returns their ids in the same order. Known names keep their id.
func (s *Store) SetRoutes(rs []Route) ([]RouteID, error) { panic("stub") }

// SetSourceDown tells whether id's source is down: its stale items then live on for Keep.
func (s *Store) SetSourceDown(id RouteID, down bool) { panic("stub") }

// Get looks one key up; see Item for what is locked. Stale, missing and expired keys of a route open a lease where none is open.
func (s *Store) Get(q *Lookup, it *Item) bool { panic("stub") }

// Release unlocks what a hit locked.
func (it *Item) Release() { panic("stub") }

// Write runs a storage command and returns its status and, where asked, the new CAS.
func (s *Store) Write(w *Write) (Status, uint64) { panic("stub") }

// Oversized is a storage command whose value was over MaxItem and was swallowed: a set deletes what the key held.
func (s *Store) Oversized(op WriteOp, key []byte, hash uint64, route RouteID, now Time) {
	panic("stub")
}

// TooLargeFor tells whether a value of n bytes under a key of k bytes is over MaxItem.
func (s *Store) TooLargeFor(k, n int) bool { panic("stub") }

// Delete removes key: Deleted, NotFound, or Exists where cas is not 0 and differs.
func (s *Store) Delete(key []byte, hash uint64, route RouteID, now Time, cas uint64) Status {
	panic("stub")
}

// Touch sets the deadline: Touched or NotFound.
func (s *Store) Touch(key []byte, hash uint64, route RouteID, now Time, deadline uint32) Status {
	panic("stub")
}

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

// Delta runs d and returns the new number with Stored, or NotFound, NonNumeric, Exists, NoMemory.
func (s *Store) Delta(d *Delta) (n uint64, st Status) { panic("stub") }

// FlushAll makes everything stored or leased before the moment at absent. at <= now: at once, in O(1).
func (s *Store) FlushAll(now, at Time) { panic("stub") }

// Invalidate makes every item of a route that is there now absent, in O(1).
func (s *Store) Invalidate(id RouteID) { panic("stub") }

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

// PutLease ends the lease and, if it was alive, puts the fill, in one critical section.
func (s *Store) PutLease(l Lease, f *Fill) PutStatus { panic("stub") }

// EndLease gives a lease back without a fill: the next Get may open another. It tells whether the lease was alive.
func (s *Store) EndLease(l Lease) bool { panic("stub") }

// LeaseAlive tells whether a lease still stands.
func (s *Store) LeaseAlive(l Lease) bool { panic("stub") }

// LeaseSent gives a lease its deadline: past it the lease is void.
func (s *Store) LeaseSent(l Lease, deadline Time) { panic("stub") }

// Stats is a snapshot. Counters run from Open.
type Stats struct {
	Items, TotalItems, Bytes, LimitBytes                     int64
	Evictions, EvictedUnfetched, ExpiredUnfetched, Reclaimed uint64
	NegativeItems, Data, DataBytes, SharedBytes              int64
	Leases                                                   int64
	LeasesFull, LeasesKilled, NoMemory, NoMemoryEvict        uint64
	UsedBytes                                                int64 // of the limit: segments, pages, tables, handles, leases
	HashBytes                                                int64
	HashPower                                                int
	Passes, PassRecords                                      uint64
}

// RouteStats is a snapshot of one route.
type RouteStats struct{ Items, Negative, Client int64 }

// Stats sums the shards; each is locked for a moment.
func (s *Store) Stats() Stats { panic("stub") }

// RouteStats tells what a route holds.
func (s *Store) RouteStats(id RouteID) RouteStats { panic("stub") }

// Settings are the sizes Open derived, for statistics and tests.
type Settings struct{ Shards, Segment, LeaseSlots, PassInline, PassBackground int }

// Settings returns the derived sizes.
func (s *Store) Settings() Settings { panic("stub") }
