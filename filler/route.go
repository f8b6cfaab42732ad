package filler

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/alitto/pond/v2"
)

// PartSpec is a part of a route's key.
type PartSpec struct {
	Name     string
	Int      bool // decimal digits, perhaps with a minus
	Optional bool
}

// Part is the value of a key part. Not Present: an optional part that the key does not have.
type Part struct {
	Value   []byte
	Present bool
}

// Rows says how many rows a key may have.
type Rows uint8

const (
	RowsOne  Rows = iota // the first row counts
	RowsList             // all rows, in the query's order, as a list; not with EncodeRaw
)

// Limits of a route. The zero value of a field means its default, of a rate: no limit.
type Limits struct {
	Batch         int           // keys a query, but for a Bulk
	Window        time.Duration // longest time that a key is held back for company while a slot is free, which only Rate causes
	Concurrency   int           // queries at once
	Rate          float64       // keys asked a second
	Queue         int           // leases queued; of it stale gets 7/8, refresh 3/4 and warm 1/2, so that they never crowd out a miss
	NegativesRate float64       // keys asked a second that nobody holds and that turn out to be absent
}

// Route is a key pattern's query and limits. Only Apply changes it.
//
// In any second at most Limits.Rate + Limits.Concurrency x Limits.Batch keys are asked, whatever their lanes. What is above NegativesRate
// waits, oldest first, while found keys and refills of held items go on; a burst of Concurrency x Batch absent keys is let by, or the
// absent keys of a Bulk.
type Route struct {
	ID       uint16
	Name     string
	Query    string
	Keys     string                                    // the query that enumerates the route's keys; empty: none. For a Lister
	Parts    []PartSpec                                // in the pattern's order
	Split    func(dst []Part, canonical []byte) []Part // appends the parts of a canonical key in that order; values alias the key
	Compose  func(dst []byte, parts []Part) []byte     // appends a key with all those parts, in any spelling. Where Keys is set
	Sources  []string                                  // names of SourceSpecs; the first that has a row answers
	Encode   Encoding
	Flags    uint32 // the client flags, where SetFlags; else they follow from Encode and the value
	SetFlags bool
	Rows     Rows
	Limits   Limits
}

// feed is one of a plan's sources.
type feed struct {
	src     *source
	impl    Source
	timeout time.Duration
	typed   bool                   // impl is a Typer
	params  atomic.Pointer[Params] // nil: not known yet
}

// plan is a Route at work: what one Apply made of it. cfg, feeds and pool never change; the dispatcher owns the rest. A batch
// keeps the plan that it was formed under.
type plan struct {
	cfg   Route
	feeds []*feed
	pool  pond.Pool
	stop  context.CancelFunc // ends pool
	gen   uint8              // tells plans of a route apart; never 0

	inFlight int // batches of this plan
	retired  bool
}

// route is what outlives an Apply. The dispatcher owns the plain fields.
type route struct {
	id    uint16
	off   atomic.Bool
	count counters

	plan    *plan
	removed bool

	lanes    [laneCount]queue
	again    queue   // failed loads whose backoff is over; before all lanes, being the oldest
	split    []queue // halves of batches with a bad key, each to be sent alone
	waiting  []retry // failed loads in their backoff
	bulks    []*Bulk // not sent yet
	queued   int     // leases in all of these
	inFlight int     // batches of all plans
	down     bool    // told to Hooks.SourceDown

	tokens    meter
	negatives bucket
	held      bool   // keys wait for tokens of negatives
	parts     []Part // scratch
	limiter   logLimiter
}

type retry struct {
	due  time.Time
	keys queue
}

func newPlan(cfg Route, specs []SourceSpec, sources map[string]*source) (*plan, error) {
	fail := func(format string, args ...any) (*plan, error) {
		return nil, fmt.Errorf("filler: route %q: %s", cfg.Name, fmt.Sprintf(format, args...))
	}
	if cfg.ID == 0 {
		return fail("id 0 means a key without a route")
	}
	if len(cfg.Parts) > 0 && cfg.Split == nil {
		return fail("it has parts but no function that splits a key")
	}
	if cfg.Rows == RowsList && cfg.Encode == EncodeRaw {
		return fail("rows: list needs encode: json or php, since raw has no lists")
	}
	l := &cfg.Limits
	l.Batch = defaultInt(l.Batch, DefaultBatch)
	l.Concurrency = defaultInt(l.Concurrency, DefaultConcurrency)
	l.Queue = defaultInt(l.Queue, DefaultRouteQueue)
	if l.Window <= 0 {
		l.Window = DefaultWindow
	}
	p := &plan{cfg: cfg}
	for _, name := range cfg.Sources {
		s := sources[name]
		if s == nil {
			return fail("there is no source %q", name)
		}
		if p.uses(s) {
			return fail("it names source %q twice", name)
		}
		spec := specs[slices.IndexFunc(specs, func(spec SourceSpec) bool { return spec.Name == name })]
		_, typed := spec.Source.(Typer)
		p.feeds = append(p.feeds, &feed{src: s, impl: spec.Source, timeout: spec.Timeout, typed: typed})
	}
	if len(p.feeds) == 0 {
		return fail("it names no source")
	}
	return p, nil
}

func (p *plan) uses(s *source) bool {
	return slices.ContainsFunc(p.feeds, func(fd *feed) bool { return fd.src == s })
}

// burst is how many keys can be under way at once.
func (p *plan) burst() int { return p.cfg.Limits.Batch * p.cfg.Limits.Concurrency }

// retire frees the plan's pool when its last batch has ended.
func (p *plan) retire() {
	p.retired = true
	if p.inFlight == 0 {
		p.stop()
	}
}

// setPlan lets the route go on with p. What its rates have spent stays spent.
func (r *route) setPlan(p *plan, now time.Time) {
	if p.gen = 1; r.plan != nil && r.plan.gen < math.MaxUint8 {
		p.gen = r.plan.gen + 1
	}
	r.plan = p
	l, burst := &p.cfg.Limits, float64(p.burst())
	r.tokens.set(l.Rate, min(burst, l.Rate), now)
	// What is in flight has paid and is paid back when a row is found, so the bucket holds that much in any case.
	r.negatives.set(l.NegativesRate, burst, now)
}

// roomFor returns how many leases may be queued, of at most bound, when one of lane l arrives.
func roomFor(bound int, l Lane) int {
	switch l {
	case LaneStale:
		return bound - bound/8
	case LaneRefresh:
		return bound - bound/4
	case LaneWarm:
		return bound - bound/2
	default:
		return bound
	}
}

// refused tells whether all sources of the plan refuse a part of key. scratch is reused and returned.
func (p *plan) refused(scratch []Part, key []byte) ([]Part, bool) {
	for _, fd := range p.feeds {
		var bad bool
		if scratch, bad = fd.refused(scratch, &p.cfg, key); !bad {
			return scratch, false
		}
	}
	return scratch, true
}

// typesKnown tells whether the check of a key against the sources' types is final.
func (p *plan) typesKnown() bool {
	for _, fd := range p.feeds {
		if fd.typed && fd.params.Load() == nil {
			return false
		}
	}
	return len(p.feeds) == 1
}

// refused tells whether the source refuses a part of key. While a Typer's types are unknown nothing is: the load that learns
// them checks again. Without types the whole key has to be text.
func (fd *feed) refused(scratch []Part, cfg *Route, key []byte) ([]Part, bool) {
	p := fd.params.Load()
	switch {
	case p == nil:
		return scratch, !fd.typed && !isText(key)
	case p.Keys && !isText(key):
		return scratch, true
	case cfg.Split == nil:
		return scratch, false
	}
	scratch = cfg.Split(scratch[:0], key)
	for i, part := range scratch {
		if !part.Present {
			continue
		}
		t := ParamText
		if i < len(p.Parts) {
			t = p.Parts[i]
		}
		if !t.accepts(part.Value) {
			return scratch, true
		}
	}
	return scratch, false
}

func (t ParamType) accepts(v []byte) bool {
	switch t {
	case ParamUnused:
		return true
	case ParamInt16:
		return isInt(v, math.MinInt16, math.MaxInt16)
	case ParamInt32:
		return isInt(v, math.MinInt32, math.MaxInt32)
	case ParamInt64:
		return isInt(v, math.MinInt64, math.MaxInt64)
	default:
		return isText(v)
	}
}

func isText(v []byte) bool { return bytes.IndexByte(v, 0) < 0 && utf8.Valid(v) }

func isInt(v []byte, low, high int64) bool {
	if len(v) > 20 {
		return false
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	return err == nil && n >= low && n <= high
}

// ColumnsOf finds the column named ord among a query's result columns and checks that what is left can be encoded: one
// column, or several for json and php. Sources call it when they learn the columns.
func (r *Route) ColumnsOf(names []string) (ord int, err error) {
	ord = -1
	for i, n := range names {
		if n == "ord" {
			if ord >= 0 {
				return 0, fmt.Errorf("filler: route %q: the query returns two columns named ord", r.Name)
			}
			ord = i
		}
	}
	switch {
	case ord < 0:
		return 0, fmt.Errorf("filler: route %q: the query returns no column named ord, which tells the key that a row belongs to", r.Name)
	case len(names) < 2:
		return 0, fmt.Errorf("filler: route %q: the query returns no column beside ord", r.Name)
	case len(names) > 2 && r.Encode == EncodeRaw:
		return 0, fmt.Errorf("filler: route %q: the query returns %d columns beside ord; encode: raw takes one", r.Name, len(names)-1)
	}
	return ord, nil
}
