package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// epollLoop serves with one OS thread for each worker, each with its own level-triggered epoll set, and one that accepts.
type epollLoop struct {
	s         *Server
	workers   []*worker
	sockets   []*socket
	fds       []int // of the sockets, duplicated
	wake      int   // eventfd: the accept thread has something to look at
	pollers   []*poller
	wg        sync.WaitGroup // pollers
	accepting sync.WaitGroup
}

type stopLevel uint8

const (
	serving   stopLevel = iota
	finishing           // no new input is read; what waits to be written is
	closing             // all connections are closed at once
)

func startLoop(s *Server, g *group) (loop, error) {
	l := &epollLoop{s: s, workers: g.workers, sockets: g.sockets, wake: -1}
	err := l.open()
	if err != nil {
		l.closeFiles()
		return nil, err
	}
	for _, p := range l.pollers {
		l.wg.Go(p.run)
	}
	l.accepting.Go(l.accept)
	return l, nil
}

func (l *epollLoop) open() (err error) {
	if l.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	for _, at := range l.sockets {
		fd, err := duplicate(at)
		if err != nil {
			return err
		}
		l.fds = append(l.fds, fd)
	}
	for _, w := range l.workers {
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
		closeFD(p.wake)
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
	next := 0
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
			switch {
			case err == nil:
				l.deal(fd, from, l.sockets[i], l.pollers[next%len(l.pollers)])
				next++
			case err == unix.EAGAIN || err == unix.EINTR || err == unix.ECONNABORTED:
			default: // most likely no descriptor is left: wait for one, unless told to stop
				l.s.log.Error().Err(err).Msg("accept")
				_, _ = unix.Poll(watch[:1], int(acceptPause/time.Millisecond))
			}
		}
	}
}

// deal hands a connection to p, or refuses it.
func (l *epollLoop) deal(fd int, from unix.Sockaddr, at *socket, p *poller) {
	if !l.s.admit() {
		_, _ = unix.Write(fd, tooMany)
		_ = unix.Close(fd)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	c := &conn{fd: fd, session: newSession(p.w, at.of), info: l.s.conns.add("tcp:"+addrText(from), at.name)}
	c.session.id = c.info.id
	l.s.logConn("conn_new", "", c.info)
	if l.s.chatty() {
		l.s.log.Debug().Str("client", c.info.remote).Msg("connection opened")
	}
	p.mu.Lock()
	p.inbox = append(p.inbox, c)
	p.mu.Unlock()
	signal(p.wake)
}

func addrText(sa unix.Sockaddr) string {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)).String()
	}
	return "?"
}

func (l *epollLoop) shutdown(ctx context.Context) error {
	signal(l.wake)
	l.accepting.Wait()
	closeAll(l.sockets)
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
	for _, p := range l.pollers {
		p.errands.Wait()
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
