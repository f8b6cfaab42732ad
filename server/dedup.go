package server

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"swordfish/store"
)

// Dedup is what sharing values saves. It is counted over the items that were looked at, all of them or, in a large store, the
// first million.
type Dedup struct {
	Items  int64         `json:"items"`  // held
	Looked int64         `json:"looked"` // at; may be more than Items when items moved meanwhile
	Routes []RouteDedup  `json:"routes"`
	Data   []DatumShared `json:"most_shared"`
}

// RouteDedup is a route's part; an empty name stands for the keys without a route.
type RouteDedup struct {
	Route  string  `json:"route"`
	Items  int64   `json:"items"`
	Shared int64   `json:"items_shared"` // whose value other items have as well
	Bytes  int64   `json:"value_bytes"`  // of all values, each counted for every item that has it
	Stored int64   `json:"stored_bytes"` // the same, a shared one counted once: each item has its part of it
	Ratio  float64 `json:"ratio"`        // Bytes / Stored, 1 without values
	stored float64 // Stored before it is rounded
}

// DatumShared is a value that many items have.
type DatumShared struct {
	Size    int    `json:"size_bytes"`
	Keys    int    `json:"keys"`
	Saved   int64  `json:"saved_bytes"`
	Example string `json:"example"` // one of the keys; empty: none was met
	Route   string `json:"route"`   // of that key
}

const (
	dedupMost = 1_000_000        // records looked at
	dedupStep = 4096             // between two looks at whether the server stops
	dedupTop  = 10               // data shown
	dedupKeep = 10 * time.Second // for which an answer is good enough for the next who asks
)

// dedupCache keeps the last answer, and lets one walk at a time go on.
type dedupCache struct {
	mu   sync.Mutex
	at   time.Time
	last Dedup
}

// Dedup walks through the store, without holding anybody up, and tells what sharing saves. It takes a fraction of a second for
// a million items, so it must not be called on a worker. An answer is up to dedupKeep old. When the server stops it ends early.
func (s *Server) Dedup() Dedup {
	c := &s.dedup
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() || time.Since(c.at) >= dedupKeep {
		c.last, c.at = s.walkDedup(), time.Now()
	}
	return c.last
}

func (s *Server) walkDedup() Dedup {
	st := s.o.Store
	top := st.MostShared(dedupTop, s.watch.stopped)
	data := make([]DatumShared, len(top))
	at := make(map[uint64]*DatumShared, len(top))
	for i, d := range top {
		data[i] = DatumShared{Size: d.Size, Keys: d.Keys, Saved: d.Saved()}
		at[d.Datum] = &data[i]
	}
	names := s.routeNames()
	var routes [store.MaxRoutes + 1]RouteDedup
	looked := int64(0)
	count := func(w *store.Walked) {
		looked++
		r := &routes[w.Route]
		r.Items++
		r.Bytes += int64(w.Size)
		r.stored += float64(w.Size) / float64(w.Keys)
		if w.Keys > 1 {
			r.Shared++
		}
		if w.Datum != 0 && at[w.Datum] != nil && at[w.Datum].Example == "" {
			at[w.Datum].Example, at[w.Datum].Route = string(w.Key), names[w.Route]
		}
	}
	var c store.Cursor
	for n := 0; n < dedupMost && !s.watch.stopped() && st.Walk(&c, st.Now(), dedupStep, count); n += dedupStep {
	}
	d := Dedup{Items: st.Stats().Items, Looked: looked, Routes: []RouteDedup{}, Data: data}
	for id := range routes {
		r := &routes[id]
		r.Route = names[store.RouteID(id)]
		if r.Items == 0 || id != 0 && r.Route == "" {
			continue
		}
		r.Stored, r.Ratio = int64(r.stored+0.5), 1
		if r.stored > 0 {
			r.Ratio = float64(r.Bytes) / r.stored
		}
		d.Routes = append(d.Routes, *r)
	}
	slices.SortFunc(d.Routes, func(a, b RouteDedup) int {
		return cmp.Or(cmp.Compare(b.Bytes-b.Stored, a.Bytes-a.Stored), cmp.Compare(a.Route, b.Route))
	})
	return d
}

func (s *Server) dedupText(l *text) {
	d := s.Dedup()
	if d.Looked < d.Items {
		l.line("looked at %d of %d items", d.Looked, d.Items)
	}
	for _, r := range d.Routes {
		l.line("route %s items=%d shared=%d value_bytes=%d stored_bytes=%d ratio=%.2f",
			cmp.Or(r.Route, "-"), r.Items, r.Shared, r.Bytes, r.Stored, r.Ratio)
	}
	for _, v := range d.Data {
		example := ""
		if v.Example != "" {
			example = " example=" + printable(v.Example)
		}
		l.line("value keys=%d bytes=%d saved_bytes=%d%s", v.Keys, v.Size, v.Saved, example)
	}
}
