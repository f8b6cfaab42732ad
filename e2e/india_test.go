//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// request is a country and a device: a distinct key, however it is spelled.
type request struct {
	country string
	device  int
}

// TestE2EIndiaComes: steady traffic from the home countries warms the cache; then a country comes that nobody has asked for.
// Every key costs one row, the hit ratio climbs in both, and no get waits or fails.
func TestE2EIndiaComes(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	s := serve(t, config{dsn: pg.DSN, route: []string{"fresh: 1h"}}.String(), "-t", "2")
	c := dial(t, s.addr)
	db := openSession(t, pg.DSN)
	payloads := make(map[testdata.Characteristic]string)
	for _, ch := range testdata.Characteristics() {
		payload := ch.Payload
		ch.Payload = ""
		payloads[ch] = payload
	}

	var mu sync.Mutex // guards asked
	asked := make(map[request]bool)
	var india atomic.Bool
	people := gather(t, s.addr, 8, 2*time.Millisecond, func(v *visitor) error {
		visit := func(k kind, country string) error {
			d := testdata.DrawDevice(v.random)
			mu.Lock()
			asked[request{country, d.ID}] = true
			mu.Unlock()
			value, err := v.ask(k, string(testdata.AppendShuffledKey(nil, v.random, country, d)))
			want := payloads[testdata.Characteristic{Country: country, OS: d.OS, Browser: d.Browser, Category: d.Category}]
			if err == nil && value != nil && string(value) != want {
				err = fmt.Errorf("%s, device %d: got %q, want %q", country, d.ID, value, want)
			}
			return err
		}
		for range 3 {
			if err := visit(usual, testdata.HomeCountries[v.random.IntN(len(testdata.HomeCountries))]); err != nil {
				return err
			}
			if india.Load() {
				if err := visit(cold, testdata.ColdCountry); err != nil {
					return err
				}
			}
		}
		return nil
	})

	figures := table{head: slices.Concat([]string{"phase", "gets", "gets/s", "hit ratio %", "India's %"}, latencyHead,
		[]string{"distinct keys", "statements", "array lengths", "mean", "items", "data", "keys per datum"})}
	lastCalls, lastAsked, lastDistinct := 0, 0, 0
	phase := func(name string, over func(now tally) bool) {
		t.Helper()
		eventually(t, name, func() bool { return people.failed.Load() || over(people.now()) })
		if people.failed.Load() {
			t.FailNow()
		}
		tl := people.next()
		seconds := time.Since(tl.from).Seconds()
		mu.Lock()
		distinct := len(asked)
		mu.Unlock()
		var both ratio
		both.add(tl.ratios[usual])
		both.add(tl.ratios[cold])
		items, data := c.route("items"), c.stat("fish", "data")
		calls, lengths := c.route("batches"), c.route("asked")
		cells := []any{name, both.gets, int(float64(both.gets) / seconds), both, tl.ratios[cold]}
		cells = append(cells, latencies(c, &tl)...)
		mean := float64(lengths-lastAsked) / float64(max(1, calls-lastCalls))
		figures.row(append(cells, distinct-lastDistinct, calls-lastCalls, lengths-lastAsked, mean,
			items, data, float64(items)/float64(max(1, data)))...)
		lastCalls, lastAsked, lastDistinct = calls, lengths, distinct
	}
	phase("cold start", func(tally) bool { return people.lately(usual).percent() > 95 })
	phase("steady", func(now tally) bool { return now.gets() >= longer(20_000) })
	india.Store(true)
	phase("India comes", func(tally) bool { return people.lately(cold).percent() > 95 })
	phase("India is at home", func(now tally) bool { return now.gets() >= longer(20_000) })
	people.halt()
	eventually(t, "everything asked is loaded", func() bool { return c.route("loaded") == len(asked) })
	calls, rows := db.questions()
	got := map[string]int{"asked": c.route("asked"), "rows": c.route("rows"), "items": c.route("items"), "rows in Postgres": rows}
	for name, n := range got {
		if n != len(asked) {
			t.Errorf("%s: got %d, want %d, one for each distinct key", name, n, len(asked))
		}
	}
	if n := c.route("batches"); n != calls {
		t.Errorf("Postgres counts %d statements, the server %d", calls, n)
	}
	items, data := c.stat("", "curr_items"), c.stat("fish", "data")
	if items < 10*data {
		t.Errorf("%d keys for %d data, want more than 10 keys per datum", items, data)
	}
	for _, name := range []string{"absent", "failed", "killed", "retried", "dropped_ring", "dropped_queue_full", "dropped_lease_table"} {
		if n := c.route(name); n != 0 {
			t.Errorf("%s: got %d, want 0", name, n)
		}
	}
	seconds := table{head: []string{"second", "gets", "hit ratio %", "India's gets", "hit ratio %"}}
	all := people.perSecond()
	for i, s := range all[:len(all)-1] { // the last one was cut short
		seconds.row(i+1, s[usual].gets, s[usual], s[cold].gets, s[cold])
	}
	record(t, "India comes", fmt.Sprintf("%d visitors on a connection each ask keys of %d home countries, devices drawn by their share of traffic, "+
		"parts in random order; then each asks as many of a new country besides. %d statements brought %d rows for %d distinct keys.",
		len(people.visitors), len(testdata.HomeCountries), calls, rows, len(asked)), &figures, &seconds)
}
