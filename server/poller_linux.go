package server

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"swordfish/store"
)

// poller is a worker's thread: the connections dealt to it and the epoll set that watches them.
type poller struct {
	w    *worker
	s    *Server
	ep   int
	wake int // eventfd: inbox, done or stop has changed

	mu      sync.Mutex // guards the next four
	inbox   []*conn
	done    []doneErrand
	stop    stopLevel
	held    *standstill    // to stand still for; nil: no
	watches sync.WaitGroup // errands of watchers
	words   sync.WaitGroup // other errands

	conns    []*conn // by file descriptor
	open     int
	ready    []*conn // have complete commands left, and had their share of this wake-up
	paused   []*conn // wait for memory for their input
	last     bool    // the last one of them whose turn it was had waited longest
	stalled  int     // connections that wait for their client to read
	stopping bool
	order    *standstill // to stand still for once this wake-up is over
	in       []byte      // read buffer of all connections
	staged   []staged
	out      []byte // reply buffer of all connections
	pieces   [][]byte
	ticked   time.Time
}

// conn is one connection. Only its poller's thread touches it once it is dealt out.
type conn struct {
	fd      int
	session session
	info    *connInfo
	input   input
	out     output    // what the socket did not take
	owed    int       // bytes of out when it was kept; 0: nothing waits
	events  uint32    // what epoll watches for
	since   time.Time // the socket took no output since
	ready   bool      // in poller.ready
	ending  bool      // to be closed once out is written
	paused  bool      // in poller.paused; it is not read from
	talks   bool      // sent much the last time
	parked  bool      // an errand is under way; nothing is read or run until it is done

	from *ConnState // another process has handed it over and it does not go on yet; nil: no
	tag  string     // of its listener
	unix bool       // it came over a UNIX socket
}

// doneErrand is what an errand answered.
type doneErrand struct {
	c     *conn
	reply []byte
}

const (
	turnFlushes = 16            // full output buffers written for one connection before the others have their turn
	keepReplies = 4 << 20       // largest reply buffer that a poller keeps between wake-ups
	tick        = time.Second   // distance of the looks at slow and idle connections
	batchEvents = 256           // events taken at once
	wakeMark    = int32(-1)     // stands for the eventfd in an epoll event
	pauseEvents = unix.EPOLLOUT // while the client does not take its output it is not read from
)

// run is the thread: wait, serve everything that happened, hand over, wait.
func (p *poller) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events := make([]unix.EpollEvent, batchEvents)
	idle := false // nothing has come for a while: wait where the scheduler knows of it
	for {
		timeout := p.timeout()
		var n int
		var err error
		if idle {
			n, err = unix.EpollWait(p.ep, events, timeout)
		} else {
			n, err = waitBriefly(p.ep, events, timeout)
		}
		idle = n <= 0 && timeout != 0
		if err != nil {
			if err != unix.EINTR {
				p.s.log.Error().Err(err).Int("worker", p.w.id).Msg("epoll_wait")
			}
			n = 0
		}
		p.w.begin()
		for _, ev := range events[:n] {
			c := (*conn)(nil)
			if ev.Fd != wakeMark {
				if c = p.conns[ev.Fd]; c == nil || n > 1 && p.stage(c, ev.Events) {
					continue
				}
			}
			p.answerStaged() // their input lies where others would read to
			if c == nil {
				p.news()
			} else {
				p.event(c, ev.Events)
			}
		}
		p.answerStaged()
		p.serveReady()
		p.resume()
		if (p.stalled > 0 || len(p.paused) > 0 || p.s.o.IdleTimeout > 0) && p.w.woke.Sub(p.ticked) >= p.tick() {
			p.ticked = p.w.woke
			p.lookAround()
		}
		if cap(p.out) > keepReplies {
			p.out = make([]byte, 0, highWater)
		}
		p.w.end()
		if p.stopping && p.open == 0 || p.order != nil && !p.stand() {
			return
		}
	}
}

// timeout is how long to wait at most, in milliseconds.
func (p *poller) timeout() int {
	switch {
	case len(p.ready) > 0:
		return 0
	case p.stalled > 0 || len(p.paused) > 0 || p.s.o.IdleTimeout > 0 && p.open > 0:
		return int(p.tick() / time.Millisecond)
	}
	return -1
}

func (p *poller) tick() time.Duration {
	d := min(tick, p.s.o.SlowTimeout)
	if len(p.paused) > 0 {
		d = min(d, lagTick)
	}
	if p.s.o.IdleTimeout > 0 {
		d = min(d, p.s.o.IdleTimeout)
	}
	return max(d, time.Millisecond)
}

// news takes over new connections and the order to stop.
func (p *poller) news() {
	var count [8]byte
	_, _ = unix.Read(p.wake, count[:])
	p.mu.Lock()
	dealt, done, stop := p.inbox, p.done, p.stop
	p.inbox, p.done, p.order = nil, nil, p.held
	p.mu.Unlock()
	for _, c := range dealt {
		if p.take(c); c.from != nil {
			p.goOn(c)
		}
	}
	for _, d := range done {
		p.unpark(d.c, d.reply)
	}
	if stop != serving {
		p.finish(stop)
	}
}

func (p *poller) take(c *conn) {
	if c.from == nil {
		c.info.last.Store(p.w.now.Second())
	}
	for c.fd >= len(p.conns) {
		p.conns = append(p.conns, make([]*conn, max(64, len(p.conns)))...)
	}
	p.conns[c.fd] = c
	p.open++
	c.events = unix.EPOLLIN
	ev := unix.EpollEvent{Events: c.events, Fd: int32(c.fd)}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, c.fd, &ev); err != nil {
		p.s.log.Error().Err(err).Msg("epoll_ctl")
		p.close(c)
	}
}

// finish lets every connection run what has arrived and closes it once its replies are written and nothing more waits; at
// level closing it closes all.
func (p *poller) finish(level stopLevel) {
	first := !p.stopping
	p.stopping = true
	for _, c := range p.conns {
		switch {
		case c == nil:
		case level == closing:
			p.close(c)
		case first:
			if c.owed == 0 && !c.ready && !c.parked && !c.waits() {
				p.close(c)
			}
		}
	}
}

// waits tells whether something has arrived that was not read yet.
func (c *conn) waits() bool {
	n, err := unix.IoctlGetInt(c.fd, unix.TIOCINQ)
	return err == nil && n > 0
}

// event serves a connection that epoll reported.
func (p *poller) event(c *conn, events uint32) {
	switch {
	case c.owed > 0:
		p.drain(c)
	case c.parked, c.paused: // nothing but its end is watched for
		p.close(c)
	case c.ready: // its turn comes in serveReady
	case events&^unix.EPOLLOUT != 0:
		p.receive(c)
	}
}

// staged is a connection whose input was read and is to be answered together with that of others, so that the store can read
// ahead for all of them.
type staged struct {
	c    *conn
	data []byte // in the poller's read buffer
}

const (
	stageRoom = readBuffer / store.AheadMost // bytes read of one connection
	stageMost = stageRoom / 4                // a connection that sent more the last time is not staged
)

// stage reads from a connection that has nothing half done and uses to send little, and puts it off to answerStaged; false: it
// is not one of those.
func (p *poller) stage(c *conn, events uint32) bool {
	if events&^unix.EPOLLOUT == 0 || c.owed > 0 || c.parked || c.paused || c.ready || c.talks || len(c.input.held) > 0 || !c.session.fresh() {
		return false
	}
	if len(p.staged) == 0 {
		p.w.ahead.forget() // what a run has left there lay where others read to now
	}
	space := p.in[len(p.staged)*stageRoom:][:stageRoom]
	n, err := readNow(c.fd, space)
	if !p.took(c, n, err) {
		return true
	}
	p.staged = append(p.staged, staged{c, space[:n]})
	p.w.addCommands(space[:n], c.session.peek())
	if p.w.ahead.n == store.AheadMost || len(p.staged) == store.AheadMost {
		p.answerStaged()
	}
	return true
}

// answerStaged answers the connections that were staged.
func (p *poller) answerStaged() {
	if len(p.staged) == 0 {
		return
	}
	a := &p.w.ahead
	if a.n > 1 {
		a.shared = true
		p.w.readAhead()
	}
	for _, s := range p.staged {
		if p.conns[s.c.fd] == s.c {
			p.answer(s.c, s.data)
		}
	}
	a.shared = false
	a.forget()
	p.staged = p.staged[:0]
}

// took accounts for a read of n bytes; false: there is nothing to answer, as nothing has come or the connection is closed.
func (p *poller) took(c *conn, n int, err error) bool {
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return false
	case err != nil || n <= 0:
		p.close(c)
		return false
	}
	p.w.n.BytesRead += uint64(n)
	if now := p.w.now.Second(); c.info.last.Load() != now {
		c.info.last.Store(now)
	}
	c.talks = n > stageMost
	return true
}

// receive reads once and runs what is complete.
func (p *poller) receive(c *conn) {
	space := c.input.space(&p.w.buffers, p.in, c.session.parser.Need, p.w.now)
	if space == nil {
		p.pause(c)
		return
	}
	n, err := readNow(c.fd, space)
	if !p.took(c, n, err) {
		return
	}
	p.answer(c, c.input.add(p.in, n))
}

// answer runs the complete commands in data and writes their replies, up to the share of one turn.
func (p *poller) answer(c *conn, data []byte) {
	c.session.turn(p.s.o.ReqsPerEvent)
	for flushes := 0; ; flushes++ {
		used, out, did := c.session.run(p.w, data, p.out[:0])
		p.out = out[:0]
		data = data[used:]
		if len(out) > 0 && !p.send(c, out) {
			return
		}
		switch {
		case did == parked:
			p.hold(c, data, 0)
			p.park(c)
			return
		case c.owed > 0: // the client does not keep up
			c.ending = did == ended
			p.hold(c, data, 0)
			return
		case did == ended:
			p.close(c)
			return
		case did == starved:
			p.hold(c, data, c.session.parser.Need)
			c.info.rest(c.session.waitsFor())
			if p.stopping && !c.waits() {
				p.close(c)
				return
			}
			p.watch(c, unix.EPOLLIN)
			return
		case did == yields || flushes >= turnFlushes:
			p.hold(c, data, 0)
			c.ready = true
			p.ready = append(p.ready, c)
			p.w.n.ConnYields++
			return
		}
	}
}

// hold keeps what of c's input has not run. The command in hand takes need bytes in all, 0 if unknown.
func (p *poller) hold(c *conn, data []byte, need int) {
	c.input.hold(&p.w.buffers, data, need, p.w.now)
}

// send writes out with the values that belong into it. What the socket does not take is kept in c.out, and the connection is
// not read from until it is gone. False means the connection is closed.
func (p *poller) send(c *conn, out []byte) bool {
	o := output{bytes: out, pins: p.w.pins}
	p.w.pins, p.w.pinnedBytes = p.w.pins[:0], 0
	err := p.write(c, &o)
	if err != nil && err != unix.EAGAIN && err != unix.EINTR {
		o.drop()
		p.close(c)
		return false
	}
	p.w.time(&c.session, p.w.woke)
	if o.size() > 0 {
		c.out = o.keep()
		c.since = p.w.woke
		c.info.waiting.Store(true)
		p.stalled++
		p.w.n.SlowPauses++
		p.watch(c, pauseEvents)
		p.owe(c, c.out.size())
	}
	return p.conns[c.fd] == c
}

// write writes o once and cuts off what the socket took.
func (p *poller) write(c *conn, o *output) error {
	var n int
	var err error
	if len(o.pins) == 0 {
		n, err = writeNow(c.fd, o.bytes[o.sent:])
	} else {
		p.pieces = o.pieces(p.pieces[:0])
		n, err = unix.Writev(c.fd, p.pieces)
	}
	if err != nil {
		return err
	}
	o.skip(n)
	p.w.n.BytesWritten += uint64(n)
	return nil
}

// drain goes on writing c.out, and with the commands that waited for it.
func (p *poller) drain(c *conn) {
	err := p.write(c, &c.out)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil {
		p.close(c)
		return
	}
	c.since = p.w.woke
	if c.out.size() > 0 {
		return
	}
	p.unstall(c)
	switch {
	case c.ending:
		p.close(c)
	case c.parked:
		p.watch(c, c.parkedEvents())
	default:
		p.answer(c, c.input.held)
	}
}

// park does the errand that c's session left, off this thread.
func (p *poller) park(c *conn) {
	errand := c.session.errand
	c.session.errand = nil
	c.parked = true
	if c.session.watching != nil {
		c.info.rest(watching)
	}
	if c.owed == 0 {
		p.watch(c, c.parkedEvents())
	}
	if a := c.session.attempt; a != nil { // needs no goroutine to wait in
		p.s.gate.wait(a, func() { p.hand(doneErrand{c, nil}) })
		return
	}
	kind := &p.words
	if c.session.watching != nil {
		kind = &p.watches
	}
	kind.Add(1)
	p.s.errands.Go(func() {
		defer kind.Done()
		p.hand(doneErrand{c, errand(nil)})
	})
}

// parkedEvents is what epoll watches for while c is parked: the end of a client that watches, who may not be written to for
// long; all others get an answer.
func (c *conn) parkedEvents() uint32 {
	if c.session.watching != nil {
		return unix.EPOLLRDHUP
	}
	return 0
}

// hand gives the poller's thread what an errand answered, unless it has ended.
func (p *poller) hand(d doneErrand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wake >= 0 {
		p.done = append(p.done, d)
		signal(p.wake)
	}
}

// unpark sends what an errand answered and goes on with the commands that waited for it.
func (p *poller) unpark(c *conn, reply []byte) {
	if p.conns[c.fd] != c { // closed meanwhile
		return
	}
	c.parked = false
	switch {
	case c.owed > 0:
		c.out.bytes = append(c.out.bytes, reply...)
		p.owe(c, len(reply))
	case len(reply) > 0 && !p.send(c, reply) || c.owed > 0:
	default:
		p.answer(c, c.input.held)
	}
}

func (p *poller) unstall(c *conn) {
	c.out.drop()
	p.w.replies.waiting.Add(-int64(c.owed))
	c.owed = 0
	c.info.waiting.Store(false)
	p.stalled--
}

// serveReady gives the connections that had used up their share another one.
func (p *poller) serveReady() {
	n := len(p.ready)
	for _, c := range p.ready[:n] {
		c.ready = false
		if p.conns[c.fd] == c {
			p.answer(c, c.input.held)
		}
	}
	rest := copy(p.ready, p.ready[n:])
	clear(p.ready[rest:])
	p.ready = p.ready[:rest]
}

// lookAround closes connections that take nothing of their output, and idle ones.
func (p *poller) lookAround() {
	idle := uint32(p.s.o.IdleTimeout / time.Second)
	for _, c := range p.conns {
		switch {
		case c == nil:
		case len(p.paused) > 0 && p.lags(c):
			p.w.n.InputDrops++
			c.session.reason = "slow"
			p.close(c)
		case c.owed > 0:
			if p.w.woke.Sub(c.since) >= p.s.o.SlowTimeout {
				p.w.n.SlowDrops++
				c.session.reason = "slow"
				p.close(c)
			}
		case idle > 0 && !c.ready && !c.parked && !c.paused && p.w.now.Second()-c.info.last.Load() > idle:
			p.w.n.IdleKicks++
			c.session.reason = "idle_timeout"
			p.close(c)
		}
	}
}

// watch changes what epoll reports of c.
func (p *poller) watch(c *conn, events uint32) {
	if c.events == events {
		return
	}
	c.events = events
	ev := unix.EpollEvent{Events: events, Fd: int32(c.fd)}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
		p.s.log.Error().Err(err).Msg("epoll_ctl")
		p.close(c)
	}
}

// close ends a connection; closing the descriptor takes it out of the epoll set. A second close does nothing.
func (p *poller) close(c *conn) {
	if p.conns[c.fd] != c {
		return
	}
	if c.owed > 0 {
		p.unstall(c)
	}
	if c.paused {
		p.paused = slices.DeleteFunc(p.paused, func(other *conn) bool { return other == c })
	}
	c.input.drop(&p.w.buffers)
	p.conns[c.fd] = nil
	p.open--
	_ = unix.Close(c.fd)
	c.session.close(p.s)
	p.s.tellClosed(c.info, c.session.reason)
}
