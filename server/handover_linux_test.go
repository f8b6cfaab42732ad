package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// handOver makes another server go on with what s does. Both have the store: nothing but the connections is at stake here.
func handOver(t *testing.T, s *Server, o Options) (next *Server, h *Held) {
	t.Helper()
	h, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	o.Store, o.Sockets, o.Conns = s.o.Store, h.Sockets, nil
	for _, c := range h.Conns {
		if c.FD, err = unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		o.Conns = append(o.Conns, c)
	}
	was := fmt.Sprint(s.Addrs(), s.UDPAddrs())
	next = newServer(t, o)
	if err := next.Bind(); err != nil {
		t.Fatal(err)
	}
	if now := fmt.Sprint(next.Addrs(), next.UDPAddrs()); now != was {
		t.Errorf("listens on %s, was %s", now, was)
	}
	if err := next.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := next.Shutdown(ctx); err != nil && !errors.Is(err, ErrStopped) {
			t.Errorf("shutdown: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	h.Leave(ctx)
	return next, h
}

// goOns are the two ways in which a server that stood still goes on.
func goOns(t *testing.T, f func(t *testing.T, goOn func(s *Server, o Options) *Server)) {
	t.Run("another", func(t *testing.T) {
		f(t, func(s *Server, o Options) *Server {
			next, _ := handOver(t, s, o)
			return next
		})
	})
	t.Run("itself", func(t *testing.T) {
		f(t, func(s *Server, o Options) *Server {
			h, err := s.Hold()
			if err != nil {
				t.Fatal(err)
			}
			// The other one comes as far as it may before it gives up.
			o.Store, o.Sockets = s.o.Store, h.Sockets
			heir := newServer(t, o)
			if err := heir.Bind(); err != nil {
				t.Fatal(err)
			}
			if err := heir.Shutdown(t.Context()); !errors.Is(err, ErrStopped) {
				t.Errorf("shutdown: %v", err)
			}
			h.Resume()
			return s
		})
	})
}

// hasRead waits until s has read n bytes beside those of the client that asks meanwhile.
func hasRead(t *testing.T, s *Server, addr string, n int) {
	t.Helper()
	other := talk(t, addr)
	defer other.Close()
	for asked := 0; s.Stats().Counters.BytesRead < uint64(n+asked); {
		other.ask("version\r\n", "VERSION")
		asked += len("version\r\n")
	}
}

// Whatever a client was about when the server stood still, it gets the answers that it would have had.
func TestHandoverGoesOnWithAClient(t *testing.T) {
	big := strings.Repeat("0123456789", 40_000)
	var keys strings.Builder
	for i := range 600 {
		fmt.Fprintf(&keys, " key:%05d", i)
	}
	binarySet := "\x80\x01\x00\x01\x08\x00\x00\x00\x00\x00\x00\x0eopaq\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x05\x00\x00\x00\x00" + "b" + "value"
	binaryGet := "\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01gets\x00\x00\x00\x00\x00\x00\x00\x00b"
	tests := map[string]struct{ before, after, want string }{
		"idle":                    {"set a 0 0 1\r\nx\r\n", "get a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"},
		"inside a line":           {"set a 0 0 1\r\nx\r\nge", "t a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"},
		"inside a value":          {"set a 0 0 10\r\n01234", "56789\r\nget a\r\n", "STORED\r\nVALUE a 0 10\r\n0123456789\r\nEND\r\n"},
		"before the line end":     {"set a 5 0 3 noreply\r\nabc\r", "\nget a\r\n", "VALUE a 5 3\r\nabc\r\nEND\r\n"},
		"inside a large value":    {"set a 0 0 400000\r\n" + big[:250_001], big[250_001:] + "\r\nget a\r\n", "STORED\r\nVALUE a 0 400000\r\n" + big + "\r\nEND\r\n"},
		"inside a refused value":  {"set a 0 0 2000000\r\n" + big, strings.Repeat("x", 1_600_000) + "\r\nversion\r\n", "SERVER_ERROR object too large for cache\r\nVERSION 1.6.45\r\n"},
		"inside a list of keys":   {"set key:00599 0 0 1\r\nx\r\nget" + keys.String()[:3000], keys.String()[3000:] + "\r\n", "STORED\r\nVALUE key:00599 0 1\r\nx\r\nEND\r\n"},
		"inside a meta value":     {"ms a 5 T0 O123\r\nab", "cde\r\nmg a v\r\n", "HD O123\r\nVA 5\r\nabcde\r\n"},
		"inside a binary value":   {binarySet[:35], binarySet[35:] + binaryGet, "\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00opaqCAS8CAS8\x81\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x09getsCAS8CAS8\x00\x00\x00\x05value"},
		"inside a binary header":  {binarySet + binaryGet[:10], binaryGet[10:], "\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00opaqCAS8CAS8\x81\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x09getsCAS8CAS8\x00\x00\x00\x05value"},
		"told to be quiet before": {"get absent\r\nmg absent v q\r\n", "mn\r\n", "END\r\nMN\r\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			goOns(t, func(t *testing.T, goOn func(*Server, Options) *Server) {
				o := Options{Workers: 2}
				s, addr := startServer(t, o)
				c := talk(t, addr)
				if _, err := io.WriteString(c, test.before); err != nil {
					t.Fatal(err)
				}
				hasRead(t, s, addr, len(test.before))
				goOn(s, o)
				if _, err := io.WriteString(c, test.after); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(test.want))
				if _, err := io.ReadFull(c.r, got); err != nil {
					t.Fatalf("%v after %q", err, shorten(got))
				}
				if want := []byte(test.want); len(want) > 24 && want[0] == 0x81 { // whatever the CAS is
					for i := range got {
						if strings.HasPrefix(test.want[i:], "CAS8") {
							copy(got[i:], "CAS8")
						}
					}
				}
				if string(got) != test.want {
					t.Errorf("got  %q\nwant %q", shorten(got), shorten([]byte(test.want)))
				}
			})
		})
	}
}

// Replies that a client has not taken are there for it afterwards, those that lie in the store's memory as well.
func TestHandoverKeepsReplies(t *testing.T) {
	goOns(t, func(t *testing.T, goOn func(*Server, Options) *Server) {
		o := Options{Workers: 1}
		s, addr := startServer(t, o)
		c := talk(t, addr)
		value := strings.Repeat("large value ", 40_000)
		c.ask(fmt.Sprintf("set a 0 0 %d\r\n%s\r\n", len(value), value), "STORED")
		const times = 40
		if _, err := io.WriteString(c, strings.Repeat("get a\r\n", times)+"version\r\n"); err != nil {
			t.Fatal(err)
		}
		other := talk(t, addr)
		other.until(s, func(n Counters) bool { return n.SlowPauses > 0 })
		s = goOn(s, o)
		for i := range times {
			if got := askOver(t, io.Discard, c.r, "", "END"); got != fmt.Sprintf("VALUE a 0 %d\r\n%s\r\nEND\r\n", len(value), value) {
				t.Fatalf("reply %d has %d bytes", i, len(got))
			}
		}
		if got := askOver(t, io.Discard, c.r, "", "VERSION"); got != "VERSION 1.6.45\r\n" {
			t.Errorf("got %q", got)
		}
		if n := s.Stats().ReplyBytes; n != 0 {
			t.Errorf("%d bytes of replies wait still", n)
		}
		if got := other.ask("set a 0 0 1\r\nx\r\nget a\r\n", "END"); !strings.HasSuffix(got, "VALUE a 0 1\r\nx\r\nEND\r\n") {
			t.Errorf("got %q", got)
		}
	})
}

// A client that watches goes on watching, and a dump that was under way goes on where it was.
func TestHandoverGoesOnWatchingAndDumping(t *testing.T) {
	goOns(t, func(t *testing.T, goOn func(*Server, Options) *Server) {
		o := Options{Workers: 2}
		s, addr := startServer(t, o)
		c, watcher, dumper := talk(t, addr), talk(t, addr), talk(t, addr)
		watcher.ask("watch mutations\r\n", "OK")
		const items = 100_000
		var sets strings.Builder
		for i := range items {
			fmt.Fprintf(&sets, "ms key:%05d 1 q\r\nx\r\n", i)
		}
		c.ask(sets.String()+"mn\r\n", "MN")
		dumper.Conn.(interface{ SetReadBuffer(int) error }).SetReadBuffer(1 << 16)
		if _, err := io.WriteString(dumper, "lru_crawler metadump all\r\n"); err != nil {
			t.Fatal(err)
		}
		c.until(s, func(n Counters) bool { return n.SlowPauses > 0 })
		s = goOn(s, o)
		dumped := askOver(t, io.Discard, dumper.r, "", "END")
		if n := strings.Count(dumped, "key=key"); n != items {
			t.Errorf("%d items were dumped, want %d", n, items)
		}
		c.ask("set after 0 0 1\r\nx\r\n", "STORED")
		for line := ""; !strings.Contains(line, "key=after "); {
			var err error
			if line, err = watcher.r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.Stats().Watch.Watchers; n != 1 {
			t.Errorf("%d watchers", n)
		}
	})
}

// Who had shown who he is stays in, who had not stays out, and who is waiting for the answer gets it.
func TestHandoverKeepsLogins(t *testing.T) {
	goOns(t, func(t *testing.T, goOn func(*Server, Options) *Server) {
		o := Options{Workers: 2, Users: usersOf(t, TextUsers, "foo:bar"), FailDelay: 400 * time.Millisecond}
		s, addr := startServer(t, o)
		in, out, waiting := talk(t, addr), talk(t, addr), talk(t, addr)
		in.ask("set x 0 0 7\r\nfoo bar\r\nset a 0 0 1\r\nx\r\n", "STORED")
		in.ask("", "STORED")
		if got := out.ask("version\r\n", "CLIENT_ERROR"); got != "CLIENT_ERROR unauthenticated\r\n" {
			t.Fatalf("got %q", got)
		}
		if _, err := io.WriteString(waiting, "set x 0 0 7\r\nfoo bat\r\nset x 0 0 7\r\nfoo bar\r\nget a\r\n"); err != nil {
			t.Fatal(err)
		}
		in.until(s, func(n Counters) bool { return n.AuthErrors > 0 })
		goOn(s, o)
		if got := in.ask("get a\r\n", "END"); got != "VALUE a 0 1\r\nx\r\nEND\r\n" {
			t.Errorf("got %q", got)
		}
		if got := out.ask("get a\r\n", "CLIENT_ERROR"); got != "CLIENT_ERROR unauthenticated\r\n" {
			t.Errorf("got %q", got)
		}
		if got := askOver(t, io.Discard, waiting.r, "", "END"); got != "CLIENT_ERROR authentication failure\r\nSTORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n" {
			t.Errorf("got %q", got)
		}
	})
}

// Connections with TLS have the answer to what they have sent. Then they are closed in order, or go on with the server.
func TestHandoverAndTLS(t *testing.T) {
	p := newPKI(t)
	o := p.options(t, nil)
	o.Listen = append(o.Listen, Listener{Address: "127.0.0.1:0"})
	s, addr := startServer(t, o)
	c, idle := p.secretly(t, addr, nil), p.secretly(t, addr, nil)
	plain := talk(t, s.Addrs()[1].String())
	plain.ask("version\r\n", "VERSION") // so that it was accepted
	h, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if h.Closing != 2 || len(h.Conns) != 1 {
		t.Errorf("%d cannot go along, want 2, and %d can, want 1", h.Closing, len(h.Conns))
	}
	closeFiles(h.Sockets)
	h.Resume()
	for range 3 {
		if got := c.ask("set a 0 0 1\r\nx\r\nget a\r\n", "END"); got != "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n" {
			t.Fatalf("got %q", got)
		}
	}
	idle.ask("version\r\n", "VERSION")
	if _, err := c.Write([]byte("get a\r\n")); err != nil {
		t.Fatal(err)
	}
	next, _ := handOver(t, s, o)
	if got, err := io.ReadAll(c.r); err != nil || string(got) != "VALUE a 0 1\r\nx\r\nEND\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := io.ReadAll(idle.r); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	if got := plain.ask("get a\r\n", "END"); got != "VALUE a 0 1\r\nx\r\nEND\r\n" {
		t.Errorf("got %q", got)
	}
	if got := p.secretly(t, addr, nil).ask("get a\r\n", "END"); got != "VALUE a 0 1\r\nx\r\nEND\r\n" {
		t.Errorf("got %q", got)
	}
	if n := next.Stats().Counters; n.TLSHandshakeErrors+n.TLSProtoErrors != 0 {
		t.Errorf("%+v", n)
	}
}

// While the server stands still, clients wait in the sockets, of whatever kind.
func TestHandoverKeepsSockets(t *testing.T) {
	goOns(t, func(t *testing.T, goOn func(*Server, Options) *Server) {
		l := unixListener(t)
		o := Options{Workers: 1, Listen: []Listener{{Address: "127.0.0.1:0"}, l, {Address: "127.0.0.1:0", Tag: "second"}}, UDP: []string{"127.0.0.1:0"}}
		s, _ := startServer(t, o)
		tcp, second, udp := s.Addrs()[0].String(), s.Addrs()[2].String(), s.UDPAddrs()[0].String()
		for range 3 {
			early := talkUnix(t, l.Address)
			early.ask("version\r\n", "VERSION")
			d := sendTo(t, udp)
			s = goOn(s, o)
			if got := early.ask("set a 0 0 1\r\nx\r\n", "STORED"); got != "STORED\r\n" {
				t.Fatalf("got %q", got)
			}
			for _, c := range []*conversation{talk(t, tcp), talk(t, second), talkUnix(t, l.Address)} {
				if got := c.ask("get a\r\n", "END"); got != "VALUE a 0 1\r\nx\r\nEND\r\n" {
					t.Fatalf("got %q", got)
				}
			}
			if got := strings.Join(d.ask("get a\r\n"), ""); got != "VALUE a 0 1\r\nx\r\nEND\r\n" {
				t.Fatalf("got %q", got)
			}
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(l.Address); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket's file is left: %v", err)
		}
	})
}

// Where the limit on connections is reached, who waits for room goes on waiting, or has it.
func TestHandoverWithAFullHouse(t *testing.T) {
	goOns(t, func(t *testing.T, goOn func(*Server, Options) *Server) {
		o := Options{Workers: 1, MaxConns: 2, WaitForRoom: true}
		s, addr := startServer(t, o)
		a, b := talk(t, addr), talk(t, addr)
		a.ask("version\r\n", "VERSION")
		b.ask("version\r\n", "VERSION")
		waiting := talk(t, addr)
		for s.Stats().Accepting {
			a.ask("version\r\n", "VERSION")
		}
		s = goOn(s, o)
		a.ask("version\r\n", "VERSION")
		b.Close()
		waiting.ask("version\r\n", "VERSION")
		a.Close()
		for _, c := range []*conversation{waiting, talk(t, addr)} {
			c.ask("version\r\n", "VERSION")
		}
		if n := s.Stats().RejectedConnections; n != 0 {
			t.Errorf("%d were refused", n)
		}
	})
}
