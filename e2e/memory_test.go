//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// besideLimit is how many bytes beside -m the README says that a process with few connections takes, loads from one source
// included. The race detector shadows what is touched.
const besideLimit = 48 << 20

// TestE2EMemory: whatever is stored and loaded, the process stays within -m and what is stated beside it.
func TestE2EMemory(t *testing.T) {
	megabytes := 256
	if raceEnabled {
		megabytes = 64 // of which only what is counted is looked at
	}
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	s := serve(t, config{dsn: pg.DSN, query: testdata.PostgresQuery, route: []string{"fresh: 1h"}}.String(), "-t", "2", "-m", fmt.Sprint(megabytes))
	c := dial(t, s.addr)
	within := func(when string) {
		t.Helper()
		if used := c.stat("fish", "used_bytes"); used > megabytes<<20 {
			t.Errorf("%s: %d MiB are in use, -m is %d", when, used>>20, megabytes)
		}
		if peak := s.peak(); !raceEnabled && peak > int64(megabytes)<<20+besideLimit {
			t.Errorf("%s: the process has had %d MiB resident, -m is %d and %d are stated beside it", when, peak>>20, megabytes, besideLimit>>20)
		}
		t.Logf("%s: %.1f MiB used, %.1f resident, %.1f at most", when, float64(c.stat("fish", "used_bytes"))/(1<<20), float64(s.resident())/(1<<20), float64(s.peak())/(1<<20))
	}
	keys := things(10_000)
	load := func() {
		c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := askAll(c, keys); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the last key is loaded", func() bool { return c.hits(keys[len(keys)-1].key) })
	}
	within("empty")
	load()
	within("with keys of a route")
	for _, size := range []int{100, 1000, 30_000, 700_000, 50} {
		c.SetDeadline(time.Now().Add(time.Minute))
		w := bufio.NewWriterSize(c.Conn, 1<<16)
		value := strings.Repeat("v", size)
		for i := range 2 * megabytes << 20 / (size + 80) / 5 {
			fmt.Fprintf(w, "set size:%d:%d 0 0 %d noreply\r\n%-10d%s\r\n", size, i, size, i, value[10:])
		}
		fmt.Fprint(w, "version\r\n")
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := c.line(); !strings.HasPrefix(got, "VERSION ") {
			t.Fatalf("after values of %d bytes: %q", size, got)
		}
		load()
		within(fmt.Sprint("values of ", size, " bytes"))
	}
	if c.stat("", "evictions") == 0 {
		t.Error("nothing was evicted: too little was stored")
	}
}

// TestE2EStartIsForgotten: what only the start needed is given back, in a binary as `make build` makes it, and it serves on.
func TestE2EStartIsForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "swordfishd")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", path, "swordfish/cmd/swordfishd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s := serveCommand(t, nil, "", func(_ testing.TB, args ...string) *exec.Cmd { return exec.Command(path, args...) })
	const least = 3 << 20
	eventually(t, "memory of the start is given back", func() bool { return s.resident() < s.peak()-least })
	c := dial(t, s.addr)
	c.want("STORED", "set k 0 0 1\r\nv")
	if value, _, ok := c.get("k"); !ok || value != "v" {
		t.Errorf("get k: %q, %v", value, ok)
	}
	c.stats()
	s.end(syscall.SIGTERM)
}
