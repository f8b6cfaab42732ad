package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"swordfish/bench/machine"
)

// report is a page of markdown that grows, and tells on standard error how far a run has come.
type report struct {
	page     strings.Builder
	began    time.Time
	deadline time.Time
}

func newReport(limit time.Duration) *report {
	r := &report{began: time.Now(), deadline: time.Now().Add(limit)}
	r.addf("%s\n\n`%s`\n\n", machine.Line(), strings.Join(append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...), " "))
	return r
}

func (r *report) addf(format string, args ...any) { fmt.Fprintf(&r.page, format, args...) }

func (r *report) String() string { return r.page.String() }

// late tells whether the time is up.
func (r *report) late() bool { return time.Now().After(r.deadline) }

func (r *report) progressf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6s  %s\n", time.Since(r.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// ratios are of one policy's misses to another's.
type ratios []float64

// mean is the geometric mean.
func (r ratios) mean() float64 {
	sum := 0.0
	for _, x := range r {
		sum += math.Log(x)
	}
	return math.Exp(sum / float64(len(r)))
}

func (r ratios) String() string {
	if len(r) == 0 {
		return "no points"
	}
	worst := r[0]
	for _, x := range r {
		worst = max(worst, x)
	}
	return fmt.Sprintf("geometric mean %.3f, worst %.3f", r.mean(), worst)
}

// share is n of all as a miss ratio.
func share(n, all int) float64 { return float64(n) / float64(all) }
