package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
)

// Protocol is what gets are written in. Sets are always text: a connection of the text protocol takes meta commands too,
// and a binary load does without sets.
type Protocol int

const (
	Text   Protocol = iota // get KEY...
	Meta                   // mg KEY k f v
	Binary                 // GetKQ for each key, and one Noop
)

// answer is one parsed answer, or one value of an answer with several.
type answer struct {
	hit    bool
	last   bool   // the request is answered with this
	key    []byte // of a hit
	flags  uint32
	length int // of the value, which ends tail bytes before the answer's end
	tail   int
}

// appendGet appends one request for all the keys of ids.
func (p Protocol) appendGet(dst []byte, keys Keys, ids []uint32) []byte {
	switch p {
	case Meta:
		dst = append(dst, "mg "...)
		dst = keys.Append(dst, ids[0])
		return append(dst, " k f v\r\n"...)
	case Binary:
		for _, id := range ids {
			at := len(dst)
			dst = append(dst, make([]byte, binaryHeader)...)
			dst = keys.Append(dst, id)
			n := uint16(len(dst) - at - binaryHeader)
			dst[at], dst[at+1] = binaryRequest, binaryGetKQ
			binary.BigEndian.PutUint16(dst[at+2:], n)
			binary.BigEndian.PutUint32(dst[at+8:], uint32(n))
		}
		at := len(dst)
		dst = append(dst, make([]byte, binaryHeader)...)
		dst[at], dst[at+1] = binaryRequest, binaryNoop
		return dst
	}
	dst = append(dst, "get"...)
	for _, id := range ids {
		dst = append(dst, ' ')
		dst = keys.Append(dst, id)
	}
	return append(dst, "\r\n"...)
}

// parse understands the answer that b begins with, to a set or to a get, and returns its length: 0 if that is not known
// yet, more than len(b) if the rest is to come. The key is a part of b.
func (p Protocol) parse(b []byte, set bool) (answer, int, error) {
	if p == Binary {
		return parseBinary(b)
	}
	nl := bytes.IndexByte(b, '\n')
	if nl < 0 {
		return answer{}, 0, nil
	}
	line := b[:nl+1]
	switch {
	case set && string(line) == "STORED\r\n",
		!set && p == Text && string(line) == "END\r\n",
		!set && p == Meta && string(line) == "EN\r\n":
		return answer{last: true}, nl + 1, nil
	case !set && p == Text && bytes.HasPrefix(line, []byte("VALUE ")):
		key, rest, _ := bytes.Cut(line[len("VALUE "):], []byte(" "))
		flags, length, _ := bytes.Cut(rest, []byte(" "))
		return textValue(b, line, key, flags, length[:max(len(length)-2, 0)], false)
	case !set && p == Meta && bytes.HasPrefix(line, []byte("VA ")):
		length, rest, _ := bytes.Cut(line[len("VA "):max(len(line)-2, 3)], []byte(" k"))
		key, flags, _ := bytes.Cut(rest, []byte(" f"))
		return textValue(b, line, key, flags, length, true)
	}
	return answer{}, 0, fmt.Errorf("load: got %.80q", line)
}

// textValue is a value of the text or meta protocol: its line, and behind it the data block.
func textValue(b, line, key, flags, length []byte, last bool) (answer, int, error) {
	n, ok := number(length)
	if !ok {
		return answer{}, 0, fmt.Errorf("load: wrong answer, its length: %.80q", line)
	}
	f, ok := number(flags)
	if !ok {
		return answer{}, 0, fmt.Errorf("load: wrong answer, its flags: %.80q", line)
	}
	total := len(line) + n + 2
	if total <= len(b) && (b[total-2] != '\r' || b[total-1] != '\n') {
		return answer{}, 0, fmt.Errorf("load: wrong answer, the end of its data block: %.80q", line)
	}
	return answer{hit: true, last: last, key: key, flags: uint32(f), length: n, tail: 2}, total, nil
}

// Of the binary protocol.
const (
	binaryHeader   = 24
	binaryRequest  = 0x80
	binaryResponse = 0x81
	binaryNoop     = 0x0a
	binaryGetKQ    = 0x0d
	binaryFlags    = 4 // bytes of a hit's extras
)

func parseBinary(b []byte) (answer, int, error) {
	if len(b) < binaryHeader {
		return answer{}, 0, nil
	}
	key, body := int(binary.BigEndian.Uint16(b[2:])), int(binary.BigEndian.Uint32(b[8:]))
	extras, status := int(b[4]), binary.BigEndian.Uint16(b[6:])
	switch {
	case b[0] == binaryResponse && b[1] == binaryNoop && status == 0 && body == 0:
		return answer{last: true}, binaryHeader, nil
	case b[0] == binaryResponse && b[1] == binaryGetKQ && status == 0 && extras == binaryFlags && key+extras <= body && body <= 2*maxValue:
		a := answer{hit: true, length: body - key - extras}
		if total := binaryHeader + body; total > len(b) {
			return a, total, nil
		}
		a.flags = binary.BigEndian.Uint32(b[binaryHeader:])
		a.key = b[binaryHeader+extras:][:key]
		return a, binaryHeader + body, nil
	}
	return answer{}, 0, fmt.Errorf("load: got %x", b[:binaryHeader])
}

// appendSet appends the set of id; lineEnd may hold noreply.
func appendSet(dst []byte, l *Load, id uint32, lineEnd string) []byte {
	dst = append(dst, "set "...)
	dst = l.Keys.Append(dst, id)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(l.Values.Flags(id)), 10)
	dst = append(dst, " 0 "...)
	dst = strconv.AppendInt(dst, int64(l.Values.Size(id)), 10)
	dst = append(dst, lineEnd...)
	dst = l.Values.Append(dst, id)
	return append(dst, "\r\n"...)
}

// number reads a decimal of 1 to 9 digits.
func number(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
