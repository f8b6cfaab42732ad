package memcache

import (
	"fmt"
	"strings"

	"swordfish/filler"
)

// maxKey is the longest key of memcached, in bytes.
const maxKey = 250

// spelling is how a peer's clients write a route's keys.
type spelling struct {
	route  *filler.Route // that it was made for
	whole  bool          // the canonical key as it is
	sep    string
	fields []field
}

// field is what stands between two separators.
type field []piece

// piece is a text, or a part, or the canonical key.
type piece struct {
	text string
	part int // index in Route.Parts, or one of the below
}

const (
	literal  = -1
	wholeKey = -2
)

// spelling returns the spelling of r's keys, made anew when the route has changed.
func (s *Source) spelling(r *filler.Route) (*spelling, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp := s.routes[r.Name]; sp != nil && sp.route == r {
		return sp, nil
	}
	sp, err := newSpelling(r, s.o.Keys[r.Name])
	if err != nil {
		return nil, err
	}
	s.routes[r.Name] = sp
	return sp, nil
}

func newSpelling(r *filler.Route, text string) (*spelling, error) {
	sp := &spelling{route: r}
	if text == "" || text == "{key}" {
		sp.whole = true
		return sp, nil
	}
	fail := func(format string, args ...any) (*spelling, error) {
		return nil, fmt.Errorf("memcache: the spelling %q of route %q %s", text, r.Name, fmt.Sprintf(format, args...))
	}
	brace := strings.IndexByte(text, '{')
	if brace < 0 {
		return fail("names no part: write {part} where its value stands")
	}
	parts := []string{text}
	if at := strings.IndexAny(text[brace:], "|:/,;&"); at >= 0 {
		sp.sep = text[brace+at : brace+at+1]
		parts = strings.Split(text, sp.sep)
	}
	for _, p := range parts {
		var f field
		for p != "" {
			before, rest, found := strings.Cut(p, "{")
			if before != "" {
				f = append(f, piece{before, literal})
			}
			if !found {
				break
			}
			name, after, closed := strings.Cut(rest, "}")
			if !closed {
				return fail("has a brace that does not close")
			}
			at := literal
			if name == "key" {
				at = wholeKey
			}
			for i, spec := range r.Parts {
				if spec.Name == name {
					at = i
				}
			}
			if at == literal {
				return fail("names {%s}, which is no part of the route's keys", name)
			}
			f = append(f, piece{part: at})
			p = after
		}
		sp.fields = append(sp.fields, f)
	}
	return sp, nil
}

// keys spells all keys of b. One that is too long for a memcached is nil.
func (sp *spelling) keys(b *filler.Batch) [][]byte {
	keys := make([][]byte, b.Len())
	for i := range keys {
		key := b.Key(i)
		if !sp.whole {
			key = sp.appendKey(nil, key, b.Parts(i))
		}
		if len(key) <= maxKey {
			keys[i] = key
		}
	}
	return keys
}

func (sp *spelling) appendKey(dst, key []byte, parts []filler.Part) []byte {
	first := true
fields:
	for _, f := range sp.fields {
		for _, p := range f {
			if p.part >= 0 && !parts[p.part].Present {
				continue fields
			}
		}
		if !first {
			dst = append(dst, sp.sep...)
		}
		first = false
		for _, p := range f {
			switch p.part {
			case literal:
				dst = append(dst, p.text...)
			case wholeKey:
				dst = append(dst, key...)
			default:
				dst = append(dst, parts[p.part].Value...)
			}
		}
	}
	return dst
}
