package filler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// closable is a fake that can be closed, once, and must not be asked afterwards. It notes the queries it was asked.
type closable struct {
	*fake
	t       testing.TB
	mu      sync.Mutex
	closed  bool
	queries []string
}

func newClosable(t testing.TB, rows ...string) *closable {
	return &closable{fake: newFake(rows...), t: t}
}

func (c *closable) Load(ctx context.Context, b *Batch) error {
	c.mu.Lock()
	if c.closed {
		c.t.Error("a closed source is asked")
	}
	c.queries = append(c.queries, b.Route().Query)
	c.mu.Unlock()
	err := c.fake.Load(ctx, b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.t.Error("a source was closed during a load")
	}
	return err
}

func (c *closable) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.t.Error("a source was closed twice")
	}
	c.closed = true
	return nil
}

func (c *closable) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *closable) asked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.queries, " ")
}

// one returns a route for Apply, with one slot.
func one(id uint16, query string, sources ...string) Route {
	return Route{ID: id, Name: fmt.Sprint("r", id), Query: query, Sources: sources, Limits: Limits{Concurrency: 1}}
}

// applyRig is a rig over one closable source named main, and route 1 with query "old".
func applyRig(t *testing.T, src *closable, change func(*Options)) *rig {
	return newRig(t, src.fake, func(o *Options) {
		o.Sources = []SourceSpec{{Name: "main", Source: src}}
		o.Routes = []Route{one(1, "old", "main")}
		if change != nil {
			change(o)
		}
	})
}

func apply(t *testing.T, f *Filler, sources []SourceSpec, routes ...Route) {
	t.Helper()
	if err := f.Apply(sources, routes); err != nil {
		t.Fatal(err)
	}
}

func TestApplyGoesOnWithTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newClosable(t, "busy", "a", "b")
		src.gate = make(chan struct{})
		r := applyRig(t, src, nil)
		r.get("busy")
		synctest.Wait()
		r.get("a")
		r.ask("b", LaneWarm)
		synctest.Wait()
		other := newClosable(t)
		other.add("a", "other row")
		pool := r.f.routes[0].plan.pool
		apply(t, r.f, []SourceSpec{{Name: "main", Source: other}}, one(1, "new", "main"))
		st := r.stats()
		if st.Queued != 2 || st.InFlight != 1 || st.Leased != [Lanes]uint64{2, 0, 0, 1} {
			t.Errorf("after the change %d queued, %d in flight, leased %v", st.Queued, st.InFlight, st.Leased)
		}
		if src.isClosed() {
			t.Error("the old source was closed under its load")
		}
		if len(other.batches) != 0 {
			t.Error("two loads at once in a route with one slot")
		}
		r.promote("b", LaneMiss)
		src.gate <- struct{}{}
		synctest.Wait()
		if r.shelf.value("busy") != "row of busy" || r.shelf.value("a") != "other row" || r.shelf.absent["b"] != 1 {
			t.Errorf("got %v, absent %v", r.shelf.items, r.shelf.absent)
		}
		if src.asked() != "old" || other.asked() != "new" || fmt.Sprint(other.batches) != "[[a b]]" {
			t.Errorf("the old source was asked %q, the new %q %v", src.asked(), other.asked(), other.batches)
		}
		if pool.Context().Err() == nil {
			t.Error("the pool of the old plan is kept")
		}
		if !src.isClosed() || other.isClosed() {
			t.Errorf("closed: old %v, new %v", src.isClosed(), other.isClosed())
		}
		r.close()
		if other.isClosed() {
			t.Error("Shutdown closed a source that is the caller's")
		}
	})
}

// TestApplyChecksPartsAgain: what was good for the old query's types may not be for the new one's.
func TestApplyChecksPartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake("1", "x")
		src.gate = make(chan struct{})
		route := one(1, "q", "main")
		route.Parts = []PartSpec{{Name: "n"}}
		route.Split = func(dst []Part, key []byte) []Part { return append(dst, Part{key, true}) }
		r := newRig(t, src, func(o *Options) {
			o.Sources[0].Source = &typed{fake: src}
			o.Routes[0] = route
		})
		r.get("busy")
		synctest.Wait()
		r.get("x") // its types are known to be good by now
		r.get("1")
		synctest.Wait()
		ints := &typed{fake: src, params: Params{Parts: []ParamType{ParamInt64}}}
		apply(t, r.f, []SourceSpec{{Name: "main", Source: ints}}, route)
		close(src.gate)
		synctest.Wait()
		if src.asked["x"] != 0 || r.shelf.absent["x"] != 1 || r.shelf.value("1") == "" {
			t.Errorf("asked %v, absent %v", src.asked, r.shelf.absent)
		}
		r.close()
	})
}

func TestApplyEndsRemovedRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newClosable(t, "a", "b", "c")
		src.gate = make(chan struct{})
		r := applyRig(t, src, func(o *Options) { o.Routes = append(o.Routes, one(2, "two", "main")) })
		push := func(route uint16, key string) {
			if _, l := r.shelf.get(key); r.ring.Push(route, LaneMiss, l, []byte(key)) {
				r.handed++
			}
			r.ring.Flush()
			synctest.Wait()
		}
		push(1, "a")
		push(2, "b")
		push(2, "queued")
		gone := r.f.routes[1]
		apply(t, r.f, []SourceSpec{{Name: "main", Source: src}}, one(1, "old", "main"), one(3, "three", "main"))
		push(2, "late")
		push(3, "c")
		if n := gone.count.dropped[DropRemoved][LaneMiss].Load(); n != 1 {
			t.Errorf("%d leases dropped as removed, want 1", n)
		}
		if _, unknown := r.f.RingFull(); unknown != 1 {
			t.Errorf("%d unknown leases, want the late one", unknown)
		}
		for range 3 {
			src.gate <- struct{}{}
			synctest.Wait()
		}
		if r.shelf.value("a") == "" || r.shelf.value("b") == "" || r.shelf.value("c") == "" {
			t.Errorf("got %v: loads under way have to finish", r.shelf.items)
		}
		if st := r.f.Stats(); len(st) != 2 || st[0].Name != "r1" || st[1].Name != "r3" || st[1].Stored != 1 {
			t.Errorf("statistics of %+v", st)
		}
		if r.f.SetOff("r2", true) || !r.f.SetOff("r3", true) {
			t.Error("SetOff does not follow the change")
		}
		r.f.Shutdown(t.Context())
		r.shelf.checkAllEnded(r.handed)
	})
}

// TestApplyEndsRetriesOfRemovedRoutes takes a route away while its load fails, while a retry waits, and while it is off.
func TestApplyEndsRetriesOfRemovedRoutes(t *testing.T) {
	for _, station := range []string{"loading", "backing off", "bisecting", "off"} {
		t.Run(station, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newClosable(t)
				src.gate = make(chan struct{})
				src.err = func([]string) error { return &Error{FaultTransient, errors.New("deadlock")} }
				if station == "bisecting" {
					src.err = func([]string) error { return &Error{FaultData, errors.New("bad")} }
				}
				r := applyRig(t, src, nil)
				r.get("busy")
				synctest.Wait()
				for i := range 10 {
					r.get(fmt.Sprint("k", i))
				}
				if station != "loading" {
					src.gate <- struct{}{}
					synctest.Wait()
					src.gate <- struct{}{}
					synctest.Wait()
				}
				r.f.SetOff("r1", station == "off")
				apply(t, r.f, []SourceSpec{{Name: "main", Source: src}})
				close(src.gate)
				pass(time.Minute)
				r.f.Shutdown(t.Context())
				r.shelf.checkAllEnded(r.handed)
			})
		})
	}
}

func TestApplyRefusesMistakesAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newClosable(t, "a")
		r := applyRig(t, src, nil)
		main := SourceSpec{Name: "main", Source: src}
		for name, err := range map[string]error{
			"no source":      r.f.Apply(nil, []Route{one(1, "new", "main")}),
			"source twice":   r.f.Apply([]SourceSpec{main, main}, []Route{one(1, "new", "main")}),
			"id twice":       r.f.Apply([]SourceSpec{main}, []Route{one(1, "new", "main"), one(1, "new", "main")}),
			"second route":   r.f.Apply([]SourceSpec{main, {Name: "x", Source: newFake()}}, []Route{one(1, "new", "main"), one(2, "new", "mian")}),
			"no id":          r.f.Apply([]SourceSpec{main}, []Route{one(0, "new", "main")}),
			"names it twice": r.f.Apply([]SourceSpec{main}, []Route{one(1, "new", "main", "main")}),
		} {
			if err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		r.get("a")
		synctest.Wait()
		if src.asked() != "old" || r.shelf.value("a") == "" || src.isClosed() || len(r.f.Sources()) != 1 {
			t.Errorf("asked %q, got %q, closed %v", src.asked(), r.shelf.value("a"), src.isClosed())
		}
		r.close()
		if err := r.f.Apply([]SourceSpec{main}, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Shutdown: got %v", err)
		}
	})
}

func TestApplyClosesWhatNobodyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newClosable(t), newClosable(t)
		a.gate = make(chan struct{})
		r := applyRig(t, a, nil)
		r.get("k")
		synctest.Wait()
		// The same source under a second name, then only under that name, then back while its load is still under way.
		apply(t, r.f, []SourceSpec{{Name: "main", Source: a}, {Name: "x", Source: a}}, one(1, "q", "main"))
		apply(t, r.f, []SourceSpec{{Name: "x", Source: a}, {Name: "y", Source: b}}, one(1, "q", "x"))
		apply(t, r.f, []SourceSpec{{Name: "y", Source: b}}, one(1, "q", "y"))
		apply(t, r.f, []SourceSpec{{Name: "x", Source: a}}, one(1, "q", "x"))
		synctest.Wait()
		if a.isClosed() || !b.isClosed() {
			t.Errorf("closed: a %v, b %v, want only b", a.isClosed(), b.isClosed())
		}
		a.gate <- struct{}{}
		synctest.Wait()
		if a.isClosed() {
			t.Error("a is named and closed")
		}
		// A function cannot be compared: it is another source each time, and closes nothing.
		fn := SourceFunc(func(context.Context, *Batch) error { return nil })
		apply(t, r.f, []SourceSpec{{Name: "x", Source: fn}}, one(1, "q", "x"))
		apply(t, r.f, []SourceSpec{{Name: "x", Source: fn}}, one(1, "q", "x"))
		synctest.Wait()
		if !a.isClosed() {
			t.Error("a is not closed though nobody names it")
		}
		r.f.Shutdown(t.Context())
	})
}

// TestApplyKeepsRates reloads ten times a second: no token is won by it.
func TestApplyKeepsRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFake()
		limits := Limits{Rate: 100, NegativesRate: 50, Concurrency: 1, Batch: 20}
		specs := []SourceSpec{{Name: "main", Source: src, Rate: 200}}
		route := Route{ID: 1, Name: "r", Sources: []string{"main"}, Limits: limits}
		r := newRig(t, src, func(o *Options) { o.Sources, o.Routes = specs, []Route{route} })
		for i := range 3000 {
			r.get(fmt.Sprint("k", i))
			r.ask(fmt.Sprint("s", i), LaneStale)
		}
		for range 100 {
			pass(100 * time.Millisecond)
			apply(t, r.f, specs, route)
		}
		src.checkRate(t, 100+20)
		misses := 0
		for k := range src.asked {
			if k[0] == 'k' {
				misses++
			}
		}
		if misses > 50*10+20 {
			t.Errorf("%d absent keys in 10 s at 50 a second", misses)
		}
		r.close()
	})
}

// TestApplyLeavesNewRoutesTheirSlots removes a route whose loads hang: another does not wait for them.
func TestApplyLeavesNewRoutesTheirSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := newClosable(t), newClosable(t, "b")
		slow.gate = make(chan struct{})
		r := applyRig(t, slow, nil)
		r.get("a")
		synctest.Wait()
		apply(t, r.f, []SourceSpec{{Name: "quick", Source: quick}}, one(2, "q", "quick"))
		_, l := r.shelf.get("b")
		r.ring.Push(2, LaneMiss, l, []byte("b"))
		r.ring.Flush()
		synctest.Wait()
		if r.shelf.value("b") == "" {
			t.Error("the new route waits for loads of a removed one")
		}
		close(slow.gate)
		synctest.Wait()
		r.f.Shutdown(t.Context())
		r.shelf.checkAllEnded(2)
	})
}

func TestApplyTellsWhatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := newFake(), newFake("a")
		bad.err = func([]string) error { return errRefused }
		r := newRig(t, bad, func(o *Options) {
			o.Sources = append(o.Sources, SourceSpec{Name: "good", Source: good})
		})
		specs := []SourceSpec{{Name: "main", Source: bad}, {Name: "good", Source: good}}
		r.get("a")
		pass(5 * time.Second)
		if got := r.shelf.downs(); got != "[true]" {
			t.Fatalf("SourceDown calls %s", got)
		}
		apply(t, r.f, specs, one(1, "q", "good"))
		pass(3 * time.Second) // the longest backoff
		if got := r.shelf.downs(); got != "[true false]" || r.shelf.value("a") == "" {
			t.Errorf("SourceDown calls %s, got %q: the parked key has another source now", got, r.shelf.value("a"))
		}
		apply(t, r.f, specs, one(1, "q", "main"), one(2, "q", "main"))
		if got := r.shelf.downs(); got != "[true false true true]" {
			t.Errorf("SourceDown calls %s, want both routes told", got)
		}
		r.f.Shutdown(t.Context())
	})
}

// TestApplyUnderLoad reloads at random while producers push, promote and kill: no lease is lost or ended twice, no closed
// source is asked, and no source is forgotten.
func TestApplyUnderLoad(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) { playReload(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func playReload(t *testing.T, seed uint64) {
	s := newShelf(t)
	rnd := rand.New(rand.NewPCG(seed, 3))
	var all []*closable
	source := func() *closable {
		c := newClosable(t)
		n := rnd.IntN(4)
		c.err = func([]string) error {
			time.Sleep(time.Duration(n) * time.Millisecond)
			switch n {
			case 1:
				return &Error{FaultTransient, errors.New("deadlock")}
			case 2:
				return errRefused
			}
			return nil
		}
		for i := range 200 {
			c.rows[fmt.Sprint("k", 2*i)] = "row"
		}
		return c
	}
	current := map[string]*closable{"a": source(), "b": source()}
	config := func() (specs []SourceSpec, routes []Route) {
		for name := range current {
			if rnd.IntN(3) == 0 {
				current[name] = source()
			}
		}
		for _, name := range []string{"a", "b"} {
			specs = append(specs, SourceSpec{Name: name, Source: current[name], MaxLoads: 1 + rnd.IntN(3)})
			if !slices.Contains(all, current[name]) {
				all = append(all, current[name])
			}
		}
		for id := uint16(1); id <= 4; id++ {
			if rnd.IntN(4) == 0 {
				continue
			}
			r := one(id, "q", [][]string{{"a"}, {"b"}, {"a", "b"}, {"b", "a"}}[rnd.IntN(4)]...)
			r.Limits = Limits{Concurrency: 1 + rnd.IntN(4), Batch: 1 + rnd.IntN(20), Queue: 50 + rnd.IntN(200)}
			routes = append(routes, r)
		}
		return specs, routes
	}
	specs, routes := config()
	f, err := New(Options{Sources: specs, Routes: routes, Hooks: s.hooks(), Logger: zerolog.Nop(), RingSize: 64, Retries: 2})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	handed := make([]int, 3)
	for w := range handed {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(100+w)))
			ring := f.NewRing()
			for range 1500 {
				key := fmt.Sprint("k", rnd.IntN(400))
				_, l := s.get(key)
				route := uint16(1 + rnd.IntN(5)) // 5 never exists
				switch {
				case l.Serial == 0:
					ring.Promote(route, Lane(rnd.IntN(3)), s.lease(key))
				case ring.Push(route, Lane(rnd.IntN(4)), l, []byte(key)):
					handed[w]++
				default:
					s.del(key)
				}
				if rnd.IntN(10) == 0 {
					s.del(key)
				}
				if rnd.IntN(20) == 0 {
					ring.Flush()
					time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
				}
			}
			ring.Close()
		})
	}
	stop := make(chan struct{})
	go func() {
		wg.Wait()
		close(stop)
	}()
	for running := true; running; {
		select {
		case <-stop:
			running = false
		case <-time.After(time.Duration(1+rnd.IntN(10)) * time.Millisecond):
			specs, routes := config()
			if err := f.Apply(specs, routes); err != nil {
				t.Error(err)
			}
		}
	}
	if err := f.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	s.checkAllEnded(handed[0] + handed[1] + handed[2])
	if len(f.index) != 0 || f.queued != 0 {
		t.Errorf("%d leases indexed, %d queued at the end", len(f.index), f.queued)
	}
	for i, c := range all {
		named := current["a"] == c || current["b"] == c
		if c.isClosed() == named {
			t.Errorf("source %d: closed %v, named %v", i, c.isClosed(), named)
		}
	}
}
