package store

import "time"

// A snapshot takes the items of one store to another, whatever its sizes and its seed: Saving shows them, Loading takes them
// in, both beside clients. What lies between, the file, is another package's.

// Kept is an item on its way into a snapshot or out of one. Seconds are those of the item clock of the store that it is from.
type Kept struct {
	Key, Value []byte
	Flags      uint32
	CAS        uint64 // 0: none was given out yet
	Expiry     uint32 // 0: none
	Route      RouteID
	Filled     uint32 // of a route's item, or with Noted
	State      byte   // as records have it; a change of its bits is another version of the snapshot's format
	Hits       byte
	Fetched    bool
	Noted      bool // a plain item of which more is remembered
	Main       bool // of the main log

	// A value that several items have is shown once: the first of them brings it along with its number, and the others have the
	// number alone. 0: nobody else has it.
	Number uint32
	New    bool // the value comes with this item

	hash   uint64 // of the key, with the seed of the store that takes it in
	digest digest // of the value, likewise
}

// Origin is what has to be known of the store that a snapshot is of.
type Origin struct {
	Clock   Time      // item clock
	Wall    time.Time // of the same moment
	FlushAt Time      // moment of a delayed flush, 0 none
	CAS     uint64    // none that was given out is above it
	Items   uint64    // about so many were there when it began; 0: not known
	Bytes   uint64    // and so many bytes of memory in use
	Routes  []OriginRoute
}

// OriginRoute is a route that was live.
type OriginRoute struct {
	ID                   RouteID
	Name                 string
	KeyPrint, QueryPrint uint64
}
