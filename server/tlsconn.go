package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"swordfish/protocol"
)

// handshake makes an encrypted connection of c and tells whether it goes on. It holds no worker, so that however long the
// client takes, up to Options.HandshakeTimeout, nobody else waits.
func (c *netConn) handshake(conf *tls.Config) bool {
	t := tls.Server(c.Conn, conf)
	_ = c.SetDeadline(time.Now().Add(c.l.s.o.HandshakeTimeout))
	if c.l.stopped() { // after setting the deadline: shutdown sets its own once
		return false
	}
	if err := t.Handshake(); err != nil {
		// One that leaves without a word, as a load balancer's probe does, is no error. Neither is one that shutdown ends.
		if !errors.Is(err, io.EOF) && !c.l.stopped() {
			c.tlsFault(err, func(n *Counters) { n.TLSHandshakeErrors++ })
		}
		return false
	}
	_ = c.SetDeadline(time.Time{}) // reading looks for shutdown again
	c.Conn = t
	c.count(func(n *Counters) {
		if t.ConnectionState().DidResume {
			n.TLSResumed++
		} else {
			n.TLSNewSessions++
		}
	})
	return true
}

// noteTLS counts and tells what broke an encrypted connection, if it was no ordinary end.
func (c *netConn) noteTLS(err error) {
	if _, encrypted := c.Conn.(*tls.Conn); !encrypted {
		return
	}
	var timeout net.Error
	var system syscall.Errno
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, errLeft), errors.As(err, &system):
	case errors.As(err, &timeout) && timeout.Timeout():
	default:
		c.tlsFault(err, func(n *Counters) { n.TLSProtoErrors++ })
	}
}

func (c *netConn) tlsFault(err error, count func(*Counters)) {
	c.session.reason = "error"
	c.count(count)
	s := c.l.s
	s.logTLS(c.info, err)
	if s.chatty() {
		s.log.Debug().Str("client", c.info.remote).Err(err).Msg("TLS")
	}
}

// logTLS tells watchers of connections what was wrong.
func (s *Server) logTLS(c *connInfo, err error) {
	ws := &s.watch
	if !ws.wants(protocol.WatchConnEvents) {
		return
	}
	head := ws.head("conntlserr")
	line := protocol.AppendLogFault(nil, &head, c.id, err.Error())
	ws.mu.Lock()
	ws.show(protocol.WatchConnEvents, line)
	ws.mu.Unlock()
}

// RefreshCertificates reads the files of certificates and keys again, for connections that begin from then on. After an error
// nothing has changed. It reads files, so it is not for workers. Without TLS it does nothing.
func (s *Server) RefreshCertificates() error {
	if s.o.TLS == nil {
		return nil
	}
	if err := s.o.TLS.Refresh(); err != nil {
		s.log.Error().Err(err).Msg("the certificates stay as they were")
		return err
	}
	s.announceCertificate("certificates were read again")
	return nil
}

// announceCertificate logs which certificate clients are shown.
func (s *Server) announceCertificate(what string) {
	leaf := s.o.TLS.Leaf()
	e := s.log.Info()
	if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		e, what = s.log.Warn(), what+"; clients that look will refuse: today is not among its days"
	}
	e.Str("subject", leaf.Subject.String()).Time("not_before", leaf.NotBefore).Time("not_after", leaf.NotAfter).Msg(what)
}

// refreshCerts answers refresh_certs.
func (s *Server) refreshCerts(out []byte) []byte {
	if s.o.TLS == nil {
		return protocol.AppendReply(out, protocol.NoTLS)
	}
	if err := s.RefreshCertificates(); err != nil {
		return protocol.AppendText(out, err.Error())
	}
	return protocol.AppendReply(out, protocol.OK)
}

// tlsStats writes memcached's lines about TLS, which are there only with -Z.
func (s *Server) tlsStats(l *lines, n *Counters) {
	if s.o.TLS == nil {
		return
	}
	if s.o.TLS.o.CountSessions {
		l.uint("ssl_new_sessions", n.TLSNewSessions)
	}
	l.uint("ssl_handshake_errors", n.TLSHandshakeErrors)
	l.uint("ssl_proto_errors", n.TLSProtoErrors)
	l.int("time_since_server_cert_refresh", int64(s.o.TLS.Age()/time.Second))
}
