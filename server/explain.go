package server

import (
	"encoding/hex"
	"strconv"
	"time"

	"swordfish/filler"
	"swordfish/hasher"
	"swordfish/normalizer"
	"swordfish/protocol"
	"swordfish/store"
)

// Explanation tells of one key what a GET of it gets and why. Times are seconds from now, rounded down; negative ones have passed.
type Explanation struct {
	Key       string      `json:"key"`                 // as asked
	Route     string      `json:"route,omitempty"`     // empty: a plain key
	Canonical string      `json:"canonical,omitempty"` // of a route's key
	Parts     []Parameter `json:"parts,omitempty"`
	Why       []string    `json:"why"` // sentences: how the key became canonical, or why routes refused it

	State  string `json:"state"`  // fresh, stale, negative, absent, over, expired, flushed
	Answer string `json:"answer"` // what a GET gets now, and whether it has the key loaded

	Item *ExplainedItem `json:"item,omitempty"` // nil: there is none
	Load *ExplainedLoad `json:"load,omitempty"` // nil: a plain key
}

// ExplainedItem is what is held under the key.
type ExplainedItem struct {
	Kind     string `json:"kind"`
	Age      int64  `json:"age"` // since its fill, or since a client stored it; InVain: since it was asked for
	Fresh    *int64 `json:"fresh_for,omitempty"`
	Stale    *int64 `json:"stale_for,omitempty"`
	Keep     *int64 `json:"kept_for,omitempty"` // while no source can be reached
	Negative *int64 `json:"negative_for,omitempty"`
	Exptime  *int64 `json:"exptime_in,omitempty"`
	Touched  bool   `json:"exptime_by_client,omitempty"` // of a filled item
	Outdated bool   `json:"outdated,omitempty"`          // stale whatever its age: a client, a reload or a change said so
	Ahead    bool   `json:"refresh_ahead,omitempty"`     // fresh, and so near its end that a GET has it loaded
	InVain   bool   `json:"asked_in_vain,omitempty"`     // a client's item: the source had nothing to replace it by
	Flags    uint32 `json:"flags"`
	CAS      uint64 `json:"cas,omitempty"` // 0: no client has seen one
	Fetched  bool   `json:"fetched"`

	Size   int    `json:"value_bytes"`
	Digest string `json:"value_digest"` // the first half of the value's SHA-256
	Shared bool   `json:"value_shared"` // held apart from the item
	Keys   int    `json:"value_keys"`   // items that have it
}

// ExplainedLoad is how the key is loaded.
type ExplainedLoad struct {
	Lease    string   `json:"lease"`               // none, queued, sent, settling, settled, asked
	LeaseFor string   `json:"lease_for,omitempty"` // what it was opened for: miss, stale, refresh, warm
	Until    *float64 `json:"lease_until,omitempty"`
	Off      bool     `json:"route_off"`
	Down     bool     `json:"sources_down"`
	Refused  bool     `json:"refused"` // by the query's parameter types: never asked for
	Sources  []string `json:"sources"`

	Last *ExplainedFill `json:"last,omitempty"` // nil: it is not remembered

	Query      string      `json:"query,omitempty"`
	Parameters []Parameter `json:"parameters,omitempty"` // only where asked for
}

// ExplainedFill is the key's last load.
type ExplainedFill struct {
	Ago    int64   `json:"ago"`
	Source string  `json:"source"`
	Keys   int     `json:"batch_keys"`
	Rows   int     `json:"rows"`
	Millis float64 `json:"milliseconds"`
	Result string  `json:"result"`
	Err    string  `json:"error,omitempty"`
}

// Parameter is a part of a key, or what a query gets for it.
type Parameter struct {
	Name  string  `json:"name"`
	Value *string `json:"value"` // nil: absent, NULL
}

// Explain explains a key. It changes nothing and counts nothing, but copies the value to digest it, so it must not be called on a
// worker. parameters tells whether the values that the query gets are named.
func (s *Server) Explain(key string, parameters bool) Explanation {
	n := s.routes.Load().Explain(key)
	x := Explanation{Key: key, Route: n.Name, Canonical: n.Canonical, Why: n.Why}
	for _, p := range n.Parts {
		x.Parts = append(x.Parts, parameter(p))
	}
	canonical, id := []byte(key), store.RouteID(n.Route)
	if id != 0 {
		canonical = []byte(n.Canonical)
	}
	hash := s.o.Seed.Key(canonical)
	now := s.o.Store.Now()
	held := s.o.Store.Explain(canonical, hash, id, now)
	x.State = stateNames[held.Worth]
	if held.Worth != store.WorthNothing {
		x.Item = explainItem(&held, id, now)
	}
	var l filler.Loading
	if id != 0 && s.o.Filler != nil {
		l, _ = s.o.Filler.Loading(n.Route, canonical, hash)
	}
	if id != 0 {
		x.Load = s.explainLoad(&held, &l, now)
		if parameters {
			x.Load.Parameters = queryParameters(&n, &l)
		}
	}
	x.Answer = x.answer(&held)
	return x
}

var stateNames = [...]string{
	store.WorthNothing: "absent", store.WorthFresh: "fresh", store.WorthStale: "stale", store.WorthNegative: "negative",
	store.WorthOver: "over", store.WorthExpired: "expired", store.WorthFlushed: "flushed",
}

func parameter(p normalizer.ExplainedPart) Parameter {
	if !p.Present {
		return Parameter{Name: p.Name}
	}
	return Parameter{Name: p.Name, Value: &p.Value}
}

// queryParameters are the arrays of one that the query would get for the key alone.
func queryParameters(n *normalizer.Explanation, l *filler.Loading) []Parameter {
	if l.Route.Query == "" {
		return nil
	}
	ps := []Parameter{{Name: "@keys", Value: &n.Canonical}}
	for _, p := range n.Parts {
		one := parameter(p)
		one.Name = "@" + p.Name
		ps = append(ps, one)
	}
	return ps
}

func explainItem(h *store.Explanation, id store.RouteID, now store.Time) *ExplainedItem {
	digest := hasher.WireDigest(h.Value)
	it := &ExplainedItem{
		Age: max(int64(now.Second())-int64(h.Since), 0), Touched: h.Touched, Outdated: h.Outdated, Ahead: h.Ahead, InVain: h.Asked, Flags: h.Flags, CAS: h.CAS,
		Fetched: h.Fetched, Size: len(h.Value), Digest: hex.EncodeToString(digest[:]), Shared: h.Shared, Keys: h.Keys,
		Fresh: until(h.Fresh, now), Stale: until(h.Stale, now), Keep: until(h.Keep, now), Negative: until(h.Negative, now),
		Exptime: until(h.Deadline, now),
	}
	switch h.Kind {
	case store.KindFilled:
		it.Kind = "filled from its source"
	case store.KindNegative:
		it.Kind = "the source had no row"
	case store.KindPlaceholder:
		it.Kind = "placeholder of a client's mg"
	default:
		it.Kind = "written by a client"
		if id != 0 && h.Kind == store.KindPlain {
			it.Kind = "written by a client before the key had a route"
		}
	}
	return it
}

// until returns how many seconds there are up to a second of the item clock; nil for none.
func until(second uint32, now store.Time) *int64 {
	if second == store.NoDeadline {
		return nil
	}
	left := int64(second) - int64(now.Second())
	return &left
}

func (s *Server) explainLoad(h *store.Explanation, l *filler.Loading, now store.Time) *ExplainedLoad {
	x := &ExplainedLoad{
		Lease: leaseNames[h.Lease], Off: l.Off, Down: l.Down, Refused: l.Refused, Sources: l.Route.Sources, Query: l.Route.Query,
	}
	if h.Lease == store.LeaseQueued || h.Lease == store.LeaseSent {
		x.LeaseFor = filler.Lane(h.LeaseFor).String()
	}
	if h.LeaseUntil != 0 {
		left := float64(h.LeaseUntil-now) / 1000
		x.Until = &left
	}
	if l.Known {
		x.Last = &ExplainedFill{
			Ago: int64(time.Since(l.Last.At).Seconds()), Source: l.Last.Source, Keys: l.Last.Keys, Rows: l.Last.Rows,
			Millis: float64(l.Last.Took.Microseconds()) / 1000, Result: l.Last.Result, Err: l.Last.Err,
		}
	}
	return x
}

var leaseNames = [...]string{
	store.LeaseNone: "none", store.LeaseQueued: "queued", store.LeaseSent: "sent", store.LeaseSettling: "settling",
	store.LeaseSettled: "settled", store.LeaseAsked: "asked",
}

// answer says in a sentence what a GET gets and what follows from it.
func (x *Explanation) answer(h *store.Explanation) string {
	get := "a miss"
	if h.Worth == store.WorthFresh || h.Worth == store.WorthStale {
		get = "the value"
	}
	if len(x.Key) > protocol.MaxKey {
		return "an error: no command takes a key of more than " + strconv.Itoa(protocol.MaxKey) + " bytes"
	}
	if x.Load == nil {
		if get == "a miss" {
			return get + "; nothing is ever loaded for a plain key"
		}
		return get
	}
	return get + x.Load.follows(h)
}

// follows says whether a GET has the key loaded.
func (l *ExplainedLoad) follows(h *store.Explanation) string {
	switch {
	case h.Ahead && h.Lease == store.LeaseNone && !l.Off:
		return ", and has it loaded anew, since it is fresh for a short time yet"
	case h.Worth == store.WorthFresh:
		return ""
	case h.Worth == store.WorthNegative && l.Refused:
		return "; it is never asked for, since the query's parameter types refuse a part of it"
	case h.Worth == store.WorthNegative:
		return "; the source has no row, and is not asked again yet"
	case l.Off && (h.Lease == store.LeaseQueued || h.Lease == store.LeaseNone || h.Lease == store.LeaseSettling || h.Lease == store.LeaseSettled):
		return "; nothing is loaded, since the route is off"
	case h.Lease == store.LeaseQueued && l.Down:
		return "; its load waits until a source can be reached"
	case h.Lease == store.LeaseQueued:
		return "; its load waits its turn"
	case h.Lease == store.LeaseSent:
		return "; it is being loaded"
	case h.Lease == store.LeaseAsked:
		return "; it was asked for in vain just now, and is not asked for again yet"
	case h.Lease == store.LeaseSettled:
		return "; it was loaded since a client has deleted it, and is loaded once more when that is settled"
	case h.Lease == store.LeaseSettling:
		return ", and has it loaded; what comes counts as stale, since a client has just deleted it"
	case l.Down:
		return ", and has it loaded once a source can be reached"
	}
	return ", and has it loaded"
}
