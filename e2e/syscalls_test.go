//go:build linux

package e2e

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

// TestE2ESystemCalls counts what a worker's thread asks of the kernel, as strace sees it: for each buffer of commands one
// epoll_wait, one read and one write, and nothing else that has to do with sockets. No read is made only to hear that there is
// no more. An epoll_wait that ended without an event, in time or by a signal of the runtime's, does not count.
func TestE2ESystemCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		testenv.Missing(t, "strace", "apt-get install strace")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	s := serveCommand(t, nil, "", func(t testing.TB, args ...string) *exec.Cmd {
		cmd := command(t, args...)
		cmd.Args = append([]string{strace, "-D", "-f", "-q", "-s", "40", "-o", trace, cmd.Path}, args...) // -D: the server stays our child
		cmd.Path = strace
		return cmd
	}, "-t", "1")
	c := dial(t, s.addr)
	c.want("VERSION 1.6.45", "version")
	value := strings.Repeat("v", 100)
	c.want("STORED", "set k 0 0 100\r\n%s", value)
	hit := "VALUE k 0 100\r\n" + value + "\r\nEND\r\n"
	for i, tc := range []struct{ name, in, out string }{
		{"get", "get k\r\n", hit},
		{"miss", "get none\r\n", "END\r\n"},
		{"set", "set k 0 0 100\r\n" + value + "\r\n", "STORED\r\n"},
		{"16 gets in a write", strings.Repeat("get k\r\n", 16), strings.Repeat(hit, 16)},
		{"a get of 100 keys", "get" + strings.Repeat(" k", 100) + "\r\n", strings.Repeat(hit[:len(hit)-5], 100) + "END\r\n"},
		{"16 mg in a write", strings.Repeat("mg k v\r\n", 16), strings.Repeat("VA 100\r\n"+value+"\r\n", 16)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			begin, end := fmt.Sprintf("get begin%d", i), fmt.Sprintf("get end%d", i)
			const rounds = 20
			c.want("END", "%s", begin)
			got := make([]byte, len(tc.out))
			for range rounds {
				c.send("%s", tc.in)
				if _, err := io.ReadFull(c.in, got); err != nil || string(got) != tc.out {
					t.Fatalf("got %.100q, %v", got, err)
				}
			}
			c.want("END", "%s", end)
			var calls map[string]int
			eventually(t, "the trace is written", func() bool {
				b, err := os.ReadFile(trace)
				if err != nil {
					t.Fatal(err)
				}
				calls = between(string(b), begin, end)
				return calls != nil
			})
			// The last epoll_wait belongs to what ends the phase, and its first write answers what began it.
			want := map[string]int{"epoll_wait": rounds + 1, "read": rounds, "write": rounds + 1}
			if !maps.Equal(calls, want) {
				t.Errorf("for %d of them: %v, want %v", rounds, calls, want)
			}
		})
	}
}

// socketCalls are the names that are counted; the right one is what stands for it.
var socketCalls = map[string]string{
	"epoll_wait": "epoll_wait", "epoll_pwait": "epoll_wait", "epoll_pwait2": "epoll_wait", "epoll_ctl": "epoll_ctl", "poll": "poll", "ppoll": "poll",
	"read": "read", "readv": "readv", "recvfrom": "recvfrom", "recvmsg": "recvmsg", "write": "write", "writev": "writev", "sendto": "sendto",
	"sendmsg": "sendmsg", "ioctl": "ioctl", "fcntl": "fcntl", "getsockopt": "getsockopt", "setsockopt": "setsockopt",
}

// between counts the calls of a thread from after its read of the line begin to before its read of the line end, by name.
// Nil: the trace has not got so far.
func between(trace, begin, end string) map[string]int {
	lines := strings.Split(trace, "\n")
	reads := func(line, what string) bool {
		return (strings.Contains(line, "read(") || strings.Contains(line, "read resumed>")) && strings.Contains(line, `"`+what+`\r\n"`)
	}
	from := slices.IndexFunc(lines, func(l string) bool { return reads(l, begin) })
	to := slices.IndexFunc(lines, func(l string) bool { return reads(l, end) })
	if from < 0 || to < 0 {
		return nil
	}
	thread, _, _ := strings.Cut(lines[from], " ")
	calls := map[string]int{}
	for _, line := range lines[from+1 : to] {
		who, call, _ := strings.Cut(line, " ")
		if who != thread {
			continue
		}
		call = strings.TrimSpace(call)
		name, _, _ := strings.Cut(call, "(")
		inVain := strings.HasSuffix(call, " = 0") || strings.Contains(call, " = -1 EINTR ")
		switch name = socketCalls[name]; {
		case name == "epoll_wait" && inVain: // the client was slow: nothing was to be done
		case name != "":
			calls[name]++ // where it begins; its end, if it has a line for itself, has another form
		case strings.HasPrefix(call, "<... epoll_") && inVain:
			calls["epoll_wait"]--
		}
	}
	if strings.Contains(lines[to], "resumed>") {
		calls["read"]-- // that of the line end began before
	}
	return calls
}
