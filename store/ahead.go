//go:build !race

package store

import (
	"encoding/binary"
	"math/bits"
)

// AheadMost is how many look-ups Ahead takes at once.
const AheadMost = 16

// Ahead reads, without a lock and without believing any of it, what look-ups of these hashes will need: index groups, records,
// handles, payloads, stage by stage, so that the misses of the processor's cache overlap instead of following one another. It
// changes no answer. At most AheadMost hashes count. Race builds do nothing here.
func (s *Store) Ahead(hashes []uint64) (touched uint64) {
	hashes = hashes[:min(len(hashes), AheadMost)]
	var tables [AheadMost]*table
	var groups, wanted [AheadMost]uint8
	for i, h := range hashes {
		t := s.shardOf(h).idx.table(h)
		g := min(t.home(h), mostGroups-1) // t may be anything by now
		tables[i], groups[i], wanted[i] = t, uint8(g), uint8(i)
		touched += t.g[g].ctrl
	}
	var at [AheadMost]uint64
	left := wanted[:len(hashes)]
	for range 2 { // what a full group had no place for is in the next one
		n := 0
		for _, i := range left {
			h, t := hashes[i], tables[i]
			gr := &t.g[groups[i]]
			m := matchByte(gr.ctrl, tagOf(h))
			if m == 0 {
				if matchByte(gr.ctrl, 0) != 0 {
					continue // it was never full: the key is not there
				}
				g := min(t.after(uint32(groups[i])), mostGroups-1)
				touched += t.g[g].ctrl
				groups[i], left[n] = uint8(g), i
				n++
				continue
			}
			off := s.z.offSegments + uint64(gr.loc[bits.TrailingZeros64(m)>>3])<<s.z.unitShift
			if off >= s.z.offPages-256 {
				continue
			}
			at[i] = off
			touched += uint64(s.a.mem[off]) + uint64(s.a.mem[off+63])
		}
		left = left[:n]
	}
	var words [AheadMost]*uint64
	for i := range hashes {
		if at[i] == 0 {
			continue
		}
		raw := s.a.mem[at[i]:]
		if raw[1]&metaInline != 0 {
			p := headOf(raw)
			n, _ := getLen(raw[p:])
			if end := p + n + int(raw[0]); end > 63 {
				touched += uint64(raw[64]) + uint64(raw[min(end, 128)])
			}
			continue
		}
		h := binary.LittleEndian.Uint32(raw[headOf(raw):])
		ds := s.dataShardOfHandle(h)
		if n := ds.local(h); int(n) < len(ds.hs) {
			words[i] = &ds.hs[n]
			touched += ds.hs[n]
		}
	}
	for i := range hashes {
		if words[i] == nil {
			continue
		}
		if off := wordOffset(*words[i]); off < s.z.total-256 {
			touched += uint64(s.a.mem[off]) + uint64(s.a.mem[off+64]) + uint64(s.a.mem[off+128])
		}
	}
	return touched
}

// AheadFill is Ahead for keys whose leases are about to be opened or ended.
func (s *Store) AheadFill(hashes []uint64) (touched uint64) {
	hashes = hashes[:min(len(hashes), AheadMost)]
	for _, h := range hashes {
		a, b := s.shardOf(h).leaseBuckets(h)
		touched += a.hash[0] + b.hash[0] + uint64(a.state[0]) + uint64(b.state[0])
	}
	return touched + s.Ahead(hashes)
}

// aheadData is Ahead for the look-ups of payloads that come with items of a snapshot.
func (s *Store) aheadData(ks []Kept) (touched uint64) {
	for i := range ks {
		d := ks[i].digest
		if d == (digest{}) {
			continue
		}
		ds := s.dataShardOf(d.hi)
		h := uint64(dataHash32(d.lo))
		t := ds.idx.table(h)
		gr := &t.g[min(t.home(h), mostGroups-1)]
		b, before, _ := ds.met.buckets(d.lo)
		touched += gr.ctrl + uint64(b.next) + uint64(before.next)
	}
	return touched
}
