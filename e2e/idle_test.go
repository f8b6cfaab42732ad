//go:build linux

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// resident returns the memory, in bytes, that the process has resident now.
func (p *process) resident() int64 {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		p.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestE2EIdleConnections: thousands of connections that wait for their clients take little memory, and the commands of one
// among them are answered. With package net, as TLS has it, they take more.
func TestE2EIdleConnections(t *testing.T) {
	authority := testenv.NewAuthority(t, "authority")
	pair := authority.Issue(t, "server", nil)
	plain := 2000
	if recording() {
		plain = 10_000
	}
	figures := &table{head: []string{"connections", "resident before MiB", "with them MiB", "bytes each"}}
	for _, tc := range []struct {
		name  string
		args  []string
		dial  func(addr string) (net.Conn, error)
		n     int
		bound int64 // bytes each that the process may grow by: what they hold, and the collector's leeway
	}{
		{"plain", nil, func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, patience) }, plain, 6 << 10},
		{"TLS", []string{"-Z", "-o", "ssl_chain_cert=" + pair.File + ",ssl_key=" + pair.KeyFile}, func(addr string) (net.Conn, error) {
			return tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
		}, 1000, 64 << 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, "", append(tc.args, "-t", "2", "-c", fmt.Sprint(tc.n+100))...)
			ask := func(c net.Conn, command, want string) {
				t.Helper()
				c.SetDeadline(time.Now().Add(patience))
				if _, err := io.WriteString(c, command); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(bufio.NewReaderSize(c, 16), got); err != nil || string(got) != want {
					t.Fatalf("%q: got %q, %v", command, got, err)
				}
			}
			connect := func() net.Conn {
				c, err := tc.dial(s.addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				return c
			}
			first := connect()
			ask(first, "set k 0 0 1000\r\n"+strings.Repeat("v", 1000)+"\r\n", "STORED\r\n")
			before := s.resident()
			all := make([]net.Conn, tc.n)
			for i := range all {
				all[i] = connect()
				ask(all[i], "get none\r\n", "END\r\n")
			}
			after := s.resident()
			each := (after - before) / int64(tc.n)
			if !raceEnabled && each > tc.bound {
				t.Errorf("%d bytes each, want at most %d", each, tc.bound)
			}
			for _, c := range all {
				ask(c, "get k\r\n", "VALUE k 0 1000\r\n"+strings.Repeat("v", 1000)+"\r\nEND\r\n")
			}
			figures.row(fmt.Sprintf("%d %s", tc.n, tc.name), float64(before)/(1<<20), float64(after)/(1<<20), each)
		})
	}
	record(t, "Idle connections", "Each has asked for one key. The memory is the server's own, without what the kernel holds for sockets.", figures)
}
