package server

import (
	"math"

	"swordfish/protocol"
	"swordfish/store"
)

// meta runs a meta command and appends its answer.
func (w *worker) meta(r *protocol.Request, out []byte) []byte {
	switch r.Verb {
	case protocol.Noop:
		return protocol.AppendReply(out, protocol.MetaNoop)
	case protocol.Get:
		return w.metaGet(r, out)
	case protocol.Set, protocol.Add, protocol.Replace, protocol.Append, protocol.Prepend, protocol.CAS:
		return w.metaWrite(r, out)
	case protocol.Delete:
		return w.metaDelete(r, out)
	case protocol.Incr, protocol.Decr:
		return w.metaIncr(r, out)
	case protocol.Debug:
		return w.metaDebug(r, out)
	}
	return w.command(r, out)
}

// metaGet answers mg.
func (w *worker) metaGet(r *protocol.Request, out []byte) []byte {
	m, q, it := &r.Meta, &w.lookup, &w.item
	*q = store.Lookup{} // field by field: a literal would be made elsewhere and copied, and the copy waits for its parts
	q.Now, q.Meta, q.WantCAS, q.Access, q.NoBump = w.now, true, m.WantCAS || m.Compare, m.Access, m.NoBump
	if m.Touch {
		q.Touch, q.Deadline = true, deadline(r.Exptime, w.now, w.wall)
	}
	if r.Vivify {
		q.Vivify, q.VivifyDeadline, q.NewCAS = true, deadline(m.CreatedExptime, w.now, w.wall), m.NewUnique
	}
	if m.Recache {
		q.RecacheBelow, q.RecacheTouched = deadline(m.RecacheExptime, w.now, w.wall), m.RecacheTouched
		q.Recache = q.RecacheBelow != store.NoDeadline && q.RecacheBelow != store.Expired
	}
	w.resolve(q, r.Key)
	w.watchKeys(q)
	opened := false
	if need := protocol.MaxMetaHeader + 2; r.Vivify && cap(out)-len(out) < need {
		out = grow(out, need) // an item that is over as soon as it is made is not found a second time
	}
	if m.Touch && m.Value {
		out, opened = w.makeRoom(r.Key, out, protocol.MaxMetaHeader)
	}
	hit := w.store.Get(q, it)
	if q.Route != 0 {
		w.countRoute(q.Route, hit && !it.Created, it, opened)
	}
	w.logGet(r.Key, hit && !it.Created)
	var found protocol.MetaItem
	if hit {
		w.describe(&found, r)
		if opened && found.Sent { // by this very command
			found.Sent, found.Won = false, true
		}
	}
	// What the first look-up won is not won a second time, so only the value is asked for again.
	for hit && m.Value && cap(out)-len(out) < w.metaSize() {
		need := w.metaSize()
		it.Release()
		w.lease(q, it)
		*q = store.Lookup{Key: q.Key, Hash: q.Hash, Route: q.Route, Now: w.now, WantCAS: q.WantCAS, NoBump: true}
		out = grow(out, need)
		if hit = w.store.Get(q, it); hit {
			found.Size, found.Flags, found.Unique = len(it.Value), it.Flags, it.CAS
		}
	}
	if !hit {
		q.Touch = false // memcached counts a miss as a get whatever the flags
		w.missed(q, it)
		w.lease(q, it)
		return protocol.AppendMetaMiss(out, r)
	}
	out = protocol.AppendMetaItem(out, r, &found)
	if protocol.HasValue(r, &found) {
		out = protocol.AppendLineEnd(w.appendValue(out))
	}
	q.Touch = m.Touch
	w.found()
	return out
}

// metaSize bounds what of the output the answer to mg, w.item, takes.
func (w *worker) metaSize() int { return w.inOut() + protocol.MaxMetaHeader + 2 }

// describe notes what answers to meta commands tell of w.item, which must be locked.
func (w *worker) describe(found *protocol.MetaItem, r *protocol.Request) {
	it := &w.item
	*found = protocol.MetaItem{}
	found.Size, found.Flags, found.Unique = len(it.Value), it.Flags, it.CAS
	found.TTL, found.LastAccess, found.Fetched = w.left(it.Deadline), it.LastAccess, it.Fetched
	found.BinaryKey, found.Created = it.BinaryKey, it.Created
	found.Sent, found.Stale, found.Won = it.Sent, it.Stale, it.Won
	w.leftAfter(found, r)
}

// leftAfter notes how long an item lives after the command.
func (w *worker) leftAfter(found *protocol.MetaItem, r *protocol.Request) {
	if r.Meta.Touch {
		found.NewTTL = w.left(deadline(r.Exptime, w.now, w.wall))
	}
	if r.Vivify {
		found.VivifyTTL = w.left(deadline(r.Meta.VivifyExptime, w.now, w.wall))
	}
}

// left is the time to a deadline in seconds, -1 where there is none.
func (w *worker) left(deadline uint32) int64 {
	switch deadline {
	case store.NoDeadline:
		return -1
	case store.Expired:
		return 0
	}
	return max(int64(deadline)-int64(w.now.Second()), 0)
}

// metaDebug answers me, which counts as no access and loads nothing.
func (w *worker) metaDebug(r *protocol.Request, out []byte) []byte {
	w.n.CmdMeta++
	q, it := &w.lookup, &w.item
	*q = store.Lookup{Now: w.now, Meta: true, Peek: true, NoBump: true, WantCAS: true, Access: true}
	q.Key, q.Route = w.canonical(r.Key)
	q.Hash = w.seed.Key(q.Key)
	hit := w.store.Get(q, it)
	w.logGet(r.Key, hit)
	if hit {
		var found protocol.MetaItem
		w.describe(&found, r)
		out = protocol.AppendMetaDebug(out, r, &found)
		it.Release()
	} else {
		out = protocol.AppendMetaMiss(out, r)
	}
	if it.Lease.Serial != 0 {
		w.store.EndLease(it.Lease)
	}
	return out
}

// metaWrite answers ms.
func (w *worker) metaWrite(r *protocol.Request, out []byte) []byte {
	st, unique := w.write(r, writeOps[r.Verb])
	code, size := protocol.MetaOK, len(r.Value)
	switch st {
	case store.Later:
		return out
	case store.Stored:
		if r.Verb == protocol.Append || r.Verb == protocol.Prepend {
			size = w.writing.Size
		}
	case store.Ignored:
	case store.Exists:
		code = protocol.MetaExists
	case store.NotFound:
		code = protocol.MetaNotFound
	case store.TooLarge:
		if r.TooLarge {
			return protocol.AppendReply(out, protocol.TooLarge)
		}
		code = protocol.MetaNotStored
	case store.NoMemory:
		return protocol.AppendReply(out, protocol.NoMemoryStore)
	default:
		code = protocol.MetaNotStored
	}
	return protocol.AppendMetaStored(out, r, code, size, unique)
}

// metaDelete answers md.
func (w *worker) metaDelete(r *protocol.Request, out []byte) []byte {
	m, d := &r.Meta, &w.deletion
	*d = store.Deletion{Now: w.now, Compare: m.Compare, CAS: r.Unique, Drop: m.Drop, Flags: r.Flags, Invalidate: m.Invalidate, NewCAS: m.NewUnique}
	if d.CAS == 0 {
		d.CAS = math.MaxUint64 // no item has 0, but the store has it for items whose CAS nobody has seen
	}
	if m.Touch {
		d.Touch, d.Deadline = true, deadline(r.Exptime, w.now, w.wall)
	}
	d.Key, d.Route = w.canonical(r.Key)
	d.Hash = w.seed.Key(d.Key)
	size := w.logLookup(r.Key, d.Key, d.Hash, d.Route)
	st := w.store.Remove(d)
	if m.Drop && st == store.Deleted {
		w.logEmptied(r.Key, size)
		size = 0
	}
	switch st {
	case store.Exists:
		w.n.DeleteMisses++
		return protocol.AppendMetaDone(out, r, protocol.MetaExists)
	case store.NotFound:
		w.n.DeleteMisses++
		return protocol.AppendMetaDone(out, r, protocol.MetaNotFound)
	case store.NoMemory:
		return protocol.AppendReply(out, protocol.NoMemoryDelta)
	}
	if !m.Invalidate {
		w.n.DeleteHits++
		w.logDelete(r.Key, "md", size)
	}
	return protocol.AppendMetaDone(out, r, protocol.MetaOK)
}

// metaIncr answers ma.
func (w *worker) metaIncr(r *protocol.Request, out []byte) []byte {
	n, st := w.incr(r)
	switch st {
	case store.NotFound:
		return protocol.AppendMetaDone(out, r, protocol.MetaNotFound)
	case store.Exists:
		return protocol.AppendMetaDone(out, r, protocol.MetaExists)
	case store.NoMemory:
		return protocol.AppendReply(out, protocol.NoMemoryDelta)
	case store.NonNumeric:
		return protocol.AppendReply(out, protocol.NonNumeric)
	}
	found := protocol.MetaItem{Unique: n.CAS, TTL: w.left(n.Deadline), Created: n.Created}
	w.leftAfter(&found, r)
	return protocol.AppendMetaNumber(out, r, n.Value, &found)
}
