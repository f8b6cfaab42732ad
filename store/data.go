package store

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"sync"
)

// dataShard is one lock domain of data: payloads longer than maxInline, each held once however many keys have it. A handle
// names a datum for its life while its bytes may move. mu guards all of it; it is taken after a key shard's lock, never
// before one, and never two at a time.
//
// A data record: handle 4, length 4, hash 4, payload. One over a quarter of a segment has a run of pages for itself.
type dataShard struct {
	mu  sync.Mutex
	s   *Store
	st  *dataState
	idx *index
	hs  []uint64 // by handle: see the handle word
	met prints   // payloads that were met once lately
	nos []uint32 // by handle, while a snapshot is written: the payload's number in it, 0 if it is not there yet
	no  uint32

	search emptySearch
	_      [64]byte
}

type dataState struct {
	head, tail uint32 // segments, oldest first
	moveSeg    uint32 // segment being compacted, noSegment if none
	moveOff    uint32
	handles    uint32 // handles ever used
	freeHandle uint32 // chain of free handles through their words, +1; 0 ends it
	idx        indexState
	met        printState

	count, bytes, live, refs int64 // data, their payload bytes, bytes of live records in segments, references
	pages                    int64 // pages in runs
	segments                 int64 // in the list
}

// A handle word: references 24 bits | location 39 bits | in pages 1 bit. The location counts 4-byte units from the arena's
// start. Of a free handle it holds the next free one.
const (
	refBits  = 24
	refMax   = 1<<refBits - 1 // saturates: such a datum stays until the store closes
	paged    = 1
	dataHead = 12
	// chainMax bounds how many data of equal hash and length are compared before a payload is kept unshared.
	chainMax = 8
)

func wordOf(refs uint64, off uint64, inPages bool) uint64 {
	w := refs<<40 | off>>2<<1
	if inPages {
		w |= paged
	}
	return w
}

func wordRefs(w uint64) uint64   { return w >> 40 }
func wordOffset(w uint64) uint64 { return w >> 1 & (1<<39 - 1) << 2 }

// dataHash32 is the part of the digest that a data record keeps. Its shard comes from the other half.
func dataHash32(lo uint64) uint32 { return uint32(lo) }

func (s *Store) dataShardOf(hi uint64) *dataShard {
	return &s.data[hi>>(64-s.z.shardBits)&uint64(s.z.shards-1)]
}

func (s *Store) dataShardOfHandle(h uint32) *dataShard {
	return &s.data[uint64(h)>>(32-s.z.shardBits)&uint64(s.z.shards-1)]
}

// global turns a handle of this shard into one that names the shard too.
func (ds *dataShard) global(n uint32) uint32 {
	return uint32(uint64(ds.no)<<(32-ds.s.z.shardBits)) | n
}

// local is its inverse.
func (ds *dataShard) local(h uint32) uint32 {
	return uint32(uint64(h) & (1<<(32-ds.s.z.shardBits) - 1))
}

func (ds *dataShard) head(w uint64) []byte { return ds.s.a.mem[wordOffset(w):] }

// payload returns the bytes of local handle n, aliasing the arena.
func (ds *dataShard) payload(n uint32) []byte {
	raw := ds.head(ds.hs[n])
	size := binary.LittleEndian.Uint32(raw[4:])
	return raw[dataHead : dataHead+size : dataHead+size]
}

// hashesOf is the index's way back from handles to their hashes.
func (ds *dataShard) hashesOf(dst []uint64, handles []uint32) {
	for i, n := range handles {
		dst[i] = ds.hs[n]
	}
	for i, w := range dst {
		dst[i] = uint64(binary.LittleEndian.Uint32(ds.head(w)[8:]))
	}
}

// digest is where a payload is looked for and kept: by what it is, or without sharing by the hash of its key.
func (s *Store) digest(by uint64, value []byte) (hi, lo uint64) {
	if s.opt.NoSharing {
		return by, by
	}
	return s.opt.Digest(value)
}

// find returns the local handle of the datum with these bytes, or noHandle, and how many others of that hash and length it
// compared.
func (ds *dataShard) find(hash uint32, value []byte) (n uint32, chain int) {
	if ds.s.opt.NoSharing {
		return noHandle, chainMax // so that it is not in the index either
	}
	h := uint64(hash)
	t := ds.idx.table(h)
	g := t.home(h)
	for range t.groups {
		gr := &t.g[g]
		for m := matchByte(gr.ctrl, tagOf(h)); m != 0; m &= m - 1 {
			n := gr.loc[bits.TrailingZeros64(m)>>3]
			raw := ds.head(ds.hs[n])
			if binary.LittleEndian.Uint32(raw[8:]) != hash || int(binary.LittleEndian.Uint32(raw[4:])) != len(value) {
				continue
			}
			if bytes.Equal(raw[dataHead:dataHead+len(value)], value) {
				return n, chain
			}
			if chain++; chain == chainMax {
				return noHandle, chain
			}
		}
		if matchByte(gr.ctrl, 0) != 0 {
			break
		}
		g = t.after(g)
	}
	return noHandle, chain
}

// keep decides where a payload longer than maxInline that needs no pages lives, and returns the handle of its datum, with one
// reference added, or noHandle where it is to stay in its record: not long, and not met under another key than that of hash by. False: no memory. The
// caller holds ds.mu.
func (ds *dataShard) keep(by, lo uint64, value []byte) (handle uint32, ok bool) {
	hash := dataHash32(lo)
	n, chain := ds.find(hash, value)
	if n != noHandle {
		ds.reference(n)
		return ds.global(n), true
	}
	if len(value) <= ds.s.z.privateMax && (ds.s.opt.NoSharing || !ds.met.metElsewhere(lo, by)) {
		return noHandle, true
	}
	return ds.make(hash, value, chain)
}

// hold is keep for a payload that is known to be shared, whatever its length.
func (ds *dataShard) hold(lo uint64, value []byte) (handle uint32, ok bool) {
	hash := dataHash32(lo)
	n, chain := ds.find(hash, value)
	if n == noHandle {
		return ds.make(hash, value, chain)
	}
	ds.reference(n)
	return ds.global(n), true
}

// make makes a datum of the value, with one reference. False: no memory.
func (ds *dataShard) make(hash uint32, value []byte, chain int) (handle uint32, ok bool) {
	n, ok := ds.newHandle()
	if !ok {
		return 0, false
	}
	off, ok := ds.room(dataHead+len(value), forWrite)
	if !ok {
		ds.freeHandle(n)
		return 0, false
	}
	ds.hs[n] = wordOf(1, off, false)
	copy(ds.s.a.mem[off+dataHead:], value)
	return ds.global(n), ds.adopt(n, hash, len(value), chain)
}

// adopt makes the payload of size bytes at which handle n points a datum with one reference. False: there is no memory for
// it in the index, and it is gone again.
func (ds *dataShard) adopt(n, hash uint32, size, chain int) bool {
	raw := ds.head(ds.hs[n])
	binary.LittleEndian.PutUint32(raw, n)
	binary.LittleEndian.PutUint32(raw[4:], uint32(size))
	binary.LittleEndian.PutUint32(raw[8:], hash)
	ds.st.count++
	ds.st.refs++
	ds.st.bytes += int64(size)
	if ds.hs[n]&paged != 0 {
		ds.st.pages += int64(pagesFor(dataHead + size))
	}
	if chain < chainMax && !ds.idx.insert(uint64(hash), n) {
		ds.decrement(n)
		return false
	}
	return true
}

// reference adds a reference to local handle n.
func (ds *dataShard) reference(n uint32) {
	if wordRefs(ds.hs[n]) < refMax {
		ds.hs[n] += 1 << 40
	}
	ds.st.refs++
}

func (ds *dataShard) newHandle() (uint32, bool) {
	if n := ds.st.freeHandle; n != 0 {
		ds.st.freeHandle = uint32(ds.hs[n-1])
		return n - 1, true
	}
	n := ds.st.handles
	if int(n) >= len(ds.hs) || !ds.s.p.charge(8) {
		return 0, false
	}
	ds.st.handles++
	return n, true
}

func (ds *dataShard) freeHandle(n uint32) {
	if int(n) < len(ds.nos) {
		ds.nos[n] = 0
	}
	ds.hs[n] = uint64(ds.st.freeHandle)
	ds.st.freeHandle = n + 1
}

// large tells whether a data record of n bytes lives in pages.
func (z *sizes) large(n int) bool { return uint64(n) > z.segment/4 }

func pagesFor(n int) int { return (n + pageSize - 1) / pageSize }

// recordSize is what a data record of n bytes takes in a segment.
func recordSize(n int) uint32 { return uint32(alignUp(uint64(n), 4)) }

// room makes place in a segment for a data record of n bytes and returns its offset in the arena.
func (ds *dataShard) room(n int, why purpose) (off uint64, ok bool) {
	z := &ds.s.z
	size := recordSize(n)
	if ds.st.tail == noSegment || uint64(ds.s.p.meta[ds.st.tail].used+size) > z.segment {
		seg, ok := ds.s.p.segment(why, ds.st.tail == noSegment)
		if !ok {
			return 0, false
		}
		old := ds.st.tail
		if old != noSegment {
			ds.s.p.tellFull(old)
			ds.s.p.meta[old].next = seg
			ds.s.p.meta[seg].prev = old
		} else {
			ds.st.head = seg
		}
		ds.st.tail = seg
		ds.st.segments++
		if old != noSegment && ds.s.p.meta[old].live == 0 {
			ds.release(old) // it emptied while it was written
		}
	}
	m := &ds.s.p.meta[ds.st.tail]
	off = z.offSegments + uint64(ds.st.tail)<<z.segShift + uint64(m.used)
	m.used += size
	m.live += size
	ds.st.live += int64(size)
	return off, true
}

// decrement ends one reference to local handle n, and the datum with the last.
func (ds *dataShard) decrement(n uint32) {
	w := ds.hs[n]
	ds.st.refs--
	if wordRefs(w) == refMax {
		return
	}
	if wordRefs(w) > 1 {
		ds.hs[n] = w - 1<<40
		return
	}
	raw := ds.head(w)
	size := int(binary.LittleEndian.Uint32(raw[4:]))
	ds.idx.remove(uint64(binary.LittleEndian.Uint32(raw[8:])), n)
	ds.st.count--
	ds.st.bytes -= int64(size)
	if w&paged != 0 {
		ds.st.pages -= int64(pagesFor(dataHead + size))
		ds.s.p.freePages(wordOffset(w), pagesFor(dataHead+size))
	} else {
		ds.dead(uint32((wordOffset(w)-ds.s.z.offSegments)>>ds.s.z.segShift), recordSize(dataHead+size))
	}
	ds.freeHandle(n)
}

// dead counts size bytes of a segment as dead, and gives the segment back when nothing in it lives.
func (ds *dataShard) dead(seg, size uint32) {
	m := &ds.s.p.meta[seg]
	m.live -= size
	ds.st.live -= int64(size)
	ds.s.dead(size)
	if m.live == 0 && seg != ds.st.tail {
		ds.release(seg)
	}
}

func (ds *dataShard) release(seg uint32) {
	meta := ds.s.p.meta
	m := &meta[seg]
	if m.prev == noSegment {
		ds.st.head = m.next
	} else {
		meta[m.prev].next = m.next
	}
	if m.next == noSegment {
		ds.st.tail = m.prev
	} else {
		meta[m.next].prev = m.prev
	}
	if ds.st.moveSeg == seg {
		ds.st.moveSeg = noSegment
	}
	ds.search.leave(seg, m.next)
	ds.st.segments--
	ds.s.p.release(seg)
}

// seek goes on looking for the closed segment with the most dead bytes, if they are an eighth of it, to be compacted next. It
// returns how many it looked at; over: the search has come to its end, found or not.
func (ds *dataShard) seek() (looked int, over bool) {
	e := &ds.search
	if !e.begun {
		e.begin(ds.st.head, uint32(ds.s.z.segment/8))
	}
	looked = e.walk(ds.s.p.meta, ds.st.tail, searchMost)
	if over = e.at == noSegment; over {
		ds.st.moveSeg, ds.st.moveOff = e.best, 0
		e.begun = false
	}
	return looked, over
}

// compact moves at most n records out of the segment that was found to the end of the log. It returns how many it looked at; 0
// means that none was found, or that there is no room to move them to.
func (ds *dataShard) compact(n int) int {
	if ds.st.moveSeg == noSegment {
		return 0
	}
	z := &ds.s.z
	seg := ds.st.moveSeg
	m := &ds.s.p.meta[seg]
	base := z.offSegments + uint64(seg)<<z.segShift
	for walked := range n {
		if ds.st.moveOff >= m.used || m.live == 0 {
			ds.st.moveSeg = noSegment
			return walked
		}
		from := base + uint64(ds.st.moveOff)
		raw := ds.s.a.mem[from:]
		h, bytes := binary.LittleEndian.Uint32(raw), dataHead+int(binary.LittleEndian.Uint32(raw[4:]))
		size := recordSize(bytes)
		if w := ds.hs[h]; wordRefs(w) > 0 && wordOffset(w) == from && w&paged == 0 {
			to, ok := ds.room(bytes, forMove)
			if !ok {
				return walked
			}
			copy(ds.s.a.mem[to:to+uint64(bytes)], raw[:bytes])
			ds.hs[h] = wordOf(wordRefs(w), to, false)
			ds.st.moveOff += size
			ds.dead(seg, size)
			if ds.st.moveSeg == noSegment { // that was the last live one
				return walked + 1
			}
			continue
		}
		ds.st.moveOff += size
	}
	return n
}

// giveBack ends the references collected under a key lock.
func (s *Store) giveBack(f *freed) {
	for i := 0; i < f.n; {
		ds := s.dataShardOfHandle(f.h[i])
		ds.mu.Lock()
		for ; i < f.n && s.dataShardOfHandle(f.h[i]) == ds; i++ {
			ds.decrement(ds.local(f.h[i]))
		}
		ds.mu.Unlock()
	}
	f.n = 0
}
