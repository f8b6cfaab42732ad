package admin

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"swordfish/internal/testenv"
	"swordfish/warm"
)

// family is what is said of a metric, there or in metrics.md.
type family struct {
	kind, unit string
	labels     []string
}

// families reads Prometheus's text.
func families(t *testing.T, text string) map[string]*family {
	t.Helper()
	all := map[string]*family{}
	sample := regexp.MustCompile(`^(\w+)(?:\{(.*)\})? \S+$`)
	name := regexp.MustCompile(`(\w+)="`)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			of, kind, _ := strings.Cut(rest, " ")
			all[of] = &family{kind: kind}
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no metric: %q", line)
		}
		f := all[m[1]]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(m[1], suffix); ok && f == nil {
				f = all[base]
			}
		}
		if f == nil {
			t.Fatalf("%s comes without its type", m[1])
		}
		for _, l := range name.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" && l[1] != "quantile" && !slices.Contains(f.labels, l[1]) {
				f.labels = append(f.labels, l[1])
			}
		}
	}
	for _, f := range all {
		slices.Sort(f.labels)
	}
	return all
}

// described reads metrics.md.
func described(t *testing.T) map[string]*family {
	t.Helper()
	f, err := os.Open("metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]*family{}
	row := regexp.MustCompile("^\\| `(\\w+)` \\| (\\w+) \\| ([^|]+) \\| ([^|]*)\\| [^|]+ \\|$")
	for in := bufio.NewScanner(f); in.Scan(); {
		m := row.FindStringSubmatch(in.Text())
		if m == nil {
			if strings.HasPrefix(in.Text(), "| `") {
				t.Errorf("not a row: %s", in.Text())
			}
			continue
		}
		if all[m[1]] != nil {
			t.Errorf("%s is described twice", m[1])
		}
		d := &family{kind: m[2], unit: m[3]}
		for l := range strings.SplitSeq(strings.TrimSpace(m[4]), ", ") {
			if l != "" {
				d.labels = append(d.labels, l)
			}
		}
		all[m[1]] = d
	}
	return all
}

// Every series is in metrics.md with its type, unit and labels, and nothing else is.
func TestMetricsAreDescribed(t *testing.T) {
	w := start(t, nil)
	if _, err := w.warmer.Run(t.Context(), warm.Spec{From: warm.Keys, List: strings.NewReader("")}, nil); err != nil {
		t.Fatal(err)
	}
	got, want := families(t, w.get("/metrics")), described(t)
	for name, f := range got {
		d := want[name]
		if d == nil {
			t.Errorf("%s is not in metrics.md", name)
			continue
		}
		if f.kind != d.kind || !slices.Equal(f.labels, d.labels) {
			t.Errorf("%s is a %s with labels %v, metrics.md says %s with %v", name, f.kind, f.labels, d.kind, d.labels)
		}
		for _, unit := range []string{"seconds", "bytes"} {
			stem := strings.TrimSuffix(name, "_total")
			if strings.HasSuffix(stem, "_"+unit) != (d.unit == unit) {
				t.Errorf("%s is in %s by metrics.md", name, d.unit)
			}
		}
		if strings.HasSuffix(name, "_total") != (d.kind == "counter") {
			t.Errorf("%s is a %s", name, d.kind)
		}
	}
	for name := range want {
		if got[name] == nil {
			t.Errorf("metrics.md describes %s, which is not there", name)
		}
	}
}

// The figures are those of what happened.
func TestMetricsCount(t *testing.T) {
	w := start(t, nil)
	w.memcached("get user:1 user:2 user:91 plain\r\n", "END")
	for range 3 {
		<-w.puts
	}
	w.memcached("set plain 0 0 1\r\nx\r\nget user:1 user:2 user:91 plain\r\nquit\r\n", "END")
	w.memcached("version\r\n", "VERSION") // the answer before was counted when this one is written
	text := w.get("/metrics")
	for _, want := range []string{
		`swordfish_operations_total{operation="get",result="hit"} 3`,
		`swordfish_operations_total{operation="get",result="miss"} 5`,
		`swordfish_route_gets_total{result="hit",route="user"} 2`,
		`swordfish_route_gets_total{result="miss",route="user"} 3`,
		`swordfish_route_gets_total{result="known_absent",route="user"} 1`,
		`swordfish_route_items{kind="filled",route="user"} 2`,
		`swordfish_route_items{kind="negative",route="user"} 1`,
		`swordfish_route_keys_loaded_total{result="stored",route="user"} 2`,
		`swordfish_route_keys_loaded_total{result="absent",route="user"} 1`,
		`swordfish_route_keys_came_total{lane="miss",route="user"} 3`,
		`swordfish_items 3`,
		`swordfish_get_duration_seconds_count{route="-"} 2`,
		`swordfish_get_duration_seconds_count{route="user"} 0`,
		`swordfish_get_duration_seconds_bucket{route="-",le="+Inf"} 2`,
		`swordfish_source_up{source="main"} 1`,
		`swordfish_build_info{version="1.2.3"} 1`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() {
		t.Log(regexp.MustCompile(`(?m)^(#|go_|process_).*\n`).ReplaceAllString(text, ""))
	}
	if n := strings.Count(text, "swordfish_route_load_duration_seconds_bucket{"); n != 21 {
		t.Errorf("%d classes of load times", n)
	}
}

// Prometheus's own tool finds nothing to say against them.
func TestPromtoolAcceptsMetrics(t *testing.T) {
	w := start(t, nil)
	w.memcached("get user:1 user:91\r\n", "END")
	testenv.Promtool(t, strings.NewReader(w.get("/metrics")), "check", "metrics")
}

func TestScrapesAtOnce(t *testing.T) {
	w := start(t, nil)
	done := make(chan string)
	for range 8 {
		go func() { done <- fmt.Sprint(w.ask("GET", "/metrics").StatusCode) }()
	}
	for range 8 {
		if code := <-done; code != "200" && code != "503" { // at most four at a time
			t.Errorf("got %s", code)
		}
	}
}
