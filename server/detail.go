package server

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"swordfish/protocol"
)

// detail counts gets, sets and deletes by the keys' prefixes, what stands before the first delimiter. It is off unless
// somebody asks for it: all workers share its lock.
type detail struct {
	on        atomic.Bool
	delimiter byte

	mu sync.Mutex
	m  map[string]*prefixCounts
}

type prefixCounts struct{ gets, hits, sets, deletes uint64 }

// maxPrefixes bounds how many are told apart; later ones are not counted.
const maxPrefixes = 1 << 16

// count calls f with the counts of key's prefix, where it has one. The caller has looked at on.
func (d *detail) count(key []byte, f func(*prefixCounts)) {
	end := bytes.IndexByte(key, d.delimiter)
	if end < 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.m[string(key[:end])]
	if c == nil {
		if len(d.m) >= maxPrefixes {
			return
		}
		c = new(prefixCounts)
		if d.m == nil {
			d.m = make(map[string]*prefixCounts)
		}
		d.m[string(key[:end])] = c
	}
	f(c)
}

func (d *detail) clear() {
	d.mu.Lock()
	d.m = nil
	d.mu.Unlock()
}

// appendTo appends the counts, a line a prefix, and the end.
func (d *detail) appendTo(out []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, prefix := range slices.Sorted(maps.Keys(d.m)) {
		c := d.m[prefix]
		out = protocol.AppendPrefix(out, prefix, c.gets, c.hits, c.sets, c.deletes)
	}
	return protocol.AppendReply(out, protocol.End)
}

// countGet and its like count for stats detail.
func (w *worker) countGet(key []byte, hit bool) {
	if w.srv.detail.on.Load() {
		w.srv.detail.count(key, func(c *prefixCounts) {
			c.gets++
			if hit {
				c.hits++
			}
		})
	}
}

func (w *worker) countSet(key []byte) {
	if w.srv.detail.on.Load() {
		w.srv.detail.count(key, func(c *prefixCounts) { c.sets++ })
	}
}

func (w *worker) countDelete(key []byte) {
	if w.srv.detail.on.Load() {
		w.srv.detail.count(key, func(c *prefixCounts) { c.deletes++ })
	}
}

// appendDetail answers stats detail.
func (s *Server) appendDetail(out []byte, r *protocol.Request) []byte {
	if s.o.NoDump {
		return protocol.AppendReply(out, protocol.DetailNotAllowed)
	}
	if r.NArgs > 1 {
		switch word := string(r.Args[1]); {
		case strings.HasPrefix("on", word):
			s.detail.on.Store(true)
			return protocol.AppendReply(out, protocol.OK)
		case strings.HasPrefix("off", word):
			s.detail.on.Store(false)
			return protocol.AppendReply(out, protocol.OK)
		case strings.HasPrefix("dump", word):
			return s.detail.appendTo(out)
		}
	}
	return protocol.AppendReply(out, protocol.DetailUsage)
}

// binaryDetail answers the groups of stat that begin with detail; false: there is no such group.
func (s *Server) binaryDetail(l *lines, what string) bool {
	switch {
	case s.o.NoDump:
		return false
	case strings.HasPrefix(what, " dump"):
		l.text("detailed", string(s.detail.appendTo(nil)))
	case strings.HasPrefix(what, " on"):
		s.detail.on.Store(true)
	case strings.HasPrefix(what, " off"):
		s.detail.on.Store(false)
	default:
		return false
	}
	return true
}
