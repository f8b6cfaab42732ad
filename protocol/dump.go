package protocol

import "strconv"

// AppendMetadump appends the line of lru_crawler metadump about an item; now is the wall clock's second. The line ends as
// memcached's do, with a blank and a newline.
func AppendMetadump(dst, key []byte, it *MetaItem, now int64) []byte {
	dst = append(dst, "key="...)
	dst = appendURI(dst, key)
	dst = append(dst, " exp="...)
	if it.TTL < 0 {
		dst = append(dst, "-1"...)
	} else {
		dst = strconv.AppendInt(dst, now+it.TTL, 10)
	}
	dst = append(dst, " la="...)
	dst = strconv.AppendInt(dst, now-int64(it.LastAccess), 10)
	dst = append(dst, " cas="...)
	dst = strconv.AppendUint(dst, it.Unique, 10)
	if it.Fetched {
		dst = append(dst, " fetch=yes"...)
	} else {
		dst = append(dst, " fetch=no"...)
	}
	dst = append(dst, " cls=1 size="...)
	dst = strconv.AppendInt(dst, int64(ItemSize(len(key), it.Size, it.Flags)), 10)
	dst = append(dst, " flags="...)
	dst = strconv.AppendUint(dst, uint64(it.Flags), 10)
	return append(dst, " \n"...)
}

// AppendMgdump appends the line of lru_crawler mgdump about an item, a command that gets it.
func AppendMgdump(dst, key []byte, coded bool) []byte {
	dst = AppendKey(append(dst, "mg "...), key, coded)
	if coded {
		dst = append(dst, " b"...)
	}
	return append(dst, '\r', '\n')
}

// AppendCachedump appends the line of stats cachedump about an item; now is the wall clock's second.
func AppendCachedump(dst, key []byte, it *MetaItem, now int64) []byte {
	dst = append(dst, "ITEM "...)
	dst = append(dst, key...)
	dst = append(dst, " ["...)
	dst = strconv.AppendInt(dst, int64(it.Size), 10)
	dst = append(dst, " b; "...)
	if it.TTL < 0 {
		dst = append(dst, '0')
	} else {
		dst = strconv.AppendInt(dst, now+it.TTL, 10)
	}
	return append(dst, " s]\r\n"...)
}

// appendURI appends key with all but letters, digits and -._~ as %XX.
func appendURI(dst, key []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range key {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// AppendPrefix appends the line of stats detail dump about a prefix.
func AppendPrefix(dst []byte, prefix string, gets, hits, sets, deletes uint64) []byte {
	dst = append(dst, "PREFIX "...)
	dst = append(dst, prefix...)
	dst = append(dst, " get "...)
	dst = strconv.AppendUint(dst, gets, 10)
	dst = append(dst, " hit "...)
	dst = strconv.AppendUint(dst, hits, 10)
	dst = append(dst, " set "...)
	dst = strconv.AppendUint(dst, sets, 10)
	dst = append(dst, " del "...)
	dst = strconv.AppendUint(dst, deletes, 10)
	return append(dst, '\r', '\n')
}

// ReadCachedump reads the arguments of stats cachedump: the slab class and how many items at most, 0 for all.
func ReadCachedump(r *Request) (class, limit uint32, why Reply, ok bool) {
	if r.NArgs < 3 {
		return 0, 0, BadLine, false
	}
	class, classOK := strictUint32(r.Args[1])
	limit, limitOK := strictUint32(r.Args[2])
	switch {
	case !classOK || !limitOK:
		return 0, 0, BadFormat, false
	case class > MaxSlabClass:
		return 0, 0, SlabID, false
	}
	return class, limit, 0, true
}
