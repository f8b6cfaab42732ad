package server

import (
	"swordfish/filler"
	"swordfish/store"
)

// RouteStats is a snapshot of one route: what clients met, what the store holds, what became of the fills.
type RouteStats struct {
	Client RouteCounters
	Items  store.RouteStats
	Fills  filler.RouteStats
}

// Routes returns the filler's routes in its order; without a filler there are none.
func (s *Server) Routes() []RouteStats {
	if s.o.Filler == nil {
		return nil
	}
	var all []RouteStats
	for _, fills := range s.o.Filler.Stats() {
		all = append(all, RouteStats{
			Client: s.RouteCounters(fills.ID),
			Items:  s.o.Store.RouteStats(store.RouteID(fills.ID)),
			Fills:  fills,
		})
	}
	return all
}

// routeStats writes the routes line by line, each name behind its route's.
func (s *Server) routeStats(l *lines) {
	yes := map[bool]uint64{true: 1}
	for _, r := range s.Routes() {
		at := r.Fills.Name + ":"
		l.uint(at+"hits", r.Client.Hits)
		l.uint(at+"stale_hits", r.Client.Stale)
		l.uint(at+"misses", r.Client.Misses)
		l.uint(at+"negative_misses", r.Client.Negative)
		l.uint(at+"leased", r.Client.Leased)
		l.uint(at+"coalesced", r.Client.Coalesced)
		l.uint(at+"dropped_ring", r.Client.RingDrops)
		l.uint(at+"dropped_lease_table", r.Client.NoRoom)
		l.uint(at+"ignored_sets", r.Client.Ignored)
		l.int(at+"items", r.Items.Items)
		l.int(at+"items_negative", r.Items.Negative)
		l.int(at+"items_client", r.Items.Client)
		l.int(at+"bytes", r.Items.Bytes)
		l.uint(at+"loaded", r.Fills.Stored+r.Fills.Same)
		l.uint(at+"loaded_same", r.Fills.Same)
		l.uint(at+"absent", r.Fills.Absent)
		l.uint(at+"absent_bad_part", r.Fills.BadPart)
		l.uint(at+"failed", r.Fills.Failed)
		l.uint(at+"kept", r.Fills.Kept)
		l.uint(at+"killed", r.Fills.Killed+r.Fills.Skipped)
		l.uint(at+"too_large", r.Fills.TooLarge)
		l.uint(at+"no_room", r.Fills.NoRoom)
		for reason := range r.Fills.Dropped {
			sum := uint64(0)
			for _, n := range r.Fills.Dropped[reason] {
				sum += n
			}
			l.uint(at+"dropped_"+filler.DropReason(reason).String(), sum)
		}
		l.uint(at+"retried", r.Fills.Retried)
		l.int(at+"queued", r.Fills.Queued)
		l.int(at+"in_flight", r.Fills.InFlight)
		l.uint(at+"batches", r.Fills.Batches)
		l.uint(at+"asked", r.Fills.Asked)
		l.uint(at+"rows", r.Fills.Rows)
		l.int(at+"load_ms", r.Fills.LoadTime.Milliseconds())
		l.uint(at+"off", yes[r.Fills.Off])
		l.uint(at+"down", yes[r.Fills.Down])
	}
}
