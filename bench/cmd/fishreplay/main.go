// Command fishreplay measures what a cache misses: it replays traces of real requests into the store itself, beside models
// of other policies that hold as many objects, and over the protocol into two servers with equal memory. See
// bench/README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"swordfish/bench/load"
)

type options struct {
	mode   string
	traces string
	only   string
	shares string
	least  int
	runs   int
	seed   uint64
	out    string
	limit  time.Duration

	ours, peer string
	window     int
	fresh      bool
	size       int
}

// errLimit ends a run whose time is up.
var errLimit = errors.New("out of time: see -limit")

func main() {
	var o options
	flag.StringVar(&o.mode, "mode", "equal", "equal (the store and models, equal objects), servers (two servers, equal -m), windows (how much pipelining changes) or scan")
	flag.StringVar(&o.traces, "traces", os.Getenv("SWORDFISH_TRACES"), "`directory` with traces, NAME.txt.gz; default $SWORDFISH_TRACES")
	flag.StringVar(&o.only, "trace", "", "only the traces with these `names`, with commas")
	flag.StringVar(&o.shares, "shares", "", "cache sizes as `shares` of a trace's objects; default 0.01,0.1 for equal and 0.1,0.25 for servers")
	flag.IntVar(&o.least, "least", 0, "leave out caches of fewer `objects`; default 500 for equal and 10000 for servers")
	flag.IntVar(&o.runs, "runs", 5, "equal: `replays` of each point, with different seeds and limits one percent apart")
	flag.Uint64Var(&o.seed, "seed", 1, "first seed of the key hash and of random choices")
	flag.StringVar(&o.out, "out", "", "also write the report to this `file`")
	flag.DurationVar(&o.limit, "limit", 40*time.Minute, "give up after this time, with what there is")
	flag.StringVar(&o.ours, "ours", "./swordfishd", "`path` of our server")
	flag.StringVar(&o.peer, "peer", os.Getenv("MEMCACHED_BIN"), "the peer's `path`; default $MEMCACHED_BIN")
	flag.IntVar(&o.window, "window", 64, "servers: `gets` that travel together")
	flag.IntVar(&o.size, "value", 100, "servers: `bytes` of a value; a trace with sizes has its own")
	flag.BoolVar(&o.fresh, "fresh", false, "servers: another value each time a key is set")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "fishreplay: there are no arguments besides flags; see -help")
		os.Exit(64)
	}
	// For what no other bound foresees. Servers die with us.
	time.AfterFunc(o.limit+5*time.Minute, func() {
		fmt.Fprintln(os.Stderr, "fishreplay: stuck: out of time")
		os.Exit(1)
	})
	r := newReport(o.limit)
	var err error
	switch o.mode {
	case "equal":
		err = equal(&o, r)
	case "servers":
		err = servers(&o, r)
	case "windows":
		err = windows(&o, r)
	case "scan":
		err = scan(&o, r)
	default:
		fmt.Fprintf(os.Stderr, "fishreplay: mode %q: want equal, servers, windows or scan\n", o.mode)
		os.Exit(64)
	}
	// What was found before an error is worth printing.
	fmt.Print(r.String())
	if o.out != "" {
		err = errors.Join(err, os.WriteFile(o.out, []byte(r.String()), 0o644))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fishreplay:", err)
		os.Exit(1)
	}
}

// point is a trace with the size of the cache that it is replayed into.
type point struct {
	name    string
	trace   *load.Trace
	share   float64
	cold    int // objects asked for: what any cache misses
	objects int // share of them
}

func (p *point) String() string { return fmt.Sprintf("%s %g %%", p.name, p.share*100) }

// eachPoint calls do for the traces, each at the sizes asked for, as long as there is time. It reads one trace at a time.
func (o *options) eachPoint(r *report, shares string, least int, do func(*point) error) error {
	if o.shares != "" {
		shares = o.shares
	}
	if o.least > 0 {
		least = o.least
	}
	if o.traces == "" {
		return errors.New("no traces: name their directory with -traces or SWORDFISH_TRACES; see bench/README.md")
	}
	files, err := filepath.Glob(filepath.Join(o.traces, "*.txt.gz"))
	if err != nil {
		return err
	}
	known := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt.gz")
		if o.only != "" && !strings.Contains(","+o.only+",", ","+name+",") {
			continue
		}
		known++
		t, err := load.ReadTrace(file)
		if err != nil {
			return err
		}
		cold := 0
		seen := make([]bool, t.Objects)
		for _, id := range t.IDs {
			if !seen[id] {
				seen[id] = true
				cold++
			}
		}
		for s := range strings.SplitSeq(shares, ",") {
			share, err := strconv.ParseFloat(s, 64)
			if err != nil || share <= 0 || share > 1 {
				return fmt.Errorf("shares %q: want numbers above 0 and up to 1, with commas", shares)
			}
			p := &point{name: name, trace: t, share: share, cold: cold, objects: int(share * float64(cold))}
			if p.objects < least {
				continue
			}
			if r.late() {
				return errLimit
			}
			if err := do(p); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
	}
	if known == 0 {
		return fmt.Errorf("no trace %q in %s", o.only, o.traces)
	}
	return nil
}
