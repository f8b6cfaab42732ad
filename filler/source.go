package filler

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Source answers batches.
type Source interface {
	// Load asks for every key of b in one question and hands the rows to b.Row. It keeps nothing of b. It returns soon after
	// ctx ends, and then leaves no connection behind that still waits. Rows handed over before an error do not count.
	// An *Error says what the error means for the batch; any other error is FaultQuery.
	Load(ctx context.Context, b *Batch) error
}

// SourceFunc makes a function a Source.
type SourceFunc func(ctx context.Context, b *Batch) error

// Load calls the function.
func (f SourceFunc) Load(ctx context.Context, b *Batch) error { return f(ctx, b) }

// Pinger is a Source that can be asked whether it is there. Without it a batch is the probe.
type Pinger interface {
	Ping(ctx context.Context) error
}

// Typer is a Source that knows what the parameters of a route's query accept. Keys that they refuse are never asked for.
type Typer interface {
	Params(ctx context.Context, r *Route) (Params, error)
}

// Explainer is a Source that can say what is wrong, or dear, about a route's query on the database as it is. It asks the source,
// changes nothing there, and takes its time: it is for an operator who waits, not for a server.
type Explainer interface {
	// Explain returns what there is to say, mistakes first. An error means that the source could not be asked.
	Explain(ctx context.Context, r *Route) ([]Advice, error)
}

// Advice is a remark on a route's query: what is found and what to do about it.
type Advice struct {
	Level Level
	Text  string
}

// Level says how bad it is.
type Level uint8

const (
	Mistake Level = iota // keys fail, or get what is not theirs
	Warning              // it works, at a price
	Note
)

var levelNames = [...]string{"mistake", "warning", "note"}

func (l Level) String() string { return levelNames[l] }

// ParamType is what the parameter of a key part accepts. An absent part is NULL and always accepted.
type ParamType uint8

const (
	ParamText   ParamType = iota // valid UTF-8 without NUL
	ParamUnused                  // the query does not use this part
	ParamInt16
	ParamInt32
	ParamInt64
)

// Params says what a route's query accepts. The zero value takes every part as text.
type Params struct {
	Parts []ParamType // in the order of Route.Parts
	Keys  bool        // the query uses whole keys (@keys), as text
}

// Fault is what an error means for the keys of the batch.
type Fault uint8

const (
	FaultQuery     Fault = iota // the query is wrong or was too slow: the keys fail
	FaultData                   // one of the keys is refused: the batch is halved until it is alone
	FaultTransient              // the same question may succeed a moment later
	FaultDown                   // the source cannot be reached: as transient, and its breaker counts it
)

// Error is an error of a Source with its meaning.
type Error struct {
	Fault Fault
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// faultOf classifies an error. A load that had to be cut off is a source that cannot be reached: a frozen server honours no
// statement timeout.
func faultOf(err error) Fault {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Fault
	case errors.Is(err, context.DeadlineExceeded):
		return FaultDown
	default:
		return FaultQuery
	}
}

// Breaker: after breakerFailures in a row a source counts as down. It is probed after probeFirst, then at doubling distances
// up to probeMost. A probe is one statement, so the pace is meant for a quick return, not for sparing a dead server.
const (
	breakerFailures = 3
	probeFirst      = 100 * time.Millisecond
	probeMost       = time.Second
)

// sourceState is a breaker's state.
type sourceState uint8

const (
	sourceUp    sourceState = iota
	sourceDown              // waiting for the next probe
	sourceProbe             // half open: one probe is under way or due
)

// source is a SourceSpec with its breaker and its rate. The dispatcher owns the plain fields.
type source struct {
	name    string
	impl    Source
	limit   int // SourceSpec.MaxLoads
	timeout time.Duration
	routes  []*route // that use it

	state     sourceState
	failures  int // in a row
	delay     time.Duration
	nextProbe time.Time
	inFlight  int // loads
	probing   bool

	tokens meter

	down    atomic.Bool  // state is not sourceUp; read by loads
	half    atomic.Bool  // state is sourceProbe
	reached atomic.Bool  // it has answered
	since   atomic.Int64 // when it went down or came up, in nanoseconds of the Unix epoch
	opened  atomic.Uint64
	probes  atomic.Uint64
	loads   atomic.Uint64
	asked   atomic.Uint64
	lastErr atomic.Pointer[string]
}

func newSource(spec SourceSpec, now time.Time) *source {
	s := &source{name: spec.Name, impl: spec.Source}
	s.since.Store(now.UnixNano())
	return s
}

// halfOpen lets one probe through.
func (s *source) halfOpen() {
	s.state = sourceProbe
	s.half.Store(true)
}

// fail notes that the source could not be reached and tells whether it counts as down from now on. A probe decides at once.
func (s *source) fail(err error, now time.Time, atOnce bool) (opened bool) {
	text := err.Error()
	s.lastErr.Store(&text)
	s.failures++
	if !atOnce && (s.state != sourceUp || s.failures < breakerFailures) {
		return false // too early, or a load from before it went down
	}
	if opened = s.state == sourceUp; opened {
		s.delay = probeFirst
		s.down.Store(true)
		s.since.Store(now.UnixNano())
		s.opened.Add(1)
	} else {
		s.delay = min(2*s.delay, probeMost)
	}
	s.state = sourceDown
	s.half.Store(false)
	s.nextProbe = now.Add(jitter(s.delay))
	return opened
}

// ok notes that the source answered and tells whether it was down before.
func (s *source) ok(now time.Time) (closed bool) {
	s.failures = 0
	s.reached.Store(true)
	if s.state == sourceUp {
		return false
	}
	s.state = sourceUp
	s.half.Store(false)
	s.down.Store(false)
	s.since.Store(now.UnixNano())
	return true
}
