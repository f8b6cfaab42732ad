// Package warm fills the cache ahead of the asking: from a route's own table, from a list of keys, from a log of requests, or
// from another memcached or Swordfish.
//
// Keys of a route are loaded as those of a miss are: a lease is opened where a load is due, and the filler fills it behind all
// others and within the route's limits, but some thousand with one question. Copies from another server are put by lease too, and plain
// keys are added, so whatever a client writes meanwhile wins. What is there and fresh is passed over: a warm-up that was
// interrupted is begun again and loads nothing twice. From a table it also goes on behind the last row that it had come to.
//
// A Job slows down while the database answers slower than it did before (throttle.go).
package warm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
	"swordfish/filler/memcache"
	"swordfish/store"
)

// From says where the keys come from.
type From string

const (
	Table     From = "table"     // the route's query for keys
	Keys      From = "keys"      // a list, a key a line
	Memcached From = "memcached" // all items of a memcached
	Peer      From = "peer"      // all items of a Swordfish, with the ages of their values
	Log       From = "log"       // the log of requests, those asked for most first
)

// Spec is what to warm up.
type Spec struct {
	Route string // only its keys; empty: all keys, which a Table cannot
	From  From
	Addr  string  // of Memcached and Peer: host:port, or the path of a socket; of Log: the file, empty for the server's own
	Rate  float64 // keys a second at most; 0: no limit beside the throttle's
	Full  bool    // as fast as it goes, whatever the database's other clients notice
	Until int     // percent of the keys that are to be there in the end; 0: 100. Of a Log they count by how often they were asked for

	List  io.Reader // of Keys
	Total int64     // how many List has; 0: not known
}

// Entry is a key of a log of requests.
type Entry struct {
	Key   string
	Count uint64 // how often it was asked for
}

// Route is what has to be known of a route.
type Route struct {
	ID     store.RouteID
	Fill   filler.Route // with its query for keys
	Fresh  time.Duration
	Off    bool
	Lister filler.Lister                   // the first of its sources that can enumerate keys; nil: none can
	Ping   func(ctx context.Context) error // asks its first source the least there is; nil: it cannot be asked
	Close  func()                          // gives back what Lister and Ping hold; nil: nothing
}

// Options are what a Warmer needs; all of them but MaxItem. Functions are safe for concurrent use.
type Options struct {
	Store   *store.Store
	Filler  *filler.Filler
	Tracker *Tracker // the one that Filler's hooks tell
	Logger  zerolog.Logger
	MaxItem int // bytes of a value; larger ones are not copied. Default 1 MiB

	// Resolve appends the canonical spelling of a key to dst, and tells its route; a plain key appends itself and has none.
	Resolve func(dst, key []byte) ([]byte, store.RouteID)
	Hash    func(key []byte) uint64
	Route   func(name string) (Route, error)   // without a name: only what jobs of all keys need. An error is for the one who asked
	Log     func(path string) ([]Entry, error) // of the requests, those asked for most first; without a path the server's own. An error is for the one who asked
}

// Warmer runs jobs. It is safe for concurrent use.
type Warmer struct {
	o    Options
	ctx  context.Context // ended by Close
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards the rest
	closed  bool
	next    int
	jobs    []*job // running ones, and the last that have ended
	cursors map[string]cursor
}

// Rates that can be kept, in keys a second.
const (
	LeastRate = 0.01
	MostRate  = 1e9
)

// Bounds on jobs.
const (
	runMost  = 4  // at a time
	keepMost = 16 // shown
)

// Error is why a job cannot begin, with the remedy.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

func wrong(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// ErrClosed is returned by Run after Close.
var ErrClosed = errors.New("warm: the server is stopping")

// New makes a Warmer.
func New(o Options) *Warmer {
	if o.MaxItem <= 0 {
		o.MaxItem = filler.DefaultMaxValue
	}
	w := &Warmer{o: o, cursors: make(map[string]cursor)}
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

// Close stops all jobs and waits for them. The filler has to be running still.
func (w *Warmer) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.stop()
	w.work.Wait()
}

// Run runs a job to its end, or until ctx ends; a Table's can be gone on with afterwards. tell, if not nil, gets its progress when
// it begins, a few times a second and when it ends, on the caller's goroutine. An *Error says what is wrong with spec, and nothing was begun.
func (w *Warmer) Run(ctx context.Context, spec Spec, tell func(Progress)) (Progress, error) {
	j, err := w.begin(spec)
	if err != nil {
		return Progress{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.ctx, cancel)()
	done := make(chan struct{})
	go func() {
		defer w.work.Done()
		defer close(done)
		defer j.leave()
		j.run(ctx)
	}()
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			p := j.progress()
			if tell != nil {
				tell(p)
			}
			return p, nil
		case <-tick.C:
			if tell != nil {
				tell(j.progress())
			}
		}
	}
}

// tellEvery is how often progress is told.
const tellEvery = 250 * time.Millisecond

// begin checks spec and enters its job.
func (w *Warmer) begin(spec Spec) (*job, error) {
	j := &job{w: w, spec: spec, state: Running, began: time.Now()}
	if spec.Until < 0 || spec.Until > 100 {
		return nil, wrong("until: write a share from 1%% to 100%%")
	}
	if j.spec.Until == 0 {
		j.spec.Until = 100
	}
	r, err := w.o.Route(spec.Route)
	if err != nil {
		return nil, err
	}
	j.route = r
	if err := w.enter(j); err != nil {
		j.leave()
		return nil, err
	}
	return j, nil
}

// leave gives back what the job held of its sources.
func (j *job) leave() {
	if j.route.Close != nil {
		j.route.Close()
	}
}

// enter enters a job whose route is known.
func (w *Warmer) enter(j *job) error {
	spec := &j.spec
	if j.route.Off {
		return wrong("route %s is off, so nothing is loaded for it; route %s on lets it load", spec.Route, spec.Route)
	}
	if err := j.prepare(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	running := 0
	for _, other := range w.jobs {
		if other.isRunning() {
			running++
			if other.same(j) {
				return wrong("the same is being warmed up already; GET /api/warm and telnet's warm show how far it is")
			}
		}
	}
	if running == runMost {
		return wrong("%d warm-ups are running already; wait for one of them", runMost)
	}
	// The same that failed before is told of no more.
	if i := slices.IndexFunc(w.jobs, func(other *job) bool { return other.same(j) && other.failure() != "" }); i >= 0 {
		j.again = w.jobs[i].failure()
		w.jobs = slices.Delete(w.jobs, i, i+1)
	}
	w.next++
	j.id = w.next
	w.jobs = append(w.jobs, j)
	if len(w.jobs) > keepMost {
		if i := slices.IndexFunc(w.jobs, func(j *job) bool { return !j.isRunning() }); i >= 0 {
			w.jobs = slices.Delete(w.jobs, i, i+1)
		}
	}
	w.work.Add(1)
	return nil
}

// prepare looks at what the job's kind needs.
func (j *job) prepare() error {
	s := &j.spec
	switch s.From {
	case Table:
		return j.prepareTable()
	case Keys:
		if s.List == nil {
			return wrong("there is no list of keys")
		}
		if s.Until < 100 && s.Total == 0 {
			return wrong("until needs to know how many keys there are: put them into a file, or leave it out")
		}
	case Log:
		entries, err := j.w.o.Log(s.Addr)
		if err != nil {
			return err
		}
		j.entries = entries
	case Memcached, Peer:
		src, err := memcache.New(memcache.Options{Addr: s.Addr, MaxValue: j.w.o.MaxItem})
		if err != nil {
			return wrong("%v", err)
		}
		j.src = src
	default:
		return wrong("from: %q is none of table, keys, memcached, peer, log", string(s.From))
	}
	return nil
}

// Jobs returns how far the running jobs are and how the last others ended, the oldest first.
func (w *Warmer) Jobs() []Progress {
	w.mu.Lock()
	jobs := slices.Clone(w.jobs)
	w.mu.Unlock()
	all := make([]Progress, len(jobs))
	for i, j := range jobs {
		all[i] = j.progress()
	}
	return all
}
