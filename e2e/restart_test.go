//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// TestE2EWarmRestart stops a server with a memory file in each of the ways that keep it and finds every item again in the next
// one, those of a route without a query. What was not stopped so starts empty.
func TestE2EWarmRestart(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	yaml := config{dsn: pg.DSN, route: []string{"fresh: 1h"}}.String()
	dir := "/dev/shm"
	if _, err := os.Stat(dir); err != nil {
		dir = t.TempDir()
	}
	dir, err := os.MkdirTemp(dir, "swordfish")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "memory")
	args := []string{"-m", "64", "-A", "-e", file}

	s := serve(t, yaml, args...)
	c := dial(t, s.addr)
	const items = 5000
	value := func(i int) string { return fmt.Sprintf("%0*d", 1+i%300, i%1000) }
	for i := range items {
		c.want("STORED", "set key:%d %d %d %d\r\n%s", i, i%7, i%2*5000, len(value(i)), value(i))
	}
	key := string(testdata.AppendKey(nil, "DE", &testdata.Devices()[0]))
	eventually(t, "the route's key is loaded", func() bool { return c.hits(key) })
	row, _, _ := c.get(key)

	check := func(s *server) {
		t.Helper()
		c := dial(t, s.addr)
		for i := range items {
			if got, flags, found := c.get(fmt.Sprint("key:", i)); !found || got != value(i) || flags != i%7 {
				t.Fatalf("key:%d is %q with flags %d", i, got, flags)
			}
		}
		if got, _, found := c.get(key); !found || got != row {
			t.Errorf("the route's item is %q, want %q", got, row)
		}
		if n := c.route("asked"); n != 0 {
			t.Errorf("%d keys were asked of the source", n)
		}
	}
	cold := func(s *server, why string) {
		t.Helper()
		if log := tail(s.log); !strings.Contains(log, "starting with an empty cache") || !strings.Contains(log, why) {
			t.Errorf("the log does not tell of %q:\n%s", why, log)
		}
		if c := dial(t, s.addr); c.hits("key:1") {
			t.Error("an item came back")
		}
	}
	s.end(syscall.SIGUSR1)
	s = serve(t, yaml, args...)
	check(s)
	dial(t, s.addr).send("shutdown graceful\r\n")
	s.wait(0)
	s = serve(t, yaml, args...)
	check(s)
	s.end(syscall.SIGUSR1)

	// Another size: refused with the reason, and the file is used anew.
	s = serve(t, yaml, "-m", "32", "-A", "-e", file)
	cold(s, "it was made with -m 64, not 32")
	s.end(syscall.SIGTERM)
	s = serve(t, yaml, args...)
	cold(s, "clean stop")
	c = dial(t, s.addr)
	for i := range 10 {
		c.want("STORED", "set key:%d 0 0 3\r\nnew", i)
	}
	s.signal(syscall.SIGKILL)
	<-s.exited
	s = serve(t, yaml, args...)
	cold(s, "clean stop")
	s.end(syscall.SIGUSR1)

	if err := os.WriteFile(file+".meta", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, append(args, "-p", "-1")...)
	p.wait(71)
	if log := tail(p.log); !strings.Contains(log, file+".meta is not what a server wrote") {
		t.Errorf("the log does not name the file:\n%s", log)
	}
}
