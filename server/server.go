// Package server runs memcached's protocol on sockets: it accepts connections, deals them to workers, and runs each
// command against the store. It is the one package that sees protocol, normalizer, hasher, filler and store together.
//
// A session is a connection's commands without its socket: bytes in, bytes out. Two kinds of loop drive sessions: on Linux
// workers with an epoll set each (loop_linux.go), and everywhere, where asked for, a goroutine a connection over package
// net (loop_net.go). In both a worker is used by one goroutine at a time, reads the clocks once per wake-up, and never
// waits: not for a slow reader, whose output is bounded and who is left alone until it reads, and not for a fill.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
	"swordfish/hasher"
	"swordfish/normalizer"
	"swordfish/protocol"
	"swordfish/store"
)

// Options configure a Server. The zero value of a field means its default.
type Options struct {
	Store  *store.Store      // required
	Seed   *hasher.Seed      // required; the one whose Key is the store's KeyHash
	Routes *normalizer.Table // nil: every key is plain
	Filler *filler.Filler    // nil: leases end at once, nothing is ever loaded

	Listen   []string // host:port, port 0 for a free one; default 127.0.0.1:11211
	Workers  int      // -t; default 4
	MaxConns int      // -c; default 1024
	Net      bool     // use package net also where epoll is there

	Only protocol.Only // -B: what connections may speak; default both, text and binary

	IdleTimeout time.Duration // connections that send nothing for longer are closed; whole seconds; 0: never
	SlowTimeout time.Duration // a connection that takes none of its output for longer is closed; default 60 s

	NoFlush   bool   // -F: flush_all is refused
	NoWatch   bool   // -W: watch is refused
	NoDump    bool   // -X: stats cachedump, stats detail and the dumps of lru_crawler are refused
	Detail    bool   // -D: stats detail is on from the start
	Delimiter byte   // -D: ends the prefixes that stats detail tells apart; default ':'
	Verbosity int    // -v, -vv; 2 logs connections
	Version   string // answer of version and stats; default 1.6.45, the version whose behaviour is followed

	Logger zerolog.Logger
	Wall   func() time.Time // for tests; default time.Now

	Settings    []Setting           // values of `stats settings`; names that memcached lacks come last
	SetLogLevel func(string) error  // log_level LEVEL; nil: refused
	SetVerbose  func(level int)     // told of verbosity LEVEL; must not block
	OnShutdown  func(graceful bool) // shutdown; nil: refused. Must not block
	Operator    Operator
}

// Setting is one line of `stats settings`.
type Setting struct{ Name, Value string }

// Defaults of Options.
const (
	DefaultListen      = "127.0.0.1:11211"
	DefaultWorkers     = 4
	DefaultMaxConns    = 1024
	DefaultSlowTimeout = 60 * time.Second
	DefaultVersion     = "1.6.45"
)

// Server is a memcached-protocol server. Its methods are safe for concurrent use.
type Server struct {
	o         Options
	log       zerolog.Logger // sampled
	routes    atomic.Pointer[normalizer.Table]
	verbosity atomic.Int32
	detail    detail
	watch     watchers

	crawlerOff atomic.Bool // lru_crawler disable: it is asked for nothing
	started    time.Time   // by the wall clock
	birth      time.Time

	workers []*worker
	conns   registry
	base    baseline

	mu        sync.Mutex // guards the next three
	listeners []net.Listener
	loop      loop
	state     state
}

type state uint8

const (
	created state = iota
	running
	stopped
)

// loop serves connections.
type loop interface {
	// shutdown stops accepting, lets every connection finish the commands it has sent and take its replies, and returns
	// when all are closed; when ctx ends it closes the rest.
	shutdown(ctx context.Context) error
}

// ErrStopped is returned by Start and Shutdown after a Shutdown.
var ErrStopped = errors.New("server: stopped")

// New checks o. Missing Store or Seed is a mistake of the program and panics.
func New(o Options) *Server {
	if o.Store == nil || o.Seed == nil {
		panic("server: Options lack Store or Seed")
	}
	if len(o.Listen) == 0 {
		o.Listen = []string{DefaultListen}
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	if o.MaxConns <= 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.SlowTimeout <= 0 {
		o.SlowTimeout = DefaultSlowTimeout
	}
	if o.Version == "" {
		o.Version = DefaultVersion
	}
	s := &Server{
		o:     o,
		log:   o.Logger.Sample(&zerolog.BurstSampler{Burst: 20, Period: time.Second}),
		birth: time.Now(),
	}
	s.started = s.wall()
	if s.detail.delimiter = o.Delimiter; o.Delimiter == 0 {
		s.detail.delimiter = ':'
	}
	s.detail.on.Store(o.Detail)
	s.watch.stop = make(chan struct{})
	s.verbosity.Store(int32(o.Verbosity))
	s.routes.Store(o.Routes)
	for i := range o.Workers {
		s.workers = append(s.workers, newWorker(s, i))
	}
	return s
}

// Start binds all addresses and serves in the background. An address in use is reported as an error that wraps
// syscall.EADDRINUSE; then nothing was started.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != created {
		return ErrStopped
	}
	for _, addr := range s.o.Listen {
		l, err := net.Listen(network(addr), addr)
		if err != nil {
			s.closeListeners()
			return fmt.Errorf("server: listen on %s: %w", addr, err)
		}
		s.listeners = append(s.listeners, l)
	}
	s.conns.next = uint64(len(s.listeners)) // theirs are the first numbers of stats conns
	var err error
	if s.o.Net {
		s.loop = startNet(s, s.listeners)
	} else if s.loop, err = startLoop(s, s.listeners); err != nil {
		s.closeListeners()
		return fmt.Errorf("server: start workers: %w", err)
	}
	s.state = running
	return nil
}

// network keeps an address of one family to that family: 0.0.0.0 is no IPv6 address.
func network(addr string) string {
	a, err := netip.ParseAddrPort(addr)
	switch {
	case err != nil:
		return "tcp"
	case a.Addr().Is4():
		return "tcp4"
	}
	return "tcp6"
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		l.Close()
	}
	s.listeners = nil
}

// AddrInUse tells whether Start failed because another program has the port.
func AddrInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// Addrs returns the addresses that are listened on, in the order of Options.Listen.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Shutdown stops accepting, runs the complete commands that have arrived, writes all replies and closes. When ctx ends it
// closes what is left and returns the error of ctx. After it no goroutine of the server runs and no ring is used.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	before := s.state
	s.state = stopped
	loop := s.loop
	s.mu.Unlock()
	if before != running {
		return ErrStopped
	}
	close(s.watch.stop)
	err := loop.shutdown(ctx)
	for _, w := range s.workers {
		w.close()
	}
	return err
}

// SetRoutes makes t the table for all commands from now on: each worker takes it at its next wake-up.
func (s *Server) SetRoutes(t *normalizer.Table) { s.routes.Store(t) }

// wall reads the wall clock.
func (s *Server) wall() time.Time {
	if s.o.Wall == nil {
		return time.Now()
	}
	return s.o.Wall()
}

// admit counts a new connection in, or refuses it.
func (s *Server) admit() bool {
	if s.conns.open.Add(1) > int64(s.o.MaxConns) {
		s.conns.open.Add(-1)
		s.conns.rejected.Add(1)
		return false
	}
	s.conns.total.Add(1)
	return true
}

// tooMany is what a connection over the limit gets before it is closed.
var tooMany = protocol.AppendReply(nil, protocol.TooManyConnections)

// chatty tells whether connections are logged.
func (s *Server) chatty() bool { return s.verbosity.Load() >= 2 }
