//go:build linux

package e2e

import (
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// A real Prometheus scrapes a server with some traffic and a warm-up, and every query of the Grafana board then has an answer.
func TestBoardShowsTheServer(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	token := "a-token-for-this-test-only"
	port := freePort(t)
	s := serveEnv(t, []string{"ADMIN_TOKEN=" + token}, "admin: {token: \"${ADMIN_TOKEN}\", listen: \"127.0.0.1:"+port+"\"}\n"+"snapshot: {path: "+filepath.Join(t.TempDir(), "snapshot")+"}\n"+config{dsn: pg.DSN}.String(), "-m", "2")
	admin := "127.0.0.1:" + port
	eventually(t, "the server is ready", func() bool {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	prometheus := testenv.Prometheus(t, admin, token)
	c := dial(t, s.addr)
	keys := things(40_000) // more than there is memory for, so that passes have something to do
	list := writeFile(t, t.TempDir(), "keys", keys[0].key+"\n"+keys[1].key+"\n")
	start(t, []string{"SWORDFISH_TOKEN=" + token}, "warm", "--admin="+admin, "--route=characteristics", "--from", "keys", list).wait(0)
	ask := func() {
		for n := 0; n < len(keys); n += 2000 {
			if _, err := askAll(c, keys[n:n+2000]); err != nil {
				t.Fatal(err)
			}
		}
		c.want("STORED", "set plain 0 1 5\r\nvalue")
		c.ask("delete plain")
		c.ask("incr none 1")
		c.ask("snapshot") // one may be under way
	}
	queries := testenv.BoardQueries(t, "../deploy/grafana/swordfish.json")
	missing := queries
	for end := time.Now().Add(patience); len(missing) > 0; {
		ask()
		var left []testenv.BoardQuery
		for _, q := range missing {
			if testenv.Query(t, prometheus, q.Expr) == 0 {
				left = append(left, q)
			}
		}
		if missing = left; time.Now().After(end) {
			break
		}
	}
	for _, q := range missing {
		t.Errorf("%s shows nothing: %s", q.Panel, q.Expr)
	}
}

// freePort is a port of loopback that nobody listened on a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
