//go:build linux

package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// heldQuery is the route's query behind a lock that is taken once the query has its snapshot: what it then reads may be old.
var heldQuery = "WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(7))\n" +
	strings.Replace(testdata.PostgresQuery, "FROM unnest", "FROM held, unnest", 1)

// hold lets a test stop loads.
type hold struct{ name, hold, release string }

var holds = []hold{
	{"before it reads", "BEGIN; LOCK TABLE characteristics IN ACCESS EXCLUSIVE MODE", "COMMIT"},
	{"after its snapshot", "SELECT pg_advisory_lock(7)", "SELECT pg_advisory_unlock(7)"},
}

// TestE2EClientWinsOverLoad: whatever a client does to a key while its load is under way holds against the load, in whichever
// spelling of the key, and the row that the load read is never put.
func TestE2EClientWinsOverLoad(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	s := serve(t, config{dsn: pg.DSN, source: "statement_timeout: 20s", query: heldQuery, route: []string{"fresh: 10m", "settle: 0s"}}.String())
	c := dial(t, s.addr)
	db := openSession(t, pg.DSN)
	watch := openSession(t, pg.DSN)
	devices := testdata.Devices()
	for _, h := range holds {
		for _, tc := range []struct {
			name    string
			command string // KEY is another spelling of the key
			reply   string
			kills   bool
			value   string // what is served afterwards; empty: the row is loaded anew
		}{
			{"nothing", "version", "VERSION 1.6.45", false, ""},
			{"touch of nothing", "touch KEY 100", "NOT_FOUND", false, ""},
			{"failed replace", "replace KEY 0 0 1\r\nx", "NOT_STORED", false, ""},
			{"failed cas", "cas KEY 0 0 1 1\r\nx", "NOT_FOUND", false, ""},
			{"set", "set KEY 7 0 6\r\nclient", "STORED", true, "client"},
			{"add", "add KEY 7 0 6\r\nclient", "STORED", true, "client"},
			{"delete", "delete KEY", "NOT_FOUND", true, ""},
			{"set that is too large", "set KEY 0 0 2000000\r\n" + strings.Repeat("x", 2_000_000), "SERVER_ERROR object too large for cache", true, ""},
			{"flush_all", "flush_all", "OK", true, ""},
		} {
			t.Run(tc.name+" "+h.name, func(t *testing.T) {
				d := &devices[0]
				devices = devices[1:]
				key := string(testdata.AppendKey(nil, "DE", d))
				row := fmt.Sprintf("country = 'DE' AND os = '%s' AND browser = '%s' AND cat = '%s'", d.OS, d.Browser, d.Category)
				old := watch.rows("SELECT payload FROM characteristics WHERE " + row)[0][0]
				killed, loaded := c.route("killed"), c.route("loaded")

				db.rows(h.hold)
				if c.hits(key) {
					t.Fatal("a cold key hits")
				}
				eventually(t, "the load waits for the lock", func() bool {
					return c.route("in_flight") == 1 && watch.number("SELECT count(*) FROM pg_stat_activity WHERE datname = "+
						"current_database() AND wait_event_type = 'Lock'") == 1
				})
				want := old
				if tc.kills { // the application writes to both, as applications do
					want = fmt.Sprintf(`{"new": %d}`, d.ID)
					db.rows(fmt.Sprintf("UPDATE characteristics SET payload = '%s' WHERE %s", want, row))
				}
				if tc.value != "" {
					want = tc.value
				}
				c.want(tc.reply, "%s", strings.ReplaceAll(tc.command, "KEY", shuffled(key)))
				if tc.value != "" {
					if got, _, _ := c.get(key); got != want {
						t.Errorf("during the load: got %q, want %q", got, want)
					}
				}
				db.rows(h.release)

				if !tc.kills {
					c.routeReaches("loaded", loaded+1)
				} else {
					c.routeReaches("killed", killed+1)
					if n := c.route("loaded"); n != loaded {
						t.Errorf("%d loads were put", n-loaded)
					}
					if tc.value == "" {
						if c.hits(key) {
							t.Errorf("the first get after it hits: the old load was put")
						}
						c.routeReaches("loaded", loaded+1)
					}
				}
				if got, _, _ := c.get(key); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if n := c.route("killed") - killed; n > 1 || n == 1 && !tc.kills {
					t.Errorf("%d leases were killed", n)
				}
			})
		}
	}
}

// TestE2EDeleteBeforeCommit: an application deletes the key before it commits, so the load that follows reads the old row. It
// is loaded once more when the change has settled, long before it would turn stale.
func TestE2EDeleteBeforeCommit(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	c := dial(t, serve(t, config{dsn: pg.DSN, route: []string{"fresh: 10m", "settle: 500ms"}}.String()).addr)
	db := openSession(t, pg.DSN)
	d := &testdata.Devices()[0]
	key := string(testdata.AppendKey(nil, "DE", d))
	old := characteristic(t, "DE", d)
	c.get(key)
	c.routeReaches("loaded", 1)

	db.rows("BEGIN; UPDATE characteristics SET payload = '{}' WHERE country = 'DE'")
	c.want("DELETED", "delete %s", key)
	if c.hits(key) {
		t.Error("the get after the delete hits")
	}
	c.routeReaches("loaded", 2)
	if got, _, _ := c.get(key); got != old {
		t.Errorf("before the commit: got %q, want the old row", got)
	}
	db.rows("COMMIT")
	eventually(t, "the new row is served", func() bool {
		got, _, found := c.get(key)
		if !found {
			t.Fatal("a get misses")
		}
		return got == "{}"
	})
}

// TestE2EHerd: 200 connections ask one cold key 50 times each, at once and in many spellings. One row is asked for.
func TestE2EHerd(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	s := serve(t, config{dsn: pg.DSN, route: []string{"fresh: 10m"}}.String(), "-c", "4096")
	c := dial(t, s.addr)
	db := openSession(t, pg.DSN)
	device := &testdata.Devices()[0]
	want := characteristic(t, testdata.ColdCountry, device)

	const connections, gets = 200, 50
	start := make(chan struct{})
	var all sync.WaitGroup
	hits := make([]int, connections)
	for i := range connections {
		key := string(testdata.AppendShuffledKey(nil, rand.New(rand.NewPCG(uint64(i), 0)), testdata.ColdCountry, device))
		herd := dial(t, s.addr)
		all.Go(func() {
			<-start
			if _, err := io.WriteString(herd, strings.Repeat("get "+key+"\r\n", gets)); err != nil {
				t.Error(err)
				return
			}
			for range gets {
				value, _, err := herd.reply(key)
				if err != nil || value != nil && string(value) != want {
					t.Errorf("got %q, %v", value, err)
					return
				}
				if value != nil {
					hits[i]++
				}
			}
		})
	}
	close(start)
	all.Wait()
	c.routeReaches("loaded", 1)
	for i := range connections {
		key := string(testdata.AppendShuffledKey(nil, rand.New(rand.NewPCG(uint64(i), 1)), testdata.ColdCountry, device))
		if value, _, _ := c.get(key); value != want {
			t.Fatalf("%s: got %q, want %q", key, value, want)
		}
	}
	got := map[string]int{}
	for _, name := range []string{"leased", "batches", "asked", "rows", "loaded", "items", "killed", "retried", "queued"} {
		got[name] = c.route(name)
	}
	got["calls in Postgres"], got["rows in Postgres"] = db.questions()
	for name, n := range got {
		want := 1
		if name == "killed" || name == "retried" || name == "queued" {
			want = 0
		}
		if n != want {
			t.Errorf("%s: got %d, want %d", name, n, want)
		}
	}
	sum := 0
	for _, n := range hits {
		sum += n
	}
	t.Logf("%d gets: %d hits, %d misses, %d coalesced", connections*gets, sum, connections*gets-sum, c.route("coalesced"))
}
