package testenv

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestMain(m *testing.M) {
	if os.Getenv("TESTENV_LEAVE") != "" {
		leaveClusterBehind()
	}
	Main(m)
}

func TestMemcachedAnswers(t *testing.T) {
	addr := Memcached(t, "-m", "8")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "version\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "VERSION ") {
		t.Errorf("version: got %q, %v", line, err)
	}
}

func TestPostgresGivesFreshDatabases(t *testing.T) {
	a, b := Postgres(t), Postgres(t)
	if a.Port != b.Port || a.Database == b.Database {
		t.Errorf("got %s and %s, want two databases of one cluster", a.DSN, b.DSN)
	}
	a.Exec("CREATE TABLE t (i int); INSERT INTO t VALUES (1), (2)")
	b.Exec("CREATE TABLE t (i int)") // would fail in the same database
	for _, dsn := range []string{a.DSN, a.SocketDSN} {
		if got := one(t, dsn, "SELECT count(*) FROM t"); got != "2" {
			t.Errorf("%s: got %s rows, want 2", dsn, got)
		}
	}
	if got := one(t, a.DSN, "SELECT count(*) > 0 FROM pg_stat_statements"); got != "t" {
		t.Errorf("pg_stat_statements: got %s", got)
	}
	if got := one(t, a.DSN, "SHOW wal_level"); got != "logical" {
		t.Errorf("wal_level: got %s", got)
	}
}

func TestOwnPostgresFreezeAndThaw(t *testing.T) {
	p := OwnPostgres(t)
	conn := connect(t, p.DSN)
	p.Freeze()
	for _, pid := range p.Pids() {
		if s := state(pid); s != 'T' && s != 'Z' {
			t.Errorf("pid %d of the frozen cluster is in state %c", pid, s)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := conn.Exec(ctx, "SELECT 1").ReadAll(); err == nil {
		t.Error("a frozen backend answered")
	}
	p.Thaw()
	if got := one(t, p.DSN, "SELECT 7"); got != "7" {
		t.Errorf("after Thaw: got %s", got)
	}
}

func TestOwnPostgresKillAndStart(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		t.Run(fmt.Sprintf("frozen=%v", frozen), func(t *testing.T) {
			p := OwnPostgres(t)
			p.Exec("CREATE TABLE t (i int)")
			connect(t, p.DSN)
			pids := p.Pids()
			if len(pids) < 3 {
				t.Fatalf("got pids %v, want the postmaster and its children", pids)
			}
			if frozen {
				p.Freeze()
			}
			p.Kill()
			for _, pid := range pids {
				if s := state(pid); s != 0 && s != 'Z' {
					t.Errorf("pid %d lives after Kill, in state %c", pid, s)
				}
			}
			if p.Pids() != nil {
				t.Errorf("Pids after Kill: got %v", p.Pids())
			}
			p.Start()
			if got := one(t, p.DSN, "SELECT count(*) FROM t"); got != "0" {
				t.Errorf("after Start: got %s", got)
			}
			p.Restart()
			if got := one(t, p.DSN, "SELECT count(*) FROM t"); got != "0" {
				t.Errorf("after Restart: got %s", got)
			}
		})
	}
}

// TestGuardEndsClusterOfKilledBinary runs this test binary again; it starts a cluster, freezes it, prints its pids and
// directory and is killed. Nothing of the cluster may stay.
func TestGuardEndsClusterOfKilledBinary(t *testing.T) {
	postgresBin(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TESTENV_LEAVE=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	fields := strings.Fields(line)
	dir := fields[0]
	gone := poll(func() bool {
		for _, f := range fields[1:] {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			if s := state(pid); s != 0 && s != 'Z' {
				return false
			}
		}
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	})
	if !gone {
		t.Errorf("left behind by a killed test binary: %s", line)
	}
}

// leaveClusterBehind is the killed binary's part; it never returns.
func leaveClusterBehind() {
	var bin fakeTB
	c, err := newCluster(postgresBin(&bin))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	own := &Cluster{PG{t: &bin, c: c}}
	own.Freeze()
	fmt.Println(c.dir, strings.Trim(fmt.Sprint(own.Pids()), "[]"))
	select {}
}

func TestMissingFailsInCI(t *testing.T) {
	for _, tc := range []struct{ name, ci, want string }{
		{"at home", "", "skip"},
		{"in CI", "1", "fatal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("SWORDFISH_CI", tc.ci)
			var tb fakeTB
			var loud strings.Builder
			done := make(chan struct{})
			go func() { // as t.Skipf and t.Fatalf do, the fake ends its goroutine
				defer close(done)
				missing(&tb, &loud, "gizmo", "make one")
			}()
			<-done
			if tb.ended != tc.want || !strings.Contains(tb.text, "gizmo") || !strings.Contains(tb.text, "make one") {
				t.Errorf("got %s %q, want %s", tb.ended, tb.text, tc.want)
			}
			if skipped := strings.Contains(loud.String(), "SKIPPED testenv fake: gizmo"); skipped != (tc.want == "skip") {
				t.Errorf("go command's standard error got %q", loud.String())
			}
		})
	}
}

func TestPHPHasExtensions(t *testing.T) {
	out, err := exec.Command(PHP(t), "-r", `echo class_exists("Memcached"), class_exists("Memcache");`).Output()
	if err != nil || string(out) != "11" {
		t.Errorf("got %q, %v, want 11", out, err)
	}
}

func connect(t *testing.T, dsn string) *pgconn.PgConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn.Close(ctx)
	})
	return conn
}

// one returns the first column of the only row, as text.
func one(t *testing.T, dsn, sql string) string {
	t.Helper()
	res, err := connect(t, dsn).Exec(t.Context(), sql).ReadAll()
	if err != nil || len(res) != 1 || len(res[0].Rows) != 1 {
		t.Fatalf("%s: %v, %v", sql, res, err)
	}
	return string(res[0].Rows[0][0])
}
