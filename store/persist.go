package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A store can keep its arena in a file (Options.File) and go on with it after a stop: everything lies in the arena, so Save
// only adds what stood beside it (the pool's lists, the clock) to the header, and writes FILE.meta, which says that the file
// is whole and what its bytes sum up to. The next Open takes FILE.meta away before it uses the file, so a process that ends
// any other way leaves none, and the one after it starts empty. memcached's -e works like that.

// metaSuffix is what the small file beside the memory file is named.
const metaSuffix = ".meta"

// metaFormat is FILE.meta: the arena's size in bytes and the sum of what is in use of it.
const metaFormat = "swordfish memory 1\nsize %d\nsum %x\n"

// saved is the header's part for Save.
type saved struct {
	clock   int64 // of the item clock, milliseconds
	wall    int64 // the same moment, nanoseconds since 1970
	flushAt int64 // delayed flush
	pool    poolState
}

// ErrMeta says that FILE.meta is there and cannot be read.
var ErrMeta = errors.New("store: unreadable meta file")

// readMeta reads FILE.meta. An absent one is no error: then sum is nil.
func readMeta(file string) (size uint64, sum []byte, err error) {
	path := file + metaSuffix
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return 0, nil, fmt.Errorf("%w: %s is no regular file", ErrMeta, path)
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil, nil
	case err != nil:
		return 0, nil, fmt.Errorf("%w: %w", ErrMeta, err)
	}
	if n, err := fmt.Sscanf(string(text), metaFormat, &size, &sum); n != 2 || err != nil || len(sum) != 16 {
		return 0, nil, fmt.Errorf("%w: %s is not what a server wrote; remove it to start with an empty cache", ErrMeta, path)
	}
	return size, sum, nil
}

// SavedSeed returns the secret that the store kept in file was made with: KeyHash and Digest have to come from it if the
// items are to be found again. False: there is nothing to go on with.
func SavedSeed(file string) (seed [16]byte, ok bool) {
	if _, sum, err := readMeta(file); err != nil || sum == nil {
		return seed, false
	}
	f, err := openFile(file)
	if err != nil {
		return seed, false
	}
	defer f.Close()
	a, err := newArenaOver(f, sizeOf[header]())
	if err != nil {
		return seed, false
	}
	return at[header](a, 0).seed, true
}

// newArenaOver reads the first n bytes of f.
func newArenaOver(f *os.File, n uint64) (*arena, error) {
	words := make([]uint64, n/8)
	a := &arena{}
	a.mem = bytesOf(words)
	_, err := f.ReadAt(a.mem, 0)
	return a, err
}

// openArena makes the arena of a store: memory, or its file. why says, where there is a file, why it is not gone on with;
// empty: it is.
func (s *Store) openArena() (why string, err error) {
	if s.opt.File == "" {
		s.a, err = newArena(s.z.total)
		return "", err
	}
	size, sum, err := readMeta(s.opt.File)
	if err != nil {
		return "", err
	}
	f, err := openFile(s.opt.File)
	if err != nil {
		return "", err
	}
	if st, err := f.Stat(); err == nil && st.Size() == 0 {
		why = "it is new"
	} else if sum == nil {
		why = "it was not left by a clean stop"
	} else if why = s.unfit(f, size); why == "" {
		if s.a, err = mapFile(f, s.z.total, s.z.memory); err != nil {
			return "", errors.Join(err, f.Close())
		}
		if !bytes.Equal(s.sum(), sum) {
			why = "it is damaged: its bytes are not those that were saved"
		}
	}
	if sum != nil {
		if err := os.Remove(s.opt.File + metaSuffix); err != nil {
			return "", errors.Join(fmt.Errorf("store: %w", err), f.Close())
		}
	}
	if why == "" {
		return "", nil
	}
	if s.a != nil {
		f, s.a.file = s.a.file, nil
		if err := s.a.close(); err != nil {
			return "", errors.Join(err, f.Close())
		}
	}
	if err := f.Truncate(0); err != nil {
		return "", errors.Join(fmt.Errorf("store: empty memory file %s: %w", s.opt.File, err), f.Close())
	}
	if s.a, err = mapFile(f, s.z.total, s.z.memory); err != nil {
		return "", errors.Join(err, f.Close())
	}
	return why, nil
}

// unfit tells why a file that was saved with that size cannot be gone on with; empty: it can.
func (s *Store) unfit(f *os.File, size uint64) string {
	a, err := newArenaOver(f, sizeOf[header]())
	if err != nil {
		return "it cannot be read: " + err.Error()
	}
	h := at[header](a, 0)
	want := s.header()
	switch {
	case h.magic != arenaMagic:
		return "it is no memory file of this program"
	case h.layout != want.layout || h.structs != want.structs:
		return "it is of another version of this program"
	case h.memory != want.memory || h.capacity != want.capacity || h.segment != want.segment || h.shards != want.shards || size != s.z.total:
		return fmt.Sprintf("it was made with -m %d, not %d", h.memory>>20, want.memory>>20)
	case h.seed != s.opt.Seed:
		return "its keys were hashed with another secret"
	}
	return ""
}

// header is what the header of this store's arena has to say.
func (s *Store) header() header {
	return header{
		magic: arenaMagic, layout: arenaLayout, structs: structs(), shards: uint32(s.z.shards), memory: s.z.memory,
		capacity: s.z.capacity, segment: s.z.segment, seed: s.opt.Seed, nextID: 1,
	}
}

// structs tells two versions apart whose structs in the arena differ in size.
func structs() uint64 {
	n := uint64(0)
	for _, size := range []uint64{
		sizeOf[header](), sizeOf[segMeta](), sizeOf[shardState](), sizeOf[leaseBucket](), sizeOf[printBucket](), sizeOf[dataState](), sizeOf[table](),
	} {
		n = n*1_000_003 + size
	}
	return n
}

// Warm tells whether Open went on with the items that Options.File held, or Begin with those of another process, and if not, why;
// without a file the reason is empty.
func (s *Store) Warm() (bool, string) { return s.warm && s.begun, s.coldWhy }

// Save makes the file whole, so that the next Open with the same sizes and seed goes on with it. The store must not be used
// any more, but for Close. Who does nevertheless, such as a load that has outlived its time, waits for ever.
func (s *Store) Save() error {
	if s.opt.File == "" {
		return errors.New("store: save: there is no memory file")
	}
	s.stop()
	s.epochs.mu.Lock()
	prefixed := s.epochs.prefixed > 0
	s.epochs.mu.Unlock()
	// What the file does not know, prefixes, is done. A program that gives up before it knows its routes has nothing of that, and
	// the reaper would take the routes' items for those of routes that are gone.
	if prefixed || s.routed.Load() || !s.warm {
		s.reap(func() bool { return true })
	}
	s.hdr.saved = s.hold()
	if err := s.a.sync(); err != nil {
		return fmt.Errorf("store: save %s: %w", s.opt.File, err)
	}
	text := fmt.Appendf(nil, metaFormat, s.z.total, s.sum())
	path := s.opt.File + metaSuffix
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: save: %w", err)
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("store: save: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("store: save: %w", err)
	}
	return nil
}

// hold takes every lock for good and returns what stands beside the arena.
func (s *Store) hold() saved {
	s.reaping.Lock()
	s.routeMu.Lock()
	now := s.Now()
	for i := range s.shards {
		s.shards[i].lock(now) // each catches up with the epochs
	}
	for i := range s.data {
		s.data[i].mu.Lock()
	}
	s.epochs.mu.Lock()
	return saved{clock: int64(now), wall: time.Now().UnixNano(), flushAt: s.epochs.flushAt.Load(), pool: s.p.hold()}
}

// resume makes the state that Save or HandOver left the one to go on from.
func (s *Store) resume() {
	sv := &s.hdr.saved
	s.epochs.flushAt.Store(sv.flushAt)
	s.p.load(&sv.pool)
	now := s.Now()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.due.Store(0)
		sh.endLeases(now)
		st := sh.st
		st.total = st.items
		st.evictions, st.evictedUnfetched, st.expiredUnfetched = 0, 0, 0
		st.reclaimed, st.reaped, st.reapLooks, st.leasesFull, st.leasesKilled = 0, 0, 0, 0, 0
	}
}

// endLeases ends every open lease, as whoever held one is gone. Keys that settle, or were asked for just now, go on doing so.
func (sh *shard) endLeases(now Time) {
	if sh.st.leases == 0 {
		return
	}
	for b := range sh.lt {
		for i, state := range sh.lt[b].state {
			if state == leaseOpen {
				sh.endLease(leaseEntry{&sh.lt[b], i}, now)
			}
		}
	}
}

// sum adds up the digests of everything in the arena that a later process relies on.
func (s *Store) sum() []byte {
	hdr := at[header](s.a, 0)
	var parts [][2]uint64 // offset, length
	add := func(off, n uint64) {
		const most = 4 << 20
		for ; n > most; off, n = off+most, n-most {
			parts = append(parts, [2]uint64{off, most})
		}
		parts = append(parts, [2]uint64{off, n})
	}
	z := &s.z
	used := min(uint64(hdr.saved.pool.fresh), uint64(z.segments))
	add(0, sizeOf[header]())
	add(z.offMeta, used*sizeOf[segMeta]())
	add(z.offPageMap, uint64(z.pages)/8)
	for i := range z.shards {
		off := z.offShard + uint64(i)*z.shardBlock
		st := at[shardState](s.a, off)
		add(off, alignUp(sizeOf[shardState](), 64)+uint64(z.leaseBuckets)*sizeOf[leaseBucket]())
		add(off+z.offDir, min(4<<st.idx.depth, uint64(z.dirCap)*4))
		off = z.offData + uint64(i)*z.dataBlock
		ds := at[dataState](s.a, off)
		add(off, sizeOf[dataState]())
		add(off+z.offDataDir, min(4<<ds.idx.depth, uint64(z.dirCap)*4))
		add(off+z.offHandles, min(uint64(ds.handles), uint64(z.handleCap))*8)
	}
	for i, m := range sliceAt[segMeta](s.a, z.offMeta, int(used)) {
		add(z.offSegments+uint64(i)*z.segment, min(uint64(m.used), z.segment))
	}
	pageMap := sliceAt[uint64](s.a, z.offPageMap, (z.pages+63)/64)
	for i := 0; i < z.pages; i++ {
		first := i
		for i < z.pages && pageMap[i/64]>>(i%64)&1 == 1 {
			i++
		}
		if i > first {
			add(z.offPages+uint64(first)*pageSize, uint64(i-first)*pageSize)
		}
	}
	var hi, lo atomic.Uint64
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(len(parts)) {
					return
				}
				p := parts[i]
				a, b := s.opt.Digest(s.a.mem[p[0] : p[0]+p[1]])
				hi.Add(a * (2*p[0] + 1))
				lo.Add(b ^ p[0])
			}
		})
	}
	wg.Wait()
	sum, _ := hex.DecodeString(fmt.Sprintf("%016x%016x", hi.Load(), lo.Load()))
	return sum
}
