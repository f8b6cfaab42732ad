//go:build linux

package e2e

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// relay stands between the server and its database and can break connections in the middle of an answer.
type relay struct {
	net.Listener
	target string
	cut    atomic.Bool // answers of more than cutOver bytes are sent by half, and the connection is closed
	cuts   atomic.Int64
	all    sync.WaitGroup

	mu   sync.Mutex // guards open
	open map[net.Conn]bool
}

// cutOver is more than an answer to a ping or a prepared statement, and less than one with rows.
const cutOver = 500

// startRelay relays to the database at dsn and returns the dsn that leads through it.
func startRelay(t testing.TB, dsn string) (*relay, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, target: u.Host, open: make(map[net.Conn]bool)}
	r.all.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		for c := range r.open {
			c.Close()
		}
		r.mu.Unlock()
		r.all.Wait()
	})
	u.Host = l.Addr().String()
	return r, u.String()
}

func (r *relay) accept() {
	for {
		client, err := r.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", r.target)
		if err != nil {
			client.Close()
			continue
		}
		r.mu.Lock()
		r.open[client], r.open[server] = true, true
		r.mu.Unlock()
		end := func() {
			client.Close()
			server.Close()
		}
		r.all.Go(func() {
			_, _ = io.Copy(server, client) // either side may end it
			end()
		})
		r.all.Go(func() {
			r.answers(client, server)
			end()
			r.mu.Lock()
			delete(r.open, client)
			delete(r.open, server)
			r.mu.Unlock()
		})
	}
}

func (r *relay) answers(client io.Writer, server io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if n > cutOver && r.cut.Load() {
			r.cuts.Add(1)
			_, _ = client.Write(buf[:n/2]) // the connection ends here anyway
			return
		}
		if _, failed := client.Write(buf[:n]); failed != nil || err != nil {
			return
		}
	}
}
