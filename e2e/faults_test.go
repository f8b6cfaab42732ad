//go:build linux

package e2e

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// shelf is the keys that a fault test asks, with what is known of their rows: those of version n begin with {"v": n.
type shelf struct {
	things  []thing
	version atomic.Int64   // what the database holds, or is about to
	seen    []atomic.Int64 // the highest version that anybody was served, by key
}

func newShelf(n int) *shelf {
	return &shelf{things: things(n), seen: make([]atomic.Int64, n)}
}

// rarest returns the row that the fewest keys have, as a row of SQL.
func (sh *shelf) rarest() string {
	count := make(map[string]int)
	row := func(i int) string {
		d := &testdata.Devices()[i]
		return fmt.Sprintf("('%s', '%s', '%s', '%s')", sh.things[i].country, d.OS, d.Browser, d.Category)
	}
	for i := range sh.things { // all of the first country, whose devices come in order
		count[row(i)]++
	}
	best := row(0)
	for r, n := range count {
		if n < count[best] || n == count[best] && r < best {
			best = r
		}
	}
	return best
}

// next returns the SQL that makes all rows those of the next version.
func (sh *shelf) next() string {
	return fmt.Sprintf(`UPDATE characteristics SET payload = payload || '{"v": %d}'`, sh.version.Add(1))
}

// check tells what is wrong with a value of key i that was asked for when before was the highest version seen.
func (sh *shelf) check(i int, value []byte, before int64) error {
	text, found := strings.CutPrefix(string(value), `{"v": `)
	version := int64(0)
	if found {
		number, rest, _ := strings.Cut(text, ", ")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return fmt.Errorf("%s: got %.100q", sh.things[i].key, value)
		}
		version, text = n, "{"+rest
	}
	switch {
	case text != sh.things[i].value:
		return fmt.Errorf("%s: got %.100q, want %q", sh.things[i].key, value, sh.things[i].value)
	case version < before:
		return fmt.Errorf("%s: version %d was served after version %d", sh.things[i].key, version, before)
	case version > sh.version.Load():
		return fmt.Errorf("%s: version %d, and the database has had no more than %d", sh.things[i].key, version, sh.version.Load())
	}
	for {
		old := sh.seen[i].Load()
		if version <= old || sh.seen[i].CompareAndSwap(old, version) {
			return nil
		}
	}
}

// behind counts the keys whose newest version nobody was served yet.
func (sh *shelf) behind() (n int) {
	for i := range sh.seen {
		if sh.seen[i].Load() < sh.version.Load() {
			n++
		}
	}
	return n
}

// ward is a server with visitors that ask for a shelf's keys all the time.
type ward struct {
	*shelf
	*client
	people      *crowd
	wrong, lost atomic.Int64
}

const wardRoute = "fresh: 1s"

// openWard warms the shelf up and lets visitors in.
func openWard(t testing.TB, sh *shelf, s *server) *ward {
	t.Helper()
	w := &ward{shelf: sh, client: dial(t, s.addr)}
	for i := range sh.seen {
		sh.seen[i].Store(0) // another server may have got further
	}
	eventually(t, "every key is loaded", func() bool {
		missing := 0
		for _, th := range sh.things {
			if !w.hits(th.key) {
				missing++
			}
		}
		return missing == 0
	})
	w.people = gather(t, s.addr, 4, time.Millisecond, func(v *visitor) error {
		i := v.random.IntN(len(sh.things))
		before := sh.seen[i].Load()
		value, err := v.ask(usual, sh.things[i].key)
		switch {
		case err != nil:
			return err
		case value == nil:
			w.lost.Add(1)
			v.crowd.t.Errorf("%s is lost", sh.things[i].key)
		default:
			if err := sh.check(i, value, before); err != nil {
				w.wrong.Add(1)
				v.crowd.t.Error(err)
			}
		}
		return nil
	})
	return w
}

// lasts waits for d and at least some gets of the phase.
func (w *ward) lasts(what string, d time.Duration) {
	w.t.Helper()
	eventually(w.t, what, func() bool {
		now := w.people.now()
		return w.people.failed.Load() || time.Since(now.from) >= d && now.gets() >= 500
	})
	if w.people.failed.Load() {
		w.t.FailNow()
	}
}

// p99s ends a phase and returns the 99th percentiles of its GETs in microseconds, as the server counts them and as the clients
// do, and how many they were.
func (w *ward) p99s() (server, client float64, gets int) {
	w.t.Helper()
	tally := w.people.next()
	n, err := strconv.Atoi(w.stats("fish")["get_us_p99"])
	if err != nil {
		w.t.Fatal(err)
	}
	w.want("RESET", "stats reset")
	return float64(n), float64(tally.took.ValueAtQuantile(99)), tally.gets()
}

// faultTable has a row for each fault.
func faultTable() *table {
	return &table{head: []string{"fault", "lasts s", "gets meanwhile", "wrong answers", "items lost", "GET p99 us healthy (server)", "meanwhile", "ratio",
		"healthy (client)", "meanwhile", "ratio", "all keys new again after ms", "loads that failed", "most queued"}}
}

// fault is something that happens to a database. begin makes it happen; end ends it, and has the rows of the shelf's next
// version committed when it returns.
type fault struct {
	name       string
	lasts      time.Duration // when recording
	begin, end func()
}

// play measures a healthy phase, the fault, and the recovery.
func (w *ward) play(f fault, into *table) {
	w.t.Helper()
	d := f.lasts
	if !recording() {
		d = min(d, 1500*time.Millisecond)
	}
	w.people.next()
	w.want("RESET", "stats reset")
	w.lasts("healthy", d/2)
	server, client, _ := w.p99s()
	failed := w.route("failed")

	most := 0
	f.begin()
	w.people.next()
	began := time.Now()
	eventually(w.t, f.name, func() bool {
		most = max(most, w.route("queued"))
		now := w.people.now()
		return w.people.failed.Load() || time.Since(began) >= d && now.gets() >= 500
	})
	f.end()
	ended := time.Now()
	eventually(w.t, "all keys are new after: "+f.name, func() bool { return w.people.failed.Load() || w.behind() == 0 })
	recovered := time.Since(ended)
	if w.people.failed.Load() {
		w.t.FailNow()
	}
	server2, client2, gets := w.p99s()
	into.row(f.name, ended.Sub(began).Seconds(), gets, w.wrong.Load(), w.lost.Load(), int(server), int(server2), server2/math.Max(server, 1),
		int(client), int(client2), client2/math.Max(client, 1), recovered.Milliseconds(), w.route("failed")-failed, most)
}

// TestE2EFaults plays what can befall a database while visitors ask keys that are all held. None of it may lose an item or
// serve a wrong or an older value, and afterwards everything is loaded anew by itself.
func TestE2EFaults(t *testing.T) {
	const keys = 200
	pg := testenv.OwnPostgres(t)
	loadTables(t, pg.DSN)
	sh := newShelf(keys)
	figures := faultTable()

	commit := func() { pg.Exec(sh.next()) }
	var locker *session
	aside := func(another string) func() { // takes the table away and puts another there
		return func() { pg.Exec("ALTER TABLE characteristics RENAME TO put_aside; " + another) }
	}
	back := func() {
		pg.Exec("DROP TABLE IF EXISTS characteristics; ALTER TABLE put_aside RENAME TO characteristics; " + sh.next())
	}
	rare := "(country, os, browser, cat) = " + sh.rarest()
	relayed, through := startRelay(t, pg.DSN)
	for _, f := range []struct {
		fault
		dsn string
	}{
		{fault{"none: only new rows", 10 * time.Second, func() {}, commit}, pg.DSN},
		{fault{"frozen", 30 * time.Second, pg.Freeze, func() { pg.Thaw(); commit() }}, pg.DSN},
		{fault{"killed by SIGKILL", 10 * time.Second, pg.Kill, func() { pg.Start(); commit() }}, pg.DSN},
		{fault{"restarted", time.Second, pg.Restart, commit}, pg.DSN},
		{fault{"connection refused", 10 * time.Second, pg.Stop, func() { pg.Start(); commit() }}, pg.DSN},
		{fault{"statement timeout", 10 * time.Second, func() {
			locker = openSession(t, pg.DSN)
			locker.rows("BEGIN; LOCK TABLE characteristics IN ACCESS EXCLUSIVE MODE")
		}, func() { locker.rows(sh.next() + "; COMMIT") }}, pg.DSN},
		{fault{"table dropped", 10 * time.Second, aside(""), back}, pg.DSN},
		{fault{"wrong type", 10 * time.Second, aside("CREATE TABLE characteristics (country int, os text, browser text, cat text, payload jsonb)"), back}, pg.DSN},
		{fault{"a value of 10 MB", 10 * time.Second, func() {
			pg.Exec("CREATE TABLE small AS SELECT * FROM characteristics WHERE " + rare +
				"; UPDATE characteristics SET payload = jsonb_build_object('big', repeat('x', 10000000)) WHERE " + rare)
		}, func() {
			pg.Exec("DELETE FROM characteristics WHERE " + rare + "; INSERT INTO characteristics SELECT * FROM small; DROP TABLE small; " + sh.next())
		}}, pg.DSN},
		{fault{"disconnect in the middle of a result", 10 * time.Second, func() { relayed.cut.Store(true) }, func() { relayed.cut.Store(false); commit() }}, through},
	} {
		t.Run(f.name, func(t *testing.T) {
			s := serve(t, config{dsn: f.dsn, source: "statement_timeout: 500ms", route: []string{wardRoute, "negative: 1s"}}.String(), "-t", "2")
			w := openWard(t, sh, s)
			w.play(f.fault, figures)
			w.people.halt()
			if n := w.stat("", "curr_items"); n != keys {
				t.Errorf("%d items in the end, want %d", n, keys)
			}
			if f.dsn == through && relayed.cuts.Load() == 0 {
				t.Error("no connection was cut")
			}
			t.Logf("at most %d MiB resident", s.peak()>>20)
		})
	}
	t.Run("failover", func(t *testing.T) {
		second := testenv.OwnPostgres(t)
		loadTables(t, second.DSN)
		s := serve(t, strings.Replace(config{dsn: pg.DSN, source: "statement_timeout: 500ms", route: []string{wardRoute, "negative: 1s"}}.String(),
			"dsn: "+strconv.Quote(pg.DSN), fmt.Sprintf("dsn: [%q, %q]", pg.DSN, second.DSN), 1), "-t", "2")
		w := openWard(t, sh, s)
		w.play(fault{"failover to the second dsn, from the end of the first", time.Second, func() {}, func() {
			second.Exec(sh.next())
			pg.Kill()
		}}, figures)
	})
	record(t, "Faults of the database", fmt.Sprintf("4 visitors ask %d keys, fresh for 1 s, every ms; all values are checked, and none may be older than one that anybody was served before. "+
		"Each fault meets a server of its own. When it ends all rows are new; recovered is when a visitor has been served the new row of every key, which takes about 1 s without a fault, "+
		"too: their freshness has to end first.", keys), figures)
}

// TestE2ESlowRouteBesideFast: a route whose queries take long does not hold up another on the same source.
func TestE2ESlowRouteBesideFast(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	yaml := config{dsn: pg.DSN, source: "max_conns: 8", route: []string{wardRoute, "negative: 1s"}}.String() + `  - name: slow
    key: "slow:{id:int}"
    source: main
    query: "SELECT k.ord, 'x' AS value FROM unnest(@id::bigint[]) WITH ORDINALITY AS k(id, ord), pg_sleep(1)"
    negative: 1s
`
	sh := newShelf(200)
	s := serve(t, yaml, "-t", "2")
	w := openWard(t, sh, s)
	figures := faultTable()
	var slow *crowd
	next := atomic.Int64{}
	w.play(fault{"a slow route beside it", 10 * time.Second, func() {
		slow = gather(t, s.addr, 2, time.Millisecond, func(v *visitor) error {
			_, err := v.ask(cold, fmt.Sprintf("slow:%d", next.Add(1)))
			return err
		})
	}, func() { pg.Exec(sh.next()) }}, figures)
	slow.halt()
	w.people.halt()
	if n := w.route("dropped_lease_table") + w.route("dropped_queue_full"); n != 0 {
		t.Errorf("%d loads of the fast route found no room", n)
	}
	if n := w.stat("routes", "slow:batches"); n == 0 {
		t.Error("the slow route loaded nothing")
	}
	record(t, "A slow route beside a fast one", "As in the table of faults; the slow route's queries take a second each, and new keys of it are asked all the time. "+
		"They are asked until the fast route's keys are all new again.", figures)
}
