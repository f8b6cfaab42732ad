package server

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// standstill is one time for which pollers stand still, between two wake-ups.
type standstill struct {
	arrived sync.WaitGroup
	over    chan struct{}
	left    bool // set before over is closed: they do not go on
}

// hold ends accepting, lets the pollers finish their wake-up, and takes stock of the connections.
func (l *epollLoop) hold(context.Context) (conns []Conn, stay int) {
	l.holding.Store(true)
	signal(l.wake)
	l.accepting.Wait()
	l.holding.Store(false)
	drain(l.wake)
	l.held = &standstill{over: make(chan struct{})}
	l.held.arrived.Add(len(l.pollers))
	for _, p := range l.pollers {
		p.mu.Lock()
		p.held = l.held
		p.mu.Unlock()
		signal(p.wake)
	}
	l.held.arrived.Wait()
	l.s.watch.hurry()
	l.awaitWords()
	for _, p := range l.pollers {
		p.watches.Wait()
		c, n := p.stock()
		conns, stay = append(conns, c...), stay+n
	}
	if c := l.waiting; c != nil { // it goes over as if there were room: there it has none behind it
		conns = append(conns, l.untold(c))
	}
	return conns, stay
}

// awaitWords waits for the answers to operators' words, but not for long.
func (l *epollLoop) awaitWords() {
	done := make(chan struct{})
	go func() {
		for _, p := range l.pollers {
			p.words.Wait()
		}
		close(done)
	}()
	timer := time.NewTimer(wordTime)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// untold is a connection that no poller knows yet.
func (l *epollLoop) untold(a *accepted) Conn {
	st := ConnState{Unix: a.at.of.Network == "unix", Tag: a.at.of.Tag, Only: a.at.of.Only, Remote: noAddr, Local: a.at.name}
	if !st.Unix {
		st.Remote = sockName(a.from)
		if to, err := unix.Getsockname(a.fd); err == nil {
			st.Local = sockName(to)
		}
	}
	ss := newSession(l.pollers[0].w, a.at.of)
	kept := ss.state()
	st.Only, st.SASL, st.Parser = kept.Only, kept.SASL, kept.Parser
	return Conn{a.fd, st}
}

// drain makes an eventfd unreadable.
func drain(fd int) {
	var count [8]byte
	_, _ = unix.Read(fd, count[:])
}

func (l *epollLoop) resume() {
	l.release(false)
	l.accepting.Go(l.accept)
}

// release ends a standstill.
func (l *epollLoop) release(left bool) {
	for _, p := range l.pollers {
		p.mu.Lock()
		p.held = nil
		p.mu.Unlock()
	}
	l.held.left = left
	close(l.held.over)
	l.held = nil
}

func (l *epollLoop) leave(context.Context) {
	l.release(true)
	l.wg.Wait()
	for _, at := range l.g.sockets {
		at.file = nil // the other process has it now
		at.Close()
	}
	for _, p := range l.pollers {
		for _, c := range p.conns {
			if c != nil {
				_ = unix.Close(c.fd)
			}
		}
	}
	if c := l.waiting; c != nil {
		_ = unix.Close(c.fd)
	}
	l.closeFiles()
}

// stand stands still; false: for good.
func (p *poller) stand() bool {
	held := p.order
	p.order = nil
	for _, c := range p.conns {
		if c != nil {
			c.out.unpin()
		}
	}
	held.arrived.Done()
	<-held.over
	return !held.left
}

// unpin makes what was not written bytes of its own.
func (o *output) unpin() {
	if len(o.pins) == 0 {
		return
	}
	whole := make([]byte, 0, o.size())
	for _, piece := range o.pieces(nil) {
		whole = append(whole, piece...)
	}
	o.drop()
	o.bytes = whole
}

// stock lists the connections of a poller that stands still, with what is known of each. Those whose errand is still under way
// have to stay.
func (p *poller) stock() (conns []Conn, stay int) {
	p.mu.Lock()
	done := make(map[*conn][]byte, len(p.done))
	for _, d := range p.done {
		done[d.c] = d.reply
	}
	p.mu.Unlock()
	for _, c := range p.conns {
		if c == nil {
			continue
		}
		reply, answered := done[c]
		if c.parked && !answered && c.session.attempt == nil && c.session.waits == 0 { // what was put off is tried anew
			stay++
			continue
		}
		st := c.session.state()
		st.Remote, st.Local, st.LastInput = c.info.remote, c.info.local, c.info.last.Load()
		st.Unix, st.Tag, st.Ending = c.unix, c.tag, c.ending
		st.Input = c.input.held
		st.Output = append(c.out.bytes[c.out.sent:len(c.out.bytes):len(c.out.bytes)], reply...)
		conns = append(conns, Conn{c.fd, st})
	}
	return conns, stay
}

// adopt deals a connection that came from another process to a poller.
func (l *epollLoop) adopt(from *Conn) {
	p, st := l.turn(), &from.State
	c := &conn{fd: from.FD, session: newSession(p.w, st.listener()), info: l.s.conns.restore(st), tag: st.Tag, unix: st.Unix, from: st}
	c.session.id, c.session.local = c.info.id, c.info.isLocal(st.listener())
	p.give(c)
}

// goOn lets a connection go on where it stood in the process that it came from.
func (p *poller) goOn(c *conn) {
	st := c.from
	c.from = nil
	if p.conns[c.fd] != c {
		return
	}
	c.session.resume(p.w, st)
	c.session.id = c.info.id
	if len(st.Input) > 0 {
		p.hold(c, st.Input, 0)
	}
	if len(st.Output) > 0 {
		c.ending = st.Ending
		c.out, c.since = output{bytes: st.Output}, p.w.woke
		c.info.waiting.Store(true)
		p.stalled++
		p.watch(c, pauseEvents)
		if p.owe(c, len(st.Output)); p.conns[c.fd] != c {
			return
		}
	} else if st.Ending {
		p.close(c)
		return
	}
	switch {
	case c.session.errand != nil:
		p.park(c)
	case c.owed == 0: // drain runs the rest once the output is written
		p.answer(c, c.input.held)
	}
}
