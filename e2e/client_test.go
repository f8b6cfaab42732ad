//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client is one connection that speaks the text protocol as a human with telnet would. Its methods fail the test on any
// error of the connection, so they are for the test's goroutine; those that return an error are for any.
type client struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := connect(addr)
	if err != nil {
		t.Fatal(err)
	}
	c.t = t
	t.Cleanup(func() { c.Close() })
	return c
}

// connect makes a client for use outside the test's goroutine; the caller closes it.
func connect(addr string) (*client, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &client{Conn: c, in: bufio.NewReaderSize(c, 64<<10)}, nil
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// line reads a line and returns it without its end.
func (c *client) line() string {
	c.t.Helper()
	s, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("got %q, then %v", s, err)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// ask sends a command that has a reply of one line.
func (c *client) ask(format string, args ...any) string {
	c.t.Helper()
	c.send(format+"\r\n", args...)
	return c.line()
}

// want asks, and fails the test if the reply is another.
func (c *client) want(reply, format string, args ...any) {
	c.t.Helper()
	if got := c.ask(format, args...); got != reply {
		c.t.Fatalf("%s: got %q, want %q", fmt.Sprintf(format, args...), got, reply)
	}
}

func (c *client) get(key string) (value string, flags int, found bool) {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	b, flags, err := c.tryGet(key)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b), flags, b != nil
}

func (c *client) hits(key string) bool {
	c.t.Helper()
	_, _, found := c.get(key)
	return found
}

// tryGet returns the value, not nil if there is one.
func (c *client) tryGet(key string) (value []byte, flags int, err error) {
	if _, err = io.WriteString(c, "get "+key+"\r\n"); err != nil {
		return nil, 0, err
	}
	return c.reply(key)
}

// reply reads what comes back for a get of one key.
func (c *client) reply(key string) (value []byte, flags int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil || string(line) == "END\r\n" {
		return nil, 0, err
	}
	f := strings.Fields(string(line))
	if len(f) != 4 || f[0] != "VALUE" || f[1] != key {
		return nil, 0, fmt.Errorf("get %s: got %q", key, line)
	}
	if flags, err = strconv.Atoi(f[2]); err != nil {
		return nil, 0, err
	}
	n, err := strconv.Atoi(f[3])
	if err != nil {
		return nil, 0, err
	}
	value = make([]byte, n+len("\r\nEND\r\n"))
	if _, err := io.ReadFull(c.in, value); err != nil {
		return nil, 0, err
	}
	if end := string(value[n:]); end != "\r\nEND\r\n" {
		return nil, 0, fmt.Errorf("get %s: after the value came %q", key, end)
	}
	return value[:n], flags, nil
}

// stats asks `stats` with words and returns the answer by name.
func (c *client) stats(words ...string) map[string]string {
	c.t.Helper()
	c.send("%s\r\n", strings.Join(append([]string{"stats"}, words...), " "))
	m := make(map[string]string)
	for {
		line := c.line()
		if line == "END" {
			return m
		}
		f := strings.SplitN(line, " ", 3)
		if len(f) < 2 || f[0] != "STAT" {
			c.t.Fatalf("stats %v: got %q", words, line)
		}
		m[f[1]] = strings.Join(f[2:], " ")
	}
}

// stat returns one number of `stats word`, which may be empty.
func (c *client) stat(word, name string) int {
	c.t.Helper()
	var words []string
	if word != "" {
		words = []string{word}
	}
	m := c.stats(words...)
	n, err := strconv.Atoi(m[name])
	if err != nil {
		c.t.Fatalf("stats %s: %s is %q", word, name, m[name])
	}
	return n
}

// route returns one number of the route characteristics in `stats routes`.
func (c *client) route(name string) int {
	c.t.Helper()
	return c.stat("routes", "characteristics:"+name)
}

// routeReaches waits until a number of the route is n, or at least n.
func (c *client) routeReaches(name string, n int) {
	c.t.Helper()
	last := 0
	eventually(c.t, fmt.Sprintf("stats routes: %s at least %d", name, n), func() bool {
		last = c.route(name)
		return last >= n
	})
}
