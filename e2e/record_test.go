//go:build linux

package e2e

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// recording tells whether figures are to be kept: then phases last longer.
func recording() bool { return os.Getenv("E2E_RECORD") != "" }

// longer returns brief, or ten times as much when recording.
func longer(brief int) int {
	if recording() {
		return 10 * brief
	}
	return brief
}

// table is a table of figures.
type table struct {
	head []string
	rows [][]string
}

// row adds a row; numbers with a fraction get two digits.
func (tb *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		if f, ok := c.(float64); ok {
			row[i] = fmt.Sprintf("%.2f", f)
		} else {
			row[i] = fmt.Sprint(c)
		}
	}
	tb.rows = append(tb.rows, row)
}

func (tb *table) String() string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(tb.head)
	b.WriteString("|" + strings.Repeat("---|", len(tb.head)) + "\n")
	for _, r := range tb.rows {
		line(r)
	}
	return b.String()
}

// records is the file that figures are kept in, begun anew by each run.
var records struct {
	sync.Mutex
	begun bool
}

// record logs figures, and keeps them if that is asked for.
func record(t testing.TB, title, text string, tables ...*table) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n", title, text)
	for _, tb := range tables {
		fmt.Fprintf(&b, "\n%s", tb)
	}
	t.Logf("\n%s", b.String())
	if !recording() {
		return
	}
	records.Lock()
	defer records.Unlock()
	mode := os.O_APPEND
	head := ""
	if !records.begun {
		mode = os.O_TRUNC
		head = fmt.Sprintf("# Figures of the end-to-end tests\n\n%s, %d CPUs (%s), %s, race detector: %v. Server, clients and PostgreSQL share the machine.\n"+
			"Server: from epoll_wait's return to the write with the answer. Client: a round trip over loopback, as fast as the machine lets the client run.\n",
			time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), cpu(), runtime.Version(), raceEnabled)
	}
	f, err := os.OpenFile(os.Getenv("E2E_RECORD"), os.O_CREATE|os.O_WRONLY|mode, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(head + "\n" + b.String()); err != nil {
		t.Fatal(err)
	}
	records.begun = true
}

// cpu names the processor.
func cpu() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err.Error()
	}
	_, rest, _ := strings.Cut(string(b), "model name")
	line, _, _ := strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
	return line
}

// latency are the columns on how long answers took.
var latencyHead = []string{"server p50 us", "p99 us", "p99.9 us", "client p50 us", "p99 us", "p99.9 us", "max us"}

// latencies returns the cells for latencyHead: what the server counted since the last call, and the clients' tally. The
// statistics of the server begin anew.
func latencies(c *client, t *tally) []any {
	c.t.Helper()
	fish := c.stats("fish")
	c.want("RESET", "stats reset")
	cells := []any{fish["get_us_p50"], fish["get_us_p99"], fish["get_us_p999"]}
	for _, q := range []float64{50, 99, 99.9} {
		cells = append(cells, t.took.ValueAtQuantile(q))
	}
	return append(cells, t.took.Max())
}
