package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// extended is a name under -o. The check functions know memcached's bounds and sentences; nil checks nothing.
type extended struct {
	name    string
	arg     string // what its value is called; empty: it takes none
	maybe   bool   // the value may be left out
	help    string // empty: accepted without effect
	missing string // memcached's sentence where the value is left out, if it is not "Missing NAME argument"
	check   func(value string) string
	set     func(o *Options, value string)

	stat string                    // what stats settings calls it, where only this package knows the value
	as   func(value string) string // how it shows it; nil: as it was given
}

func (e *extended) head() string {
	if e.arg == "" {
		return e.name
	}
	return e.name + "=" + e.arg
}

var extendedTable = slices.Concat(tlsTable, snapshotTable, []*extended{
	// With an effect.
	{name: "idle_timeout", arg: "SECONDS", missing: "Missing numeric argument for idle_timeout", help: "close a connection that is idle this long (default 0: never)", check: between(0, 1<<31-1, ""), set: func(o *Options, v string) { o.IdleTimeout = seconds(atoi(v)) }},
	{name: "read_buf_mem_limit", arg: "MIB", help: "memory for commands on their way in and replies not taken (default 0: 64)", check: between(0, 1<<20, "could not parse argument to read_buf_mem_limit"), set: func(o *Options, v string) { o.ConnMemory = int64(atoi(v)) << 20 }, stat: "read_buf_mem_limit", as: times(1 << 20)},
	{name: "maxconns_fast", help: "refuse connections over -c at once (default)", set: func(o *Options, _ string) { o.MaxConnsFast = true }},
	{name: "no_maxconns_fast", help: "let connections over -c wait until others end", set: func(o *Options, _ string) { o.MaxConnsFast = false }},
	{name: "watcher_logbuf_size", arg: "KIB", help: "lines of watch that wait for a slow client (default 256)", check: between(0, 1<<32-1, "could not parse argument to watcher_logbuf_size"), set: func(o *Options, v string) { o.WatchBuffer = atoi(v) << 10 }},
	{name: "worker_logbuf_size", arg: "KIB", help: "lines of watch that a worker gathers (default 64)", check: between(0, 1<<32-1, "could not parse argument to worker_logbuf_size"), set: func(o *Options, v string) { o.LogBuffer = atoi(v) << 10 }},
	{name: "lru_crawler", help: "admit lru_crawler (default)", set: func(o *Options, _ string) { o.NoCrawler = false }},
	{name: "no_lru_crawler", help: "refuse lru_crawler until it is enabled", set: func(o *Options, _ string) { o.NoCrawler = true }},
	{name: "lru_maintainer", help: "show its lines in stats (default)", set: func(o *Options, _ string) { o.NoMaintainer = false }},
	{name: "no_lru_maintainer", help: "show no such lines", set: func(o *Options, _ string) { o.NoMaintainer = true }},
	{name: "slab_reassign", help: "show its lines in stats (default)", set: func(o *Options, _ string) { o.NoReassign = false }},
	{name: "no_slab_reassign", help: "show no such lines", set: func(o *Options, _ string) { o.NoReassign = true }},
	{name: "no_modern", help: "no_maxconns_fast, no_lru_crawler, no_lru_maintainer, no_slab_reassign", set: func(o *Options, _ string) {
		o.MaxConnsFast, o.NoCrawler, o.NoMaintainer, o.NoReassign = false, true, true, true
	}},
	{name: "pass_inline", arg: "NUM", help: "records looked at per lock hold before an insert (default 16)", check: between(1, 64, ""), set: func(o *Options, v string) { o.PassInline = atoi(v) }},
	{name: "pass_background", arg: "NUM", help: "records looked at per lock hold in the background (default 64)", check: between(1, 64, ""), set: func(o *Options, v string) { o.PassBack = atoi(v) }},

	{name: "no_sharing", help: "hold each value for itself, as memcached does (default: equal ones once)", set: func(o *Options, _ string) { o.NoSharing = true }},

	{name: "admin", arg: "ADDR", help: "where HTTP for operators listens: metrics, health, dashboard (default 127.0.0.1:9696; off: nowhere)", check: checkAdminAddress, set: setAdmin},
	{name: "admin_words", arg: "WHO", help: "who may send an operator's words on telnet: local, any or off (default local)", check: oneOf("it is none of local, any, off", adminWords...), set: func(o *Options, v string) { o.Admin.Words = v }},
	{name: "admin_pprof", help: "profiles of the process over HTTP, under /debug/pprof/", set: func(o *Options, _ string) { o.Admin.Pprof = true }},

	// memcached's hash table, slabs, LRU and logger, and what is not there yet.
	{name: "hashpower", arg: "NUM", missing: "Missing numeric argument for hashpower", check: hashpower, stat: "hashpower_init"},
	{name: "no_hashexpand"},
	{name: "hash_algorithm", arg: "NAME", check: oneOf("Unknown hash_algorithm option (jenkins, murmur3, xxh3)", "jenkins", "murmur3", "xxh3")},
	{name: "slab_automove", arg: "NUM", maybe: true, check: between(0, 2, "slab_automove must be between 0 and 2"), stat: "slab_automove", as: orOne},
	{name: "no_slab_automove"},
	{name: "slab_automove_ratio", arg: "NUM", check: above(0, 1, "slab_automove_ratio must be > 0 and < 1"), stat: "slab_automove_ratio", as: hundredths},
	{name: "slab_automove_window", arg: "NUM", check: between(3, 1800, "slab_automove_window must be > 2 and < 1800"), stat: "slab_automove_window"},
	{name: "slab_sizes", arg: "SIZES"},
	{name: "slab_chunk_max", arg: "KIB", check: chunkMax, stat: "slab_chunk_max", as: times(1 << 10)},
	{name: "no_chunked_items"},
	{name: "tail_repair_time", arg: "SECONDS", check: between(10, 1<<31-1, "Cannot set tail_repair_time to less than 10 seconds"), stat: "tail_repair_time", missing: "Missing numeric argument for tail_repair_time"},
	{name: "lru_crawler_sleep", arg: "MICROSECONDS", check: between(0, 1000000, "LRU crawler sleep must be between 0 and 1 second"), stat: "lru_crawler_sleep", missing: "Missing lru_crawler_sleep value"},
	{name: "lru_crawler_tocrawl", arg: "NUM", check: between(0, 1<<32-1, "lru_crawler_tocrawl takes a numeric 32bit value"), stat: "lru_crawler_tocrawl", missing: "Missing lru_crawler_tocrawl value"},
	{name: "hot_lru_pct", arg: "PERCENT", check: between(1, 79, "hot_lru_pct must be > 1 and < 80"), stat: "hot_lru_pct"},
	{name: "warm_lru_pct", arg: "PERCENT", check: between(1, 79, "warm_lru_pct must be > 1 and < 80"), stat: "warm_lru_pct"},
	{name: "hot_max_factor", arg: "NUM", check: above(0, 1e9, "hot_max_factor must be > 0"), stat: "hot_max_factor", as: hundredths},
	{name: "warm_max_factor", arg: "NUM", check: above(0, 1e9, "warm_max_factor must be > 0"), stat: "warm_max_factor", as: hundredths},
	{name: "temporary_ttl", arg: "SECONDS", check: between(0, 1<<31-1, ""), stat: "temporary_ttl"},
	{name: "track_sizes"},
	{name: "resp_obj_mem_limit", arg: "MIB", maybe: true},
	{name: "inline_ascii_resp"},
	{name: "no_inline_ascii_resp"},
	{name: "modern"},
	{name: "drop_privileges"},
	{name: "no_drop_privileges"},
	{name: "sock_cookie_id", arg: "NUM", maybe: true},
	{name: "relaxed_privileges"}, // of its debug build: its test-suite starts every server so

	// Proxy and extstore, which are not there.
	{name: "proxy_config", arg: "FILE"},
	{name: "proxy_arg", arg: "TEXT"},
	{name: "proxy_uring"},
	{name: "proxy_memprofile"},
	{name: "ext_path", arg: "FILE:SIZE"},
	{name: "ext_page_size", arg: "MIB"},
	{name: "ext_wbuf_size", arg: "MIB"},
	{name: "ext_threads", arg: "NUM"},
	{name: "ext_io_depth", arg: "NUM"},
	{name: "ext_item_size", arg: "BYTES"},
	{name: "ext_item_age", arg: "SECONDS"},
	{name: "ext_low_ttl", arg: "SECONDS"},
	{name: "ext_recache_rate", arg: "NUM"},
	{name: "ext_compact_under", arg: "NUM"},
	{name: "ext_drop_under", arg: "NUM"},
	{name: "ext_max_sleep", arg: "MICROSECONDS"},
	{name: "ext_max_frag", arg: "NUM"},
	{name: "ext_drop_unread"},
	{name: "slab_automove_freeratio", arg: "NUM"},
})

// setExtended reads the value of -o as getsubopt does: at commas, a name or name=value each.
func setExtended(l *loader, g given) {
	for _, sub := range strings.Split(g.value, ",") {
		if sub == "" {
			continue
		}
		name, value, has := strings.Cut(sub, "=")
		i := slices.IndexFunc(extendedTable, func(e *extended) bool { return e.name == name })
		if i < 0 {
			known := make([]string, 0, len(extendedTable))
			for _, e := range extendedTable {
				known = append(known, e.name)
			}
			l.fail(g.at, "-o: Illegal suboption %q; %s", name, didYouMean(name, known))
			continue
		}
		e := extendedTable[i]
		switch {
		case e.arg != "" && !has && !e.maybe:
			l.fail(g.at, "-o: %s; write %s", cmp.Or(e.missing, "Missing "+e.name+" argument"), e.head())
			continue
		case e.check != nil && has:
			if fault := e.check(value); fault != "" {
				l.fail(g.at, "-o %s: %s", e.name, fault)
				continue
			}
		}
		if e.set != nil {
			e.set(&l.c.Options, value)
			l.noteGiven(name)
		} else {
			l.note("-o %s has no effect here", e.name)
		}
		if e.stat != "" {
			if e.as != nil {
				value = e.as(value)
			}
			l.show(e.stat, value)
		}
	}
}

// show keeps a value for stats settings.
func (l *loader) show(name, value string) {
	if l.c.Shown == nil {
		l.c.Shown = map[string]string{}
	}
	l.c.Shown[name] = value
}

// The next three are how memcached shows what a check has admitted.

func orOne(value string) string { return cmp.Or(value, "1") }

func hundredths(value string) string {
	f, _ := strconv.ParseFloat(value, 64)
	return strconv.FormatFloat(f, 'f', 2, 64)
}

func times(unit int) func(string) string {
	return func(value string) string { return strconv.Itoa(atoi(value) * unit) }
}

func chunkMax(value string) string {
	n, err := strconv.Atoi(value)
	switch {
	case err != nil:
		return "could not parse argument to slab_chunk_max; write a whole number from 1 to 1024"
	case n <= 0:
		return "slab_chunk_max must be >= 0; write a whole number from 1 to 1024"
	case n > 1024:
		return "slab_chunk_max must be specified in kilobytes; write a whole number from 1 to 1024"
	}
	return ""
}

func hashpower(value string) string {
	n, err := strconv.Atoi(value)
	switch {
	case err == nil && n > 32:
		return "Initial hashtable multiplier of " + value + " is too high; write a whole number from 12 to 32"
	case err != nil || n < 12:
		return "Initial hashtable multiplier of " + value + " is too low; write a whole number from 12 to 32"
	}
	return ""
}

// between admits whole numbers; words is memcached's sentence for all others.
func between(low, high int, words string) func(string) string {
	return func(value string) string {
		n, err := strconv.Atoi(value)
		if err == nil && n >= low && n <= high {
			return ""
		}
		bounds := "write a whole number from " + strconv.Itoa(low) + " to " + strconv.Itoa(high)
		if words == "" {
			return strconv.Quote(value) + " is out of bounds; " + bounds
		}
		return words + "; " + bounds
	}
}

// above admits numbers over low and not over high.
func above(low, high float64, words string) func(string) string {
	return func(value string) string {
		f, err := strconv.ParseFloat(value, 64)
		if err == nil && f > low && f <= high {
			return ""
		}
		return words
	}
}

func oneOf(words string, names ...string) func(string) string {
	return func(value string) string {
		if slices.Contains(names, value) {
			return ""
		}
		return words
	}
}

// atoi reads what a check has admitted.
func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}
