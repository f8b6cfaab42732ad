package server

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/internal/testenv"
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

// needIPv6 wants an IPv6 loopback address.
func needIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		testenv.Missing(t, "IPv6", "sysctl net.ipv6.conf.lo.disable_ipv6=0")
	}
	l.Close()
}

// No host is every address of both families, as * in -l; a name is all its addresses.
func TestAllAddressesOfAListener(t *testing.T) {
	for _, test := range []struct{ name, address, want string }{
		{"none", ":0", "0.0.0.0 ::"},
		{"IPv6", "[::1]:0", "::1"},
		{"IPv4", "0.0.0.0:0", "0.0.0.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Contains(test.want, "::") {
				needIPv6(t)
			}
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
	needIPv6(t)
	_, addr := startServer(t, Options{Listen: []Listener{{Address: "0.0.0.0:0"}}})
	port := addr[strings.LastIndexByte(addr, ':'):]
	var log bytes.Buffer
	second, _ := startServer(t, Options{Listen: []Listener{{Address: port}}, Logger: zerolog.New(&log)})
	if got := second.Addrs(); len(got) != 1 || !strings.HasPrefix(got[0].String(), "[::]:") {
		t.Errorf("listens on %v", got)
	}
	if !strings.Contains(log.String(), "listening on a part of the addresses only") {
		t.Errorf("logged %s", &log)
	}
	third := newServer(t, Options{Listen: []Listener{{Address: port}}})
	if err := third.Start(); !AddrInUse(err) {
		t.Errorf("got %v", err)
	}
}

// unixListener is a listener on a new path.
func unixListener(t *testing.T) Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "fish") // t.TempDir's path may be too long for a socket's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return Listener{Network: "unix", Address: filepath.Join(dir, "socket")}
}

func talkUnix(t testing.TB, path string) *conversation {
	t.Helper()
	c, err := net.DialTimeout("unix", path, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(60 * time.Second))
	return talkOn(t, c)
}

func TestUnixSocket(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		l := unixListener(t)
		o.Listen = []Listener{l}
		s, _ := startServer(t, o)
		value := strings.Repeat("v", 1<<19)
		c := talkUnix(t, l.Address)
		c.ask("set big 0 0 524288\r\n"+value+"\r\n", "STORED")
		if got := c.ask("get big\r\n", "END"); got != "VALUE big 0 524288\r\n"+value+"\r\nEND\r\n" {
			t.Errorf("got %d bytes", len(got))
		}
		if got := s.Addrs()[0]; got.Network() != "unix" || got.String() != l.Address {
			t.Errorf("listens on %v", got)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(l.Address); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket's file is left: %v", err)
		}
	})
}

func TestUnixSocketAccess(t *testing.T) {
	for _, test := range []struct {
		name   string
		access fs.FileMode
		want   fs.FileMode
	}{{"default", 0, 0o700}, {"group", 0o770, 0o770}, {"everybody", 0o777, 0o777}, {"less than the umask takes", 0o600, 0o600}} {
		t.Run(test.name, func(t *testing.T) {
			l := unixListener(t)
			l.Access = test.access
			startServer(t, Options{Listen: []Listener{l}})
			info, err := os.Lstat(l.Address)
			if err != nil || info.Mode().Type() != fs.ModeSocket || info.Mode().Perm() != test.want {
				t.Errorf("got %v, %v, want %v", info.Mode(), err, test.want)
			}
		})
	}
}

func TestUnixSocketIsThereAlready(t *testing.T) {
	for _, test := range []struct {
		name  string
		there func(t *testing.T, path string)
		want  string // in the error; empty: none
	}{
		{"stale", func(t *testing.T, path string) {
			left, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			left.(*net.UnixListener).SetUnlinkOnClose(false)
			left.Close()
		}, ""},
		{"live", func(t *testing.T, path string) {
			startServer(t, Options{Listen: []Listener{{Network: "unix", Address: path}}})
		}, "another program listens there; stop it, or choose another path"},
		{"no socket", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "there is a file that is no socket; remove it, or choose another path"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := unixListener(t)
			test.there(t, l.Address)
			before, err := os.Lstat(l.Address)
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				startServer(t, Options{Listen: []Listener{l}})
				talkUnix(t, l.Address).ask("version\r\n", "VERSION")
				return
			}
			err = newServer(t, Options{Listen: []Listener{l}}).Start()
			if err == nil || !strings.Contains(err.Error(), l.Address) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if after, err := os.Lstat(l.Address); err != nil || !os.SameFile(before, after) {
				t.Errorf("what was there has changed: %v", err)
			}
		})
	}
}

// A server that ends removes its own file only, not that of one that has its path by now.
func TestUnixSocketOfAnother(t *testing.T) {
	l := unixListener(t)
	first, _ := startServer(t, Options{Listen: []Listener{l}})
	if err := os.Remove(l.Address); err != nil {
		t.Fatal(err)
	}
	startServer(t, Options{Listen: []Listener{l}})
	if err := first.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	talkUnix(t, l.Address).ask("version\r\n", "VERSION")
}

var connNumbers = regexp.MustCompile(`STAT \d+:|(:)\d+\r\n$`)

// connLines is what stats conns tells of five connections: one that watches, one in the middle of a value, one that has had
// an answer, one that asks and one that has said nothing, and what the first then sees. Numbers are left out.
func connLines(t *testing.T, connect func() *conversation) (conns, events []string) {
	t.Helper()
	watcher := connect()
	watcher.ask("watch connevents\r\n", "OK")
	value, idle, asker := connect(), connect(), connect()
	value.Write([]byte("set a 0 0 10\r\n"))
	idle.ask("version\r\n", "VERSION")
	connect()
	var all string
	for !strings.Contains(all, "conn_new_cmd") || !strings.Contains(all, "conn_nread") || !strings.Contains(all, "conn_watch") || !strings.Contains(all, "conn_read\r\n") {
		all = asker.ask("stats conns\r\n", "END")
	}
	for line := range strings.Lines(all) {
		if !strings.Contains(line, ":secs_since_last_cmd") {
			conns = append(conns, connNumbers.ReplaceAllString(line, "$1"))
		}
	}
	asker.Close()
	return conns, watchLines(watcher, "conn_close")
}

// stats conns and watch connevents tell of each transport what memcached tells.
func TestConnectionsAsInMemcached(t *testing.T) {
	for _, test := range []struct {
		name string
		host string // empty: a UNIX socket
	}{{"unix", ""}, {"IPv4", "127.0.0.1"}, {"IPv6", "::1"}} {
		t.Run(test.name, func(t *testing.T) {
			if test.host == "::1" {
				needIPv6(t)
			}
			twins(t, func(t *testing.T, o Options) {
				l := Listener{Address: net.JoinHostPort(test.host, "0")}
				connect := func(addr string) func() *conversation { return func() *conversation { return talk(t, addr) } }
				var theirs string
				if test.host == "" {
					l = unixListener(t)
					theirs = testenv.MemcachedUnix(t)
					connect = func(addr string) func() *conversation { return func() *conversation { return talkUnix(t, addr) } }
				} else {
					_, port, _ := net.SplitHostPort(testenv.Memcached(t, "-l", test.host))
					theirs = net.JoinHostPort(test.host, port)
				}
				o.Listen = []Listener{l}
				_, ours := startServer(t, o)
				gotConns, gotEvents := connLines(t, connect(ours))
				wantConns, wantEvents := connLines(t, connect(theirs))
				for i := range wantConns {
					wantConns[i] = strings.ReplaceAll(wantConns[i], theirs, ours)
				}
				if i := slices.Index(wantConns, "addr tcp:127.0.0.1:"); test.host == "::1" && i >= 0 { // testenv's own address
					wantConns = slices.Delete(wantConns, i, i+2)
				}
				if !slices.Equal(gotConns, wantConns) || !slices.Equal(gotEvents, wantEvents) {
					t.Errorf("ours\n%q %q\ntheirs\n%q %q", gotConns, gotEvents, wantConns, wantEvents)
				}
			})
		})
	}
}
