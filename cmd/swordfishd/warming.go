package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"swordfish/config"
	"swordfish/filler"
	"swordfish/requestlog"
	"swordfish/warm"
)

// tracked lets t see how leases end.
func tracked(h filler.Hooks, t *warm.Tracker) filler.Hooks {
	put, putTTL, absent, failed, end := h.Put, h.PutTTL, h.Absent, h.Failed, h.End
	told := func(l filler.Lease, st filler.PutStatus, done filler.End) filler.PutStatus {
		t.Ended(l, filler.EndOf(st, done))
		return st
	}
	h.Put = func(l filler.Lease, route uint16, key, value []byte, flags uint32) filler.PutStatus {
		return told(l, put(l, route, key, value, flags), filler.EndLoaded)
	}
	h.PutTTL = func(l filler.Lease, route uint16, key, value []byte, flags uint32, ttl time.Duration) filler.PutStatus {
		return told(l, putTTL(l, route, key, value, flags, ttl), filler.EndLoaded)
	}
	h.Absent = func(l filler.Lease, route uint16, key []byte) filler.PutStatus {
		return told(l, absent(l, route, key), filler.EndNoRow)
	}
	h.Failed = func(l filler.Lease, route uint16, key []byte) filler.PutStatus {
		return told(l, failed(l, route, key), filler.EndFailed)
	}
	h.End = func(l filler.Lease) bool {
		alive := end(l)
		if alive {
			t.Ended(l, filler.EndDropped)
		} else {
			t.Ended(l, filler.EndKilled)
		}
		return alive
	}
	return h
}

// newWarmer makes what fills the cache ahead of the asking.
func (a *app) newWarmer(c *config.Config) *warm.Warmer {
	return warm.New(warm.Options{
		Store: a.store, Filler: a.filler, Tracker: &a.tracker, Logger: a.log, MaxItem: c.MaxItem,
		Resolve: a.server.Resolve, Hash: a.seed.Key, Route: a.warmRoute, Log: a.askedFor,
	})
}

// warmRoute tells the warmer what it has to know of a route. It gets connections of its own, so that the route's own are free for
// its clients' misses, and so that the throttle measures what another client of the database would see.
func (a *app) warmRoute(name string) (warm.Route, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return warm.Route{}, warm.ErrClosed
	}
	c := a.config.Load()
	if name == "" {
		return a.anyRoute(c)
	}
	var names []string
	for i := range c.Routes {
		if r := &c.Routes[i]; r.Name == name {
			return a.openRoute(c, r)
		}
		names = append(names, c.Routes[i].Name)
	}
	if len(names) == 0 {
		return warm.Route{}, &warm.Error{Text: fmt.Sprintf("there is no route %q: the configuration has none", name)}
	}
	return warm.Route{}, &warm.Error{Text: fmt.Sprintf("there is no route %q; there are %s", name, strings.Join(names, ", "))}
}

// anyRoute is for jobs of all keys: its pace follows the first source that can be asked.
func (a *app) anyRoute(c *config.Config) (warm.Route, error) {
	for i := range c.Sources {
		opened, err := a.openBeside(&c.Sources[i])
		if err != nil {
			return warm.Route{}, err
		}
		if opened.ping != nil {
			return warm.Route{Ping: opened.ping, Close: opened.close}, nil
		}
		opened.close()
	}
	return warm.Route{}, nil
}

func (a *app) openRoute(c *config.Config, r *config.Route) (warm.Route, error) {
	id := a.ids[r.Name]
	w := warm.Route{
		ID: id, Fresh: r.Fresh, Fill: fillerRoute(r, id, a.table.Load()),
	}
	for _, s := range a.filler.Stats() {
		w.Off = w.Off || s.Name == r.Name && s.Off
	}
	var all []beside
	w.Close = func() {
		for _, o := range all {
			o.close()
		}
	}
	for _, name := range r.Sources {
		at := slices.IndexFunc(c.Sources, func(s config.Source) bool { return s.Name == name })
		o, err := a.openBeside(&c.Sources[at])
		if err != nil {
			w.Close()
			return warm.Route{}, err
		}
		all = append(all, o)
		if w.Ping == nil {
			w.Ping = o.ping
		}
		if w.Lister == nil {
			w.Lister = o.lister
		}
	}
	return w, nil
}

// beside is a source as a warm-up has it, beside the one that loads.
type beside struct {
	lister filler.Lister // nil: it cannot enumerate keys
	ping   func(ctx context.Context) error
	close  func()
}

// besideConns are the connections that a warm-up has of its own: one reads keys, one measures.
const besideConns = 2

func (a *app) openBeside(spec *config.Source) (b beside, err error) {
	b.close = func() {}
	own := *spec
	own.MaxConns = besideConns
	src := a.sources[spec.Name].Source
	if spec.Kind == config.Memcache {
		return b, nil
	}
	if spec.Path != memoryPath { // a database in memory cannot be opened a second time
		opened, err := openSource(&own, 0)
		if err != nil {
			return b, err
		}
		one := sources{spec.Name: {Source: opened}}
		src = opened
		b.close = func() {
			if err := one.close(); err != nil {
				a.log.Warn().Err(err).Str("source", spec.Name).Msg("closing a warm-up's connections")
			}
		}
		if p, ok := src.(filler.Pinger); ok {
			b.ping = p.Ping
		}
	}
	b.lister, _ = src.(filler.Lister)
	return b, nil
}

// memoryPath is the path of a SQLite database in memory.
const memoryPath = ":memory:"

// askedFor reads a log of requests, the server's own without a path.
func (a *app) askedFor(path string) ([]warm.Entry, error) {
	own := a.config.Load().RequestLog.Path
	if path == "" {
		path = own
	}
	if path == "" {
		return nil, &warm.Error{Text: "there is no log of requests; write request_log: {path: FILE} into the configuration, and begin again when some have come"}
	}
	if a.requests != nil && path == own {
		a.requests.flush()
	}
	entries, err := requestlog.Read(path)
	if err != nil {
		return nil, &warm.Error{Text: err.Error()}
	}
	all := make([]warm.Entry, len(entries))
	for i, e := range entries {
		all[i] = warm.Entry{Key: e.Key, Count: max(uint64(e.Count), 1)}
	}
	return all, nil
}

// warmLines are the answer to telnet's warm.
func (a *app) warmLines() []string {
	var lines []string
	for _, p := range a.warmer.Jobs() {
		name := p.Route
		if name == "" {
			name = "-"
		}
		line := fmt.Sprintf("%s from=%s state=%s share=%.1f%% keys=%d seen=%d present=%d loaded=%d absent=%d failed=%d passed=%d waiting=%d seconds=%.1f keys_per_second=%.0f",
			name, p.From, p.State, 100*p.Share, p.Total, p.Seen, p.Present, p.Loaded, p.NoRow, p.Failed, p.Passed, p.Waiting, p.Seconds, p.Rate)
		if p.Error != "" {
			line += fmt.Sprintf(" error=%q", p.Error)
		}
		lines = append(lines, line)
	}
	return lines
}

// startup are the warm-ups that begin with the server, one after the other.
type startup struct {
	stop context.CancelFunc
	work sync.WaitGroup

	mu    sync.Mutex // guards the rest
	began time.Time
	left  []*startupJob // not done
}

// startupJob is one of them. Beside at, which the startup's mu guards, it belongs to the goroutine that runs them.
type startupJob struct {
	*config.Warm
	at     warm.Progress
	failed string // why it failed the last time; empty: it did not yet
}

// retryWarm is how long warm-ups that failed wait before they are begun again: what they are from may not be there yet.
const retryWarm = 2 * time.Second

// startWarm begins the configured warm-ups.
func (a *app) startWarm(c *config.Config) {
	ctx, stop := context.WithCancel(context.Background())
	u := &startup{stop: stop, began: time.Now()}
	for i := range c.Warm {
		u.left = append(u.left, &startupJob{Warm: &c.Warm[i]})
	}
	a.startup = u
	u.work.Go(func() { a.warmAll(ctx, u) })
}

// warmAll brings the warm-ups to their ends. One that fails keeps none of the others waiting: it is begun again after them, for as long as
// /readyz would wait for it.
func (a *app) warmAll(ctx context.Context, u *startup) {
	for left := slices.Clone(u.left); len(left) > 0; {
		var failed []*startupJob
		for _, j := range left {
			if ctx.Err() != nil {
				return
			}
			if a.warmOnce(ctx, u, j) {
				u.end(j)
			} else {
				failed = append(failed, j)
			}
		}
		if left = failed; len(left) == 0 {
			return
		}
		timer := time.NewTimer(retryWarm)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// warmOnce runs one of them and tells whether it has ended: it was done, or is not begun again. The same failure is logged once, and
// when it is the last.
func (a *app) warmOnce(ctx context.Context, u *startup, j *startupJob) bool {
	p, err := a.runWarm(ctx, j.Warm, func(p warm.Progress) {
		u.mu.Lock()
		j.at = p
		u.mu.Unlock()
	})
	if err == nil && p.State == warm.GivenUp {
		err = errors.New(p.Error)
	}
	if ctx.Err() != nil || err == nil {
		return true
	}
	again := time.Since(u.began)+retryWarm < j.Wait
	log := a.log.Warn()
	if again && err.Error() == j.failed {
		log = a.log.Debug()
	}
	j.failed = err.Error()
	log.Err(err).Str("at", j.Pos).Bool("again", again).Msg("warm-up failed")
	return !again
}

// end takes out a warm-up that has ended.
func (u *startup) end(j *startupJob) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.left = slices.DeleteFunc(u.left, func(other *startupJob) bool { return other == j })
}

func (a *app) runWarm(ctx context.Context, w *config.Warm, tell func(warm.Progress)) (warm.Progress, error) {
	spec := warm.Spec{Route: w.Route, From: warm.From(w.From), Addr: w.Arg, Rate: w.Rate, Until: w.Until}
	if spec.From == warm.Keys {
		f, err := os.Open(w.Arg)
		if err != nil {
			return warm.Progress{}, err
		}
		defer f.Close()
		spec.List, spec.Addr = f, ""
		if spec.Total, err = countLines(f); err != nil {
			return warm.Progress{}, err
		}
	}
	return a.warmer.Run(ctx, spec, tell)
}

// waiting says which warm-up clients should wait for.
func (u *startup) waiting() (why []string) {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.left {
		if time.Since(u.began) >= w.Wait {
			continue
		}
		what := "all keys"
		if w.Route != "" {
			what = "route " + w.Route
		}
		text := fmt.Sprintf("%s is being warmed up from %s", what, w.From)
		switch {
		case w.at.State == warm.GivenUp:
			text += ", which failed and is tried again"
		case w.at.Seen > 0:
			text += fmt.Sprintf(", %.0f%% of its keys are there", 100*w.at.Share)
		}
		why = append(why, text)
	}
	return why
}

// close stops what is under way and waits for it.
func (u *startup) close() {
	if u != nil {
		u.stop()
		u.work.Wait()
	}
}
