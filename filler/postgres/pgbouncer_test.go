package postgres

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
)

// bouncer starts a PgBouncer in transaction mode with two connections to pg, and returns the DSN that leads through it.
func bouncer(t *testing.T, pg *testenv.PG) string {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if path = "/usr/sbin/pgbouncer"; !exists(path) {
			testenv.Missing(t, "PgBouncer", "apt-get install pgbouncer (no need to start it)")
		}
	}
	dir, err := os.MkdirTemp("", "fish")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 { // it refuses to run as root
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr)
	ln.Close()
	ini := fmt.Sprintf(`[databases]
%s = host=%s port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
server_login_retry = 1
logfile = %s
`, pg.Database, pg.Host, pg.Port, pg.User, addr.Port, filepath.Join(dir, "log"))
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(ini), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-q", file)
	cmd.SysProcAttr, cmd.Dir = attr, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			c.Close()
			break
		}
		select {
		case err := <-ended:
			ended <- err
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("pgbouncer did not start: %v: %s", err, log)
		default:
		}
		if time.Now().After(end) {
			t.Fatal("pgbouncer does not answer")
		}
	}
	return strings.Replace(pg.DSN, net.JoinHostPort(pg.Host, strconv.Itoa(pg.Port)), addr.String(), 1)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestBehindPgBouncer fills through a PgBouncer that deals two server connections out by the transaction.
func TestBehindPgBouncer(t *testing.T) {
	pg := testenv.Postgres(t)
	dsn := bouncer(t, pg)
	const query = `SELECT o AS ord, k || ' ' || current_setting('application_name') || ' ' || current_setting('statement_timeout') ||
		CASE WHEN k = 'slow' THEN pg_sleep(60)::text WHEN k = 'bad' THEN (k::int)::text ELSE '' END
		FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)`
	src := source(t, Options{DSNs: []string{dsn}, Mode: Unnamed, MaxConns: 4, StatementTimeout: 700 * time.Millisecond})
	r := fillertest.New(t, filler.SourceSpec{Source: src, Timeout: 700 * time.Millisecond, MaxLoads: 4},
		filler.Route{Query: query, Limits: filler.Limits{Batch: 7, Concurrency: 4}})
	for i := range 500 {
		r.Ask(fmt.Sprint("k", i))
	}
	r.Ask("bad")
	r.Wait()
	r.Ask("slow")
	r.Wait()
	r.Ask("after")
	r.Wait()
	for _, k := range []string{"k0", "k250", "k499", "after"} {
		if got, want := r.Values[k], k+" swordfishd/r 700ms"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	st := r.Stats()
	if !r.Failed["slow"] || !r.Failed["bad"] || st.Failed != 2 || st.CutOff != 0 || st.SourceErrors != 0 || st.Down {
		t.Errorf("failed %v: %+v", r.Failed, st)
	}
	route := filler.Route{Name: "r", Query: "SELECT o AS ord, k FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)"}
	if advice, err := src.Explain(t.Context(), &route); err != nil || len(advice) != 0 {
		t.Errorf("Explain: %v, %v", advice, err)
	}
	for range 4 { // nothing of it stays on the server's connections
		if got := one(t, dsn+"&application_name=x", "SELECT current_setting('statement_timeout') || ' ' || current_setting('application_name')"); got != "0 x" {
			t.Errorf("a session was left with %q", got)
		}
	}
	if n := one(t, pg.DSN, "SELECT count(*) FROM pg_prepared_statements"); n != "0" {
		t.Errorf("%s prepared statements left", n)
	}
}

func TestUnnamedNoticesChangedColumns(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec("CREATE TABLE t (k text, v int); INSERT INTO t VALUES ('a', 1), ('b', 2)")
	src := source(t, Options{DSNs: []string{pg.DSN}, Mode: Unnamed, MaxConns: 1})
	r := fillertest.New(t, filler.SourceSpec{Source: src},
		filler.Route{Query: "SELECT o AS ord, v FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o) JOIN t USING (k)", Encode: filler.EncodePHP})
	r.Ask("a")
	r.Wait()
	pg.Exec("ALTER TABLE t ALTER v TYPE text USING 'now ' || v")
	r.Ask("b")
	r.Wait()
	if r.Values["a"] != "1" || r.Flags["a"] != 1 || r.Values["b"] != "now 2" || r.Flags["b"] != 0 {
		t.Errorf("got %q %v, want an int and then a string", r.Values, r.Flags)
	}
}
