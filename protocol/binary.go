package protocol

import "encoding/binary"

// A binary request, big-endian:
//
//	magic         1   0x80
//	opcode        1
//	key length    2   250 at most
//	extras length 1
//	data type     1   not looked at
//	vbucket       2   not looked at
//	body length   4   of extras, key and value together
//	opaque        4   given back with the answer
//	CAS           8   0: none
//	extras, key, value
//
// An answer has the same header with magic 0x81 and the status in the place of the vbucket.
const (
	binaryRequest = 0x80
	binaryAnswer  = 0x81
	binaryHead    = 24
	binaryMaxBody = 1 << 30 // a longer one ends the connection
)

// operation is what an opcode asks for.
type operation struct {
	verb  Verb // Refused: there is no such opcode
	quiet bool
}

// Opcodes that need more than their operation.
const (
	opGetK  = 0x0c
	opGetKQ = 0x0d
	opGatK  = 0x23
	opGatKQ = 0x24

	opSaslList = 0x20
	opSaslAuth = 0x21
	opSaslStep = 0x22
)

var operations = [256]operation{
	0x00: {Get, false}, 0x09: {Get, true}, opGetK: {Get, false}, opGetKQ: {Get, true},
	0x01: {Set, false}, 0x11: {Set, true},
	0x02: {Add, false}, 0x12: {Add, true},
	0x03: {Replace, false}, 0x13: {Replace, true},
	0x04: {Delete, false}, 0x14: {Delete, true},
	0x05: {Incr, false}, 0x15: {Incr, true},
	0x06: {Decr, false}, 0x16: {Decr, true},
	0x07: {Quit, false}, 0x17: {Quit, true},
	0x08: {FlushAll, false}, 0x18: {FlushAll, true},
	0x0a: {Noop, false},
	0x0b: {Version, false},
	0x0e: {Append, false}, 0x19: {Append, true},
	0x0f: {Prepend, false}, 0x1a: {Prepend, true},
	0x10:       {Stats, false},
	0x1c:       {Touch, false},
	opSaslList: {SASLList, false}, opSaslAuth: {SASLAuth, false}, opSaslStep: {SASLStep, false},
	0x1d: {Gat, false}, 0x1e: {Gat, true}, opGatK: {Gat, false}, opGatKQ: {Gat, true},
}

// noVivify is the expiry of incr and decr that leaves an absent key absent.
const noVivify = 1<<32 - 1

// parseBinary reads one binary request. What a request's lengths do not account for is left in the stream, where it ends
// the connection unless it looks like a request.
func (p *Parser) parseBinary(buf []byte) (int, Status) {
	if len(buf) < p.Need {
		return 0, NeedMore
	}
	p.Need = 0
	if buf[0] != binaryRequest {
		return 0, Hangup
	}
	if len(buf) < binaryHead {
		return 0, NeedMore
	}
	key, extras := int(binary.BigEndian.Uint16(buf[2:])), int(buf[4])
	body := int64(binary.BigEndian.Uint32(buf[8:]))
	r := &p.Request
	r.Opcode, r.Opaque, r.Unique = buf[1], binary.BigEndian.Uint32(buf[12:]), binary.BigEndian.Uint64(buf[16:])
	op := operations[r.Opcode]
	r.Quiet, r.NoReply, r.More, r.TooLarge = op.quiet, false, false, false
	switch {
	case int64(key+extras) > body:
		return binaryHead, p.refuseBinary(CodeUnknown)
	case body > binaryMaxBody:
		return binaryHead, p.refuseBinary(CodeInvalid)
	case p.Locked && !beforeAuth(op.verb):
		return binaryHead, p.refuseBinary(CodeRefused)
	case key > MaxKey:
		return binaryHead, p.refuseBinary(CodeInvalid)
	case len(buf) < binaryHead+extras+key:
		return 0, NeedMore
	}
	head := binaryHead + extras + key
	ext := buf[binaryHead : binaryHead+extras]
	r.Verb, r.Key, r.Value = op.verb, buf[head-key:head:head], nil
	value := body - int64(key+extras)
	ok := true
	switch op.verb {
	case Get:
		ok = extras == 0 && key > 0 && value == 0
	case Gat, Touch:
		if ok = extras == 4 && key > 0; ok {
			r.Exptime = int64(binary.BigEndian.Uint32(ext))
		}
	case Set, Add, Replace:
		if ok = extras == 8 && key > 0; ok {
			r.Flags, r.Exptime = binary.BigEndian.Uint32(ext), int64(binary.BigEndian.Uint32(ext[4:]))
			return p.binaryValue(buf, head, int(value))
		}
	case Append, Prepend:
		if ok = extras == 0 && key > 0; ok {
			r.Flags, r.Exptime = 0, 0
			return p.binaryValue(buf, head, int(value))
		}
	case Delete:
		ok = extras == 0 && key > 0 && value == 0
	case Incr, Decr:
		if ok = extras == 20 && key > 0 && value == 0; ok {
			r.Delta, r.Initial = binary.BigEndian.Uint64(ext), binary.BigEndian.Uint64(ext[8:])
			r.Exptime = int64(binary.BigEndian.Uint32(ext[16:]))
			r.Vivify = r.Exptime != noVivify
		}
	case FlushAll:
		ok = key == 0 && value == 0 && (extras == 0 || extras == 4)
		r.Exptime = 0
		if ok && extras == 4 {
			r.Exptime = int64(binary.BigEndian.Uint32(ext))
		}
	case Stats:
		ok = extras == 0
	case Version, Noop, Quit:
		ok = body == 0
	case SASLList:
		ok = body == 0
	case SASLAuth, SASLStep:
		if ok = extras == 0 && key > 0; ok && p.SASL {
			return p.saslMessage(buf, head, int(value))
		}
	default:
		return head, p.passOver(value, CodeUnknown)
	}
	switch {
	case !ok:
		return head, p.refuseBinary(CodeInvalid)
	case isSASL(op.verb) && !p.SASL: // memcached looks at their shape first, too
		return head, p.passOver(value, CodeUnknown)
	}
	return head, Ready
}

// binaryValue takes the value of n bytes behind the key, which ends at head.
func (p *Parser) binaryValue(buf []byte, head, n int) (int, Status) {
	r := &p.Request
	if p.TooLarge != nil && p.TooLarge(len(r.Key), n) {
		p.swallow = int64(n)
		r.TooLarge = true
		return head, Ready
	}
	whole := head + n
	if len(buf) < whole {
		p.Need = whole
		return 0, NeedMore
	}
	r.Value = buf[head:whole:whole]
	p.whole = whole
	return whole, Ready
}

// passOver makes the request one that is only answered, and throws its value away.
func (p *Parser) passOver(value int64, why Code) Status {
	p.swallow = value
	p.Request.Verb, p.Request.Code = Refused, why
	return Ready
}

// refuseBinary makes the request one that is only answered, and the last one: behind a wrong length nothing makes sense.
func (p *Parser) refuseBinary(why Code) Status {
	p.ended = true
	p.Request.Verb, p.Request.Code = Refused, why
	return Ready
}

// Code is the status in a binary answer.
type Code uint16

const (
	CodeOK         Code = 0x00
	CodeNotFound   Code = 0x01
	CodeExists     Code = 0x02
	CodeTooLarge   Code = 0x03
	CodeInvalid    Code = 0x04
	CodeNotStored  Code = 0x05
	CodeNonNumeric Code = 0x06
	CodeRefused    Code = 0x20 // also: not allowed
	CodeContinue   Code = 0x21 // SASL: say more
	CodeUnknown    Code = 0x81
	CodeNoMemory   Code = 0x82
)

// text is the value of an error answer.
func (c Code) text() string {
	switch c {
	case CodeNotFound:
		return "Not found"
	case CodeExists:
		return "Data exists for key."
	case CodeTooLarge:
		return "Too large."
	case CodeInvalid:
		return "Invalid arguments"
	case CodeNotStored:
		return "Not stored."
	case CodeNonNumeric:
		return "Non-numeric server-side value for incr or decr"
	case CodeRefused:
		return "Auth failure."
	case CodeUnknown:
		return "Unknown command"
	case CodeNoMemory:
		return "Out of memory"
	}
	return ""
}

// appendBinaryHead appends the header of an answer to r with a body of the given lengths.
func appendBinaryHead(dst []byte, r *Request, code Code, extras, key, value int, unique uint64) []byte {
	dst = append(dst, binaryAnswer, r.Opcode)
	dst = binary.BigEndian.AppendUint16(dst, uint16(key))
	dst = append(dst, byte(extras), 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	dst = binary.BigEndian.AppendUint32(dst, uint32(extras+key+value))
	dst = binary.BigEndian.AppendUint32(dst, r.Opaque)
	return binary.BigEndian.AppendUint64(dst, unique)
}

// AppendBinaryError appends an error, which quiet requests get as well.
func AppendBinaryError(dst []byte, r *Request, code Code) []byte {
	text := code.text()
	dst = appendBinaryHead(dst, r, code, 0, 0, len(text), 0)
	return append(dst, text...)
}

// AppendBinaryOK appends the answer without a body, nothing to a quiet request.
func AppendBinaryOK(dst []byte, r *Request, unique uint64) []byte {
	if r.Quiet {
		return dst
	}
	return appendBinaryHead(dst, r, CodeOK, 0, 0, 0, unique)
}

// AppendBinaryText appends an answer whose body is text.
func AppendBinaryText(dst []byte, r *Request, text string) []byte {
	dst = appendBinaryHead(dst, r, CodeOK, 0, 0, len(text), 0)
	return append(dst, text...)
}

// AppendBinaryNumber appends the answer of incr and decr, nothing to a quiet request.
func AppendBinaryNumber(dst []byte, r *Request, n, unique uint64) []byte {
	if r.Quiet {
		return dst
	}
	dst = appendBinaryHead(dst, r, CodeOK, 0, 0, 8, unique)
	return binary.BigEndian.AppendUint64(dst, n)
}

// AppendBinaryValue appends what announces a value of n bytes to get, gat and touch, quiet or not. The value follows, but
// for touch, which has none.
func AppendBinaryValue(dst []byte, r *Request, flags uint32, n int, unique uint64) []byte {
	key := r.answerKey()
	if r.Verb == Touch {
		n = 0
	}
	dst = appendBinaryHead(dst, r, CodeOK, 4, len(key), n, unique)
	dst = binary.BigEndian.AppendUint32(dst, flags)
	return append(dst, key...)
}

// AppendBinaryMiss appends that get, gat or touch found nothing, and nothing to a quiet request.
func AppendBinaryMiss(dst []byte, r *Request) []byte {
	if r.Quiet {
		return dst
	}
	key := r.answerKey()
	if key == nil {
		return AppendBinaryError(dst, r, CodeNotFound)
	}
	dst = appendBinaryHead(dst, r, CodeNotFound, 0, len(key), 0, 0)
	return append(dst, key...)
}

// answerKey is the key where the answer repeats it.
func (r *Request) answerKey() []byte {
	switch r.Opcode {
	case opGetK, opGetKQ, opGatK, opGatKQ:
		return r.Key
	}
	return nil
}

// AppendBinaryStat appends one statistic; an empty name ends them.
func AppendBinaryStat(dst []byte, r *Request, name, value string) []byte {
	dst = appendBinaryHead(dst, r, CodeOK, 0, len(name), len(value), 0)
	dst = append(dst, name...)
	return append(dst, value...)
}

// PeekGet returns the key and the length of the request that in begins with where it is a whole and sound binary get of
// whatever kind, so that its key may be looked at before its turn. Else n is 0.
func PeekGet(in []byte) (key []byte, n int) {
	if len(in) < binaryHead || in[0] != binaryRequest || operations[in[1]].verb != Get || in[4] != 0 {
		return nil, 0
	}
	length := int(binary.BigEndian.Uint16(in[2:]))
	n = binaryHead + length
	if length == 0 || length > MaxKey || int(binary.BigEndian.Uint32(in[8:])) != length || len(in) < n {
		return nil, 0
	}
	return in[binaryHead:n:n], n
}
