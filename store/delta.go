package store

import "strconv"

// Delta runs d and returns what it leaves with Stored, or NotFound, NonNumeric, Exists, NoMemory, Ignored.
func (s *Store) Delta(d *Delta) (Number, Status) {
	if rs := s.route(d.Route); rs != nil && rs.IgnoreSets && d.Vivify {
		return Number{}, Ignored
	}
	var r room
	var c count
	defer c.drop(s)
	for try := 0; ; {
		booked, _ := s.book(s.route(d.Route), maxHead/4+len(d.Key), new(room)) // a number takes the place of one: it is not refused
		n, st, done := s.tryDelta(d, &c)
		booked.end()
		switch {
		case !done:
			if st = c.work(s, d, &r); st != Stored {
				return n, st
			}
		case st == NotFound && d.Vivify:
			if n, st = s.vivifyNumber(d); st != NotStored {
				return n, st
			}
			// Somebody else made it meanwhile.
		case st != NoMemory || try == 3 || !r.make(s, 2*int64(s.z.segment)):
			return n, st
		default:
			try++
		}
	}
}

// count is one Delta. A number with so many spaces or words behind it that it has a run of pages is rebuilt.
type count struct {
	was uint64 // the number that was taken
	rebuild
}

// work does what the next tryDelta needs and no lock is needed for: Stored, NonNumeric or NoMemory.
func (c *count) work(s *Store, d *Delta, r *room) (st Status) {
	if c.ready { // and the key has another value by now
		c.drop(s)
		c.lost++
		return Stored
	}
	ok := false
	if c.was, ok = parseNumber(c.old); !ok {
		return NonNumeric
	}
	value := make([]byte, len(c.old))
	pad(value, strconv.AppendUint(d.digits[:0], d.change(c.was), 10))
	if !c.make(s, d.Hash, value, r) {
		return NoMemory
	}
	return Stored
}

// change returns what d makes of a number.
func (d *Delta) change(was uint64) uint64 {
	if d.Decr {
		return was - min(was, d.Delta)
	}
	return was + d.Delta
}

// numberMax is the largest item, as memcached counts it, of which the value can be a number. It has larger ones in pieces, and
// counts in none of those.
const numberMax = 512 << 10

// tooLongToCount tells whether a value of n bytes is in such an item.
func (s *Store) tooLongToCount(r *record, n int) bool {
	n += len(r.key) + itemCost
	if r.flags != 0 {
		n += 4
	}
	if s.opt.NoCAS {
		n -= 8
	}
	return n > numberMax
}

// vivifyNumber stores a Delta's initial value; NotStored when the key is there after all.
func (s *Store) vivifyNumber(d *Delta) (Number, Status) {
	st, cas := s.Write(&Write{
		Op: Add, Key: d.Key, Hash: d.Hash, Route: d.Route, Now: d.Now, Value: strconv.AppendUint(d.digits[:0], d.Initial, 10),
		Deadline: d.Deadline, WantCAS: d.WantCAS, NewCAS: d.NewCAS,
	})
	return Number{Value: d.Initial, CAS: cas, Created: true}, st
}

// tryDelta is one hold of the key's lock. Unless it is done, work is to be done before the next.
func (s *Store) tryDelta(d *Delta, c *count) (n Number, st Status, done bool) {
	var f freed
	defer s.giveBack(&f)
	sh := s.shardOf(d.Hash)
	sh.lock(d.Now)
	defer sh.mu.Unlock()
	var k held
	sh.look(&k, d.Hash, d.Key, d.Route, d.Now)
	if !k.present() {
		return n, NotFound, true
	}
	r := &k.rec
	n.Deadline = r.expiry
	value := r.value
	var ds *dataShard
	if r.meta&metaInline == 0 {
		ds = s.dataShardOfHandle(r.handle)
		ds.mu.Lock()
		value = ds.payload(ds.local(r.handle))
	}
	size, was := len(value), c.was
	switch done = true; {
	case size == 0 || s.tooLongToCount(r, size):
		st = NonNumeric
	case d.CAS != 0 && d.CAS != r.cas:
		st = Exists
	case c.ready:
		done = c.of(r)
	case s.z.large(dataHead+size) && c.lost < mostLost:
		c.take(ds, r, value, nil)
		done = false
	default:
		ok := false
		if was, ok = parseNumber(value); !ok {
			st = NonNumeric
		}
	}
	if ds != nil {
		ds.mu.Unlock() // its bytes may move from here on
	}
	if !done || st != Stored {
		return n, st, done
	}
	n.Value = d.change(was)
	var digits [20]byte
	text := strconv.AppendUint(digits[:0], n.Value, 10)
	n.CAS = sh.chosenCAS(d.NewCAS, d.WantCAS || r.cas != 0)
	if r.meta&metaInline != 0 && d.Route == 0 && len(text) <= size {
		// As memcached: in place, padded with spaces to the length it had. A rewrite copies the value along.
		if !sh.rewrite(d.Hash, &k, change{cas: n.CAS, touch: d.Touch, deadline: d.TouchDeadline}) {
			return n, NoMemory, true
		}
		sh.newer(d.Hash)
		pad(r.value, text)
		return n, Stored, true
	}
	nd := sh.redraft(&k)
	nd.cas = n.CAS
	if nd.route != 0 || d.Route != 0 || len(text) > size { // else it stays the same item, as above
		sh.claim(&nd, d.Route, d.Now)
	}
	if d.Touch {
		nd.expiry, nd.hasExpiry = expiryOf(d.TouchDeadline), d.TouchDeadline != NoDeadline
	}
	if len(text) > size {
		nd.fetched = false // as memcached, for which that is another item
	}
	if c.ready {
		c.fill(s, &nd)
	} else {
		nd.value, nd.handle = make([]byte, max(len(text), size)), noHandle
		pad(nd.value, text)
		if len(nd.value) > maxInline {
			if hi, lo := s.digest(d.Hash, nd.value); !s.keep(&nd, d.Hash, hi, lo) {
				return n, NoMemory, true
			}
		}
	}
	if !sh.reserve(&nd, forWrite) || !sh.link(d.Hash, k.slot, k.loc, r, &nd, &f) {
		if nd.handle != noHandle && !c.ready {
			f.add(nd.handle)
		}
		return n, NoMemory, true
	}
	c.spent()
	sh.newer(d.Hash)
	if d.Route != 0 {
		sh.killLease(d.Hash, d.Now)
	}
	if len(text) > size {
		sh.st.total++
	}
	return n, Stored, true
}

// pad writes text to dst and spaces behind it.
func pad(dst, text []byte) {
	for i := copy(dst, text); i < len(dst); i++ {
		dst[i] = ' '
	}
}

// parseNumber reads of a stored value what memcached's strtoull does: a number that fits in 64 bits, white space and a sign
// before it, and behind it nothing, or white space or a zero byte and anything. It counts one below zero from 2^64 down, and
// refuses it where that leaves the sign bit set.
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
	if i == first || i < len(v) && v[i] != 0 && !isSpace(v[i]) {
		return 0, false
	}
	if minus {
		n = -n
		return n, n>>63 == 0
	}
	return n, true
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
