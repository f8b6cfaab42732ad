package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"swordfish/server"
	"swordfish/snapshot"
	"swordfish/store"
)

// read asks for JSON.
func read[T any](t *testing.T, w *world, path string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(w.get(path)))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

func TestAPIReads(t *testing.T) {
	w := start(t, nil)
	w.memcached("get user:1 user:2 user:91 plain usr|id=1\r\n", "END")
	for range 3 {
		<-w.puts
	}
	w.memcached("set plain 0 0 1\r\nx\r\nget user:1 user:2 user:91 plain\r\n", "END")
	w.memcached("version\r\n", "VERSION")

	st := read[Stats](t, w, "/api/stats")
	if st.Version != "1.2.3" || st.Gets.Total != 9 || st.Gets.Hits != 3 || st.Gets.Misses != 6 || st.Sets != 1 || st.Items.Held != 3 || st.Items.Negative != 1 ||
		st.Fills.Loaded != 2 || st.Fills.Absent != 1 || st.Memory.Limit != 64<<20 || st.Memory.Used <= 0 || st.Uptime <= 0 || len(st.Passes.Holds) != 5 {
		t.Errorf("stats: %+v", st)
	}
	routes := read[[]Route](t, w, "/api/routes")
	if len(routes) != 1 {
		t.Fatalf("routes: %+v", routes)
	}
	if r := routes[0]; r.Name != "user" || r.State != "on" || r.Items != 2 || r.Negative != 1 || r.Gets != 6 || r.Hits != 2 || r.Misses != 4 || r.Absent != 1 ||
		r.Loaded != 2 || r.NoRow != 1 || r.Asked != 3 || r.Rows != 2 {
		t.Errorf("route: %+v", r)
	}
	if got := read[[]Shape](t, w, "/api/routes/unmatched"); len(got) != 2 || got[0] != (Shape{"plain", 1}) || got[1] != (Shape{"usr|id=*", 1}) {
		t.Errorf("unmatched: %+v", got)
	}
	if q := read[[]Queue](t, w, "/api/queue"); len(q) != 1 || q[0].Route != "user" || len(q[0].Lanes) != 4 || q[0].Lanes[0].Lane != "miss" || q[0].Lanes[0].Came != 3 {
		t.Errorf("queue: %+v", q)
	}
	if s := read[[]Source](t, w, "/api/sources"); len(s) != 1 || s[0].Name != "main" || s[0].State != "up" || !s[0].Reached || s[0].Keys != 3 {
		t.Errorf("sources: %+v", s)
	}
	top := read[server.Top](t, w, "/api/top?n=2")
	if len(top.Keys) != 2 || len(top.Routes) != 2 || top.Routes[0].Route != "user" {
		t.Errorf("top: %+v", top)
	}
	if d := read[server.Dedup](t, w, "/api/dedup"); d.Items != 3 || d.Looked != 3 || len(d.Routes) != 2 {
		t.Errorf("dedup: %+v", d)
	}
}

// The admin port tells what telnet does not: what the query gets.
func TestAPIExplain(t *testing.T) {
	w := start(t, nil)
	w.memcached("get user:7\r\n", "END")
	<-w.puts
	x := read[server.Explanation](t, w, "/api/explain"+query("key", "user:7"))
	if x.State != "fresh" || x.Route != "user" || x.Item == nil || x.Item.Size != 112 || x.Load == nil || x.Load.Query != "SELECT ord, name FROM users" {
		t.Errorf("got %+v", x)
	}
	if x.Load.Last == nil || x.Load.Last.Keys != 1 || x.Load.Last.Result != "a value" {
		t.Errorf("last load: %+v", x.Load.Last)
	}
	if ps := x.Load.Parameters; len(ps) != 2 || ps[0].Name != "@keys" || *ps[0].Value != "user:7" || ps[1].Name != "@id" || *ps[1].Value != "7" {
		t.Errorf("parameters: %+v", ps)
	}
	if x := read[server.Explanation](t, w, "/api/explain"+query("key", "käse&a=<b>")); x.State != "absent" || x.Key != "käse&a=<b>" || x.Load != nil {
		t.Errorf("a plain key: %+v", x)
	}
}

func TestAPIRefusesBadRequests(t *testing.T) {
	w := start(t, nil)
	for _, tt := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", "/api/explain", 400, "key: write the key to look at"},
		{"GET", "/api/explain" + query("key", "a b"), 400, "key: a key has no blank, line end or NUL"},
		{"GET", "/api/explain" + query("key", "a\nb"), 400, "key: a key has no blank, line end or NUL"},
		{"GET", "/api/explain" + query("key", strings.Repeat("k", 251)), 400, "key: a key has at most 250 bytes"},
		{"GET", "/api/top?n=0", 400, "n: write a number from 1 to 100"},
		{"GET", "/api/top?n=x", 400, "n: write a number from 1 to 100"},
		{"POST", "/api/invalidate", 400, "what: write the name of a route, or a key of one"},
		{"POST", "/api/refresh", 400, "key: write the key to look at"},
		{"POST", "/api/route?name=user&state=maybe", 400, "name, state: write the name of a route, and on or off"},
		{"POST", "/api/log_level", 400, "level: write trace, debug, info, warn or error"},
	} {
		a := w.ask(tt.method, tt.path)
		var got struct{ Error string }
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.StatusCode != tt.code || got.Error != tt.want {
			t.Errorf("%s %s: %s %q, %v", tt.method, tt.path, a.Status, a.body, err)
		}
	}
	if got := w.actions(); got != "" {
		t.Errorf("done: %s", got)
	}
	if a := w.ask("GET", "/api/nothing"); a.StatusCode != http.StatusNotFound {
		t.Errorf("got %s", a.Status)
	}
}

// TestAPISnapshot: what a snapshot's writing and loading have come to.
func TestAPISnapshot(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	st := snapshot.Status{
		Options: snapshot.Options{Path: "/s", Every: time.Minute, OnStop: true, Load: true},
		SavedAt: at, Whole: at, Saves: 2, Failed: 1, Took: 1500 * time.Millisecond, Saved: snapshot.Written{Items: 5, Payloads: 1, Bytes: 700},
		LoadedAt: at, Loading: true, LoadTook: time.Second, Loaded: snapshot.Loaded{Bytes: 25, Size: 100, Damaged: 1},
	}
	st.Loaded.Items[store.LoadNewer] = 3
	for name, tt := range map[string]struct {
		st   snapshot.Status
		want []string
	}{
		"off":     {snapshot.Status{}, []string{`"path":""`, `"state":"none","seconds":0`, `"done":0`}},
		"loading": {st, []string{`"every_seconds":60,"on_stop":true,"load":true`, `"state":"done","at":"2023-11-14T22:13:20Z","seconds":1.5,"items":5,"shared_values":1,"bytes":700,"done":2,"failed":1`, `"state":"loading"`, `"part":0.25`, `"newer":3`, `"damaged_places":1`}},
		"failed":  {snapshot.Status{Options: st.Options, SavedAt: at, Error: "no space"}, []string{`"state":"failed"`, `"error":"no space"`}},
		"saving":  {snapshot.Status{Options: st.Options, SavedAt: at, Saving: true}, []string{`"state":"saving"`}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, func(o *Options) { o.Snapshot = func() snapshot.Status { return tt.st } })
			got := w.get("/api/snapshot")
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s is not in %s", want, got)
				}
			}
			if metrics := w.get("/metrics"); name == "loading" && (!strings.Contains(metrics, "swordfish_snapshot_loading 1\n") ||
				!strings.Contains(metrics, `swordfish_snapshot_load_items_total{result="newer"} 3`) || !strings.Contains(metrics, `swordfish_snapshot_saves_total{result="failed"} 1`) ||
				!strings.Contains(metrics, "swordfish_snapshot_last_success_timestamp_seconds 1.7e+09")) {
				t.Errorf("metrics:\n%s", metrics)
			}
		})
	}
}

func TestAPIActs(t *testing.T) {
	w := start(t, nil)
	for _, tt := range []struct{ path, want string }{
		{"/api/invalidate" + query("what", "user"), "invalidate user"},
		{"/api/refresh" + query("key", "user:1"), "refresh user:1"},
		{"/api/route?name=user&state=off", "route user off=true"},
		{"/api/route?name=user&state=on", "route user off=false"},
		{"/api/log_level?level=debug", "log_level debug"},
		{"/api/reload", "reload"},
		{"/api/snapshot", "snapshot"},
	} {
		a := w.ask("POST", tt.path)
		if got := w.actions(); a.StatusCode != http.StatusOK || a.body != "{\"ok\":true}\n" || got != tt.want {
			t.Errorf("%s: %s %q, did %q, want %q", tt.path, a.Status, a.body, got, tt.want)
		}
		w.fail = errRefused
		if a := w.ask("POST", tt.path); a.StatusCode != http.StatusConflict || a.body != "{\"error\":\"no such thing\"}\n" {
			t.Errorf("%s, refused: %s %q", tt.path, a.Status, a.body)
		}
		w.actions()
	}
	resp, err := client.PostForm(w.url+"/api/invalidate", url.Values{"what": {"user:1"}}) // as a form
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := w.actions(); got != "invalidate user:1" {
		t.Errorf("as a form: did %q", got)
	}
	big := strings.NewReader("what=" + strings.Repeat("x", maxBody))
	if resp, err = client.Post(w.url+"/api/invalidate", "application/x-www-form-urlencoded", big); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest || w.actions() != "" {
		t.Errorf("a large body: %s", resp.Status)
	}
}

func TestHealth(t *testing.T) {
	var why []string
	w := start(t, func(o *Options) { o.NotReady = func() []string { return why } })
	if got := w.get("/livez") + w.get("/readyz"); got != "ok\nok\n" {
		t.Errorf("got %q", got)
	}
	why = []string{"source main has not been reached yet", "route user is at 12 %"}
	a := w.ask("GET", "/readyz")
	if a.StatusCode != http.StatusServiceUnavailable || a.body != "not ready: source main has not been reached yet\nnot ready: route user is at 12 %\n" {
		t.Errorf("got %s %q", a.Status, a.body)
	}
	w.get("/livez")
}

// Figures of each second come as events, and those of the last quarter of an hour at once.
func TestLive(t *testing.T) {
	w := start(t, nil)
	resp, err := http.Get(w.url + "/api/live")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("got %s", got)
	}
	events := bufio.NewScanner(resp.Body)
	next := func() map[string]float64 {
		t.Helper()
		for events.Scan() {
			if data, ok := strings.CutPrefix(events.Text(), "data: "); ok {
				var p map[string]float64
				if err := json.Unmarshal([]byte(data), &p); err != nil {
					t.Fatal(err)
				}
				return p
			}
		}
		t.Fatalf("the stream ended: %v", events.Err())
		return nil
	}
	w.memcached("set plain 0 0 1\r\nx\r\nget plain plain plain none\r\n", "END")
	w.memcached("version\r\n", "VERSION")
	var gets, hits float64
	for n := 0; gets == 0; n++ {
		if n == 30 {
			t.Fatal("the gets are in no event")
		}
		p := next()
		gets, hits = p["gets"], p["hits"]
		if gets > 0 && (p["hit_ratio"] != 0.75 || p["items"] != 1 || p["limit_bytes"] != 64<<20 || p["get_p99_ms"] <= 0 || p["time"] < float64(time.Now().Unix()-60)) {
			t.Errorf("got %v", p)
		}
		if len(p) != columns {
			t.Errorf("got %d figures, want %d", len(p), columns)
		}
	}
	if math.Abs(hits/gets-0.75) > 0.001 { // they are rounded
		t.Errorf("%g hits of %g gets a second", hits, gets)
	}
	h := read[map[string][]float64](t, w, "/api/history")
	sum := 0.0
	for _, g := range h["gets"] {
		sum += g
	}
	if len(h) != columns || sum < gets*0.99 {
		t.Errorf("history has %d columns and %g gets", len(h), sum)
	}
}

// The ring of points keeps the newest, in order.
func TestHistoryIsBounded(t *testing.T) {
	w := start(t, nil)
	l := newLive(&w.admin.o)
	at := time.Unix(1_000_000, 0)
	for i := range livePoints + 11 {
		l.look(at.Add(time.Duration(i) * time.Second))
	}
	h := l.history()
	times := h["time"]
	if len(times) != livePoints || times[0] != 1_000_011 || times[livePoints-1] != 1_000_000+livePoints+10 {
		t.Errorf("%d points from %f to %f", len(times), times[0], times[len(times)-1])
	}
	l.look(at) // a clock that was set back makes no point
	if got := l.history()["time"]; got[livePoints-1] != times[livePoints-1] {
		t.Errorf("after the clock was set back: %f", got[livePoints-1])
	}
}

func TestStreamsAreBounded(t *testing.T) {
	w := start(t, nil)
	open := make([]*http.Response, 0, maxStreams)
	for range maxStreams {
		resp, err := http.Get(w.url + "/api/live")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(err, resp.Status)
		}
		open = append(open, resp)
	}
	if a := w.ask("GET", "/api/live"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, fmt.Sprint(maxStreams)) {
		t.Errorf("one more: %s %s", a.Status, a.body)
	}
	for _, resp := range open {
		resp.Body.Close()
	}
}

// Open streams do not hold up the end.
func TestShutdownEndsStreams(t *testing.T) {
	w := start(t, nil)
	resp, err := http.Get(w.url + "/api/live")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	began := time.Now()
	if err := w.admin.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	for in := bufio.NewScanner(resp.Body); in.Scan(); { // to its end
	}
	if _, err := http.Get(w.url + "/livez"); err == nil {
		t.Error("it answers after the end")
	}
}

func TestTakenPort(t *testing.T) {
	w := start(t, nil)
	second := New(Options{Addr: w.admin.Addr().String(), Server: w.server, Store: w.store, Filler: w.filler, Snapshot: w.admin.o.Snapshot})
	if err := second.Start(); !server.AddrInUse(err) {
		t.Errorf("got %v", err)
	}
	if err := second.Shutdown(t.Context()); err != nil || second.Addr() != nil {
		t.Errorf("shutdown of what did not start: %v, %v", err, second.Addr())
	}
}

// One connection more than there is room for waits until another ends.
func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	bounded := limit(l, 1)
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, err := bounded.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error)
	go func() {
		_, err := bounded.Accept()
		accepted <- err
	}()
	select {
	case <-accepted:
		t.Fatal("there was no room")
	case bounded.room <- struct{}{}:
		t.Fatal("room is not counted")
	default:
	}
	first.Close()
	first.Close() // leaves once
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	if n := len(bounded.room); n != 1 {
		t.Errorf("%d connections are counted", n)
	}
}

// A store that cannot be locked any more is told by livez, and costs the one who asks nothing.
func TestLivezTellsOfAStuckStore(t *testing.T) {
	w := start(t, nil)
	l := newLive(&w.admin.o)
	if l.silent() != 0 {
		t.Errorf("before the first look: silent for %v", l.silent())
	}
	l.look(time.Now().Add(-2 * livePatience))
	stuck := &Admin{o: w.admin.o, live: l}
	rec := httptest.NewRecorder()
	stuck.livez(rec, nil)
	if rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), "the store has not answered for 30s") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	l.look(time.Now())
	rec = httptest.NewRecorder()
	stuck.livez(rec, nil)
	if rec.Code != http.StatusOK {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
}
