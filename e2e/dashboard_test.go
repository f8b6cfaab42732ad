//go:build linux

package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// The pictures of the documents: go test ./e2e -run Dashboard -count=1 -v -screenshots=$PWD/docs
var screenshots = flag.String("screenshots", "", "write pictures of the dashboard to this directory, after some minutes of traffic")

// hidden lists what a reader of the page would miss: texts that are wider than their place, or lie beside the page where nothing scrolls.
const hidden = `[...document.querySelectorAll("h1, h2, p, dt, dd, .sub, .legend span, .badge, th, td, button, footer a")].filter(e => {
	const at = e.getBoundingClientRect();
	return at.width > 0 && (e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1 || !e.closest(".table") && (at.left < 0 || at.right > innerWidth + 1));
}).map(e => e.textContent)`

// TestE2EDashboard looks at a whole server in a browser: traffic whose misses PostgreSQL answers, a snapshot that was loaded and one
// that was written, a warm-up that has ended and one under way.
func TestE2EDashboard(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	yaml := config{dsn: pg.DSN, route: []string{"fresh: 1m", "negative: 5s", "keys: " + strconv.Quote(testdata.KeysQuery)}}.String() +
		fmt.Sprintf("snapshot: {path: %s, on_stop: true, load: true}\n", filepath.Join(t.TempDir(), "items"))
	args := []string{"-m", "40", "-t", "2", "-o", "admin=0"}
	var keys strings.Builder
	eachKey([]string{"GB", "US"}, func(key, _ string) { keys.WriteString(key + "\n") })
	n := strings.Count(keys.String(), "\n")
	fromKeys := "from=keys&total=" + strconv.Itoa(n)

	s := serve(t, yaml, args...)
	if err := warmOver(t.Context(), s.admin(), fromKeys, keys.String()); err != nil {
		t.Fatal(err)
	}
	s.end(syscall.SIGTERM)
	s = serve(t, yaml, args...)
	s.loaded()
	people := gather(t, s.addr, 8, 4*time.Millisecond, visitCharacteristics)
	rounds := 1
	if *screenshots != "" {
		rounds = 250
	}
	asked := func(least int) {
		t.Helper()
		eventually(t, "people ask", func() bool { now := people.now(); return people.failed.Load() || now.gets() > least })
	}
	for round := range rounds {
		asked(2000 * round)
	}
	if err := warmOver(t.Context(), s.admin(), fromKeys, keys.String()); err != nil {
		t.Fatal(err)
	}
	under, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = warmOver(under, s.admin(), "from=table&route=characteristics&rate=1000", "") // until it is stopped
	}()
	defer func() {
		stop()
		<-ended
	}()
	dial(t, s.addr).want("OK", "snapshot")
	eventually(t, "the snapshot is written", func() bool { return s.snapshotState().Save.Done == 1 })
	for round := range rounds / 12 {
		asked(2000 * (rounds + round))
	}

	b := testenv.Chromium(t)
	for name, look := range map[string]testenv.Look{
		"light": {Width: 1440, Height: 1580}, "dark": {Width: 1440, Height: 1180, Dark: true}, "phone": {Width: 390, Height: 844, Phone: true},
	} {
		p := b.Open(s.admin()+"/", look)
		p.Until(`document.getElementById("state").textContent === "live" && document.querySelector("#shared td")`)
		cell := func(table string, row, column int) string {
			return fmt.Sprintf(`document.querySelector("#%s tbody tr:nth-child(%d) td:nth-child(%d)")?.textContent`, table, row, column)
		}
		for what, want := range map[string]string{
			cell("warm", 1, 1): "characteristics from table", cell("warm", 1, 2): "running", cell("warm", 1, 5): "464,184",
			cell("warm", 2, 1): "all keys of a list", cell("warm", 2, 2): "done", cell("warm", 2, 3): "100 %", cell("warm", 2, 5): "3,684",
			cell("snapshot", 1, 1): "load", cell("snapshot", 1, 2): "done", cell("snapshot", 1, 4): "3,684",
			cell("snapshot", 2, 1): "save", cell("snapshot", 2, 2): "done",
			cell("routes", 1, 1): "characteristics", cell("routes", 1, 2): "on", cell("sources", 1, 1): "main", cell("sources", 1, 2): "up",
		} {
			p.Until(what + " === " + strconv.Quote(want))
		}
		picture := func(of string) {
			if *screenshots != "" && of == name {
				p.Screenshot(filepath.Join(*screenshots, "dashboard-"+name+".png"), false)
			}
		}
		picture("light")
		picture("phone")
		key := string(testdata.AppendKey(nil, "US", &testdata.Devices()[0]))
		p.Eval(fmt.Sprintf(`document.getElementById("explain-key").value = %q; document.getElementById("explain-form").requestSubmit()`, key), nil)
		p.Until(`document.querySelector("#explain-result .badge")`)
		var missed []string
		if p.Eval(hidden, &missed); len(missed) > 0 {
			t.Errorf("%s: cut off or beside the page: %q", name, missed)
		}
		if got := p.Problems(); len(got) > 0 {
			t.Errorf("%s: problems: %q", name, got)
		}
		p.Eval(`scrollTo(0, document.getElementById("explain").offsetTop - 70)`, nil)
		picture("dark")
	}
}

// warmOver runs a warm-up over HTTP and returns when it has ended.
func warmOver(ctx context.Context, admin, query, keys string) error {
	req, err := http.NewRequestWithContext(ctx, "POST", admin+"/api/warm?"+query, strings.NewReader(keys))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines, err := io.ReadAll(answer.Body)
	if err == nil && !strings.Contains(string(lines), `"state":"done"`) {
		err = fmt.Errorf("%s: %d %s", query, answer.StatusCode, lines)
	}
	return err
}

// visitCharacteristics is a visit to a page: a characteristic, at times of a country that has none, and a session that is kept for a while.
func visitCharacteristics(v *visitor) error {
	country := testdata.HomeCountries[v.random.IntN(len(testdata.HomeCountries))]
	if all := testdata.Countries(); v.random.IntN(10) == 0 {
		country = all[v.random.IntN(len(all))].Code
	}
	device := &testdata.Devices()[int(float64(len(testdata.Devices()))*math.Pow(v.random.Float64(), 6))] // a few are in everybody's hands
	if v.random.IntN(100) == 0 {
		country = "ZZ"
	}
	if _, err := v.ask(usual, string(testdata.AppendShuffledKey(nil, v.random, country, device))); err != nil {
		return err
	}
	if v.random.IntN(20) > 0 {
		return nil
	}
	session := fmt.Sprintf("session:%d", v.random.IntN(5000))
	if value, err := v.ask(cold, session); err != nil || value != nil {
		return err
	}
	if _, err := fmt.Fprintf(v, "set %s 0 30 20\r\n%020d\r\n", session, v.random.Int64()); err != nil {
		return err
	}
	if line, err := v.in.ReadString('\n'); err != nil || line != "STORED\r\n" {
		return fmt.Errorf("set: %q, %w", line, err)
	}
	return nil
}
