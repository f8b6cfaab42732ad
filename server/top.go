package server

import (
	"cmp"
	"slices"
	"strconv"

	"swordfish/store"
)

// Top is what is asked for most at the moment. Rates fade with a half-life of 30 seconds and are estimates where there are many
// gets; those of keys that are not among the most frequent may be too low.
type Top struct {
	Gets   float64    `json:"gets_per_second"` // all keys
	Routes []TopRoute `json:"routes"`
	Keys   []TopKey   `json:"keys"`
}

// TopRoute is a route among all gets; an empty name stands for the keys without a route.
type TopRoute struct {
	Route string  `json:"route"`
	Gets  float64 `json:"gets_per_second"`
	Share float64 `json:"share"` // of all gets, 0 to 1
}

// TopKey is a key, in its canonical spelling, among all gets.
type TopKey struct {
	Key   string  `json:"key"`
	Route string  `json:"route"`
	Gets  float64 `json:"gets_per_second"`
	Share float64 `json:"share"`
}

// leastRate is below what anybody would call hot: what is left of one get after some minutes.
const leastRate = 0.0005

// Top returns the n keys that are asked for most, and all routes that are asked for, the most frequent first.
func (s *Server) Top(n int) Top {
	sum := sampled{keys: make(map[sampledKey]float64)}
	now := s.o.Store.Now()
	for _, w := range s.workers {
		w.sample.addTo(&sum, now)
	}
	top := Top{Routes: []TopRoute{}, Keys: []TopKey{}}
	names := s.routeNames()
	for id, gets := range sum.routes {
		top.Gets += gets
		if name := names[store.RouteID(id)]; gets >= leastRate && (name != "" || id == 0) {
			top.Routes = append(top.Routes, TopRoute{Route: name, Gets: gets})
		}
	}
	for at, gets := range sum.keys {
		if name := names[at.route]; gets >= leastRate && (name != "" || at.route == 0) {
			top.Keys = append(top.Keys, TopKey{Key: at.key, Route: name, Gets: gets})
		}
	}
	slices.SortFunc(top.Routes, func(a, b TopRoute) int { return cmp.Or(cmp.Compare(b.Gets, a.Gets), cmp.Compare(a.Route, b.Route)) })
	slices.SortFunc(top.Keys, func(a, b TopKey) int { return cmp.Or(cmp.Compare(b.Gets, a.Gets), cmp.Compare(a.Key, b.Key)) })
	top.Keys = slices.Clip(top.Keys[:min(len(top.Keys), n)])
	for i := range top.Routes {
		top.Routes[i].Share = top.Routes[i].Gets / top.Gets
	}
	for i := range top.Keys {
		top.Keys[i].Share = min(top.Keys[i].Gets/top.Gets, 1)
	}
	return top
}

// routeNames returns the names of the live routes by id.
func (s *Server) routeNames() map[store.RouteID]string {
	names := make(map[store.RouteID]string)
	if s.o.Filler != nil {
		for _, r := range s.o.Filler.Stats() {
			names[store.RouteID(r.ID)] = r.Name
		}
	}
	return names
}

// topMost is the most keys that top shows on telnet; without a number it shows topShown.
const (
	topMost  = 128
	topShown = 20
)

func (s *Server) topText(l *text, n int) {
	top := s.Top(n)
	for _, r := range top.Routes {
		l.line("route %s gets_per_second=%s share=%.1f%%", cmp.Or(r.Route, "-"), rate(r.Gets), 100*r.Share)
	}
	for _, k := range top.Keys {
		l.line("key %s route=%s gets_per_second=%s share=%.1f%%", printable(k.Key), cmp.Or(k.Route, "-"), rate(k.Gets), 100*k.Share)
	}
}

// rate writes a rate with three digits that mean something.
func rate(r float64) string {
	if r >= 100 {
		return strconv.FormatFloat(r, 'f', 0, 64)
	}
	return strconv.FormatFloat(r, 'g', 3, 64)
}
