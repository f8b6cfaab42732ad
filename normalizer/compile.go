package normalizer

import (
	"fmt"
	"slices"
	"strings"
)

// Error is a route that does not compile. Its text names the route, the fault and the remedy.
type Error struct {
	Route  string
	Fault  string
	Remedy string
}

func (e *Error) Error() string {
	return fmt.Sprintf("normalizer: route %q: %s; %s", e.Route, e.Fault, e.Remedy)
}

// route is a compiled Route.
type route struct {
	id       uint16
	index    int // in file order
	name     string
	key      string
	prefix   string
	literal  []byte
	sep      byte
	fixed    []fixed // segments by position, in order
	minFixed int     // how many of them a key must have
	slots    []slot  // the parts in canonical order: by position, then by name
	order    []uint8 // the parts in the pattern's order: indices of slots
	names    []name  // every name that may stand left of "="; the parts' own first, in canonical order
	required uint32  // bit i: slots[i] must be present
	base     int     // bytes of every canonical key: the literal prefix and the text segments
	shadowed bool    // an earlier route might match a canonical key of this one
}

// fixed is a segment by position: text, or the part in slots[slot].
type fixed struct {
	text string
	slot int
}

type slot struct {
	spec  PartSpec
	lead  string // what stands before the value
	lower bool
}

// name is a spelling left of "=". slot is dropped for names under `drop`.
type name struct {
	text string
	slot int
}

const dropped = -1

// Compile makes a table of routes; their order is the order of matching. An error is an *Error about the first bad route.
func Compile(routes []Route) (*Table, error) {
	t := &Table{heads: map[string][]*route{}, byID: map[uint16]*route{}}
	seen := map[string]bool{}
	for i := range routes {
		src := &routes[i]
		r, f := compileRoute(src)
		switch {
		case f != nil:
		case src.Name == "":
			f = faultf("give it one", "it has no name")
		case src.ID == 0:
			f = faultf("give it another id", "its id is 0, which means no route")
		case seen[src.Name]:
			f = faultf("rename one of them", "two routes have this name")
		case t.byID[src.ID] != nil:
			f = faultf("give it another id", "its id %d is the id of route %q", src.ID, t.byID[src.ID].name)
		}
		if f != nil {
			return nil, &Error{Route: src.Name, Fault: f.what, Remedy: f.remedy}
		}
		r.index = i
		for _, earlier := range t.routes {
			r.shadowed = r.shadowed || mayShadow(earlier, r)
		}
		t.routes = append(t.routes, r)
		t.heads[string(r.literal)] = append(t.heads[string(r.literal)], r)
		t.opening.add(string(r.literal))
		if r.prefix != "" && !slices.Contains(t.prefixes, r.prefix) {
			t.prefixes = append(t.prefixes, r.prefix)
			t.opening.add(r.prefix)
		}
		t.byID[r.id] = r
		seen[r.name] = true
	}
	return t, nil
}

// mayShadow tells whether earlier could match a canonical key of r, without looking at the parts.
func mayShadow(earlier, r *route) bool {
	if string(earlier.literal) == string(r.literal) {
		return true
	}
	head := string(r.literal) + string(r.sep)
	return earlier.prefix != "" && (strings.HasPrefix(head, earlier.prefix) || strings.HasPrefix(earlier.prefix, head))
}

func compileRoute(src *Route) (*route, *fault) {
	p, f := parsePattern(src.Key)
	if f != nil {
		return nil, f
	}
	if strings.HasPrefix(src.Prefix, p.literal+string(p.sep)) {
		return nil, faultf("choose another literal prefix", "a key cannot be told from one with the client prefix %q, which begins as the key pattern does", src.Prefix)
	}
	if len(src.Prefix) >= MaxKey {
		return nil, faultf("shorten it", "the client prefix has %d bytes, and a key at most %d", len(src.Prefix), MaxKey)
	}
	r := &route{
		id: src.ID, name: src.Name, key: src.Key, prefix: src.Prefix,
		literal: []byte(p.literal), sep: p.sep, base: len(p.literal),
	}
	r.layOut(p)
	return r, r.addNormalize(src)
}

// layOut orders the parts canonically and fills the tables that match and appendCanonical read.
func (r *route) layOut(p *pattern) {
	var named []*segment
	for i := range p.segments {
		s := &p.segments[i]
		switch {
		case s.named():
			named = append(named, s)
			continue
		case s.text != "":
			r.fixed = append(r.fixed, fixed{text: s.text})
			r.base += 1 + len(s.text)
		default:
			r.fixed = append(r.fixed, fixed{slot: r.addSlot(p, s)})
		}
		if !s.part.Optional {
			r.minFixed = len(r.fixed)
		}
	}
	slices.SortFunc(named, func(a, b *segment) int { return strings.Compare(a.wire, b.wire) })
	for _, s := range named {
		r.names = append(r.names, name{text: s.wire, slot: r.addSlot(p, s)})
	}
	for _, s := range p.segments {
		if s.text == "" {
			r.order = append(r.order, uint8(r.slotOf(s.part.Name)))
		}
	}
}

func (r *route) addSlot(p *pattern, s *segment) int {
	i := len(r.slots)
	r.slots = append(r.slots, slot{spec: s.part, lead: p.lead(s)})
	if !s.part.Optional {
		r.required |= 1 << i
	}
	return i
}

// slotOf returns the index of the part in slots, or -1.
func (r *route) slotOf(part string) int {
	return slices.IndexFunc(r.slots, func(s slot) bool { return s.spec.Name == part })
}

func (r *route) addNormalize(src *Route) *fault {
	parts := strings.Join(partNames(r.slots), ", ")
	for _, part := range src.Lower {
		i := r.slotOf(part)
		if i < 0 {
			return faultf("the parts are "+parts, "lower names %q, which is no part", part)
		}
		r.slots[i].lower = true
	}
	for _, wire := range sortedKeys(src.Alias) {
		i := r.slotOf(src.Alias[wire])
		switch {
		case i < 0:
			return faultf("the parts are "+parts, "alias %s leads to %q, which is no part", wire, src.Alias[wire])
		case len(r.slots[i].lead) == 1:
			return faultf("only named parts have aliases", "alias %s leads to {%s}, a part by position", wire, src.Alias[wire])
		}
		if f := r.addName("alias", wire, i); f != nil {
			return f
		}
	}
	for _, wire := range src.Drop {
		if f := r.addName("drop", wire, dropped); f != nil {
			return f
		}
	}
	return nil
}

func (r *route) addName(setting, wire string, slot int) *fault {
	if wire == "" || strings.ContainsAny(wire, "= \t\r\n"+string(r.sep)) {
		return faultf("write a name as it stands left of \"=\" in a key", "%s names %q, which no key can hold", setting, wire)
	}
	if _, known := r.lookUp([]byte(wire), 0); known {
		return faultf("take one of them out", "%s names %s, which already has a meaning in this route", setting, wire)
	}
	r.names = append(r.names, name{text: wire, slot: slot})
	return nil
}

func partNames(slots []slot) []string {
	names := make([]string, 0, len(slots))
	for _, s := range slots {
		names = append(names, s.spec.Name)
	}
	return names
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
