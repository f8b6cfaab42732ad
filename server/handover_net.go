package server

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errLeft ends a connection of a server that has gone over to another process.
var errLeft = errors.New("server: another process goes on")

// pause lets goroutines wait while the server stands still.
type pause struct {
	left atomic.Bool   // it does not go on
	n    atomic.Uint64 // how often it has begun

	mu   sync.Mutex // guards over
	over chan struct{}
}

func (p *pause) begin() {
	p.mu.Lock()
	p.over = make(chan struct{})
	p.n.Add(1)
	p.mu.Unlock()
}

// end ends it: with left for good, and then whoever waits has to end as well.
func (p *pause) end(left bool) {
	p.left.Store(left)
	p.mu.Lock()
	close(p.over)
	p.over = nil
	p.mu.Unlock()
}

// on tells whether it has begun and not ended.
func (p *pause) on() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over != nil
}

// wait waits until it is over and tells whether the server goes on.
func (p *pause) wait(stopping <-chan struct{}) bool {
	p.mu.Lock()
	over := p.over
	p.mu.Unlock()
	if over != nil {
		select {
		case <-over:
		case <-stopping:
		}
	}
	return !p.left.Load()
}

// past is a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// hold lets every connection that waits for its client look once more whether something has arrived, run that, and stand still.
// None of them can go over: what is encrypted is known to this process alone.
func (l *netLoop) hold(ctx context.Context) ([]Conn, int) {
	l.mu.Lock()
	quiet := make(chan struct{})
	l.quiet = quiet
	l.held.begin()
	l.look()
	l.mu.Unlock()
	for _, at := range l.g.sockets {
		_ = at.Listener.(interface{ SetDeadline(time.Time) error }).SetDeadline(past)
	}
	l.each(func(c net.Conn) { _ = c.SetReadDeadline(past) })
	select {
	case <-quiet:
	case <-ctx.Done(): // some do not take their replies
	}
	for i := range l.borrow {
		l.borrow[i].Lock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return nil, len(l.conns)
}

// look tells hold when all connections that run commands stand still. The caller holds mu.
func (l *netLoop) look() {
	if l.quiet != nil && l.standing == l.looping {
		close(l.quiet)
		l.quiet = nil
	}
}

// note counts a connection that begins or ends to run commands, or to stand still.
func (l *netLoop) note(n *int, by int) {
	l.mu.Lock()
	*n += by
	l.look()
	l.mu.Unlock()
}

// stand waits until the server goes on; false: it does not, or it stops.
func (l *netLoop) stand() bool {
	l.note(&l.standing, 1)
	defer l.note(&l.standing, -1)
	return l.held.wait(l.stopping)
}

func (l *netLoop) resume() {
	for i := range l.borrow {
		l.borrow[i].Unlock()
	}
	for _, at := range l.g.sockets {
		_ = at.Listener.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Time{})
	}
	l.mu.Lock()
	l.quiet = nil
	l.mu.Unlock()
	l.held.end(false)
}

func (l *netLoop) leave(ctx context.Context) {
	for _, at := range l.g.sockets {
		at.file = nil // the other process has it now
		at.Close()
	}
	l.held.end(true)
	close(l.stopping)
	for i := range l.borrow {
		l.borrow[i].Unlock()
	}
	done := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	close(l.cut)
	l.each(func(c net.Conn) { c.Close() })
	<-done
}

// adopt serves a connection that came from another process.
func (l *netLoop) adopt(from *Conn) {
	f := os.NewFile(uintptr(from.FD), "connection")
	c, err := net.FileConn(f)
	f.Close()
	info := l.s.conns.restore(&from.State)
	if err != nil {
		l.s.log.Error().Err(err).Msg("a connection that was handed over")
		l.s.tellClosed(info, "error")
		return
	}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	l.wg.Go(func() { l.serveAdopted(c, info, &from.State) })
}

func (l *netLoop) serveAdopted(c net.Conn, info *connInfo, st *ConnState) {
	nc := l.newConn(c, info)
	nc.session = newSession(nc.w, st.listener())
	nc.borrow.Lock()
	nc.session.resume(nc.w, st)
	nc.borrow.Unlock()
	nc.session.id, nc.session.local = info.id, info.isLocal(st.listener())
	nc.goOn(st)
	l.end(nc, c)
}

// goOn goes on where the connection stood in the process that it came from.
func (c *netConn) goOn(st *ConnState) {
	if errand := c.session.errand; errand != nil {
		errand(nil)
	}
	c.out = st.Output
	if len(c.out) > 0 && !c.send() || st.Ending {
		return
	}
	c.buf = make([]byte, keepInput)
	if c.session.attempt != nil || c.session.dump != nil || c.session.watching != nil || len(st.Input) > 0 {
		c.l.note(&c.l.looping, 1)
		on := c.answer(st.Input)
		c.l.note(&c.l.looping, -1)
		if !on {
			return
		}
	}
	c.loop()
}

// listener is one that st's connection may have come from.
func (st *ConnState) listener() *Listener {
	l := &Listener{Only: st.Only, Tag: st.Tag}
	if st.Unix {
		l.Network = "unix"
	}
	return l
}

// hold ends the reading of datagrams. Those that arrive wait in the sockets.
func (l *udpLoop) hold() {
	l.held.begin()
	for _, socket := range l.sockets {
		_ = socket.SetReadDeadline(past)
	}
	for i := range l.borrow {
		l.borrow[i].Lock()
	}
}

func (l *udpLoop) resume() {
	for i := range l.borrow {
		l.borrow[i].Unlock()
	}
	for _, socket := range l.sockets {
		_ = socket.SetReadDeadline(time.Time{})
	}
	l.held.end(false)
}

func (l *udpLoop) leave() {
	l.held.end(true)
	for i := range l.borrow {
		l.borrow[i].Unlock()
	}
	l.close()
	l.wg.Wait()
}
