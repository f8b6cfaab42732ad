// Command fishbench compares a server with a peer of the same protocol on this machine: it starts both, pinned to CPUs of
// their own, loads them with the same items, and measures them in turn. The first figures are of the server against
// itself, which shows what a difference has to exceed. bench/README.md says what the figures mean.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"swordfish/bench/load"
	"swordfish/bench/target"
)

func main() {
	var o options
	flag.StringVar(&o.ours, "ours", "", "our server's `path`; takes memcached's options (required)")
	flag.StringVar(&o.peer, "peer", os.Getenv("MEMCACHED_BIN"), "the peer's `path`; default $MEMCACHED_BIN; empty: only ours against itself")
	flag.StringVar(&o.oursArgs, "ours-args", "", "more `arguments` for ours")
	flag.StringVar(&o.peerArgs, "peer-args", "", "more `arguments` for the peer")
	flag.StringVar(&o.suite, "suite", "quick", "quick, record, large, threads, tls, grow, memory or one (a load from the flags below)")
	flag.StringVar(&o.only, "case", "", "run only the cases of the suite whose name matches this regular `expression`")
	flag.StringVar(&o.out, "out", "", "also write `PREFIX`.md and PREFIX.json")
	flag.IntVar(&o.pairs, "pairs", 0, "`rounds` of ours and peer in turn; default 5, or 11 for record")
	flag.DurationVar(&o.warm, "warm", 300*time.Millisecond, "how long to ask before counting, each time")
	flag.DurationVar(&o.window, "window", 0, "how long to count; default 1s, or 2s for record")
	flag.DurationVar(&o.limit, "limit", 20*time.Minute, "give up after this time, with what there is")
	flag.BoolVar(&o.fresh, "fresh", false, "start and load the servers anew for every pair")
	flag.StringVar(&o.serverCPU, "server-cpu", "0", "`CPUs` of the servers, as 0,1; empty: any, as in the suite threads")
	flag.StringVar(&o.clientCPU, "client-cpu", "1", "`CPUs` of the client, a thread on each; empty: any, with as many threads as -t")
	flag.IntVar(&o.memory, "m", 1024, "the servers' memory limit in `megabytes`; the suites memory and grow take more")
	flag.BoolVar(&o.plain, "plain", false, "ours without a route")
	flag.IntVar(&o.threads, "t", 0, "the servers' `threads`; default 1, or 2 for threads")
	c := &o.custom
	flag.IntVar(&c.conns, "conns", 50, "one: connections")
	flag.IntVar(&c.pipeline, "pipeline", 1, "one: requests sent together")
	flag.IntVar(&c.multiget, "mget", 1, "one: keys a get")
	flag.Float64Var(&c.sets, "sets", 0, "one: share of requests that are sets, 0 to 1")
	flag.Float64Var(&c.rate, "rate", 0, "one: requests a second at random moments; 0: each connection asks when it has its answer")
	flag.IntVar(&c.keys, "keys", 0, "keys, loaded before; default 1,000,000, or 5,000,000 for memory; grow takes up to 50 times as many")
	flag.IntVar(&c.keySize, "key-size", 24, "one: bytes of a key")
	flag.StringVar(&c.sizes, "value", "100", "one: bytes of a value: 100, 50-500 or 64*5,1024*3")
	flag.IntVar(&c.distinct, "distinct", 0, "one: different values; 0: one per key")
	flag.StringVar(&c.dist, "dist", "uniform", "one: uniform, zipf:0.99 or trace:`FILE`")
	flag.StringVar(&c.protocol, "protocol", "text", "one: text, meta or binary")
	flag.BoolVar(&c.fill, "fill", false, "one: begin empty and set what was missed")
	flag.BoolVar(&c.miss, "miss", false, "one: ask only for keys that are not there")
	flag.BoolVar(&o.profile, "profile", false, "after each case, sample a window of ours and of the peer with perf; with -out also in PREFIX-profile.md")
	flag.StringVar(&o.draw, "draw", "", "measure nothing: print the chart, an SVG, of a recorded JSON `file`")
	flag.Parse()
	o.complete()
	if flag.NArg() > 0 || o.ours == "" && o.draw == "" {
		fmt.Fprintln(os.Stderr, "fishbench: -ours is required, and there are no arguments besides flags; see -help")
		os.Exit(64)
	}
	// Runs are bounded one by one; this is for what was not foreseen. Servers die with us.
	time.AfterFunc(o.limit+2*time.Minute, func() {
		fmt.Fprintln(os.Stderr, "fishbench: stuck: out of time")
		os.Exit(1)
	})
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "fishbench:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	if o.draw != "" {
		return draw(o.draw)
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if o.suite == "memory" {
		err = b.memory()
	} else {
		err = b.compare()
	}
	// What was measured before an error is worth printing.
	fmt.Print(b.report.markdown(), b.report.profiles())
	if o.out != "" {
		if werr := b.report.write(o.out); err == nil {
			err = werr
		}
	}
	return err
}

// bench is one run of the program.
type bench struct {
	options   *options
	ours      target.Spec
	peer      target.Spec // no Path: none
	clientCPU []int       // one a thread; -1: anywhere
	deadline  time.Time
	dir       string  // files for the servers, gone at the end
	peak      float64 // requests a second that the peer answered in the last case
	report    report
}

func newBench(o *options) (*bench, error) {
	if o.profile {
		if err := findPerf(); err != nil {
			return nil, err
		}
	}
	serverCPU, err := parseCPUs(o.serverCPU)
	if err != nil {
		return nil, err
	}
	clientCPU, err := parseCPUs(o.clientCPU)
	if err != nil {
		return nil, err
	}
	if err := target.Bind(clientCPU); err != nil {
		return nil, err
	}
	if len(clientCPU) == 0 {
		clientCPU = slices.Repeat([]int{-1}, o.threads) // threads anywhere
	}
	b := &bench{options: o, clientCPU: clientCPU, deadline: time.Now().Add(o.limit)}
	spec := func(name, path, args string) (target.Spec, error) {
		path, err := exec.LookPath(path)
		if err != nil {
			return target.Spec{}, err
		}
		if path, err = filepath.Abs(path); err != nil {
			return target.Spec{}, err
		}
		return target.Spec{
			Name: name, Path: path, Args: strings.Fields(args), Memory: o.memory, Threads: o.threads, Conns: 10_240, CPUs: serverCPU,
		}, nil
	}
	if b.ours, err = spec("ours", o.ours, o.oursArgs); err != nil {
		return nil, err
	}
	if o.peer != "" {
		if b.peer, err = spec("peer", o.peer, o.peerArgs); err != nil {
			return nil, err
		}
	}
	// 1000 connections need more than the usual 1024 descriptors, here and in the servers, which inherit the limit.
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil && files.Cur < files.Max {
		files.Cur = min(files.Max, 1<<16)
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &files) // too few show as a connection's error
	}
	// The servers' user may be another, who reads this.
	if b.dir, err = os.MkdirTemp("", "fishbench"); err == nil {
		err = os.Chmod(b.dir, 0o755)
	}
	if err == nil && !o.plain {
		file := filepath.Join(b.dir, "route.yaml")
		b.ours.Args = append(b.ours.Args, "--config="+file)
		err = writeRoute(file)
	}
	if err == nil && o.suite == "tls" {
		err = b.encrypt()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.dir))
	}
	b.report = newReport(o)
	b.report.Shared = o.serverCPU == "" || o.clientCPU == ""
	return b, nil
}

func parseCPUs(s string) ([]int, error) {
	var cpus []int
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(f)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("CPUs %q: want numbers with commas, as 0,1", s)
		}
		cpus = append(cpus, n)
	}
	return cpus, nil
}

// start starts a server and notes its version for the report.
func (b *bench) start(spec target.Spec) (*target.Server, error) {
	s, err := target.Start(spec)
	if err != nil {
		return nil, err
	}
	if err := b.report.server(s, b.dir); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// loadWay is load.Fill or load.Demand.
type loadWay func(l *load.Load, addr string, n int, within time.Duration) error

// fill loads the ids 0 to n-1, makes sure that all are held, and waits until the server has come to rest.
func fill(s *target.Server, l *load.Load, n int) error { return fillBy(load.Fill, s, l, n) }

// fillBy is fill where the items come by another way than sets.
func fillBy(way loadWay, s *target.Server, l *load.Load, n int) error {
	if err := way(l, s.Addr, n, 5*time.Minute+time.Duration(n)*10*time.Microsecond); err != nil {
		return fmt.Errorf("%s: %w", s.Spec.Name, err)
	}
	held, err := number(s, "curr_items")
	if err != nil {
		return err
	}
	if held != n {
		return fmt.Errorf("%s holds %d of %d items: give it more memory (-m)", s.Spec.Name, held, n)
	}
	return settle(s)
}

// settle waits until the server has used less than 3 % of a CPU for half a second, at most 20 seconds. After a load
// memcached grows its table and sorts its lists for a while, which a window right after it would count as the gets' cost.
func settle(s *target.Server) error {
	const step = 250 * time.Millisecond
	last, err := s.Usage()
	for quiet, i := 0, 0; err == nil && quiet < 2 && i < 80; i++ {
		time.Sleep(step)
		var now target.Usage
		if now, err = s.Usage(); now.Ran-last.Ran < step*3/100 {
			quiet++
		} else {
			quiet = 0
		}
		last = now
	}
	return err
}

// deserted waits, 20 seconds at most, until the server has closed the connections of the window before: with thousands of them there
// is no room for as many again.
func deserted(s *target.Server) error {
	const few = 16 // this question's, and listeners
	var n int
	for range 400 {
		var err error
		if n, err = number(s, "curr_connections"); err != nil || n <= few {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s keeps %d connections after their end", s.Spec.Name, n)
}

// number is one of the server's statistics.
func number(s *target.Server, name string) (int, error) {
	stats, err := s.Stats()
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(stats[name])
	if err != nil {
		return 0, fmt.Errorf("%s: stats: %s: %w", s.Spec.Name, name, err)
	}
	return n, nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
