package admin

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"swordfish/warm"
)

// TestWarmOverHTTP sends a list of keys larger than other requests may be, in pieces, and reads the progress meanwhile.
func TestWarmOverHTTP(t *testing.T) {
	w := start(t, nil)
	go func() { // what the harness tells of every put
		for range w.puts {
		}
	}()
	list, keys := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/api/warm?from=keys&route=&total=3000", list)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan *http.Response)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
		}
		answered <- resp
	}()
	line := "user:10000000000000\n"
	if _, err := io.WriteString(keys, line+strings.Repeat("padding\n", 2*maxBody/8)); err != nil {
		t.Fatal(err)
	}
	resp := <-answered // begins before the list has ended
	defer resp.Body.Close()
	var p warm.Progress
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &p) != nil || p.State != warm.Running || p.Total != 3000 {
		t.Fatalf("%d %s", resp.StatusCode, lines.Text())
	}
	if _, err := io.WriteString(keys, "user:2\nuser:91\n"); err != nil {
		t.Fatal(err)
	}
	keys.Close()
	for lines.Scan() {
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
	}
	if p.State != warm.Done || p.Loaded != 2 || p.NoRow != 1 || p.Passed != int64(2*maxBody/8) {
		t.Errorf("%+v", p)
	}
	var jobs []warm.Progress
	if err := json.Unmarshal([]byte(w.get("/api/warm")), &jobs); err != nil || len(jobs) != 1 || jobs[0].Loaded != 2 {
		t.Errorf("%+v, %v", jobs, err)
	}
}

func TestWarmRefusals(t *testing.T) {
	w := start(t, nil)
	for query, want := range map[string]struct {
		code int
		text string
	}{
		"from=somewhere":            {409, "none of table, keys"},
		"from=keys&route=none":      {409, "there is no route none"},
		"from=table":                {409, "name the route"},
		"from=keys&rate=fast":       {400, "keys a second"},
		"from=keys&pace=fast":       {400, "write full"},
		"from=keys&rate=-1":         {400, "keys a second"},
		"from=keys&rate=NaN":        {400, "keys a second"},
		"from=keys&rate=1e-300":     {400, "0.01 or more"},
		"from=keys&until=0":         {400, "1 to 100"},
		"from=keys&until=95":        {409, "put them into a file"},
		"from=keys&total=many":      {400, "how many keys"},
		"from=log&addr=/etc/shadow": {400, "only the server's own log"},
	} {
		if a := w.ask("POST", "/api/warm?"+query); a.StatusCode != want.code || !strings.Contains(a.body, want.text) {
			t.Errorf("%s: got %d %s, want %d %s", query, a.StatusCode, a.body, want.code, want.text)
		}
	}
	if a := w.ask("POST", "/api/warm?from=keys", "Origin: http://elsewhere"); a.StatusCode != http.StatusForbidden {
		t.Errorf("from another site's page: %d", a.StatusCode)
	}
}
