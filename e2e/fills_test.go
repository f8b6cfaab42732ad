//go:build linux

package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// notedSchema and notedQuery write down the length of every array that the route's query is asked with, in the database.
const notedSchema = `CREATE TABLE asked (at timestamptz NOT NULL, n int NOT NULL);
CREATE FUNCTION note(n int) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO asked VALUES (clock_timestamp(), n) RETURNING n'`

var notedQuery = "WITH noted AS MATERIALIZED (SELECT note(cardinality(@country::text[])))\n" +
	strings.Replace(testdata.PostgresQuery, "FROM unnest", "FROM noted, unnest", 1)

// thing is a key with the value it must have.
type thing struct{ country, key, value string }

// things returns n different keys, of the first countries and all devices.
func things(n int) []thing {
	payloads := make(map[testdata.Characteristic]string)
	for _, ch := range testdata.Characteristics() {
		payload := ch.Payload
		ch.Payload = ""
		payloads[ch] = payload
	}
	all := make([]thing, 0, n)
	for _, c := range testdata.Countries() {
		for i := range testdata.Devices() {
			if len(all) == n {
				return all
			}
			d := &testdata.Devices()[i]
			all = append(all, thing{
				c.Code, string(testdata.AppendKey(nil, c.Code, d)),
				payloads[testdata.Characteristic{Country: c.Code, OS: d.OS, Browser: d.Browser, Category: d.Category}],
			})
		}
	}
	return all
}

// askAll gets keys in pipelines and returns how many of them hit. A value that is wrong is an error.
func askAll(c *client, keys []thing) (hits int, err error) {
	const pipeline = 100
	for len(keys) > 0 {
		some := keys[:min(pipeline, len(keys))]
		keys = keys[len(some):]
		var b strings.Builder
		for _, k := range some {
			b.WriteString("get " + k.key + "\r\n")
		}
		if _, err := io.WriteString(c, b.String()); err != nil {
			return hits, err
		}
		for _, k := range some {
			value, _, err := c.reply(k.key)
			if err != nil {
				return hits, err
			}
			if value != nil && string(value) != k.value {
				return hits, fmt.Errorf("get %s: got %q, want %q", k.key, value, k.value)
			}
			if value != nil {
				hits++
			}
		}
	}
	return hits, nil
}

// TestE2ELookups: however many clients ask how often for keys that nobody has asked for yet, the database is asked once for
// each key. It keeps the books itself: the lengths of the arrays it was asked with, and pg_stat_statements.
func TestE2ELookups(t *testing.T) {
	figures := table{head: []string{"clients", "gets each of a key", "cold keys", "gets", "hits", "statements", "array lengths in sum", "rows", "items", "dropped and asked again"}}
	for _, tc := range []struct{ clients, gets, keys int }{
		{1, 1, 1}, {200, 50, 1}, {50, 20, longer(1000)},
	} {
		t.Run(fmt.Sprintf("clients=%d,gets=%d,keys=%d", tc.clients, tc.gets, tc.keys), func(t *testing.T) {
			pg := testenv.Postgres(t)
			loadTables(t, pg.DSN)
			db := openSession(t, pg.DSN)
			db.rows(notedSchema)
			s := serve(t, config{dsn: pg.DSN, source: "statement_timeout: 30s", query: notedQuery, route: []string{"fresh: 1h"}}.String(), "-t", "2", "-m", "256")
			c := dial(t, s.addr)
			keys := things(tc.keys)
			start := make(chan struct{})
			var all sync.WaitGroup
			var hits atomic.Int64
			for i := range tc.clients {
				herd := dial(t, s.addr)
				order := append([]thing(nil), keys...) // each in an order of its own
				r := rand.New(rand.NewPCG(3, uint64(i)))
				r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
				all.Go(func() {
					<-start
					for range tc.gets {
						n, err := askAll(herd, order)
						hits.Add(int64(n))
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			close(start)
			all.Wait()
			eventually(t, "every key hits", func() bool {
				n, err := askAll(c, keys)
				if err != nil {
					t.Fatal(err)
				}
				return n == len(keys)
			})
			eventually(t, "nothing is under way", func() bool { return c.route("queued")+c.route("in_flight") == 0 })
			calls, rows := db.questions()
			lengths, noted := db.number("SELECT sum(n) FROM asked"), db.number("SELECT count(*) FROM asked")
			for name, n := range map[string]int{
				"array lengths": lengths, "rows in Postgres": rows, "asked": c.route("asked"), "rows": c.route("rows"), "items": c.route("items"),
			} {
				if n != tc.keys {
					t.Errorf("%s: got %d, want %d, one for each key", name, n, tc.keys)
				}
			}
			if calls != noted || calls != c.route("batches") {
				t.Errorf("%d statements in pg_stat_statements, %d noted, %d batches", calls, noted, c.route("batches"))
			}
			figures.row(tc.clients, tc.gets, tc.keys, tc.clients*tc.gets*tc.keys, hits.Load(), calls, lengths, rows, c.route("items"),
				c.route("dropped_ring")+c.route("dropped_lease_table")+c.route("dropped_queue_full"))
		})
	}
	record(t, "Look-ups of cold keys", "All clients begin at once, each with the keys in an order of its own, in pipelines of up to 100 gets; every value is checked. "+
		"The database writes down the length of each array it is asked with; statements and rows are pg_stat_statements'.", &figures)
}
