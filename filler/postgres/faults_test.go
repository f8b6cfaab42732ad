package postgres

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
)

const echo = "SELECT o AS ord, 'row of ' || k FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)"

// rig starts a filler over src with short deadlines.
func rig(t *testing.T, o Options, query string) *fillertest.Rig {
	t.Helper()
	o.StatementTimeout = 500 * time.Millisecond
	return fillertest.New(t, filler.SourceSpec{Source: source(t, o), Timeout: o.StatementTimeout, MaxLoads: 4}, filler.Route{Query: query})
}

func ask(t *testing.T, r *fillertest.Rig, key string) {
	t.Helper()
	r.Ask(key)
	r.Wait()
	if got, want := r.Values[key], "row of "+key; got != want {
		t.Errorf("%s: got %q absent %v failed %v, want %q", key, got, r.Absent[key], r.Failed[key], want)
	}
}

func TestStatementTimeoutFailsItsKeysOnly(t *testing.T) {
	pg := testenv.Postgres(t)
	r := rig(t, Options{DSNs: []string{pg.DSN}}, "SELECT o AS ord, k || pg_sleep(CASE WHEN k = 'slow' THEN 60 ELSE 0 END)::text FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)")
	r.Ask("slow")
	r.Wait()
	if st := r.Stats(); !r.Failed["slow"] || st.QueryErrors != 1 || st.CutOff != 0 || st.Down {
		t.Errorf("failed %v, %+v", r.Failed, st)
	}
	r.Ask("quick")
	r.Wait()
	if r.Values["quick"] != "quick" {
		t.Error("the next key was not loaded")
	}
}

// TestFrozenServer stops every process of the server: it honours no timeout, so our own deadline has to end the load. What
// was asked meanwhile is parked and loaded after the thaw.
func TestFrozenServer(t *testing.T) {
	c := testenv.OwnPostgres(t)
	r := rig(t, Options{DSNs: []string{c.DSN}}, echo)
	ask(t, r, "before")
	c.Freeze()
	start := time.Now()
	for i := range 20 {
		r.Ask(fmt.Sprint("frozen", i))
	}
	r.WaitDown(true)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v to notice", took)
	}
	r.WaitStats(func(s filler.RouteStats) bool { return s.CutOff > 0 })
	r.Ask("parked")
	c.Thaw()
	r.WaitDown(false)
	r.Wait()
	for _, k := range []string{"frozen0", "frozen19", "parked"} {
		if r.Values[k] != "row of "+k {
			t.Errorf("%s: got %q failed %v", k, r.Values[k], r.Failed[k])
		}
	}
	if st := r.Stats(); st.Failed != 0 || st.Absent != 0 {
		t.Errorf("failed %d, absent %d: an outage must not become an answer", st.Failed, st.Absent)
	}
}

func TestKilledServerComesBack(t *testing.T) {
	c := testenv.OwnPostgres(t)
	r := rig(t, Options{DSNs: []string{c.DSN}}, echo)
	ask(t, r, "before")
	c.Kill()
	r.Ask("a", "b", "c")
	r.WaitDown(true)
	r.Ask("parked")
	c.Start()
	r.WaitDown(false)
	r.Wait()
	for _, k := range []string{"a", "b", "c", "parked"} {
		if r.Values[k] != "row of "+k {
			t.Errorf("%s: got %q failed %v", k, r.Values[k], r.Failed[k])
		}
	}
	ask(t, r, "after")
}

// TestRestartIsInvisible: the idle connections are dead, and a load that meets one tries again by itself.
func TestRestartIsInvisible(t *testing.T) {
	c := testenv.OwnPostgres(t)
	r := rig(t, Options{DSNs: []string{c.DSN}}, echo)
	ask(t, r, "before")
	c.Restart()
	ask(t, r, "after")
	if st := r.Stats(); st.SourceErrors != 0 || st.Retried != 0 {
		t.Errorf("source errors %d, retried %d, want none", st.SourceErrors, st.Retried)
	}
}

func TestBackendTerminatedInTheMiddle(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec("CREATE SEQUENCE once")
	r := rig(t, Options{DSNs: []string{pg.DSN}}, `SELECT o AS ord, CASE WHEN k = 'boom' AND nextval('once') = 1
		THEN pg_terminate_backend(pg_backend_pid())::text ELSE 'row of ' || k END FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)`)
	ask(t, r, "before")
	ask(t, r, "boom")
	ask(t, r, "after")
}

func TestDownAtStart(t *testing.T) {
	c := testenv.OwnPostgres(t)
	c.Stop()
	r := rig(t, Options{DSNs: []string{c.DSN}}, echo)
	r.WaitDown(true)
	r.Ask("k")
	c.Start()
	r.Wait()
	if r.Values["k"] != "row of k" {
		t.Errorf("got %q failed %v", r.Values["k"], r.Failed)
	}
}

func TestFailover(t *testing.T) {
	first, second := testenv.OwnPostgres(t), testenv.Postgres(t)
	r := rig(t, Options{DSNs: []string{first.DSN, second.DSN}}, "SELECT o AS ord, current_setting('port') FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)")
	port := func(key string) string {
		r.Ask(key)
		r.Wait()
		return r.Values[key]
	}
	if got, want := port("a"), fmt.Sprint(first.Port); got != want {
		t.Errorf("answered by %s, want the first, %s", got, want)
	}
	first.Kill()
	if got, want := port("b"), fmt.Sprint(second.Port); got != want {
		t.Errorf("answered by %s, want the second, %s", got, want)
	}
	if st := r.Stats(); st.Failed != 0 || st.Down {
		t.Errorf("failed %d, down %v", st.Failed, st.Down)
	}
}

// TestFirstHostHangs: an address that accepts and says nothing must leave time for the second DSN.
func TestFirstHostHangs(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	pg := testenv.Postgres(t)
	r := rig(t, Options{DSNs: []string{fmt.Sprintf("postgres://u@%s/db?sslmode=disable", ln.Addr()), pg.DSN}}, echo)
	ask(t, r, "k")
}

func TestTableChangesUnderPreparedStatement(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec("CREATE TABLE t (k text, v int); INSERT INTO t VALUES ('a', 1)")
	r := rig(t, Options{DSNs: []string{pg.DSN}}, "SELECT o AS ord, v FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o) JOIN t USING (k)")
	r.Ask("a")
	r.Wait()
	pg.Exec("ALTER TABLE t ALTER v TYPE text USING 'now ' || v")
	r.Ask("a")
	r.Wait()
	if r.Values["a"] != "now 1" || r.Stats().Failed != 0 {
		t.Errorf("got %q, %d failed", r.Values["a"], r.Stats().Failed)
	}
	pg.Exec("DROP TABLE t")
	r.Ask("a")
	r.Wait()
	if r.Stats().Failed != 1 {
		t.Errorf("a dropped table: %d failed, want 1", r.Stats().Failed)
	}
	pg.Exec("CREATE TABLE t (k text, v int); INSERT INTO t VALUES ('a', 2)")
	r.Ask("a")
	r.Wait()
	if r.Values["a"] != "2" {
		t.Errorf("got %q after the table came back", r.Values["a"])
	}
}

func TestLargeValue(t *testing.T) {
	pg := testenv.Postgres(t)
	r := fillertest.New(t, filler.SourceSpec{Source: source(t, Options{DSNs: []string{pg.DSN}, StatementTimeout: time.Minute}), Timeout: time.Minute},
		filler.Route{Query: "SELECT o AS ord, repeat('x', 10 << 20) FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)"})
	r.Ask("big")
	r.Wait()
	if n := len(r.Values["big"]); n != 10<<20 || strings.Trim(r.Values["big"], "x") != "" {
		t.Errorf("got %d bytes", n)
	}
}
