// Package admin is HTTP for operators, on a port of its own: metrics for Prometheus, health, a JSON API, a dashboard, and
// profiles where they are wanted. It reads the snapshots of server, store and filler; what changes anything is handed in as
// functions. It is the one package that imports Prometheus.
//
// Whoever can connect from this machine may ask; from elsewhere a token is needed (guard.go). A web page of somebody else can
// neither read nor change anything, even in an operator's browser.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
	"swordfish/server"
	"swordfish/snapshot"
	"swordfish/store"
	"swordfish/warm"
)

// Options configure an Admin. Server, Store, Filler, Snapshot and all of Do are required.
type Options struct {
	Addr  string   // host:port, port 0 for a free one
	Token string   // what requests have to show, but for health; empty: nothing
	Hosts []string // names, beside localhost, under which it may be asked
	Pprof bool     // serve /debug/pprof/

	Version string
	Logger  zerolog.Logger
	Server  *server.Server
	Store   *store.Store
	Filler  *filler.Filler
	Warmer  *warm.Warmer // nil: nothing is ever warmed up
	Do      Actions

	Snapshot func() snapshot.Status // required

	// NotReady returns why the server should get no clients yet, a sentence each; none: it is ready. Nil: it always is.
	NotReady func() []string

	// Listening is what another process has listened with at Addr, and becomes the Admin's. Nil: nothing.
	Listening *os.File

	refused *refusals
}

// Actions are what an operator can change. An error is for the one who asked. All are safe for concurrent use.
type Actions struct {
	Invalidate func(what string) error // a route's name, or a key of a route
	Refresh    func(key string) error
	Route      func(name string, off bool) error
	LogLevel   func(level string) error
	Reload     func() error // may take its time
	Snapshot   func() error // only begins
}

// Admin serves HTTP. Its methods are safe for concurrent use.
type Admin struct {
	o    Options
	http *http.Server
	live *live

	mu       sync.Mutex    // guards the rest
	listener *limited      // nil: not bound
	serving  chan struct{} // closed when Serve has returned
}

const (
	headerTime = 5 * time.Second  // to send a request's header
	bodyTime   = 30 * time.Second // to send all of it
	answerTime = 30 * time.Second // to take an answer; streams and profiles set their own
	idleTime   = 2 * time.Minute
	maxHeader  = 16 << 10
	maxBody    = 16 << 10
	maxConns   = 64
)

// New checks nothing and listens nowhere yet.
func New(o Options) *Admin {
	if o.Server == nil || o.Store == nil || o.Filler == nil || o.Snapshot == nil {
		panic("admin: Options lack Server, Store, Filler or Snapshot")
	}
	o.refused = new(refusals)
	a := &Admin{o: o}
	a.live = newLive(&a.o)
	ctx, cancel := context.WithCancel(context.Background())
	a.http = &http.Server{
		Handler:           a.guard(a.routes()),
		ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ErrorLog:       log.New(debugLog{o.Logger}, "", 0),
	}
	a.http.RegisterOnShutdown(func() { // what would go on for long ends
		cancel()
		a.live.stop()
	})
	return a
}

// routes says what answers which request. Whatever changes something is POST.
func (a *Admin) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", a.livez)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", newMetrics(&a.o))
	a.apiRoutes(mux)
	uiRoutes(mux)
	if a.o.Pprof {
		pprofRoutes(mux)
	}
	return mux
}

// Bind listens, which Start does where it was not done; whoever connects waits for Start. An address in use is reported as an error that wraps syscall.EADDRINUSE.
func (a *Admin) Bind() error {
	var l net.Listener
	var err error
	if a.o.Listening != nil {
		l, err = net.FileListener(a.o.Listening)
		a.o.Listening.Close()
	} else {
		l, err = net.Listen("tcp", a.o.Addr)
	}
	if err != nil {
		return fmt.Errorf("admin: listen on %s: %w", a.o.Addr, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listener = limit(l, maxConns)
	return nil
}

// Start serves in the background. Its errors are Bind's.
func (a *Admin) Start() error {
	if a.Addr() == nil {
		if err := a.Bind(); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serving = make(chan struct{})
	l, serving := a.listener, a.serving
	a.live.start()
	go func() {
		defer close(serving)
		if err := a.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.o.Logger.Error().Err(err).Msg("admin stopped serving")
		}
	}()
	return nil
}

// Addr returns the address that is listened on, nil before Bind.
func (a *Admin) Addr() net.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listener == nil {
		return nil
	}
	return a.listener.Addr()
}

// Hold accepts no more until Resume, and returns what another process can listen with, the caller's to close. Whoever connects
// meanwhile waits.
func (a *Admin) Hold() (*os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l, ok := a.listener.Listener.(*net.TCPListener)
	if !ok {
		return nil, errors.New("admin: not listening with TCP")
	}
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	a.listener.hold()
	return f, nil
}

// Resume accepts again after Hold.
func (a *Admin) Resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listener.resume()
}

// Shutdown stops listening, ends streams and lets other answers finish. When ctx ends it closes what is left and returns
// ctx's error. Without a Start it closes what Bind has opened.
func (a *Admin) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	serving, l := a.serving, a.listener
	a.mu.Unlock()
	if serving == nil {
		if l != nil {
			return l.Close()
		}
		return nil
	}
	err := a.http.Shutdown(ctx)
	if err != nil {
		a.http.Close()
	}
	a.live.stop()
	a.live.wait()
	<-serving
	return err
}

// debugLog takes what net/http says about connections that went wrong.
type debugLog struct{ zerolog.Logger }

func (l debugLog) Write(p []byte) (int, error) {
	l.Debug().Str("http", string(p)).Msg("admin")
	return len(p), nil
}

// limited is a listener that has at most so many connections open; others wait to be accepted. While it is held nobody is.
type limited struct {
	net.Listener
	room chan struct{}

	mu   sync.Mutex    // guards held
	held chan struct{} // closed when it is not held any more; nil: it is not
}

func limit(l net.Listener, n int) *limited {
	return &limited{Listener: l, room: make(chan struct{}, n)}
}

func (l *limited) Accept() (net.Conn, error) {
	l.room <- struct{}{}
	for {
		c, err := l.Listener.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			l.mu.Lock()
			held := l.held
			l.mu.Unlock()
			if held != nil {
				<-held
			}
			continue
		}
		if err != nil {
			<-l.room
			return nil, err
		}
		return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
	}
}

func (l *limited) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = make(chan struct{})
	_ = l.Listener.(*net.TCPListener).SetDeadline(time.Unix(1, 0)) // it fails where it is closed, as Accept does then
}

func (l *limited) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		_ = l.Listener.(*net.TCPListener).SetDeadline(time.Time{})
		close(l.held)
		l.held = nil
	}
}

func (l *limited) Close() error {
	err := l.Listener.Close()
	l.resume()
	return err
}

type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}
