//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// allowedGrowth bounds how many bytes more a server may take while clients do their worst. The race detector shadows what
// is touched.
func allowedGrowth() int64 {
	if raceEnabled {
		return 24 << 20
	}
	return 8 << 20
}

// TestE2EAnswersAsMemcached plays the same bytes to both servers, in one write and byte by byte.
func TestE2EAnswersAsMemcached(t *testing.T) {
	oracle := testenv.Memcached(t)
	s := serve(t, "")
	if ours, its := dial(t, s.addr).ask("version"), dial(t, oracle).ask("version"); ours != its {
		testenv.Missing(t, "the memcached that we follow", fmt.Sprintf("this one answers %q, not %q; make oracle builds it", its, ours))
	}
	get := func(n int) string {
		return "set " + strings.Repeat("k", n) + " 7 0 1\r\nx\r\nget " + strings.Repeat("k", n) + "\r\ngat 0 " + strings.Repeat("k", n) + "\r\n"
	}
	for _, tc := range []struct{ name, in string }{
		{"keys of 250 bytes", commandsOn(strings.Repeat("k", 250)) + get(250) + "quit\r\n"},
		{"keys of 251 bytes", commandsOn(strings.Repeat("k", 251)) + "quit\r\n"}, // memcached's get drops the replies before it
		{"a value that is too large", "set big 0 0 3\r\nold\r\nset big 0 0 2000000\r\n" + strings.Repeat("x", 2_000_000) +
			"\r\nget big\r\nset big 0 0 1048576 noreply\r\n" + strings.Repeat("x", 1<<20) + "\r\nget big\r\nversion\r\nquit\r\n"},
		{"a line without end", strings.Repeat("a", 3000)},
		{"a storage line without end", "set " + strings.Repeat("a", 3000)},
		{"1,000 keys in one line", "set k 0 0 1\r\nx\r\nget" + strings.Repeat(" k", 1000) + "\r\nquit\r\n"},
		{"10,000 commands in one write", pipeline(10_000)},
	} {
		in := tc.in
		for _, how := range []string{"whole", "byte by byte"} {
			step := len(in)
			if how != "whole" {
				if step = 1; len(in) > 1<<20 {
					continue
				}
			}
			t.Run(tc.name+"/"+how, func(t *testing.T) {
				flush(t, oracle)
				flush(t, s.addr)
				want := play(t, oracle, in, step)
				got := play(t, s.addr, in, step)
				if !bytes.Equal(got, want) {
					at := 0
					for at < min(len(got), len(want)) && got[at] == want[at] {
						at++
					}
					from := max(0, at-80)
					t.Errorf("%d bytes of %d agree; then got\n%.300q\nand memcached has\n%.300q", at, len(want), got[from:], want[from:])
				}
			})
		}
	}
}

// TestE2EKeyTooLong: the get of a key of 251 bytes is refused and nothing else; memcached 1.6.45 adds a blank line, and drops
// the replies before it in the same write.
func TestE2EKeyTooLong(t *testing.T) {
	c := dial(t, serve(t, "").addr)
	c.send("version\r\nget %s\r\nversion\r\n", strings.Repeat("k", 251))
	for _, want := range []string{"VERSION 1.6.45", "CLIENT_ERROR bad command line format", "VERSION 1.6.45"} {
		if got := c.line(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// commandsOn asks all kinds of commands for a key.
func commandsOn(key string) string {
	return strings.ReplaceAll("set KEY 5 0 3\r\nabc\r\nadd KEY 5 0 3\r\nabc\r\nreplace KEY 5 0 1\r\n1\r\nincr KEY 1\r\ndecr KEY 1\r\n"+
		"append KEY 0 0 1\r\nd\r\nprepend KEY 0 0 1\r\nd\r\ncas KEY 0 0 1 0\r\nx\r\ntouch KEY 0\r\ndelete KEY\r\ndelete KEY noreply\r\n", "KEY", key)
}

// pipeline makes n commands of all kinds over a few keys, and a quit.
func pipeline(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for range n {
		key := fmt.Sprintf("key%d", r.IntN(50))
		switch r.IntN(12) {
		case 0, 1:
			v := strings.Repeat("v", r.IntN(100))
			fmt.Fprintf(&b, "set %s %d 0 %d\r\n%s\r\n", key, r.IntN(100), len(v), v)
		case 2:
			fmt.Fprintf(&b, "set %s 0 0 2 noreply\r\n%d\r\n", key, 10+r.IntN(90))
		case 3:
			fmt.Fprintf(&b, "incr %s %d\r\n", key, r.IntN(1000))
		case 4: // where a number gets shorter, memcached's padding depends on what it has still to send
			fmt.Fprintf(&b, "decr %s 0\r\n", key)
		case 5:
			fmt.Fprintf(&b, "delete %s\r\n", key)
		case 6:
			fmt.Fprintf(&b, "add %s 1 0 1\r\n7\r\n", key)
		case 7:
			fmt.Fprintf(&b, "append %s 0 0 1\r\n8\r\n", key)
		case 8:
			fmt.Fprintf(&b, "touch %s %d\r\n", key, r.IntN(2)*1000)
		case 9:
			fmt.Fprintf(&b, "nonsense %s\n", key)
		default:
			fmt.Fprintf(&b, "get %s key%d\r\n", key, r.IntN(50))
		}
	}
	return b.String() + "quit\r\n"
}

func flush(t testing.TB, addr string) {
	t.Helper()
	dial(t, addr).want("OK", "flush_all")
}

// play sends in, step bytes a write, and returns all that comes back until the server closes. It reads while it writes.
func play(t testing.TB, addr, in string, step int) []byte {
	t.Helper()
	c := dial(t, addr)
	c.SetDeadline(time.Now().Add(patience))
	go func() {
		for len(in) > 0 {
			n := min(step, len(in))
			if _, err := io.WriteString(c, in[:n]); err != nil {
				return // the server has closed; what it said before is compared
			}
			in = in[n:]
		}
	}()
	got, err := io.ReadAll(c.in)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %d bytes, then %v", len(got), err)
	}
	return got
}

// TestE2ESlowReaders: clients that ask for a gigabyte and read none of it cost a bounded piece of memory each, and the
// others do not notice. A slow reader that reads after all gets everything.
func TestE2ESlowReaders(t *testing.T) {
	s := serve(t, "", "-t", "1") // one worker, so that nobody can escape to another
	c := dial(t, s.addr)
	value := strings.Repeat("v", 10_000)
	c.want("STORED", "set big 0 0 %d\r\n%s", len(value), value)
	c.want("STORED", "set small 0 0 1\r\nx")
	c.stats("fish")
	before := s.peak()
	const slow, replies = 10, 10_000
	var readers []*client
	for range slow {
		r := dial(t, s.addr)
		r.SetDeadline(time.Now().Add(2 * patience))
		readers = append(readers, r)
		go io.WriteString(r, strings.Repeat("get big\r\n", replies)) // ends with the connection
	}
	eventually(t, "all slow readers are left alone", func() bool { return c.stat("fish", "slow_pauses") >= slow })
	for range 2000 {
		if v, _, _ := c.get("small"); v != "x" {
			t.Fatalf("beside slow readers: got %q", v)
		}
	}
	if grown := s.peak() - before; grown > allowedGrowth() {
		t.Errorf("%d slow readers took %d MiB", slow, grown>>20)
	} else {
		t.Logf("%d slow readers that asked for %d MB took %d KiB", slow, slow*replies*len(value)/1_000_000, grown>>10)
	}
	one := "VALUE big 0 10000\r\n" + value + "\r\nEND\r\n"
	got := make([]byte, len(one))
	for i := range replies {
		if _, err := io.ReadFull(readers[0].in, got); err != nil || string(got) != one {
			t.Fatalf("reply %d: got %.50q, %v", i, got, err)
		}
	}
	for _, r := range readers[1:] {
		r.Close()
	}
	eventually(t, "the slow readers are forgotten", func() bool { return c.stat("", "curr_connections") == 2 })
}

// TestE2EEndlessInput: whoever never ends a line is closed or answered on the way, at no more than a bounded piece of memory.
func TestE2EEndlessInput(t *testing.T) {
	s := serve(t, "")
	c := dial(t, s.addr)
	c.want("STORED", "set k 0 0 1\r\nx")
	for _, tc := range []struct {
		name, head, rest string
		closed           bool
	}{
		{"letters", "", "a", true},
		{"spaces", "", " ", true},
		{"storage line", "set ", "a", true},
		{"key", "get ", "k", false}, // a get may be of any length; memcached keeps all of its line
		{"keys", "get", " " + strings.Repeat("k", 200), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := s.peak()
			v := dial(t, s.addr)
			v.SetDeadline(time.Now().Add(patience))
			go io.Copy(io.Discard, v.Conn) // ends with the connection
			chunk := []byte(strings.Repeat(tc.rest, 64<<10/len(tc.rest)))
			const most = 64 << 20
			n, err := io.WriteString(v, tc.head)
			for err == nil && n < most {
				var m int
				m, err = v.Write(chunk)
				n += m
			}
			var ended *net.OpError
			switch {
			case tc.closed && err == nil:
				t.Errorf("%d MiB without a line end, and the connection is open", n>>20)
			case tc.closed && errors.As(err, &ended) && ended.Timeout():
				t.Errorf("after %d bytes the server neither reads nor closes", n)
			case !tc.closed && err != nil:
				t.Errorf("closed after %d bytes: %v", n, err)
			}
			if grown := s.peak() - before; grown > allowedGrowth() {
				t.Errorf("%d bytes of an endless line took %d MiB", n, grown>>20)
			} else {
				t.Logf("closed: %v after %d bytes; its peak of memory rose by %d KiB", err != nil, n, grown>>10)
			}
			if !c.hits("k") {
				t.Error("another connection misses")
			}
		})
	}
}

// TestE2EFlushBetweenTwoSets: order inside one second, even inside one write, is by arrival.
func TestE2EFlushBetweenTwoSets(t *testing.T) {
	c := dial(t, serve(t, "").addr)
	for range 20 {
		c.send("set c 0 0 1\r\n1\r\nflush_all\r\nset d 0 0 1\r\n2\r\nget c\r\nget d\r\n")
		for _, want := range []string{"STORED", "OK", "STORED", "END", "VALUE d 0 1", "2", "END"} {
			if got := c.line(); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
}
