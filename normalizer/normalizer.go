// Package normalizer maps the spellings of a composite key to one canonical key: it finds the route whose pattern the key
// matches, splits the key, sorts the named parts, folds, drops and renames as the route says. It knows neither the store
// nor the source; a key that matches no pattern is a plain key and stays as the client wrote it.
//
// # Patterns
//
//	chr|country={country}|dev={dev:int}|h={h:int?}        named parts: any order, sorted by name
//	b:{geo}:{os}                                          parts by position
//	user:profile:{id:int}                                 text segments stand for themselves
//
// The text before the first of the bytes | : / , ; & is the literal prefix; that byte is the pattern's separator and the
// only one in it. Segments by position come before named ones. A part is 1 to 64 bytes without the separator and without
// "="; there is no escaping. The class :int admits -?[0-9]{1,19} and never rewrites it. A "?" makes a part optional; by
// position only the last ones may be. A canonical key has at most 250 bytes.
package normalizer

import (
	"bytes"
)

// Limits of the grammar.
const (
	MaxKey   = 250 // bytes of a key, canonical or not
	MaxPart  = 64  // bytes of a part's value
	MaxParts = 32  // parts in a pattern
)

// Route is a key pattern with its id and its settings under `normalize:`.
type Route struct {
	ID     uint16            // what Append answers; never 0
	Name   string            // for messages
	Key    string            // the pattern
	Prefix string            // a client library's own prefix; stripped where a key has it
	Lower  []string          // parts whose ASCII letters are folded to lower case
	Drop   []string          // names left of "=" that are not parts and are left out
	Alias  map[string]string // another name left of "=" -> the named part it stands for
}

// Part is the value of a part in one key. An optional part that the key leaves out is not Present.
type Part struct {
	Value   []byte
	Present bool
}

// PartSpec describes a part of a pattern.
type PartSpec struct {
	Name     string // as in {name}: the query's @name
	Int      bool   // class :int
	Optional bool
}

// Table holds the compiled routes in file order. It is immutable and safe for concurrent use; nil is a table without routes.
type Table struct {
	routes   []*route
	heads    map[string][]*route // literal prefix -> its routes in file order
	prefixes []string            // the different client prefixes of all routes
	byID     map[uint16]*route
	opening  opening // of literal and client prefixes
}

// Append finds the first route in file order that key matches, appends the canonical key to dst and returns the extended
// slice with the route's id. A plain key has route 0 and dst comes back as it was. Append keeps neither slice, allocates
// only if dst lacks room for MaxKey bytes, and is idempotent: a canonical key gives itself and the same route.
func (t *Table) Append(dst, key []byte) (out []byte, id uint16) {
	if t == nil || len(key) > MaxKey || !t.opening.may(key) {
		return dst, 0
	}
	return t.append(dst, key)
}

// append is Append for a key that a route may match.
func (t *Table) append(dst, key []byte) (out []byte, id uint16) {
	var m match
	r := t.find(key, len(t.routes), &m)
	if r == nil {
		return dst, 0
	}
	start := len(dst)
	out = r.appendCanonical(dst, key, &m)
	// Folding, dropping or stripping may have made a key that an earlier route takes. Each turn ends at an earlier route.
	for r.shadowed && !bytes.Equal(out[start:], key) {
		earlier := t.find(out[start:], r.index, &m)
		if earlier == nil {
			break
		}
		r = earlier
		var again [MaxKey]byte
		out = append(out[:start], r.appendCanonical(again[:0], out[start:], &m)...)
	}
	return out, r.id
}

// Parts appends the parts of a canonical key of that route to dst, in the pattern's order, absent optional parts included.
// The values alias canonical. A key that is not of that route appends nothing.
func (t *Table) Parts(dst []Part, id uint16, canonical []byte) []Part {
	r := t.route(id)
	if r == nil || len(canonical) > MaxKey || !bytes.HasPrefix(canonical, r.literal) {
		return dst
	}
	var m match
	if why := r.match(canonical, 0, &m); why.code != matched {
		return dst
	}
	for _, slot := range r.order {
		v := m.spans[slot]
		if v.n == 0 {
			dst = append(dst, Part{})
			continue
		}
		end := int(v.at) + int(v.n)
		dst = append(dst, Part{Value: canonical[v.at:end:end], Present: true})
	}
	return dst
}

// PartNames returns the names of the route's parts in the pattern's order, nil for an unknown id.
func (t *Table) PartNames(id uint16) []string {
	r := t.route(id)
	if r == nil {
		return nil
	}
	names := make([]string, 0, len(r.order))
	for _, slot := range r.order {
		names = append(names, r.slots[slot].spec.Name)
	}
	return names
}

// PartSpecs returns the parts of the route in the pattern's order, nil for an unknown id.
func (t *Table) PartSpecs(id uint16) []PartSpec {
	r := t.route(id)
	if r == nil {
		return nil
	}
	specs := make([]PartSpec, 0, len(r.order))
	for _, slot := range r.order {
		specs = append(specs, r.slots[slot].spec)
	}
	return specs
}

func (t *Table) route(id uint16) *route {
	if t == nil {
		return nil
	}
	return t.byID[id]
}
