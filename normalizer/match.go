package normalizer

import (
	"math/bits"
	"strings"
)

// match is where the values of a key's parts are. It lives on the caller's stack: MaxKey fits a byte, so it is small.
type match struct {
	skip  int            // bytes of the client's prefix
	size  int            // bytes of the canonical key
	spans [MaxParts]span // by slot
}

// span is a range of the key; n is 0 for an absent part.
type span struct{ at, n uint8 }

// refusal says why a key does not match a pattern: the code, the segment it is about and, where one is, the slot.
type refusal struct {
	code  refusalCode
	at, n uint8
	slot  int8
}

type refusalCode uint8

const (
	matched       refusalCode = iota
	otherSep                  // a separator follows the literal prefix, but not this pattern's
	otherText                 // a text segment differs
	extraSegment              // a segment without "=" where none by position is left
	lateSegment               // a segment by position after a named one
	unknownName               // a name that is neither part nor alias nor dropped
	badSize                   // a value empty or over MaxPart bytes
	equalsInValue             // a value holds "="
	notInt                    // a value does not fit the class :int
	missingText               // the key ends before a text segment
	missingPart               // a part that must be there is not
	overlong                  // the canonical key would be over MaxKey bytes
)

// find returns the first route before limit in file order that matches key, with m filled in, or nil. Where a route matches
// a key both as it stands and without its client prefix, as it stands wins: this keeps canonical keys what they are.
func (t *Table) find(key []byte, limit int, m *match) *route {
	found := t.findAt(key, 0, limit, m)
	for _, prefix := range t.prefixes {
		if found != nil {
			limit = found.index
		}
		if len(key) <= len(prefix) || string(key[:len(prefix)]) != prefix {
			continue
		}
		var stripped match
		if r := t.findAt(key, len(prefix), limit, &stripped); r != nil {
			found, *m = r, stripped
		}
	}
	return found
}

// findAt looks at the key from skip on: at 0 at every route, further on at those that strip these bytes.
func (t *Table) findAt(key []byte, skip, limit int, m *match) *route {
	end := skip
	for end < len(key) && !isSeparator[key[end]] {
		end++
	}
	for _, r := range t.heads[string(key[skip:end])] {
		if r.index >= limit {
			return nil
		}
		if skip > 0 && r.prefix != string(key[:skip]) {
			continue
		}
		if r.match(key, skip, m).code == matched {
			return r
		}
	}
	return nil
}

// match holds key against r, whose literal prefix is known to stand at skip, and fills m if it matches. The key has at most
// MaxKey bytes.
func (r *route) match(key []byte, skip int, m *match) refusal {
	*m = match{skip: skip, size: r.base}
	pos := skip + len(r.literal)
	if pos < len(key) && key[pos] != r.sep {
		return refusal{code: otherSep, at: uint8(pos), n: 1}
	}
	var present uint32
	position, guess := 0, 0 // next segment by position; likeliest next name
	sawName := false
	for pos < len(key) {
		start := pos + 1
		equals, last := -1, -1 // the first "=" and the last one
		for pos = start; pos < len(key) && key[pos] != r.sep; pos++ {
			if key[pos] == '=' {
				if last = pos; equals < 0 {
					equals = pos
				}
			}
		}
		value, slot := start, 0
		if equals >= 0 {
			sawName = true
			i, known := r.lookUp(key[start:equals], guess)
			if !known {
				return segmentRefusal(unknownName, start, pos, 0)
			}
			guess = i + 1
			if slot = r.names[i].slot; slot == dropped {
				continue
			}
			if value = equals + 1; last != equals {
				return segmentRefusal(equalsInValue, value, pos, slot)
			}
		} else {
			if sawName {
				return segmentRefusal(lateSegment, start, pos, 0)
			}
			if position == len(r.fixed) {
				return segmentRefusal(extraSegment, start, pos, 0)
			}
			f := &r.fixed[position]
			position++
			if f.text != "" {
				if string(key[start:pos]) != f.text {
					return segmentRefusal(otherText, start, pos, position-1)
				}
				continue
			}
			slot = f.slot
		}
		if code := r.slots[slot].check(key[value:pos]); code != matched {
			return segmentRefusal(code, value, pos, slot)
		}
		m.spans[slot] = span{at: uint8(value), n: uint8(pos - value)}
		present |= 1 << slot
	}
	if position < r.minFixed {
		if r.fixed[position].text != "" {
			return refusal{code: missingText, slot: int8(position)}
		}
		return refusal{code: missingPart, slot: int8(r.fixed[position].slot)}
	}
	if lacks := r.required &^ present; lacks != 0 {
		return refusal{code: missingPart, slot: int8(bits.TrailingZeros32(lacks))}
	}
	for i := range r.slots {
		if n := int(m.spans[i].n); n != 0 {
			m.size += len(r.slots[i].lead) + n
		}
	}
	if m.size > MaxKey {
		return refusal{code: overlong}
	}
	return refusal{}
}

func segmentRefusal(code refusalCode, start, end, slot int) refusal {
	return refusal{code: code, at: uint8(start), n: uint8(end - start), slot: int8(slot)}
}

// lookUp finds a name in r.names. It tries guess first: in a sorted key each name is the one after the last.
func (r *route) lookUp(wire []byte, guess int) (i int, known bool) {
	if guess < len(r.names) && r.names[guess].text == string(wire) {
		return guess, true
	}
	for i := range r.names {
		if r.names[i].text == string(wire) {
			return i, true
		}
	}
	return 0, false
}

// check tells whether value, which holds no "=", fits the part.
func (s *slot) check(value []byte) refusalCode {
	if len(value) == 0 || len(value) > MaxPart {
		return badSize
	}
	if s.spec.Int {
		return checkInt(value)
	}
	return matched
}

// checkInt admits -?[0-9]{1,19}.
func checkInt(value []byte) refusalCode {
	if value[0] == '-' {
		value = value[1:]
	}
	if len(value) == 0 || len(value) > 19 {
		return notInt
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return notInt
		}
	}
	return matched
}

// appendCanonical writes the canonical key of a match.
func (r *route) appendCanonical(dst, key []byte, m *match) []byte {
	dst = append(dst, r.literal...)
	named := 0 // first slot that is not by position
	for i := range r.fixed {
		f := &r.fixed[i]
		if f.text != "" {
			dst = append(append(dst, r.sep), f.text...)
			continue
		}
		dst = r.appendPart(dst, key, m, f.slot)
		named = f.slot + 1
	}
	for i := named; i < len(r.slots); i++ {
		dst = r.appendPart(dst, key, m, i)
	}
	return dst
}

func (r *route) appendPart(dst, key []byte, m *match, i int) []byte {
	v := m.spans[i]
	if v.n == 0 {
		return dst
	}
	s := &r.slots[i]
	dst = append(dst, s.lead...)
	dst = append(dst, key[v.at:int(v.at)+int(v.n)]...)
	if s.lower {
		fold(dst[len(dst)-int(v.n):])
	}
	return dst
}

// fold makes ASCII capitals small, in place.
func fold(b []byte) {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
}

// hasCapital tells whether fold would change s.
func hasCapital(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return 'A' <= c && c <= 'Z' }) >= 0
}
