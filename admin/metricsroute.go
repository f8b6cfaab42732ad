package admin

import (
	"swordfish/filler"
	"swordfish/server"
)

// route sends what is known of one route.
func (e *emitter) route(r *server.RouteStats) {
	name := label{"route", r.Fills.Name}
	c, f := &r.Client, &r.Fills
	e.latency(f.Name, &c.Latency)
	for _, l := range []struct {
		result string
		n      uint64
	}{{"hit", c.Hits}, {"stale", c.Stale}, {"miss", c.Misses - min(c.Negative, c.Misses)}, {"known_absent", c.Negative}} {
		e.counter("swordfish_route_gets_total",
			"Gets of keys of a route: fresh values, values past their freshness, misses, and misses of keys known to have no row.",
			l.n, name, label{"result", l.result})
	}
	for _, l := range []struct {
		kind string
		n    int64
	}{{"filled", r.Items.Items - r.Items.Client}, {"client", r.Items.Client}, {"negative", r.Items.Negative}} {
		e.gauge("swordfish_route_items", "Items held: loaded, written by clients, and keys known to have no row.", float64(l.n),
			name, label{"kind", l.kind})
	}
	e.gauge("swordfish_route_bytes", "Of its records and, where limits.memory caps it, of the values it brought.", float64(r.Items.Bytes), name)
	e.counter("swordfish_route_leases_total", "Gets that had a key loaded.", c.Leased, name)
	e.counter("swordfish_route_keys_kept_total", "Of the keys absent or failed those that a client had written, and whose item stays.", f.Kept, name)
	e.counter("swordfish_route_sets_ignored_total", "Clients' writes that were ignored, as on_client_set says.", c.Ignored, name)
	e.counter("swordfish_route_coalesced_total", "Gets that found the load of their key under way.", c.Coalesced, name)
	e.counter("swordfish_route_keys_lost_total", "Keys that could not be handed over to be loaded.", c.RingDrops, name, label{"reason", "ring"})
	e.counter("swordfish_route_keys_lost_total", "", c.NoRoom, name, label{"reason", "lease_table"})
	for i := range filler.Lanes {
		lane := label{"lane", filler.Lane(i).String()}
		e.counter("swordfish_route_keys_came_total", "Keys that came to be loaded, by why.", f.Leased[i], name, lane)
		e.counter("swordfish_route_keys_promoted_total", "Keys that became more urgent while they waited, by their new lane.", f.Promoted[i], name, lane)
		e.gauge("swordfish_route_keys_queued", "Keys that wait to be loaded.", float64(f.QueuedByLane[i]), name, lane)
	}
	for reason := range f.Dropped {
		var n uint64
		for _, k := range f.Dropped[reason] {
			n += k
		}
		e.counter("swordfish_route_keys_dropped_total", "Keys that were not loaded after all; the next get tries again.", n,
			name, label{"reason", filler.DropReason(reason).String()})
	}
	for _, l := range []struct {
		result string
		n      uint64
	}{
		{"stored", f.Stored}, {"same", f.Same}, {"absent", f.Absent}, {"failed", f.Failed}, {"killed", f.Killed + f.Skipped},
		{"too_large", f.TooLarge}, {"no_room", f.NoRoom},
	} {
		e.counter("swordfish_route_keys_loaded_total", "Ends of loads: new values, values that had not changed, no row, errors, thrown away, and two that were not kept.",
			l.n, name, label{"result", l.result})
	}
	e.load(f, name)
	e.gauge("swordfish_route_off", "1: an operator has switched the route off.", truth(f.Off), name)
	e.gauge("swordfish_route_down", "1: none of the route's sources can be reached.", truth(f.Down), name)
	e.counter("swordfish_route_negatives_held_total", "Times that this began.", f.NegativesOpened, name)
	e.gauge("swordfish_route_negatives_held", "1: keys wait because too many have no row, limits.negatives_rate.", truth(f.NegativesHeld), name)
}

// load sends how the sources were asked for a route.
func (e *emitter) load(f *filler.RouteStats, name label) {
	e.histogram("swordfish_route_load_duration_seconds", "How long sources took to answer a batch.",
		classes{f.LoadTimes[:], filler.LoadTimeBound, 0, len(f.LoadTimes) - 2, f.LoadTime}, name) // 64 us to 34 s
	e.counter("swordfish_route_batches_total", "Batches sent.", f.Batches, name)
	e.gauge("swordfish_route_batches_in_flight", "Batches that are being answered.", float64(f.InFlight), name)
	e.counter("swordfish_route_keys_asked_total", "Keys asked for, retries included.", f.Asked, name)
	e.counter("swordfish_route_keys_retried_total", "Keys sent again after a connection error.", f.Retried, name)
	e.counter("swordfish_route_batches_bisected_total", "Batches halved to find a bad key.", f.Bisected, name)
	e.counter("swordfish_route_keys_overflowed_total", "Keys sent again, because their batch had no room for their rows.", f.Overflowed, name)
	e.counter("swordfish_route_keys_refused_total", "Keys that a query's parameter types refuse: never asked for.", f.BadPart, name)
	e.counter("swordfish_route_rows_total", "Rows returned.", f.Rows, name)
	e.counter("swordfish_route_rows_ignored_total", "Rows for a key that had one, and rows for no key of the batch.", f.ExtraRows+f.BadOrd, name)
	for _, l := range []struct {
		kind string
		n    uint64
	}{
		{"query", f.QueryErrors}, {"data", f.DataErrors}, {"source", f.SourceErrors}, {"encode", f.EncodeErrors}, {"panic", f.Panics},
	} {
		e.counter("swordfish_route_errors_total", "Loads that failed (query, source, panic), keys that a database refuses (data), rows that cannot be encoded.",
			l.n, name, label{"kind", l.kind})
	}
	e.counter("swordfish_route_loads_cut_off_total", "Loads ended by our own deadline, because the source kept to none.", f.CutOff, name)
}

func (e *emitter) source(s *filler.SourceStats) {
	name := label{"source", s.Name}
	e.gauge("swordfish_source_up", "1: the source can be reached, as far as is known.", truth(!s.Down), name)
	e.counter("swordfish_source_loads_total", "Questions asked.", s.Loads, name)
	e.counter("swordfish_source_keys_asked_total", "Keys asked for.", s.Asked, name)
	e.counter("swordfish_source_went_down_total", "Times that the source could not be reached any more.", s.Opened, name)
	e.counter("swordfish_source_probes_total", "Times that it was tried whether it is back.", s.Probes, name)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
