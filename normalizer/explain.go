package normalizer

import (
	"fmt"
	"slices"
	"strings"
)

// Explanation tells what Append makes of a key and why.
type Explanation struct {
	Key       string
	Route     uint16 // 0: a plain key
	Name      string // of the route
	Canonical string // empty for a plain key
	Parts     []ExplainedPart
	Why       []string // plain sentences, one a step or one a route that refused
}

// ExplainedPart is one part of an explained key.
type ExplainedPart struct {
	PartSpec
	Value   string
	Present bool
}

// String writes the explanation as lines for a terminal.
func (e Explanation) String() string {
	var b strings.Builder
	if e.Route == 0 {
		fmt.Fprintf(&b, "%q is a plain key: no route loads it.\n", e.Key)
	} else {
		fmt.Fprintf(&b, "%q matches route %q.\ncanonical key: %s\n", e.Key, e.Name, e.Canonical)
		for _, p := range e.Parts {
			if p.Present {
				fmt.Fprintf(&b, "  %s = %s\n", p.Name, p.Value)
			} else {
				fmt.Fprintf(&b, "  %s is absent: NULL in the query\n", p.Name)
			}
		}
	}
	for _, why := range e.Why {
		fmt.Fprintf(&b, "- %s\n", why)
	}
	return b.String()
}

// Explain says which route key matches and what was changed on the way, or why each route that came into question refused
// it. It is for people: slow, and it allocates.
func (t *Table) Explain(key string) Explanation {
	e := Explanation{Key: key}
	if t == nil || len(t.routes) == 0 {
		e.Why = append(e.Why, "There are no routes.")
		return e
	}
	if len(key) > MaxKey {
		e.Why = append(e.Why, fmt.Sprintf("The key has %d bytes; a key has at most %d.", len(key), MaxKey))
		return e
	}
	canonical, id := t.Append(nil, []byte(key))
	e.Route = id
	limit := len(t.routes)
	if id != 0 {
		r := t.byID[id]
		limit = r.index
		e.Name, e.Canonical = r.name, string(canonical)
		e.Parts = t.explainParts(r, canonical)
		e.Why = r.explainChanges(key, e.Canonical)
	}
	candidates := 0
	for _, r := range t.routes[:limit] {
		skips := r.candidateAt(key)
		for _, skip := range skips {
			var m match
			why := r.match([]byte(key), skip, &m)
			if why.code == matched { // an earlier spelling led here and the canonical key went on to another route
				e.Why = append(e.Why, fmt.Sprintf("Route %q matches the key as written, but its canonical key belongs to an earlier route.", r.name))
			} else {
				e.Why = append(e.Why, fmt.Sprintf("Route %q refuses it: %s.", r.name, r.explainRefusal(why, key)))
			}
		}
		candidates += len(skips)
	}
	if id == 0 && candidates == 0 {
		e.Why = append(e.Why, "No route has the key's literal prefix; there are "+t.literals()+".")
	}
	return e
}

func (t *Table) explainParts(r *route, canonical []byte) []ExplainedPart {
	parts := make([]ExplainedPart, 0, len(r.order))
	for i, p := range t.Parts(nil, r.id, canonical) {
		parts = append(parts, ExplainedPart{PartSpec: r.slots[r.order[i]].spec, Value: string(p.Value), Present: p.Present})
	}
	return parts
}

// candidateAt returns the offsets in key at which r's literal prefix stands: 0, or behind its client prefix.
func (r *route) candidateAt(key string) []int {
	var skips []int
	for _, prefix := range slices.Compact([]string{"", r.prefix}) {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if end := strings.IndexAny(rest, separators); end >= 0 {
			rest = rest[:end]
		}
		if rest == string(r.literal) {
			skips = append(skips, len(prefix))
		}
	}
	return skips
}

func (t *Table) literals() string {
	var literals []string
	for _, r := range t.routes {
		l := string(r.literal) + string(r.sep)
		if !slices.Contains(literals, l) {
			literals = append(literals, l)
		}
	}
	return strings.Join(literals, "  ")
}

// explainChanges tells how key became canonical.
func (r *route) explainChanges(key, canonical string) []string {
	if key == canonical {
		return []string{"The key is canonical already."}
	}
	var why []string
	rest := key
	if cut, ok := strings.CutPrefix(key, r.prefix); ok && r.prefix != "" && !strings.HasPrefix(key, string(r.literal)+string(r.sep)) {
		why = append(why, fmt.Sprintf("The client's prefix %q is stripped.", r.prefix))
		rest = cut
	}
	var order []int // slots as they come
	for _, segment := range strings.Split(strings.TrimPrefix(rest, string(r.literal)), string(r.sep)) {
		wire, value, named := strings.Cut(segment, "=")
		i, known := r.lookUp([]byte(wire), 0)
		if !named || !known {
			continue
		}
		n := r.names[i]
		if n.slot == dropped {
			why = append(why, fmt.Sprintf("%s is dropped.", wire))
			continue
		}
		s := r.slots[n.slot]
		if own := s.lead[1 : len(s.lead)-1]; own != wire {
			why = append(why, fmt.Sprintf("%s is another name for %s.", wire, own))
		}
		if slices.Contains(order, n.slot) {
			why = append(why, fmt.Sprintf("%s comes more than once; the last one counts.", s.spec.Name))
		}
		if s.lower && hasCapital(value) {
			why = append(why, fmt.Sprintf("%s is folded to lower case.", s.spec.Name))
		}
		order = append(order, n.slot)
	}
	if !slices.IsSorted(order) {
		why = append(why, "The named parts are sorted by name.")
	}
	if len(why) == 0 {
		why = append(why, "Parts by position are folded to lower case.")
	}
	return why
}

// explainRefusal writes why as the end of a sentence.
func (r *route) explainRefusal(why refusal, key string) string {
	text := key[why.at : int(why.at)+int(why.n)]
	part := func() string { return r.slots[why.slot].spec.Name }
	switch why.code {
	case otherSep:
		return fmt.Sprintf("its separator is %q, and the key has %q after the literal prefix", r.sep, text)
	case otherText:
		return fmt.Sprintf("the key has %q where the pattern has %q", text, r.fixed[why.slot].text)
	case extraSegment:
		if text == "" {
			return "the key has an empty segment, or ends with the separator"
		}
		return fmt.Sprintf("segment %q has no place in the pattern", text)
	case lateSegment:
		return fmt.Sprintf("segment %q has no \"=\" but stands after a named part", text)
	case unknownName:
		wire, _, _ := strings.Cut(text, "=")
		return fmt.Sprintf("%q is not a part, an alias or under drop", wire)
	case badSize:
		return fmt.Sprintf("part %s has %d bytes, and 1 to %d are allowed", part(), why.n, MaxPart)
	case equalsInValue:
		return fmt.Sprintf("part %s is %q, and a part cannot hold \"=\"", part(), text)
	case notInt:
		return fmt.Sprintf("part %s is %q, which is no :int: an optional minus and 1 to 19 digits", part(), text)
	case missingText:
		return fmt.Sprintf("the key ends before %q", r.fixed[why.slot].text)
	case missingPart:
		return fmt.Sprintf("part %s is missing and not optional", part())
	case overlong:
		return fmt.Sprintf("its canonical key would be over %d bytes", MaxKey)
	}
	return "it matches"
}

// Overlaps returns one sentence for each pair of routes for which it can build a key that both match. The first of them in
// the file takes such a key.
func (t *Table) Overlaps() []string {
	if t == nil {
		return nil
	}
	var found []string
	for j, later := range t.routes {
		for _, first := range t.routes[:j] {
			if key, ok := commonKey(first, later); ok {
				found = append(found, fmt.Sprintf("routes %q and %q both match keys such as %q; %q stands first in the file and takes them",
					first.name, later.name, key, first.name))
			}
		}
	}
	return found
}

// commonKey looks for a key that both routes match. It proposes keys with as few segments as the routes allow, each value
// as plain as can be, and lets the routes themselves judge.
func commonKey(a, b *route) (string, bool) {
	for _, start := range append(a.starts(), b.starts()...) {
		for _, body := range [][2]*route{{a, b}, {b, a}} {
			key := start + body[0].sample(body[1])
			if a.takes(key) && b.takes(key) {
				return key, true
			}
		}
	}
	return "", false
}

func (r *route) starts() []string {
	if r.prefix == "" {
		return []string{string(r.literal)}
	}
	return []string{string(r.literal), r.prefix + string(r.literal)}
}

func (r *route) takes(key string) bool {
	if len(key) > MaxKey {
		return false
	}
	for _, skip := range r.candidateAt(key) {
		var m match
		if r.match([]byte(key), skip, &m).code == matched {
			return true
		}
	}
	return false
}

// sample writes the segments after the literal prefix that r and, if it can be, other ask for.
func (r *route) sample(other *route) string {
	sep := string(r.sep)
	var b strings.Builder
	for i := range max(r.minFixed, min(other.minFixed, len(r.fixed))) {
		text := r.fixed[i].text
		if text == "" && i < len(other.fixed) {
			text = other.fixed[i].text
		}
		if text == "" {
			text = "1"
		}
		b.WriteString(sep + text)
	}
	have := map[string]bool{}
	for _, side := range [][2]*route{{r, other}, {other, r}} {
		for slot := range side[0].slots {
			if side[0].required&(1<<slot) == 0 {
				continue
			}
			if wire, ok := side[0].commonName(slot, side[1]); ok && !have[wire] {
				have[wire] = true
				b.WriteString(sep + wire + "=1")
			}
		}
	}
	return b.String()
}

// commonName returns a name for r's slot that other admits too.
func (r *route) commonName(slot int, other *route) (string, bool) {
	for _, n := range r.names {
		if n.slot != slot {
			continue
		}
		if _, known := other.lookUp([]byte(n.text), 0); known {
			return n.text, true
		}
	}
	return "", false
}
