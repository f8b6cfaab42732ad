package admin

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"swordfish/server"
	"swordfish/store"
)

// newMetrics returns what answers /metrics: the series of metrics.md, read anew for each scrape.
func newMetrics(o *Options) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		&collector{o: o, descs: make(map[string]*prometheus.Desc)},
		ownProcess{collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})},
		collectors.NewGoCollector(collectors.WithGoCollectorMemStatsMetricsDisabled()),
	)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second, EnableOpenMetrics: false, ErrorHandling: promhttp.HTTPErrorOnError,
	})
}

// ownProcess leaves out what the process collector tells of the whole machine's network.
type ownProcess struct{ prometheus.Collector }

// Collect sends what is the process's own.
func (p ownProcess) Collect(ch chan<- prometheus.Metric) {
	all := make(chan prometheus.Metric)
	go func() {
		defer close(all)
		p.Collector.Collect(all)
	}()
	for m := range all {
		if !strings.Contains(m.Desc().String(), `"process_network_`) {
			ch <- m
		}
	}
}

// collector turns the packages' snapshots into metrics. Scrapes at the same time share nothing but the descriptions.
type collector struct {
	o     *Options
	mu    sync.Mutex
	descs map[string]*prometheus.Desc // by name
}

// Describe describes nothing: which series there are follows from the routes, which may change.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends all series.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	e := emitter{c, ch}
	e.gauge("swordfish_build_info", "Always 1; the version is in the label.", 1, label{"version", c.o.Version})
	st := c.o.Server.Stats()
	e.server(&st)
	e.store(&st.Store, c.o.Store)
	plain := c.o.Server.RouteCounters(0)
	e.latency(noRoute, &plain.Latency)
	for _, r := range c.o.Server.Routes() {
		e.route(&r)
	}
	full, unknown := c.o.Filler.RingFull()
	e.counter("swordfish_filler_unknown_total", "Keys that came to be loaded for a route that was removed.", unknown)
	e.counter("swordfish_filler_ring_full_total", "Keys that a worker could not hand over to be loaded, because its ring was full.", full)
	for _, s := range c.o.Filler.Sources() {
		e.source(&s)
	}
	if c.o.Warmer != nil {
		e.warm(c.o.Warmer.Jobs())
	}
	snap := c.o.Snapshot()
	e.snapshot(&snap)
	for reason, n := range c.o.refused.counts() {
		e.counter("swordfish_admin_requests_refused_total", "Requests to this port that were refused.", n, label{"reason", reason})
	}
}

// noRoute is the label of keys without a route. No route can be named so.
const noRoute = "-"

type label struct{ name, value string }

// emitter sends metrics of one scrape.
type emitter struct {
	c  *collector
	ch chan<- prometheus.Metric
}

func (e *emitter) desc(name, help string, labels []label) (*prometheus.Desc, []string) {
	names, values := make([]string, len(labels)), make([]string, len(labels))
	for i, l := range labels {
		names[i], values[i] = l.name, l.value
	}
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	d := e.c.descs[name]
	if d == nil {
		d = prometheus.NewDesc(name, help, names, nil)
		e.c.descs[name] = d
	}
	return d, values
}

func (e *emitter) counter(name, help string, v uint64, labels ...label) {
	e.counterf(name, help, float64(v), labels...)
}

func (e *emitter) counterf(name, help string, v float64, labels ...label) {
	d, values := e.desc(name, help, labels)
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, values...)
}

func (e *emitter) gauge(name, help string, v float64, labels ...label) {
	d, values := e.desc(name, help, labels)
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, values...)
}

// classes are counts of durations. bound is the upper end of a class, and the last class has none. Those below first go with
// it, and those above last have no bound in the metric either.
type classes struct {
	counts      []uint64
	bound       func(i int) time.Duration
	first, last int
	sum         time.Duration // of all durations; negative: it is estimated by the middles of the classes
}

const estimated = time.Duration(-1)

func (e *emitter) histogram(name, help string, c classes, labels ...label) {
	d, values := e.desc(name, help, labels)
	buckets := make(map[float64]uint64, c.last-c.first+1)
	var n uint64
	var below, middles time.Duration
	for i, k := range c.counts {
		n += k
		above := c.bound(i)
		middles += time.Duration(k) * (below + above) / 2
		if i >= c.first && i <= c.last {
			buckets[above.Seconds()] = n
		}
		below = above
	}
	if c.sum == estimated {
		c.sum = middles
	}
	e.ch <- prometheus.MustNewConstHistogram(d, n, c.sum.Seconds(), buckets, values...)
}

func (e *emitter) server(st *server.Stats) {
	n := &st.Counters
	e.gauge("swordfish_workers", "Threads that serve connections.", float64(st.Workers))
	e.gauge("swordfish_connections", "Open connections.", float64(st.Connections))
	e.gauge("swordfish_connections_limit", "Connections that may be open at a time, -c.", float64(st.MaxConnections))
	e.counter("swordfish_connections_opened_total", "Connections accepted.", st.TotalConnections)
	e.counter("swordfish_connections_rejected_total", "Connections over the limit that were refused.", st.RejectedConnections)
	e.counter("swordfish_connections_kicked_total", "Connections closed by the server.", n.IdleKicks, label{"reason", "idle"})
	e.counter("swordfish_connections_kicked_total", "", n.SlowDrops, label{"reason", "slow"})
	e.counter("swordfish_connections_kicked_total", "", n.ReplyDrops, label{"reason", "replies"})
	e.counter("swordfish_connections_kicked_total", "", n.InputDrops, label{"reason", "input"})
	e.counter("swordfish_connection_pauses_total", "Times that a connection was not read from.", n.SlowPauses, label{"reason", "output"})
	e.counter("swordfish_connection_pauses_total", "", n.InputPauses, label{"reason", "input"})
	e.gauge("swordfish_input_bytes", "Bytes held of commands that have not arrived whole.", float64(st.InputBytes))
	e.gauge("swordfish_input_spare_bytes", "Bytes of buffers that wait for such commands.", float64(st.InputSpare))
	e.gauge("swordfish_replies_bytes", "Bytes held of replies that clients have not taken.", float64(st.ReplyBytes))
	e.gauge("swordfish_accepting", "1: new connections are accepted.", truth(st.Accepting))
	e.counter("swordfish_accepting_stopped_total", "Times that new connections had to wait to be accepted.", st.ListenDisabled)
	e.counterf("swordfish_accepting_stopped_seconds_total", "How long they had to.", st.ListenDisabledTime.Seconds())
	e.counter("swordfish_connection_yields_total", "Times that a connection with much to answer let the others go first.", n.ConnYields)
	e.counter("swordfish_received_bytes_total", "Bytes read from clients.", n.BytesRead)
	e.counter("swordfish_sent_bytes_total", "Bytes written to clients.", n.BytesWritten)
	for _, l := range []struct {
		operation, result string
		n                 uint64
	}{
		{"get", "hit", n.GetHits}, {"get", "miss", n.GetMisses}, {"touch", "hit", n.TouchHits}, {"touch", "miss", n.TouchMisses},
		{"delete", "hit", n.DeleteHits}, {"delete", "miss", n.DeleteMisses}, {"incr", "hit", n.IncrHits}, {"incr", "miss", n.IncrMisses},
		{"decr", "hit", n.DecrHits}, {"decr", "miss", n.DecrMisses}, {"cas", "hit", n.CasHits}, {"cas", "miss", n.CasMisses},
		{"cas", "other", n.CasBadval},
	} {
		e.counter("swordfish_operations_total", "Operations on keys, by what they met; cas met other when the item had changed.", l.n,
			label{"operation", l.operation}, label{"result", l.result})
	}
	e.counter("swordfish_stores_total", "Values that clients stored, or tried to.", n.CmdSet)
	e.counter("swordfish_stores_refused_total", "Values refused.", n.StoreTooLarge, label{"reason", "too_large"})
	e.counter("swordfish_stores_refused_total", "", n.StoreNoMemory, label{"reason", "no_memory"})
	e.counter("swordfish_stores_put_off_total", "Writes that waited for room.", n.RoomWaits)
	e.counter("swordfish_get_misses_gone_total", "Of the misses those whose item was there and over.", n.GetExpired, label{"reason", "expired"})
	e.counter("swordfish_get_misses_gone_total", "", n.GetFlushed, label{"reason", "flushed"})
	e.counter("swordfish_flushes_total", "flush_all.", n.CmdFlush)
	e.counter("swordfish_logins_total", "Times that clients showed a password.", n.AuthCmds)
	e.counter("swordfish_logins_refused_total", "Passwords refused.", n.AuthErrors)
	e.counter("swordfish_logins_dropped_total", "Of the passwords refused those that were not looked at, because too many others waited.", n.AuthDrops)
	e.counter("swordfish_meta_commands_total", "Meta commands.", n.CmdMeta)
	e.counter("swordfish_tls_handshakes_total", "Connections that became encrypted.", n.TLSNewSessions, label{"session", "new"})
	e.counter("swordfish_tls_handshakes_total", "", n.TLSResumed, label{"session", "resumed"})
	if !st.CertificateEnd.IsZero() {
		e.gauge("swordfish_tls_certificate_end_seconds", "When the certificate that clients are shown ends, since the Unix epoch.", float64(st.CertificateEnd.Unix()))
	}
	e.counter("swordfish_udp_datagrams_total", "Datagrams that came.", n.UDPReceived)
	e.counter("swordfish_udp_datagrams_ignored_total", "Of the datagrams those without a frame that can be read, and from ports of other services.", n.UDPIgnored)
	e.counter("swordfish_udp_answers_unsent_total", "Answers to datagrams that were not sent whole.", n.UDPUnsent)
	e.watch(&st.Watch)
	e.gauge("swordfish_upgrade_connections", "Connections at the last upgrade: kept, or closed after their reply.", float64(st.Inherited), label{"fate", "kept"})
	e.gauge("swordfish_upgrade_connections", "", float64(st.LeftBehind), label{"fate", "closed"})
	e.counter("swordfish_tls_errors_total", "Connections that did not become encrypted, and encrypted ones that broke.", n.TLSHandshakeErrors, label{"kind", "handshake"})
	e.counter("swordfish_tls_errors_total", "", n.TLSProtoErrors, label{"kind", "protocol"})
}

func (e *emitter) watch(w *server.WatchStats) {
	e.gauge("swordfish_watchers", "Clients that watch.", float64(w.Watchers))
	for _, l := range []struct {
		result string
		n      uint64
	}{{"written", w.Written}, {"dropped", w.Dropped}, {"skipped", w.Skipped}, {"sent", w.Sent}} {
		e.counter("swordfish_watch_lines_total", "Lines for watchers: written by workers, dropped by them for want of room, skipped for a slow watcher, sent.",
			l.n, label{"result", l.result})
	}
}

func (e *emitter) latency(route string, l *server.RouteLatency) {
	e.histogram("swordfish_get_duration_seconds",
		"Time from the wake-up that brought a get to the end of writing its answer, by the route of its last key.",
		classes{l.Buckets[:], server.RouteLatencyBound, 0, 17, l.Sum}, label{"route", route}) // 4 us to 1 s
}

func (e *emitter) store(st *store.Stats, s *store.Store) {
	e.gauge("swordfish_memory_limit_bytes", "What everything together may take, -m.", float64(st.LimitBytes))
	e.gauge("swordfish_memory_used_bytes", "Taken of the limit, tables and free room in segments included.", float64(st.UsedBytes))
	e.gauge("swordfish_memory_reserve_bytes", "Of the limit, what is kept free.", float64(st.ReserveBytes))
	e.gauge("swordfish_memory_live_bytes", "Items and values that are held.", float64(st.Bytes))
	e.gauge("swordfish_memory_index_bytes", "Of the memory used, the indexes.", float64(st.HashBytes))
	e.gauge("swordfish_items", "Items held, of clients and of routes.", float64(st.Items))
	e.gauge("swordfish_items_negative", "Keys known to have no row.", float64(st.NegativeItems))
	e.counter("swordfish_items_stored_total", "Items that were new when they were stored.", uint64(st.TotalItems))
	e.gauge("swordfish_item_oldest_seconds", "Age of the oldest record, dead ones included.", float64(st.Age))
	e.gauge("swordfish_data", "Values held once for several items.", float64(st.Data))
	e.gauge("swordfish_data_items", "Items that have one of those values.", float64(st.References))
	e.gauge("swordfish_data_bytes", "Bytes of those values, each counted once.", float64(st.DataBytes))
	set := s.Settings()
	e.gauge("swordfish_item_limit_bytes", "What an item may have, -I.", float64(set.MaxItem))
	e.gauge("swordfish_shards", "Parts that are locked by themselves.", float64(set.Shards))
	e.gauge("swordfish_segment_bytes", "The pieces that memory is taken in.", float64(set.Segment))
	e.gauge("swordfish_leases_limit", "Leases that there is room for.", float64(set.LeaseSlots))
	e.gauge("swordfish_leases", "Keys that are being loaded, wait for it, or settle after a delete.", float64(st.Leases))
	e.counter("swordfish_leases_refused_total", "Keys that were not loaded, because the lease table was full.", st.LeasesFull)
	e.counter("swordfish_leases_killed_total", "Loads thrown away, because something newer than they happened to the key.", st.LeasesKilled)
	e.counter("swordfish_evictions_total", "Items taken out for want of memory.", st.Evictions)
	e.counter("swordfish_evictions_unfetched_total", "Of those, never read.", st.EvictedUnfetched)
	e.counter("swordfish_expired_total", "Expired items taken out.", st.Reclaimed+st.Reaped)
	e.counter("swordfish_crawls_total", "Walks in search of expired items that were asked for.", st.Crawls)
	e.gauge("swordfish_crawling", "1: such a walk is under way.", truth(st.Crawling))
	e.counter("swordfish_expired_looks_total", "Records looked at in search of expired ones.", st.ReapLooks)
	e.counter("swordfish_expired_unfetched_total", "Of those, never read.", st.ExpiredUnfetched)
	e.counter("swordfish_no_memory_total", "Times that memory for a value or its place was not to be had.", st.NoMemory)
	e.counter("swordfish_passes_total", "Pieces of work towards free memory.", st.Passes)
	e.counter("swordfish_pass_records_total", "Records that those looked at or moved.", st.PassRecords)
	for kind := range store.HoldKinds {
		times := s.HoldTimes(kind)
		e.histogram("swordfish_pass_hold_seconds", "How long passes have held a lock, and so others waited at most.",
			classes{times[:], store.HoldTimeBound, 6, 21, estimated}, label{"kind", kind.String()}) // 1 us to 34 ms
	}
}
