package server

import (
	"strings"

	"swordfish/protocol"
	"swordfish/store"
)

// binary runs a request of the binary protocol, appends its answer, and tells whether the connection is to be closed.
func (w *worker) binary(r *protocol.Request, out []byte) (_ []byte, end bool) {
	switch r.Verb {
	case protocol.Refused:
		return protocol.AppendBinaryError(out, r, r.Code), false
	case protocol.Get, protocol.Gat, protocol.Touch:
		return w.binaryGet(r, out), false
	case protocol.Set, protocol.Add, protocol.Replace, protocol.Append, protocol.Prepend:
		return w.binaryWrite(r, out), false
	case protocol.Delete:
		return binaryDone(out, r, w.delete(r), 0), false
	case protocol.Incr, protocol.Decr:
		n, st := w.incr(r)
		if st != store.Stored {
			return protocol.AppendBinaryError(out, r, code(st)), false
		}
		return protocol.AppendBinaryNumber(out, r, n.Value, n.CAS), false
	case protocol.FlushAll:
		if w.flushAll(r.Exptime) != protocol.OK {
			return protocol.AppendBinaryError(out, r, protocol.CodeRefused), false
		}
	case protocol.Version:
		return protocol.AppendBinaryText(out, r, w.srv.o.Version), false
	case protocol.Stats:
		w.publish()
		return w.srv.appendBinaryStats(out, r), false
	case protocol.Quit:
		end = true
	}
	return protocol.AppendBinaryOK(out, r, 0), end
}

// binaryGet answers get, gat and touch.
func (w *worker) binaryGet(r *protocol.Request, out []byte) []byte {
	w.look(r, r.Verb != protocol.Get, true)
	out, hit := w.find(r.Key, out)
	if !hit {
		return protocol.AppendBinaryMiss(out, r)
	}
	it := &w.item
	out = protocol.AppendBinaryValue(out, r, it.Flags, len(it.Value), it.CAS)
	if r.Verb != protocol.Touch {
		out = w.appendValue(out)
	}
	w.found()
	return out
}

// binaryWrite answers the storage commands. With a CAS all but append and prepend are compare and swap.
func (w *worker) binaryWrite(r *protocol.Request, out []byte) []byte {
	op := writeOps[r.Verb]
	swap := r.Unique != 0 && op != store.Append && op != store.Prepend
	if swap {
		op = store.CAS
	}
	st, unique := w.write(r, op)
	switch {
	case st == store.Later:
		return out
	case st == store.TooLarge && !r.TooLarge: // what append made of it
		st = store.NotStored
	case st == store.NotStored && op == store.Add:
		st = store.Exists
	case st == store.NotStored && op == store.Replace:
		st = store.NotFound
	}
	return binaryDone(out, r, st, unique)
}

// binaryDone answers a command that has no more to say than how it went.
func binaryDone(out []byte, r *protocol.Request, st store.Status, unique uint64) []byte {
	if c := code(st); c != protocol.CodeOK {
		return protocol.AppendBinaryError(out, r, c)
	}
	return protocol.AppendBinaryOK(out, r, unique)
}

// code is the outcome of a command in the binary protocol.
func code(st store.Status) protocol.Code {
	switch st {
	case store.NotStored:
		return protocol.CodeNotStored
	case store.Exists:
		return protocol.CodeExists
	case store.NotFound:
		return protocol.CodeNotFound
	case store.TooLarge:
		return protocol.CodeTooLarge
	case store.NoMemory:
		return protocol.CodeNoMemory
	case store.NonNumeric:
		return protocol.CodeNonNumeric
	}
	return protocol.CodeOK
}

// appendBinaryStats answers stat. The group is the key; reset and settings may have anything behind them.
func (s *Server) appendBinaryStats(out []byte, r *protocol.Request) []byte {
	l := lines{out: out, binary: r}
	switch group := string(r.Key); {
	case group == "":
		s.generalStats(&l)
	case strings.HasPrefix(group, "reset"):
		s.resetStats()
	case strings.HasPrefix(group, "settings"):
		s.settingsStats(&l)
	case strings.HasPrefix(group, "detail"):
		if !s.binaryDetail(&l, strings.TrimPrefix(group, "detail")) {
			return protocol.AppendBinaryError(out, r, protocol.CodeNotFound)
		}
	case !s.statsGroup(&l, group):
		return protocol.AppendBinaryError(out, r, protocol.CodeNotFound)
	}
	return protocol.AppendBinaryStat(l.out, r, "", "")
}
