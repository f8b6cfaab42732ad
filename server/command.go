package server

import (
	"swordfish/filler"
	"swordfish/protocol"
	"swordfish/store"
)

// get answers the keys of r until the output is full; left are the keys that still wait.
func (w *worker) get(r *protocol.Request, out []byte) (_, left []byte) {
	q := &w.lookup
	q.Now = w.now
	q.WantCAS = r.Verb == protocol.Gets || r.Verb == protocol.Gats
	q.Touch = r.Verb == protocol.Gat || r.Verb == protocol.Gats
	if q.Touch {
		q.Deadline = deadline(r.Exptime, w.now, w.wall)
	}
	left = r.Keys
	for {
		var key []byte
		key, left = protocol.NextKey(left)
		if len(key) == 0 {
			break
		}
		out = w.getOne(key, out)
		if len(out) >= highWater && len(left) > 0 {
			return out, left
		}
	}
	if !r.More {
		out = protocol.AppendReply(out, protocol.End)
	}
	return out, nil
}

// getOne looks one key up, w.lookup but for its key being set, and appends the value if there is one. A value that does not
// fit is asked for again once there is room, which is not made under the store's locks.
func (w *worker) getOne(key, out []byte) []byte {
	q, it := &w.lookup, &w.item
	q.Key, q.Route = w.canonical(key)
	q.Hash = w.seed.Key(q.Key)
	opened := false
	if q.Touch {
		out, opened = w.makeRoom(key, out) // to touch twice is not the same: the deadline may be over by then
	}
	hit := w.store.Get(q, it)
	if q.Route != 0 {
		w.countRoute(q.Route, hit, it, opened)
	}
	for hit && cap(out)-len(out) < replySize(key, it) {
		need := replySize(key, it)
		it.Release()
		w.lease(q, it)
		out = grow(out, need)
		hit = w.store.Get(q, it)
	}
	if !hit {
		w.missed(q, it)
		w.lease(q, it)
		return out
	}
	if q.WantCAS {
		out = protocol.AppendValueUnique(out, key, it.Flags, len(it.Value), it.CAS)
	} else {
		out = protocol.AppendValue(out, key, it.Flags, len(it.Value))
	}
	out = append(out, it.Value...)
	it.Release()
	w.lease(q, it)
	if q.Touch {
		w.n.CmdTouch++
		w.n.TouchHits++
	} else {
		w.n.CmdGet++
		w.n.GetHits++
	}
	return protocol.AppendLineEnd(out)
}

// makeRoom grows out for the value that w.lookup would find, without touching it. opened tells that this opened a lease.
func (w *worker) makeRoom(key, out []byte) (_ []byte, opened bool) {
	q, it := &w.lookup, &w.item
	q.Touch = false
	hit := w.store.Get(q, it)
	q.Touch = true
	need := 0
	if hit {
		need = replySize(key, it)
		it.Release()
	}
	opened = it.Lease.Serial != 0
	w.lease(q, it)
	if cap(out)-len(out) < need {
		out = grow(out, need)
	}
	return out, opened
}

// replySize bounds what the answer to a hit takes.
func replySize(key []byte, it *store.Item) int {
	return len(key) + len(it.Value) + protocol.MaxValueHeader + 2
}

func (w *worker) missed(q *store.Lookup, it *store.Item) {
	if q.Touch {
		w.n.CmdTouch++
		w.n.TouchMisses++
		return
	}
	w.n.CmdGet++
	w.n.GetMisses++
	switch it.Miss {
	case store.TTLOver:
		w.n.GetExpired++
	case store.Flushed:
		w.n.GetFlushed++
	}
	if q.Route == 0 && w.routes != nil {
		w.unmatched.count(w.seed, q.Key)
	}
}

// lease hands the lease that a Get opened to the filler. Where that cannot be, the lease ends, so that the next GET may try.
func (w *worker) lease(q *store.Lookup, it *store.Item) {
	l := it.Lease
	if l.Serial == 0 {
		return
	}
	it.Lease = store.Lease{}
	c := &w.routeCounts[q.Route]
	if w.ring != nil && w.ring.Push(uint16(q.Route), filler.Lane(it.Urgency), filler.Lease(l), q.Key) {
		c.leased.Add(1)
		return
	}
	w.store.EndLease(l)
	c.ringDrops.Add(1)
}

// grow returns b with room for n more bytes. The room is twice what is there, so that replies of many values do not copy
// for each.
func grow(b []byte, n int) []byte {
	grown := make([]byte, len(b), max(len(b)+n, min(2*cap(b), highWater)))
	copy(grown, b)
	return grown
}

var writeOps = [...]store.WriteOp{
	protocol.Set:     store.Set,
	protocol.Add:     store.Add,
	protocol.Replace: store.Replace,
	protocol.Append:  store.Append,
	protocol.Prepend: store.Prepend,
	protocol.CAS:     store.CAS,
}

// command runs r, anything but the get family, quit and shutdown, and appends its reply. The caller drops the reply where
// the client wants none.
func (w *worker) command(r *protocol.Request, out []byte) []byte {
	switch r.Verb {
	case protocol.Refused:
		if r.Reply == protocol.BadChunk { // memcached counts a set once it has taken the line
			w.n.CmdSet++
		}
		return protocol.AppendReply(out, r.Reply)
	case protocol.Set, protocol.Add, protocol.Replace, protocol.Append, protocol.Prepend, protocol.CAS:
		return protocol.AppendReply(out, w.write(r))
	case protocol.Delete:
		key, route := w.canonical(r.Key)
		st := w.store.Delete(key, w.seed.Key(key), route, w.now, 0)
		if st == store.Deleted {
			w.n.DeleteHits++
		} else {
			w.n.DeleteMisses++
		}
		return protocol.AppendReply(out, reply(st))
	case protocol.Incr, protocol.Decr:
		return w.incr(r, out)
	case protocol.Touch:
		key, route := w.canonical(r.Key)
		st := w.store.Touch(key, w.seed.Key(key), route, w.now, deadline(r.Exptime, w.now, w.wall))
		w.n.CmdTouch++
		if st == store.Touched {
			w.n.TouchHits++
		} else {
			w.n.TouchMisses++
		}
		return protocol.AppendReply(out, reply(st))
	case protocol.FlushAll:
		return protocol.AppendReply(out, w.flushAll(r.Exptime))
	case protocol.Version:
		return protocol.AppendVersion(out, w.srv.o.Version)
	case protocol.Verbosity:
		level := min(r.Level, 2)
		w.srv.verbosity.Store(int32(level))
		if w.srv.o.SetVerbose != nil {
			w.srv.o.SetVerbose(int(level))
		}
		return protocol.AppendReply(out, protocol.OK)
	case protocol.LogLevel:
		return w.setLogLevel(string(r.Args[0]), out)
	case protocol.Stats:
		w.publish()
		return w.srv.appendStats(out, r)
	case protocol.Admin:
		return w.srv.admin(r, out)
	}
	return protocol.AppendReply(out, protocol.Error)
}

// write runs a storage command.
func (w *worker) write(r *protocol.Request) protocol.Reply {
	op := writeOps[r.Verb]
	key, route := w.canonical(r.Key)
	hash := w.seed.Key(key)
	if r.TooLarge {
		w.n.StoreTooLarge++
		w.store.Oversized(op, key, hash, route, w.now)
		return protocol.TooLarge
	}
	w.n.CmdSet++
	q := &w.writing
	*q = store.Write{Op: op, Key: key, Hash: hash, Route: route, Now: w.now, Value: r.Value, Flags: r.Flags,
		Deadline: deadline(r.Exptime, w.now, w.wall)}
	if op == store.CAS {
		q.CAS = r.Unique
	}
	st, _ := w.store.Write(q)
	switch {
	case op == store.CAS && st == store.Stored:
		w.n.CasHits++
	case op == store.CAS && st == store.Exists:
		w.n.CasBadval++
	case op == store.CAS && st == store.NotFound:
		w.n.CasMisses++
	case st == store.NoMemory:
		w.n.StoreNoMemory++
	case st == store.TooLarge:
		w.n.StoreTooLarge++
	}
	if (op == store.Append || op == store.Prepend) && (st == store.TooLarge || st == store.NoMemory) {
		return protocol.NotStored
	}
	return reply(st)
}

func (w *worker) incr(r *protocol.Request, out []byte) []byte {
	d := &w.delta
	d.Key, d.Route = w.canonical(r.Key)
	d.Hash = w.seed.Key(d.Key)
	d.Now, d.Decr, d.Delta = w.now, r.Verb == protocol.Decr, r.Delta
	n, st := w.store.Delta(d)
	hits, misses := &w.n.IncrHits, &w.n.IncrMisses
	if d.Decr {
		hits, misses = &w.n.DecrHits, &w.n.DecrMisses
	}
	switch st {
	case store.Stored, store.Ignored:
		*hits++
		return protocol.AppendNumber(out, n.Value)
	case store.NotFound:
		*misses++
	case store.NoMemory:
		return protocol.AppendReply(out, protocol.NoMemoryDelta)
	}
	return protocol.AppendReply(out, reply(st))
}

// reply words the outcome of a command. It is the one place where the two meet.
func reply(st store.Status) protocol.Reply {
	switch st {
	case store.Stored, store.Ignored:
		return protocol.Stored
	case store.NotStored:
		return protocol.NotStored
	case store.Exists:
		return protocol.Exists
	case store.NotFound:
		return protocol.NotFound
	case store.Deleted:
		return protocol.Deleted
	case store.Touched:
		return protocol.Touched
	case store.TooLarge:
		return protocol.TooLarge
	case store.NoMemory:
		return protocol.NoMemoryStore
	case store.NonNumeric:
		return protocol.NonNumeric
	}
	return protocol.Error
}

// flushAll makes everything absent that is stored before the moment exptime names: now, in so many seconds, or at a moment
// by the wall clock. A moment before the server started is no moment at all, as in memcached.
func (w *worker) flushAll(exptime int64) protocol.Reply {
	w.n.CmdFlush++
	if w.srv.o.NoFlush {
		return protocol.FlushNotAllowed
	}
	after := max(exptime, 0)
	if after > maxRelative {
		if after <= w.srv.started.Unix() {
			return protocol.OK
		}
		after = max(after-w.wall.Unix(), 0)
	}
	w.store.FlushAll(w.now, w.now+store.Time(after*1000))
	return protocol.OK
}

func (w *worker) setLogLevel(level string, out []byte) []byte {
	set := w.srv.o.SetLogLevel
	if set == nil {
		return protocol.AppendClientError(out, "log_level is not available")
	}
	if err := set(level); err != nil {
		return protocol.AppendClientError(out, err.Error())
	}
	w.srv.o.Logger.Info().Str("log_level", level).Msg("log level changed by a client")
	return protocol.AppendReply(out, protocol.OK)
}

// shutdownCommand runs shutdown and tells whether the connection is to be closed.
func (w *worker) shutdownCommand(r *protocol.Request, out []byte) (_ []byte, stop bool) {
	why := protocol.ShutdownMode
	switch {
	case w.srv.o.OnShutdown == nil:
		why = protocol.ShutdownNotEnabled
	case r.NArgs == 0 || r.NArgs == 1 && string(r.Args[0]) == "graceful":
		w.srv.o.OnShutdown(r.NArgs == 1)
		return out, true
	}
	if r.NoReply {
		return out, false
	}
	return protocol.AppendReply(out, why), false
}
