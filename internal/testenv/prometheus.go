package testenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const prometheusRemedy = "apt-get install prometheus"

// Promtool runs promtool with arguments and an input, and fails the test with what it says if it is not content.
func Promtool(t testing.TB, in io.Reader, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		Missing(t, "promtool", prometheusRemedy)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out.Bytes())
	}
}

// BoardQuery is a query of a Grafana board, with its variables filled in, and the panel that shows it.
type BoardQuery struct{ Panel, Expr string }

// BoardQueries returns the queries of a board. Variables stand for everything there is, and rates are over 10 seconds.
func BoardQueries(t testing.TB, path string) (all []BoardQuery) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	fill := strings.NewReplacer("$__rate_interval", "10s", "$instance", ".*", "$route", ".*")
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s: panel %q asks for nothing", path, p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, BoardQuery{p.Title, fill.Replace(target.Expr)})
		}
	}
	return all
}

// Prometheus starts one that scrapes a target every 500 ms, with a token, and returns its address.
func Prometheus(t testing.TB, target, token string) (addr string) {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		Missing(t, "prometheus", prometheusRemedy)
	}
	dir, err := os.MkdirTemp("", "fish")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 500ms}\nscrape_configs:\n- job_name: swordfish\n  authorization: {credentials: %q}\n"+
		"  static_configs: [{targets: [%q]}]\n", token, target)
	file, log := filepath.Join(dir, "prometheus.yml"), filepath.Join(dir, "log")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	err = retryPort(func(port int) error {
		addr = fmt.Sprintf("127.0.0.1:%d", port)
		p, err := start(exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr), "TERM", dir, log)
		if err != nil {
			return err
		}
		ready := poll(func() bool {
			resp, err := http.Get("http://" + addr + "/-/ready")
			if err == nil {
				resp.Body.Close()
			}
			return !p.running() || err == nil && resp.StatusCode == http.StatusOK
		})
		if !ready || !p.running() {
			p.end(syscall.SIGTERM)
			return fmt.Errorf("testenv: prometheus does not start:\n%s", tail(log))
		}
		t.Cleanup(func() {
			p.end(syscall.SIGTERM)
			os.RemoveAll(dir)
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// Query asks a Prometheus and returns how many series the answer has that are numbers.
func Query(t testing.TB, addr, expr string) (n int) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/api/v1/query?" + url.Values{"query": {expr}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != "" {
		t.Fatalf("%s: %v %s", expr, err, answer.Error)
	}
	for _, r := range answer.Data.Result {
		if r.Value[1] != "NaN" {
			n++
		}
	}
	return n
}
