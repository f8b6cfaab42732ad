//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// snapshotItems is how many plain items a server of these tests has.
const snapshotItems = 5000

func snapshotValue(i int) string {
	switch i % 100 {
	case 0:
		return strings.Repeat(fmt.Sprint("large ", i, " "), 3000)
	case 1:
		return strings.Repeat("the same ", 10_000)
	}
	return fmt.Sprintf("%0*d", 1+i%300, i%1000)
}

// furnish stores items of all kinds.
func (c *client) furnish() {
	c.t.Helper()
	for i := range snapshotItems {
		v := snapshotValue(i)
		c.want("STORED", "set key:%d %d %d %d\r\n%s", i, i%7, i%2*5000, len(v), v)
	}
	c.want("HD", "ms stale 2 T900\r\nxx")
	c.want("HD", "md stale I")
	c.want("EN", "mg placeholder")
	c.send("mg placeholder N900 v t\r\n")
	c.line()
	c.line()
	c.want("STORED", "set counter 0 0 2\r\n41")
	c.want("42", "incr counter 1")
	c.send("gets key:5\r\n")
	c.line()
	c.line()
	c.line()
}

// described is what meta commands tell of the items, as far as a snapshot keeps it, deadlines in hundreds of seconds.
func (c *client) described() string {
	c.t.Helper()
	var b strings.Builder
	for _, key := range []string{"stale", "placeholder", "counter", "key:0", "key:5", "key:7", "key:100", "absent"} {
		c.send("mg %s s f t h k v\r\n", key)
		line := c.line()
		f := strings.Fields(line)
		for i, word := range f {
			if n, err := strconv.Atoi(word[1:]); word[0] == 't' && err == nil && n > 0 {
				f[i] = fmt.Sprint("t", (n+50)/100, "00")
			}
		}
		fmt.Fprintln(&b, f)
		if f[0] == "VA" {
			fmt.Fprintf(&b, "%.40s\n", c.line())
		}
	}
	return b.String()
}

func (c *client) checkItems() {
	c.t.Helper()
	for i := range snapshotItems {
		if got, flags, found := c.get(fmt.Sprint("key:", i)); !found || got != snapshotValue(i) || flags != i%7 {
			c.t.Fatalf("key:%d is %.40q with flags %d, found %v", i, got, flags, found)
		}
	}
}

// snapshotState is the API's answer.
type snapshotState struct {
	Save struct {
		State, Error string
		Done, Failed int
	}
	Loading struct {
		State string
		Items map[string]int
	}
}

// admin returns the server's address for HTTP.
func (s *server) admin() string {
	s.t.Helper()
	for line := range strings.Lines(tail(s.log)) {
		if at := adminAddress.FindStringSubmatch(line); at != nil && strings.Contains(line, "admin listening") {
			return "http://" + at[0]
		}
	}
	s.t.Fatalf("no address for HTTP in the log:\n%s", tail(s.log))
	return ""
}

var adminAddress = regexp.MustCompile(`127\.0\.0\.1:\d+`)

func (s *server) snapshotState() (st snapshotState) {
	s.t.Helper()
	resp, err := http.Get(s.admin() + "/api/snapshot")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// loaded waits for the load at the start. Where there was no snapshot its state is none.
func (s *server) loaded() snapshotState {
	s.t.Helper()
	var st snapshotState
	eventually(s.t, "the snapshot is loaded", func() bool {
		st = s.snapshotState()
		return st.Loading.State != "loading"
	})
	return st
}

// TestE2ESnapshot takes the items of a server with a database to others, of other sizes, by a stop, by telnet and over HTTP.
func TestE2ESnapshot(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	path := filepath.Join(t.TempDir(), "snapshot")
	yaml := config{dsn: pg.DSN, route: []string{"fresh: 1h", "negative: 1h"}}.String() + fmt.Sprintf("\nsnapshot: {path: %s, on_stop: true, load: true, wait: true}\n", path)
	args := []string{"-m", "64", "-o", "admin=0"}
	s := serve(t, yaml, args...)
	s.loaded() // there is none yet, which is no harm
	c := dial(t, s.addr)
	c.furnish()
	key := string(testdata.AppendKey(nil, "DE", &testdata.Devices()[0]))
	eventually(t, "the route's key is loaded", func() bool { return c.hits(key) })
	row, _, _ := c.get(key)
	c.described() // which marks what it reads, and takes tokens
	want := c.described()
	s.end(syscall.SIGTERM)
	if log := tail(s.log); !strings.Contains(log, "snapshot written") {
		t.Fatalf("log:\n%s", log)
	}
	for _, m := range []string{"64", "200"} {
		s = serve(t, yaml, "-m", m, "-o", "admin=0")
		eventually(t, "it is ready", func() bool {
			resp, err := http.Get(s.admin() + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			return !strings.Contains(string(b), "snapshot")
		})
		if st := s.loaded(); st.Loading.Items["loaded"] < snapshotItems+4 {
			t.Errorf("%+v", st)
		}
		c = dial(t, s.addr)
		c.checkItems()
		if got := c.described(); got != want {
			t.Errorf("-m %s: got\n%s\nwant\n%s", m, got, want)
		}
		if got, _, found := c.get(key); !found || got != row {
			t.Errorf("the route's item is %q, want %q", got, row)
		}
		if n := c.route("asked"); n != 0 {
			t.Errorf("%d keys were asked of the source", n)
		}
		s.end(syscall.SIGTERM)
	}

	// By telnet and over HTTP; then killed, so that the stop writes none.
	s = serve(t, yaml, args...)
	s.loaded()
	c = dial(t, s.addr)
	done := func(n int) {
		t.Helper()
		eventually(t, "it is written", func() bool { return s.snapshotState().Save.Done == n })
	}
	c.want("STORED", "set by 0 0 6\r\ntelnet")
	c.want("OK", "snapshot")
	done(1)
	c.send("snapshot status\r\n")
	if line := c.line(); !strings.HasPrefix(line, "file "+path) {
		t.Errorf("snapshot status: %q", line)
	}
	if line := c.line(); !strings.HasPrefix(line, "save done at=") {
		t.Errorf("snapshot status: %q", line)
	}
	c.line()
	c.line()
	c.want("STORED", "set by 0 0 4\r\nhttp")
	resp, err := http.Post(s.admin()+"/api/snapshot", "", nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	done(2)
	s.signal(syscall.SIGKILL)
	<-s.exited
	s = serve(t, yaml, args...)
	s.loaded()
	if got, _, _ := dial(t, s.addr).get("by"); got != "http" {
		t.Errorf("the last snapshot has %q", got)
	}
}

// TestE2ESnapshotKilled kills a server again and again while it writes: the snapshot before stays whole.
func TestE2ESnapshotKilled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot")
	args := []string{"-m", "64", "-o", "admin=0,snapshot_load,snapshot=" + path}
	s := serve(t, "", args...)
	c := dial(t, s.addr)
	c.furnish()
	c.want("OK", "snapshot")
	eventually(t, "it is written", func() bool { return s.snapshotState().Save.Done == 1 })
	partial := 0
	for range 10 {
		c, done := dial(t, s.addr), s.snapshotState().Save.Done
		c.want("OK", "snapshot")
		for end := time.Now().Add(patience); time.Now().Before(end); {
			if st, err := os.Stat(path + ".part"); err == nil && st.Size() > 0 {
				partial++
				break
			}
			if now := s.snapshotState().Save.Done; now > done { // written between two looks: once more
				done = now
				c.want("OK", "snapshot")
			}
		}
		s.signal(syscall.SIGKILL)
		<-s.exited
		s = serve(t, "", args...)
		if st := s.loaded(); st.Loading.Items["loaded"] < snapshotItems {
			t.Fatalf("%+v", st)
		}
		dial(t, s.addr).checkItems()
	}
	if partial == 0 {
		t.Error("the server was never killed in the middle")
	}
}

// TestE2ESnapshotDiskFull: a snapshot that does not fit is reported and leaves the one before; nothing is left beside it, and the
// server goes on. The same for a stop.
func TestE2ESnapshotDiskFull(t *testing.T) {
	dir := testenv.SmallDisk(t, "2m")
	path := filepath.Join(dir, "snapshot")
	args := []string{"-m", "64", "-o", "admin=0,snapshot_load,snapshot_on_stop,snapshot=" + path}
	s := serve(t, "", args...)
	c := dial(t, s.addr)
	c.want("STORED", "set small 0 0 1\r\nv")
	c.want("OK", "snapshot")
	eventually(t, "it is written", func() bool { return s.snapshotState().Save.Done == 1 })
	noise := make([]byte, 0, 1000)
	for i := range 5000 { // that does not compress
		x := uint64(i + 1)
		for noise = noise[:0]; len(noise) < 1000; {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			noise = append(noise, byte('!'+x>>32%90))
		}
		c.want("STORED", "set key:%d 0 0 1000\r\n%s", i, noise)
	}
	c.want("OK", "snapshot")
	eventually(t, "it has failed", func() bool { return s.snapshotState().Save.Failed == 1 })
	if st := s.snapshotState(); st.Save.State != "failed" || !strings.Contains(st.Save.Error, "no space left") {
		t.Errorf("%+v", st)
	}
	c.want("STORED", "set small 0 0 1\r\nw")
	s.end(syscall.SIGTERM)
	if log := tail(s.log); strings.Count(log, "no snapshot was written") != 2 {
		t.Errorf("log:\n%s", log)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("on the file system: %v, %v", left, err)
	}
	s = serve(t, "", args...)
	if st := s.loaded(); st.Loading.Items["loaded"] != 1 {
		t.Errorf("%+v", st)
	}
	if got, _, _ := dial(t, s.addr).get("small"); got != "v" {
		t.Errorf("the snapshot before has %q", got)
	}
	s.signal(syscall.SIGKILL)
	<-s.exited
}
