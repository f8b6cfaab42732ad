package server

import (
	"swordfish/filler"
	"swordfish/protocol"
	"swordfish/store"
)

// get answers the keys of r until the output is full; left are the keys that still wait.
func (w *worker) get(r *protocol.Request, out []byte) (_, left []byte) {
	touch := r.Verb == protocol.Gat || r.Verb == protocol.Gats
	w.look(r, touch, r.Verb == protocol.Gets || r.Verb == protocol.Gats)
	left = r.Keys
	for {
		w.aheadKeys(left)
		var key []byte
		key, left = protocol.NextKey(left)
		if len(key) == 0 {
			break
		}
		out = w.getOne(key, out)
		if w.enough(out) && len(left) > 0 {
			return out, left
		}
	}
	if !r.More {
		out = protocol.AppendReply(out, protocol.End)
	}
	return out, nil
}

// look prepares w.lookup for a get, all but the key.
func (w *worker) look(r *protocol.Request, touch, wantCAS bool) {
	w.lookup = store.Lookup{Now: w.now, Touch: touch, WantCAS: wantCAS}
	if touch {
		w.lookup.Deadline = deadline(r.Exptime, w.now, w.wall)
	}
}

// getOne looks one key up, w.lookup but for its key being set, and appends the value if there is one.
func (w *worker) getOne(key, out []byte) []byte {
	q, it := &w.lookup, &w.item
	out, hit := w.find(key, out)
	if !hit {
		return out
	}
	if q.WantCAS {
		out = protocol.AppendValueUnique(out, key, it.Flags, len(it.Value), it.CAS)
	} else {
		out = protocol.AppendValue(out, key, it.Flags, len(it.Value))
	}
	out = w.appendValue(out)
	w.found()
	return protocol.AppendLineEnd(out)
}

// find looks one key up, w.lookup but for its key being set. After a hit w.item is locked until the caller calls found,
// and out has room for the answer. A value that does not fit is asked for again once there is room, which is not made under
// the store's locks.
func (w *worker) find(key, out []byte) ([]byte, bool) {
	q, it := &w.lookup, &w.item
	w.resolve(q, key)
	w.watchKeys(q)
	opened := false
	if q.Touch {
		out, opened = w.makeRoom(key, out, protocol.MaxValueHeader) // to touch twice is not the same: the deadline may be over by then
	}
	hit := w.store.Get(q, it)
	if q.Route != 0 {
		w.countRoute(q.Route, hit, it, opened)
	}
	for hit && cap(out)-len(out) < w.replySize(key) {
		need := w.replySize(key)
		it.Release()
		w.lease(q, it)
		out = grow(out, need)
		hit = w.store.Get(q, it)
	}
	w.countGet(key, hit)
	w.logGet(key, hit)
	if !hit {
		w.missed(q, it)
		w.lease(q, it)
	}
	return out, hit
}

// found ends what a hit began.
func (w *worker) found() {
	w.item.Release()
	w.lease(&w.lookup, &w.item)
	if w.lookup.Touch {
		w.n.CmdTouch++
		w.n.TouchHits++
	} else {
		w.n.CmdGet++
		w.n.GetHits++
	}
}

// makeRoom grows out for the value that w.lookup would find and a header of so many bytes, without touching it. opened tells that this opened a lease.
func (w *worker) makeRoom(key, out []byte, header int) (_ []byte, opened bool) {
	q, it := &w.lookup, &w.item
	asked := *q
	*q = store.Lookup{Key: q.Key, Hash: q.Hash, Route: q.Route, Now: q.Now, NoBump: true}
	need := 0
	if w.store.Get(q, it) {
		need = len(key) + header + w.inOut() + 2
		it.Release()
	} else {
		w.foundOver(it) // the look-up to come finds nothing at all
	}
	*q = asked
	opened = it.Lease.Serial != 0
	w.lease(q, it)
	if cap(out)-len(out) < need {
		out = grow(out, need)
	}
	return out, opened
}

// replySize bounds what of the output the answer to a hit, w.item, takes.
func (w *worker) replySize(key []byte) int {
	return len(key) + w.inOut() + protocol.MaxValueHeader + 2
}

func (w *worker) missed(q *store.Lookup, it *store.Item) {
	w.foundOver(it)
	if q.Touch {
		w.n.CmdTouch++
		w.n.TouchMisses++
		return
	}
	w.n.CmdGet++
	w.n.GetMisses++
	if q.Route == 0 && w.routes != nil {
		w.unmatched.count(w.seed, q.Key)
	}
}

// foundOver counts a miss on what was there, but over.
func (w *worker) foundOver(it *store.Item) {
	switch it.Miss {
	case store.TTLOver:
		w.n.GetExpired++
	case store.Flushed:
		w.n.GetFlushed++
	}
}

// lease hands the lease that a Get opened to the filler, or moves up one that waits there. Where a lease cannot be handed
// over it ends, so that the next GET may try.
func (w *worker) lease(q *store.Lookup, it *store.Item) {
	if p := it.Promote; p.Serial != 0 && w.ring != nil {
		it.Promote = store.Lease{}
		w.ring.Promote(uint16(q.Route), filler.Lane(it.Urgency), filler.Lease(p)) // a full ring leaves it where it waits
	}
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
		st, _ := w.write(r, writeOps[r.Verb])
		if st == store.Later {
			return out
		}
		if grows := r.Verb == protocol.Append || r.Verb == protocol.Prepend; grows && !r.TooLarge && (st == store.TooLarge || st == store.NoMemory) {
			st = store.NotStored
		}
		return protocol.AppendReply(out, reply(st))
	case protocol.Delete:
		return protocol.AppendReply(out, reply(w.delete(r)))
	case protocol.Incr, protocol.Decr:
		n, st := w.incr(r)
		switch st {
		case store.Stored:
			return protocol.AppendNumber(out, n.Value)
		case store.NoMemory:
			return protocol.AppendReply(out, protocol.NoMemoryDelta)
		}
		return protocol.AppendReply(out, reply(st))
	case protocol.Touch:
		key, route := w.canonical(r.Key)
		hash := w.seed.Key(key)
		w.logLookup(r.Key, key, hash, route)
		st := w.store.Touch(key, hash, route, w.now, deadline(r.Exptime, w.now, w.wall))
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
	case protocol.MemLimit:
		return protocol.AppendReply(out, w.memLimit(r.Level))
	case protocol.Verbosity:
		level := min(r.Level, 2)
		w.srv.verbosity.Store(int32(level))
		if w.srv.o.SetVerbose != nil {
			w.srv.o.SetVerbose(int(level))
		}
		return protocol.AppendReply(out, protocol.OK)
	case protocol.Stats:
		w.publish()
		return w.srv.appendStats(out, r, w.conn)
	case protocol.Admin:
		return w.srv.admin(r, out)
	}
	return protocol.AppendReply(out, protocol.Error)
}

// write runs a storage command as op and returns the new CAS where one is wanted.
func (w *worker) write(r *protocol.Request, op store.WriteOp) (store.Status, uint64) {
	key, route := w.canonical(r.Key)
	hash := w.seed.Key(key)
	if r.TooLarge {
		if r.Form != protocol.Meta {
			w.countSet(r.Key)
		}
		w.n.StoreTooLarge++
		op = writeOps[r.Verb]
		if r.Form == protocol.Meta {
			op = store.Set // whatever its mode, ms removes what was there
		}
		w.logWrite(r, op, store.TooLarge)
		if op == store.Set {
			w.logLookup(r.Key, key, hash, route)
		}
		w.store.Oversized(op, key, hash, route, w.now)
		return store.TooLarge, 0
	}
	q := &w.writing
	*q = store.Write{}
	q.Op, q.Key, q.Hash, q.Route, q.Now, q.Value, q.Flags = op, key, hash, route, w.now, r.Value, r.Flags
	q.Deadline, q.CAS, q.WantCAS, q.Patient = deadline(r.Exptime, w.now, w.wall), r.Unique, r.Form == protocol.Binary, w.patient
	if r.Form == protocol.Meta {
		m := &r.Meta
		q.WantCAS, q.NewCAS, q.Stale, q.Vivify, q.BinaryKey = m.WantCAS, m.NewUnique, m.Invalidate && r.Unique != 0, r.Vivify, m.BinaryKey
	}
	w.logLookup(r.Key, key, hash, route)
	st, unique := w.store.Write(q)
	if st == store.Later {
		w.later = true
		return st, 0
	}
	w.n.CmdSet++
	if r.Form != protocol.Meta {
		w.countSet(r.Key)
	}
	w.logWrite(r, op, st)
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
	case st == store.Ignored:
		w.routeCounts[route].ignored.Add(1)
	}
	return st, unique
}

// delete removes a key, where Request.Unique is not 0 only the item that has it.
func (w *worker) delete(r *protocol.Request) store.Status {
	w.countDelete(r.Key)
	key, route := w.canonical(r.Key)
	hash := w.seed.Key(key)
	size := w.logLookup(r.Key, key, hash, route)
	st := w.store.Delete(key, hash, route, w.now, r.Unique)
	switch st {
	case store.Deleted:
		w.n.DeleteHits++
		if r.Form != protocol.Binary { // of those memcached says nothing
			w.logDelete(r.Key, "delete", size)
		}
	case store.NotFound:
		w.n.DeleteMisses++
	}
	return st
}

// incr runs incr and decr: Stored, NotFound, NonNumeric, Exists or NoMemory.
func (w *worker) incr(r *protocol.Request) (store.Number, store.Status) {
	d := &w.delta
	*d = store.Delta{Now: w.now, Decr: r.Verb == protocol.Decr, Delta: r.Delta}
	if r.Form != protocol.Classic {
		d.CAS, d.WantCAS, d.Vivify, d.Initial = r.Unique, true, r.Vivify, r.Initial
		d.Deadline = deadline(r.Exptime, w.now, w.wall)
	}
	if r.Form == protocol.Meta {
		m := &r.Meta
		d.WantCAS, d.NewCAS, d.Touch, d.TouchDeadline = m.WantCAS, m.NewUnique, m.Touch, d.Deadline
		d.Deadline = deadline(m.CreatedExptime, w.now, w.wall)
	}
	d.Key, d.Route = w.canonical(r.Key)
	d.Hash = w.seed.Key(d.Key)
	w.logLookup(r.Key, d.Key, d.Hash, d.Route)
	n, st := w.store.Delta(d)
	if n.Created {
		w.logMade(r.Key, n.Value)
	}
	hits, misses := &w.n.IncrHits, &w.n.IncrMisses
	if d.Decr {
		hits, misses = &w.n.DecrHits, &w.n.DecrMisses
	}
	switch {
	case st == store.Ignored:
		st = store.Stored
		*hits++
	case st == store.Stored && !n.Created:
		*hits++
	case st == store.NotFound:
		*misses++
	}
	return n, st
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
// by the wall clock, and, as in memcached, a second before that. A moment before the server started is no moment at all there.
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
	w.store.FlushAll(w.now, w.now+store.Time(max(after-1, 0)*1000))
	return protocol.OK
}

// memLimit changes the store's limit to so many MiB.
func (w *worker) memLimit(megabytes uint32) protocol.Reply {
	if err := w.store.SetMemory(int64(megabytes) << 20); err != nil {
		w.srv.log.Warn().Err(err).Uint32("mib", megabytes).Msg("cache_memlimit refused")
		return protocol.MemLimitBounds
	}
	w.srv.log.Info().Uint32("mib", megabytes).Msg("memory limit changed by a client")
	return protocol.OK
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
