package server

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"swordfish/protocol"
	"swordfish/store"
)

// lines collects the lines of a stats answer.
type lines struct {
	out    []byte
	binary *protocol.Request // to be answered in the binary protocol; nil: as text
}

func (l *lines) text(name, value string) {
	if l.binary != nil {
		l.out = protocol.AppendBinaryStat(l.out, l.binary, name, value)
		return
	}
	l.out = protocol.AppendStat(l.out, name, value)
}

func (l *lines) uint(name string, v uint64) { l.text(name, strconv.FormatUint(v, 10)) }
func (l *lines) int(name string, v int64)   { l.uint(name, uint64(max(v, 0))) }
func (l *lines) zero(names ...string) {
	for _, name := range names {
		l.uint(name, 0)
	}
}

// appendStats answers `stats` and its words, asked by connection conn. memcached takes a prefix for a word: `stats s` is
// `stats settings`.
func (s *Server) appendStats(out []byte, r *protocol.Request, conn uint64) []byte {
	l := lines{out: out}
	if r.NArgs == 0 {
		s.generalStats(&l)
		return protocol.AppendReply(l.out, protocol.End)
	}
	word := string(r.Args[0])
	switch {
	case strings.HasPrefix("reset", word):
		s.resetStats()
		return protocol.AppendReply(out, protocol.Reset)
	case strings.HasPrefix("detail", word):
		return s.appendDetail(out, r)
	case strings.HasPrefix("settings", word):
		s.settingsStats(&l)
	case strings.HasPrefix("conns", word):
		s.connStats(&l, conn)
	case !s.statsGroup(&l, word):
		return protocol.AppendReply(out, protocol.Error)
	}
	return protocol.AppendReply(l.out, protocol.End)
}

// statsGroup writes the groups whose names are written out in full; false: there is no such group.
func (s *Server) statsGroup(l *lines, group string) bool {
	switch group {
	case "items":
		s.itemStats(l)
	case "slabs":
		s.slabStats(l)
	case "sizes":
		l.text("sizes_status", "disabled")
	case "fish":
		s.fishStats(l)
	case "routes":
		s.routeStats(l)
	default:
		return false
	}
	return true
}

// isCachedump tells whether r is stats cachedump, which a session answers by itself. Words that come before it in memcached's
// order begin with other letters.
func isCachedump(r *protocol.Request) bool {
	return r.NArgs > 0 && strings.HasPrefix("cachedump", string(r.Args[0]))
}

func (s *Server) resetStats() {
	s.detail.clear()
	st := s.Stats()
	s.base.mu.Lock()
	s.base.st = st
	s.base.mu.Unlock()
}

// sinceReset is Stats less what `stats reset` set back.
func (s *Server) sinceReset() Stats {
	st := s.Stats()
	s.base.mu.Lock()
	base := s.base.st
	s.base.mu.Unlock()
	st.Counters.sub(&base.Counters)
	for i := range st.Latency {
		st.Latency[i] -= base.Latency[i]
	}
	st.TotalConnections -= base.TotalConnections
	st.RejectedConnections -= base.RejectedConnections
	st.ListenDisabled -= base.ListenDisabled
	st.ListenDisabledTime -= base.ListenDisabledTime
	st.Store.TotalItems -= base.Store.TotalItems
	st.Store.Evictions -= base.Store.Evictions
	st.Store.EvictedUnfetched -= base.Store.EvictedUnfetched
	st.Store.ExpiredUnfetched -= base.Store.ExpiredUnfetched
	st.Store.Reclaimed -= base.Store.Reclaimed
	st.Store.Reaped -= base.Store.Reaped
	st.Store.Crawls -= base.Store.Crawls
	st.Store.ReapLooks -= base.Store.ReapLooks
	return st
}

// leastHashPower is the log2 of the smallest table that memcached has without -o hashpower.
const leastHashPower = 16

// generalStats writes the lines of memcached 1.6.45 in its order. What has no counterpart here is 0.
func (s *Server) generalStats(l *lines) {
	st := s.sinceReset()
	n := &st.Counters
	l.int("pid", int64(os.Getpid()))
	l.int("uptime", int64(st.Uptime.Seconds()))
	l.int("time", s.wall().Unix())
	l.text("version", s.o.Version)
	l.text("libevent", "none")
	l.int("pointer_size", strconv.IntSize)
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) == nil {
		l.text("rusage_user", fmt.Sprintf("%d.%06d", use.Utime.Sec, use.Utime.Usec))
		l.text("rusage_system", fmt.Sprintf("%d.%06d", use.Stime.Sec, use.Stime.Usec))
	}
	l.int("max_connections", st.MaxConnections)
	l.int("curr_connections", st.Connections)
	l.uint("total_connections", st.TotalConnections)
	if !s.o.WaitForRoom {
		l.uint("rejected_connections", st.RejectedConnections)
	}
	l.int("connection_structures", st.Connections)
	l.uint("response_obj_oom", n.ReplyDrops)
	l.zero("response_obj_count")
	l.int("response_obj_bytes", st.ReplyBytes)
	l.int("read_buf_count", st.Workers)
	l.int("read_buf_bytes", st.Workers*readBuffer+st.InputBytes+st.InputSpare)
	l.int("read_buf_bytes_free", st.InputSpare)
	l.uint("read_buf_oom", n.InputDrops)
	l.int("reserved_fds", int64(len(s.o.Listen))+2*st.Workers)
	l.uint("cmd_get", n.CmdGet)
	l.uint("cmd_set", n.CmdSet)
	l.uint("cmd_flush", n.CmdFlush)
	l.uint("cmd_touch", n.CmdTouch)
	l.uint("cmd_meta", n.CmdMeta)
	l.uint("get_hits", n.GetHits)
	l.uint("get_misses", n.GetMisses)
	l.uint("get_expired", n.GetExpired)
	l.uint("get_flushed", n.GetFlushed)
	l.uint("delete_misses", n.DeleteMisses)
	l.uint("delete_hits", n.DeleteHits)
	l.uint("incr_misses", n.IncrMisses)
	l.uint("incr_hits", n.IncrHits)
	l.uint("decr_misses", n.DecrMisses)
	l.uint("decr_hits", n.DecrHits)
	l.uint("cas_misses", n.CasMisses)
	l.uint("cas_hits", n.CasHits)
	l.uint("cas_badval", n.CasBadval)
	l.uint("touch_hits", n.TouchHits)
	l.uint("touch_misses", n.TouchMisses)
	l.uint("store_too_large", n.StoreTooLarge)
	l.uint("store_no_memory", n.StoreNoMemory)
	l.uint("auth_cmds", n.AuthCmds)
	l.uint("auth_errors", n.AuthErrors)
	if s.o.IdleTimeout > 0 {
		l.uint("idle_kicks", n.IdleKicks)
	}
	l.uint("bytes_read", n.BytesRead)
	l.uint("bytes_written", n.BytesWritten)
	l.int("limit_maxbytes", st.Store.LimitBytes)
	if st.Accepting {
		l.uint("accepting_conns", 1)
	} else {
		l.zero("accepting_conns")
	}
	l.uint("listen_disabled_num", st.ListenDisabled)
	l.int("time_in_listen_disabled_us", st.ListenDisabledTime.Microseconds())
	l.int("threads", st.Workers)
	l.uint("conn_yields", n.ConnYields)
	l.int("hash_power_level", int64(max(st.Store.HashPower, leastHashPower)))
	l.int("hash_bytes", st.Store.HashBytes)
	l.zero("hash_is_expanding")
	if !s.o.NoReassign {
		l.zero("slab_reassign_rescues", "slab_reassign_chunk_rescues", "slab_reassign_inline_reclaim", "slab_reassign_busy_items",
			"slab_reassign_busy_deletes", "slab_reassign_busy_nomem")
		l.text("slab_reassign_last_busy_status", "none")
		l.zero("slab_reassign_running", "slabs_moved")
	}
	if !s.crawlerOff.Load() {
		l.uint("lru_crawler_running", map[bool]uint64{true: 1}[st.Store.Crawling])
		l.uint("lru_crawler_starts", st.Store.Crawls)
	}
	if !s.o.NoMaintainer {
		l.zero("lru_maintainer_juggles")
	}
	l.zero("malloc_fails")
	s.watchStats(l)
	s.tlsStats(l, n)
	l.zero("unexpected_napi_ids", "round_robin_fallback")
	l.int("bytes", st.Store.Bytes)
	l.int("curr_items", st.Store.Items)
	l.int("total_items", st.Store.TotalItems)
	l.zero("slab_global_page_pool")
	l.uint("expired_unfetched", st.Store.ExpiredUnfetched)
	l.uint("evicted_unfetched", st.Store.EvictedUnfetched)
	if !s.o.NoMaintainer {
		l.zero("evicted_active")
	}
	l.uint("evictions", st.Store.Evictions)
	l.uint("reclaimed", st.Store.Reclaimed)
	l.uint("crawler_reclaimed", st.Store.Reaped)
	l.uint("crawler_items_checked", st.Store.ReapLooks)
	l.zero("lrutail_reflocked")
	if !s.o.NoMaintainer {
		l.zero("moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims", "lru_bumps_dropped")
	}
}

// watchStats tells of watch, which stats reset does not set back, as in memcached.
func (s *Server) watchStats(l *lines) {
	st := s.watch.stats()
	l.uint("log_worker_dropped", st.Dropped)
	l.uint("log_worker_written", st.Written)
	l.uint("log_watcher_skipped", st.Skipped)
	l.uint("log_watcher_sent", st.Sent)
	l.int("log_watchers", st.Watchers)
}

// memcachedSettings are the names of `stats settings` in memcached's order, with its defaults.
var memcachedSettings = [...]Setting{
	{"maxbytes", "67108864"}, {"maxconns", "1024"}, {"tcpport", "11211"}, {"udpport", "0"}, {"inter", "127.0.0.1"},
	{"verbosity", "0"}, {"oldest", "0"}, {"evictions", "on"}, {"domain_socket", "NULL"}, {"umask", "700"},
	{"shutdown_command", "no"}, {"growth_factor", "1.25"}, {"chunk_size", "48"}, {"num_threads", "4"},
	{"num_threads_per_udp", "0"}, {"stat_key_prefix", ":"}, {"detail_enabled", "no"}, {"reqs_per_event", "20"},
	{"cas_enabled", "yes"}, {"tcp_backlog", "1024"}, {"binding_protocol", "auto-negotiate"}, {"auth_enabled_sasl", "no"},
	{"auth_enabled_ascii", "no"}, {"item_size_max", "1048576"}, {"maxconns_fast", "yes"}, {"hashpower_init", "0"},
	{"slab_reassign", "no"}, {"slab_automove", "0"}, {"slab_automove_ratio", "0.80"}, {"slab_automove_window", "10"},
	{"slab_chunk_max", "524288"}, {"lru_crawler", "no"}, {"lru_crawler_sleep", "100"}, {"lru_crawler_tocrawl", "0"},
	{"tail_repair_time", "0"}, {"flush_enabled", "yes"}, {"dump_enabled", "no"}, {"hash_algorithm", "siphash"},
	{"lru_maintainer_thread", "no"}, {"lru_segmented", "no"}, {"hot_lru_pct", "20"}, {"warm_lru_pct", "40"},
	{"hot_max_factor", "0.20"}, {"warm_max_factor", "2.00"}, {"temp_lru", "no"}, {"temporary_ttl", "61"},
	{"idle_timeout", "0"}, {"watcher_logbuf_size", "262144"}, {"worker_logbuf_size", "65536"}, {"read_buf_mem_limit", "0"},
	{"track_sizes", "no"}, {"inline_ascii_response", "no"}, {"ssl_enabled", "no"}, {"ssl_chain_cert", "(null)"},
	{"ssl_key", "(null)"}, {"ssl_verify_mode", "0"}, {"ssl_keyformat", "1"}, {"ssl_ciphers", "NULL"}, {"ssl_ca_cert", "NULL"},
	{"ssl_wbuf_size", "16384"}, {"ssl_session_cache", "no"}, {"ssl_kernel_tls", "no"}, {"ssl_min_version", "tlsv1.2"},
	{"num_napi_ids", "0"}, {"memory_file", "(null)"}, {"client_flags_size", "4"},
}

func (s *Server) settingsStats(l *lines) {
	given := make(map[string]string)
	for _, set := range s.o.Settings {
		given[set.Name] = set.Value
	}
	yes := map[bool]string{true: "yes", false: "no"}
	passes := s.o.Store.Settings()
	own := map[string]string{
		"pass_inline":           strconv.Itoa(passes.PassInline),
		"pass_background":       strconv.Itoa(passes.PassBackground),
		"maxbytes":              strconv.FormatInt(s.o.Store.Stats().LimitBytes, 10),
		"maxconns":              strconv.Itoa(s.o.MaxConns),
		"verbosity":             strconv.Itoa(int(s.verbosity.Load())),
		"num_threads":           strconv.Itoa(s.o.Workers),
		"shutdown_command":      yes[s.o.OnShutdown != nil],
		"flush_enabled":         yes[!s.o.NoFlush],
		"dump_enabled":          yes[!s.o.NoDump],
		"detail_enabled":        yes[s.detail.on.Load()],
		"stat_key_prefix":       string(s.detail.delimiter),
		"lru_crawler":           yes[!s.crawlerOff.Load()],
		"lru_maintainer_thread": yes[!s.o.NoMaintainer],
		"watcher_logbuf_size":   strconv.Itoa(cmp.Or(s.o.WatchBuffer, DefaultWatchBuffer)),
		"worker_logbuf_size":    strconv.Itoa(s.watch.gather),
		"idle_timeout":          strconv.Itoa(int(s.o.IdleTimeout.Seconds())),
	}
	own["num_threads_per_udp"] = strconv.Itoa(s.o.udpThreads())
	for _, set := range memcachedSettings {
		value := set.Value
		if v, ok := own[set.Name]; ok {
			value = v
		} else if v, ok := given[set.Name]; ok {
			value = v
		}
		l.text(set.Name, value)
		delete(given, set.Name)
	}
	for _, set := range s.o.Settings {
		if v, ok := given[set.Name]; ok {
			l.text(set.Name, cmp.Or(own[set.Name], v))
		}
	}
}

// connStats tells of the connections, of which asker is at work.
func (s *Server) connStats(l *lines, asker uint64) {
	now := s.o.Store.Now().Second()
	s.mu.Lock()
	sockets, udp := slices.Clone(s.sockets), s.udp
	s.mu.Unlock()
	for i, at := range sockets {
		id := strconv.Itoa(i + 1)
		l.text(id+":addr", at.name)
		l.text(id+":state", "conn_listening")
		l.int(id+":secs_since_last_cmd", int64(time.Since(s.birth).Seconds()))
	}
	if udp != nil {
		udp.stats(l, now)
	}
	all := s.conns.all()
	slices.SortFunc(all, func(a, b *connInfo) int { return cmp.Compare(a.id, b.id) })
	for _, c := range all {
		id := strconv.FormatUint(c.id, 10)
		state := c.state()
		if c.id == asker {
			state = "conn_parse_cmd"
		}
		l.text(id+":addr", c.remote)
		l.text(id+":listen_addr", c.local)
		l.text(id+":state", state)
		l.int(id+":secs_since_last_cmd", int64(now)-int64(c.last.Load()))
	}
}

// itemStats shows all items as one slab class, the first.
func (s *Server) itemStats(l *lines) {
	st := s.sinceReset().Store
	if st.Items == 0 {
		return
	}
	value := map[string]int64{
		"number": st.Items, "number_cold": st.Items, "age": st.Age, "mem_requested": st.Bytes, "evicted": int64(st.Evictions),
		"outofmemory": int64(st.NoMemory), "reclaimed": int64(st.Reclaimed), "expired_unfetched": int64(st.ExpiredUnfetched),
		"evicted_unfetched": int64(st.EvictedUnfetched), "crawler_reclaimed": int64(st.Reaped), "crawler_items_checked": int64(st.ReapLooks),
	}
	each := func(maintainers bool, names ...string) {
		if maintainers && s.o.NoMaintainer {
			return
		}
		for _, name := range names {
			l.int("items:1:"+name, value[name])
		}
	}
	each(false, "number")
	each(true, "number_hot", "number_warm", "number_cold", "age_hot", "age_warm")
	each(false, "age", "mem_requested", "evicted", "evicted_nonzero", "evicted_time", "outofmemory", "tailrepairs", "reclaimed",
		"expired_unfetched", "evicted_unfetched")
	each(true, "evicted_active")
	each(false, "crawler_reclaimed", "crawler_items_checked", "lrutail_reflocked")
	each(true, "moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims", "hits_to_hot", "hits_to_warm", "hits_to_cold", "hits_to_temp")
}

// slabStats shows the segments as pages of one slab class, and each item as a chunk of the average size. Chunks are free as
// long as an insert evicts nothing.
func (s *Server) slabStats(l *lines) {
	const emptyChunk = 96 // memcached's smallest
	st := s.sinceReset()
	n := &st.Counters
	segment := max(int64(s.o.Store.Settings().Segment), 1)
	pages := (st.Store.UsedBytes + segment - 1) / segment
	if items := st.Store.Items; items > 0 || s.o.Store.Stats().TotalItems > 0 { // a class that had items stays
		chunk := int64(emptyChunk)
		if items > 0 {
			chunk = max(st.Store.Bytes/items, 1)
		}
		room := st.Store.LimitBytes - st.Store.ReserveBytes - st.Store.UsedBytes
		if room < st.Store.LimitBytes/64 {
			room = 0 // what a pass has just freed
		}
		free := room / chunk
		l.int("1:chunk_size", chunk)
		l.int("1:chunks_per_page", max(segment/chunk, 1))
		l.int("1:total_pages", pages)
		l.int("1:total_chunks", items+free)
		l.int("1:used_chunks", items)
		l.int("1:free_chunks", free)
		l.zero("1:free_chunks_end")
		l.uint("1:get_hits", n.GetHits)
		l.uint("1:cmd_set", n.CmdSet)
		l.uint("1:delete_hits", n.DeleteHits)
		l.uint("1:incr_hits", n.IncrHits)
		l.uint("1:decr_hits", n.DecrHits)
		l.uint("1:cas_hits", n.CasHits)
		l.uint("1:cas_badval", n.CasBadval)
		l.uint("1:touch_hits", n.TouchHits)
		l.uint("active_slabs", 1)
	} else {
		l.uint("active_slabs", 0)
	}
	l.int("total_malloced", st.Store.UsedBytes)
}

// fishStats shows what memcached has no names for.
func (s *Server) fishStats(l *lines) {
	st := s.sinceReset()
	l.int("used_bytes", st.Store.UsedBytes)
	l.int("data", st.Store.Data)
	l.int("data_items", st.Store.References)
	l.int("data_bytes", st.Store.DataBytes)
	l.int("negative_items", st.Store.NegativeItems)
	l.int("leases", st.Store.Leases)
	l.uint("leases_full", st.Store.LeasesFull)
	l.uint("leases_killed", st.Store.LeasesKilled)
	l.uint("no_memory", st.Store.NoMemory)
	l.uint("passes", st.Store.Passes)
	l.uint("pass_records", st.Store.PassRecords)
	for kind, h := range st.Store.Holds { // lock holds of passes that touched an item
		name := "hold_" + store.HoldKind(kind).String()
		l.uint(name+"_count", h.Count)
		l.int(name+"_us_p50", h.P50.Microseconds())
		l.int(name+"_us_p99", h.P99.Microseconds())
		l.int(name+"_us_max", h.Max.Microseconds())
	}
	set := s.o.Store.Settings()
	l.int("shards", int64(set.Shards))
	l.int("segment", int64(set.Segment))
	l.uint("slow_pauses", st.Counters.SlowPauses)
	l.uint("slow_drops", st.Counters.SlowDrops)
	l.uint("reply_drops", st.Counters.ReplyDrops)
	l.uint("room_waits", st.Counters.RoomWaits)
	l.uint("input_pauses", st.Counters.InputPauses)
	l.uint("input_drops", st.Counters.InputDrops)
	l.int("input_bytes", st.InputBytes)
	l.int("reply_bytes", st.ReplyBytes)
	l.uint("auth_drops", st.Counters.AuthDrops)
	l.uint("tls_resumed", st.Counters.TLSResumed)
	l.uint("udp_received", st.Counters.UDPReceived)
	l.uint("udp_ignored", st.Counters.UDPIgnored)
	l.uint("udp_unsent", st.Counters.UDPUnsent)
	l.int("upgrade_kept", st.Inherited)
	l.int("upgrade_closed", st.LeftBehind)
	l.uint("get_answers", st.Latency.Count())
	for _, q := range []struct {
		name string
		q    float64
	}{{"get_us_p50", .5}, {"get_us_p99", .99}, {"get_us_p999", .999}} {
		l.int(q.name, st.Latency.Quantile(q.q).Microseconds())
	}
	l.int("goroutines", int64(runtime.NumGoroutine()))
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(samples) // unlike runtime.ReadMemStats it stops nobody
	l.uint("heap_bytes", samples[0].Value.Uint64())
	l.uint("gc_runs", samples[1].Value.Uint64())
}
