// Package filler loads what was missing. Workers hand it leases, the right to put one fill, on rings that never block; one
// dispatcher queues them by route and lane and sends them to the route's source in batches, within limits on concurrency,
// rate and memory. What comes back is encoded and put through functions that the caller hands in: the package knows no store.
// A lease that somebody more urgent asks for moves up (Ring.Promote), and sources and routes can be replaced while all that
// goes on (Filler.Apply).
//
// Every lease handed in is ended exactly once, by one call of Hooks.Put, Absent, Failed or End: after a load, and also when
// it is dropped, when its route is off, when a source panics and at shutdown.
package filler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alitto/pond/v2"
	"github.com/rs/zerolog"
)

// Lease is the right to put one fill. A zero Serial is no lease.
type Lease struct{ Hash, Serial uint64 }

// Lane is the urgency of a fill. Smaller is sooner.
type Lane uint8

const (
	LaneMiss    Lane = iota // a client got nothing
	LaneStale               // a client got an old value
	LaneRefresh             // a value in use is about to turn stale
	LaneWarm                // nobody has asked yet
	laneCount
)

var laneNames = [laneCount]string{"miss", "stale", "refresh", "warm"}

func (l Lane) String() string {
	if l < laneCount {
		return laneNames[l]
	}
	return fmt.Sprintf("lane %d", uint8(l))
}

// PutStatus is what became of a fill.
type PutStatus uint8

const (
	Stored   PutStatus = iota // a new or changed item
	Same                      // the payload had not changed; it is fresh again
	Negative                  // absent, remembered
	Kept                      // absent or failed, and the client's item stays
	Killed                    // the lease was gone: something newer happened
	TooLarge
	NoRoom
)

// Hooks are the functions that end leases and tell about them. They are called from several goroutines at once, must not
// block and must not call the Filler. key and value are only valid during the call.
type Hooks struct {
	Put    func(l Lease, route uint16, key, value []byte, flags uint32) PutStatus
	Absent func(l Lease, route uint16, key []byte) PutStatus // the source has no row
	Failed func(l Lease, route uint16, key []byte) PutStatus // nothing is known: close the window for the route's negative time
	End    func(l Lease) bool                                // dropped without an answer: the next GET may lease again
	Alive  func(l Lease) bool

	// Sent gives a lease its deadline, from now: its batch is being sent. A within of 0 takes the deadline away again: the
	// load failed and the lease is back in the queue.
	Sent func(l Lease, within time.Duration)

	// SourceDown tells that none of a route's sources can be reached, or that one can again.
	SourceDown func(route uint16, down bool)

	// PutTTL is Put for a value that its source keeps only for ttl, more than 0: the item may not outlive that. It is
	// optional: where it is nil, Put is called and the remaining time is lost.
	PutTTL func(l Lease, route uint16, key, value []byte, flags uint32, ttl time.Duration) PutStatus

	// PutMany is Put for some keys of a Bulk, at most PutsAtOnce. It is optional: where it is nil, Put is called for each.
	PutMany func(route uint16, puts []BulkPut)
}

// BulkPut is a value for PutMany, which sets Status.
type BulkPut struct {
	Lease      Lease
	Key, Value []byte
	Flags      uint32
	New        bool // as Bulk.Add was told
	Status     PutStatus
}

// PutsAtOnce bounds what PutMany gets.
const PutsAtOnce = 16

// SourceSpec is a source with its limits.
type SourceSpec struct {
	Name     string
	Source   Source
	Timeout  time.Duration // the source's own limit for a statement; default 2 s. A load is cut off 500 ms after it
	Rate     float64       // keys asked a second, all routes together; 0: no limit
	MaxLoads int           // loads at once, all routes together; 0: no limit. The size of the source's connection pool
}

// Options configure a Filler. The zero value of a field means its default.
type Options struct {
	Sources  []SourceSpec
	Routes   []Route
	Hooks    Hooks // all of them but PutTTL
	Logger   zerolog.Logger
	RingSize int // slots of a ring of 272 bytes each, a power of two; default 4096
	Queue    int // leases queued, all routes together; default 1,000,000. Lanes share it as they share a route's queue
	Retries  int // loads of one lease after the first, on a connection error; default 5
	MaxValue int // bytes of a payload; a longer one is thrown away and its key counts as too large; default 1 MiB

	// BatchBytes bounds the payloads that one batch holds, in bytes; default 16 MiB, and never less than twice MaxValue. The
	// keys whose rows find no room are asked once more.
	BatchBytes int
}

// Defaults of Options, SourceSpec and Limits.
const (
	DefaultRingSize    = 4096
	DefaultQueue       = 1_000_000
	DefaultRetries     = 5
	DefaultTimeout     = 2 * time.Second
	DefaultBatch       = 256
	DefaultWindow      = 2 * time.Millisecond
	DefaultConcurrency = 2
	DefaultRouteQueue  = 100_000
	DefaultMaxValue    = 1 << 20
	DefaultBatchBytes  = 16 << 20
)

const (
	loadGrace  = 500 * time.Millisecond // from a source's statement timeout to our own end of a load
	leaseGrace = time.Second            // from a source's statement timeout to the end of its leases
)

// Filler is safe for concurrent use.
type Filler struct {
	hooks      Hooks
	log        zerolog.Logger
	ringSize   int
	bound      int
	retries    uint8
	maxValue   int
	batchBytes int

	table  atomic.Pointer[table] // what Apply made last, for everybody but the dispatcher
	recent recent
	pool   pond.Pool

	wakeup   chan struct{}
	events   chan event // ends of loads and of probes
	bulks    chan *Bulk
	changes  chan change
	stopping chan struct{}
	force    chan struct{} // closed when Shutdown waits no longer
	done     chan struct{} // closed when the dispatcher has ended

	ctx      context.Context // of every load; ended by Shutdown
	cancel   context.CancelFunc
	poolCtx  context.Context // of the pond pools, which lose queued tasks when it ends: only after the last
	poolStop context.CancelFunc
	closing  sync.WaitGroup // sources that Apply has replaced

	mu       sync.Mutex
	closed   bool
	rings    []*Ring // replaced, never changed in place, so that the dispatcher reads it unlocked
	ringFull uint64  // of closed rings
	unknown  atomic.Uint64

	dispatcher
}

// New checks o and starts the dispatcher. A mistake of the operator returns an error that names the route; missing hooks panic.
func New(o Options) (*Filler, error) {
	h := o.Hooks
	if h.Put == nil || h.Absent == nil || h.Failed == nil || h.End == nil || h.Alive == nil || h.Sent == nil || h.SourceDown == nil {
		panic("filler: Options.Hooks lacks a function")
	}
	f := &Filler{
		hooks: h, log: o.Logger,
		ringSize: defaultInt(o.RingSize, DefaultRingSize),
		bound:    defaultInt(o.Queue, DefaultQueue),
		maxValue: defaultInt(o.MaxValue, DefaultMaxValue),
		wakeup:   make(chan struct{}, 1),
		events:   make(chan event, 64),
		bulks:    make(chan *Bulk),
		changes:  make(chan change),
		stopping: make(chan struct{}),
		force:    make(chan struct{}),
		done:     make(chan struct{}),
	}
	if f.ringSize&(f.ringSize-1) != 0 {
		return nil, fmt.Errorf("filler: ring size %d is not a power of two", f.ringSize)
	}
	f.retries = uint8(min(defaultInt(o.Retries, DefaultRetries), 100))
	f.batchBytes = max(defaultInt(o.BatchBytes, DefaultBatchBytes), 2*f.maxValue)
	f.running = make(map[*Batch]struct{})
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.poolCtx, f.poolStop = context.WithCancel(context.Background())

	// A pond pool that refuses a task of its subpool loses it and the subpool's worker. The parent's queue is therefore
	// unbounded by itself: what the dispatcher submits is bounded by the routes' concurrencies.
	f.pool = pond.NewPool(1, pond.WithContext(f.poolCtx), pond.WithQueueSize(pond.Unbounded), pond.WithNonBlocking(true))
	if err := f.apply(o.Sources, o.Routes); err != nil {
		f.cancel()
		f.poolStop()
		return nil, err
	}
	go f.dispatch()
	return f, nil
}

// NewRing makes a ring for one producer. After Shutdown it is closed from the start.
func (f *Filler) NewRing() *Ring {
	r := newRing(f.ringSize, f.wakeup)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		r.close()
		return r
	}
	f.rings = append(f.rings[:len(f.rings):len(f.rings)], r)
	return r
}

// SetOff switches a route off or on by name and tells whether there is such a route. Off, its queued leases are ended and
// new ones end at once; loads under way finish. It stays off over an Apply.
func (f *Filler) SetOff(name string, off bool) bool {
	t := f.table.Load()
	for i, p := range t.plans {
		if p.cfg.Name == name {
			t.routes[i].off.Store(off)
			wake(f.wakeup)
			return true
		}
	}
	return false
}

// ErrClosed is returned by Apply after Shutdown, and by a second Shutdown.
var ErrClosed = errors.New("filler: closed")

// Shutdown ends every lease: it closes the rings, drops what is queued, cancels the loads under way and waits for them. When
// ctx ends first, the leases of loads that do not obey are ended as well and ctx's error is returned. The sources of the last
// Apply stay open: they are the caller's to close.
func (f *Filler) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return ErrClosed
	}
	f.closed = true
	f.mu.Unlock()
	close(f.stopping)
	f.cancel()
	closed := make(chan struct{})
	go func() {
		<-f.done
		f.closing.Wait()
		close(closed)
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		close(f.force)
		<-f.done
		return fmt.Errorf("filler: loads or sources left behind at shutdown: %w", ctx.Err())
	}
}

func defaultInt(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}
