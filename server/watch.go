package server

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"swordfish/protocol"
	"swordfish/store"
)

// watchers shows what happens to the clients that said watch. Workers write lines only while somebody wants them, and hand
// them over once per wake-up; a watcher that does not keep up misses lines, which are counted, and nobody waits for it.
type watchers struct {
	want atomic.Uint32 // protocol.Streams that somebody watches
	ids  atomic.Uint64 // of lines
	stop chan struct{} // closed when the server stops
	rush chan struct{} // closed when all watchers are to be done with what they wait for; guarded by mu

	store  *store.Store
	buffer int // bytes that may wait for a watcher
	gather int // bytes of lines of a worker's wake-up

	mu   sync.Mutex // guards the rest and the watchers; evictions take it under a lock of the store
	all  []*watcher
	n    watchCounters
	line []byte
}

// watchCounters are what memcached's statistics tell of watching.
type watchCounters struct{ written, dropped, skipped, sent uint64 }

// WatchStats tell of watch: lines that workers wrote, those of them for which there was no room, and lines that watchers missed
// and got.
type WatchStats struct {
	Watchers                        int64
	Written, Dropped, Skipped, Sent uint64
}

func (ws *watchers) stats() WatchStats {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return WatchStats{int64(len(ws.all)), ws.n.written, ws.n.dropped, ws.n.skipped, ws.n.sent}
}

const (
	maxWatchers = 20
	watchTick   = time.Second
	watchGather = 5 * time.Millisecond // how long lines gather once there is one
)

// watcher is a client that watches. Its connection is parked: it sends what next returns, again and again.
type watcher struct {
	of      *watchers
	streams protocol.Streams
	ready   chan struct{}   // has a token while buf is not empty
	urgent  chan struct{}   // has one while buf is half full
	gone    <-chan struct{} // closed when its client has gone; nil: whoever drives the connection ends it then

	buf     []byte
	skipped uint64
}

// open prepares for watchers. The lines of a worker's wake-up come at once, so a watcher's buffer has room for them twice.
func (ws *watchers) open(st *store.Store, buffer, gather int) {
	ws.stop, ws.rush, ws.store = make(chan struct{}), make(chan struct{}), st
	ws.buffer, ws.gather = max(buffer, 2*gather), gather
}

// add makes a new watcher, or returns nil when there are enough.
func (ws *watchers) add(streams protocol.Streams) *watcher {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.all) >= maxWatchers {
		return nil
	}
	w := &watcher{of: ws, streams: streams, ready: make(chan struct{}, 1), urgent: make(chan struct{}, 1)}
	ws.all = append(ws.all, w)
	ws.count()
	return w
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.all = slices.DeleteFunc(ws.all, func(other *watcher) bool { return other == w })
	ws.count()
}

// count sets want anew. The caller holds mu.
func (ws *watchers) count() {
	want := protocol.Streams(0)
	for _, w := range ws.all {
		want |= w.streams
	}
	ws.want.Store(uint32(want))
	if want&protocol.WatchEvictions != 0 {
		ws.store.OnEvict(ws.evicted)
	} else {
		ws.store.OnEvict(nil)
	}
}

// evicted tells of an item that has to make room. The store calls it under a lock.
func (ws *watchers) evicted(e *store.Evicted) {
	l := protocol.LogItem{LogHead: ws.head("eviction"), Key: e.Key, Fetched: e.Fetched, TTL: e.TTL, Age: e.Idle, Held: true, Size: e.Size}
	ws.mu.Lock()
	ws.line = protocol.AppendLogEviction(ws.line[:0], &l)
	ws.show(protocol.WatchEvictions, ws.line)
	ws.mu.Unlock()
}

// stopped tells whether the server stops.
func (ws *watchers) stopped() bool {
	select {
	case <-ws.stop:
		return true
	default:
		return false
	}
}

// next waits for lines and appends them; after watchTick it returns without.
func (w *watcher) next(out []byte) []byte {
	w.of.mu.Lock()
	rush := w.of.rush
	w.of.mu.Unlock()
	tick := time.NewTimer(watchTick)
	defer tick.Stop()
	select {
	case <-w.ready:
		gather := time.NewTimer(watchGather)
		defer gather.Stop()
		select {
		case <-gather.C:
		case <-w.urgent:
		case <-rush:
		case <-w.of.stop:
		}
	case <-tick.C:
	case <-w.gone:
	case <-rush:
	case <-w.of.stop:
	}
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	out = append(out, w.buf...)
	w.buf = w.buf[:0]
	for _, token := range []chan struct{}{w.ready, w.urgent} {
		select {
		case <-token:
		default:
		}
	}
	return out
}

// left tells whether the client has gone.
func (w *watcher) left() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// hurry has all watchers done with what they wait for.
func (ws *watchers) hurry() {
	ws.mu.Lock()
	close(ws.rush)
	ws.rush = make(chan struct{})
	ws.mu.Unlock()
}

// show hands lines over to those who want them. The caller holds mu.
func (ws *watchers) show(stream protocol.Streams, line []byte) {
	ws.n.written++
	for _, w := range ws.all {
		if w.streams&stream == 0 {
			continue
		}
		if len(w.buf)+len(line) > ws.buffer {
			w.skipped++
			ws.n.skipped++
			continue
		}
		if w.skipped > 0 {
			w.buf = protocol.AppendLogSkipped(w.buf, w.skipped)
			w.skipped = 0
		}
		w.buf = append(w.buf, line...)
		ws.n.sent++
		put(w.ready)
		if len(w.buf) > ws.buffer/2 {
			put(w.urgent)
		}
	}
}

// put puts a token where there is none.
func put(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// logLines are what a worker has to tell since its wake-up began.
type logLines struct {
	text []byte
	ends []logEnd
	lost uint64
}

type logEnd struct {
	stream protocol.Streams
	end    int
}

// wants tells whether somebody watches the stream.
func (ws *watchers) wants(stream protocol.Streams) bool {
	return protocol.Streams(ws.want.Load())&stream != 0
}

func (ws *watchers) head(kind string) protocol.LogHead {
	return protocol.LogHead{Time: time.Now(), ID: ws.ids.Add(1), Type: kind}
}

// logItem adds a line about an item, which format writes.
func (w *worker) logItem(stream protocol.Streams, format func([]byte, *protocol.LogItem) []byte, l *protocol.LogItem) {
	if len(w.log.text) > w.srv.watch.gather {
		w.log.lost++
		return
	}
	w.log.text = format(w.log.text, l)
	w.log.ends = append(w.log.ends, logEnd{stream, len(w.log.text)})
}

// flushLog hands the lines over.
func (w *worker) flushLog() {
	if len(w.log.ends) == 0 {
		return
	}
	ws := &w.srv.watch
	ws.mu.Lock()
	from := 0
	for _, e := range w.log.ends {
		ws.show(e.stream, w.log.text[from:e.end])
		from = e.end
	}
	ws.n.dropped += w.log.lost
	ws.mu.Unlock()
	w.log = logLines{text: w.log.text[:0], ends: w.log.ends[:0]}
}

var missWords = [...]string{store.Absent: "not_found", store.TTLOver: "expired", store.Flushed: "flushed", store.Negative: "not_found"}

// logGet tells of a look-up, w.item, which after a hit is locked.
func (w *worker) logGet(key []byte, hit bool) {
	if !w.srv.watch.wants(protocol.WatchFetchers) {
		return
	}
	l := protocol.LogItem{Key: key, Status: missWords[w.item.Miss], Held: hit, Conn: w.conn}
	if hit {
		l.Status, l.Size = "found", len(w.item.Value)
	}
	w.logFetch(&l)
}

var commandWords = [...]string{store.Set: "set", store.Add: "add", store.Replace: "replace", store.Append: "append", store.Prepend: "prepend", store.CAS: "cas"}

// logWrite tells of a storage command.
func (w *worker) logWrite(r *protocol.Request, op store.WriteOp, st store.Status) {
	if !w.srv.watch.wants(protocol.WatchMutations) {
		return
	}
	l := protocol.LogItem{Key: r.Key, Status: "stored", Command: commandWords[op],
		TTL: w.left(deadline(r.Exptime, w.now, w.wall)), Held: true, Conn: w.conn, Size: len(r.Value)}
	switch st {
	case store.Stored:
		if op == store.Append || op == store.Prepend {
			l.Size = w.writing.Size
		}
	case store.NotStored:
		l.Status = "not_stored"
	case store.Exists:
		l.Status = "exists"
	case store.NotFound:
		l.Status = "not_found"
	case store.TooLarge:
		l.Status = "too_large"
	case store.NoMemory:
		l.Status = "no_memory"
	}
	w.logStore(&l)
}

// logLookup tells of the look-up that a command other than a get begins with, and returns the size of the value that it would
// find. It is 0 where nobody wants to know.
func (w *worker) logLookup(key, canonical []byte, hash uint64, route store.RouteID) (size int) {
	ws := &w.srv.watch
	if !ws.wants(protocol.WatchFetchers | protocol.WatchDeletions) {
		return 0
	}
	size, why, held := w.store.Peek(canonical, hash, route, w.now)
	l := protocol.LogItem{Key: key, Status: missWords[why], Held: held, Conn: w.conn, Size: size}
	if held {
		l.Status = "found"
	}
	w.logFetch(&l)
	return size
}

// logFetch tells of a look-up, all of which but the head is in l.
func (w *worker) logFetch(l *protocol.LogItem) {
	if ws := &w.srv.watch; ws.wants(protocol.WatchFetchers) {
		l.LogHead = ws.head("item_get")
		w.logItem(protocol.WatchFetchers, protocol.AppendLogGet, l)
	}
}

// logMade tells of a number that incr or decr made, for which memcached looks a second time.
func (w *worker) logMade(key []byte, value uint64) {
	if !w.srv.watch.wants(protocol.WatchFetchers | protocol.WatchMutations) {
		return
	}
	size := len(strconv.FormatUint(value, 10))
	w.logFetch(&protocol.LogItem{Key: key, Status: "not_found", Conn: w.conn})
	w.logStore(&protocol.LogItem{Key: key, Status: "stored", Command: "add", Held: true, Conn: w.conn, Size: size})
}

// logEmptied tells of an item that lost its value, for which memcached looks a second time and stores an empty one.
func (w *worker) logEmptied(key []byte, size int) {
	if !w.srv.watch.wants(protocol.WatchFetchers | protocol.WatchMutations) {
		return
	}
	w.logFetch(&protocol.LogItem{Key: key, Status: "found", Held: true, Conn: w.conn, Size: size})
	w.logStore(&protocol.LogItem{Key: key, Status: "stored", Command: "set", Held: true, Conn: w.conn})
}

// logStore tells of an item that was to be stored, all of which but the head is in l.
func (w *worker) logStore(l *protocol.LogItem) {
	if ws := &w.srv.watch; ws.wants(protocol.WatchMutations) {
		l.LogHead = ws.head("item_store")
		w.logItem(protocol.WatchMutations, protocol.AppendLogStore, l)
	}
}

// logDelete tells of an item that was deleted.
func (w *worker) logDelete(key []byte, command string, size int) {
	if !w.srv.watch.wants(protocol.WatchDeletions) {
		return
	}
	w.logItem(protocol.WatchDeletions, protocol.AppendLogDelete,
		&protocol.LogItem{LogHead: w.srv.watch.head("deleted"), Key: key, Command: command, Held: true, Size: size})
}

// logConn tells of a connection that begins, or ends for a reason.
func (s *Server) logConn(kind, reason string, c *connInfo) {
	ws := &s.watch
	if !ws.wants(protocol.WatchConnEvents) {
		return
	}
	host, port, transport := c.peer()
	head := ws.head(kind)
	line := protocol.AppendLogConn(nil, &head, host, port, transport, reason, c.id)
	ws.mu.Lock()
	ws.show(protocol.WatchConnEvents, line)
	ws.mu.Unlock()
}

// close ends what a session has elsewhere, when its connection ends.
func (ss *session) close(s *Server) {
	if ss.watching != nil {
		s.watch.remove(ss.watching)
	}
}

// watchCommand begins to watch. The connection is a watcher's from then on.
func (ss *session) watchCommand(w *worker, r *protocol.Request, out []byte) []byte {
	if w.srv.o.NoWatch {
		return protocol.AppendReply(out, protocol.WatchNotAllowed)
	}
	if ss.stacked {
		return protocol.AppendReply(out, protocol.WatchStacked)
	}
	if r.Streams == 0 {
		return protocol.AppendReply(out, protocol.Error)
	}
	if ss.watching = w.srv.watch.add(r.Streams); ss.watching == nil {
		return protocol.AppendReply(out, protocol.WatcherTooMany)
	}
	return protocol.AppendReply(out, protocol.OK)
}
