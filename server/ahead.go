package server

import (
	"bytes"

	"swordfish/normalizer"
	"swordfish/protocol"
	"swordfish/store"
)

// ahead holds keys of the session's input that were hashed before their turn came, so that the store could read ahead for
// all of them together. Its entries die with the input: run forgets them when it begins.
type ahead struct {
	n, next int
	shared  bool // it holds keys of several connections, which outlive a run
	hashes  [store.AheadMost]uint64
	keys    [store.AheadMost]aheadKey
}

type aheadKey struct {
	at    *byte // where in the input the key begins
	len   int
	route store.RouteID
	canon []byte // the key in the store's spelling: in the input, or in buf
	buf   [normalizer.MaxKey]byte
}

func (a *ahead) forget() { a.n, a.next = 0, 0 }

// renew begins with the input of another run.
func (a *ahead) renew() {
	if !a.shared {
		a.forget()
	}
}

// add takes a key up, hashed; false when there is no room for more.
func (w *worker) add(key []byte) bool {
	a := &w.ahead
	if a.n == len(a.keys) {
		return false
	}
	if len(key) == 0 || len(key) > normalizer.MaxKey {
		return true
	}
	k := &a.keys[a.n]
	k.at, k.len, k.canon, k.route = &key[0], len(key), key, 0
	if w.routes != nil {
		if out, route := w.routes.Append(k.buf[:0], key); route != 0 {
			k.canon, k.route = out, store.RouteID(route)
		}
	}
	a.hashes[a.n] = w.seed.Key(k.canon)
	a.n++
	return true
}

// resolve sets key, route and hash of a look-up. Keys come in the order in which they were taken up; some may be left out.
func (w *worker) resolve(q *store.Lookup, key []byte) {
	a := &w.ahead
	for i := a.next; i < a.n; i++ {
		if k := &a.keys[i]; len(key) == k.len && k.at == &key[0] {
			q.Key, q.Route, q.Hash = k.canon, k.route, a.hashes[i]
			a.next = i + 1
			return
		}
	}
	q.Key, q.Route = w.canonical(key)
	q.Hash = w.seed.Key(q.Key)
}

// aheadKeys takes up the next keys of a get's list, once those taken up before have been answered.
func (w *worker) aheadKeys(words []byte) {
	a := &w.ahead
	if a.next < a.n {
		return
	}
	a.forget()
	if _, others := protocol.NextKey(words); len(others) == 0 {
		return // one key has nobody to share the wait with
	}
	for {
		var key []byte
		if key, words = protocol.NextKey(words); len(key) == 0 || !w.add(key) {
			break
		}
	}
	w.readAhead()
}

var getWord, metaWord = []byte("get "), []byte("mg ")

// peekLine returns the key and the length of the line that in begins with where that is a get of one key, or a meta get. Else
// n is 0. A key that comes base64-coded is taken as it stands, which is of no use and does no harm.
func peekLine(in []byte) (key []byte, n int) {
	meta := false
	switch {
	case bytes.HasPrefix(in, getWord):
		key = in[len(getWord):]
	case bytes.HasPrefix(in, metaWord):
		key, meta = in[len(metaWord):], true
	default:
		return nil, 0
	}
	end := bytes.IndexByte(key, '\n')
	if end < 0 {
		return nil, 0
	}
	n = len(in) - len(key) + end + 1
	key = bytes.TrimSuffix(key[:end], []byte{'\r'})
	if word := bytes.IndexByte(key, ' '); word >= 0 {
		if !meta {
			return nil, 0
		}
		key = key[:word]
	}
	return key, n
}

// aheadCommands takes up the keys of the gets that in begins with, once those taken up before have been answered. peek is
// peekLine or its twin for packets.
func (w *worker) aheadCommands(in []byte, peek func(in []byte) (key []byte, n int)) {
	a := &w.ahead
	if a.next < a.n {
		return
	}
	a.forget()
	_, n := peek(in)
	if n == 0 {
		return
	}
	if _, second := peek(in[n:]); second == 0 {
		return // one key has nobody to share the wait with
	}
	w.addCommands(in, peek)
	w.readAhead()
}

// addCommands takes up the keys of the gets that in begins with.
func (w *worker) addCommands(in []byte, peek func(in []byte) (key []byte, n int)) {
	for {
		key, n := peek(in)
		if n == 0 || !w.add(key) {
			return
		}
		in = in[n:]
	}
}

// readAhead has the store read for what was taken up.
func (w *worker) readAhead() {
	if a := &w.ahead; a.n > 0 {
		w.touched += w.store.Ahead(a.hashes[:a.n])
	}
}
