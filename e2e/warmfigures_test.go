//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// other is a client of the database that asks for one row after the other, a millisecond apart.
type other struct {
	stop chan struct{}
	took chan []time.Duration
}

func otherClient(t *testing.T, dsn string) *other {
	t.Helper()
	pg, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	const sql = "SELECT payload FROM characteristics WHERE country = $1 AND os = $2 AND browser = $3 AND cat = $4"
	if _, err := pg.Prepare(t.Context(), "one", sql, nil); err != nil {
		t.Fatal(err)
	}
	o := &other{make(chan struct{}), make(chan []time.Duration)}
	all := testdata.Characteristics()
	go func() {
		defer pg.Close(context.Background())
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		var took []time.Duration
		for n := 0; ; n++ {
			select {
			case <-o.stop:
				o.took <- took
				return
			case <-tick.C:
			}
			ch := all[n*7919%len(all)]
			begin := time.Now()
			r := pg.ExecPrepared(context.Background(), "one", [][]byte{[]byte(ch.Country), []byte(ch.OS), []byte(ch.Browser), []byte(ch.Category)}, nil, nil).Read()
			if r.Err != nil || len(r.Rows) != 1 {
				t.Errorf("the other client: %v, %d rows", r.Err, len(r.Rows))
			}
			took = append(took, time.Since(begin))
		}
	}()
	return o
}

// end returns how long the statements took, shortest first.
func (o *other) end() []time.Duration {
	close(o.stop)
	return slices.Sorted(slices.Values(<-o.took))
}

func micros(all []time.Duration, quantile float64) float64 {
	return float64(all[min(int(quantile*float64(len(all))), len(all)-1)].Nanoseconds()) / 1e3
}

func meanMicros(all []time.Duration) float64 {
	sum := time.Duration(0)
	for _, d := range all {
		sum += d
	}
	return float64(sum.Nanoseconds()) / 1e3 / float64(len(all))
}

// median of some figures.
func median(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }

// jobSeconds is how long the last warm-up took.
func jobSeconds(t *testing.T, admin string) float64 {
	t.Helper()
	_, body := askAdmin(t, admin, "/api/warm")
	var jobs []struct {
		Seconds float64 `json:"seconds"`
	}
	if err := json.Unmarshal([]byte(body), &jobs); err != nil || len(jobs) == 0 {
		t.Fatalf("%v: %s", err, body)
	}
	return jobs[len(jobs)-1].Seconds
}

// TestE2EWarmFigures measures a warm-up from Postgres beside a COPY of the same rows, what another client of the database notices,
// and copies from memcached and from a peer. Unless figures are kept it has few keys, and shows that the measure works.
func TestE2EWarmFigures(t *testing.T) {
	t.Run("Postgres", warmPostgresFigures)
	t.Run("servers", warmServersFigures)
}

// measured is what the other client noticed for so long.
func measured(t *testing.T, dsn string, wait time.Duration) []time.Duration {
	t.Helper()
	client, began := otherClient(t, dsn), time.Now()
	eventually(t, "the other client is measured alone", func() bool { return time.Since(began) > wait })
	return client.end()
}

func warmPostgresFigures(t *testing.T) {
	psql := tool(t, "apt-get install postgresql-client", "/usr/lib/postgresql/15/bin/psql", "psql")
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	keys, rounds := testdata.KeysQuery, 3
	if !recording() {
		keys, rounds = keys+" WHERE c.country IN ('IN', 'DE')", 1
	}
	n := openSession(t, pg.DSN).number("SELECT count(*) FROM (" + keys + ") k")
	rows := "SELECT k.*, c.payload FROM (" + keys + ") k JOIN characteristics c USING (country, os, browser, cat)"
	conf := config{dsn: pg.DSN, route: []string{"fresh: 1h", fmt.Sprintf("keys: %q", keys)}}.String()

	// warm fills an empty server and returns how long it took.
	warm := func(args ...string) float64 {
		t.Helper()
		s := serve(t, conf, "-m", "1024", "-t", "2", "-o", "admin=0")
		admin := adminOf(t, s)
		runWarm(t, 0, "", append([]string{"--admin=" + admin, "--route=characteristics", "--from=table"}, args...)...)
		if p := lastWarm(t, admin); p.Loaded != n || p.Share != 1 {
			t.Fatalf("%+v, want %d loaded", p, n)
		}
		took := jobSeconds(t, admin)
		s.end(syscall.SIGTERM)
		return took
	}

	figures := table{head: []string{"round", "keys", "COPY s", "rows/s", "warm-up s", "rows/s", "of COPY's rate", "--full-speed s", "rows/s", "of COPY's rate"}}
	beside := table{head: []string{"round", "statements alone", "median us", "mean", "p99", "meanwhile", "median us", "mean", "p99", "alone afterwards", "median us", "mean", "p99"}}
	ratios := table{head: []string{"round", "meanwhile, to alone: medians", "means", "p99", "alone afterwards, to before: medians", "means", "p99"}}
	of := []func([]time.Duration) float64{
		func(all []time.Duration) float64 { return micros(all, 0.5) }, meanMicros, func(all []time.Duration) float64 { return micros(all, 0.99) },
	}
	var rates, full []float64
	noticed, noise := make([][]float64, len(of)), make([][]float64, len(of))
	wait := time.Duration(longer(300)) * time.Millisecond
	for round := range rounds {
		begin := time.Now()
		cmd := exec.Command(psql, pg.DSN, "-X", "-q", "-c", "COPY ("+rows+") TO STDOUT")
		if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), "\n") != n {
			t.Fatalf("psql: %v, %d lines, want %d", err, strings.Count(string(out), "\n"), n)
		}
		copied := time.Since(begin).Seconds()
		atFull := warm("--full-speed")

		before := measured(t, pg.DSN, wait)
		client := otherClient(t, pg.DSN)
		took := warm()
		meanwhile := client.end()
		after := measured(t, pg.DSN, wait)

		figures.row(round+1, n, copied, int(float64(n)/copied), took, int(float64(n)/took), copied/took, atFull, int(float64(n)/atFull), copied/atFull)
		cells, quotients, spread := []any{round + 1}, []any{round + 1}, []any{}
		alone := slices.Sorted(slices.Values(slices.Concat(before, after)))
		for _, all := range [][]time.Duration{before, meanwhile, after} {
			cells = append(cells, len(all))
			for _, f := range of {
				cells = append(cells, f(all))
			}
		}
		for i, f := range of {
			noticed[i] = append(noticed[i], f(meanwhile)/f(alone))
			noise[i] = append(noise[i], f(after)/f(before))
			quotients, spread = append(quotients, noticed[i][round]), append(spread, noise[i][round])
		}
		beside.row(cells...)
		ratios.row(append(quotients, spread...)...)
		rates, full = append(rates, copied/took), append(full, copied/atFull)
	}
	record(t, "Warm-up from PostgreSQL", fmt.Sprintf("%d keys of a route, each a row of a join, through swordfishd warm into an empty server; beside it psql's COPY of the same rows. "+
		"Meanwhile another client reads a row by its key every millisecond, and also before and afterwards, alone: how far these two differ is what the machine does by itself. "+
		"Medians: %.2f of COPY's rate, %.2f at full speed; at the default pace the other client's median statement takes %.2f times as long, its mean %.2f times, its p99 %.2f times; "+
		"alone afterwards, in terms of alone before, %.2f, %.2f and %.2f times.", n, median(rates), median(full),
		median(noticed[0]), median(noticed[1]), median(noticed[2]), median(noise[0]), median(noise[1]), median(noise[2])), &figures, &beside, &ratios)
}

// pipelined sends commands in pieces and reads so many answers of each, a line or a value.
func pipelined(t *testing.T, addr string, n, together int, command func(b *strings.Builder, i int), answer func(i int, head, value string)) {
	t.Helper()
	c := dial(t, addr)
	in := bufio.NewReaderSize(c, 1<<20)
	for at := 0; at < n; at += together {
		var b strings.Builder
		end := min(at+together, n)
		for i := at; i < end; i++ {
			command(&b, i)
		}
		sent := make(chan error, 1)
		c.SetDeadline(time.Now().Add(patience))
		go func() {
			_, err := io.WriteString(c, b.String())
			sent <- err
		}()
		for i := at; i < end; i++ {
			head, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			head = strings.TrimSuffix(head, "\r\n")
			var size int
			value := []byte(nil)
			if _, err := fmt.Sscanf(head, "VA %d", &size); err == nil {
				value = make([]byte, size+2)
				if _, err := io.ReadFull(in, value); err != nil {
					t.Fatal(err)
				}
			}
			answer(i, head, string(value))
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
}

// sameServers wants servers to hold the same under n keys: value, flags, and the moment of the end within a second. Each server tells
// whole seconds by a clock of its own, which is another second.
func sameServers(t *testing.T, got, want string, n int, key func(i int) string) {
	t.Helper()
	type item struct {
		head, value string
		ttl         int
		at          time.Time
	}
	const together = 1000
	read := func(addr string, from, n int) []item {
		items := make([]item, n)
		pipelined(t, addr, n, together, func(b *strings.Builder, i int) { fmt.Fprintf(b, "mg %s s f t v\r\n", key(from+i)) }, func(i int, head, value string) {
			it := item{head, value, 0, time.Now()}
			for f := range strings.FieldsSeq(head) {
				if rest, ok := strings.CutPrefix(f, "t"); ok {
					fmt.Sscan(rest, &it.ttl)
					it.head = strings.Replace(head, " "+f, " t", 1)
				}
			}
			items[i] = it
		})
		return items
	}
	different := 0
	for at := 0; at < n; at += 5 * together {
		count := min(5*together, n-at)
		ours, theirs := read(got, at, count), read(want, at, count)
		for i := range ours {
			a, b := ours[i], theirs[i]
			apart := 0.0
			if a.ttl >= 0 || b.ttl >= 0 {
				apart = float64(a.ttl-b.ttl) + a.at.Sub(b.at).Seconds()
			}
			if a.head != b.head || a.value != b.value || (a.ttl < 0) != (b.ttl < 0) || apart < -2 || apart > 2 || !strings.HasPrefix(b.head, "VA ") {
				if different++; different < 5 {
					t.Errorf("%s: got %q, ttl %d, want %q, ttl %d", key(at+i), a.head, a.ttl, b.head, b.ttl)
				}
			}
		}
	}
	if different > 0 {
		t.Errorf("%d of %d items differ", different, n)
	}
}

func warmServersFigures(t *testing.T) {
	n := 20_000
	if recording() {
		n = 1_000_000
	}
	key := func(i int) string { return fmt.Sprintf("session:%07x", i) }
	from := testenv.Memcached(t, "-m", "1024", "-t", "2")
	pipelined(t, from, n, 5000, func(b *strings.Builder, i int) {
		size := 20 + i%7*30
		if i%1000 == 0 {
			size = 20_000
		}
		ttl := i % 3 * 40_000
		fmt.Fprintf(b, "ms %s %d F%d T%d\r\n%s%0*d\r\n", key(i), size+8, i, ttl, strings.Repeat("v", size), 8, i)
	}, func(i int, head, _ string) {
		if head != "HD" {
			t.Fatalf("%s: %q", key(i), head)
		}
	})
	figures := table{head: []string{"from", "items", "seconds", "items/s", "failed"}}
	warm := func(what, from string) *server {
		s := serve(t, "", "-m", "1024", "-t", "2", "-o", "admin=0")
		admin := adminOf(t, s)
		runWarm(t, 0, "", "--admin="+admin, "--from", what, from)
		p := lastWarm(t, admin)
		if p.Loaded != n || p.Failed != 0 {
			t.Fatalf("from %s: %+v", what, p)
		}
		took := jobSeconds(t, admin)
		figures.row(what, n, took, int(float64(n)/took), p.Failed)
		sameServers(t, s.addr, from, n, key)
		return s
	}
	first := warm("memcached", from)
	warm("peer", first.addr)
	record(t, "Warm-up from memcached and from a peer", "Plain items of 28 to 208 bytes, each thousandth of 20 KB, a third of them without an end; each was compared "+
		"afterwards: value, flags, and the time that is left within a second.", &figures)
}
