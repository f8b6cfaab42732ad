package main

import (
	"encoding/json"
	"encoding/xml"
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
	for _, want := range []string{"a processor", "abc", "| pipeline 1 | 5.00 (4.00-6.00) | peer | 10.00 (8.00-12.00) | 0.50 **0.50** 0.50 |", "| 10, some | ours | 80.5 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
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

func TestCases(t *testing.T) {
	for _, tc := range []struct {
		name, suite, only string
		min               int // 0: refused
	}{
		{"quick", "quick", "", 3},
		{"record", "record", "", 6},
		{"one of them", "record", "1000", 1},
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
