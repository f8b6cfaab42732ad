package filler

import (
	"sync/atomic"
	"time"
)

// DropReason says why a lease ended without a load.
type DropReason uint8

const (
	DropQueueFull  DropReason = iota // the route's queue
	DropFillerFull                   // the bound over all routes
	DropRetryFull                    // no room for a failed load
	DropOff                          // the route is switched off
	DropShutdown
	DropRemoved // Apply took the route away
	DropPool    // the pool refused the batch, which it never should
	dropCount
)

var dropNames = [dropCount]string{"queue_full", "filler_full", "retry_full", "off", "shutdown", "removed", "pool"}

// String returns the reason as statistics name it.
func (d DropReason) String() string { return dropNames[d] }

// DropReasons is the number of reasons; Lanes the number of lanes.
const (
	DropReasons = int(dropCount)
	Lanes       = int(laneCount)
)

// counters of one route, each written by whoever sees the event.
type counters struct {
	leased   [laneCount]atomic.Uint64
	promoted [laneCount]atomic.Uint64
	dropped  [dropCount][laneCount]atomic.Uint64
	queued   [laneCount]atomic.Int64

	stored, same, absent, failed, kept, killed, tooLarge, noRoom atomic.Uint64

	skipped, badPart, retried, bisected                 atomic.Uint64
	batches, asked, rows, extraRows, badOrd, loadNanos  atomic.Uint64
	queryErrors, dataErrors, sourceErrors, encodeErrors atomic.Uint64
	panics, cutOff, overflowed, negativesOpened         atomic.Uint64
	negativesHeld                                       atomic.Bool
	inFlight                                            atomic.Int64
	loadTimes                                           loadTimes
}

// put counts the outcome of a value.
func (c *counters) put(s PutStatus) {
	switch s {
	case Stored:
		c.stored.Add(1)
	case Same:
		c.same.Add(1)
	default:
		c.closed(s, &c.stored)
	}
}

// closed counts the outcome of a load that brought no value: as done, unless the store says that it went otherwise.
func (c *counters) closed(s PutStatus, done *atomic.Uint64) {
	switch s {
	case Kept:
		c.kept.Add(1)
		done.Add(1)
	case Killed:
		c.killed.Add(1)
	case TooLarge:
		c.tooLarge.Add(1)
	case NoRoom:
		c.noRoom.Add(1)
	default:
		done.Add(1)
	}
}

// RouteStats is a snapshot of one route. Counters run from the Apply, or New, that brought its ID. Leases that were handed in end as exactly one of Stored, Same,
// Absent, Failed, Killed, TooLarge, NoRoom, Skipped or Dropped, or are still Queued or in a batch.
type RouteStats struct {
	Name string
	ID   uint16
	Off  bool
	Down bool // none of its sources can be reached

	Leased       [Lanes]uint64              // handed in, by the lane they came with
	Promoted     [Lanes]uint64              // moved up to this lane
	Dropped      [DropReasons][Lanes]uint64 // ended without a load
	Queued       int64                      // now, waiting for a batch
	QueuedByLane [Lanes]int64               // the same, by lane
	Batches      uint64                     // sent
	InFlight     int64                      // batches now

	Asked     uint64 // keys asked for, retries included
	Rows      uint64 // rows returned
	ExtraRows uint64 // rows for a key that had one
	BadOrd    uint64 // rows for no key of the batch
	LoadTime  time.Duration
	LoadTimes LoadTimes // questions to sources

	Stored, Same   uint64 // put: new or changed, unchanged
	Absent, Failed uint64 // windows closed; failed: after errors
	Kept           uint64 // of Absent and Failed: a client's item stays
	Killed         uint64 // put refused: the lease was gone
	TooLarge       uint64
	NoRoom         uint64

	Skipped      uint64 // killed before their batch was sent
	BadPart      uint64 // of Absent: refused by the query's parameter types
	Retried      uint64 // keys sent again after a connection error
	Bisected     uint64 // batches halved to find a bad key
	QueryErrors  uint64 // loads
	DataErrors   uint64 // keys that the database refuses
	SourceErrors uint64 // loads that did not reach the source or lost it
	EncodeErrors uint64 // rows
	Panics       uint64
	CutOff       uint64 // loads ended by our own deadline
	Overflowed   uint64 // keys sent again because their batch had no room for their rows

	NegativesHeld   bool   // keys wait now because too many have no row: limits.negatives_rate
	NegativesOpened uint64 // times that this began
}

// SourceStats is a snapshot of one source.
type SourceStats struct {
	Name    string
	Down    bool
	Probing bool      // down, and a probe is under way or due
	Reached bool      // it has answered since it was opened
	Since   time.Time // when it went down or came up
	Loads   uint64
	Asked   uint64 // keys
	Opened  uint64 // times the breaker opened
	Probes  uint64
	LastErr string // the last connection error, never cleared
}

// Stats returns the routes in the order of the last Apply. It stops nothing; counters may be a moment apart.
func (f *Filler) Stats() []RouteStats {
	t := f.table.Load()
	out := make([]RouteStats, len(t.routes))
	for i, r := range t.routes {
		c := &r.count
		s := RouteStats{
			Name: t.plans[i].cfg.Name, ID: r.id, Off: r.off.Load(), Down: true,
			Batches: c.batches.Load(), InFlight: c.inFlight.Load(),
			Asked: c.asked.Load(), Rows: c.rows.Load(), ExtraRows: c.extraRows.Load(), BadOrd: c.badOrd.Load(),
			LoadTime: time.Duration(c.loadNanos.Load()), LoadTimes: c.loadTimes.load(),
			Stored: c.stored.Load(), Same: c.same.Load(), Absent: c.absent.Load(), Failed: c.failed.Load(),
			Kept: c.kept.Load(), Killed: c.killed.Load(), TooLarge: c.tooLarge.Load(), NoRoom: c.noRoom.Load(),
			Skipped: c.skipped.Load(), BadPart: c.badPart.Load(), Retried: c.retried.Load(), Bisected: c.bisected.Load(),
			QueryErrors: c.queryErrors.Load(), DataErrors: c.dataErrors.Load(), SourceErrors: c.sourceErrors.Load(),
			EncodeErrors: c.encodeErrors.Load(), Panics: c.panics.Load(), CutOff: c.cutOff.Load(), Overflowed: c.overflowed.Load(),
			NegativesHeld: c.negativesHeld.Load(), NegativesOpened: c.negativesOpened.Load(),
		}
		for _, fd := range t.plans[i].feeds {
			s.Down = s.Down && fd.src.down.Load()
		}
		for l := range c.leased {
			s.Leased[l], s.Promoted[l], s.QueuedByLane[l] = c.leased[l].Load(), c.promoted[l].Load(), c.queued[l].Load()
			s.Queued += s.QueuedByLane[l]
			for d := range c.dropped {
				s.Dropped[d][l] = c.dropped[d][l].Load()
			}
		}
		out[i] = s
	}
	return out
}

// Sources returns the sources in the order of the last Apply.
func (f *Filler) Sources() []SourceStats {
	t := f.table.Load()
	out := make([]SourceStats, len(t.sources))
	for i, s := range t.sources {
		out[i] = SourceStats{
			Name: s.name, Down: s.down.Load(), Probing: s.half.Load(), Reached: s.reached.Load(), Since: time.Unix(0, s.since.Load()),
			Loads: s.loads.Load(), Asked: s.asked.Load(), Opened: s.opened.Load(), Probes: s.probes.Load(),
		}
		if e := s.lastErr.Load(); e != nil {
			out[i].LastErr = *e
		}
	}
	return out
}

// RingFull returns how many pushes and promotions found their ring full, and Unknown how many leases named no route.
func (f *Filler) RingFull() (full, unknown uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	full = f.ringFull
	for _, r := range f.rings {
		full += r.full.Load()
	}
	return full, f.unknown.Load()
}
