package postgres

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// TestRecordFill measures how fast all keys of the demo are filled, in batches and with one key a statement, over a local socket and
// with 1 ms more a round trip, and writes the figures to fill-throughput.md in the directory SWORDFISH_RECORD:
//
//	SWORDFISH_RECORD=/path/to/results go test ./filler/postgres -run TestRecordFill -count=1 -v
//
// It takes about two minutes and wants a machine on which nothing else runs. Without the variable it does nothing.
func TestRecordFill(t *testing.T) {
	dir := os.Getenv("SWORDFISH_RECORD")
	if dir == "" {
		return
	}
	const rounds = 3
	pg := testenv.Postgres(t)
	demo(t, pg)
	pg.Exec("ANALYZE")
	var keys [][]byte
	devices := testdata.Devices()
	for _, c := range testdata.Countries() {
		for i := range devices {
			keys = append(keys, testdata.AppendKey(nil, c.Code, &devices[i]))
		}
	}
	_, far := newRelay(t, pg, time.Millisecond)

	var out strings.Builder
	fmt.Fprintf(&out, "# Fill throughput\n\n%s\n\n`SWORDFISH_RECORD=DIR go test ./filler/postgres -run TestRecordFill -count=1 -v`\n\n", machine(t, pg))
	fmt.Fprintf(&out, `A route of the demo (a join by four parts of the key) is filled from PostgreSQL through the whole fill engine: ring, queue,
batch, query, encoding, put. Both sides have two queries under way at most and the same connections; they differ in `+"`limits.batch`"+`.
In batches, all %d keys are loaded; one key a statement is stopped after 10 s. Medians of %d rounds, taken in turn. Statements are
what pg_stat_statements counted. The far database is the same one behind a relay in this process that holds every answer back for 1 ms.

A bare SELECT 1 takes %v over the socket and %v through the relay (median of 200).

| database | limits.batch | keys | statements | keys a statement | keys/s, by round | median |
|---|---|---|---|---|---|---|
`, len(keys), rounds, roundTrip(t, pg.SocketDSN), roundTrip(t, far))
	type side struct{ rate, perStatement float64 }
	for _, place := range []struct{ name, dsn string }{{"local socket", pg.SocketDSN}, {"1 ms away", far}} {
		var sides [2]side
		var runs [2][]fillRun
		for range rounds {
			runs[0] = append(runs[0], measureFill(t, pg, place.dsn, 256, keys, 5*time.Minute))
			runs[1] = append(runs[1], measureFill(t, pg, place.dsn, 1, keys, 10*time.Second))
		}
		for i, batch := range []int{256, 1} {
			var rates []float64
			var each []string
			keys, statements := 0, 0
			for _, r := range runs[i] {
				rates = append(rates, r.rate())
				each = append(each, fmt.Sprintf("%.0f", r.rate()))
				keys += r.keys
				statements += r.statements
			}
			slices.Sort(rates)
			sides[i] = side{rates[len(rates)/2], float64(keys) / float64(statements)}
			fmt.Fprintf(&out, "| %s | %d | %d | %d | %.1f | %s | **%.0f** |\n", place.name, batch, keys, statements,
				sides[i].perStatement, strings.Join(each, ", "), sides[i].rate)
		}
		faster, fewer := sides[0].rate/sides[1].rate, sides[0].perStatement/sides[1].perStatement
		fmt.Fprintf(&out, "| %s | ratio | | | **%.0f** x fewer statements | | **%.1f** x the keys/s |\n", place.name, fewer, faster)
		least := map[string]float64{"local socket": 5, "1 ms away": 20}[place.name]
		if faster < least || fewer < 10 {
			t.Errorf("%s: %.1f times the keys a second, %.1f times fewer statements, want %.0f and 10", place.name, faster, fewer, least)
		}
	}
	t.Log("\n" + out.String())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "fill-throughput.md"), []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// roundTrip measures the least that a statement can take.
func roundTrip(t *testing.T, dsn string) time.Duration {
	src := source(t, Options{DSNs: []string{dsn}})
	defer src.Close()
	var took []time.Duration
	for range 200 {
		start := time.Now()
		if err := src.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2].Round(10 * time.Microsecond)
}

// machine describes where figures come from.
func machine(t *testing.T, pg *testenv.PG) string {
	cpu := "unknown CPU"
	info, _ := os.ReadFile("/proc/cpuinfo") // not everywhere
	for _, line := range strings.Split(string(info), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	commit := "unknown"
	if out, err := exec.Command("git", "describe", "--always", "--dirty=+", "--exclude=*").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%s, %d CPUs, %s, PostgreSQL %s (fsync off, as always in tests), commit %s, %s", cpu, runtime.NumCPU(), runtime.Version(),
		one(t, pg.DSN, "SELECT current_setting('server_version')"), commit, time.Now().UTC().Format("2006-01-02"))
}

// fillRun is one measurement.
type fillRun struct {
	keys, statements int
	took             time.Duration
}

func (r fillRun) rate() float64 { return float64(r.keys) / r.took.Seconds() }

// measureFill has keys loaded in batches, for at most limit, and counts the statements that the server saw.
func measureFill(t *testing.T, pg *testenv.PG, dsn string, batch int, keys [][]byte, limit time.Duration) fillRun {
	t.Helper()
	src := source(t, Options{DSNs: []string{dsn}, StatementTimeout: 10 * time.Second})
	defer src.Close()
	var ended, stored atomic.Int64
	closed := func(filler.Lease, uint16, []byte) filler.PutStatus { ended.Add(1); return filler.Negative }
	route := demoRoute()
	route.ID, route.Name, route.Sources, route.Limits = 1, "r", []string{"db"}, filler.Limits{Batch: batch}
	f, err := filler.New(filler.Options{
		Sources: []filler.SourceSpec{{Name: "db", Source: src, Timeout: 10 * time.Second, MaxLoads: 4}},
		Routes:  []filler.Route{route},
		Hooks: filler.Hooks{
			Put: func(filler.Lease, uint16, []byte, []byte, uint32) filler.PutStatus {
				stored.Add(1)
				ended.Add(1)
				return filler.Stored
			},
			Absent: closed, Failed: closed,
			End:        func(filler.Lease) bool { ended.Add(1); return true },
			Alive:      func(filler.Lease) bool { return true },
			Sent:       func(filler.Lease, time.Duration) {},
			SourceDown: func(uint16, bool) {},
		},
		Logger: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	pg.Exec("SELECT pg_stat_statements_reset()")
	ring := f.NewRing()
	start := time.Now()
	pushed := 0
	for pushed < len(keys) && time.Since(start) < limit {
		if pushed-int(ended.Load()) > 20*batch+1000 || !ring.Push(1, filler.LaneMiss, filler.Lease{Hash: 1, Serial: uint64(pushed + 1)}, keys[pushed]) {
			ring.Flush()
			time.Sleep(50 * time.Microsecond)
			continue
		}
		if pushed++; pushed%50 == 0 { // as a worker does at the end of a buffer
			ring.Flush()
		}
	}
	ring.Flush()
	for int(ended.Load()) < pushed {
		time.Sleep(50 * time.Microsecond)
	}
	run := fillRun{keys: pushed, took: time.Since(start)}
	if err := f.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if int(stored.Load()) != pushed {
		t.Errorf("%d of %d keys stored", stored.Load(), pushed)
	}
	calls := one(t, pg.DSN, "SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() AND query LIKE '%characteristics%'")
	if _, err := fmt.Sscan(calls, &run.statements); err != nil {
		t.Fatal(err)
	}
	return run
}
