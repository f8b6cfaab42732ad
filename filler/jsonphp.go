package filler

import (
	"encoding/json"
	"slices"
	"strconv"
)

// jsonDepth is the deepest nesting that is turned into PHP arrays: PHP's own limit for json_decode.
const jsonDepth = 512

// jsonScanner turns a JSON text into PHP's serialize format in one pass. Keys keep their order; objects and lists both
// become arrays, as with json_decode's assoc. Whatever is not JSON ends in errEncode, never in a panic.
type jsonScanner struct {
	in    []byte
	pos   int
	depth int
}

// document converts the whole text.
func (s *jsonScanner) document(dst []byte) ([]byte, error) {
	dst, err := s.value(dst)
	if err != nil {
		return dst, err
	}
	s.space()
	if s.pos != len(s.in) {
		return dst, errEncode
	}
	return dst, nil
}

// item converts the text into what php-memcached would store for it: a scalar plainly, anything else serialized.
func (s *jsonScanner) item(dst []byte) ([]byte, uint32, error) {
	start := len(dst)
	dst, err := s.document(dst)
	if err != nil {
		return dst, 0, err
	}
	// The scalar's own text is inside its serialized form: cut off what is around it.
	out := dst[start:]
	body := func(head, tail int) []byte { return append(dst[:start], out[head:len(out)-tail]...) }
	switch out[0] {
	case 's':
		head := slices.Index(out, '"') + 1
		return body(head, 2), phpString, nil
	case 'i':
		return body(2, 1), phpInt, nil
	case 'd':
		f, _ := strconv.ParseFloat(string(out[2:len(out)-1]), 64) // we wrote it
		return appendPHPFloatItem(dst[:start], f), phpFloat, nil
	case 'b':
		if out[2] == '0' {
			return dst[:start], phpBool, nil
		}
		return body(2, 1), phpBool, nil
	default:
		return dst, phpSerialized, nil
	}
}

func (s *jsonScanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// next skips space and returns the byte there, 0 at the end.
func (s *jsonScanner) next() byte {
	s.space()
	if s.pos == len(s.in) {
		return 0
	}
	return s.in[s.pos]
}

func (s *jsonScanner) value(dst []byte) ([]byte, error) {
	switch c := s.next(); c {
	case '{':
		return s.array(dst, '}')
	case '[':
		return s.array(dst, ']')
	case '"':
		str, err := s.str()
		if err != nil {
			return dst, err
		}
		return appendPHPString(dst, str), nil
	case 't':
		return appendPHPBool(dst, true), s.word("true")
	case 'f':
		return appendPHPBool(dst, false), s.word("false")
	case 'n':
		return append(dst, "N;"...), s.word("null")
	default:
		if c == '-' || (c >= '0' && c <= '9') {
			return s.number(dst)
		}
		return dst, errEncode
	}
}

func (s *jsonScanner) word(w string) error {
	if len(s.in)-s.pos < len(w) || string(s.in[s.pos:s.pos+len(w)]) != w {
		return errEncode
	}
	s.pos += len(w)
	return nil
}

// array converts an object or a list up to its end byte. The count stands before the elements but is known after them, so
// the head is put in front at last.
func (s *jsonScanner) array(dst []byte, end byte) ([]byte, error) {
	if s.depth++; s.depth > jsonDepth {
		return dst, errEncode
	}
	defer func() { s.depth-- }()
	s.pos++
	start, n := len(dst), int64(0)
	var err error
	if s.next() == end {
		s.pos++
		return append(dst, "a:0:{}"...), nil
	}
	for {
		if end == '}' {
			if s.next() != '"' {
				return dst, errEncode
			}
			key, err := s.str()
			if err != nil {
				return dst, err
			}
			dst = appendPHPKey(dst, key)
			if s.next() != ':' {
				return dst, errEncode
			}
			s.pos++
		} else {
			dst = appendPHPInt(dst, n)
		}
		if dst, err = s.value(dst); err != nil {
			return dst, err
		}
		n++
		switch s.next() {
		case ',':
			s.pos++
		case end:
			s.pos++
			var buf [32]byte
			head := append(buf[:0], "a:"...)
			head = strconv.AppendInt(head, n, 10)
			head = append(head, ":{"...)
			dst = slices.Insert(dst, start, head...)
			return append(dst, '}'), nil
		default:
			return dst, errEncode
		}
	}
}

// str reads a string and returns it without quotes and escapes. It aliases the input where there are no escapes.
func (s *jsonScanner) str() ([]byte, error) {
	start := s.pos
	escaped := false
	for i := start + 1; i < len(s.in); i++ {
		switch c := s.in[i]; {
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			return nil, errEncode
		case c == '"':
			s.pos = i + 1
			if !escaped {
				return s.in[start+1 : i], nil
			}
			var out string
			if err := json.Unmarshal(s.in[start:s.pos], &out); err != nil {
				return nil, errEncode
			}
			return []byte(out), nil
		}
	}
	return nil, errEncode
}

// number reads a number: an int where PHP has one, else a float, also for ints beyond 64 bits.
func (s *jsonScanner) number(dst []byte) ([]byte, error) {
	start, isInt := s.pos, true
loop:
	for s.pos < len(s.in) {
		switch c := s.in[s.pos]; {
		case c >= '0' && c <= '9', c == '-':
		case c == '.', c == 'e', c == 'E', c == '+':
			isInt = false
		default:
			break loop
		}
		s.pos++
	}
	text := s.in[start:s.pos]
	if !json.Valid(text) {
		return dst, errEncode
	}
	if isInt {
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return appendPHPInt(dst, n), nil
		}
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil && f == 0 {
		return dst, errEncode
	}
	return appendPHPFloat(dst, f), nil
}
