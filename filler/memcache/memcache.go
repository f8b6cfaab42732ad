// Package memcache loads from a memcached: from another region's, from a peer, or from the one that is being replaced. Payloads and
// client flags come over as they are; encode, flags and rows of a route do not apply to them.
//
// A peer that knows the meta commands (memcached since 1.6, Swordfish) is asked with mg, and says how long an item will live; one
// that does not is asked with gets. Which of the two it is shows when a connection opens.
//
// The key asked for is the route's canonical key, unless Options.Keys gives the spelling that the peer's clients use. There is one
// server to a Source: how clients spread keys over several is theirs to know.
package memcache

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"swordfish/filler"
)

// Options configure a Source. The zero value of a field means its default.
type Options struct {
	Addr           string        // host:port, or the path of a unix socket
	MaxConns       int           // connections kept open; default 4. Give the filler's SourceSpec the same as MaxLoads
	ConnectTimeout time.Duration // default 1 s
	MaxValue       int           // bytes; a longer value is not read. Default filler.DefaultMaxValue

	// Keys gives the peer's spelling of a route's keys, by the route's name: a text with {part} where the part's value stands, or
	// {key} for the whole canonical key. A field between separators whose part is absent is left out with one separator. The
	// separator is the first byte of | : / , ; & after the first brace.
	Keys map[string]string
}

// Source is a filler.Source, Typer, Pinger and Explainer. It is safe for concurrent use.
type Source struct {
	o       Options
	network string

	mu     sync.Mutex
	idle   []*conn // the last used comes last
	closed bool
	routes map[string]*spelling // by route name, for the route as it was last seen
}

// conn is a connection, in the hands of one load at a time.
type conn struct {
	nc    net.Conn
	r     *bufio.Reader
	meta  bool // the peer knows meta commands
	fresh bool // opened for the load under way
}

// New checks the options. It does not connect: the first ping or load does.
func New(o Options) (*Source, error) {
	s := &Source{o: o, network: "tcp", routes: make(map[string]*spelling)}
	if strings.HasPrefix(o.Addr, "/") {
		s.network = "unix"
	} else if _, _, err := net.SplitHostPort(o.Addr); err != nil {
		return nil, fmt.Errorf("memcache: address %q: write host:port or the path of a unix socket", o.Addr)
	}
	if s.o.MaxConns <= 0 {
		s.o.MaxConns = 4
	}
	if s.o.ConnectTimeout <= 0 {
		s.o.ConnectTimeout = time.Second
	}
	if s.o.MaxValue <= 0 {
		s.o.MaxValue = filler.DefaultMaxValue
	}
	return s, nil
}

// Close closes the connections. No load may be under way: shut the filler down first.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.idle {
		c.nc.Close()
	}
	s.idle = nil
	return nil
}

// Ping implements filler.Pinger.
func (s *Source) Ping(ctx context.Context) error {
	return s.with(ctx, func(c *conn) error {
		line, err := c.say("version\r\n")
		if err == nil && !strings.HasPrefix(line, "VERSION ") {
			err = fmt.Errorf("it answers version with %.50q", line)
		}
		return err
	})
}

// Params implements filler.Typer: a memcached accepts every key.
func (s *Source) Params(_ context.Context, r *filler.Route) (filler.Params, error) {
	if _, err := s.spelling(r); err != nil {
		return filler.Params{}, err
	}
	p := filler.Params{Parts: make([]filler.ParamType, len(r.Parts))}
	for i := range p.Parts {
		p.Parts[i] = filler.ParamUnused
	}
	return p, nil
}

// Explain implements filler.Explainer: it looks at the spelling of the route's keys and asks what the peer knows.
func (s *Source) Explain(ctx context.Context, r *filler.Route) ([]filler.Advice, error) {
	if _, err := s.spelling(r); err != nil {
		return []filler.Advice{{Level: filler.Mistake, Text: err.Error()}}, nil
	}
	var advice []filler.Advice
	err := s.with(ctx, func(c *conn) error {
		if _, err := c.say("version\r\n"); err != nil {
			return err
		}
		advice = nil
		if !c.meta {
			advice = []filler.Advice{{Level: filler.Note, Text: "the peer knows no meta commands (memcached before 1.6), so nobody can say how long its items will live: they are fresh for the route's time"}}
		}
		return nil
	})
	return advice, err
}

// Load implements filler.Source.
func (s *Source) Load(ctx context.Context, b *filler.Batch) error {
	sp, err := s.spelling(b.Route())
	if err != nil {
		return err
	}
	keys := sp.keys(b)
	return s.with(ctx, func(c *conn) error {
		b.Restart()
		if c.meta {
			return s.loadMeta(c, b, keys)
		}
		return s.loadClassic(c, b, keys)
	})
}

// with runs f with a connection that ends with ctx. When a connection that had lain idle turns out to be dead, f runs once more
// on a new one.
func (s *Source) with(ctx context.Context, f func(*conn) error) error {
	for {
		c, err := s.acquire(ctx)
		if err != nil {
			return classify(ctx, err)
		}
		err = c.run(ctx, f)
		s.release(c, err)
		if err == nil {
			return nil
		}
		var own *filler.Error
		if c.fresh || ctx.Err() != nil || errors.As(err, &own) {
			return classify(ctx, err)
		}
		s.closeIdle()
	}
}

// run runs f under ctx's end.
func (c *conn) run(ctx context.Context, f func(*conn) error) error {
	deadline, _ := ctx.Deadline() // none: the zero time
	if err := c.nc.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) }) // it fails where it is closed already
	defer stop()
	return f(c)
}

func (s *Source) acquire(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		c.fresh = false
		return c, nil
	}
	s.mu.Unlock()
	return s.connect(ctx)
}

// connect opens a connection and asks whether the peer knows meta commands.
func (s *Source) connect(ctx context.Context) (*conn, error) {
	attempt, cancel := context.WithTimeout(ctx, s.o.ConnectTimeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(attempt, s.network, s.o.Addr)
	if err != nil {
		return nil, err
	}
	c := &conn{nc: nc, r: bufio.NewReaderSize(nc, 16<<10), fresh: true}
	err = c.run(attempt, func(*conn) error {
		line, err := c.say("mn\r\n")
		switch {
		case err != nil:
			return err
		case line == "MN":
			c.meta = true
		case !strings.HasPrefix(line, "ERROR"):
			return fmt.Errorf("it answers mn with %.50q", line)
		}
		return nil
	})
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// release takes a connection back after f returned err. After an error nobody knows what is still to be read from it.
func (s *Source) release(c *conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.closed || len(s.idle) >= s.o.MaxConns {
		c.nc.Close()
		return
	}
	s.idle = append(s.idle, c)
}

func (s *Source) closeIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		c.nc.Close()
	}
	s.idle = nil
}

// say sends a command and returns the first line of its answer.
func (c *conn) say(command string) (string, error) {
	if _, err := io.WriteString(c.nc, command); err != nil {
		return "", err
	}
	line, err := c.line()
	return string(line), err
}

// line reads a line without its end, valid until the next read.
func (c *conn) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err // also bufio.ErrBufferFull: no line of the protocol is that long
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// classify says what an error means for the batch: whatever is not said by the peer is the connection's.
func classify(ctx context.Context, err error) error {
	var own *filler.Error
	switch {
	case errors.As(err, &own):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("memcache: %w: %w", ctx.Err(), err)
	}
	return &filler.Error{Fault: filler.FaultDown, Err: fmt.Errorf("memcache: %w", err)}
}

// refusal is an error line of the peer.
func refusal(line []byte) error {
	fault := filler.FaultQuery
	if strings.HasPrefix(string(line), "SERVER_ERROR") {
		fault = filler.FaultTransient
	}
	return &filler.Error{Fault: fault, Err: fmt.Errorf("memcache: the peer answers %.100q", line)}
}
