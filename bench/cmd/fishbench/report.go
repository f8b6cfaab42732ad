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
	Shared bool          `json:"shared_cpus,omitempty"` // servers and client have no CPUs of their own
	Series []series      `json:"series,omitempty"`
	Memory []footprint   `json:"memory,omitempty"`
	Little []little      `json:"little_memory,omitempty"`

	Profiles []profile `json:"profiles,omitempty"`
}

type server struct {
	Name    string   `json:"name"`
	Program string   `json:"program"`
	Version string   `json:"version"`
	Args    []string `json:"args,omitempty"`
	Threads int      `json:"threads"`
	CPUs    []int    `json:"cpus,omitempty"`
	TLS     string   `json:"tls,omitempty"` // what it agreed on with the client
}

func newReport(o *options) report {
	return report{
		Time: time.Now().UTC().Truncate(time.Second), CPU: machine.CPU(), CPUs: runtime.NumCPU(), Kernel: machine.Kernel(),
		Go: runtime.Version(), Commit: machine.Commit(), Command: command(os.Args), Window: o.window,
	}
}

// command is a command line without the directories of this machine.
func command(args []string) string {
	shown := make([]string, len(args))
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			name, value = "", arg
		} else {
			name += "="
		}
		if filepath.IsAbs(value) || strings.HasPrefix(value, ".") && strings.Contains(value, "/") {
			value = filepath.Base(value)
		}
		if shown[i] = name + value; value == "" || strings.ContainsAny(value, " |*$") {
			shown[i] = name + "'" + value + "'"
		}
	}
	return strings.Join(shown, " ")
}

// server notes a server the first time it is started; dir, the run's own directory, is left out of its arguments.
func (r *report) server(s *target.Server, dir string) error {
	for _, known := range r.Servers {
		if known.Name == s.Spec.Name {
			return nil
		}
	}
	secret := ""
	if s.Spec.TLS != nil {
		var err error
		if secret, err = negotiated(s.Addr, s.Spec.TLS); err != nil {
			return fmt.Errorf("%s: %w", s.Spec.Name, err)
		}
	}
	args := make([]string, len(s.Spec.Args))
	for i, arg := range s.Spec.Args {
		args[i] = strings.ReplaceAll(arg, dir+"/", "")
	}
	r.Servers = append(r.Servers, server{
		Name: s.Spec.Name, Program: filepath.Base(s.Spec.Path), Version: s.Version,
		Args: args, Threads: s.Spec.Threads, CPUs: s.Spec.CPUs, TLS: secret,
	})
	return nil
}

// write writes prefix.md and prefix.json, with a peer prefix.svg, and with profiles prefix-profile.md.
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
	if profiles := r.profiles(); profiles != "" {
		if err := os.WriteFile(prefix+"-profile.md", []byte(profiles), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(prefix+".md", []byte(r.markdown()), 0o644)
}

// head writes what ran where.
func (r *report) head(b *strings.Builder) {
	fmt.Fprintf(b, "%s, %d CPUs, Linux %s, %s, commit %s, %s\n\n", r.CPU, r.CPUs, r.Kernel, r.Go, r.Commit, r.Time.Format("2006-01-02"))
	fmt.Fprintf(b, "`%s`\n\n", r.Command)
	for _, s := range r.Servers {
		cpus := "any CPU"
		if len(s.CPUs) > 0 {
			cpus = fmt.Sprintf("CPUs %v", s.CPUs)
		}
		fmt.Fprintf(b, "- %s: %s %s, %d thread(s), %s %s\n", s.Name, s.Program, s.Version, s.Threads, cpus, strings.Join(s.Args, " "))
		if s.TLS != "" {
			fmt.Fprintf(b, "  (%s)\n", s.TLS)
		}
	}
}

func (r *report) markdown() string {
	var b strings.Builder
	r.head(&b)
	if len(r.Series) > 0 {
		b.WriteString("\nServer CPU in microseconds an operation: low is good. Operations a second: high is good. Ratios are ours / the other, pair by pair: minimum, median, maximum, then 95 % of the median.\n")
		if r.Shared {
			b.WriteString("Servers and client share the CPUs, so each waits for the other, and latencies say little.\n\n")
		} else {
			b.WriteString("Disturbed: windows in which server or client waited for its CPU more than a fifth of the time; do not quote latencies of a row with many.\n\n")
		}
		b.WriteString("| load | ours | other | other's | ratio of CPU | 95 % | ops/s ours | other's | ratio of ops/s | 95 % | p99 us ours | other's | p99.9 ours | other's | RSS MB ours | other's | disturbed |\n")
		b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, s := range r.Series {
			disturbed := fmt.Sprintf("%d of %d", s.Disturbed, 2*len(s.Rounds))
			if r.Shared {
				disturbed = "shared"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %.0f | %.0f | %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %s |\n",
				s.Case, spread(s.CPU[0]), s.B, spread(s.CPU[1]), ratio(s.Ratio), s.Ops[0].Median, s.Ops[1].Median, ratio(s.OpsRatio),
				s.P99[0].Median, s.P99[1].Median, s.P999[0].Median, s.P999[1].Median, s.RSS[0].Median, s.RSS[1].Median, disturbed)
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
	if len(r.Little) > 0 {
		b.WriteString("\nServers with little memory: empty, and full of unique 100-byte values after more than twice as many sets as fit.\n\n")
		b.WriteString("| -m | server | empty MB | full MB | items held |\n|---|---|---|---|---|\n")
		for _, f := range r.Little {
			full, held := "", ""
			if f.Full > 0 {
				full, held = fmt.Sprintf("%.1f", float64(f.Full)/(1<<20)), fmt.Sprint(f.Items)
			}
			fmt.Fprintf(&b, "| %d | %s | %.1f | %s | %s |\n", f.Memory, f.Server, float64(f.Empty)/(1<<20), full, held)
		}
	}
	return b.String()
}

// spread is a median with its range.
func spread(s stat.Summary) string {
	return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Min, s.Max)
}

// ratio is two cells: the range with the median, and the interval that holds the median with 95 % confidence.
func ratio(s stat.Summary) string {
	return fmt.Sprintf("%.2f **%.2f** %.2f | %.2f to %.2f", s.Min, s.Median, s.Max, s.Low, s.High)
}
