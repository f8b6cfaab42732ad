// Package postgres loads from PostgreSQL.
//
// A route's query gets one array for every key part it names, @country::text[], and @keys::text[] for whole canonical keys.
// Names become numbered parameters through pgx's StrictNamedArgs. Arrays are sent in text form, which every element type
// reads; an absent optional part is NULL. The rows come back with the column ord of WITH ORDINALITY and the value's columns.
//
// The package keeps its own few connections on pgconn rather than a pgxpool: the filler already bounds how many loads run
// at once, so a pool's queue would only hide waiting time from its deadlines; connections carry a route's application_name
// and prepared statements; and a load that fails on an idle connection, as every one does after a restart of the server,
// is repeated on a new one at once.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"swordfish/filler"
)

// Mode is how queries are sent.
type Mode uint8

const (
	// Prepared keeps a prepared statement a route on each connection, and statement_timeout on the session.
	Prepared Mode = iota

	// Unnamed prepares with every query and leaves nothing on the session, for a PgBouncer in transaction mode. statement_timeout
	// and application_name are set for the query's transaction alone, in the same round trip.
	Unnamed
)

// Options configure a Source. The zero value of a field means its default.
type Options struct {
	// DSNs are the servers to choose from, at least one. The first that can be reached serves until it is lost; then the next one
	// does. While a later one serves, the earlier ones are tried now and then, and the first that answers takes over.
	DSNs []string

	MaxConns         int           // default 4. Give the filler's SourceSpec the same as MaxLoads
	StatementTimeout time.Duration // default filler.DefaultTimeout. Give the SourceSpec the same
	ConnectTimeout   time.Duration // for one attempt; default 2 s
	ReturnEvery      time.Duration // how often earlier DSNs are tried, after a load; default 30 s
	MaxMessage       int           // bytes of one row; a longer one ends the connection and fails its key. Default 64 MiB
	AppName          string        // application_name is AppName/route; default swordfishd
	Mode             Mode
}

// Source is a filler.Source, Typer, Pinger and Explainer. It is safe for concurrent use.
type Source struct {
	o       Options
	configs []*pgconn.Config
	good    atomic.Int32 // index of the DSN that serves
	slots   chan struct{}

	listHold time.Duration // see listHold

	ctx  context.Context // ended by Close
	stop context.CancelFunc

	mu       sync.Mutex
	idle     []*conn // the last used comes last
	closed   bool
	looking  bool      // for an earlier DSN
	nextLook time.Time // while a later DSN serves

	byes sync.WaitGroup // connections being closed, and the look for an earlier DSN
}

// maxStatements ends a connection whose statements are mostly those of routes before a reload.
const maxStatements = 1000

// conn is one connection, in the hands of one load at a time.
type conn struct {
	pg       *pgconn.PgConn
	at       int32  // index of its DSN
	app      string // its application_name
	fresh    bool   // opened for the load under way
	prepared map[*filler.Route]*statement
	made     int      // statements prepared so far, for their names
	params   [][]byte // scratch
	values   []filler.Value

	// Of the batch under way, where keys share questions.
	shared bool
	asked  map[string]int32 // a question's number by its parts
	first  []int32          // by question: one of its keys
	next   []int32          // by key: another one with the same question; -1: there is none
	tuple  []byte           // scratch
}

// New checks the options. It does not connect: the first ping or load does.
func New(o Options) (*Source, error) {
	if len(o.DSNs) == 0 {
		return nil, errors.New("postgres: no dsn")
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 4
	}
	if o.StatementTimeout <= 0 {
		o.StatementTimeout = filler.DefaultTimeout
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 2 * time.Second
	}
	if o.ReturnEvery <= 0 {
		o.ReturnEvery = 30 * time.Second
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 64 << 20
	}
	if o.AppName == "" {
		o.AppName = "swordfishd"
	}
	s := &Source{o: o, slots: make(chan struct{}, o.MaxConns), listHold: listHold}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, dsn := range o.DSNs {
		cfg, err := pgconn.ParseConfig(dsn)
		if err != nil {
			return nil, fmt.Errorf("postgres: dsn: %w", err) // pgconn leaves the password out of it
		}
		cfg.RuntimeParams["client_encoding"] = "UTF8"
		cfg.MaxProtocolMessageBodyLen = o.MaxMessage
		if o.Mode == Prepared {
			cfg.RuntimeParams["statement_timeout"] = strconv.FormatInt(o.StatementTimeout.Milliseconds(), 10)
		}
		s.configs = append(s.configs, cfg)
	}
	return s, nil
}

// Close closes the connections. No load may be under way: shut the filler down first.
func (s *Source) Close() error {
	s.stop()
	s.mu.Lock()
	s.closed = true
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, c := range idle {
		s.bye(c)
	}
	s.byes.Wait()
	return nil
}

// Ping implements filler.Pinger.
func (s *Source) Ping(ctx context.Context) error {
	return s.with(ctx, "", func(c *conn) error { return c.pg.Exec(ctx, "SELECT 1").Close() })
}

// Params implements filler.Typer: it prepares the query and reads the parameters' types.
func (s *Source) Params(ctx context.Context, r *filler.Route) (p filler.Params, err error) {
	err = s.with(ctx, r.Name, func(c *conn) error {
		st, err := s.prepare(ctx, c, r)
		if err == nil {
			p = st.accepts(r)
		}
		return err
	})
	return p, err
}

// Load implements filler.Source.
func (s *Source) Load(ctx context.Context, b *filler.Batch) error {
	return s.with(ctx, b.Route().Name, func(c *conn) error {
		b.Restart()
		st, err := s.prepare(ctx, c, b.Route())
		if err != nil {
			return err
		}
		return s.ask(ctx, c, st, b)
	})
}

// with runs f with a connection for app. When a connection that had lain idle turns out to be dead, its idle companions are
// closed and f runs once more on a new one: only reads are sent, so repeating is safe. Without a route the connection keeps
// the name it has.
func (s *Source) with(ctx context.Context, route string, f func(*conn) error) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		c, err := s.acquire(ctx, route)
		if err != nil {
			return classify(ctx, err, true)
		}
		alive, err := s.use(c, f)
		if err == nil {
			return nil
		}
		if alive || c.fresh || ctx.Err() != nil || isTooLong(err) {
			return classify(ctx, err, !alive)
		}
		s.closeIdle()
	}
}

// use runs f and takes c back. After a panic of f nobody knows what c is in the middle of: it is closed.
func (s *Source) use(c *conn, f func(*conn) error) (alive bool, err error) {
	returned := false
	defer func() {
		if !returned {
			s.bye(c)
		}
	}()
	err = f(c)
	returned = true
	return s.release(c, err), err
}

func (s *Source) acquire(ctx context.Context, route string) (*conn, error) {
	app := s.o.AppName
	if route != "" && s.o.Mode == Prepared {
		app += "/" + route
	}
	c := s.take(app)
	if c == nil {
		return s.connect(ctx, app)
	}
	c.fresh = false
	if route != "" && c.app != app {
		sql, err := c.pg.EscapeString(app)
		if err == nil {
			err = c.pg.Exec(ctx, "SET application_name = '"+sql+"'").Close()
		}
		if err != nil {
			s.bye(c)
			s.closeIdle()
			return s.connect(ctx, app)
		}
		c.app = app
	}
	return c, nil
}

// take removes an idle connection, if possible one that already bears app's name.
func (s *Source) take(app string) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	at := n - 1
	for i := n - 1; i >= 0; i-- {
		if s.idle[i].app == app {
			at = i
			break
		}
	}
	c := s.idle[at]
	s.idle = append(s.idle[:at], s.idle[at+1:]...)
	return c
}

// connect opens a connection to the DSN that serves, or else to the next. An attempt that hangs leaves time for the others.
func (s *Source) connect(ctx context.Context, app string) (*conn, error) {
	var errs []error
	first := int(s.good.Load())
	for i := range s.configs {
		at := (first + i) % len(s.configs)
		limit := s.o.ConnectTimeout
		if deadline, ok := ctx.Deadline(); ok {
			limit = min(limit, time.Until(deadline)/time.Duration(len(s.configs)-i))
		}
		c, err := s.dial(ctx, at, app, limit)
		if err == nil {
			if s.good.Swap(int32(at)) != int32(at) {
				s.mu.Lock()
				s.nextLook = time.Now().Add(s.o.ReturnEvery)
				s.mu.Unlock()
			}
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (s *Source) dial(ctx context.Context, at int, app string, limit time.Duration) (*conn, error) {
	cfg := s.configs[at].Copy()
	cfg.RuntimeParams["application_name"] = app
	attempt, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pg, err := pgconn.ConnectConfig(attempt, cfg)
	if err != nil {
		return nil, err
	}
	return &conn{pg: pg, at: int32(at), app: app, fresh: true, prepared: make(map[*filler.Route]*statement)}, nil
}

// release takes a connection back after f returned err and tells whether it can be used again.
func (s *Source) release(c *conn, err error) (alive bool) {
	alive = !c.pg.IsClosed() && !c.pg.IsBusy() && c.pg.TxStatus() == 'I' && !isStale(err)
	s.mu.Lock()
	keep := alive && !s.closed && c.made < maxStatements && c.at <= s.good.Load()
	if keep {
		s.idle = append(s.idle, c)
	}
	s.lookBackLocked()
	s.mu.Unlock()
	if !keep {
		s.bye(c)
	}
	return alive
}

// lookBackLocked tries the DSNs before the one that serves, if it is time to: one attempt each, in the background, so that no load
// waits for a server that does not answer. Only loads cause it: a source that nobody needs leaves the servers alone.
func (s *Source) lookBackLocked() {
	if s.good.Load() == 0 || s.looking || s.closed || time.Now().Before(s.nextLook) {
		return
	}
	s.looking = true
	s.byes.Go(func() {
		var c *conn
		for at := 0; at < int(s.good.Load()) && c == nil; at++ {
			c, _ = s.dial(s.ctx, at, s.o.AppName, s.o.ConnectTimeout) // why it does not answer matters when it is needed
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.looking = false
		s.nextLook = time.Now().Add(s.o.ReturnEvery)
		switch {
		case c == nil:
		case s.closed:
			s.bye(c)
		default:
			s.good.Store(c.at)
			kept := []*conn{c}
			for _, old := range s.idle {
				if old.at > c.at {
					s.bye(old)
				} else {
					kept = append(kept, old)
				}
			}
			s.idle = kept
		}
	})
}

func (s *Source) closeIdle() {
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, c := range idle {
		s.bye(c)
	}
}

// bye closes a connection in the background: it waits a moment for the server to hang up, and a frozen one never does.
func (s *Source) bye(c *conn) {
	s.byes.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_ = c.pg.Close(ctx) // whatever it says, the socket is closed
	})
}

// isStale tells whether the session's prepared statements no longer fit the database or are gone: the connection is given
// up and the batch sent again.
func isStale(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "26000" || // invalid_sql_statement_name
		(e.Code == "0A000" && e.Routine == "RevalidateCachedQuery")) // cached plan must not change result type
}

// isTooLong tells whether a row was longer than Options.MaxMessage.
func isTooLong(err error) bool {
	var e *pgproto3.ExceededMaxBodyLenErr
	return errors.As(err, &e)
}

// classify says what an error means for the batch. lost: the connection did not survive it.
func classify(ctx context.Context, err error, lost bool) error {
	var own *filler.Error
	if errors.As(err, &own) {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("postgres: %w: %w", ctx.Err(), err)
	}
	fault := filler.FaultQuery
	var e *pgconn.PgError
	switch {
	case isTooLong(err):
		fault = filler.FaultData // one of the keys is to blame, and the others are not
	case isStale(err):
		fault = filler.FaultTransient
	case errors.As(err, &e):
		fault = faultOf(e.Code)
		if lost && fault == filler.FaultQuery {
			fault = filler.FaultDown // also what refuses a connection: a wrong password, no such database
		}
	case lost:
		fault = filler.FaultDown
	}
	return &filler.Error{Fault: fault, Err: fmt.Errorf("postgres: %w", err)}
}

// faultOf classifies an SQLSTATE.
func faultOf(code string) filler.Fault {
	if len(code) != 5 {
		return filler.FaultQuery
	}
	switch code[:2] {
	case "22": // data exception
		return filler.FaultData
	case "08": // connection exception
		return filler.FaultDown
	case "40": // rollback: serialization, deadlock, conflict with recovery
		return filler.FaultTransient
	case "53": // insufficient resources
		if code == "53300" { // too_many_connections
			return filler.FaultDown
		}
		return filler.FaultTransient
	case "57":
		if code == "57014" { // query_canceled: statement_timeout
			return filler.FaultQuery
		}
		return filler.FaultDown // shutdown, crash, starting up
	}
	if code == "55P03" { // lock_not_available
		return filler.FaultTransient
	}
	return filler.FaultQuery
}
