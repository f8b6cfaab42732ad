package server

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

// stat returns the value of a line of stats; empty if there is none.
func (c *conversation) stat(name string) string {
	c.t.Helper()
	_, after, _ := strings.Cut(c.ask("stats\r\n", "END"), "STAT "+name+" ")
	value, _, _ := strings.Cut(after, "\r\n")
	return value
}

// Over the limit, with no_maxconns_fast, a connection waits until another ends. It is served then, and the wait is counted.
func TestConnectionsWaitForRoom(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.MaxConns, o.WaitForRoom = 2, true
		o.Listen = []Listener{{Address: "127.0.0.1:0"}, unixListener(t)}
		s, addr := startServer(t, o)
		first, second := talk(t, addr), talkUnix(t, o.Listen[1].Address)
		second.ask("version\r\n", "VERSION")
		if got := first.stat("accepting_conns") + first.stat("listen_disabled_num") + first.stat("rejected_connections"); got != "10" {
			t.Errorf("got %s", got)
		}
		third := talk(t, addr)
		third.Write([]byte("get a\r\n"))
		for first.stat("accepting_conns") == "1" {
		}
		if got := first.stat("curr_connections"); got != "2" {
			t.Errorf("%s connections are served", got)
		}
		if got := first.stat("listen_disabled_num"); got != "1" {
			t.Errorf("listen_disabled_num is %s", got)
		}
		second.Close()
		third.ask("", "END")
		for first.stat("accepting_conns") == "0" {
		}
		if us := first.stat("time_in_listen_disabled_us"); us == "0" || us == "" {
			t.Errorf("time_in_listen_disabled_us is %q", us)
		}
		if st := s.Stats(); st.RejectedConnections != 0 || st.TotalConnections != 3 {
			t.Errorf("%d rejected of %d", st.RejectedConnections, st.TotalConnections)
		}
		first.ask("stats reset\r\n", "RESET")
		if got := first.stat("listen_disabled_num"); got != "0" {
			t.Errorf("listen_disabled_num is %s after stats reset", got)
		}
	})
}

// A server stops also while connections wait for room.
func TestShutdownWhileConnectionsWait(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.MaxConns, o.WaitForRoom = 1, true
		s, addr := startServer(t, o)
		only := talk(t, addr)
		only.ask("version\r\n", "VERSION")
		waiting := talk(t, addr)
		for only.stat("accepting_conns") == "1" {
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := waiting.r.ReadByte(); err != io.EOF && !isReset(err) {
			t.Errorf("got %v", err)
		}
	})
}

// fill opens connections until one is not served, and returns the served ones and what the other one was told; it has waited, where
// that is nothing, when the server says that it takes no more.
func fill(t *testing.T, addr string, most int) (served []*conversation, answer string) {
	t.Helper()
	for range most {
		c := talk(t, addr)
		c.Write([]byte("version\r\n"))
		line := make(chan string, 1)
		go func() {
			said, _ := c.r.ReadString('\n')
			line <- said
		}()
		for said := ""; said == ""; {
			select {
			case said = <-line:
				if !strings.HasPrefix(said, "VERSION") {
					return served, said
				}
			default:
				if len(served) > 0 && served[0].stat("accepting_conns") == "0" {
					return served, ""
				}
			}
		}
		served = append(served, c)
	}
	t.Fatalf("%d connections are served", most)
	return nil, ""
}

// What a client meets at the limit, and what the statistics say, is what memcached has, fast and slow. Only how many come
// before differs: memcached counts descriptors.
func TestConnectionLimitAsInMemcached(t *testing.T) {
	for _, test := range []struct {
		name, option string
		wait         bool
		want         string
	}{
		{"maxconns_fast", "maxconns_fast", false, "ERROR Too many open connections\r\n accepting 1, disabled 0, rejected 1"},
		{"no_maxconns_fast", "no_maxconns_fast", true, " accepting 0, disabled 1, rejected "},
	} {
		t.Run(test.name, func(t *testing.T) {
			peers := map[string]string{}
			peers["memcached"] = testenv.Memcached(t, "-c", "40", "-o", test.option)
			twins(t, func(t *testing.T, o Options) {
				o.MaxConns, o.WaitForRoom = 20, test.wait
				_, addr := startServer(t, o)
				for name, addr := range map[string]string{"ours": addr, "memcached": peers["memcached"]} {
					served, answer := fill(t, addr, 60)
					c := served[0]
					got := fmt.Sprintf("%s accepting %s, disabled %s, rejected %s", answer,
						c.stat("accepting_conns"), c.stat("listen_disabled_num"), c.stat("rejected_connections"))
					if got != test.want {
						t.Errorf("%s: got %q, want %q", name, got, test.want)
					}
					c.ask("stats reset\r\n", "RESET")
					for _, c := range served {
						c.Close()
					}
				}
			})
		})
	}
}

// -R ends a connection's turn after so many commands, and counts it, as in memcached; nothing is lost or changes its order.
func TestRequestsPerEvent(t *testing.T) {
	for _, n := range []int{1, 2, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			theirs := talk(t, testenv.Memcached(t, "-R", fmt.Sprint(n)))
			twins(t, func(t *testing.T, o Options) {
				o.ReqsPerEvent = n
				_, addr := startServer(t, o)
				ours := talk(t, addr)
				var commands, want strings.Builder
				for i := range 40 {
					fmt.Fprintf(&commands, "set k 0 0 2\r\n%02d\r\nmg k v\r\n", i)
					fmt.Fprintf(&want, "STORED\r\nVA 2\r\n%02d\r\n", i)
				}
				yields := map[string]string{}
				single := map[string]string{}
				for name, c := range map[string]*conversation{"ours": ours, "memcached": theirs} {
					c.ask("stats reset\r\n", "RESET")
					if got := c.ask(commands.String()+"mn\r\n", "MN"); got != want.String()+"MN\r\n" {
						t.Errorf("%s: got %q", name, got)
					}
					yields[name] = c.stat("conn_yields")
					c.ask("stats reset\r\n", "RESET")
					for range 10 {
						c.ask("get none\r\n", "END")
						c.ask("mg none v\r\nget none\r\n", "END")
						c.ask("mg none v\r\nmg none v\r\nmg none v\r\nget none\r\n", "END")
					}
					single[name] = c.stat("conn_yields")
				}
				if yields["ours"] != yields["memcached"] || single["ours"] != single["memcached"] {
					t.Errorf("yields: %v, of few commands at a time: %v", yields, single)
				}
			})
		})
	}
}
