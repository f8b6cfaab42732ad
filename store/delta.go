package store

import (
	"bytes"
	"strconv"
)

// Delta runs d and returns what it leaves with Stored, or NotFound, NonNumeric, Exists, NoMemory, Ignored.
func (s *Store) Delta(d *Delta) (Number, Status) {
	if rs := s.route(d.Route); rs != nil && rs.IgnoreSets && d.Vivify {
		return Number{}, Ignored
	}
	var r room
	for try := 0; ; try++ {
		booked, _ := s.book(s.route(d.Route), maxHead/4+len(d.Key), new(room)) // a number takes the place of one: it is not refused
		n, st := s.tryDelta(d)
		booked.end()
		switch {
		case st == NotFound && d.Vivify:
			if n, st = s.vivifyNumber(d); st != NotStored {
				return n, st
			}
			// Somebody else made it meanwhile.
		case st != NoMemory || try == 3 || !r.make(s, 2*int64(s.z.segment)):
			return n, st
		}
	}
}

// vivifyNumber stores a Delta's initial value; NotStored when the key is there after all.
func (s *Store) vivifyNumber(d *Delta) (Number, Status) {
	st, cas := s.Write(&Write{
		Op: Add, Key: d.Key, Hash: d.Hash, Route: d.Route, Now: d.Now, Value: strconv.AppendUint(d.digits[:0], d.Initial, 10),
		Deadline: d.Deadline, WantCAS: d.WantCAS, NewCAS: d.NewCAS,
	})
	return Number{Value: d.Initial, CAS: cas, Created: true}, st
}

func (s *Store) tryDelta(d *Delta) (n Number, st Status) {
	var f freed
	defer s.giveBack(&f)
	sh := s.shardOf(d.Hash)
	sh.lock(d.Now)
	defer sh.mu.Unlock()
	k := sh.look(d.Hash, d.Key, d.Route, d.Now)
	if !k.present() {
		return n, NotFound
	}
	r := &k.rec
	n.Deadline = r.expiry
	value := r.value
	if r.meta&metaInline == 0 {
		ds := s.dataShardOfHandle(r.handle)
		ds.mu.Lock()
		value = bytes.Clone(ds.payload(ds.local(r.handle)))
		ds.mu.Unlock()
	}
	if len(value) == 0 {
		return n, NonNumeric
	}
	if d.CAS != 0 && d.CAS != r.cas {
		return n, Exists
	}
	old, ok := parseNumber(value)
	if !ok {
		return n, NonNumeric
	}
	if d.Decr {
		n.Value = old - min(old, d.Delta)
	} else {
		n.Value = old + d.Delta
	}
	var digits [20]byte
	text := strconv.AppendUint(digits[:0], n.Value, 10)
	n.CAS = sh.chosenCAS(d.NewCAS, d.WantCAS || r.cas != 0)
	if r.meta&metaInline != 0 && d.Route == 0 && len(text) <= len(value) {
		// As memcached: in place, padded with spaces to the length it had. A rewrite copies the value along.
		if !sh.rewrite(d.Hash, &k, change{cas: n.CAS, touch: d.Touch, deadline: d.TouchDeadline}) {
			return n, NoMemory
		}
		sh.newer(d.Hash)
		pad(r.value, text)
		return n, Stored
	}
	nd := sh.redraft(&k)
	nd.cas = n.CAS
	if nd.route != 0 || d.Route != 0 || len(text) > len(value) { // else it stays the same item, as above
		sh.claim(&nd, d.Route, d.Now)
	}
	if d.Touch {
		nd.expiry, nd.hasExpiry = expiryOf(d.TouchDeadline), d.TouchDeadline != NoDeadline
	}
	if len(text) > len(value) {
		nd.fetched = false // as memcached, for which that is another item
	}
	nd.value, nd.handle = make([]byte, max(len(text), len(value))), noHandle
	pad(nd.value, text)
	if len(nd.value) > maxInline {
		if hi, lo := s.digest(d.Hash, nd.value); !s.keep(&nd, d.Hash, hi, lo) {
			return n, NoMemory
		}
	}
	if !sh.reserve(&nd, forWrite) || !sh.link(d.Hash, k.slot, k.loc, r, &nd, &f) {
		if nd.handle != noHandle {
			f.add(nd.handle)
		}
		return n, NoMemory
	}
	sh.newer(d.Hash)
	if d.Route != 0 {
		sh.killLease(d.Hash, d.Now)
	}
	if len(text) > len(value) {
		sh.st.total++
	}
	return n, Stored
}

// pad writes text to dst and spaces behind it.
func pad(dst, text []byte) {
	for i := copy(dst, text); i < len(dst); i++ {
		dst[i] = ' '
	}
}

// parseNumber reads of a stored value what memcached's strtoull does: a number that fits in 64 bits, white space before it,
// and behind it nothing or white space and anything.
func parseNumber(v []byte) (uint64, bool) {
	i := 0
	for i < len(v) && isSpace(v[i]) {
		i++
	}
	minus := i < len(v) && v[i] == '-'
	if i < len(v) && (v[i] == '+' || v[i] == '-') {
		i++
	}
	n, first := uint64(0), i
	for ; i < len(v) && v[i] >= '0' && v[i] <= '9'; i++ {
		c := uint64(v[i] - '0')
		if n > (1<<64-1-c)/10 {
			return 0, false
		}
		n = n*10 + c
	}
	if i == first || i < len(v) && !isSpace(v[i]) || minus && n != 0 {
		return 0, false
	}
	return n, true
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
