package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"swordfish/bench/machine"
	"swordfish/bench/stat"
	"swordfish/bench/target"
)

// report is everything that a run found out, with what is needed to repeat it.
type report struct {
	Time    time.Time `json:"time"`
	CPU     string    `json:"cpu"`
	CPUs    int       `json:"cpus"`
	Kernel  string    `json:"kernel"`
	Go      string    `json:"go"`
	Commit  string    `json:"commit"` // with + if the work tree differs
	Command string    `json:"command"`
	Servers []server  `json:"servers"`

	Window time.Duration `json:"window_ns"`
	Series []series      `json:"series,omitempty"`
	Memory []footprint   `json:"memory,omitempty"`
}

type server struct {
	Name    string   `json:"name"`
	Program string   `json:"program"`
	Version string   `json:"version"`
	Args    []string `json:"args,omitempty"`
	Threads int      `json:"threads"`
	CPUs    []int    `json:"cpus,omitempty"`
}

func newReport(o *options) report {
	return report{
		Time: time.Now().UTC().Truncate(time.Second), CPU: machine.CPU(), CPUs: runtime.NumCPU(), Kernel: machine.Kernel(),
		Go: runtime.Version(), Commit: machine.Commit(), Command: strings.Join(os.Args, " "), Window: o.window,
	}
}

// server notes a server the first time it is started.
func (r *report) server(s *target.Server) {
	for _, known := range r.Servers {
		if known.Name == s.Spec.Name {
			return
		}
	}
	r.Servers = append(r.Servers, server{
		Name: s.Spec.Name, Program: filepath.Base(s.Spec.Path), Version: s.Version,
		Args: s.Spec.Args, Threads: s.Spec.Threads, CPUs: s.Spec.CPUs,
	})
}

// write writes prefix.md and prefix.json, and with a peer prefix.svg.
func (r *report) write(prefix string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(prefix), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(prefix+".json", append(b, '\n'), 0o644); err != nil {
		return err
	}
	if chart := r.chart(); chart != "" {
		if err := os.WriteFile(prefix+".svg", []byte(chart), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(prefix+".md", []byte(r.markdown()), 0o644)
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d CPUs, Linux %s, %s, commit %s, %s\n\n", r.CPU, r.CPUs, r.Kernel, r.Go, r.Commit, r.Time.Format("2006-01-02"))
	fmt.Fprintf(&b, "`%s`\n\n", r.Command)
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "- %s: %s %s, %d thread(s), CPUs %v %s\n", s.Name, s.Program, s.Version, s.Threads, s.CPUs, strings.Join(s.Args, " "))
	}
	if len(r.Series) > 0 {
		b.WriteString("\nServer CPU in microseconds an operation; ratio is ours / the other, pair by pair. Low is good.\n")
		b.WriteString("Disturbed: windows in which server or client waited for its CPU more than a fifth of the time; their latencies do not count.\n\n")
		b.WriteString("| load | ours | other | other's | ratio: min, median, max | 95 % of the median | ops/s ours | other's | p99 us ours | other's | p99.9 ours | other's | RSS MB ours | other's | disturbed |\n")
		b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, s := range r.Series {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %.2f **%.2f** %.2f | %.2f to %.2f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %d of %d |\n",
				s.Case, spread(s.CPU[0]), s.B, spread(s.CPU[1]), s.Ratio.Min, s.Ratio.Median, s.Ratio.Max, s.Ratio.Low, s.Ratio.High,
				s.Ops[0].Median, s.Ops[1].Median, s.P99[0].Median, s.P99[1].Median, s.P999[0].Median, s.P999[1].Median,
				s.RSS[0].Median, s.RSS[1].Median, s.Disturbed, 2*len(s.Rounds))
		}
	}
	if len(r.Memory) > 0 {
		b.WriteString("\nResident memory with everything loaded, divided by the number of keys (of 40 bytes).\n\n")
		b.WriteString("| items | server | bytes a key | RSS MB | empty MB | loaded in s |\n|---|---|---|---|---|---|\n")
		for _, f := range r.Memory {
			fmt.Fprintf(&b, "| %d, %s | %s | %.1f | %d | %d | %.1f |\n",
				f.Items, f.Case, f.Server, f.PerKey, f.Full>>20, f.Empty>>20, f.Seconds)
		}
	}
	return b.String()
}

// spread is a median with its range.
func spread(s stat.Summary) string {
	return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Min, s.Max)
}
