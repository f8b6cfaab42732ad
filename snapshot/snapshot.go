// Package snapshot keeps the items of a store in a file that any later version, any size of store and any machine can take in.
// It is written beside clients and renamed into place when it is whole, and loaded beside clients, who win. What can be read
// of a damaged file is used.
//
// A file is a row of blocks, each compressed by zstd and checked by xxh3 for itself, so that one that is damaged costs no
// other. The first two both say where the items come from (store.Origin), as nothing can be used without that; the last one
// says that the file is whole. Numbers are little-endian.
//
//	block:    magic 7 | version 1 | id 8 | sequence 4 | kind 1 | 0 3 | length 4 | stored length 4 | sum 8 | check 8 | stored bytes
//	item:     key length 1 | bits 1 | bits 1 | route 1? | state 1, filled 4? | expiry 4? | flags 4? | CAS 8? | number uvarint? |
//	          value length uvarint, value? | key
//
// The id is the file's own, drawn at random: no value that a client stored is taken for a block. The sum is over the stored
// bytes, the check over the head before it, both seeded with the id. A value that several items have stands in the file once,
// with the first of them; the others have its number.
package snapshot

import (
	"errors"

	"swordfish/store"
)

// version of the format. A file of another one is not used: there is no older one yet.
const version = 1

// Errors of a file that is not used at all.
var (
	ErrForeign = errors.New("snapshot: it is no snapshot, or its beginning is damaged")
	ErrVersion = errors.New("snapshot: it was written by another version of this program")
)

// Loaded is how far a load has come, or how it went.
type Loaded struct {
	Items   [store.LoadResults]int64 // by what became of them
	Blocks  int64                    // of items, that could be read
	Damaged int64                    // places that could not be read
	Lost    int64                    // items in them, once the end of the file says how many there should be
	Bytes   int64                    // read, of Size
	Size    int64
	Whole   bool   // the file has its end
	Early   string // why it ended before the end of the file; empty: it did not
}

// Read returns how many items were read.
func (l *Loaded) Read() (n int64) {
	for _, k := range l.Items {
		n += k
	}
	return n
}

// Written is how far a save has come, or how it went.
type Written struct {
	Items    int64 // written
	Payloads int64 // of them, values written for several items
	Bytes    int64 // of the file
}
