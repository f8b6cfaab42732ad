package server

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync"

	"swordfish/hasher"
	"swordfish/normalizer"
)

// Shape is how many gets missed on keys that look alike and match no route. Text has the key's literal text and the names of
// its parts, sorted, with * for each value: chr|country=*|foo=*.
type Shape struct {
	Text  string
	Count uint64 // of a frequent shape; for a rare one it may be off by as much as the rarest count of each worker
}

// shapeSlots is how many shapes a worker tells apart. A key pattern that was forgotten or misspelt is among the frequent ones.
const shapeSlots = 64

// shapes counts the most frequent shapes of keys on one worker: a space-saving sketch. A shape that is not there takes the
// place of the rarest, with its count and one. The memory is fixed.
type shapes struct {
	mu     sync.Mutex // the worker's but for the moment of a report
	n      int
	hashes [shapeSlots]uint64
	counts [shapeSlots]uint64
	sizes  [shapeSlots]uint8
	texts  [shapeSlots][normalizer.MaxKey]byte
}

// count adds a miss on key.
func (s *shapes) count(seed *hasher.Seed, key []byte) {
	var buf [normalizer.MaxKey]byte
	shape := appendShape(buf[:0], key)
	hash := seed.Key(shape)
	s.mu.Lock()
	defer s.mu.Unlock()
	rarest := 0
	for i := range s.n {
		if s.hashes[i] == hash && bytes.Equal(s.texts[i][:s.sizes[i]], shape) {
			s.counts[i]++
			return
		}
		if s.counts[i] < s.counts[rarest] {
			rarest = i
		}
	}
	if s.n < shapeSlots {
		rarest = s.n
		s.n++
	}
	s.hashes[rarest] = hash
	s.counts[rarest]++
	s.sizes[rarest] = uint8(copy(s.texts[rarest][:], shape))
}

func (s *shapes) addTo(sum map[string]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.n {
		sum[string(s.texts[i][:s.sizes[i]])] += s.counts[i]
	}
}

// Unmatched returns the most frequent shapes of keys that matched no route, most frequent first, shapeSlots at most.
func (s *Server) Unmatched() []Shape {
	sum := make(map[string]uint64)
	for _, w := range s.workers {
		w.unmatched.addTo(sum)
	}
	all := make([]Shape, 0, len(sum))
	for text, n := range sum {
		all = append(all, Shape{text, n})
	}
	slices.SortFunc(all, func(a, b Shape) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Text, b.Text))
	})
	return all[:min(len(all), shapeSlots)]
}

// separators may stand between the parts of a key; see package normalizer.
const separators = "|:/,;&"

// appendShape appends what key looks like to dst, which has room for MaxKey bytes, and stays within it. Segments by position
// come first, as in patterns.
func appendShape(dst, key []byte) []byte {
	end := bytes.IndexAny(key, separators)
	head := key
	if end >= 0 {
		head = key[:end]
	}
	most := cap(dst) - len(rest)
	literal := min(len(head), normalizer.MaxPart)
	if digit := bytes.IndexAny(head[:literal], "0123456789"); digit >= 0 { // user42 is one of many users
		literal = digit
	}
	dst = append(dst, head[:literal]...)
	if literal < len(head) {
		dst = append(dst, '*')
	}
	if end < 0 {
		return dst
	}
	sep := key[end]
	var names [normalizer.MaxParts][]byte
	n := 0
	for left, more := key[end+1:], true; more; {
		var segment []byte
		if next := bytes.IndexByte(left, sep); next >= 0 {
			segment, left = left[:next], left[next+1:]
		} else {
			segment, more = left, false
		}
		equals := bytes.IndexByte(segment, '=')
		switch {
		case equals < 0 && len(dst)+2 > most, equals >= 0 && n == len(names):
			return append(dst, rest...)
		case equals < 0:
			dst = append(dst, sep, '*')
		default:
			n = insertName(&names, n, segment[:equals])
		}
	}
	for _, name := range names[:n] {
		if len(dst)+len(name)+3 > most {
			return append(dst, rest...)
		}
		dst = append(append(append(dst, sep), name...), '=', '*')
	}
	return dst
}

// rest stands for what does not fit a shape.
const rest = "..."

// insertName puts name among the first n of names, which are sorted, unless it is there. It returns how many they are then.
func insertName(names *[normalizer.MaxParts][]byte, n int, name []byte) int {
	at := n
	for at > 0 {
		order := bytes.Compare(names[at-1], name)
		if order == 0 {
			return n
		}
		if order < 0 {
			break
		}
		at--
	}
	copy(names[at+1:n+1], names[at:n])
	names[at] = name
	return n + 1
}
