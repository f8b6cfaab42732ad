package server

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"swordfish/protocol"
)

// Listeners of both kinds serve one store at the same time, each loop with its own workers, and count as one.
func TestBothLoopsAtOnce(t *testing.T) {
	o := Options{Workers: 2, MaxConns: 3, Listen: []Listener{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0", net: true}}}
	s, addr := startServer(t, o)
	native, twin := talk(t, addr), talk(t, s.Addrs()[1].String())
	if len(s.workers) != 4 {
		t.Errorf("%d workers, want 2 for each loop", len(s.workers))
	}
	for range 100 {
		native.ask("set a 0 0 1\r\nx\r\n", "STORED")
		if got := twin.ask("get a\r\n", "END"); got != "VALUE a 0 1\r\nx\r\nEND\r\n" {
			t.Fatalf("got %q", got)
		}
	}
	native.until(s, func(n Counters) bool { return n.CmdSet == 100 && n.GetHits == 100 })
	third := talk(t, addr)
	third.ask("version\r\n", "VERSION")
	for _, at := range s.Addrs() { // the limit is one for both
		if got, err := io.ReadAll(dial(t, at.String())); err != nil && !isReset(err) || string(got) != "ERROR Too many open connections\r\n" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if got := native.ask("stats\r\n", "END"); !strings.Contains(got, "STAT threads 2\r\n") || !strings.Contains(got, "STAT curr_connections 3\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestProtocolOfAListener(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.Listen = []Listener{
			{Address: "127.0.0.1:0", Only: protocol.OnlyText}, {Address: "127.0.0.1:0", Only: protocol.OnlyBinary}, {Address: "127.0.0.1:0"},
		}
		s, _ := startServer(t, o)
		noop := "\x80\x0a" + strings.Repeat("\x00", 22)
		for i, want := range []struct{ text, binary bool }{{true, false}, {false, true}, {true, true}} {
			addr := s.Addrs()[i].String()
			if got := playSocket(t, addr, []byte("version\r\n"), 100); strings.HasPrefix(string(got), "VERSION") != want.text {
				t.Errorf("listener %d answers version %q", i, got)
			}
			if got := playSocket(t, addr, []byte(noop), 100); strings.HasPrefix(string(got), "\x81\x0a") != want.binary {
				t.Errorf("listener %d answers a binary noop %q", i, got)
			}
		}
	})
}

// No host is every address of both families, as * in -l; a name is all its addresses.
func TestAllAddressesOfAListener(t *testing.T) {
	for _, test := range []struct{ name, address, want string }{
		{"none", ":0", "0.0.0.0 ::"},
		{"IPv6", "[::1]:0", "::1"},
		{"IPv4", "0.0.0.0:0", "0.0.0.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := startServer(t, Options{Listen: []Listener{{Address: test.address}}})
			var got []string
			for _, a := range s.Addrs() {
				host := a.String()[:strings.LastIndexByte(a.String(), ':')]
				got = append(got, strings.Trim(host, "[]"))
				c := dial(t, a.String())
				io.WriteString(c, "version\r\n")
				if line, err := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(line, "VERSION") {
					t.Errorf("%s answers %q, %v", a, line, err)
				}
				c.Close()
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
		})
	}
}

// The part of a name's addresses that is taken is left out; all taken is an error.
func TestAddressesPartlyTaken(t *testing.T) {
	_, addr := startServer(t, Options{Listen: []Listener{{Address: "0.0.0.0:0"}}})
	port := addr[strings.LastIndexByte(addr, ':'):]
	second, _ := startServer(t, Options{Listen: []Listener{{Address: port}}})
	if got := second.Addrs(); len(got) != 1 || !strings.HasPrefix(got[0].String(), "[::]:") {
		t.Errorf("listens on %v", got)
	}
	third := newServer(t, Options{Listen: []Listener{{Address: port}}})
	if err := third.Start(); !AddrInUse(err) {
		t.Errorf("got %v", err)
	}
}
