package main

import (
	"compress/gzip"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// traceDir writes a trace whose objects' popularity falls as 1/rank.
func traceDir(t *testing.T, name string, objects, requests int) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, name+".txt.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	draw := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, uint64(objects-1))
	for range requests {
		fmt.Fprintln(z, draw.Uint64())
	}
	for id := range objects {
		fmt.Fprintln(z, id)
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cells returns the cells of the report's first row that begins so.
func cells(t *testing.T, r *report, begin string) []string {
	t.Helper()
	for line := range strings.Lines(r.String()) {
		if strings.HasPrefix(line, begin) {
			var found []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|\n"), "|") {
				found = append(found, strings.Trim(cell, " *"))
			}
			return found
		}
	}
	t.Fatalf("no row %q in\n%s", begin, r)
	return nil
}

func number(t *testing.T, s string) (x float64) {
	t.Helper()
	if _, err := fmt.Sscan(s, &x); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return x
}

func TestEqualReport(t *testing.T) {
	o := options{traces: traceDir(t, "small", 5000, 20_000), runs: 2, seed: 1, shares: "0.002,0.2"}
	r := newReport(time.Minute)
	if err := equal(&o, r); err != nil {
		t.Fatal(err)
	}
	row := cells(t, r, "| small |")
	if row[1] != "20 %" || len(row) != 12 { // 0.2 % are 10 objects: too few
		t.Errorf("row %q", row)
	}
	ours, seg, ratio := number(t, row[5]), number(t, row[6]), number(t, row[7])
	if number(t, row[4]) != 0.2 || ours < 0.2 || seg > 0.9 || ratio < 0.7 || ratio > 1 || ratio < ours/seg-0.001 || ratio > ours/seg+0.001 {
		t.Errorf("row %q", row)
	}
	if want := fmt.Sprintf("**ours: geometric mean %.3f, worst %.3f**", ratio, ratio); !strings.Contains(r.String(), want) {
		t.Errorf("no %q in\n%s", want, r)
	}
}

// TestServersReport compares memcached with itself.
func TestServersReport(t *testing.T) {
	bin := testenv.MemcachedPath(t)
	o := options{traces: traceDir(t, "small", 40_000, 100_000), shares: "0.25", least: 1000, ours: bin, peer: bin, window: 64, size: 100, seed: 1}
	r := newReport(time.Minute)
	if err := servers(&o, r); err != nil {
		t.Fatal(err)
	}
	row := cells(t, r, "| small |")
	if len(row) != 10 || row[2] != "100 B" || row[3] != "2" {
		t.Errorf("row %q", row)
	}
	if ratio := number(t, row[9]); ratio < 0.95 || ratio > 1.05 {
		t.Errorf("memcached misses %.3f of what memcached misses: %q", ratio, row)
	}
	if model := number(t, row[7]) / number(t, row[6]); model < 0.95 || model > 1.05 {
		t.Errorf("the model misses %.3f of what memcached misses: %q", model, row)
	}
}

func TestEachPointTellsWhatIsWrong(t *testing.T) {
	dir := traceDir(t, "small", 100, 100)
	for _, tc := range []struct {
		name string
		o    options
		want string
	}{
		{"no directory", options{}, "SWORDFISH_TRACES"},
		{"no such trace", options{traces: dir, only: "large"}, `"large"`},
		{"shares", options{traces: dir, shares: "0.1,x"}, "shares"},
		{"a share of nothing", options{traces: dir, shares: "0"}, "shares"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.o.eachPoint(newReport(time.Minute), "0.5", 1, func(*point) error { return nil })
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %s", err, tc.want)
			}
		})
	}
	o := options{traces: dir}
	if err := o.eachPoint(newReport(-time.Second), "0.5", 1, func(*point) error { return nil }); !errors.Is(err, errLimit) {
		t.Errorf("no time: %v", err)
	}
}

func TestRatios(t *testing.T) {
	for _, tc := range []struct {
		r    ratios
		want string
	}{
		{nil, "no points"},
		{ratios{0.5, 2}, "geometric mean 1.000, worst 2.000"},
		{ratios{0.8, 0.8}, "geometric mean 0.800, worst 0.800"},
	} {
		if got := tc.r.String(); got != tc.want {
			t.Errorf("%v: %q, want %q", []float64(tc.r), got, tc.want)
		}
	}
}
