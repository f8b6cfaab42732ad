//go:build linux

package e2e

import (
	"fmt"
	"math"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// TestE2EHerdAfterFlush empties the cache under load: all keys are missing at once, and are asked for at once. The database is
// asked at the route's rate and no faster, the queue drains to the last key, and gets take as long as before.
func TestE2EHerdAfterFlush(t *testing.T) {
	const rate, batch, concurrency = 2000, 256, 2
	n := 2500
	if recording() {
		n = 100_000
	}
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	db := openSession(t, pg.DSN)
	db.rows(notedSchema)
	s := serve(t, config{dsn: pg.DSN, source: "statement_timeout: 10s", query: notedQuery, route: []string{
		"fresh: 1h", fmt.Sprintf("limits: {rate: %d/s, batch: %d, concurrency: %d, queue: %d}", rate, batch, concurrency, max(n, 100_000)),
	}}.String(), "-t", "2", "-m", "1024") // for as many leases
	c := dial(t, s.addr)
	flood := dial(t, s.addr)
	keys := things(n)
	people := gather(t, s.addr, 4, time.Millisecond, func(v *visitor) error {
		k := &keys[v.random.IntN(n)]
		value, err := v.ask(usual, k.key)
		if err == nil && value != nil && string(value) != k.value {
			err = fmt.Errorf("get %s: got %q, want %q", k.key, value, k.value)
		}
		return err
	})

	figures := table{head: []string{"phase", "seconds", "gets", "keys loaded", "most queued", "dropped and asked again", "statements", "most rows asked in a second", "allowed",
		"GET p99 us (server)", "against steady", "client", "against steady"}}
	dropped := func() int { return c.route("dropped_lease_table") + c.route("dropped_ring") }
	lastDropped := 0
	steadyServer, steadyClient := 0.0, 0.0
	// phase runs until over; what it asked of the database is noted.
	phase := func(name string, over func(now *tally) bool) {
		t.Helper()
		most := 0
		tick := time.NewTicker(5 * time.Millisecond) // not eventually, whose patience a long queue would try
		defer tick.Stop()
		for began := time.Now(); ; <-tick.C {
			now := people.now()
			most = max(most, c.route("queued"))
			if people.failed.Load() || over(&now) {
				break
			}
			if time.Since(began) > 3*patience {
				t.Fatalf("%s: %d items, %d queued", name, c.route("items"), c.route("queued"))
			}
		}
		tl := people.next()
		if people.failed.Load() {
			t.FailNow()
		}
		fish := c.stats("fish")
		c.want("RESET", "stats reset")
		server, client := 0.0, float64(tl.took.ValueAtQuantile(99))
		if _, err := fmt.Sscan(fish["get_us_p99"], &server); err != nil {
			t.Fatal(err)
		}
		if name == "steady" {
			steadyServer, steadyClient = server, client
		}
		statements := db.number("SELECT count(*) FROM asked")
		loaded := db.number("SELECT coalesce(sum(n), 0) FROM asked")
		second := db.number(`SELECT coalesce(max(s), 0) FROM (
			SELECT sum(n) OVER (ORDER BY at RANGE BETWEEN CURRENT ROW AND '999999 microseconds' FOLLOWING) AS s FROM asked) AS seconds`)
		db.rows("TRUNCATE asked")
		const allowed = rate + concurrency*batch
		if second > allowed+rate/50 { // statements that were sent later may have arrived sooner
			t.Errorf("%s: %d rows were asked in a second, want at most %d", name, second, allowed)
		}
		cells := []any{name, time.Since(tl.from).Seconds(), tl.gets(), loaded, most, dropped() - lastDropped, statements, second, allowed, int(server), "", int(client), ""}
		if steadyServer > 0 {
			cells[10], cells[12] = fmt.Sprintf("%.2f", server/math.Max(steadyServer, 1)), fmt.Sprintf("%.2f", client/math.Max(steadyClient, 1))
		}
		lastDropped = dropped()
		figures.row(cells...)
		if name != "steady" && loaded != n {
			t.Errorf("%s: the database was asked for %d keys, want %d", name, loaded, n)
		}
	}
	herd := func() {
		t.Helper()
		flood.SetDeadline(time.Now().Add(3 * patience))
		if _, err := askAll(flood, keys); err != nil {
			t.Fatal(err)
		}
	}

	allHeld := func(*tally) bool {
		if c.route("items") == n {
			return true
		}
		if c.route("queued")+c.route("in_flight") == 0 {
			herd() // what found no place among the leases is asked for again
		}
		return false
	}
	people.next()
	herd()
	phase("cold", allHeld)
	herd() // hits now; what the gets of the other phases are compared with
	phase("steady", func(now *tally) bool { return time.Since(now.from) >= time.Duration(longer(1))*time.Second })
	c.want("OK", "flush_all")
	herd()
	phase("after flush_all", allHeld)
	people.halt()
	if hits, err := askAll(flood, keys); err != nil || hits != n {
		t.Errorf("in the end %d of %d keys hit, %v", hits, n, err)
	}
	for _, name := range []string{"failed", "absent", "killed", "retried", "dropped_queue_full"} {
		if got := c.route(name); got != 0 {
			t.Errorf("%s: got %d, want 0", name, got)
		}
	}
	record(t, "A herd after flush_all", fmt.Sprintf("%d keys are asked for in pipelines of 100 gets, cold, steady and again after flush_all, while 4 visitors ask keys at random every ms; every value is checked. "+
		"The route's rate is %d/s, its batches have up to %d keys, %d at a time. The database notes when it was asked and for how many; a second is any second, not one of a clock.",
		n, rate, batch, concurrency), &figures)
}
