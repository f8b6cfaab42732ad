package protocol

import (
	"encoding/base64"
	"strconv"
)

// MetaItem is what the answer to a meta command may tell of an item. Times to live are in seconds, -1 for no end.
type MetaItem struct {
	Size       int
	Flags      uint32
	Unique     uint64
	TTL        int64  // before the command
	NewTTL     int64  // by T
	VivifyTTL  int64  // by N
	LastAccess uint32 // seconds ago, before the command
	Fetched    bool   // before the command
	BinaryKey  bool
	Created    bool // by N
	Sent       bool // Z: somebody else is to recompute it
	Stale      bool // X
	Won        bool // W: this client is to recompute it
}

// nextFlag is NextKey for flags, most of which are one letter and stand behind one blank.
func nextFlag(words []byte) (flag, left []byte) {
	if len(words) > 1 && words[0] != ' ' && words[1] == ' ' {
		return words[:1:1], words[2:]
	}
	return NextKey(words)
}

// MaxMetaHeader bounds what AppendMetaItem appends, whatever the flags.
const MaxMetaHeader = 1024

// AppendMetaItem appends the answer to mg that found it. Where HasValue(r, it), the value and AppendLineEnd follow.
func AppendMetaItem(dst []byte, r *Request, it *MetaItem) []byte {
	if HasValue(r, it) {
		dst = append(dst, "VA "...)
		dst = strconv.AppendUint(dst, uint64(it.Size), 10)
	} else {
		dst = append(dst, "HD"...)
	}
	ttl := it.TTL
	for word, left := nextFlag(r.Meta.Words); len(word) > 0; word, left = nextFlag(left) {
		switch word[0] {
		case 'T':
			ttl = it.NewTTL
		case 'N':
			if it.Created {
				ttl = it.VivifyTTL
			}
		case 's':
			dst = appendFlag(dst, 's', uint64(it.Size))
		case 't':
			dst = appendTTL(dst, ttl)
		case 'c':
			dst = appendFlag(dst, 'c', it.Unique)
		case 'f':
			dst = appendFlag(dst, 'f', uint64(it.Flags))
		case 'l':
			dst = appendFlag(dst, 'l', uint64(it.LastAccess))
		case 'h':
			fetched := uint64(0)
			if it.Fetched {
				fetched = 1
			}
			dst = appendFlag(dst, 'h', fetched)
		case 'O':
			dst = appendOpaque(dst, word)
		case 'k':
			dst = appendKey(dst, r.Key, it.BinaryKey)
		}
	}
	if it.Sent {
		dst = append(dst, " Z"...)
	}
	if it.Stale {
		dst = append(dst, " X"...)
	}
	if it.Won {
		dst = append(dst, " W"...)
	}
	return append(dst, '\r', '\n')
}

// HasValue tells whether the answer to mg brings the value: it was asked for, and it is not the one that C says the client
// has.
func HasValue(r *Request, it *MetaItem) bool {
	return r.Meta.Value && (!r.Meta.Compare || r.Unique != it.Unique)
}

// AppendMetaMiss appends that mg found nothing, and nothing to a quiet request.
func AppendMetaMiss(dst []byte, r *Request) []byte {
	if r.Quiet {
		return dst
	}
	return appendEcho(append(dst, "EN"...), r)
}

// MetaCode is the first word of an answer to ms, md and ma.
type MetaCode string

const (
	MetaOK        MetaCode = "HD" // quiet requests do not get it
	MetaNotStored MetaCode = "NS"
	MetaExists    MetaCode = "EX"
	MetaNotFound  MetaCode = "NF"
)

// AppendMetaDone appends the answer to md, or to ma that did nothing.
func AppendMetaDone(dst []byte, r *Request, code MetaCode) []byte {
	if code == MetaOK && r.Quiet {
		return dst
	}
	return appendEcho(append(dst, code...), r)
}

// AppendMetaStored appends the answer to ms. size is the length of the value that is stored now, or of the one refused;
// unique is 0 where nothing was stored.
func AppendMetaStored(dst []byte, r *Request, code MetaCode, size int, unique uint64) []byte {
	if code == MetaOK && r.Quiet {
		return dst
	}
	dst = append(dst, code...)
	for word, left := nextFlag(r.Meta.Words); len(word) > 0; word, left = nextFlag(left) {
		switch word[0] {
		case 'O':
			dst = appendOpaque(dst, word)
		case 'k':
			dst = appendKey(dst, r.Key, r.Meta.BinaryKey)
		case 'c':
			dst = appendFlag(dst, 'c', unique)
		case 's':
			dst = appendFlag(dst, 's', uint64(size))
		}
	}
	return append(dst, '\r', '\n')
}

// AppendMetaNumber appends the answer to ma whose new number is n. Of it the TTLs, Unique and Created count.
func AppendMetaNumber(dst []byte, r *Request, n uint64, it *MetaItem) []byte {
	if r.Quiet {
		return dst
	}
	var digits [20]byte
	number := strconv.AppendUint(digits[:0], n, 10)
	if r.Meta.Value {
		dst = append(dst, "VA "...)
		dst = strconv.AppendUint(dst, uint64(len(number)), 10)
	} else {
		dst = append(dst, "HD"...)
	}
	ttl := it.TTL
	for word, left := nextFlag(r.Meta.Words); len(word) > 0; word, left = nextFlag(left) {
		switch word[0] {
		case 'T':
			ttl = it.NewTTL
		case 'N':
			if it.Created {
				ttl = it.VivifyTTL
			}
		case 't':
			dst = appendTTL(dst, ttl)
		case 'c':
			dst = appendFlag(dst, 'c', it.Unique)
		case 'O':
			dst = appendOpaque(dst, word)
		case 'k':
			dst = appendKey(dst, r.Key, r.Meta.BinaryKey)
		}
	}
	dst = append(dst, '\r', '\n')
	if r.Meta.Value {
		dst = append(dst, number...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// itemCost is what memcached counts of an item beside key and value: header, key's end, CAS and line end.
const itemCost = 48 + 1 + 8 + 2

// ItemSize is the size of an item as memcached reports it.
func ItemSize(key, value int, flags uint32) int {
	size := itemCost + key + value
	if flags != 0 {
		size += 4
	}
	return size
}

// AppendMetaDebug appends the answer to me that found it. There is one slab class, the first.
func AppendMetaDebug(dst []byte, r *Request, it *MetaItem) []byte {
	dst = append(dst, "ME "...)
	dst = AppendKey(dst, r.Key, it.BinaryKey)
	dst = append(dst, " exp="...)
	dst = strconv.AppendInt(dst, it.TTL, 10)
	dst = append(dst, " la="...)
	dst = strconv.AppendUint(dst, uint64(it.LastAccess), 10)
	dst = append(dst, " cas="...)
	dst = strconv.AppendUint(dst, it.Unique, 10)
	if it.Fetched {
		dst = append(dst, " fetch=yes"...)
	} else {
		dst = append(dst, " fetch=no"...)
	}
	dst = append(dst, " cls=1 size="...)
	dst = strconv.AppendInt(dst, int64(ItemSize(len(r.Key), it.Size, it.Flags)), 10)
	return append(dst, '\r', '\n')
}

// AppendKey appends a key, base64-coded where it came so.
func AppendKey(dst, key []byte, coded bool) []byte {
	if coded {
		return base64.StdEncoding.AppendEncode(dst, key)
	}
	return append(dst, key...)
}

func appendFlag(dst []byte, flag byte, v uint64) []byte {
	return strconv.AppendUint(append(dst, ' ', flag), v, 10)
}

func appendTTL(dst []byte, ttl int64) []byte {
	return strconv.AppendInt(append(dst, ' ', 't'), ttl, 10)
}

func appendOpaque(dst, word []byte) []byte { return append(append(dst, ' '), word...) }

func appendKey(dst, key []byte, coded bool) []byte {
	dst = AppendKey(append(dst, ' ', 'k'), key, coded)
	if coded {
		dst = append(dst, " b"...)
	}
	return dst
}

// appendEcho appends what a command without an item repeats, and ends the line.
func appendEcho(dst []byte, r *Request) []byte {
	for word, left := nextFlag(r.Meta.Words); len(word) > 0; word, left = nextFlag(left) {
		switch word[0] {
		case 'O':
			dst = appendOpaque(dst, word)
		case 'k':
			dst = appendKey(dst, r.Key, r.Meta.BinaryKey)
		}
	}
	return append(dst, '\r', '\n')
}
