package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"swordfish/bench/load"
	"swordfish/bench/target"
)

const (
	// profileRate is samples a second of CPU time: an odd number, so as not to march in step with timers.
	profileRate = 3989
	// profileWindow is the least length of a window that is sampled: some thousand samples.
	profileWindow = 2 * time.Second
	// hottest is how many symbols are told of each server.
	hottest = 25
)

// profile is where a server spent its CPU time in one window of a case.
type profile struct {
	Case    string  `json:"case"`
	Server  string  `json:"server"`
	Samples int     `json:"samples"`
	Kernel  float64 `json:"kernel_share"`
	Symbols []hot   `json:"symbols"` // the hottest first
}

// hot is one function. Share is of all samples, 0 to 1.
type hot struct {
	Share  float64 `json:"share"`
	Object string  `json:"object"` // kernel, or the base name of a program or library
	Symbol string  `json:"symbol"`
}

// findPerf fails with the remedy where perf is not installed.
func findPerf() error {
	if _, err := exec.LookPath("perf"); err != nil {
		return fmt.Errorf("-profile: %w: install it (apt-get install linux-perf on Debian, linux-tools-generic on Ubuntu)", err)
	}
	return nil
}

// profile samples one more window of the case, if that was asked for, and notes where the server spent it. Servers that only
// show the noise are left out.
func (b *bench) profile(c loadCase, s *target.Server) error {
	if !b.options.profile || s.Spec.Name != b.ours.Name && s.Spec.Name != b.peer.Name {
		return nil
	}
	if time.Now().After(b.deadline) {
		return errLimit
	}
	if err := deserted(s); err != nil {
		return err
	}
	window := max(b.options.window, profileWindow)
	file, err := os.CreateTemp("", "fishbench-perf")
	if err != nil {
		return err
	}
	file.Close()
	defer os.Remove(file.Name())

	// It counts only while the server runs, so it may begin late and end late.
	ctx, cancel := context.WithTimeout(context.Background(), window+30*time.Second)
	defer cancel()
	var said bytes.Buffer
	record := exec.CommandContext(ctx, "perf", "record", "-q", "-e", "cpu-clock", "-F", strconv.Itoa(profileRate),
		"-o", file.Name(), "-p", strconv.Itoa(s.Pid()), "--", "sleep", fmt.Sprintf("%.3f", window.Seconds()))
	record.Stdout, record.Stderr = &said, &said
	started := errors.New("the window did not begin")
	_, err = load.Run(&c.load, s.Addr, b.clientCPU, b.options.warm, window, func() { started = record.Start() }, func() {})
	if started == nil {
		started = record.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.Spec.Name, err)
	}
	if started != nil {
		return fmt.Errorf("-profile: perf record: %w\n%sit needs root, or sysctl kernel.perf_event_paranoid=1 and kernel.kptr_restrict=0", started, said.Bytes())
	}
	out, err := exec.CommandContext(ctx, "perf", "report", "-i", file.Name(), "--stdio", "--no-children", "-F", "sample,dso,sym").Output()
	if err != nil {
		return fmt.Errorf("-profile: perf report: %w", err)
	}
	p, err := parsePerf(string(out))
	if err != nil {
		return fmt.Errorf("-profile: %s: %w", s.Spec.Name, err)
	}
	p.Case, p.Server = c.name, s.Spec.Name
	b.report.Profiles = append(b.report.Profiles, p)
	return nil
}

// perfLine is a line of perf's report: samples, object, where it ran (k is the kernel), symbol.
var perfLine = regexp.MustCompile(`^\s*(\d+)\s+(\S+)\s+\[(.)\]\s+(.*\S)\s*$`)

// parsePerf reads the lines that perf report -F sample,dso,sym prints.
func parsePerf(out string) (profile, error) {
	var p profile
	kernel := 0
	counts := map[hot]int{} // Share is zero
	for line := range strings.Lines(out) {
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := perfLine.FindStringSubmatch(line)
		if f == nil {
			return profile{}, fmt.Errorf("perf report: %q: want samples, object and symbol", strings.TrimSpace(line))
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return profile{}, fmt.Errorf("perf report: %q: %w", f[1], err)
		}
		h := hot{Object: f[2][strings.LastIndexByte(f[2], '/')+1:], Symbol: f[4]}
		if f[3] == "k" {
			h.Object = "kernel"
			kernel += n
		}
		if strings.HasPrefix(h.Symbol, "0x") {
			h.Symbol = "(no name)" // an address says nothing elsewhere
		}
		p.Samples += n
		counts[h] += n
	}
	if p.Samples == 0 {
		return profile{}, errors.New("perf took no sample")
	}
	p.Kernel = float64(kernel) / float64(p.Samples)
	for h, n := range counts {
		h.Share = float64(n) / float64(p.Samples)
		p.Symbols = append(p.Symbols, h)
	}
	slices.SortFunc(p.Symbols, func(a, b hot) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), strings.Compare(a.Object+a.Symbol, b.Object+b.Symbol))
	})
	p.Symbols = p.Symbols[:min(hottest, len(p.Symbols))]
	return p, nil
}

// profiles writes, case by case, the kernel's share and the hottest symbols, ours beside the peer's. "" without profiles.
func (r *report) profiles() string {
	if len(r.Profiles) == 0 {
		return ""
	}
	var b strings.Builder
	r.head(&b)
	fmt.Fprintf(&b, "\nShares of the server's CPU time by sampling (perf record -e cpu-clock -F %d, one window a server). Code that runs with interrupts off is charged to where they go on.\n", profileRate)
	for i := 0; i < len(r.Profiles); {
		ours := r.Profiles[i]
		i++
		sides := []profile{ours}
		if i < len(r.Profiles) && r.Profiles[i].Case == ours.Case && r.Profiles[i].Server != ours.Server {
			sides = append(sides, r.Profiles[i])
			i++
		}
		profileTable(&b, sides)
	}
	return b.String()
}

// profileTable writes the profiles of one case beside each other.
func profileTable(b *strings.Builder, sides []profile) {
	fmt.Fprintf(b, "\n## %s\n\n", sides[0].Case)
	rows := 0
	head, line, kernel := "|", "|", "|"
	for _, p := range sides {
		head += fmt.Sprintf(" %s | share |", p.Server)
		line += "---|---|"
		kernel += fmt.Sprintf(" **kernel, of %d samples** | **%.1f %%** |", p.Samples, 100*p.Kernel)
		rows = max(rows, len(p.Symbols))
	}
	fmt.Fprintf(b, "%s\n%s\n%s\n", head, line, kernel)
	for i := range rows {
		b.WriteString("|")
		for _, p := range sides {
			if i >= len(p.Symbols) {
				b.WriteString(" | |")
				continue
			}
			h := p.Symbols[i]
			fmt.Fprintf(b, " %s: `%s` | %.1f %% |", h.Object, strings.ReplaceAll(h.Symbol, "|", `\|`), 100*h.Share)
		}
		b.WriteString("\n")
	}
}
