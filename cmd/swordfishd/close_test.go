package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/config"
)

// A client that does not take its replies costs neither the items that are to be kept nor the exit code. Its replies are
// large values, which lie in the store until they are written.
func TestKeepDespiteSlowReader(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory")
	in := config.Input{Args: []string{"-p", "-1", "-m", "64", "-e", file}}
	open := func() (*app, net.Conn) {
		c, err := config.Load(in)
		if err != nil {
			t.Fatal(err)
		}
		a, err := newApp(in, c, nil, nil, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		if err := a.server.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", a.server.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		return a, conn
	}
	const size = 1 << 19
	a, conn := open()
	value := strings.Repeat("x", size)
	fmt.Fprintf(conn, "set k 0 0 %d\r\n%s\r\n", size, value)
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "STORED\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	io.WriteString(conn, strings.Repeat("get k\r\n", 200)) // more than the sockets take
	timeout := time.After(20 * time.Second)
	for look := time.Tick(5 * time.Millisecond); a.server.Stats().Counters.SlowPauses == 0; {
		select {
		case <-look:
		case <-timeout:
			t.Fatal("the client is not slow")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := a.close(ctx, true); err != nil {
		t.Errorf("close: %v", err)
	}

	a, conn = open()
	defer a.close(context.Background(), false)
	if warm, why := a.store.Warm(); !warm {
		t.Fatalf("the items are gone: %s", why)
	}
	io.WriteString(conn, "get k\r\n")
	want := fmt.Sprintf("VALUE k 0 %d\r\n%s\r\nEND\r\n", size, value)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Errorf("got %.40q, %v", got, err)
	}
}
