package filler

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/alitto/pond/v2"
)

// table is what one Apply made. It is never changed.
type table struct {
	routes  []*route // in the order given
	plans   []*plan  // of the routes
	sources []*source
}

// change is an Apply on its way to the dispatcher.
type change struct {
	sources []SourceSpec
	routes  []Route
	result  chan error
}

// Apply replaces sources and routes; rings live on. A route with a known ID goes on with its new query, limits and sources:
// what is queued for it stays queued, and its counters and its being off stay as well. A new ID appears. The route of an ID that
// is missing ends its queued leases, as DropRemoved, and finishes its loads under way. Rates hold across the change. An error
// changes nothing.
//
// A source goes on, with its breaker and its rate, where its name still has the same Source value. A Source value that no name
// has any more is closed, if it is an io.Closer, as soon as the last load and probe of it have ended; after that it must not be
// handed in again. Sources still named at Shutdown are the caller's to close.
func (f *Filler) Apply(sources []SourceSpec, routes []Route) error {
	c := change{sources, routes, make(chan error, 1)}
	select {
	case f.changes <- c:
		return <-c.result
	case <-f.stopping:
		return ErrClosed
	}
}

// applyAll takes the changes that wait. Only the dispatcher calls it.
func (f *Filler) applyAll() {
	for {
		select {
		case c := <-f.changes:
			c.result <- f.apply(c.sources, c.routes)
		default:
			return
		}
	}
}

// apply checks everything first and then changes over. Only New and the dispatcher call it.
func (f *Filler) apply(specs []SourceSpec, routes []Route) error {
	now := time.Now()
	specs = slices.Clone(specs)
	sources := make([]*source, len(specs))
	byName := make(map[string]*source, len(specs))
	for i, spec := range specs {
		if spec.Source == nil || spec.Name == "" || byName[spec.Name] != nil {
			return fmt.Errorf("filler: source %q has no name, no implementation or the name of another", spec.Name)
		}
		if spec.Timeout <= 0 {
			spec.Timeout = DefaultTimeout
		}
		specs[i] = spec
		sources[i] = f.sourceFor(spec, now)
		byName[spec.Name] = sources[i]
	}
	plans := make([]*plan, len(routes))
	var byID []*route
	slots := 0
	for i, cfg := range routes {
		p, err := newPlan(cfg, specs, byName)
		if err != nil {
			return err
		}
		for _, other := range routes[:i] {
			if other.ID == cfg.ID {
				return fmt.Errorf("filler: route %q has the id %d of route %q", cfg.Name, cfg.ID, other.Name)
			}
			if other.Name == cfg.Name {
				return fmt.Errorf("filler: two routes are named %q", cfg.Name)
			}
		}
		for len(byID) <= int(cfg.ID) {
			byID = append(byID, nil)
		}
		if byID[cfg.ID] = f.routeOf(cfg.ID); byID[cfg.ID] == nil {
			byID[cfg.ID] = &route{id: cfg.ID}
			if t := f.table.Load(); t != nil { // a route of a changed pattern has a new id and its old switch
				for j, p := range t.plans {
					if p.cfg.Name == cfg.Name {
						byID[cfg.ID].off.Store(t.routes[j].off.Load())
					}
				}
			}
		}
		plans[i] = p
		slots += p.cfg.Limits.Concurrency
	}
	f.changeOver(sources, specs, byID, plans, slots, now)
	return nil
}

// sourceFor returns the source that spec goes on with, or a new one.
func (f *Filler) sourceFor(spec SourceSpec, now time.Time) *source {
	for _, s := range f.sources {
		if s.name == spec.Name && same(s.impl, spec.Source) {
			return s
		}
	}
	return newSource(spec, now)
}

// same tells whether a and b are one Source. Functions cannot be compared and never are.
func same(a, b Source) bool {
	ta, tb := reflect.TypeOf(a), reflect.TypeOf(b)
	return ta == tb && ta.Comparable() && a == b
}

func (f *Filler) routeOf(id uint16) *route {
	if int(id) < len(f.byID) {
		return f.byID[id]
	}
	return nil
}

// changeOver puts the new table to work. Nothing can fail from here on.
func (f *Filler) changeOver(sources []*source, specs []SourceSpec, byID []*route, plans []*plan, slots int, now time.Time) {
	// The parent first: it holds all new loads beside those still under way, else a slow route could starve another.
	f.pool.Resize(max(1, slots+len(f.running)))

	oldRoutes, oldSources := f.routes, f.sources
	f.byID, f.sources = byID, sources
	f.routes = make([]*route, len(plans))
	for i, s := range sources {
		s.routes, s.limit, s.timeout = nil, specs[i].MaxLoads, specs[i].Timeout
		burst := 0
		for _, p := range plans {
			if p.uses(s) {
				s.routes = append(s.routes, byID[p.cfg.ID])
				burst += p.burst()
			}
		}
		s.tokens.set(specs[i].Rate, min(specs[i].Rate, float64(burst)), now)
	}
	for i, p := range plans {
		r := byID[p.cfg.ID]
		f.routes[i] = r
		n := p.cfg.Limits.Concurrency
		ctx, stop := context.WithCancel(f.poolCtx)
		p.stop = stop
		p.pool = f.pool.NewSubpool(n, pond.WithContext(ctx), pond.WithQueueSize(n), pond.WithNonBlocking(true))
		old := r.plan
		r.setPlan(p, now)
		if old != nil {
			old.retire()
		}
	}
	for _, r := range oldRoutes {
		if f.routeOf(r.id) != r {
			r.removed = true
			f.purge(r, DropRemoved)
			r.plan.retire()
		}
	}
	f.table.Store(&table{f.routes, plans, sources})
	for _, s := range oldSources {
		if !slices.Contains(sources, s) {
			s.routes = nil
			f.retired = append(f.retired, s)
			f.releaseSource(s)
		}
	}
	for _, s := range sources {
		if _, pings := s.impl.(Pinger); pings && !slices.Contains(oldSources, s) {
			f.startProbe(s) // connects at once, and learns early that a database is not there
		} else if !pings {
			s.reached.Store(true) // there is no asking it
		}
	}
	for _, r := range f.routes {
		f.tell(r)
	}
}

// releaseSource closes the Source of a retired source once nothing uses it, under whatever name.
func (f *Filler) releaseSource(s *source) {
	at := slices.Index(f.retired, s)
	if at < 0 || s.inFlight > 0 || s.probing {
		return
	}
	f.retired = slices.Delete(f.retired, at, at+1)
	shared := func(other *source) bool { return same(other.impl, s.impl) }
	c, ok := s.impl.(io.Closer)
	if !ok || slices.ContainsFunc(f.sources, shared) || slices.ContainsFunc(f.retired, shared) {
		return
	}
	f.closing.Go(func() {
		if err := c.Close(); err != nil {
			f.log.Warn().Str("source", s.name).Err(err).Msg("closing a source that is no longer named")
		}
	})
}
