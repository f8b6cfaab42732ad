package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"swordfish/hasher"
	"swordfish/store"
)

var testSeed = hasher.Seed{1, 2, 3, 4, 5, 6, 7, 8}

// testClock is an item clock that moves only when told.
type testClock struct{ now store.Time }

// read is for the store, whose background reads it while the test goes on.
func (c *testClock) read() store.Time { return store.Time(atomic.LoadInt64((*int64)(&c.now))) }

func (c *testClock) advance(by store.Time) { atomic.AddInt64((*int64)(&c.now), int64(by)) }

// newStore opens a store of 8 MB unless o says otherwise. The race detector's builds take six times the limit out of the Go heap and
// clear it, which with a store of the usual 64 MB for each test took longer than most of the tests.
func newStore(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	if o.Memory == 0 {
		o.Memory = 8 << 20
	}
	seed := testSeed
	o.Seed, o.KeyHash, o.Digest = seed, seed.Key, seed.Payload
	st, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// usualStore opens a store of memcached's own size, for tests that see how large it is.
func usualStore(t testing.TB) *store.Store {
	t.Helper()
	return newStore(t, store.Options{Memory: 64 << 20})
}

// newServer makes a server that is not started, for tests of sessions.
func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Store == nil {
		o.Store = newStore(t, store.Options{})
	}
	seed := testSeed
	o.Seed = &seed
	if o.Listen == nil {
		o.Listen = []Listener{{Address: "127.0.0.1:0"}}
	}
	if o.Workers == 0 {
		o.Workers = 2
	}
	return New(o)
}

// startServer starts a server and returns it with its address.
func startServer(t testing.TB, o Options) (*Server, string) {
	t.Helper()
	s := newServer(t, o)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil && !errors.Is(err, ErrStopped) {
			t.Errorf("shutdown: %v", err)
		}
	})
	return s, s.Addrs()[0].String()
}

// twins runs f with each kind of loop.
func twins(t *testing.T, f func(t *testing.T, o Options)) {
	t.Run("loop=native", func(t *testing.T) { f(t, Options{}) })
	t.Run("loop=net", func(t *testing.T) { f(t, Options{Net: true}) })
}

// client is a session without a socket: it gives what it is sent to the session in the way the loops do, and checks that
// no more is held than may be.
type client struct {
	t       testing.TB
	w       *worker
	session session
	input   input
	shared  []byte
	out     []byte // all replies
	reply   []byte
	ended   bool
	maxHeld int // most bytes of input held between two reads
	maxOut  int // most bytes of output held at once
	yielded int // times that others had their turn
}

func newClient(t testing.TB, s *Server) *client {
	return newClientOf(t, s.workers[0])
}

// newClientOf is a client of a given worker.
func newClientOf(t testing.TB, w *worker) *client {
	c := &client{t: t, w: w, session: newSession(w, &Listener{})}
	c.session.local = true
	return c
}

// send gives data to the session as one read.
func (c *client) send(data []byte) {
	for len(data) > 0 && !c.ended {
		if c.shared == nil {
			c.shared = make([]byte, readBuffer)
		}
		space := c.input.space(&c.w.buffers, c.shared, c.session.parser.Need, c.w.now)
		if len(space) == 0 {
			c.t.Fatal("no room to read to")
		}
		n := copy(space, data)
		c.run(c.input.add(c.shared, n))
		data = data[n:]
	}
}

func (c *client) run(data []byte) {
	c.w.begin()
	defer c.w.end()
	for {
		used, out, did := c.session.run(c.w, data, c.reply[:0])
		c.reply = out[:0]
		c.out = append(c.out, out...)
		c.maxOut = max(c.maxOut, len(out))
		data = data[used:]
		switch did {
		case ended:
			c.ended = true
			return
		case starved:
			c.input.hold(&c.w.buffers, data, c.session.parser.Need, c.w.now)
			c.maxHeld = max(c.maxHeld, cap(c.input.held))
			return
		case parked:
			c.out = c.session.errand(c.out)
		case yields:
			c.yielded++
		}
		if used == 0 && len(out) == 0 && c.session.dump == nil {
			c.t.Fatal("the session makes no progress")
		}
	}
}

// ask sends a command and returns what came back.
func (c *client) ask(command string) string {
	c.out = c.out[:0]
	c.send([]byte(command))
	return string(c.out)
}

// playSession gives in to a fresh session in pieces of the given sizes, the last one repeated, and returns the replies.
func playSession(t testing.TB, s *Server, in []byte, sizes ...int) []byte {
	t.Helper()
	c := newClient(t, s)
	for len(in) > 0 {
		n := min(max(sizes[0], 1), len(in))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		c.send(in[:n])
		in = in[n:]
	}
	return c.out
}

// playSocket sends in over a connection in pieces of the given size, says that nothing more comes, and returns all that
// comes back until the other side closes.
func playSocket(t testing.TB, addr string, in []byte, size int) []byte {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	go func() {
		for len(in) > 0 {
			n := min(size, len(in))
			if _, err := c.Write(in[:n]); err != nil {
				return // the other side has closed, which the replies show
			}
			in = in[n:]
		}
		c.CloseWrite()
	}()
	out, err := io.ReadAll(c)
	if err != nil && !isReset(err) {
		t.Fatalf("read: %v after %d bytes", err, len(out))
	}
	return out
}

// dial connects with a deadline that ends a test which hangs.
func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(60 * time.Second))
	return c.(*net.TCPConn)
}

// shorten cuts the middle out of long output.
func shorten(b []byte) []byte {
	if len(b) <= 2000 {
		return b
	}
	return bytes.Join([][]byte{b[:1000], b[len(b)-1000:]}, []byte(" ... "))
}
