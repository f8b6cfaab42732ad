package server

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// netLoop serves with a goroutine for each connection. Workers stay what they are, so that rings, counters and clocks are
// the same as with epoll: a connection borrows its worker for as long as it runs commands.
type netLoop struct {
	s        *Server
	g        *group
	stopping chan struct{}
	cut      chan struct{}  // closed when what is left is cut off
	wg       sync.WaitGroup // accepts and connections
	next     atomic.Uint64  // deals connections to workers

	borrow []sync.Mutex // one for each worker

	held pause

	mu                sync.Mutex            // guards the rest
	conns             map[net.Conn]struct{} // as accepted, not as encrypted
	looping, standing int                   // connections that run commands, and those of them that stand still
	quiet             chan struct{}         // closed when all of them do; nil: nobody waits for that
}

func newNetLoop(s *Server, g *group) loop {
	return &netLoop{
		s: s, g: g, stopping: make(chan struct{}), cut: make(chan struct{}),
		borrow: make([]sync.Mutex, len(g.workers)), conns: make(map[net.Conn]struct{}),
	}
}

func (l *netLoop) start() {
	for _, at := range l.g.sockets {
		l.wg.Go(func() { l.accept(at) })
	}
}

func (l *netLoop) close() {}

func (l *netLoop) accept(at *socket) {
	shut := false
	for {
		c, err := at.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if !l.held.wait(l.stopping) {
				return
			}
			continue
		}
		if failed := err != nil && !l.stopped(); failed != shut {
			shut = failed
			l.s.doors.set(l.g, shut)
		}
		if err != nil {
			select {
			case <-l.stopping:
				return
			case <-time.After(acceptPause):
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			l.s.log.Error().Err(err).Msg("accept")
			continue
		}
		if !l.letIn(c) {
			continue
		}
		l.mu.Lock()
		l.conns[c] = struct{}{}
		l.mu.Unlock()
		info := l.s.conns.add(addrName(c.RemoteAddr()), addrName(c.LocalAddr()))
		l.s.tellOpened(info, at.of)
		l.wg.Go(func() { l.serve(c, at, info) })
	}
}

// letIn counts a connection in. Over the limit it is refused and closed, or it waits for room, as Options say; with it wait
// those behind it. False: it is closed.
func (l *netLoop) letIn(c net.Conn) bool {
	if l.s.admit() {
		return true
	}
	if !l.s.o.WaitForRoom {
		l.s.conns.rejected.Add(1)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.Write(tooMany)
		c.Close()
		return false
	}
	l.s.doors.set(l.g, true)
	defer l.s.doors.set(l.g, false)
	tick := time.NewTicker(roomTick)
	defer tick.Stop()
	for {
		select {
		case <-l.stopping:
			c.Close()
			return false
		case <-tick.C:
		}
		if l.s.admit() {
			return true
		}
	}
}

// acceptPause is how long accepting rests after an error, as when file descriptors have run out.
const acceptPause = 50 * time.Millisecond

// stopped tells whether shutdown has begun.
func (l *netLoop) stopped() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

func (l *netLoop) serve(c net.Conn, at *socket, info *connInfo) {
	nc := l.newConn(c, info)
	nc.session = newSession(nc.w, at.of)
	nc.session.id, nc.session.local = nc.info.id, nc.info.isLocal(at.of)
	nc.info.last.Store(l.s.o.Store.Now().Second())
	if at.of.TLS == NoTLS || nc.handshake(l.s.o.TLS.config(at.of.TLS)) {
		nc.loop()
	}
	l.end(nc, c)
}

// newConn makes a connection with its worker, and without its session.
func (l *netLoop) newConn(c net.Conn, info *connInfo) *netConn {
	i := int((l.next.Add(1) - 1) % uint64(len(l.g.workers)))
	return &netConn{Conn: c, l: l, w: l.g.workers[i], borrow: &l.borrow[i], info: info, holds: l.held.n.Load()}
}

// end closes nc, which was accepted as c.
func (l *netLoop) end(nc *netConn, c net.Conn) {
	nc.Close()
	nc.input.drop(&nc.w.buffers)
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	nc.session.close(l.s)
	l.s.tellClosed(nc.info, nc.session.reason)
}

// netConn is a connection with its session. One goroutine uses it.
type netConn struct {
	net.Conn
	l        *netLoop
	w        *worker
	borrow   *sync.Mutex
	session  session
	info     *connInfo
	input    input
	buf      []byte // read buffer
	out      []byte // replies on their way
	received int    // by the last read
	timed    bool   // reads have a deadline
	looking  bool   // the one of this read is there to look whether the client is slow
	last     bool   // shutdown has begun; this read is the last
	brief    bool   // the server is about to stand still; this read is the last before
	holds    uint64 // how often the server had stood still when this connection looked
}

// loop reads, runs and writes until either side ends.
func (c *netConn) loop() {
	c.buf = make([]byte, keepInput)
	c.l.note(&c.l.looping, 1)
	defer c.l.note(&c.l.looping, -1)
	for {
		data, err := c.receive()
		if len(data) > 0 && c.received > 0 && !c.answer(data) {
			return
		}
		if err != nil && !c.again(err) {
			c.noteTLS(err)
			return
		}
	}
}

// receive reads once and returns everything that waits to be run.
func (c *netConn) receive() (data []byte, err error) {
	c.received = 0
	if c.holds == c.l.held.n.Load() && c.l.held.on() && !c.l.stand() {
		return nil, errLeft
	}
	space, err := c.space()
	if err != nil {
		return nil, err
	}
	wait := c.l.s.o.IdleTimeout
	if c.looking = c.input.large() && (wait == 0 || wait > lagTick); c.looking {
		wait = lagTick
	}
	if wait > 0 {
		_ = c.SetReadDeadline(time.Now().Add(wait))
	} else if c.timed {
		_ = c.SetReadDeadline(time.Time{})
	}
	c.timed = wait > 0
	n := c.l.held.n.Load() // after setting the other deadline: hold and shutdown set their own once
	c.last, c.brief = c.l.stopped(), n != c.holds
	if c.last || c.brief {
		_ = c.SetReadDeadline(time.Now().Add(lastRead))
		c.timed, c.holds = true, n
	}
	c.received, err = c.Read(space)
	if c.received == 0 {
		return nil, err
	}
	return c.input.add(c.buf, c.received), err
}

// space returns where to read to. While the memory for input is used up it waits until others have finished.
func (c *netConn) space() ([]byte, error) {
	b := &c.w.buffers
	for paused := false; ; paused = true {
		space := c.input.space(b, c.buf, c.session.parser.Need, c.l.s.o.Store.Now())
		switch {
		case space != nil:
			return space, nil
		case c.l.stopped():
			return nil, net.ErrClosed
		case !paused:
			c.count(func(n *Counters) { n.InputPauses++ })
		}
		b.wait(c.input.grown(c.session.parser.Need), c.l.stopping)
	}
}

// lastRead is how long a connection is listened to once shutdown has begun: long enough for what has arrived already.
const lastRead = 10 * time.Millisecond

// again tells whether a failed read is no reason to close: shutdown or hold woke the connection, to read what has arrived.
func (c *netConn) again(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	if c.l.stopped() {
		return !c.last
	}
	if c.brief || c.holds != c.l.held.n.Load() {
		return true
	}
	now := c.l.s.o.Store.Now()
	switch idle := uint32(c.l.s.o.IdleTimeout / time.Second); {
	case !c.looking:
	case c.input.lags(now) && c.w.buffers.wanting():
		c.count(func(n *Counters) { n.InputDrops++ })
		c.session.reason = "slow"
		return false
	case idle == 0 || now.Second()-c.info.last.Load() <= idle:
		return true
	}
	c.count(func(n *Counters) { n.IdleKicks++ })
	c.session.reason = "idle_timeout"
	return false
}

// count changes a counter of the worker.
func (c *netConn) count(f func(n *Counters)) {
	c.borrow.Lock()
	f(&c.w.n)
	c.w.publish()
	c.borrow.Unlock()
}

// answer runs the complete commands in data and writes their replies. False ends the connection.
func (c *netConn) answer(data []byte) bool {
	c.session.turn(c.l.s.o.ReqsPerEvent)
	for {
		used, did := 0, starved
		c.borrow.Lock()
		if c.l.held.left.Load() {
			c.borrow.Unlock()
			return false
		}
		c.w.begin()
		woke, now := c.w.woke, c.w.now
		c.info.last.Store(c.w.now.Second())
		c.w.n.BytesRead += uint64(c.received)
		c.received = 0
		used, c.out, did = c.session.run(c.w, data, c.out[:0])
		c.w.n.BytesWritten += uint64(len(c.out))
		if did == yields {
			c.w.n.ConnYields++
			c.session.turn(c.l.s.o.ReqsPerEvent)
		}
		c.w.end()
		c.borrow.Unlock()
		data = data[used:]
		if len(c.out) > 0 && !c.send() {
			return false
		}
		c.w.time(&c.session, woke)
		if cap(c.out) > 2*highWater || did == starved && cap(c.out) > keepOutput {
			c.out = nil
		}
		switch did {
		case parked:
			if !c.errand() || len(c.out) > 0 && !c.send() {
				return false
			}
		case ended:
			return false
		case starved:
			c.input.hold(&c.w.buffers, data, c.session.parser.Need, now)
			c.info.rest(c.session.waitsFor())
			return true
		}
	}
}

// errand does what the session left to be done off the worker. False ends the connection: a client that watches has gone, or
// what is left is cut off.
func (c *netConn) errand() bool {
	if w := c.session.watching; w != nil {
		if w.gone == nil {
			c.info.rest(watching)
			w.gone = c.lookOut()
		}
		c.out = c.session.errand(c.out[:0])
		return !w.left()
	}
	if c.session.attempt != nil { // ends when the server stops, and there may be many
		c.out = c.session.errand(c.out[:0])
		return true
	}
	answer := make(chan []byte, 1)
	do := c.session.errand
	c.l.s.errands.Go(func() { answer <- do(nil) })
	select {
	case c.out = <-answer:
		return true
	case <-c.l.cut:
		return false
	}
}

// lookOut closes what it returns when the client has gone. What it sends until then nobody reads, as in memcached.
func (c *netConn) lookOut() <-chan struct{} {
	gone := make(chan struct{})
	_ = c.SetReadDeadline(time.Time{}) // shutdown, which sets one, ends all that watch besides
	c.l.wg.Go(func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, c.Conn)
	})
	return gone
}

// keepOutput is the largest reply buffer that an idle connection of the net loop may keep.
const keepOutput = 16 << 10

// send writes the replies; the client has SlowTimeout to take them, or readStall once much output waits for others.
func (c *netConn) send() bool {
	patience, short := c.l.s.o.SlowTimeout, false
	r := &c.w.replies
	if r.waiting.Add(int64(len(c.out))) > int64(r.limit/2) && patience > readStall {
		patience, short = readStall, true
	}
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	c.info.waiting.Store(true)
	_, err := c.Write(c.out)
	c.info.waiting.Store(false)
	r.waiting.Add(-int64(len(c.out)))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.session.reason = "slow"
		c.count(func(n *Counters) {
			if short {
				n.ReplyDrops++
			} else {
				n.SlowDrops++
			}
		})
	}
	if err != nil {
		c.noteTLS(err)
	}
	return err == nil
}

func (l *netLoop) shutdown(ctx context.Context) error {
	close(l.stopping)
	closeAll(l.g.sockets)
	l.each(func(c net.Conn) { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	done := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	close(l.cut)
	l.each(func(c net.Conn) { c.Close() })
	<-done
	return ctx.Err()
}

func (l *netLoop) each(f func(net.Conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		f(c)
	}
}
