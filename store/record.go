package store

import (
	"encoding/binary"
)

// A key record, little-endian, aligned to the location unit:
//
//	key length     1
//	meta           1   see the meta bits
//	route id       2   if metaRoute: the route, or 0 for a plain item of which more is remembered, with
//	filled at      4     second of the fill or of the client's write; plain: of the last access
//	state          1     see the state bits
//	expiry         4   if metaExpiry: second from which the item is gone; 0 never
//	CAS            8   if metaCAS: a client has seen one
//	flags          1   if metaFlags: client flags other than 0; 5 from 255 on, see putFlags
//	value          4   handle of the datum, or, if metaInline, its length (1 to 3, see putLen) and bytes
//	key            1 to 250
//
// Its place in the log is its birth: there is no time stamp and no link.
const (
	metaHits    = 0x03 // counted hits, saturating; the eviction policy's
	metaFlags   = 0x04
	metaCAS     = 0x08
	metaExpiry  = 0x10
	metaInline  = 0x20
	metaRoute   = 0x40
	metaFetched = 0x80 // read at least once
)

// State bits of a route record.
const (
	stateFilled   = 0
	stateClient   = 1 // a client wrote it
	stateNegative = 2 // the source has no row
	stateKind     = 3
	stateTouched  = 4   // a filled item whose exptime a client has set
	stateStale    = 8   // stale whatever its age
	stateAsked    = 16  // a client item: the last load, at "filled at", found nothing to put
	stateSent     = 32  // plain: the win token is out
	stateBinary   = 64  // stored under a base64-coded key
	statePays     = 128 // of a route with a cap: its payload counts for the route, as it was new with this record
)

// maxInline is the longest value that is never shared: up to about here sharing costs more than the copy. Longer ones stay
// in their record as well until their bytes are met a second time.
const maxInline = 32

// maxHead bounds what a record is beside its value.
const maxHead = 2 + 7 + 4 + 8 + 5 + 3 + 250

// A value's length is 7 bits in a byte, 14 bits in two or 22 bits in three, the high bits first behind the prefixes 0, 10
// and 11.
func lenSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	}
	return 3
}

func putLen(raw []byte, n int) int {
	switch {
	case n < 1<<7:
		raw[0] = byte(n)
		return 1
	case n < 1<<14:
		raw[0], raw[1] = 0x80|byte(n>>8), byte(n)
		return 2
	}
	raw[0], raw[1], raw[2] = 0xc0|byte(n>>16), byte(n>>8), byte(n)
	return 3
}

func getLen(raw []byte) (n, size int) {
	switch c := int(raw[0]); {
	case c < 0x80:
		return c, 1
	case c < 0xc0:
		return c&0x3f<<8 | int(raw[1]), 2
	default:
		return c&0x3f<<16 | int(raw[1])<<8 | int(raw[2]), 3
	}
}

// Client flags below 255, which are nearly all there are, take a byte; others four behind one of all ones.
const wideFlags = 0xff

func flagsSize(flags uint32) int {
	if flags < wideFlags {
		return 1
	}
	return 5
}

func putFlags(raw []byte, flags uint32) int {
	if flags < wideFlags {
		raw[0] = byte(flags)
		return 1
	}
	raw[0] = wideFlags
	binary.LittleEndian.PutUint32(raw[1:], flags)
	return 5
}

func getFlags(raw []byte) (flags uint32, size int) {
	if raw[0] != wideFlags {
		return uint32(raw[0]), 1
	}
	return binary.LittleEndian.Uint32(raw[1:]), 5
}

// record is a decoded view; raw aliases the arena from the record's first byte on.
type record struct {
	raw    []byte
	meta   byte
	size   int // bytes, unaligned
	key    []byte
	value  []byte // metaInline
	handle uint32 // otherwise
	flags  uint32
	cas    uint64
	expiry uint32
	route  RouteID
	filled uint32
	state  byte

	offExpiry, offCAS, offState int // where they stand, 0 if absent
}

// decode reads the record that raw begins with.
func (r *record) decode(raw []byte) {
	klen, meta := int(raw[0]), raw[1]
	*r = record{raw: raw, meta: meta}
	p := 2
	if meta&metaRoute != 0 {
		r.route = RouteID(binary.LittleEndian.Uint16(raw[p:]))
		r.filled = binary.LittleEndian.Uint32(raw[p+2:])
		r.state = raw[p+6]
		r.offState = p
		p += 7
	}
	if meta&metaExpiry != 0 {
		r.expiry = binary.LittleEndian.Uint32(raw[p:])
		r.offExpiry = p
		p += 4
	}
	if meta&metaCAS != 0 {
		r.cas = binary.LittleEndian.Uint64(raw[p:])
		r.offCAS = p
		p += 8
	}
	if meta&metaFlags != 0 {
		flags, size := getFlags(raw[p:])
		r.flags = flags
		p += size
	}
	if meta&metaInline != 0 {
		n, size := getLen(raw[p:])
		p += size
		r.value = raw[p : p+n : p+n]
		p += n
	} else {
		r.handle = binary.LittleEndian.Uint32(raw[p:])
		p += 4
	}
	r.key = raw[p : p+klen : p+klen]
	r.size = p + klen
}

// headOf returns where the value or handle of the record begins that raw begins with. Which fields there are differs from record to
// record, and look-ups would wait for each wrong guess, so it asks a table; flags that take more than a byte are rare.
func headOf(raw []byte) int {
	meta := raw[1]
	p := int(headLen[meta])
	if raw[p-1] == wideFlags && meta&metaFlags != 0 {
		p += 4
	}
	return p
}

// headLen holds, by meta, where value or handle begin if the flags take one byte.
var headLen = func() (lens [256]uint8) {
	for meta := range lens {
		p := 2
		for bit, size := range map[int]int{metaRoute: 7, metaExpiry: 4, metaCAS: 8, metaFlags: 1} {
			if meta&bit != 0 {
				p += size
			}
		}
		lens[meta] = uint8(p)
	}
	return lens
}()

// recordKey finds the key of the record that raw begins with, and the record's size, without decoding the rest.
func recordKey(raw []byte) (key []byte, size int) {
	klen, meta := int(raw[0]), raw[1]
	p := headOf(raw)
	if meta&metaInline != 0 {
		n, size := getLen(raw[p:])
		p += size + n
	} else {
		p += 4
	}
	return raw[p : p+klen], p + klen
}

// draft is a record about to be written.
type draft struct {
	key       []byte
	value     []byte // inline when handle is noHandle
	handle    uint32
	flags     uint32
	cas       uint64
	expiry    uint32
	hasExpiry bool
	route     RouteID
	block     bool // plain, and yet with the route's fields
	filled    uint32
	state     byte
	fetched   bool
	novel     bool // its payload is a datum that was made for it
	hits      byte // counted ones
	log       int
}

// noHandle marks an inline value.
const noHandle = ^uint32(0)

func (d *draft) size() int {
	n := 2 + len(d.key)
	if d.route != 0 || d.block {
		n += 7
	}
	if d.hasExpiry {
		n += 4
	}
	if d.flags != 0 {
		n += flagsSize(d.flags)
	}
	if d.cas != 0 {
		n += 8
	}
	if d.handle == noHandle {
		return n + lenSize(len(d.value)) + len(d.value)
	}
	return n + 4
}

// put writes d at the start of raw, which has room for it.
func (d *draft) put(raw []byte) {
	meta := byte(0)
	p := 2
	if d.route != 0 || d.block {
		meta |= metaRoute
		binary.LittleEndian.PutUint16(raw[p:], uint16(d.route))
		binary.LittleEndian.PutUint32(raw[p+2:], d.filled)
		raw[p+6] = d.state
		p += 7
	}
	if d.hasExpiry {
		meta |= metaExpiry
		binary.LittleEndian.PutUint32(raw[p:], d.expiry)
		p += 4
	}
	if d.cas != 0 {
		meta |= metaCAS
		binary.LittleEndian.PutUint64(raw[p:], d.cas)
		p += 8
	}
	if d.flags != 0 {
		meta |= metaFlags
		p += putFlags(raw[p:], d.flags)
	}
	if d.handle == noHandle {
		meta |= metaInline
		p += putLen(raw[p:], len(d.value))
		p += copy(raw[p:], d.value)
	} else {
		binary.LittleEndian.PutUint32(raw[p:], d.handle)
		p += 4
	}
	if d.fetched {
		meta |= metaFetched
	}
	meta |= d.hits
	copy(raw[p:], d.key)
	raw[0], raw[1] = byte(len(d.key)), meta
}

// negative tells whether a record says that the source has no row.
func (r *record) negative() bool { return r.route != 0 && r.state&stateKind == stateNegative }

func (d *draft) negative() bool { return d.route != 0 && d.state&stateKind == stateNegative }

// draftOf makes a draft like r. Its key and value alias r's memory, which stays until link has put the draft and drops r.
func draftOf(r *record) draft {
	d := draft{
		key: r.key, value: r.value, handle: r.handle, flags: r.flags, cas: r.cas, expiry: r.expiry,
		hasExpiry: r.meta&metaExpiry != 0, route: r.route, filled: r.filled, state: r.state, fetched: r.meta&metaFetched != 0,
		block: r.meta&metaRoute != 0, hits: r.meta & metaHits,
	}
	if r.meta&metaInline != 0 {
		d.handle = noHandle
	}
	return d
}

// The setters write through to the arena. Each is for a field that the record has.

func (r *record) setFilled(at uint32) {
	r.filled = at
	binary.LittleEndian.PutUint32(r.raw[r.offState+2:], at)
}

func (r *record) setState(st byte) {
	r.state = st
	r.raw[r.offState+6] = st
}

func (r *record) setExpiry(at uint32) {
	r.expiry = at
	binary.LittleEndian.PutUint32(r.raw[r.offExpiry:], at)
}

func (r *record) setCAS(cas uint64) {
	r.cas = cas
	binary.LittleEndian.PutUint64(r.raw[r.offCAS:], cas)
}
