package postgres

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// relay passes bytes between clients and a server over TCP, in order.
type relay struct {
	ln     net.Listener
	target string
	delay  time.Duration // added to every answer, so to every round trip

	cutAfter atomic.Int64 // > 0: a connection is cut when it has passed that many bytes of answers
	cuts     atomic.Int64

	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

// newRelay starts a relay to pg and returns it with the DSN that leads through it.
func newRelay(t testing.TB, pg *testenv.PG, delay time.Duration) (*relay, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := net.JoinHostPort(pg.Host, fmt.Sprint(pg.Port))
	r := &relay{ln: ln, target: target, delay: delay}
	r.wg.Go(r.accept)
	t.Cleanup(r.close)
	return r, strings.Replace(pg.DSN, target, ln.Addr().String(), 1)
}

func (r *relay) close() {
	r.ln.Close()
	r.mu.Lock()
	for _, c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *relay) accept() {
	for {
		client, err := r.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.target)
		if err != nil {
			client.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, client, server)
		r.mu.Unlock()
		r.wg.Go(func() {
			_, _ = io.Copy(server, client)
			server.Close()
		})
		r.wg.Go(func() {
			r.answer(client, server)
			client.Close()
			server.Close()
		})
	}
}

// late is a piece of an answer with the moment it is due.
type late struct {
	due   time.Time
	bytes []byte
}

// answer passes the server's bytes on, each delay after it came, however many are under way.
func (r *relay) answer(client io.Writer, server io.Reader) {
	pieces := make(chan late, 1024)
	r.wg.Go(func() {
		defer close(pieces)
		passed := int64(0)
		for {
			buf := make([]byte, 32<<10)
			n, err := server.Read(buf)
			if most := r.cutAfter.Load(); most > 0 && passed+int64(n) > most {
				r.cuts.Add(1)
				pieces <- late{time.Now(), buf[:max(0, most-passed)]}
				return
			}
			passed += int64(n)
			pieces <- late{time.Now().Add(r.delay), buf[:n]}
			if err != nil {
				return
			}
		}
	})
	for p := range pieces {
		if r.delay > 0 {
			time.Sleep(time.Until(p.due))
		}
		if _, err := client.Write(p.bytes); err != nil {
			for range pieces { // until the reader sees that the server's side is closed
			}
			return
		}
	}
}
