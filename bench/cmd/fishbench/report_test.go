package main

import (
	"encoding/json"
	"encoding/xml"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"swordfish/bench/load"
	"swordfish/bench/target"
)

func TestDerive(t *testing.T) {
	latency := hdrhistogram.New(1000, int64(time.Minute), 2)
	latency.RecordValue(int64(100 * time.Microsecond))
	r := &load.Result{Operations: 1000, Hits: 900, Misses: 100, Elapsed: 2 * time.Second, ClientCPU: time.Second, Latency: latency}
	f, err := derive(loadCase{misses: true}, r, target.Usage{Ran: 5 * time.Millisecond, Waited: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if f.CPU != 5 || f.Ops != 500 || f.Hits != 0.9 || f.Client != 0.5 || f.Busy != 0.0025 || f.P99 < 99 || f.P99 > 101 || f.Waited != 0.5 {
		t.Errorf("got %+v", f)
	}
	if _, err := derive(loadCase{}, r, target.Usage{}); err == nil {
		t.Error("misses of loaded keys were accepted")
	}
	if _, err := derive(loadCase{}, &load.Result{}, target.Usage{}); err == nil {
		t.Error("a window without operations was accepted")
	}
}

func TestReport(t *testing.T) {
	s := series{Case: "pipeline 1", A: "ours", B: "peer"}
	for _, cpu := range []float64{4, 5, 6} {
		s.Rounds = append(s.Rounds, [2]figures{{CPU: cpu, Ops: 2000}, {CPU: 2 * cpu, Ops: 1000}})
	}
	s.Rounds[1][0].Waited = 0.3
	s.summarize()
	if s.Disturbed != 1 {
		t.Errorf("got %d disturbed windows, want 1", s.Disturbed)
	}
	r := report{CPU: "a processor", Commit: "abc", Series: []series{s}, Memory: []footprint{{Case: "some", Server: "ours", Items: 10, PerKey: 80.5}}}
	text := r.markdown()
	for _, want := range []string{"a processor", "abc", "| pipeline 1 | 5.00 (4.00-6.00) | peer | 10.00 (8.00-12.00) | 0.50 **0.50** 0.50 | 0.50 to 0.50 | 2000 | 1000 | 2.00 **2.00** 2.00 | 2.00 to 2.00 |", "| 1 of 6 |", "| 10, some | ours | 80.5 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	r.Shared = true
	if shared := r.markdown(); !strings.Contains(shared, "| shared |") || strings.Contains(shared, "of 6") {
		t.Errorf("windows on shared CPUs are called disturbed:\n%s", shared)
	}
	prefix := filepath.Join(t.TempDir(), "r")
	if err := r.write(prefix); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(prefix + ".svg")
	if err != nil || !strings.Contains(string(svg), ">pipeline 1</text>") || !strings.Contains(string(svg), ">0.50</text>") {
		t.Errorf("chart: %v\n%s", err, svg)
	}
	if err := xml.Unmarshal(svg, new(struct{})); err != nil {
		t.Errorf("chart: %v", err)
	}
	b, err := os.ReadFile(prefix + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(b, &back); err != nil || len(back.Series) != 1 || back.Series[0].Rounds[2][1].CPU != 12 {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestCommandNamesNoDirectories(t *testing.T) {
	got := command([]string{"/tmp/x/fishbench", "-ours", "./swordfishd", "-peer=/opt/memcached", "-server-cpu", "", "-case", "a|b", "-out", "bench/results/r"})
	if want := "fishbench -ours swordfishd -peer=memcached -server-cpu '' -case 'a|b' -out bench/results/r"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// A curve goes through every case in the order of its keys, and the drawing is what it is after recording.
func TestCurves(t *testing.T) {
	r := report{}
	for _, n := range []int{50_000_000, 1_000_000, 10_000_000} {
		s := series{Case: count(n) + " keys", growth: growth{"keys", n}, A: "ours", B: "peer"}
		s.Rounds = [][2]figures{{{CPU: float64(n) / 5e6, Ops: 1, RSS: 1 << 30}, {CPU: 2, Ops: 1, RSS: 2 << 30}}}
		s.summarize()
		r.Series = append(r.Series, s)
	}
	svg := r.chart()
	if err := xml.Unmarshal([]byte(svg), new(struct{})); err != nil {
		t.Fatalf("%v\n%s", err, svg)
	}
	for _, want := range []string{">1M</text>", ">50M</text>", "Resident memory, GiB", ">keys</text>", `d="M54.0 250.2 `} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q in\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "connections") || strings.Index(svg, ">1M<") > strings.Index(svg, ">10M<") {
		t.Errorf("got\n%s", svg)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(b, &back); err != nil || back.chart() != svg {
		t.Errorf("%v: drawn from the record\n%s", err, back.chart())
	}
}

func TestTick(t *testing.T) {
	for most, want := range map[float64]float64{0: 1, 0.9: 0.2, 1: 0.2, 4: 1, 5.9: 1, 10: 2, 14.9: 2, 15: 5, 29: 5, 30: 10} {
		if got := tick(most); math.Abs(got-want) > 1e-9 {
			t.Errorf("up to %v: got %v, want %v", most, got, want)
		}
	}
}

func TestCases(t *testing.T) {
	for _, tc := range []struct {
		name, suite, only string
		min               int // 0: refused
	}{
		{"quick", "quick", "", 3},
		{"record", "record", "", 6},
		{"one of them", "record", "1000", 1},
		{"some of them", "record", "^(pipeline 1|mget 100)$", 2},
		{"no expression", "record", "(", 0},
		{"two threads", "threads", "", 4},
		{"encrypted", "tls", "", 4},
		{"growth", "grow", "", 7},
		{"none of them", "quick", "nonsense", 0},
		{"no such suite", "slow", "", 0},
		{"custom", "one", "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := &options{suite: tc.suite, only: tc.only}
			o.custom = custom{conns: 1, pipeline: 1, multiget: 1, keys: 10, keySize: 24, sizes: "100", dist: "zipf:1", protocol: "text"}
			got, err := cases(o)
			if (err == nil) != (tc.min > 0) || len(got) < tc.min {
				t.Fatalf("got %d cases, %v", len(got), err)
			}
			for _, c := range got {
				if err := c.load.Check(); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		})
	}
}
