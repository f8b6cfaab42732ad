package protocol

import "bytes"

// A meta command is a two-letter word, a key, for ms the length of the value, and flags: single letters, some with an
// argument behind them without a blank, none of them twice. What a flag asks for is collected in a Choice; the answer repeats
// those that return something in the order in which they came.

// maxMetaWords is how many words a meta command may have, its own included.
const maxMetaWords = 20

// maxOpaque is the longest O flag, its letter included.
const maxOpaque = 32

// Choice is what the flags of a meta command ask for. Fields of the Request hold the rest: Flags (F), Exptime (T), Unique
// (C), Delta (D), Initial (J), Vivify (N) and Quiet (q). M is in the Verb.
type Choice struct {
	Words     []byte // the flags as they came, for the answer
	BinaryKey bool   // b: Key came base64-coded; here it is decoded

	Value      bool // v
	NoBump     bool // u
	Access     bool // l: the last access is to be told
	WantCAS    bool // c
	Touch      bool // T: Exptime is given
	Recache    bool // R
	Compare    bool // C: Unique is given
	Invalidate bool // I
	Drop       bool // x

	VivifyExptime  int64  // N's
	CreatedExptime int64  // what an item made by N has in the end: N's or T's, whichever came last
	RecacheExptime int64  // R's
	RecacheTouched bool   // R came behind T
	NewUnique      uint64 // E: the CAS that the item is to get; 0: none was given
}

// metaVerb returns the command with that second letter, Refused if there is none.
func metaVerb(letter byte) Verb {
	switch letter {
	case 'n':
		return Noop
	case 'g':
		return Get
	case 's':
		return Set
	case 'd':
		return Delete
	case 'a':
		return Incr
	case 'e':
		return Debug
	}
	return Refused
}

// parseMeta reads a meta command; verb is metaVerb's. The value of ms is behind the line, which with its newline is
// buf[:head].
func (p *Parser) parseMeta(verb Verb, line, buf []byte, head int) (int, Status) {
	r := &p.Request
	r.Form, r.Verb = Meta, verb
	if verb == Noop {
		return head, Ready
	}
	p.split(line)
	first := 2 // flag
	if verb == Set {
		first = 3
	}
	if p.nwords < first {
		return head, p.refuse(BadFormat)
	}
	for i := first; i < p.nwords; i++ {
		if c := line[p.words[i].from]; (c < 'A' || c > 'z') && (c < '0' || c > '9') {
			return head, p.refuse(BadFormat)
		}
	}
	r.Key = p.word(line, 1)
	if verb == Debug {
		return head, p.parseDebug(line)
	}
	block := int64(0)
	if verb == Set {
		length, ok := strictInt32(p.word(line, 2))
		if !ok || length < 0 || length > maxLength {
			return head, p.refuse(BadFormat)
		}
		block = length + 2
	}
	r.Quiet, r.Vivify = false, false
	r.Flags, r.Exptime, r.Unique, r.Initial, r.Delta = 0, 0, 0, 0, 1
	mode, why, ok := p.metaFlags(line, first)
	if ok {
		why, ok = p.metaMode(mode)
	} else if verb == Incr {
		why = BadFlags
	}
	if !ok {
		p.swallow = block
		return head, p.refuse(why)
	}
	if verb == Set {
		return p.metaValue(line, buf, head, block)
	}
	if p.longOpaque(line, first) {
		return head, p.refuse(OpaqueTooLong)
	}
	return head, Ready
}

// parsePlainGet reads an mg that has one key and, each behind one blank, flags that are one letter of a get and nothing more: what
// most clients send. False leaves the line to parseMeta, which says the same of it and knows all others.
func (p *Parser) parsePlainGet(line []byte) bool {
	const first = len("mg ")
	end := bytes.IndexByte(line[first:], ' ')
	if end <= 0 || end > MaxKey {
		return false
	}
	words := line[first+end:]
	if len(words)%2 != 0 || len(words) > 2*maxMetaWords-4 {
		return false
	}
	r := &p.Request
	m := &r.Meta
	*m = Choice{}
	m.Words = words[1:]
	quiet := false
	seen := uint32(0)
	for i := 0; i < len(words); i += 2 {
		c := words[i+1]
		if words[i] != ' ' || c < 'a' || c > 'z' || seen&(1<<(c-'a')) != 0 {
			return false
		}
		seen |= 1 << (c - 'a')
		if c == 'q' {
			quiet = true
		} else if !m.ask(c) {
			return false
		}
	}
	r.Form, r.Verb, r.Quiet, r.Vivify = Meta, Get, quiet, false
	r.Flags, r.Exptime, r.Unique, r.Initial, r.Delta = 0, 0, 0, 0, 1
	r.Key = line[first : first+end : first+end]
	return true
}

// ask notes a flag by which a client asks for something of the item; false: it is none of those.
func (m *Choice) ask(flag byte) bool {
	switch flag {
	case 'v':
		m.Value = true
	case 'u':
		m.NoBump = true
	case 'l':
		m.Access = true
	case 'c':
		m.WantCAS = true
	case 'f', 'h', 'k', 's', 't': // the answer finds them in Words
	default:
		return false
	}
	return true
}

// metaFlags reads the flags from word first on into the request. mode is the letter behind M, 0 without M. Of several
// mistakes memcached names the last one, unless the flags themselves are wrong.
func (p *Parser) metaFlags(line []byte, first int) (mode byte, why Reply, ok bool) {
	r := &p.Request
	m := &r.Meta
	*m = Choice{}
	why, ok = BadFormat, true
	if len(r.Key) > MaxKey {
		return 0, BadFormat, false
	}
	if p.nwords > maxMetaWords {
		return 0, TooManyFlags, false
	}
	if p.nwords > first {
		m.Words = line[p.words[first].from:]
	}
	var seen [2]uint64 // a bit for each character
	for i := first; i < p.nwords; i++ {
		word := p.word(line, i)
		c, arg := word[0], word[1:]
		if bit := uint64(1) << (c & 63); seen[c>>6&1]&bit != 0 {
			return 0, DuplicateFlag, false
		} else {
			seen[c>>6&1] |= bit
		}
		good, wrong := true, BadToken
		switch c {
		case 'b':
			m.BinaryKey = true
			r.Key, good = decodeKey(p.decoded[:0], r.Key)
			wrong = BadKey
		case 'N':
			r.Vivify = true
			m.VivifyExptime, good = metaExptime(arg)
			m.CreatedExptime = m.VivifyExptime
		case 'T':
			m.Touch = true
			r.Exptime, good = metaExptime(arg)
			m.CreatedExptime = r.Exptime
		case 'R':
			m.Recache, m.RecacheTouched = true, m.Touch
			m.RecacheExptime, good = metaExptime(arg)
		case 'F':
			r.Flags, good = strictUint32(arg)
			good = good && len(arg) > 0
			wrong = why
		case 'C':
			m.Compare = true
			r.Unique, good = metaNumber(arg)
		case 'E':
			m.NewUnique, good = metaNumber(arg)
		case 'J':
			r.Initial, good = metaNumber(arg)
			wrong = BadInitial
		case 'D':
			r.Delta, good = metaNumber(arg)
			wrong = BadDeltaValue
		case 'M':
			mode = ' ' // what memcached finds behind a lone M is the blank or the line end, and no mode
			if len(arg) > 0 {
				mode = arg[0]
			}
		case 'q':
			r.Quiet = true
		case 'I':
			m.Invalidate = true
		case 'x':
			m.Drop = true
		case 'O', 'P', 'L':
		default:
			if !m.ask(c) {
				return 0, InvalidFlag, false
			}
		}
		if !good {
			why, ok = wrong, false
		}
	}
	return mode, why, ok
}

func metaExptime(arg []byte) (int64, bool) {
	v, ok := strictInt32(arg)
	return v, ok && len(arg) > 0
}

func metaNumber(arg []byte) (uint64, bool) {
	v, ok := strictUint64(arg)
	return v, ok && len(arg) > 0
}

// metaMode makes the verb what M says.
func (p *Parser) metaMode(mode byte) (why Reply, ok bool) {
	r := &p.Request
	switch r.Verb {
	case Set:
		switch mode {
		case 0, 'S':
		case 'E':
			r.Verb = Add
		case 'A':
			r.Verb = Append
		case 'P':
			r.Verb = Prepend
		case 'R':
			r.Verb = Replace
		default:
			return BadSetMode, false
		}
		if r.Meta.Compare && (r.Verb == Set || r.Verb == Replace) {
			r.Verb = CAS
		}
		if r.Vivify && (r.Verb == Append || r.Verb == Prepend) {
			r.Exptime = r.Meta.VivifyExptime
		}
	case Incr:
		switch mode {
		case 0, 'I', '+':
		case 'D', '-':
			r.Verb = Decr
		default:
			return BadDeltaMode, false
		}
	}
	return 0, true
}

// metaValue takes the value of ms, block bytes with its line end.
func (p *Parser) metaValue(line, buf []byte, head int, block int64) (int, Status) {
	r := &p.Request
	if p.TooLarge != nil && p.TooLarge(len(r.Key), int(block-2)) {
		p.swallow = block
		r.TooLarge, r.Value = true, nil
		return head, Ready
	}
	if p.longOpaque(line, 3) {
		p.swallow = block
		return head, p.refuse(OpaqueTooLong)
	}
	return p.takeValue(buf, head, int(block))
}

func (p *Parser) longOpaque(line []byte, first int) bool {
	for i := first; i < p.nwords; i++ {
		if word := p.word(line, i); word[0] == 'O' && len(word) > maxOpaque {
			return true
		}
	}
	return false
}

// parseDebug reads me <key> [b]. memcached decodes a base64-coded key only where another word follows the b.
func (p *Parser) parseDebug(line []byte) Status {
	r := &p.Request
	r.Meta, r.Quiet = Choice{}, false
	if len(r.Key) > MaxKey {
		return p.refuse(BadFormat)
	}
	if p.nwords > 3 && string(p.word(line, 2)) == "b" {
		key, ok := decodeKey(p.decoded[:0], r.Key)
		if !ok {
			return p.refuse(BadFormat)
		}
		r.Key, r.Meta.BinaryKey = key, true
	}
	return Ready
}

// decodeKey appends the decoded key to dst, which must have room for it. As memcached does it passes over what does not
// belong to the alphabet and stops at the first padding.
func decodeKey(dst, key []byte) ([]byte, bool) {
	count := 0
	for _, c := range key {
		if _, ok := sextet(c); ok {
			count++
		}
	}
	if count == 0 || count%4 != 0 {
		return key, false
	}
	var block uint32
	n, padding := 0, 0
	for _, c := range key {
		six, ok := sextet(c)
		if !ok {
			continue
		}
		if c == '=' {
			padding++
		}
		block = block<<6 | uint32(six)
		if n++; n%4 != 0 {
			continue
		}
		if padding > 2 {
			return key, false
		}
		dst = append(dst, byte(block>>16), byte(block>>8), byte(block))
		if padding > 0 {
			return dst[:len(dst)-padding], true
		}
	}
	return dst, true
}

// sextet is the value of a character of base64, of which the padding is one here.
func sextet(c byte) (byte, bool) {
	switch {
	case c >= 'A' && c <= 'Z':
		return c - 'A', true
	case c >= 'a' && c <= 'z':
		return c - 'a' + 26, true
	case c >= '0' && c <= '9':
		return c - '0' + 52, true
	case c == '+':
		return 62, true
	case c == '/':
		return 63, true
	case c == '=':
		return 0, true
	}
	return 0, false
}
