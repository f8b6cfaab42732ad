package admin

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
)

// everything is each path with its method.
var everything = []struct{ method, path string }{
	{"GET", "/"}, {"GET", "/ui/app.js"}, {"GET", "/metrics"}, {"GET", "/api/stats"}, {"GET", "/api/routes"}, {"GET", "/api/routes/unmatched"},
	{"GET", "/api/queue"}, {"GET", "/api/sources"}, {"GET", "/api/dedup"}, {"GET", "/api/top"}, {"GET", "/api/explain?key=k"}, {"GET", "/api/history"},
	{"GET", "/debug/pprof/"}, {"GET", "/debug/pprof/heap"},
	{"POST", "/api/invalidate?what=user"}, {"POST", "/api/refresh?key=user:1"}, {"POST", "/api/route?name=user&state=off"},
	{"POST", "/api/log_level?level=debug"}, {"POST", "/api/reload"},
}

func withPprof(o *Options) { o.Pprof = true }

// A name that somebody pointed at this machine is not answered, so that a page of theirs cannot read or change anything.
func TestForeignHostIsRefused(t *testing.T) {
	w := start(t, func(o *Options) {
		withPprof(o)
		o.Hosts = []string{"cache-1.example.net"}
	})
	_, port, _ := strings.Cut(w.admin.Addr().String(), ":")
	for _, r := range everything {
		for _, host := range []string{"evil.example", "evil.example:" + port, "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "cache-1.example.net.evil.example"} {
			if a := w.ask(r.method, r.path, "Host: "+host); a.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s as %s: %s", r.method, r.path, host, a.Status)
			}
		}
	}
	if got := w.actions(); got != "" {
		t.Errorf("done: %s", got)
	}
	for _, host := range []string{
		"localhost", "LOCALHOST:" + port, "localhost.:1", "127.0.0.1", "127.0.0.1:" + port, "[::1]:" + port, "[::1]", "10.1.2.3:9696", "cache-1.example.net:9696", "Cache-1.Example.Net",
	} {
		if a := w.ask("GET", "/api/stats", "Host: "+host); a.StatusCode != http.StatusOK {
			t.Errorf("as %s: %s", host, a.Status)
		}
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if a := w.ask("GET", path, "Host: evil.example"); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
	if text := w.get("/metrics"); !strings.Contains(text, `swordfish_admin_requests_refused_total{reason="host"} 114`) {
		t.Errorf("refusals are not counted: %s", text[:min(len(text), 500)])
	}
}

// What a browser sends on behalf of another site's page is refused, reading as well as changing.
func TestForeignOriginIsRefused(t *testing.T) {
	w := start(t, withPprof)
	for _, headers := range [][]string{
		{"Origin: http://evil.example"}, {"Origin: null"}, {"Origin: http://localhost:1"}, {"Origin: http://127.0.0.1"}, {"Origin: file://"},
		{"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}, {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"},
		{"Sec-Fetch-Site: same-origin", "Origin: http://evil.example"}, {"Sec-Fetch-Site: strange"},
	} {
		for _, r := range everything {
			if a := w.ask(r.method, r.path, headers...); a.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s with %v: %s", r.method, r.path, headers, a.Status)
			}
		}
	}
	if got := w.actions(); got != "" {
		t.Errorf("done: %s", got)
	}
	link := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	if a := w.ask("GET", "/", link...); a.StatusCode != http.StatusOK {
		t.Errorf("a link to the dashboard: %s", a.Status)
	}
	for _, path := range []string{"/api/stats", "/debug/pprof/profile", "/metrics"} {
		if a := w.ask("GET", path, link...); a.StatusCode != http.StatusForbidden {
			t.Errorf("a link to %s: %s", path, a.Status)
		}
	}
	if a := w.ask("GET", "/", append(link[:2:2], "Sec-Fetch-Dest: iframe")...); a.StatusCode != http.StatusForbidden {
		t.Errorf("a frame: %s", a.Status)
	}
	for _, headers := range [][]string{{"Origin: " + w.url}, {"Sec-Fetch-Site: same-origin", "Origin: " + w.url}, {"Sec-Fetch-Site: none"}, nil} {
		if a := w.ask("POST", "/api/reload", headers...); a.StatusCode != http.StatusOK {
			t.Errorf("with %v: %s", headers, a.Status)
		}
	}
}

// Nothing is changed by a GET, which a page can cause without being asked for its origin.
func TestChangesArePOST(t *testing.T) {
	w := start(t, nil)
	for _, r := range everything {
		if r.method != "POST" {
			continue
		}
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
			if a := w.ask(method, r.path); a.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s", method, r.path, a.Status)
			}
		}
	}
	if got := w.actions(); got != "" {
		t.Errorf("done: %s", got)
	}
}

// No page may frame the dashboard, none is told who asked, and no script runs but ours.
func TestHeaders(t *testing.T) {
	w := start(t, nil)
	for _, path := range []string{"/", "/ui/app.js", "/api/stats", "/metrics", "/livez", "/nothing"} {
		h := w.ask("GET", path).Header
		for name, want := range map[string]string{
			"Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s lets other sites read it", path)
		}
	}
	for _, banned := range []string{"unsafe", "http", "*"} {
		if strings.Contains(contentPolicy, banned) {
			t.Errorf("the content policy has %q", banned)
		}
	}
}

const testToken = "a-token-of-some-length"

func TestToken(t *testing.T) {
	var log safeBuffer
	w := start(t, func(o *Options) {
		withPprof(o)
		o.Token, o.Logger = testToken, zerolog.New(&log)
	})
	basic := func(user, password string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for _, header := range []string{
		"X-Nothing: x", "Authorization: Bearer " + testToken + "x", "Authorization: Bearer " + testToken[1:], "Authorization: Bearer ", "Authorization: " + testToken,
		"Authorization: bearer" + testToken, basic(testToken, ""), basic("admin", "x"), basic("", ""), "Cookie: token=" + testToken,
	} {
		for _, r := range everything {
			a := w.ask(r.method, r.path, header)
			if a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s %s with %q: %s", r.method, r.path, header, a.Status)
			}
			if strings.Contains(a.body, testToken) {
				t.Errorf("%s %s tells the token", r.method, r.path)
			}
		}
	}
	if got := w.actions(); got != "" {
		t.Errorf("done: %s", got)
	}
	if a := w.ask("GET", "/api/stats?token="+testToken); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("in the query: %s", a.Status)
	}
	for _, header := range []string{"Authorization: Bearer " + testToken, "Authorization: bearer " + testToken, basic("anybody", testToken), basic("", testToken)} {
		for _, r := range everything {
			if a := w.ask(r.method, r.path, header); a.StatusCode != http.StatusOK {
				t.Errorf("%s %s with %q: %s", r.method, r.path, header, a.Status)
			}
		}
		if a := w.ask("GET", "/api/stats", header, "Host: evil.example"); a.StatusCode != http.StatusForbidden {
			t.Errorf("from a foreign name: %s", a.Status)
		}
		if a := w.ask("POST", "/api/reload", header, "Origin: http://evil.example"); a.StatusCode != http.StatusForbidden {
			t.Errorf("from a foreign page: %s", a.Status)
		}
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if a := w.ask("GET", path); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
	if text := log.String(); strings.Contains(text, testToken) || !strings.Contains(text, "a token is needed") {
		t.Errorf("logged %s", text)
	}
}

// safeBuffer is written and read by several.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestPprofIsOff(t *testing.T) {
	w := start(t, nil)
	if a := w.ask("GET", "/debug/pprof/"); a.StatusCode != http.StatusNotFound {
		t.Errorf("without the option: %s", a.Status)
	}
	w = start(t, withPprof)
	if a := w.ask("GET", "/debug/pprof/cmdline"); a.StatusCode != http.StatusNotFound {
		t.Errorf("the command line: %s: %s", a.Status, a.body)
	}
	for path, want := range map[string]int{"heap": 200, "goroutine?debug=1": 200, "profile?seconds=0.01x": 400, "profile?seconds=301": 400, "trace?seconds=-1": 400} {
		if a := w.ask("GET", "/debug/pprof/"+path); a.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, a.Status, want)
		}
	}
}
