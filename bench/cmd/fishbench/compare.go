package main

import (
	"errors"
	"fmt"
	"time"

	"swordfish/bench/load"
	"swordfish/bench/stat"
	"swordfish/bench/target"
)

var errLimit = errors.New("out of time (-limit): the figures are incomplete")

// compare runs every case of the suite: ours against ours, then ours against the peer.
func (b *bench) compare() error {
	all, err := cases(b.options)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.half {
			// The first series has no peer yet: ours against ours runs at the same rate.
			if c.load.Rate = b.peak / 2; c.load.Rate == 0 {
				return fmt.Errorf("%s: it comes behind a case with a peer; -case chose it alone", c.name)
			}
			c.name = fmt.Sprintf("%.0f a second", c.load.Rate)
		}
		// The same program under another name, so that the report can tell them apart.
		again := b.ours
		again.Name = "ours again"
		others := []target.Spec{again}
		if b.peer.Path != "" {
			others = append(others, b.peer)
		}
		if c.alone {
			if err := b.alone(c, others); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			continue
		}
		for _, other := range others {
			rounds := make([][2]figures, b.options.pairs)
			if err := b.together(c, [2]target.Spec{b.ours, other}, rounds); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			b.add(c, other.Name, rounds)
		}
	}
	return nil
}

// add puts what ours and another server gave for a case into the report.
func (b *bench) add(c loadCase, other string, rounds [][2]figures) {
	sr := series{Case: c.name, growth: c.growth, A: b.ours.Name, B: other, Rounds: rounds}
	for _, both := range rounds {
		progress("%-20s %s %6.2f us/op   %s %6.2f us/op   ratio %.3f", c.name, sr.A, both[0].CPU, sr.B, both[1].CPU, both[0].CPU/both[1].CPU)
	}
	sr.summarize()
	b.peak = sr.Ops[1].Median
	b.report.Series = append(b.report.Series, sr)
}

// together runs both servers at once and asks them in turn, a pair of windows a round.
func (b *bench) together(c loadCase, specs [2]target.Spec, rounds [][2]figures) error {
	var pair [2]*target.Server
	stop := func() {
		for i, s := range pair {
			if s != nil {
				s.Stop()
				pair[i] = nil
			}
		}
	}
	defer stop()
	for round := range rounds {
		for i := range 2 {
			which := (i + round) % 2 // who is first changes
			if pair[which] != nil {
				continue
			}
			var err error
			if pair[which], err = b.start(specs[which]); err != nil {
				return err
			}
			if err := fill(pair[which], &c.load, c.filled); err != nil {
				return err
			}
		}
		for i := range 2 {
			which := (i + round) % 2
			if err := b.measure(c, pair[which], &rounds[round][which]); err != nil {
				return err
			}
		}
		if round == len(rounds)-1 && (specs[1].Name == b.peer.Name || b.peer.Path == "") {
			for _, s := range pair {
				if err := b.profile(c, s); err != nil {
					return err
				}
			}
		}
		if b.options.fresh {
			stop()
		}
	}
	return nil
}

// alone runs ours and the others one after the other, because two do not fit into the memory together, and each gives all of
// its windows in a row. What slows the machine for longer than a window does not cancel out.
func (b *bench) alone(c loadCase, others []target.Spec) error {
	var ours []figures
	for i, spec := range append([]target.Spec{b.ours}, others...) {
		windows, err := b.windows(c, spec)
		if err != nil {
			return err
		}
		if i == 0 {
			ours = windows
			continue
		}
		rounds := make([][2]figures, len(ours))
		for round := range rounds {
			rounds[round] = [2]figures{ours[round], windows[round]}
		}
		b.add(c, spec.Name, rounds)
	}
	return nil
}

// windows starts and loads one server and measures as many windows as there are pairs.
func (b *bench) windows(c loadCase, spec target.Spec) ([]figures, error) {
	spec.Memory = max(spec.Memory, 512+c.filled/1000*300/1024) // 300 bytes an item, which is enough for every server
	s, err := b.start(spec)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	if err := fill(s, &c.load, c.filled); err != nil {
		return nil, err
	}
	all := make([]figures, b.options.pairs)
	for i := range all {
		if err := b.measure(c, s, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, b.profile(c, s)
}

// figures of one server in one window. Times are in microseconds.
type figures struct {
	CPU    float64 `json:"server_cpu_us_per_op"`
	Ops    float64 `json:"ops_per_second"`
	Busy   float64 `json:"server_cpu_share"` // of one CPU
	Client float64 `json:"client_cpu_share"`
	Waited float64 `json:"waited_share"` // server or client was ready, but another program had its CPU: the worse of the two
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	P999   float64 `json:"p99.9_us"`
	Max    float64 `json:"max_us"`
	Hits   float64 `json:"hit_ratio"`
	Checks uint64  `json:"values_compared"`
	RSS    int64   `json:"rss_bytes"` // at the window's end
}

// measure runs one window on one server.
func (b *bench) measure(c loadCase, s *target.Server, f *figures) error {
	if time.Now().After(b.deadline) {
		return errLimit
	}
	if err := deserted(s); err != nil {
		return err
	}
	var before, after target.Usage
	var rss int64
	var errBefore, errAfter, errRSS error
	r, err := load.Run(&c.load, s.Addr, b.clientCPU, b.options.warm, b.options.window,
		func() { before, errBefore = s.Usage() },
		func() {
			after, errAfter = s.Usage()
			rss, errRSS = s.RSS()
		})
	if err = errors.Join(err, errBefore, errAfter, errRSS); err == nil {
		*f, err = derive(c, r, after.Sub(before))
		f.RSS = rss
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.Spec.Name, err)
	}
	return nil
}

// derive computes the figures from the counts, and refuses runs that cannot be right.
func derive(c loadCase, r *load.Result, server target.Usage) (figures, error) {
	if r.Operations == 0 {
		return figures{}, errors.New("no operation was finished in the window")
	}
	if !c.misses && r.Misses > 0 {
		return figures{}, fmt.Errorf("%d of %d gets missed although all keys were loaded", r.Misses, r.Misses+r.Hits)
	}
	us := func(percentile float64) float64 { return float64(r.Latency.ValueAtPercentile(percentile)) / 1000 }
	f := figures{
		CPU: float64(server.Ran.Nanoseconds()) / 1000 / float64(r.Operations),
		Ops: float64(r.Operations) / r.Elapsed.Seconds(),
		P50: us(50), P99: us(99), P999: us(99.9), Max: float64(r.Latency.Max()) / 1000,
		Busy:   server.Ran.Seconds() / r.Elapsed.Seconds(),
		Client: r.ClientCPU.Seconds() / r.Elapsed.Seconds(),
		Checks: r.Checked,
		Waited: max(server.Waited, r.ClientWaited).Seconds() / r.Elapsed.Seconds(),
	}
	if gets := r.Hits + r.Misses; gets > 0 {
		f.Hits = float64(r.Hits) / float64(gets)
	}
	return f, nil
}

// series is what one pair of servers gave for one case.
type series struct {
	Case string `json:"case"`
	growth
	A      string       `json:"a"`
	B      string       `json:"b"`
	Rounds [][2]figures `json:"rounds"`

	CPU  [2]stat.Summary `json:"server_cpu_us_per_op"`
	Ops  [2]stat.Summary `json:"ops_per_second"`
	P99  [2]stat.Summary `json:"p99_us"`
	P999 [2]stat.Summary `json:"p99.9_us"`
	RSS  [2]stat.Summary `json:"rss_mb"`
	// Pair by pair, a / b.
	Ratio    stat.Summary `json:"cpu_ratio"`
	OpsRatio stat.Summary `json:"ops_ratio"`

	Disturbed int `json:"disturbed_windows"`
}

// disturbed is the share of waiting from which a window's latencies say more about the machine's other work than about the
// server; waking up alone makes 0.13 on a quiet machine. The server's CPU per operation suffers less.
const disturbed = 0.2

func (s *series) summarize() {
	column := func(side int, of func(figures) float64) []float64 {
		xs := make([]float64, len(s.Rounds))
		for i, r := range s.Rounds {
			xs[i] = of(r[side])
		}
		return xs
	}
	cpu := func(f figures) float64 { return f.CPU }
	ops := func(f figures) float64 { return f.Ops }
	for side := range 2 {
		s.CPU[side] = stat.Of(column(side, cpu))
		s.Ops[side] = stat.Of(column(side, ops))
		s.P99[side] = stat.Of(column(side, func(f figures) float64 { return f.P99 }))
		s.RSS[side] = stat.Of(column(side, func(f figures) float64 { return float64(f.RSS) / (1 << 20) }))
		s.P999[side] = stat.Of(column(side, func(f figures) float64 { return f.P999 }))
	}
	for _, r := range s.Rounds {
		for _, f := range r {
			if f.Waited > disturbed {
				s.Disturbed++
			}
		}
	}
	s.Ratio = stat.Of(stat.Ratios(column(0, cpu), column(1, cpu)))
	s.OpsRatio = stat.Of(stat.Ratios(column(0, ops), column(1, ops)))
}
