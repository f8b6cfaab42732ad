package server

import (
	"swordfish/protocol"
	"swordfish/store"
)

// dump is a walk over all items whose lines are being sent. A session has at most one, and goes on with it whenever there
// is room for output, before it looks at the next command.
type dump struct {
	kind   dumpKind
	cursor store.Cursor
	show   func(*store.Walked)
	w      *worker // during a step
	out    []byte  // during a step
	left   int     // items that cachedump may still show
	bytes  int     // bytes that cachedump may still write
	over   bool
}

type dumpKind uint8

const (
	metadump dumpKind = iota
	mgdump
	cachedump
)

const (
	dumpStep  = 64      // records looked at between two looks at the output
	dumpTurn  = 256     // steps before other connections have their turn
	cacheDump = 2 << 20 // bytes of an answer to cachedump, as in memcached
)

// newDump begins a dump; an empty one has nothing but its ending.
func newDump(kind dumpKind, empty bool) *dump {
	d := &dump{kind: kind, over: empty, left: -1, bytes: cacheDump - len("END\r\n")}
	d.show = d.line
	return d
}

// run goes on with the dump until it has ended, which is starved, until out is full, or until the others have waited long
// enough, which is yields: much may be looked at of which nothing is shown.
func (d *dump) run(w *worker, out []byte) ([]byte, progress) {
	d.w, d.out = w, out
	did := starved
	for step := 0; !d.over && did == starved; step++ {
		switch {
		case len(d.out) >= highWater:
			did = full
		case step == dumpTurn:
			did = yields
		default:
			d.over = !w.store.Walk(&d.cursor, w.now, dumpStep, d.show) || d.over
		}
	}
	out, d.w, d.out = d.out, nil, nil
	switch {
	case did != starved:
		return out, did
	case d.kind == mgdump:
		return protocol.AppendReply(out, protocol.MetaEnd), starved
	}
	return protocol.AppendReply(out, protocol.End), starved
}

// line appends an item.
func (d *dump) line(x *store.Walked) {
	it := protocol.MetaItem{
		Size: x.Size, Flags: x.Flags, Unique: x.CAS, TTL: d.w.left(x.Deadline), LastAccess: x.LastAccess, Fetched: x.Fetched, BinaryKey: x.BinaryKey,
	}
	switch d.kind {
	case metadump:
		d.out = protocol.AppendMetadump(d.out, x.Key, &it, d.w.wall.Unix())
	case mgdump:
		d.out = protocol.AppendMgdump(d.out, x.Key, x.BinaryKey)
	case cachedump:
		if d.over || x.BinaryKey {
			return
		}
		before := len(d.out)
		d.out = protocol.AppendCachedump(d.out, x.Key, &it, d.w.wall.Unix())
		if d.bytes -= len(d.out) - before; d.bytes < 0 {
			d.out, d.over = d.out[:before], true
		}
		if d.left--; d.left == 0 {
			d.over = true
		}
	}
}

// crawl runs lru_crawler. Expired items are looked for all the time; asked to crawl, the store looks at once.
func (ss *session) crawl(w *worker, r *protocol.Request, out []byte) []byte {
	s := w.srv
	why := protocol.OK
	switch {
	case r.Crawl == protocol.CrawlEnable:
		if !s.crawlerOff.Swap(false) {
			why = protocol.CrawlerRunning
		}
	case r.Crawl == protocol.CrawlDisable:
		s.crawlerOff.Store(true)
	case s.crawlerOff.Load():
		why = protocol.CrawlerDisabled
	case r.Crawl == protocol.Metadump && s.o.NoDump:
		why = protocol.MetadumpNotAllowed
	case r.Crawl == protocol.Mgdump && s.o.NoDump:
		why = protocol.MgdumpNotAllowed
	case r.Crawl == protocol.Metadump && ss.stacked:
		why = protocol.MetadumpStacked
	case r.Crawl == protocol.Mgdump && ss.stacked:
		why = protocol.MgdumpStacked
	case r.Classes == protocol.ClassesBad:
		why = protocol.CrawlerBadClass
	case r.Classes == protocol.ClassesNone:
		why = protocol.CrawlerNoClass
	case r.Crawl == protocol.CrawlOnce && r.Classes == protocol.ClassesHash:
		why = protocol.CrawlerNoHash
	case r.Crawl == protocol.CrawlOnce && r.Classes != protocol.ClassesEmpty:
		w.store.Crawl()
	case r.Crawl == protocol.Metadump:
		ss.dump = newDump(metadump, r.Classes == protocol.ClassesEmpty)
	case r.Crawl == protocol.Mgdump:
		ss.dump = newDump(mgdump, r.Classes == protocol.ClassesEmpty)
	}
	return protocol.AppendReply(out, why)
}

// cachedump runs stats cachedump. All items are in the first slab class.
func (ss *session) cachedump(w *worker, r *protocol.Request, out []byte) []byte {
	if w.srv.o.NoDump {
		return protocol.AppendReply(out, protocol.DumpNotAllowed)
	}
	class, limit, why, ok := protocol.ReadCachedump(r)
	if !ok {
		return protocol.AppendReply(out, why)
	}
	ss.dump = newDump(cachedump, class != 1)
	if limit > 0 {
		ss.dump.left = int(limit)
	}
	return out
}
