package snapshot

import (
	"encoding/binary"
	"errors"
	"time"

	"swordfish/store"
)

// The first bits of an item say which fields it has.
const (
	hasRoute = 1 << iota
	hasExpiry
	hasFlags
	hasCAS
	isShared // its value has a number
	isNew    // and stands here
	isNoted
	isMain
)

// The second bits.
const (
	hitBits   = 3
	isFetched = 4
)

// appendItem appends k as it stands in a block.
func appendItem(dst []byte, k *store.Kept) []byte {
	var bits byte
	set := func(bit byte, on bool) {
		if on {
			bits |= bit
		}
	}
	set(hasRoute, k.Route != 0)
	set(hasExpiry, k.Expiry != 0)
	set(hasFlags, k.Flags != 0)
	set(hasCAS, k.CAS != 0)
	set(isShared, k.Number != 0)
	set(isNew, k.New)
	set(isNoted, k.Noted)
	set(isMain, k.Main)
	more := k.Hits & hitBits
	if k.Fetched {
		more |= isFetched
	}
	le := binary.LittleEndian
	dst = append(dst, byte(len(k.Key)), bits, more)
	if k.Route != 0 {
		dst = append(dst, byte(k.Route))
	}
	if k.Route != 0 || k.Noted {
		dst = le.AppendUint32(append(dst, k.State), k.Filled)
	}
	if k.Expiry != 0 {
		dst = le.AppendUint32(dst, k.Expiry)
	}
	if k.Flags != 0 {
		dst = le.AppendUint32(dst, k.Flags)
	}
	if k.CAS != 0 {
		dst = le.AppendUint64(dst, k.CAS)
	}
	if k.Number != 0 {
		dst = binary.AppendUvarint(dst, uint64(k.Number))
	}
	if k.Number == 0 || k.New {
		dst = append(binary.AppendUvarint(dst, uint64(len(k.Value))), k.Value...)
	}
	return append(dst, k.Key...)
}

var errItem = errors.New("snapshot: a sound block with what is no item")

// fields reads what stands in a block one after the other. Past its end everything is zero and bad is set.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) bytes(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.b, f.bad = nil, true
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) byte() byte {
	if v := f.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if v := f.bytes(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (f *fields) uint64() uint64 {
	if v := f.bytes(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.b, f.bad = nil, true
		return 0
	}
	f.b = f.b[n:]
	return v
}

// readItem reads the next item of a block into k, whose Key and Value then alias it.
func readItem(f *fields, k *store.Kept) error {
	klen, bits, more := f.byte(), f.byte(), f.byte()
	*k = store.Kept{
		Hits: more & hitBits, Fetched: more&isFetched != 0, New: bits&isNew != 0, Noted: bits&isNoted != 0, Main: bits&isMain != 0,
	}
	if bits&hasRoute != 0 {
		k.Route = store.RouteID(f.byte())
	}
	if bits&(hasRoute|isNoted) != 0 {
		k.State, k.Filled = f.byte(), f.uint32()
	}
	if bits&hasExpiry != 0 {
		k.Expiry = f.uint32()
	}
	if bits&hasFlags != 0 {
		k.Flags = f.uint32()
	}
	if bits&hasCAS != 0 {
		k.CAS = f.uint64()
	}
	if bits&isShared != 0 {
		k.Number = uint32(f.uvarint())
		f.bad = f.bad || k.Number == 0
	}
	if bits&isShared == 0 || bits&isNew != 0 {
		k.Value = f.bytes(f.uvarint())
	}
	k.Key = f.bytes(uint64(klen))
	if f.bad || klen == 0 || k.New && k.Number == 0 || bits&hasRoute != 0 && k.Route == 0 {
		return errItem
	}
	return nil
}

func appendOrigin(dst []byte, o *store.Origin) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(o.Clock))
	dst = le.AppendUint64(dst, uint64(o.Wall.UnixNano()))
	dst = le.AppendUint64(dst, uint64(o.FlushAt))
	dst = le.AppendUint64(dst, o.CAS)
	dst = append(dst, byte(len(o.Routes)))
	for _, r := range o.Routes {
		dst = append(dst, byte(r.ID), byte(len(r.Name)))
		dst = append(dst, r.Name...)
		dst = le.AppendUint64(le.AppendUint64(dst, r.KeyPrint), r.QueryPrint)
	}
	return le.AppendUint64(le.AppendUint64(dst, o.Items), o.Bytes)
}

func readOrigin(b []byte) (o store.Origin, ok bool) {
	f := fields{b: b}
	o.Clock = store.Time(f.uint64())
	o.Wall = time.Unix(0, int64(f.uint64()))
	o.FlushAt, o.CAS = store.Time(f.uint64()), f.uint64()
	for range f.byte() {
		r := store.OriginRoute{ID: store.RouteID(f.byte())}
		r.Name = string(f.bytes(uint64(f.byte())))
		r.KeyPrint, r.QueryPrint = f.uint64(), f.uint64()
		o.Routes = append(o.Routes, r)
	}
	if len(f.b) > 0 { // the first files do not tell
		o.Items, o.Bytes = f.uint64(), f.uint64()
	}
	return o, !f.bad
}
