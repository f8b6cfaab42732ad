package postgres

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
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

// TestFailback: the first server comes back, and after a while serves again.
func TestFailback(t *testing.T) {
	first, second := testenv.OwnPostgres(t), testenv.Postgres(t)
	r := rig(t, Options{DSNs: []string{first.DSN, second.DSN}, ReturnEvery: 20 * time.Millisecond, MaxConns: 2},
		"SELECT o AS ord, current_setting('port') FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)")
	asked := 0
	port := func() string {
		asked++
		key := fmt.Sprint("k", asked)
		r.Ask(key)
		r.Wait()
		return r.Values[key]
	}
	for range 2 {
		if got := port(); got != fmt.Sprint(first.Port) {
			t.Fatalf("answered by %s, want the first, %d", got, first.Port)
		}
		first.Kill()
		for range 20 {
			if got := port(); got != fmt.Sprint(second.Port) {
				t.Fatalf("answered by %s, want the second, %d", got, second.Port)
			}
		}
		first.Start()
		for end := time.Now().Add(20 * time.Second); port() != fmt.Sprint(first.Port); {
			if time.Now().After(end) {
				t.Fatal("the first server does not serve again")
			}
		}
	}
	if st := r.Stats(); st.Failed != 0 || st.Down {
		t.Errorf("failed %d, down %v", st.Failed, st.Down)
	}
	left := func() string {
		return one(t, second.DSN, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'swordfishd%'")
	}
	for end := time.Now().Add(20 * time.Second); left() != "0"; { // a backend ends a moment after its connection
		if time.Now().After(end) {
			t.Fatalf("%s connections to the second server are left", left())
		}
	}
}

// TestFailbackIsBounded: while the first server hangs, loads do not, and it is tried no more often than allowed.
func TestFailbackIsBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var attempts atomic.Int64
	go func() {
		for {
			if _, err := ln.Accept(); err != nil {
				return
			}
			attempts.Add(1) // and never a word
		}
	}()
	pg := testenv.Postgres(t)
	r := rig(t, Options{
		DSNs:           []string{fmt.Sprintf("postgres://u@%s/db?sslmode=disable", ln.Addr()), pg.DSN},
		ConnectTimeout: 400 * time.Millisecond, ReturnEvery: 100 * time.Millisecond,
	}, echo)
	ask(t, r, "first")
	first, n := attempts.Load(), int64(0)
	for ; attempts.Load() < first+3; n++ {
		ask(t, r, fmt.Sprint("k", n))
	}
	if got := attempts.Load() - first; n < 5*got { // each takes 500 ms; without a bound, or if they were waited for, it would be one a load
		t.Errorf("%d attempts beside %d loads", got, n)
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

// TestWrongType changes the type of what keys are compared with: the query is wrong from then on, until the type is right again.
func TestWrongType(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec("CREATE TABLE t (k int, v text); INSERT INTO t VALUES (1, 'one')")
	names := []string{"k"}
	src := source(t, Options{DSNs: []string{pg.DSN}})
	r := fillertest.New(t, filler.SourceSpec{Source: src}, filler.Route{
		Query: "SELECT o AS ord, v FROM unnest(@k::int[]) WITH ORDINALITY u(k, o) JOIN t ON t.k = u.k",
		Parts: fillertest.Parts(names, "k"), Split: fillertest.Split(names),
	})
	for range 3 {
		r.Ask("t|k=1")
		r.Wait()
		if r.Values["t|k=1"] != "one" {
			t.Fatalf("got %q", r.Values["t|k=1"])
		}
	}
	pg.Exec("ALTER TABLE t ALTER k TYPE text")
	r.Ask("t|k=1")
	r.Wait()
	if st := r.Stats(); st.Failed != 1 || st.QueryErrors != 1 || st.Down {
		t.Errorf("%+v", st)
	}
	pg.Exec("ALTER TABLE t ALTER k TYPE int USING k::int")
	r.Ask("t|k=1")
	r.Wait()
	if st := r.Stats(); st.Failed != 1 || st.Stored+st.Same != 4 {
		t.Errorf("%+v", st)
	}
}

// TestLargeValues has values beyond -I among others: they are not kept, the others are, and what a batch holds is bounded.
func TestLargeValues(t *testing.T) {
	pg := testenv.Postgres(t)
	src := source(t, Options{DSNs: []string{pg.DSN}, StatementTimeout: time.Minute, MaxMessage: 12 << 20})
	r := fillertest.New(t, filler.SourceSpec{Source: src, Timeout: time.Minute},
		filler.Route{Query: `SELECT o AS ord, k || repeat('x', CASE left(k, 1) WHEN 'h' THEN 40 WHEN 'b' THEN 10 WHEN 'm' THEN 1 ELSE 0 END << 20)
			FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)`},
		func(o *filler.Options) { o.MaxValue, o.BatchBytes = 2<<20, 8<<20 })
	var keys []string
	for i := range 20 {
		keys = append(keys, fmt.Sprint("small", i), fmt.Sprint("m", i))
	}
	r.Ask(append(keys, "big", "huge", "after")...)
	r.Wait()
	for _, k := range append(keys, "after") {
		want := len(k)
		if k[0] == 'm' {
			want += 1 << 20
		}
		if n := len(r.Values[k]); n != want || !strings.HasPrefix(r.Values[k], k) {
			t.Errorf("%s: got %d bytes, want %d", k, n, want)
		}
	}
	st := r.Stats()
	if st.TooLarge != 1 || !r.Failed["big"] { // 10 MB
		t.Errorf("too large %d, failed %v", st.TooLarge, r.Failed)
	}
	if st.DataErrors != 1 || st.Failed != 1 || !r.Failed["huge"] { // 40 MB: not even read
		t.Errorf("data errors %d, failed %d", st.DataErrors, st.Failed)
	}
	if st.Overflowed == 0 || st.Down || st.SourceErrors != 0 {
		t.Errorf("overflowed %d, down %v, source errors %d", st.Overflowed, st.Down, st.SourceErrors)
	}
}

// TestDisconnectInTheMiddleOfAResult cuts the connection after every so many bytes of an answer: rows that came before are not
// taken for the whole answer, and what follows them is not taken for absent.
func TestDisconnectInTheMiddleOfAResult(t *testing.T) {
	pg := testenv.Postgres(t)
	for name, mode := range map[string]Mode{"prepared": Prepared, "unnamed": Unnamed} {
		t.Run(name, func(t *testing.T) {
			relay, dsn := newRelay(t, pg, 0)
			r := fillertest.New(t, filler.SourceSpec{Source: source(t, Options{DSNs: []string{dsn}, Mode: mode, MaxConns: 1}), MaxLoads: 1},
				filler.Route{Query: echo, Limits: filler.Limits{Concurrency: 1}})
			ask(t, r, "before")
			asked := 1
			for cut := int64(400); cut < 12_000; cut += 700 {
				cuts := relay.cuts.Load()
				relay.cutAfter.Store(cut)
				var keys []string
				for i := range 200 {
					keys = append(keys, fmt.Sprint("cut", cut, "-", i))
				}
				r.Ask(keys...)
				for end := time.Now().Add(20 * time.Second); relay.cuts.Load() == cuts; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("nothing was cut at %d", cut)
					}
				}
				relay.cutAfter.Store(0)
				r.Wait()
				asked += len(keys)
				for _, k := range keys {
					if r.Values[k] != "row of "+k {
						t.Fatalf("cut at %d: %s: got %q absent %v failed %v", cut, k, r.Values[k], r.Absent[k], r.Failed[k])
					}
				}
			}
			if st := r.Stats(); st.Stored != uint64(asked) || st.Absent+st.Failed != 0 {
				t.Errorf("stored %d of %d, absent %d, failed %d", st.Stored, asked, st.Absent, st.Failed)
			}
		})
	}
}
