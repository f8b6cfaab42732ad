package store

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// SharedDatum is a payload that several items have.
type SharedDatum struct {
	Datum uint64 // as in Walked
	Size  int    // bytes
	Keys  int    // items that have it
}

// Saved is how many bytes it would take more if every item had its own.
func (d SharedDatum) Saved() int64 { return int64(d.Keys-1) * int64(d.Size) }

// handlesPass is how many handles are looked at in one lock hold: a few microseconds.
const handlesPass = 1024

// MostShared returns the n payloads whose sharing saves the most bytes, the most first. It looks at every payload, with one
// data shard locked at a time and only for a moment; stop, asked between those moments, ends it early. What is stored meanwhile
// may be missed.
func (s *Store) MostShared(n int, stop func() bool) []SharedDatum {
	var top []SharedDatum
	bySaving := func(a, b SharedDatum) int {
		return cmp.Or(cmp.Compare(b.Saved(), a.Saved()), cmp.Compare(a.Datum, b.Datum))
	}
	for i := range s.data {
		ds := &s.data[i]
		for at, more := uint32(0), n > 0; more && !stop(); {
			least := int64(0)
			if len(top) == n {
				least = top[n-1].Saved()
			}
			var found []SharedDatum
			found, at, more = ds.shared(at, least)
			top = append(top, found...)
			slices.SortFunc(top, bySaving)
			top = slices.Clip(top[:min(len(top), n)])
		}
	}
	return top
}

// shared looks at handlesPass handles from at on for data whose sharing saves more than least bytes.
func (ds *dataShard) shared(at uint32, least int64) (found []SharedDatum, next uint32, more bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	end := min(at+handlesPass, ds.st.handles)
	for ; at < end; at++ {
		w := ds.hs[at]
		refs := wordRefs(w)
		if refs < 2 { // a free handle has none
			continue
		}
		d := SharedDatum{
			Datum: datumOf(ds.global(at)), Keys: int(refs), Size: int(binary.LittleEndian.Uint32(ds.head(w)[4:])),
		}
		if d.Saved() > least {
			found = append(found, d)
		}
	}
	return found, at, at < ds.st.handles
}

// datumOf names the datum of a handle; 0 is none.
func datumOf(handle uint32) uint64 { return uint64(handle) + 1 }
