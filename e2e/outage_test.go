//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// TestE2EDatabaseOutage freezes the database, kills it and brings it back changed. Gets are answered all the time, every key
// that had a value keeps one, what cannot be loaded waits in a bounded queue, and in the end everything is new.
func TestE2EDatabaseOutage(t *testing.T) {
	const (
		known   = 200
		queue   = 64
		expires = 4 * time.Second // fresh and stale: from then on only keep holds a value
	)
	pg := testenv.OwnPostgres(t)
	loadTables(t, pg.DSN)
	s := serve(t, config{
		dsn: pg.DSN, source: "statement_timeout: 300ms",
		route: []string{"fresh: 1s", "stale: 3s", "keep: 1h", "negative: 1s", fmt.Sprintf("limits: {queue: %d}", queue)},
	}.String(), "-t", "2")
	c := dial(t, s.addr)
	var keys []string
	for i := range known {
		keys = append(keys, string(testdata.AppendKey(nil, "US", &testdata.Devices()[i])))
	}
	for i, key := range keys {
		c.get(key)
		if i%32 == 31 || i == known-1 {
			c.routeReaches("loaded", i+1) // the queue is short
		}
	}

	var down atomic.Bool
	var mu sync.Mutex // guards parked
	var parked []string
	people := gather(t, s.addr, 4, 2*time.Millisecond, func(v *visitor) error {
		key := keys[v.random.IntN(known)]
		value, err := v.ask(usual, key)
		if err == nil && value == nil {
			err = fmt.Errorf("%s is lost", key)
		}
		if err != nil || !down.Load() || v.random.IntN(8) > 0 {
			return err
		}
		// Somebody asks for what nobody has asked for.
		key = string(testdata.AppendKey(nil, testdata.ColdCountry, &testdata.Devices()[v.random.IntN(len(testdata.Devices()))]))
		mu.Lock()
		parked = append(parked, key)
		mu.Unlock()
		_, err = v.ask(cold, key)
		return err
	})

	figures := table{head: slices.Concat([]string{"database", "seconds", "gets", "of keys held", "misses of these"}, latencyHead,
		[]string{"stale hits", "statements", "most queued", "dropped"})}
	lastStale, lastBatches, lastDropped := 0, 0, 0
	phase := func(name string, over func(now tally) bool) {
		t.Helper()
		most := 0
		eventually(t, name, func() bool {
			most = max(most, c.route("queued"))
			return people.failed.Load() || over(people.now())
		})
		if people.failed.Load() {
			t.FailNow()
		}
		if most > queue {
			t.Errorf("%s: %d keys were queued, want at most %d", name, most, queue)
		}
		tl := people.next()
		r := tl.ratios[usual]
		cells := append([]any{name, time.Since(tl.from).Seconds(), tl.gets(), r.gets, r.gets - r.hits}, latencies(c, &tl)...)
		stale, batches, dropped := c.route("stale_hits"), c.route("batches"), c.route("dropped_queue_full")
		figures.row(append(cells, stale-lastStale, batches-lastBatches, most, dropped-lastDropped)...)
		lastStale, lastBatches, lastDropped = stale, batches, dropped
	}
	loaded := c.route("loaded")
	phase("healthy", func(now tally) bool { return now.gets() >= longer(3000) && c.route("loaded") > loaded+known })

	pg.Freeze()
	down.Store(true)
	frozen := time.Now()
	phase("frozen", func(now tally) bool {
		return c.route("down") == 1 && time.Since(frozen) > expires+time.Second && now.gets() >= longer(3000)
	})
	pg.Kill()
	phase("dead", func(now tally) bool { return now.gets() >= longer(3000) })
	if c.route("down") != 1 || c.route("queued") == 0 || c.route("dropped_queue_full") == 0 {
		t.Errorf("with a dead database: down is %d, %d keys are queued, %d were dropped; want all above 0",
			c.route("down"), c.route("queued"), c.route("dropped_queue_full"))
	}

	pg.Start()
	down.Store(false)
	pg.Exec(`UPDATE characteristics SET payload = payload || '{"v": 2}'`)
	phase("back", func(now tally) bool {
		for _, key := range keys {
			if value, _, _ := c.get(key); !strings.Contains(value, `"v": 2`) {
				return false
			}
		}
		return now.gets() >= longer(3000) && c.route("queued") == 0 && c.route("down") == 0
	})
	people.halt()
	if len(parked) < queue {
		t.Errorf("only %d cold keys were asked", len(parked))
	}
	for _, key := range parked[:queue] {
		eventually(t, "a key that nobody could load is loaded", func() bool { return c.hits(key) })
	}
	record(t, "Database frozen, killed, back", fmt.Sprintf("%d visitors on a connection each ask %d keys, fresh for 1 s and stale for 3 s, every 2 ms. "+
		"While the database is away, one in nine gets is of a key that is not held; %d of these fit the queue.",
		len(people.visitors), known, queue), &figures)
}
