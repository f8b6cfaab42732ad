// Package store holds items in memory: shards of keys over insertion-ordered logs of records, shards of payloads that are
// held once each, leases for fills, exact expiry, and eviction in bounded passes. It knows no protocol and no socket, and
// all of its memory counts against one limit.
//
// Locks, in the order they are taken: a key shard, a data shard, the pool; or a key shard, the epochs. Never two key shards
// or two data shards.
package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrOptions says that Open was given options it cannot work with.
var ErrOptions = errors.New("store: bad options")

// Store is safe for concurrent use.
type Store struct {
	z     sizes
	a     *arena
	p     *pool
	hdr   *header
	opt   Options
	clock func() Time

	shards []shard
	data   []dataShard

	routes  atomic.Pointer[[MaxRoutes + 1]*routeState]
	routeMu sync.Mutex  // SetRoutes, one at a time
	routed  atomic.Bool // it was called
	epochs  epochs
	shares  [MaxRoutes + 1]share

	victim  atomic.Uint32 // key shard whose oldest segment is being evicted
	turn    atomic.Uint32 // counts up to the shard that has its turn after it
	compact atomic.Uint32 // data shard to look at next

	died                 atomic.Int64 // with NoEvict: bytes of segments that have died
	vainUntil, vainAvail atomic.Int64 // what died and what was free when a pass found nothing to do, and a bit: see vain

	onEvict      atomic.Pointer[func(*Evicted)] // nil: nobody wants to know
	noMemory     atomic.Uint64
	passes       atomic.Uint64
	passRecords  atomic.Uint64
	warm         bool   // the items were there already
	coldWhy      string // why not
	kept         header // after HandOver: what TakeBack restores
	holds        holds
	reaping      sync.Mutex   // one reap at a time; taken before all other locks
	swept        uint64       // epochs.moved when the shards were last seen to catch up; reaping guards it
	inline       atomic.Int32 // records per lock hold before an insert
	behind       atomic.Int32 // and in the background
	wake, crawl  chan struct{}
	making       chan struct{} // holds a token while somebody is in AwaitRoom
	crawls       atomic.Uint64 // times that Crawl was called
	crawled      atomic.Uint64 // those that are over
	quit         chan struct{} // closed when the background work is to end
	working      bool          // it has begun, and not ended
	begun        bool          // the memory is this process's
	background   sync.WaitGroup
	saving       atomic.Bool  // a snapshot is being written
	loading      atomic.Bool  // or loaded
	reserve, low atomic.Int64 // bytes kept free, and below which an insert evicts for itself
}

// clockStart is the item clock at the arena's birth. It leaves room below for what a snapshot brings from before: ten years.
const clockStart = 10 * 365 * 24 * time.Hour

// Open makes an empty store. It returns ErrOptions, wrapped, for sizes that do not fit together.
func Open(o Options) (*Store, error) {
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	if o.MaxItem == 0 {
		o.MaxItem = int(min(1<<20, o.Memory/2))
	}
	if o.RoomTime == 0 {
		o.RoomTime = time.Millisecond
	}
	if o.PassInline == 0 {
		o.PassInline = 16
	}
	if o.PassBackground == 0 {
		o.PassBackground = 64
	}
	switch {
	case o.Memory < 1<<20:
		return nil, fmt.Errorf("%w: memory limit of %d bytes: at least 1 MiB is needed", ErrOptions, o.Memory)
	case o.Memory > mostMemory:
		return nil, fmt.Errorf("%w: memory limit of %d bytes: at most %d", ErrOptions, o.Memory, int64(mostMemory))
	case int64(o.MaxItem) > o.Memory/2:
		return nil, fmt.Errorf("%w: item size limit of %d bytes: at most half of the memory limit", ErrOptions, o.MaxItem)
	case o.KeyHash == nil || o.Digest == nil:
		return nil, fmt.Errorf("%w: KeyHash and Digest are needed", ErrOptions)
	}
	s := &Store{opt: o, z: derive(uint64(o.Memory), capacityFor(uint64(o.Memory)), o.MaxItem), clock: o.Clock}
	if s.clock == nil {
		born := time.Now()
		s.clock = func() Time { return Time((time.Since(born) + clockStart).Milliseconds()) }
	}
	if err := s.SetPasses(o.PassInline, o.PassBackground); err != nil {
		return nil, err
	}
	var why string
	var err error
	if o.Inherit != nil {
		err = s.inherit()
	} else {
		why, err = s.openArena()
	}
	if err != nil {
		return nil, err
	}
	s.warm, s.coldWhy = (o.File != "" || o.Inherit != nil) && why == "", why
	spread := uint64(s.z.spread) * s.z.segment
	s.a.hugePages(s.z.offSegments+spread, s.z.offPages-s.z.offSegments-spread)
	s.hdr = at[header](s.a, 0)
	if !s.warm {
		*s.hdr = s.header()
	}
	s.p = newPool(s.a, &s.z)
	s.setReserve()
	s.routes.Store(new([MaxRoutes + 1]*routeState))
	s.shards = make([]shard, s.z.shards)
	s.data = make([]dataShard, s.z.shards)
	for i := range s.shards {
		s.openShard(i)
		s.openData(i)
	}
	s.wake, s.crawl, s.making = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	switch {
	case o.Inherit != nil: // Begin does the rest
		return s, nil
	case s.warm:
		sv := &s.hdr.saved
		passed := max(time.Now().UnixNano()-sv.wall, 0) / int64(time.Millisecond)
		base, born := Time(sv.clock+passed), time.Now()
		if o.Clock == nil {
			s.clock = func() Time { return base + Time(time.Since(born).Milliseconds()) }
		}
		s.resume()
		s.p.setLimit(int64(s.z.memory))
	case !s.begin():
		_ = s.a.close()
		return nil, fmt.Errorf("%w: memory limit of %d bytes is too small for its tables", ErrOptions, o.Memory)
	}
	s.start()
	return s, nil
}

// start begins the background work.
func (s *Store) start() {
	s.quit, s.working, s.begun = make(chan struct{}), true, true
	s.background.Go(s.keepReserve)
	if s.a.mapped && s.a.file != nil && s.z.memory >= hugeLeast {
		if int(s.p.fresh) > s.z.spread {
			s.p.tellGrown()
		}
		s.background.Go(s.keepHuge)
	}
	if !s.opt.manual {
		s.background.Go(s.keepReaping)
	}
	s.nudge() // what was there already may be more than the limit is now
}

// setReserve derives the reserve from the limit.
func (s *Store) setReserve() {
	reserve := reserveFor(uint64(s.p.limit.Load()), s.opt.MaxItem)
	segment := int64(s.z.segment)
	low := s.z.moves + max(min(reserve/2, 4*segment), 2*segment) // a write may need one for its value and one for its key
	s.low.Store(low)
	s.reserve.Store(max(reserve, low))
}

// capacityFor is how far a limit may be raised later: the address space for it is reserved from the start. Beyond 16 GiB
// records would have to be aligned more widely, so a large limit has less room to grow.
func capacityFor(memory uint64) uint64 {
	return max(min(memory*growth(), 16<<30), memory)
}

// mostMemory is the largest limit whose arena, three times as long, a handle's word can say all places of.
const mostMemory = 512 << 30

// leastMemory is the smallest limit that SetMemory takes: as much as the number of shards, which follows the first limit, needs
// for writes to find room. Each shard writes to a segment in either log and to one of data, and some are kept free.
func (s *Store) leastMemory() int64 {
	z := &s.z
	least := z.fixed + z.moves + int64(z.begun+3*z.shards+8)*int64(z.segment)
	return max(least, 2*int64(s.opt.MaxItem))
}

// SetMemory changes the limit, in bytes. A smaller one is reached by evicting in the background, and goes down to about a tenth
// of the limit that Open had, or twice MaxItem; a larger one goes up to about four times that limit, or MostMemory. ErrOptions,
// wrapped, refuses and names the bound; then nothing changed.
func (s *Store) SetMemory(bytes int64) error {
	s.routeMu.Lock()
	defer s.routeMu.Unlock()
	switch {
	case s.opt.MostMemory > 0 && bytes > s.opt.MostMemory:
		return fmt.Errorf("%w: memory limit of %d bytes: at most %d within the limit on the process", ErrOptions, bytes, s.opt.MostMemory)
	case bytes > int64(s.z.capacity):
		return fmt.Errorf("%w: memory limit of %d bytes: at most %d without a restart", ErrOptions, bytes, s.z.capacity)
	case bytes < s.leastMemory():
		return fmt.Errorf("%w: memory limit of %d bytes: at least %d without a restart", ErrOptions, bytes, s.leastMemory())
	}
	if s.a.file != nil {
		if err := roomFor(s.a.file, uint64(bytes)); err != nil {
			return fmt.Errorf("%w: %w", ErrOptions, err)
		}
	}
	s.p.setLimit(bytes)
	s.setReserve()
	s.nudge()
	return nil
}

// SetPasses changes how many records a pass works on at most while it holds a lock: before an insert, and in the background.
// ErrOptions, wrapped, refuses; then nothing changed.
func (s *Store) SetPasses(inline, background int) error {
	if inline < 1 || inline > maxPass || background < 1 || background > maxPass {
		return fmt.Errorf("%w: passes of %d and %d records: from 1 to %d", ErrOptions, inline, background, maxPass)
	}
	s.inline.Store(int32(inline))
	s.behind.Store(int32(background))
	return nil
}

func (s *Store) passInline() int     { return int(s.inline.Load()) }
func (s *Store) passBackground() int { return int(s.behind.Load()) }

// begin makes the state of an empty store.
func (s *Store) begin() bool {
	for i := range s.shards {
		sh, ds := &s.shards[i], &s.data[i]
		for log := range sh.st.logs {
			sh.st.logs[log] = logState{head: noSegment, tail: noSegment}
		}
		ds.st.head, ds.st.tail, ds.st.moveSeg = noSegment, noSegment, noSegment
		if !sh.idx.start() || !ds.idx.start() {
			return false
		}
	}
	return true
}

func (s *Store) openShard(i int) {
	sh := &s.shards[i]
	off := s.z.offShard + uint64(i)*s.z.shardBlock
	sh.s, sh.no, sh.moving, sh.looked = s, i, noSegment, noSegment
	sh.due.Store(notDue)
	sh.st = at[shardState](s.a, off)
	off += alignUp(sizeOf[shardState](), 64)
	sh.lt = sliceAt[leaseBucket](s.a, off, s.z.leaseBuckets)
	off += uint64(s.z.leaseBuckets) * sizeOf[leaseBucket]()
	sh.gh = ghosts{sliceAt[printBucket](s.a, off, s.z.ghostBuckets), &sh.st.ghosts}
	off += uint64(s.z.ghostBuckets) * sizeOf[printBucket]()
	sh.idx = newIndex(s.a, s.p, &sh.st.idx, sliceAt[uint32](s.a, off, s.z.dirCap), sh.hashesAt)
}

func (s *Store) openData(i int) {
	ds := &s.data[i]
	off := s.z.offData + uint64(i)*s.z.dataBlock
	ds.s, ds.no = s, uint32(i)
	ds.st = at[dataState](s.a, off)
	dir := sliceAt[uint32](s.a, off+s.z.offDataDir, s.z.dirCap)
	ds.met = prints{sliceAt[printBucket](s.a, off+s.z.offMet, s.z.metBuckets), &ds.st.met}
	ds.hs = sliceAt[uint64](s.a, off+s.z.offHandles, s.z.handleCap)
	ds.idx = newIndex(s.a, s.p, &ds.st.idx, dir, ds.hashesOf)
}

// hashesAt is the key index's way back from locations to their hashes: all keys are found, then all are read, then hashed.
func (sh *shard) hashesAt(dst []uint64, locs []uint32) {
	var keys [mostSlots][]byte
	for i, loc := range locs {
		keys[i], _ = recordKey(sh.raw(loc))
	}
	for i := range locs {
		dst[i] = uint64(keys[i][len(keys[i])-1])
	}
	for i := range locs {
		dst[i] = sh.s.opt.KeyHash(keys[i])
	}
}

// Close ends the background work and gives the memory back. No other call may be under way or follow.
func (s *Store) Close() error {
	s.stop()
	return s.a.close()
}

// stop ends the background work, if there is any.
func (s *Store) stop() {
	if s.working {
		s.working = false
		close(s.quit)
		s.background.Wait()
	}
}

// Now reads the item clock.
func (s *Store) Now() Time { return s.clock() }

// Seed returns the secret that KeyHash and Digest were made from, as the arena keeps it.
func (s *Store) Seed() [16]byte { return s.hdr.seed }

// lock locks the shard and brings its epochs up to date, so that what was flushed or invalidated before is absent.
func (sh *shard) lock(now Time) {
	sh.mu.Lock()
	sh.now = now
	e := &sh.s.epochs
	e.fireDue(now)
	if n := e.moved.Load(); n != sh.seenMoved {
		sh.catchUp()
	}
}
