package warm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"swordfish/filler"
	"swordfish/filler/memcache"
	"swordfish/store"
)

// State is how far a job is.
type State string

const (
	Running  State = "running"
	Done     State = "done"
	Stopped  State = "stopped" // before its end; begun again, it goes on
	GivenUp  State = "failed"
	unknown  int64 = 0
	perCheck       = 256 // keys between two looks at whether enough are there
)

// Progress is how far a job is. Counters are of keys.
type Progress struct {
	ID    int    `json:"id"`
	Route string `json:"route"` // empty: all keys
	From  From   `json:"from"`
	Addr  string `json:"addr,omitempty"`
	State State  `json:"state"`
	Error string `json:"error,omitempty"` // of one that failed

	Total   int64   `json:"total"`   // keys to look at; 0: not known
	Seen    int64   `json:"seen"`    // looked at so far
	Present int64   `json:"present"` // they were there already, or came by themselves
	Loaded  int64   `json:"loaded"`  // by this job
	NoRow   int64   `json:"absent"`  // the source has no row, or the other server no item any more
	Failed  int64   `json:"failed"`  // could not be loaded or kept
	Passed  int64   `json:"passed"`  // plain keys that nothing loads, keys of other routes, and what is no key
	Waiting int64   `json:"waiting"` // under way
	Share   float64 `json:"share"`   // 0 to 1: of the total, what is there. Of a log by how often its keys were asked for

	Resumed bool    `json:"resumed"` // it went on where one before it had stopped
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"keys_per_second"`       // of late
	Limit   float64 `json:"limit_keys_per_second"` // of the throttle and the job's own rate; 0: none
	Slower  float64 `json:"database_slower"`       // how long the database takes to answer, in terms of what it takes without the job; 0: not measured
}

// job is a warm-up.
type job struct {
	w     *Warmer
	id    int
	spec  Spec
	route Route // zero without Spec.Route
	began time.Time
	again string // why the same failed before; empty: it did not

	src     *memcache.Source // of Memcached and Peer
	entries []Entry          // of Log

	throttle atomic.Pointer[throttle]
	feed     atomic.Pointer[feeder]

	total, seen, present, loaded, noRow, failed, passed atomic.Int64
	have, weight                                        atomic.Int64 // what is there and what is wanted, by how often it was asked for
	resumed                                             atomic.Bool

	mu       sync.Mutex // guards the rest
	state    State
	err      error
	ended    time.Time
	rateAt   time.Time
	rateSeen int64
	rate     float64
	before   int64 // seen by the jobs that this one goes on from
}

func (j *job) isRunning() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state == Running
}

// failure is why the job failed; empty: it did not.
func (j *job) failure() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		return ""
	}
	return j.err.Error()
}

// same tells whether both load the same from the same.
func (j *job) same(other *job) bool {
	a, b := &j.spec, &other.spec
	return a.Route == b.Route && a.From == b.From && a.Addr == b.Addr
}

// run runs the job to its end. One that is begun again and again, since what it is from is not there, is logged once.
func (j *job) run(ctx context.Context) {
	log := j.w.o.Logger.Info()
	if j.again != "" {
		log = j.w.o.Logger.Debug()
	}
	log.Str("route", j.spec.Route).Str("from", string(j.spec.From)).Str("addr", j.spec.Addr).Msg("warm-up began")
	var err error
	switch j.spec.From {
	case Table:
		err = j.fromTable(ctx)
	case Keys:
		err = j.fed(ctx, func(f *feeder) error { return j.fromList(ctx, f) })
	case Log:
		err = j.fed(ctx, func(f *feeder) error { return j.fromLog(ctx, f) })
	default:
		err = j.fromServer(ctx)
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	j.mu.Lock()
	j.ended = time.Now()
	switch {
	case err == nil:
		j.state = Done
	case ctx.Err() != nil:
		j.state = Stopped
	default:
		j.state, j.err = GivenUp, err
	}
	j.entries = nil
	j.mu.Unlock()
	p := j.progress()
	e := j.w.o.Logger.Info()
	switch {
	case p.State == GivenUp && p.Error == j.again:
		e = j.w.o.Logger.Debug().Err(err)
	case p.State == GivenUp:
		e = j.w.o.Logger.Warn().Err(err)
	}
	e.Str("route", p.Route).Str("from", string(p.From)).Str("addr", p.Addr).Str("state", string(p.State)).Int64("seen", p.Seen).
		Int64("present", p.Present).Int64("loaded", p.Loaded).Int64("absent", p.NoRow).Int64("failed", p.Failed).Int64("passed", p.Passed).
		Float64("seconds", p.Seconds).Msg("warm-up ended")
}

// errEnough ends a job whose share is reached.
var errEnough = errors.New("warm: enough")

// fed runs f with a feeder and waits for what it fed.
func (j *job) fed(ctx context.Context, f func(*feeder) error) error {
	l := j.route.Fill.Limits
	ping := j.route.Ping
	th := newThrottle(ping, j.spec.Rate, j.spec.Full)
	watching, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	ready := make(chan struct{})
	work.Go(func() { th.watch(watching, func() { close(ready) }) })
	defer work.Wait()
	defer stop()
	<-ready
	j.measureFrom()
	feed := newFeeder(j, orElse(l.Batch, filler.DefaultBatch), th)
	j.throttle.Store(th)
	j.feed.Store(feed)
	defer feed.close()
	err := f(feed)
	if err != nil && !errors.Is(err, errEnough) {
		// What is under way is loaded all the same: wait a moment for it, so that it is counted.
		grace, cancel := context.WithTimeout(context.Background(), stopGrace)
		defer cancel()
		_ = feed.drain(grace)
		return err
	}
	if drained := feed.drain(ctx); err == nil {
		err = drained
	}
	return err
}

// stopGrace is how long a job that is stopped waits for what is under way.
const stopGrace = 2 * time.Second

func orElse(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

// raw takes a key in any spelling and has it loaded if that is due. buf is scratch.
func (j *job) raw(ctx context.Context, f *feeder, buf, key []byte, weight uint64) ([]byte, error) {
	if n := j.seen.Add(1); n%perCheck == 0 && j.enough() {
		return buf, errEnough
	}
	canonical, route := j.w.o.Resolve(buf[:0], key)
	if route == 0 || j.route.ID != 0 && route != j.route.ID {
		j.passed.Add(1)
		return canonical, nil
	}
	return canonical, f.offer(ctx, canonical, j.w.o.Hash(canonical), route, weight)
}

// enough tells whether as much is there as was asked for.
func (j *job) enough() bool {
	if j.spec.Until == 100 {
		return false
	}
	return j.share() >= float64(j.spec.Until)/100
}

// share is how much of all is there, 0 to 1; 0 where nobody knows how much that is.
func (j *job) share() float64 {
	if all := j.weight.Load(); all > 0 {
		return float64(j.have.Load()) / float64(all)
	}
	all := j.total.Load()
	if all == unknown {
		return 0
	}
	return min(float64(j.present.Load()+j.loaded.Load())/float64(all), 1)
}

// count counts how a key ended that was handed over.
func (j *job) count(how filler.End, weight uint64) {
	switch how {
	case filler.EndLoaded:
		j.loaded.Add(1)
		j.have.Add(int64(weight))
	case filler.EndKilled: // by a client's write, or by a delete, which means that nobody wants it
		j.present.Add(1)
		j.have.Add(int64(weight))
	case filler.EndNoRow:
		j.noRow.Add(1)
	default:
		j.failed.Add(1)
	}
}

// found counts a key for which nothing was to be loaded.
func (j *job) found(worth store.Worth, loading bool, weight uint64) {
	if worth == store.WorthNegative || worth == store.WorthNothing && !loading {
		j.noRow.Add(1)
		return
	}
	j.present.Add(1)
	j.have.Add(int64(weight))
}

// fromList reads a key a line.
func (j *job) fromList(ctx context.Context, f *feeder) error {
	j.total.Store(j.spec.Total)
	in := bufio.NewReaderSize(j.spec.List, 64<<10)
	var buf []byte
	for {
		line, err := in.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) { // no key is that long
			_, err = in.ReadSlice('\n')
		}
		if key := bytes.TrimRight(line, "\r\n"); tooLong {
			j.seen.Add(1)
			j.passed.Add(1)
		} else if len(key) > 0 {
			var offered error
			if buf, offered = j.raw(ctx, f, buf, key, 1); offered != nil {
				return offered
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the list of keys: %w", err)
		}
	}
}

// fromLog takes the entries of the log in their order.
func (j *job) fromLog(ctx context.Context, f *feeder) error {
	var buf []byte
	total, weight := int64(0), int64(0)
	for _, e := range j.entries {
		_, route := j.w.o.Resolve(buf[:0], []byte(e.Key))
		if route != 0 && (j.route.ID == 0 || route == j.route.ID) {
			weight += int64(e.Count)
		}
		total++
	}
	j.total.Store(total)
	j.weight.Store(max(weight, 1))
	for _, e := range j.entries {
		var err error
		if buf, err = j.raw(ctx, f, buf, []byte(e.Key), e.Count); err != nil {
			return err
		}
	}
	return nil
}

// measureFrom begins to measure the rate: what a job before this one looked at is no work of this one.
func (j *job) measureFrom() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.before = j.seen.Load()
	j.rateAt, j.rateSeen = time.Now(), j.before
}

// progress is how far the job is.
func (j *job) progress() Progress {
	p := Progress{
		ID: j.id, Route: j.spec.Route, From: j.spec.From, Addr: j.spec.Addr,
		Total: j.total.Load(), Seen: j.seen.Load(), Present: j.present.Load(), Loaded: j.loaded.Load(), NoRow: j.noRow.Load(),
		Failed: j.failed.Load(), Passed: j.passed.Load(), Resumed: j.resumed.Load(), Share: j.share(),
	}
	if f := j.feed.Load(); f != nil {
		p.Waiting = f.waiting.Load()
	}
	if t := j.throttle.Load(); t != nil {
		p.Limit = t.limitNow()
		if t.ping != nil {
			p.Slower = math.Float64frombits(t.ratio.Load())
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	p.State = j.state
	if j.err != nil {
		p.Error = j.err.Error()
	}
	now := time.Now()
	if j.state != Running {
		now = j.ended
		p.Waiting = 0
	}
	p.Seconds = now.Sub(j.began).Seconds()
	if j.rateAt.IsZero() {
		j.rateAt = j.began
	}
	if past := now.Sub(j.rateAt); past >= time.Second {
		j.rate = float64(p.Seen-j.rateSeen) / past.Seconds()
		j.rateAt, j.rateSeen = now, p.Seen
	}
	if p.Rate = j.rate; p.Seconds > 0 && (p.Rate == 0 || j.state != Running) {
		p.Rate = float64(p.Seen-j.before) / p.Seconds
	}
	return p
}
