package normalizer

import (
	"fmt"
	"strings"
)

// separators are the bytes that may part a key.
const separators = "|:/,;&"

// isSeparator holds the same bytes for the hot path.
var isSeparator = func() (set [256]bool) {
	for _, c := range []byte(separators) {
		set[c] = true
	}
	return set
}()

// segment is what stands between two separators of a pattern: text, {part} or wire={part}.
type segment struct {
	text string // a segment that stands for itself
	wire string // the name left of "="; empty by position
	part PartSpec
}

func (s *segment) named() bool { return s.wire != "" }

// pattern is a parsed Route.Key.
type pattern struct {
	literal  string
	sep      byte
	segments []segment // in the pattern's order
}

// fault is what is wrong with a route and what to do about it.
type fault struct{ what, remedy string }

func faultf(remedy, format string, args ...any) *fault {
	return &fault{what: fmt.Sprintf(format, args...), remedy: remedy}
}

func parsePattern(key string) (*pattern, *fault) {
	end := strings.IndexAny(key, separators+"{}")
	switch {
	case key == "":
		return nil, faultf("write one such as user:{id}", "the key pattern is empty")
	case end < 0:
		return nil, faultf("write one of | : / , ; & after the literal prefix, as in user:{id}", "the key pattern %q has no separator", key)
	case end == 0:
		return nil, faultf("begin with a text that no other kind of key begins with, as in user:{id}", "the key pattern %q has an empty literal prefix", key)
	case key[end] == '{' || key[end] == '}':
		return nil, faultf("write one of | : / , ; & between the literal prefix and the first part", "the key pattern %q has a part before its first separator", key)
	}
	p := &pattern{literal: key[:end], sep: key[end]}
	if f := checkText("literal prefix", p.literal, p.sep); f != nil {
		return nil, f
	}
	for rest := key[end:]; rest != ""; {
		n := segmentEnd(rest[1:], p.sep)
		s, f := parseSegment(rest[1:1+n], p.sep)
		if f != nil {
			return nil, f
		}
		p.segments = append(p.segments, s)
		rest = rest[1+n:]
	}
	return p, p.check(key)
}

// segmentEnd returns where the segment at the head of s ends; a separator between braces is none (":" in {id:int}).
func segmentEnd(s string, sep byte) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '{':
			depth++
		case s[i] == '}':
			depth--
		case s[i] == sep && depth <= 0:
			return i
		}
	}
	return len(s)
}

func parseSegment(s string, sep byte) (segment, *fault) {
	if s == "" {
		return segment{}, faultf("take out the extra one", "two %q stand in a row or one ends the key pattern", sep)
	}
	open := strings.IndexByte(s, '{')
	if open < 0 {
		if strings.IndexByte(s, '=') >= 0 {
			return segment{}, faultf("write name={part}", "segment %q names no part", s)
		}
		return segment{text: s}, checkText("segment", s, sep)
	}
	wire, named := strings.CutSuffix(s[:open], "=")
	if other := otherSeparator(s); other != 0 {
		return segment{}, mixedSeparators(sep, other)
	}
	if open > 0 && !named || strings.IndexByte(s, '}') != len(s)-1 || strings.Count(s, "{") != 1 {
		return segment{}, faultf("write {part} or name={part} between two separators", "segment %q is not one whole part", s)
	}
	if named {
		if wire == "" {
			return segment{}, faultf("write name={part}, or {part} for one by position", "segment %q has no name left of \"=\"", s)
		}
		if f := checkText("name", wire, sep); f != nil {
			return segment{}, f
		}
	}
	spec, f := parsePart(s[open+1 : len(s)-1])
	return segment{wire: wire, part: spec}, f
}

// otherSeparator returns a byte of separators that stands outside the braces of a segment, or 0.
func otherSeparator(segment string) byte {
	depth := 0
	for _, c := range []byte(segment) {
		switch {
		case c == '{':
			depth++
		case c == '}':
			depth--
		case depth == 0 && isSeparator[c]:
			return c
		}
	}
	return 0
}

func mixedSeparators(sep, other byte) *fault {
	return faultf("use one separator throughout", "the key pattern mixes the separators %q and %q", sep, other)
}

// parsePart reads what stands between the braces: name, name?, name:int or name:int?.
func parsePart(s string) (PartSpec, *fault) {
	body, optional := strings.CutSuffix(s, "?")
	name, class, classed := strings.Cut(body, ":")
	spec := PartSpec{Name: name, Int: classed, Optional: optional}
	switch {
	case strings.HasSuffix(name, "?"):
		return spec, faultf(fmt.Sprintf("write {%s:%s?}", strings.TrimSuffix(name, "?"), class), "part {%s} has its ? before the class", s)
	case classed && class != "int":
		return spec, faultf("the only class is :int", "part {%s} has the unknown class %q", s, class)
	case !isIdentifier(name):
		return spec, faultf("use letters, digits and _, first a letter, since the query says @name", "part {%s} has no usable name", s)
	case name == "keys":
		return spec, faultf("rename it: in a query @keys are whole keys", "a part is named keys")
	}
	return spec, nil
}

func isIdentifier(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// checkText refuses what a literal prefix, a text segment or a name left of "=" cannot hold in a pattern with that separator.
func checkText(kind, s string, sep byte) *fault {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isSeparator[c]:
			return mixedSeparators(sep, c)
		case c <= ' ' || c == 0x7f:
			return faultf("take it out: memcached keys cannot hold it", "%s %q holds a space or control character", kind, s)
		case c == '=' || c == '{' || c == '}':
			return faultf("take it out", "%s %q holds %q", kind, s, c)
		}
	}
	if len(s) > MaxPart {
		return faultf(fmt.Sprintf("shorten it to %d", MaxPart), "%s %q has %d bytes", kind, s, len(s))
	}
	return nil
}

// check holds the segments against one another.
func (p *pattern) check(key string) *fault {
	parts, wires := map[string]bool{}, map[string]bool{}
	var named, optional string // the last of its kind so far
	shortest := len(p.literal)
	for _, s := range p.segments {
		if s.text == "" {
			if parts[s.part.Name] {
				return faultf("give each part its own name", "two parts are named %s", s.part.Name)
			}
			parts[s.part.Name] = true
		}
		if s.named() {
			if wires[s.wire] {
				return faultf("give each its own name", "two parts have the name %s left of \"=\"", s.wire)
			}
			wires[s.wire] = true
			named = s.wire
		} else if named != "" {
			return faultf("put segments by position first, named parts after them", "segment %s stands after the named part %s", s.source(), named)
		} else if optional != "" && !s.part.Optional {
			return faultf("by position only the last parts may be optional", "segment %s stands after the optional part %s", s.source(), optional)
		} else if s.part.Optional {
			optional = s.part.Name
		}
		if !s.part.Optional {
			shortest += len(p.lead(&s)) + len(s.text)
			if s.text == "" {
				shortest++
			}
		}
	}
	switch {
	case len(parts) == 0:
		return faultf("name at least one, as in user:{id}", "the key pattern %q has no part", key)
	case len(parts) > MaxParts:
		return faultf(fmt.Sprintf("at most %d are possible", MaxParts), "the key pattern has %d parts", len(parts))
	case shortest > MaxKey:
		return faultf("shorten its names", "every key of the pattern is over %d bytes", MaxKey)
	}
	return nil
}

// lead is what stands before the segment's value in a key: the separator and, for a named part, its name and "=".
func (p *pattern) lead(s *segment) string {
	if s.named() {
		return string(p.sep) + s.wire + "="
	}
	return string(p.sep)
}

// source writes a segment by position as the pattern does, for messages.
func (s *segment) source() string {
	if s.text != "" {
		return s.text
	}
	return "{" + s.part.Name + "}"
}
