package store

import "bytes"

// rebuild is a long value that a command makes of the one that a key has. To copy it and to take its digest is long enough for
// others to wait, so that is done while no lock is held: one hold of the key's lock takes the old value, and a later one puts
// the new value if the key still has the bytes that it was made of. Everything else of the item the later hold judges anew, as
// the first did. The zero value has begun nothing.
type rebuild struct {
	old    []byte // what was taken: in its run of pages, or a copy
	pin    Pin    // of it, unless it was in its record: so its handle names nothing else meanwhile
	handle uint32 // its datum, or noHandle
	made   uint32 // when ready: the datum of the new value, with a reference
	novel  bool   // which was made for it
	taken  bool
	ready  bool
	lost   int // times that the key had another value when this was ready
}

// mostLost is how often a rebuild that comes too late is begun again. After that it is done in one hold, which nothing can
// come between.
const mostLost = 3

// take takes the value of r: a reference to its datum, of which the caller holds the shard's lock, and a copy in to unless the
// bytes stay where they are. ds is nil for a value in its record.
func (b *rebuild) take(ds *dataShard, r *record, old, to []byte) {
	b.taken, b.old, b.handle = true, old, noHandle
	if ds != nil {
		n := ds.local(r.handle)
		ds.reference(n)
		b.pin, b.handle = Pin{ds, n}, r.handle
		if ds.hs[n]&paged != 0 {
			return
		}
	}
	b.old = to[:copy(to, old)]
}

// of tells whether r has the value that was taken. A datum never changes, and while it has a reference its handle is its own.
func (b *rebuild) of(r *record) bool {
	if r.meta&metaInline != 0 {
		return b.handle == noHandle && bytes.Equal(r.value, b.old)
	}
	return b.handle == r.handle
}

// make makes the new value, of a length that never stays in its record, for the key of hash. False: no memory, and r had its
// time to make some. The caller holds no lock.
func (b *rebuild) make(s *Store, hash uint64, value []byte, r *room) bool {
	var d draft
	if !s.intern(&d, hash, value, r) {
		return false
	}
	b.made, b.novel, b.ready = d.handle, d.novel, true
	return true
}

// fill gives d the new value. Its reference is d's once that is linked, and the caller then calls spent.
func (b *rebuild) fill(s *Store, d *draft) {
	d.value, d.handle = nil, b.made
	if b.novel {
		s.pays(d)
	}
}

// spent notes that the reference to the new value is somebody else's.
func (b *rebuild) spent() { b.ready = false }

// drop gives back what the rebuild has, to begin again. The caller holds no lock.
func (b *rebuild) drop(s *Store) {
	if !b.taken {
		return
	}
	if b.ready {
		ds := s.dataShardOfHandle(b.made)
		Pin{ds, ds.local(b.made)}.Release()
	}
	if b.pin.ds != nil {
		b.pin.Release()
	}
	*b = rebuild{lost: b.lost}
}
