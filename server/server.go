// Package server runs memcached's protocol on sockets: it accepts connections, deals them to workers, and runs each
// command against the store. It is the one package that sees protocol, normalizer, hasher, filler and store together.
//
// A session is a connection's commands without its socket: bytes in, bytes out. Two kinds of loop drive sessions: on Linux
// workers with an epoll set each (loop_linux.go), and everywhere, where asked for, a goroutine a connection over package
// net (loop_net.go). Listeners are parted by kind, and both loops may run at once, each with workers of its own. In both a
// worker is used by one goroutine at a time, reads the clocks once per wake-up, and never waits: not for a slow reader, whose
// output is bounded and who is left alone until it reads, and not for a fill.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
	"swordfish/hasher"
	"swordfish/normalizer"
	"swordfish/store"
)

// Options configure a Server. The zero value of a field means its default.
type Options struct {
	Store  *store.Store      // required
	Seed   *hasher.Seed      // required; the one whose Key is the store's KeyHash
	Routes *normalizer.Table // nil: every key is plain
	Filler *filler.Filler    // nil: leases end at once, nothing is ever loaded

	Listen   []Listener // nil: 127.0.0.1:11211, unless there is UDP
	UDP      []string   // host:port where datagrams are answered; nobody can log in there
	Workers  int        // -t; of each kind of loop that Listen calls for; default 4
	MaxConns int        // -c; default 1024
	Net      bool       // use package net also where epoll is there

	WaitForRoom  bool // -o no_maxconns_fast: connections over MaxConns wait until others end, instead of being refused
	ReqsPerEvent int  // -R: commands of a connection before the others have their turn; 0: bytes alone bound a turn

	ConnMemory  int64         // bytes of commands that have not arrived whole and of replies not taken, for all connections; default 64 MiB
	IdleTimeout time.Duration // connections that send nothing for longer are closed; whole seconds; 0: never
	SlowTimeout time.Duration // a connection that takes none of its output for longer is closed; default 60 s

	Users     *Users        // -Y, -S: who may use the server; nil: everybody
	FailDelay time.Duration // a wrong password is answered after so long, default 300 ms

	TLS              *Certificates // for listeners with TLS
	HandshakeTimeout time.Duration // a connection that is not encrypted after this long is closed; default 10 s

	NoFlush     bool // -F: flush_all is refused
	NoWatch     bool // -W: watch is refused
	NoDump      bool // -X: stats cachedump, stats detail and the dumps of lru_crawler are refused
	NoCrawler   bool // lru_crawler is refused until it is enabled
	WatchBuffer int  // -o watcher_logbuf_size: bytes of lines that wait for a slow watcher, the rest is skipped; default 256 KiB, at least twice LogBuffer
	LogBuffer   int  // -o worker_logbuf_size: bytes of lines of a worker's wake-up, the rest is dropped; default 64 KiB

	// stats is without the lines of memcached's LRU maintainer and slab rebalancer, which are told to be off.
	NoMaintainer, NoReassign bool

	Detail    bool   // -D: stats detail is on from the start
	Delimiter byte   // -D: ends the prefixes that stats detail tells apart; default ':'
	Verbosity int    // -v, -vv; 2 logs connections
	Version   string // answer of version and stats; default 1.6.45, the version whose behaviour is followed

	Logger zerolog.Logger
	Wall   func() time.Time // for tests; default time.Now

	// What another process has handed over: see Hold. Start closes the sockets that no listener wants.
	Sockets   []Socket
	Conns     []Conn
	ConnsLeft int // how many of its connections could not go along, for the statistics

	Settings    []Setting           // values of `stats settings`; names that memcached lacks come last
	SetLogLevel func(string) error  // log_level LEVEL; nil: refused
	SetVerbose  func(level int)     // told of verbosity LEVEL; must not block
	OnShutdown  func(graceful bool) // shutdown; nil: refused. Must not block
	Operator    Operator
	AdminWords  AdminWords // who may send an operator's words; default clients on this machine
}

// Setting is one line of `stats settings`.
type Setting struct{ Name, Value string }

// Defaults of Options.
const (
	DefaultListen      = "127.0.0.1:11211"
	DefaultWorkers     = 4
	DefaultMaxConns    = 1024
	DefaultBacklog     = 1024
	DefaultAccess      = 0o700
	DefaultConnMemory  = 64 << 20
	DefaultSlowTimeout = 60 * time.Second
	DefaultWatchBuffer = 256 << 10
	DefaultLogBuffer   = 64 << 10
	DefaultHandshake   = 10 * time.Second
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
	gate      gate
	dedup     dedupCache
	hand      hand
	spare     []byte         // TakeRequests': a tape that no worker has
	errands   sync.WaitGroup // what commands left to be done off the workers

	crawlerOff atomic.Bool // lru_crawler disable: it is asked for nothing
	started    time.Time   // by the wall clock
	birth      time.Time

	inheritedConns int64 // from another process

	workers []*worker // of all groups
	groups  []*group
	udp     *udpLoop // nil: none
	conns   registry
	doors   closedDoors
	base    baseline

	mu      sync.Mutex // guards the next two and what groups are started with
	sockets []*socket
	state   state
}

// group is the listeners of one kind with the workers and the loop that serve them.
type group struct {
	viaNet  bool
	workers []*worker
	sockets []*socket
	loop    loop
}

type state uint8

const (
	created state = iota
	bound
	running
	stopped
)

// loop serves connections. It has opened all that it needs before it starts.
type loop interface {
	start()
	// close closes what it has opened, where it was not started.
	close()

	// shutdown stops accepting, lets every connection finish the commands it has sent and take its replies, and returns
	// when all are closed; when ctx ends it closes the rest.
	shutdown(ctx context.Context) error

	// hold ends accepting and running commands, and returns the connections that can go over to another process, and how many
	// cannot. It waits for the latter to take their replies until ctx ends. Either resume or leave follows; leave lets those that
	// stay behind take the rest of their replies, until its ctx ends.
	hold(ctx context.Context) (conns []Conn, stay int)
	resume()
	leave(ctx context.Context)

	// adopt takes a connection that came from another process.
	adopt(c *Conn)
}

// Errors of Start and Shutdown.
var (
	ErrStopped = errors.New("server: stopped")                             // by a Shutdown before
	ErrErrands = errors.New("server: an operator's word is still at work") // with the store and what Options hold
)

// New checks o. Missing Store or Seed is a mistake of the program and panics.
func New(o Options) *Server {
	if o.Store == nil || o.Seed == nil {
		panic("server: Options lack Store or Seed")
	}
	if o.Listen == nil && len(o.UDP) == 0 {
		o.Listen = []Listener{{Address: DefaultListen}}
	}
	if o.Workers <= 0 {
		o.Workers = DefaultWorkers
	}
	if o.MaxConns <= 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.ConnMemory <= 0 {
		o.ConnMemory = DefaultConnMemory
	}
	if o.SlowTimeout <= 0 {
		o.SlowTimeout = DefaultSlowTimeout
	}
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = DefaultHandshake
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
	s.crawlerOff.Store(o.NoCrawler)
	s.watch.open(o.Store, cmp.Or(o.WatchBuffer, DefaultWatchBuffer), cmp.Or(o.LogBuffer, DefaultLogBuffer))
	s.gate.open(o.Users, o.FailDelay, o.Logger)
	s.verbosity.Store(int32(o.Verbosity))
	s.routes.Store(o.Routes)
	for i := range o.Listen {
		s.group(o.viaNet(&o.Listen[i]))
	}
	if s.inheritedConns = int64(len(o.Conns)); s.inheritedConns > 0 {
		s.group(o.Net)
	}
	for _, w := range s.workers {
		w.buffers.limit = o.share(len(s.workers))
		w.replies.limit = w.buffers.limit
	}
	if len(o.UDP) > 0 { // datagrams leave nothing behind, so their workers have no share
		s.udp = newUDP(s)
		s.workers = append(s.workers, s.udp.workers...)
	}
	return s
}

// share is how many bytes of input, and how many of output, the connections of one of several workers may hold.
func (o *Options) share(workers int) int {
	return max(int(o.ConnMemory/2)/workers, leastItems*o.Store.Settings().MaxItem)
}

// leastItems is how many items of the largest size fit a worker's share at least.
const leastItems = 4

// group returns the group of a kind, made with its workers where it is the first of its kind.
func (s *Server) group(viaNet bool) *group {
	for _, g := range s.groups {
		if g.viaNet == viaNet {
			return g
		}
	}
	g := &group{viaNet: viaNet}
	for range s.o.Workers {
		g.workers = append(g.workers, newWorker(s, len(s.workers)+len(g.workers)))
	}
	s.groups = append(s.groups, g)
	s.workers = append(s.workers, g.workers...)
	return g
}

// Bind binds all addresses and opens all else that Start needs, which does it where it was not done. An address in use is reported
// as an error that wraps syscall.EADDRINUSE. After an error nothing is bound.
func (s *Server) Bind() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != created {
		return ErrStopped
	}
	if err := s.bind(); err != nil {
		s.unbind()
		return err
	}
	s.state = bound
	return nil
}

func (s *Server) unbind() {
	for _, g := range s.groups {
		if g.loop != nil {
			g.loop.close()
			g.loop = nil
		}
	}
	closeAll(s.sockets)
	s.sockets = nil
	if s.udp != nil {
		s.udp.close()
		s.udp.sockets, s.udp.addresses, s.udp.readers = nil, nil, nil
	}
	for _, g := range s.groups {
		g.sockets = nil
	}
}

// Start serves in the background. After an error nothing was started and nothing is bound; after Bind there is none, but for
// ErrStopped.
func (s *Server) Start() error {
	if err := s.Bind(); err != nil && !errors.Is(err, ErrStopped) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != bound {
		return ErrStopped
	}
	s.start()
	s.state = running
	if s.o.TLS != nil {
		s.announceCertificate("certificates were read")
	}
	return nil
}

// bind binds all sockets. The caller holds mu, and closes the sockets after an error.
func (s *Server) bind() error {
	for i := range s.o.Listen {
		l := &s.o.Listen[i]
		if l.TLS != NoTLS && s.o.TLS == nil {
			return fmt.Errorf("server: listen on %s: TLS without certificates", l.Address)
		}
		bound, err := s.rebind(l)
		var left error
		if err == nil && len(bound) == 0 {
			bound, left, err = bind(l)
		}
		if err != nil {
			closeAll(bound)
			return err
		}
		if left != nil {
			s.log.Warn().Err(left).Str("address", l.Address).Msg("listening on a part of the addresses only")
		}
		s.sockets = append(s.sockets, bound...)
		g := s.group(s.o.viaNet(l))
		g.sockets = append(g.sockets, bound...)
	}
	s.conns.next = uint64(len(s.sockets)) // theirs are the first numbers of stats conns
	if s.udp != nil {
		if err := s.udp.bind(); err != nil {
			return err
		}
	}
	for _, g := range s.groups {
		if err := g.open(s); err != nil {
			return fmt.Errorf("server: open what workers need: %w", err)
		}
	}
	return nil
}

// start starts the loops. The caller holds mu.
func (s *Server) start() {
	s.dropSockets()
	s.ownFiles()
	for _, g := range s.groups {
		g.loop.start()
	}
	if s.udp != nil {
		s.udp.start()
	}
	s.adopt()
}

func (g *group) open(s *Server) (err error) {
	if g.viaNet {
		g.loop = newNetLoop(s, g)
		return nil
	}
	g.loop, err = openLoop(s, g)
	return err
}

// AddrInUse tells whether Start failed because another program has the port.
func AddrInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// Addrs returns the addresses that are listened on, in the order of Options.Listen. A listener whose name has several
// addresses stands there with each of them.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := make([]net.Addr, len(s.sockets))
	for i, l := range s.sockets {
		addrs[i] = l.Addr()
	}
	return addrs
}

// UDPAddrs returns the addresses where datagrams are answered, in the order of Options.UDP.
func (s *Server) UDPAddrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.udp == nil {
		return nil
	}
	addrs := make([]net.Addr, len(s.udp.sockets))
	for i, socket := range s.udp.sockets {
		addrs[i] = socket.LocalAddr()
	}
	return addrs
}

// Shutdown stops accepting, runs the complete commands that have arrived, writes all replies and closes. When ctx ends it
// closes what is left and returns the error of ctx. After it no goroutine of the server runs and no ring is used, but for what
// ErrErrands tells of.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	before := s.state
	s.state = stopped
	if before == bound {
		s.unbind()
	}
	s.mu.Unlock()
	if before != running {
		return ErrStopped
	}
	close(s.watch.stop)
	s.gate.stop()
	errs := make([]error, len(s.groups))
	var stopping sync.WaitGroup
	for i, g := range s.groups {
		stopping.Go(func() { errs[i] = g.loop.shutdown(ctx) })
	}
	var errUDP error
	if s.udp != nil {
		errUDP = s.udp.shutdown(ctx)
	}
	stopping.Wait()
	if !s.errandsEnd(ctx) {
		errs = append(errs, ErrErrands)
	}
	s.gate.work.Wait()
	for _, w := range s.workers {
		w.close()
	}
	s.hand.close()
	return errors.Join(append(errs, errUDP)...)
}

// errandGrace is the time beyond a shutdown's own that errands have to end.
const errandGrace = time.Second

// errandsEnd waits for what was begun off the workers. It ends by itself when the server stops, unless files cannot be read.
func (s *Server) errandsEnd(ctx context.Context) bool {
	ended := make(chan struct{})
	go func() {
		s.errands.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
	}
	select {
	case <-ended:
		return true
	case <-time.After(errandGrace):
		return false
	}
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

// chatty tells whether connections are logged.
func (s *Server) chatty() bool { return s.verbosity.Load() >= 2 }
