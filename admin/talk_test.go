package admin

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// talk sends commands over a connection and returns the lines up to and including one that begins with last.
func talk(t testing.TB, addr, commands, last string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, commands); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for in := bufio.NewReader(c); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("%q: %v after %q", commands, err, all.String())
		}
		all.WriteString(line)
		if strings.HasPrefix(line, last) {
			return all.String()
		}
	}
}
