package admin

import (
	"os"

	"swordfish/filler"
	"swordfish/server"
	"swordfish/store"
)

// Stats is the answer of /api/stats. Counters run from the start.
type Stats struct {
	Version     string  `json:"version"`
	Pid         int     `json:"pid"`
	Uptime      float64 `json:"uptime_seconds"`
	Workers     int64   `json:"workers"`
	Connections struct {
		Open     int64  `json:"open"`
		Limit    int64  `json:"limit"`
		Opened   uint64 `json:"opened"`
		Rejected uint64 `json:"rejected"`
		Idle     uint64 `json:"closed_idle"`
		Slow     uint64 `json:"closed_slow"`
		Received uint64 `json:"received_bytes"`
		Sent     uint64 `json:"sent_bytes"`
	} `json:"connections"`
	Gets struct {
		Total  uint64  `json:"total"`
		Hits   uint64  `json:"hits"`
		Misses uint64  `json:"misses"`
		Ratio  float64 `json:"hit_ratio"` // 0 to 1; 0 without gets
		P50    float64 `json:"p50_seconds"`
		P99    float64 `json:"p99_seconds"`
		P999   float64 `json:"p999_seconds"`
	} `json:"gets"`
	Sets   uint64 `json:"sets"`
	Memory struct {
		Limit   int64 `json:"limit_bytes"`
		Used    int64 `json:"used_bytes"`
		Live    int64 `json:"live_bytes"`
		Index   int64 `json:"index_bytes"`
		Reserve int64 `json:"reserve_bytes"`
	} `json:"memory"`
	Items struct {
		Held     int64  `json:"held"`
		Negative int64  `json:"negative"`
		Evicted  uint64 `json:"evicted"`
		Expired  uint64 `json:"expired"`
	} `json:"items"`
	Shared struct {
		Values int64 `json:"values"`
		Items  int64 `json:"items"`
		Bytes  int64 `json:"bytes"`
	} `json:"shared"`
	Fills struct {
		Loaded   uint64 `json:"loaded"`
		Absent   uint64 `json:"absent"`
		Failed   uint64 `json:"failed"`
		Dropped  uint64 `json:"dropped"`
		Queued   int64  `json:"queued"`
		InFlight int64  `json:"batches_in_flight"`
		Leases   int64  `json:"leases"`
	} `json:"fills"`
	Passes struct {
		Count   uint64          `json:"count"`
		Records uint64          `json:"records"`
		Holds   map[string]Hold `json:"holds"` // by what the pass does
	} `json:"passes"`
}

// Hold tells how long passes of one kind have held a lock.
type Hold struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50_seconds"`
	P99   float64 `json:"p99_seconds"`
	Max   float64 `json:"max_seconds"`
}

func (a *Admin) stats() Stats {
	st := a.o.Server.Stats()
	n, s := &st.Counters, &st.Store
	v := Stats{Version: a.o.Version, Pid: os.Getpid(), Uptime: st.Uptime.Seconds(), Workers: st.Workers, Sets: n.CmdSet}
	c := &v.Connections
	c.Open, c.Limit, c.Opened, c.Rejected = st.Connections, st.MaxConnections, st.TotalConnections, st.RejectedConnections
	c.Idle, c.Slow, c.Received, c.Sent = n.IdleKicks, n.SlowDrops, n.BytesRead, n.BytesWritten
	g := &v.Gets
	g.Total, g.Hits, g.Misses = n.GetHits+n.GetMisses, n.GetHits, n.GetMisses
	g.Ratio = ratio(float64(g.Hits), float64(g.Total))
	g.P50, g.P99, g.P999 = st.Latency.Quantile(0.5).Seconds(), st.Latency.Quantile(0.99).Seconds(), st.Latency.Quantile(0.999).Seconds()
	m := &v.Memory
	m.Limit, m.Used, m.Live, m.Index, m.Reserve = s.LimitBytes, s.UsedBytes, s.Bytes, s.HashBytes, s.ReserveBytes
	v.Items.Held, v.Items.Negative, v.Items.Evicted, v.Items.Expired = s.Items, s.NegativeItems, s.Evictions, s.Reclaimed+s.Reaped
	v.Shared.Values, v.Shared.Items, v.Shared.Bytes = s.Data, s.References, s.DataBytes
	f := sumFills(a.o.Filler.Stats())
	v.Fills.Loaded, v.Fills.Absent, v.Fills.Failed, v.Fills.Dropped = f.loaded, f.absent, f.failed, f.dropped
	v.Fills.Queued, v.Fills.InFlight, v.Fills.Leases = f.queued, f.inFlight, s.Leases
	v.Passes.Count, v.Passes.Records, v.Passes.Holds = s.Passes, s.PassRecords, make(map[string]Hold, store.HoldKinds)
	for kind, h := range s.Holds {
		v.Passes.Holds[store.HoldKind(kind).String()] = Hold{h.Count, h.P50.Seconds(), h.P99.Seconds(), h.Max.Seconds()}
	}
	return v
}

func ratio(part, all float64) float64 {
	if all == 0 {
		return 0
	}
	return part / all
}

// fills are the routes' figures together.
type fills struct {
	loaded, absent, failed, dropped uint64
	queued, inFlight                int64
}

func sumFills(routes []filler.RouteStats) (f fills) {
	for i := range routes {
		r := &routes[i]
		f.loaded += r.Stored + r.Same
		f.absent += r.Absent
		f.failed += r.Failed
		f.dropped += droppedOf(r)
		f.queued += r.Queued
		f.inFlight += r.InFlight
	}
	return f
}

func droppedOf(r *filler.RouteStats) (n uint64) {
	for _, lanes := range r.Dropped {
		for _, k := range lanes {
			n += k
		}
	}
	return n
}

// Route is one of /api/routes.
type Route struct {
	Name      string  `json:"name"`
	State     string  `json:"state"` // on, off, down
	Items     int64   `json:"items"`
	Client    int64   `json:"items_client"`
	Negative  int64   `json:"items_negative"`
	Gets      uint64  `json:"gets"`
	Hits      uint64  `json:"hits"`
	Stale     uint64  `json:"stale"`
	Misses    uint64  `json:"misses"`
	Absent    uint64  `json:"known_absent"` // of misses
	Ratio     float64 `json:"hit_ratio"`    // stale ones are hits
	Loaded    uint64  `json:"loaded"`
	NoRow     uint64  `json:"absent"`
	Failed    uint64  `json:"failed"`
	Killed    uint64  `json:"killed"`
	Dropped   uint64  `json:"dropped"`
	Queued    int64   `json:"queued"`
	InFlight  int64   `json:"batches_in_flight"`
	Batches   uint64  `json:"batches"`
	Asked     uint64  `json:"keys_asked"`
	Rows      uint64  `json:"rows"`
	LoadTime  float64 `json:"load_seconds"` // of all batches
	GetTime   float64 `json:"get_seconds"`  // of all answers
	HeldBack  bool    `json:"negatives_held"`
	Coalesced uint64  `json:"coalesced"`
}

func (a *Admin) routeViews() []Route {
	all := []Route{}
	for _, r := range a.o.Server.Routes() {
		all = append(all, routeView(&r))
	}
	return all
}

func routeView(r *server.RouteStats) Route {
	c, f := &r.Client, &r.Fills
	v := Route{
		Name: f.Name, State: "on", Items: r.Items.Items, Client: r.Items.Client, Negative: r.Items.Negative,
		Gets: c.Hits + c.Stale + c.Misses, Hits: c.Hits, Stale: c.Stale, Misses: c.Misses, Absent: c.Negative, Coalesced: c.Coalesced,
		Loaded: f.Stored + f.Same, NoRow: f.Absent, Failed: f.Failed, Killed: f.Killed + f.Skipped, Dropped: droppedOf(f),
		Queued: f.Queued, InFlight: f.InFlight, Batches: f.Batches, Asked: f.Asked, Rows: f.Rows, LoadTime: f.LoadTime.Seconds(),
		GetTime: c.Latency.Sum.Seconds(), HeldBack: f.NegativesHeld,
	}
	v.Ratio = ratio(float64(c.Hits+c.Stale), float64(v.Gets))
	switch {
	case f.Off:
		v.State = "off"
	case f.Down:
		v.State = "down"
	}
	return v
}

// Shape is one of /api/routes/unmatched.
type Shape struct {
	Shape string `json:"shape"`
	Count uint64 `json:"count"`
}

func shapes(all []server.Shape) []Shape {
	v := []Shape{}
	for _, s := range all {
		v = append(v, Shape{s.Text, s.Count})
	}
	return v
}

// Lane is one of the lanes of a route in /api/queue.
type Lane struct {
	Lane     string            `json:"lane"`
	Queued   int64             `json:"queued"`
	Came     uint64            `json:"came"`
	Promoted uint64            `json:"moved_up"`
	Dropped  map[string]uint64 `json:"dropped"` // by reason
}

// Queue is a route in /api/queue.
type Queue struct {
	Route    string `json:"route"`
	Queued   int64  `json:"queued"`
	InFlight int64  `json:"batches_in_flight"`
	Lanes    []Lane `json:"lanes"`
}

func (a *Admin) queue() []Queue {
	all := []Queue{}
	for _, f := range a.o.Filler.Stats() {
		q := Queue{Route: f.Name, Queued: f.Queued, InFlight: f.InFlight}
		for i := range filler.Lanes {
			l := Lane{Lane: filler.Lane(i).String(), Queued: f.QueuedByLane[i], Came: f.Leased[i], Promoted: f.Promoted[i], Dropped: map[string]uint64{}}
			for reason := range f.Dropped {
				if n := f.Dropped[reason][i]; n > 0 {
					l.Dropped[filler.DropReason(reason).String()] = n
				}
			}
			q.Lanes = append(q.Lanes, l)
		}
		all = append(all, q)
	}
	return all
}

// Source is one of /api/sources.
type Source struct {
	Name     string `json:"name"`
	State    string `json:"state"` // up, down, probe
	Reached  bool   `json:"reached"`
	Since    string `json:"since"`
	Loads    uint64 `json:"loads"`
	Keys     uint64 `json:"keys_asked"`
	WentDown uint64 `json:"went_down"`
	Probes   uint64 `json:"probes"`
	LastErr  string `json:"last_error,omitempty"`
}

func (a *Admin) sources() []Source {
	all := []Source{}
	for _, s := range a.o.Filler.Sources() {
		v := Source{
			Name: s.Name, State: "up", Reached: s.Reached, Since: s.Since.UTC().Format("2006-01-02T15:04:05Z"), Loads: s.Loads, Keys: s.Asked,
			WentDown: s.Opened, Probes: s.Probes, LastErr: s.LastErr,
		}
		switch {
		case s.Probing:
			v.State = "probe"
		case s.Down:
			v.State = "down"
		}
		all = append(all, v)
	}
	return all
}
