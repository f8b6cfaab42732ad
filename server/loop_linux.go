package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// epollLoop serves with one OS thread for each worker, each with its own level-triggered epoll set, and one that accepts.
type epollLoop struct {
	s         *Server
	g         *group
	fds       []int // of the sockets, duplicated
	wake      int   // eventfd: the accept thread has something to look at
	pollers   []*poller
	wg        sync.WaitGroup // pollers
	accepting sync.WaitGroup
	next      atomic.Uint64 // deals connections to pollers
	holding   atomic.Bool   // accepting is to end only for now
	waiting   *accepted     // what waited for room when accepting ended; nil: nothing
	held      *standstill
}

// accepted is a connection that was not dealt out yet.
type accepted struct {
	fd   int
	from unix.Sockaddr
	at   *socket
}

type stopLevel uint8

const (
	serving   stopLevel = iota
	finishing           // no new input is read; what waits to be written is
	closing             // all connections are closed at once
)

func openLoop(s *Server, g *group) (loop, error) {
	l := &epollLoop{s: s, g: g, wake: -1}
	if err := l.open(); err != nil {
		l.closeFiles()
		return nil, err
	}
	return l, nil
}

func (l *epollLoop) start() {
	for _, p := range l.pollers {
		l.wg.Go(p.run)
	}
	l.accepting.Go(l.accept)
}

func (l *epollLoop) close() { l.closeFiles() }

func (l *epollLoop) open() (err error) {
	if l.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	for _, at := range l.g.sockets {
		fd, err := duplicate(at)
		if err != nil {
			return err
		}
		l.fds = append(l.fds, fd)
	}
	for _, w := range l.g.workers {
		w.pins = make([]pinned, 0, 8)
		p := &poller{w: w, s: l.s, ep: -1, wake: -1, in: make([]byte, readBuffer), out: make([]byte, 0, highWater)}
		l.pollers = append(l.pollers, p)
		if p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
			return fmt.Errorf("epoll_create1: %w", err)
		}
		if p.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
			return fmt.Errorf("eventfd: %w", err)
		}
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeMark}
		if err = unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, p.wake, &ev); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return nil
}

// duplicate returns a listening socket as a descriptor of our own, non-blocking as package net made it.
func duplicate(at *socket) (fd int, err error) {
	raw, err := at.Listener.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, err
	}
	controlErr := raw.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(controlErr, err)
}

func (l *epollLoop) closeFiles() {
	for _, fd := range l.fds {
		_ = unix.Close(fd)
	}
	for _, p := range l.pollers {
		closeFD(p.ep)
		p.mu.Lock() // an errand may still come to its end
		closeFD(p.wake)
		p.wake = -1
		p.mu.Unlock()
	}
	closeFD(l.wake)
	l.fds, l.pollers = nil, nil
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// signal makes an eventfd readable.
func signal(fd int) { _, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// accept takes connections and deals them to the pollers in turn, until the loop's eventfd ends it.
func (l *epollLoop) accept() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	watch := []unix.PollFd{{Fd: int32(l.wake), Events: unix.POLLIN}}
	for _, fd := range l.fds {
		watch = append(watch, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	shut := false
	defer func() {
		if shut {
			l.s.doors.set(l.g, false)
		}
	}()
	if c := l.waiting; c != nil {
		l.waiting = nil
		l.letIn(*c)
	}
	for {
		if _, err := unix.Poll(watch, -1); err != nil && err != unix.EINTR {
			l.s.log.Error().Err(err).Msg("poll for connections")
			return
		}
		if watch[0].Revents != 0 {
			return
		}
		for i := range watch[1:] {
			if watch[i+1].Revents == 0 {
				continue
			}
			fd, from, err := unix.Accept4(l.fds[i], unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if failed := err != nil && err != unix.EAGAIN && err != unix.EINTR && err != unix.ECONNABORTED; failed != shut {
				shut = failed
				l.s.doors.set(l.g, shut)
			}
			switch {
			case err == nil:
				l.letIn(accepted{fd, from, l.g.sockets[i]})
			case shut: // most likely no descriptor is left: wait for one
				l.s.log.Error().Err(err).Msg("accept")
				l.pause(acceptPause)
			}
		}
	}
}

// letIn counts a connection in and deals it out. Over the limit it is refused and closed, or it waits for room, as Options say;
// with it wait those behind it.
func (l *epollLoop) letIn(c accepted) {
	switch {
	case l.s.admit():
		l.deal(c)
		return
	case !l.s.o.WaitForRoom:
		l.s.conns.rejected.Add(1)
		_, _ = unix.Write(c.fd, tooMany)
		_ = unix.Close(c.fd)
		return
	}
	l.s.doors.set(l.g, true)
	defer l.s.doors.set(l.g, false)
	for l.pause(roomTick) {
		if l.s.admit() {
			l.deal(c)
			return
		}
	}
	if l.holding.Load() {
		l.waiting = &c
		return
	}
	_ = unix.Close(c.fd)
}

// pause waits, unless the loop is told to stop, which it says by false.
func (l *epollLoop) pause(d time.Duration) bool {
	stop := []unix.PollFd{{Fd: int32(l.wake), Events: unix.POLLIN}}
	n, err := unix.Poll(stop, int(d/time.Millisecond))
	return n == 0 || err != nil
}

// deal hands a connection to the poller whose turn it is.
func (l *epollLoop) deal(a accepted) {
	p := l.turn()
	remote, local := noAddr, a.at.name
	if a.at.of.Network != "unix" {
		_ = unix.SetsockoptInt(a.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		_ = unix.SetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		remote = sockName(a.from)
		if to, err := unix.Getsockname(a.fd); err == nil {
			local = sockName(to)
		}
	}
	c := &conn{fd: a.fd, session: newSession(p.w, a.at.of), info: l.s.conns.add(remote, local), tag: a.at.of.Tag, unix: a.at.of.Network == "unix"}
	c.session.id, c.session.local = c.info.id, c.info.isLocal(a.at.of)
	l.s.tellOpened(c.info, a.at.of)
	p.give(c)
}

func (l *epollLoop) turn() *poller {
	return l.pollers[(l.next.Add(1)-1)%uint64(len(l.pollers))]
}

// give deals c to p.
func (p *poller) give(c *conn) {
	p.mu.Lock()
	p.inbox = append(p.inbox, c)
	p.mu.Unlock()
	signal(p.wake)
}

// sockName is addrName of a TCP socket's address.
func sockName(sa unix.Sockaddr) string {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return "tcp:" + netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return "tcp6:" + netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	}
	return noAddr
}

func (l *epollLoop) shutdown(ctx context.Context) error {
	signal(l.wake)
	l.accepting.Wait()
	closeAll(l.g.sockets)
	l.tell(finishing)
	done := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		l.tell(closing)
		<-done
	}
	l.closeFiles()
	return err
}

func (l *epollLoop) tell(level stopLevel) {
	for _, p := range l.pollers {
		p.mu.Lock()
		p.stop = level
		p.mu.Unlock()
		signal(p.wake)
	}
}
