package admin

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"swordfish/internal/testenv"
	"swordfish/snapshot"
	"swordfish/store"
	"swordfish/warm"
)

var screenshots = flag.String("screenshots", "", "directory to write pictures of the dashboard to")

// looks are those that the dashboard is tried in.
var looks = map[string]testenv.Look{
	"light": {Width: 1440, Height: 900},
	"dark":  {Width: 1440, Height: 900, Dark: true},
	"phone": {Width: 390, Height: 844, Phone: true},
}

// grouped writes a number as the page does.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// The dashboard shows the API's figures, asks nobody else, and the browser has nothing to say against it.
func TestDashboard(t *testing.T) {
	w := start(t, nil)
	b := testenv.Chromium(t)
	var keys strings.Builder
	for id := range 1200 {
		fmt.Fprintf(&keys, " user:%d", id+1)
	}
	w.memcached("get"+keys.String()+"\r\n", "END")
	for range 1200 {
		<-w.puts
	}
	w.memcached("get"+keys.String()+" none <b>user</b>\r\nset plain 0 0 1\r\nx\r\nversion\r\n", "VERSION")
	for name, look := range looks {
		t.Run(name, func(t *testing.T) {
			p := b.Open(w.url+"/", look)
			p.Until(`document.getElementById("state").textContent === "live"`)
			st := read[Stats](t, w, "/api/stats")
			route := read[[]Route](t, w, "/api/routes")[0]
			total := func(name string) string {
				return fmt.Sprintf(`[...document.querySelectorAll("#totals div")].find(e => e.firstChild.textContent === %q)?.lastChild.textContent`, name)
			}
			for what, want := range map[string]uint64{
				total("gets"): st.Gets.Total, total("hits"): st.Gets.Hits, total("misses"): st.Gets.Misses, total("sets"): st.Sets,
				total("loaded"): st.Fills.Loaded, total("no row"): st.Fills.Absent, total("loads failed"): st.Fills.Failed,
				total("evicted"): st.Items.Evicted, total("items known to be absent"): uint64(st.Items.Negative),
				`document.getElementById("now-items").textContent`:                   uint64(st.Items.Held),
				`document.getElementById("now-shared").textContent`:                  uint64(st.Shared.Items),
				`document.querySelector("#routes td:nth-child(3)")?.textContent`:     uint64(route.Items),
				`document.querySelector("#routes td:nth-child(4)")?.textContent`:     route.Gets,
				`document.querySelector("#routes td:nth-child(7)")?.textContent`:     route.Loaded,
				`document.querySelector("#routes td:nth-child(8)")?.textContent`:     route.NoRow,
				`document.querySelector("#sources td:nth-child(5)")?.textContent`:    route.Asked,
				`document.querySelectorAll("#top tbody tr").length + ""`:             10,
				`document.querySelectorAll(".plot canvas").length + ""`:              8,
				`(document.documentElement.scrollWidth <= innerWidth) ? "1" : "0"`:   1,
				`document.querySelectorAll("#now-used, #version").length + ""`:       2,
				`document.querySelectorAll("#top button.key b, #top b").length + ""`: 0, // a key is text
			} {
				p.Until(what + " === " + strconv.Quote(grouped(want)))
			}
			if st.Gets.Total != 2402 || st.Items.Held < 1090 {
				t.Errorf("stats: %+v", st)
			}
			if got := p.Text("#version"); got != "1.2.3" {
				t.Errorf("version %q", got)
			}
			p.Eval(`document.getElementById("explain-key").value = "user:7"; document.getElementById("explain-form").requestSubmit()`, nil)
			p.Until(`document.querySelector("#explain-result .badge")?.textContent === "fresh"`)
			for _, want := range []string{"A GET gets the value.", "SELECT ord, name FROM users", "@id = 7", "shared by"} {
				if got := p.Text("#explain-result"); !strings.Contains(got, want) {
					t.Errorf("explained without %q: %s", want, got)
				}
			}
			p.Eval(`document.getElementById("explain-key").value = "<img src=x onerror=alert(1)>".replaceAll(" ", "/"); document.getElementById("explain-form").requestSubmit()`, nil)
			p.Until(`document.querySelector("#explain-result .badge")?.textContent === "absent"`)
			p.Eval(`document.querySelector("#windows button").click()`, nil)
			p.Until(`document.querySelector("#windows button").getAttribute("aria-pressed") === "true"`)
			if got := p.Problems(); len(got) > 0 {
				t.Errorf("problems: %q", got)
			}
			for _, address := range p.Requests() {
				if !strings.HasPrefix(address, w.url+"/") {
					t.Errorf("it asks for %s", address)
				}
			}
			if *screenshots != "" {
				p.Screenshot(path.Join(*screenshots, name+".png"), true)
			}
		})
	}
}

// cell is the text of a cell in a table's first rows, counted from 1.
func cell(table string, row, column int) string {
	return fmt.Sprintf(`document.querySelector("#%s tbody tr:nth-child(%d) td:nth-child(%d)")?.textContent`, table, row, column)
}

// The dashboard shows warm-ups and snapshots, the last one first, with the API's figures: one that runs with its progress and the time
// that is left, one that failed with its reason. Where there is none it leaves them out.
func TestDashboardShowsWarmupsAndSnapshots(t *testing.T) {
	var file atomic.Pointer[snapshot.Status]
	file.Store(&snapshot.Status{})
	w := start(t, func(o *Options) { o.Snapshot = func() snapshot.Status { return *file.Load() } })
	b := testenv.Chromium(t)
	go func() { // what the harness tells of every put
		for range w.puts {
		}
	}()
	p := b.Open(w.url+"/", looks["light"])
	p.Until(`document.getElementById("state").textContent === "live" && document.querySelector("#routes td")`)
	p.Until(`document.getElementById("warmups").hidden && document.getElementById("snapshots").hidden`)

	if a := w.ask("POST", "/api/warm?from=memcached&addr=127.0.0.1:1"); !strings.Contains(a.body, `"failed"`) {
		t.Fatalf("a warm-up from nobody: %s", a.body)
	}
	list, keys := io.Pipe()
	defer keys.Close()
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/api/warm?from=keys&total=50000000", list)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if resp, err := http.DefaultClient.Do(req); err == nil {
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
		}
	}()
	for id := range 1200 { // 1000 to 1090 have no row, as the harness has it
		if _, err := fmt.Fprintf(keys, "user:%d\n", id+1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(keys, strings.Repeat("padding\n", 20_000)); err != nil { // what was sent is read a buffer at a time
		t.Fatal(err)
	}
	began := time.Now().Add(-10 * time.Second).Truncate(time.Second)
	st := snapshot.Status{
		Options: snapshot.Options{Path: "/var/lib/items"}, Saving: true, SavedAt: began, Took: 4 * time.Second,
		Saved:   snapshot.Written{Items: 4_000_000, Bytes: 300 << 20},
		Loading: true, LoadedAt: began, LoadTook: 2 * time.Second, Loaded: snapshot.Loaded{Bytes: 100 << 20, Size: 400 << 20, Damaged: 1, Lost: 7},
	}
	st.Loaded.Items[store.Loaded], st.Loaded.Items[store.LoadNewer] = 1_234_567, 1100
	file.Store(&st)

	var jobs []warm.Progress
	for deadline := time.Now().Add(30 * time.Second); ; { // some of it is looked at
		if jobs = read[[]warm.Progress](t, w, "/api/warm"); len(jobs) == 2 && jobs[1].Seen > 10_000 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", jobs)
		}
	}
	for what, want := range map[string]string{
		cell("warm", 1, 1): "all keys of a list", cell("warm", 1, 2): "running", cell("warm", 1, 5): "50,000,000",
		cell("warm", 2, 1): "all keys from memcached 127.0.0.1:1", cell("warm", 2, 2): "failed", cell("warm", 2, 13): jobs[0].Error,
		cell("snapshot", 1, 1): "load", cell("snapshot", 1, 2): "loading", cell("snapshot", 1, 4): "1,234,567", cell("snapshot", 1, 5): "100 MiB",
		cell("snapshot", 1, 6): "25.0 %", cell("snapshot", 1, 7): "617k", cell("snapshot", 1, 8): "6 s", cell("snapshot", 1, 9): "2 s",
		cell("snapshot", 1, 10): "1,100 newer; 1 damaged place, 7 items lost",
		cell("snapshot", 2, 1):  "save", cell("snapshot", 2, 2): "saving", cell("snapshot", 2, 3): strings.Trim(strings.ReplaceAll(began.UTC().Format(time.RFC3339), "T", " "), "Z"),
		cell("snapshot", 2, 4): "4,000,000", cell("snapshot", 2, 5): "300 MiB", cell("snapshot", 2, 7): "1M",
		`document.querySelectorAll("#warm tbody tr").length + ""`: "2",
	} {
		p.Until(what + " === " + strconv.Quote(want))
	}
	p.Until(`/^[0-9]+ (d|h|min|s)/.test(` + cell("warm", 1, 11) + `) && document.querySelector("#warm .meter span")`) // the time that is left
	if *screenshots != "" {
		p.Screenshot(path.Join(*screenshots, "progress.png"), true)
	}
	keys.Close()
	p.Until(cell("warm", 1, 2) + ` === "done" && ` + cell("warm", 1, 11) + ` === "–"`)
	last := read[[]warm.Progress](t, w, "/api/warm")[1]
	for column, want := range map[int]int64{4: last.Seen, 5: last.Total, 6: last.Loaded, 7: last.Present, 8: last.NoRow, 9: last.Failed} {
		p.Until(cell("warm", 1, column) + " === " + strconv.Quote(grouped(uint64(want))))
	}
	file.Store(&snapshot.Status{Options: st.Options, SavedAt: began, Took: 8_250 * time.Microsecond, Error: "no space left on device"})
	p.Until(cell("snapshot", 1, 2) + ` === "failed" && ` + cell("snapshot", 1, 9) + ` === "8.25 ms" && ` + cell("snapshot", 1, 10) + ` === "no space left on device"`)
	if last.Loaded == 0 {
		t.Errorf("%+v", last)
	}
	if got := p.Problems(); len(got) > 0 {
		t.Errorf("problems: %q", got)
	}
}

// When the server goes away the page says so.
func TestDashboardTellsOfLostServer(t *testing.T) {
	w := start(t, nil)
	p := testenv.Chromium(t).Open(w.url+"/", looks["light"])
	p.Until(`document.getElementById("state").textContent === "live"`)
	if err := w.admin.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Until(`document.getElementById("state").textContent.startsWith("no connection") && document.getElementById("dot").classList.contains("lost")`)
}

// Every file is served with its type, and again only when it has changed. What the page names is there.
func TestFilesOfThePage(t *testing.T) {
	w := start(t, nil)
	kinds := map[string]string{".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}
	files, err := fs.ReadDir(ui, "ui")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`"(/ui/[^"]+)"`)
	for _, f := range files {
		at := "/ui/" + f.Name()
		if f.Name() == "index.html" {
			at = "/"
		}
		a := w.ask("GET", at)
		if kind := a.Header.Get("Content-Type"); a.StatusCode != http.StatusOK || !strings.HasPrefix(kind, kinds[path.Ext(f.Name())]) {
			t.Errorf("%s: %s, %s", at, a.Status, kind)
		}
		if again := w.ask("GET", at, "If-None-Match: "+a.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || again.body != "" {
			t.Errorf("%s once more: %s", at, again.Status)
		}
		for _, m := range named.FindAllStringSubmatch(a.body, -1) {
			if _, err := fs.Stat(ui, strings.TrimPrefix(m[1], "/")); err != nil {
				t.Errorf("%s names %s", at, m[1])
			}
		}
		if strings.HasSuffix(f.Name(), ".js") && f.Name() != "uPlot.iife.min.js" && regexp.MustCompile(`(inner|outer)HTML|insertAdjacentHTML|document\.write|eval\(|setAttribute\("(on|style)`).MatchString(a.body) {
			t.Errorf("%s makes elements or code of text", at)
		}
		if f.Name() != "uPlot.iife.min.js" && f.Name() != "uPlot.LICENSE" && f.Name() != "icon.svg" && strings.Contains(a.body, "://") {
			t.Errorf("%s names another server", at)
		}
	}
	if a := w.ask("GET", "/ui/nothing.js"); a.StatusCode != http.StatusNotFound {
		t.Errorf("got %s", a.Status)
	}
	if a := w.ask("GET", "/ui/"); a.StatusCode != http.StatusNotFound {
		t.Errorf("a list of files: %s", a.Status)
	}
}
