package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"swordfish/protocol"
)

// Listener is an address to accept connections on. The zero value of a field but Address means its default.
type Listener struct {
	Network string        // tcp or unix; default tcp
	Address string        // tcp: host:port, no host for every address, port 0 for a free one; unix: the file
	Only    protocol.Only // what its connections may speak; default both, text and binary
	Tag     string        // a word for the log
	TLS     TLSMode       // default none
	Access  fs.FileMode   // unix: who may connect; default DefaultAccess
	Backlog int           // how many connections may wait to be accepted; default DefaultBacklog

	net bool // for tests: served over package net
}

// TLSMode is whether a listener's connections are encrypted, and whether clients have to show certificates. Listeners with
// TLS are served by the loop over package net, beside the others.
type TLSMode uint8

const (
	NoTLS     TLSMode = iota
	TLS               // certificates of clients as the settings for all listeners say
	TLSNoPeer         // clients need no certificate
	TLSPeer           // clients need one
)

// viaNet tells whether l is served over package net.
func (o *Options) viaNet(l *Listener) bool { return o.Net || l.net || l.TLS != NoTLS }

// socket is a bound Listener. One Listener has several where its name has several addresses.
type socket struct {
	net.Listener
	of   *Listener
	name string      // for stats conns
	file fs.FileInfo // unix: the socket's file
}

// lookupTime bounds the resolution of a listener's name.
const lookupTime = 10 * time.Second

// bind opens the sockets of l. An address that is in use, or of a family that this machine lacks, is left out while another
// of the same name can be had, as in memcached; left is why the first of them was.
func bind(l *Listener) (all []*socket, left, err error) {
	if l.Network == "unix" {
		s, err := listenUnix(l)
		if err != nil {
			return nil, nil, fmt.Errorf("server: listen on %s: %w", l.Address, err)
		}
		return []*socket{s}, nil, nil
	}
	addrs, err := resolve(l.Address)
	if err != nil {
		return nil, nil, fmt.Errorf("server: listen on %s: %w", l.Address, err)
	}
	for _, a := range addrs {
		s, err := listen(l, network(a), a)
		switch {
		case err == nil:
			all = append(all, s)
		case errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) && len(addrs) > 1:
			left = cmp.Or(left, err)
		default:
			closeAll(all)
			return nil, nil, fmt.Errorf("server: listen on %s: %w", a, err)
		}
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("server: listen on %s: %w", l.Address, left)
	}
	return all, left, nil
}

// resolve returns the addresses of a host and its port: both families where no host is named.
func resolve(address string) ([]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{address}, nil
	}
	if host == "" {
		return []string{net.JoinHostPort("0.0.0.0", port), net.JoinHostPort("::", port)}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addrs := make([]string, 0, len(found))
	for _, a := range found {
		addrs = append(addrs, net.JoinHostPort(a.Unmap().String(), port))
	}
	return addrs, nil
}

// network keeps an address to its family: 0.0.0.0 is no IPv6 address, and :: no IPv4 one.
func network(addr string) string {
	if a, err := netip.ParseAddrPort(addr); err == nil && a.Addr().Is4() {
		return "tcp4"
	}
	return "tcp6"
}

func listen(l *Listener, network, address string) (*socket, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false) // so that what it accepts is plain TCP
	bound, err := c.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return newSocket(l, bound, addrName(bound.Addr()))
}

// listenUnix binds a UNIX socket. Its file never admits more than Access, not even for a moment; nor does the process's
// umask, which all threads share, change for it.
func listenUnix(l *Listener) (*socket, error) {
	path := unixPath(l)
	if err := removeStale(path); err != nil {
		return nil, err
	}
	access := cmp.Or(l.Access, DefaultAccess)
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), uint32(access)) }) // what bind makes has less than that by umask
	}}
	bound, err := c.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	bound.(*net.UnixListener).SetUnlinkOnClose(false) // socket.Close looks first
	s, err := newSocket(l, bound, "unix:"+l.Address)
	if err != nil {
		return nil, err
	}
	if err := s.ownFile(path); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// unixPath is where the file of a UNIX socket is.
func unixPath(l *Listener) string {
	if strings.HasPrefix(l.Address, "@") {
		return "./" + l.Address // to package net it would not be a file
	}
	return l.Address
}

// ownFile makes the file of a UNIX socket the one that goes with it, for those who may connect.
func (s *socket) ownFile(path string) (err error) {
	if s.file, err = os.Lstat(path); err == nil {
		err = os.Chmod(path, cmp.Or(s.of.Access, DefaultAccess))
	}
	return err
}

// removeStale removes a socket's file that an earlier process has left.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file that is no socket; remove it, or choose another path")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	if err == nil || errors.Is(err, unix.EAGAIN) { // EAGAIN: as many wait as may
		return errors.New("another program listens there; stop it, or choose another path")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("whether another program listens there cannot be told: %w; remove the file if none does", err)
	}
	return os.Remove(path)
}

func newSocket(l *Listener, bound net.Listener, name string) (*socket, error) {
	s := &socket{Listener: bound, of: l, name: name}
	if err := s.setBacklog(s.backlog()); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close also removes a UNIX socket's file, unless another one has its name by now.
func (s *socket) Close() error {
	err := s.Listener.Close()
	if s.file == nil {
		return err
	}
	path := s.Addr().String()
	if now, statErr := os.Lstat(path); statErr == nil && os.SameFile(now, s.file) {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func (s *socket) backlog() int { return cmp.Or(s.of.Backlog, DefaultBacklog) }

// setBacklog says anew how many connections may wait. Package net leaves that to the system.
func (s *socket) setBacklog(n int) error {
	raw, err := s.Listener.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), n) })
	return errors.Join(controlErr, err)
}

func closeAll(sockets []*socket) {
	for _, s := range sockets {
		s.Close()
	}
}

// addrName is an address as stats conns tells it.
func addrName(a net.Addr) string {
	text := a.String()
	switch {
	case a.Network() == "unix" && (text == "" || text == "@"):
		return noAddr
	case a.Network() == "unix":
		return "unix:" + text
	case strings.HasPrefix(text, "["):
		return "tcp6:" + text
	}
	return "tcp:" + text
}

// noAddr is how stats conns tells of the client of a UNIX socket.
const noAddr = "?:<AF 0>"
