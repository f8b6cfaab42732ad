package server

import (
	"slices"

	"golang.org/x/sys/unix"
)

// What a poller does when the memory for its connections is used up. Input: who needs more is paused, and goes on when others
// have finished. Output: who has taken nothing for longest is closed.

// pause leaves c alone until there is memory for more of its command.
func (p *poller) pause(c *conn) {
	p.w.n.InputPauses++
	c.paused = true
	p.paused = append(p.paused, c)
	p.watch(c, 0)
}

// resume goes on with paused connections as long as there is memory: by turns with the one that has waited longest and the one
// that came last, so that many that hardly send anything do not hold up those that come after them.
func (p *poller) resume() {
	for range len(p.paused) {
		if len(p.paused) == 0 {
			return
		}
		at := 0
		if p.last {
			at = len(p.paused) - 1
		}
		c := p.paused[at]
		if !p.w.buffers.has(c.input.grown(c.session.parser.Need)) {
			return
		}
		p.paused = slices.Delete(p.paused, at, at+1)
		p.last = !p.last
		c.paused = false
		switch {
		case c.waits():
			p.receive(c)
		case p.stopping:
			p.close(c)
		}
		if p.conns[c.fd] == c && !c.paused && !c.parked && !c.ready && c.owed == 0 {
			p.watch(c, unix.EPOLLIN)
		}
	}
}

// lags tells whether c holds memory that others wait for and its client does too little to free it.
func (p *poller) lags(c *conn) bool {
	switch {
	case !c.input.large() || c.paused || c.parked || c.ready:
		return false
	case c.owed > 0:
		return p.w.woke.Sub(c.since) >= readStall
	}
	return c.input.lags(p.w.now)
}

// owe notes that n more bytes of output wait for c's client. Where that is too much, connections are closed, c perhaps among
// them.
func (p *poller) owe(c *conn, n int) {
	c.owed += n
	r := &p.w.replies
	for r.waiting.Add(int64(n)) > int64(r.limit) {
		n = 0
		slowest := c
		for _, other := range p.conns {
			if other != nil && other.owed > 0 && other.since.Before(slowest.since) {
				slowest = other
			}
		}
		p.w.n.ReplyDrops++
		slowest.session.reason = "slow"
		p.close(slowest)
		if slowest == c {
			return
		}
	}
}
