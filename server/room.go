package server

import (
	"cmp"
	"sync"
	"time"

	"swordfish/protocol"
)

// tooMany is what a connection over the limit gets before it is closed.
var tooMany = protocol.AppendReply(nil, protocol.TooManyConnections)

// admit counts a new connection in; false: there are MaxConns already.
func (s *Server) admit() bool {
	for {
		n := s.conns.open.Load()
		if n >= int64(s.o.MaxConns) {
			return false
		}
		if s.conns.open.CompareAndSwap(n, n+1) {
			s.conns.total.Add(1)
			return true
		}
	}
}

// tellOpened tells watchers and the log of a connection that l has accepted.
func (s *Server) tellOpened(c *connInfo, l *Listener) {
	s.logConn("conn_new", "", c)
	if !s.chatty() {
		return
	}
	e := s.log.Debug().Str("client", c.remote)
	if l.Tag != "" {
		e = e.Str("tag", l.Tag)
	}
	e.Msg("connection opened")
}

// tellClosed counts a connection out and tells of it. reason is empty where the client has closed it.
func (s *Server) tellClosed(c *connInfo, reason string) {
	s.logConn("conn_close", cmp.Or(reason, "normal"), c)
	s.conns.remove(c)
	if s.chatty() {
		s.log.Debug().Str("client", c.remote).Msg("connection closed")
	}
}

// roomTick is how often a loop that does not accept looks whether it may again, as in memcached.
const roomTick = 10 * time.Millisecond

// closedDoors notes when connections are not accepted, because there are MaxConns already or no descriptor is left.
type closedDoors struct {
	mu     sync.Mutex // guards the rest
	closed int        // those who do not accept
	since  time.Time  // closed is over 0
	times  uint64
	spent  time.Duration // until the doors last opened again
}

// set says that g accepts no more, or does again. While it does not, the system queues no connections for it either.
func (d *closedDoors) set(g *group, shut bool) {
	for _, at := range g.sockets {
		backlog := at.backlog()
		if shut {
			backlog = 0
		}
		_ = at.setBacklog(backlog) // an error says that the socket is closed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if shut {
		if d.closed++; d.closed == 1 {
			d.since = time.Now()
			d.times++
		}
	} else if d.closed--; d.closed == 0 {
		d.spent += time.Since(d.since)
	}
}

func (d *closedDoors) addTo(st *Stats) {
	d.mu.Lock()
	defer d.mu.Unlock()
	st.Accepting, st.ListenDisabled, st.ListenDisabledTime = d.closed == 0, d.times, d.spent
}
