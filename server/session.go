package server

import (
	"math"
	"time"

	"swordfish/protocol"
	"swordfish/store"
)

// Bounds of what a connection may hold.
const (
	highWater  = 64 << 10 // bytes of output after which a session waits until they are written; one reply may go past it
	readBuffer = 64 << 10 // bytes read at once
)

// session is the protocol state of one connection, without its socket and without buffers of its own.
type session struct {
	parser   protocol.Parser
	datagram bool          // the input is one: run returns full after each command that answered
	counted  bool          // a get was answered since the driver last looked
	answered store.RouteID // the route of the last key of that get
	dump     *dump         // under way; nil: none

	stacked bool // there were commands before this one in what run was given, and since the last mn

	left    int  // commands that this turn may still run; only turn sets it, so without -R it never ends
	yielded bool // the turn before was ended by left

	id       uint64   // of the connection
	local    bool     // the client is on this machine
	reason   string   // why the connection is to be closed, as watch tells it; empty: the client has closed it, or said quit
	watching *watcher // the connection shows what happens; nil: it does not
	attempt  *attempt // to authenticate, under way; nil: none
	sasl     saslState

	// errand is set while run says parked. The driver calls it off the worker, once, and sends what it appends.
	errand func(out []byte) []byte
	waits  uint8 // times that the write in hand has been put off
}

// newSession makes the session of a connection that l has accepted.
func newSession(w *worker, l *Listener) session {
	ss := session{left: math.MaxInt, parser: protocol.Parser{TooLarge: w.tooLarge, Only: l.Only}}
	if users := w.srv.gate.users.Load(); users != nil {
		users.lock(&ss.parser)
	}
	return ss
}

// progress is why run returned.
type progress uint8

const (
	starved progress = iota // every complete command has run
	full                    // enough output: write it, then run again with the same input
	ended                   // write the output, then close
	yields                  // it has had its share of this turn: write the output, let others have theirs, then run again
	parked                  // write the output, do the errand, write what it answers, then run again
)

// turn begins a turn: it says how many commands run may execute before it says yields. memcached counts the wake-up itself
// as one where it goes on from where a turn was ended.
func (ss *session) turn(reqsPerEvent int) {
	if reqsPerEvent == 0 {
		return
	}
	ss.left = reqsPerEvent
	if !ss.yielded {
		ss.left++
	}
	ss.yielded = false
}

// fresh tells that no command is half read or half done.
func (ss *session) fresh() bool {
	return ss.parser.Idle() && !ss.parser.Locked && ss.dump == nil && ss.watching == nil && ss.attempt == nil
}

// peek returns what finds the key of a get in the connection's protocol.
func (ss *session) peek() func(in []byte) (key []byte, n int) {
	if ss.parser.Request.Form == protocol.Binary {
		return protocol.PeekGet
	}
	return peekLine
}

// run executes the complete commands in in, appends their replies to out and returns how much of in is used up. The bytes
// after that belong to the next call.
func (ss *session) run(w *worker, in, out []byte) (int, []byte, progress) {
	n, ran := 0, false
	w.ahead.renew()
	w.conn = ss.id
	w.patient = !ss.datagram && ss.waits < maxWaits
	if ss.attempt != nil {
		out = ss.endAttempt(w, out)
	}
	for first := true; ; first = false {
		if !first && ss.waits > 0 { // what was put off is done
			ss.waits, w.patient = 0, true
		}
		if w.enough(out) || ss.datagram && len(out) > 0 {
			return n, out, full
		}
		if ss.left == 0 {
			ss.yielded = true
			return n, out, yields
		}
		if ss.dump != nil || ss.watching != nil {
			var did progress
			if out, did = ss.goOn(w, out); did != starved {
				return n, out, did
			}
			ran = false
		}
		if ss.parser.Idle() && !ss.parser.Locked {
			w.aheadCommands(in[n:], ss.peek())
		}
		m, st := ss.parser.Parse(in[n:])
		n += m
		switch st {
		case protocol.NeedMore:
			if ss.left == 1 && len(out) > 0 { // memcached counts the writing, too
				ss.yielded = true
				return n, out, yields
			}
			return n, out, starved
		case protocol.Hangup:
			ss.reason = "error"
			return n, out, ended
		}
		ss.left--
		r := &ss.parser.Request
		ss.stacked, ran = ran, r.Form != protocol.Meta || r.Verb != protocol.Noop
		if r.Verb.Authenticates() {
			if out = ss.authenticate(w, r, out); ss.attempt != nil {
				return n, out, parked
			}
			continue
		}
		if r.Form == protocol.Binary {
			var end bool
			if out, end = w.binary(r, out); end {
				return n, out, ended
			}
			if w.later {
				return n - ss.putOff(w), out, parked
			}
			if r.Verb == protocol.Get || r.Verb == protocol.Gat {
				ss.counted, ss.answered = true, w.lookup.Route
			}
			continue
		}
		if r.Form == protocol.Meta && r.Verb != protocol.Refused {
			out = w.meta(r, out)
			if w.later {
				return n - ss.putOff(w), out, parked
			}
			if r.Verb == protocol.Get {
				ss.counted, ss.answered = true, w.lookup.Route
			}
			continue
		}
		switch r.Verb {
		case protocol.Get, protocol.Gets, protocol.Gat, protocol.Gats:
			var left []byte
			if out, left = w.get(r, out); len(left) > 0 {
				n -= ss.parser.Unread(left)
			}
			ss.counted, ss.answered = true, w.lookup.Route
		case protocol.Quit:
			return n, out, ended
		case protocol.Shutdown:
			var stop bool
			if out, stop = w.shutdownCommand(r, out); stop {
				return n, out, ended
			}
		default:
			if out = ss.command(w, r, out); ss.errand != nil {
				return n, out, parked
			}
			if w.later {
				return n - ss.putOff(w), out, parked
			}
		}
	}
}

// A write for which the worker would have to evict too long is put off: somebody else makes room meanwhile.
const (
	maxWaits = 8                      // times that one write is put off; then it is answered however it goes
	maxWait  = 250 * time.Millisecond // for each time
)

// putOff leaves the command that has just run, which could not be done yet, to be run again after the errand. It returns how
// much of the input that is.
func (ss *session) putOff(w *worker) int {
	want, st := w.writing.Short, w.store
	w.later = false
	w.n.RoomWaits++
	ss.waits++
	ss.errand = func(out []byte) []byte {
		st.AwaitRoom(want, maxWait)
		return out
	}
	return ss.parser.Undo()
}

// waitsFor is what the connection waits for when run has said starved.
func (ss *session) waitsFor() connState {
	if ss.parser.Need > 0 {
		return inValue
	}
	return reading
}

// goOn goes on with what an earlier command began; starved: it is over.
func (ss *session) goOn(w *worker, out []byte) ([]byte, progress) {
	if ss.watching != nil {
		if w.srv.watch.stopped() {
			return out, ended
		}
		ss.errand = ss.watching.next
		return out, parked
	}
	out, did := ss.dump.run(w, out)
	if did == starved {
		ss.dump = nil
	}
	return out, did
}

// command runs what is neither a get nor ends the connection. Where it leaves an errand that is not done yet.
func (ss *session) command(w *worker, r *protocol.Request, out []byte) []byte {
	before := len(out)
	ss.errand = nil
	switch {
	case ss.datagram && notOverUDP(r):
		out = protocol.AppendReply(out, protocol.NotOverUDP)
	case !w.srv.mayAdmin(r, ss.local):
		out = protocol.AppendClientError(out, wordsRefused[w.srv.o.AdminWords])
	case r.Verb == protocol.Watch:
		out = ss.watchCommand(w, r, out)
	case r.Verb == protocol.Crawler:
		out = ss.crawl(w, r, out)
	case r.Verb == protocol.Stats && isCachedump(r):
		out = ss.cachedump(w, r, out)
	default:
		if ss.errand = w.srv.errand(r); ss.errand != nil {
			return out
		}
		out = w.command(r, out)
	}
	if r.NoReply {
		out = out[:before]
	}
	return out
}
