//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// TestE2EReload starts without a route and gets one by SIGHUP, then another freshness by telnet. A bad file changes nothing.
func TestE2EReload(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	file := writeFile(t, t.TempDir(), "swordfish.yaml", "routes: []\n")
	s := serve(t, "", "--config="+file)
	c := dial(t, s.addr)
	d := &testdata.Devices()[0]
	parts := strings.Split(string(testdata.AppendKey(nil, "DE", d)), "|")
	slices.Sort(parts[1:]) // the canonical spelling, under which a plain key's item is found once there is a route
	key := strings.Join(parts, "|")
	c.want("STORED", "set %s 0 0 2\r\n{}", key)

	rewrite := func(text string) {
		t.Helper()
		// Renamed into place, as careful editors and config management do.
		if err := os.Rename(writeFile(t, filepath.Dir(file), "next", text), file); err != nil {
			t.Fatal(err)
		}
	}
	hup := func(logged string) {
		t.Helper()
		s.signal(syscall.SIGHUP)
		eventually(t, "the log has "+logged, func() bool { return strings.Contains(tail(s.log), logged) })
	}
	good := config{dsn: pg.DSN, route: []string{"fresh: 10m"}}.String()
	rewrite(good + "    fresch: 1s\n")
	hup(fmt.Sprintf(`"file":"%s","line":%d,`, file, strings.Count(good, "\n")+1))
	if got, _, _ := c.get(key); got != "{}" {
		t.Errorf("after a bad file: got %q", got)
	}

	rewrite(good)
	hup("configuration reloaded")
	want := characteristic(t, "DE", d)
	eventually(t, "what the client had stored gives way to the row", func() bool {
		got, _, found := c.get(key)
		if !found || got != "{}" && got != want {
			t.Fatalf("got %q", got)
		}
		return got == want
	})
	if n := c.route("asked"); n != 1 {
		t.Errorf("%d keys were asked, want 1", n)
	}

	rewrite(strings.Replace(good, "fresh: 10m", "fresh: 1s", 1))
	c.want("OK", "reload")
	pg.Exec("UPDATE characteristics SET payload = '{}'")
	eventually(t, "the new freshness holds for what is there", func() bool {
		got, _, found := c.get(key)
		if !found {
			t.Fatal("the item is lost")
		}
		return got == "{}"
	})
	for _, want := range []string{"reload: route added", `"changed":["fresh","refresh_ahead"]`} {
		if !strings.Contains(tail(s.log), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}
