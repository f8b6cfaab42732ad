package main

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// figures are what a server tells at a moment. Counters run from its start.
type figures struct {
	at                          time.Time
	version                     string
	pid                         int64 // of the server; 0: not told
	uptime                      time.Duration
	connections, maxConnections int64
	hits, misses, sets          uint64
	p50, p99                    time.Duration // of gets, from the start
	used, live, limit           int64         // bytes of memory
	items, negative             int64
	values, sharedItems, shared int64 // values that several items may have, those items, and the bytes of the values
	loaded, absent, failed      uint64
	dropped                     uint64
	queued, inFlight            int64
	passes, evicted, expired    uint64
	gets                        map[string]routeCounts
	routes                      []topRoute // without rates
	keys                        []topKey
	note                        string // why something is not shown
}

// routeCounts are the counters of a route.
type routeCounts struct{ hits, misses, loaded, failed uint64 }

// topFrame is what top shows, and its JSON. Rates are over the last interval, but for those of keys.
type topFrame struct {
	Time        time.Time `json:"time"`
	Version     string    `json:"version"`
	Uptime      float64   `json:"uptime_seconds"`
	Connections int64     `json:"connections"`
	Limit       int64     `json:"connections_limit"`
	Gets        float64   `json:"gets_per_second"`
	Ratio       float64   `json:"hit_ratio"` // 0 to 1; -1 without gets
	Sets        float64   `json:"sets_per_second"`
	P50         float64   `json:"get_p50_seconds"` // from the start
	P99         float64   `json:"get_p99_seconds"`
	Memory      struct {
		Limit int64 `json:"limit_bytes"`
		Used  int64 `json:"used_bytes"`
		Live  int64 `json:"live_bytes"`
	} `json:"memory"`
	Items    int64 `json:"items"`
	Negative int64 `json:"items_negative"`
	Shared   struct {
		Values int64 `json:"values"`
		Items  int64 `json:"items"`
		Bytes  int64 `json:"bytes"`
	} `json:"shared"`
	Loads struct {
		Loaded   float64 `json:"loaded_per_second"`
		Absent   float64 `json:"absent_per_second"`
		Failed   float64 `json:"failed_per_second"`
		Dropped  float64 `json:"dropped_per_second"`
		Queued   int64   `json:"queued"`
		InFlight int64   `json:"batches_in_flight"`
	} `json:"loads"`
	Passes  float64    `json:"passes_per_second"`
	Evicted float64    `json:"evicted_per_second"`
	Expired float64    `json:"expired_per_second"`
	Routes  []topRoute `json:"routes"`
	Keys    []topKey   `json:"keys"`
	Note    string     `json:"note,omitempty"`
}

// topRoute is a route in a frame.
type topRoute struct {
	Name   string  `json:"name"`
	State  string  `json:"state"` // on, off, down
	Items  int64   `json:"items"`
	Gets   float64 `json:"gets_per_second"`
	Ratio  float64 `json:"hit_ratio"` // 0 to 1; -1 without gets
	Loaded float64 `json:"loaded_per_second"`
	Failed float64 `json:"failed_per_second"`
	Queued int64   `json:"queued"`
}

// topKey is a key that is asked for often. Its rate fades with a half-life of 30 seconds.
type topKey struct {
	Key   string  `json:"key"`
	Route string  `json:"route"`
	Gets  float64 `json:"gets_per_second"`
	Share float64 `json:"share"`
}

// since makes a frame of what has happened since before. A server that was started anew counts from 0.
func (f *figures) since(before *figures) *topFrame {
	seconds := f.at.Sub(before.at).Seconds()
	rate := func(now, then uint64) float64 {
		if seconds <= 0 || now < then {
			return 0
		}
		return math.Round(float64(now-then)/seconds*1000) / 1000
	}
	ratio := func(hits, misses float64) float64 {
		if hits+misses <= 0 {
			return -1
		}
		return math.Round(hits/(hits+misses)*1e5) / 1e5
	}
	t := &topFrame{
		Time: f.at, Version: f.version, Uptime: f.uptime.Seconds(), Connections: f.connections, Limit: f.maxConnections,
		Sets: rate(f.sets, before.sets), P50: f.p50.Seconds(), P99: f.p99.Seconds(), Items: f.items, Negative: f.negative,
		Passes: rate(f.passes, before.passes), Evicted: rate(f.evicted, before.evicted), Expired: rate(f.expired, before.expired),
		Routes: []topRoute{}, Keys: append([]topKey{}, f.keys...), Note: f.note,
	}
	hits, misses := rate(f.hits, before.hits), rate(f.misses, before.misses)
	t.Gets, t.Ratio = hits+misses, ratio(hits, misses)
	t.Memory.Limit, t.Memory.Used, t.Memory.Live = f.limit, f.used, f.live
	t.Shared.Values, t.Shared.Items, t.Shared.Bytes = f.values, f.sharedItems, f.shared
	l := &t.Loads
	l.Loaded, l.Absent, l.Failed = rate(f.loaded, before.loaded), rate(f.absent, before.absent), rate(f.failed, before.failed)
	l.Dropped, l.Queued, l.InFlight = rate(f.dropped, before.dropped), f.queued, f.inFlight
	for _, r := range f.routes {
		now, then := f.gets[r.Name], before.gets[r.Name]
		hits, misses := rate(now.hits, then.hits), rate(now.misses, then.misses)
		r.Gets, r.Ratio = hits+misses, ratio(hits, misses)
		r.Loaded, r.Failed = rate(now.loaded, then.loaded), rate(now.failed, then.failed)
		t.Routes = append(t.Routes, r)
	}
	return t
}

// lines are the frame as text. With bold, the heads of tables are.
func (t *topFrame) lines(where string, bold bool) []string {
	var all []string
	add := func(format string, args ...any) {
		all = append(all, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
	head := func(format string, args ...any) {
		line := strings.TrimRight(fmt.Sprintf(format, args...), " ")
		if bold {
			line = boldText + line + plainText
		}
		all = append(all, "", line)
	}
	add("swordfishd %s at %s, up %s; %s", t.Version, where, (time.Duration(t.Uptime) * time.Second).String(), t.Time.Format(time.DateTime))
	add("gets      %s/s, hits %s; sets %s/s; connections %d of %d", short(t.Gets), percent(t.Ratio), short(t.Sets), t.Connections, t.Limit)
	add("answers   p50 %s, p99 %s since the start", seconds6(t.P50), seconds6(t.P99))
	add("memory    %s %s of %s, %s live; %s items, %s keys known to be absent", bar(t.Memory.Used, t.Memory.Limit, 20),
		size(t.Memory.Used), size(t.Memory.Limit), size(t.Memory.Live), short(float64(t.Items)), short(float64(t.Negative)))
	add("sharing   %s values for %s items, %s", short(float64(t.Shared.Values)), short(float64(t.Shared.Items)), size(t.Shared.Bytes))
	l := &t.Loads
	add("loads     loaded %s/s, absent %s/s, failed %s/s, dropped %s/s; %d keys wait, %d batches under way",
		short(l.Loaded), short(l.Absent), short(l.Failed), short(l.Dropped), l.Queued, l.InFlight)
	add("passes    %s/s, evicted %s/s, expired %s/s", short(t.Passes), short(t.Evicted), short(t.Expired))
	if t.Note != "" {
		add("note      %s", t.Note)
	}
	if len(t.Routes) > 0 {
		head("%-24s %-5s %9s %9s %8s %9s %9s %8s", "ROUTE", "STATE", "ITEMS", "GETS/S", "HITS", "LOADED/S", "FAILED/S", "QUEUED")
		for _, r := range t.Routes {
			add("%-24s %-5s %9s %9s %8s %9s %9s %8d", r.Name, r.State, short(float64(r.Items)), short(r.Gets), percent(r.Ratio), short(r.Loaded), short(r.Failed), r.Queued)
		}
	}
	if len(t.Keys) > 0 {
		head("%9s %8s  %-24s %s", "GETS/S", "SHARE", "ROUTE", "KEY")
		for _, k := range t.Keys {
			add("%9s %8s  %-24s %s", short(k.Gets), percent(k.Share), cmp.Or(k.Route, "-"), printableKey(k.Key))
		}
	}
	return all
}

// printableKey shows a key, or another text of a client's, without what a terminal would obey.
func printableKey(s string) string {
	plain := func(r rune) bool { return r != unicode.ReplacementChar && unicode.IsPrint(r) }
	for _, r := range s {
		if !plain(r) {
			return strings.Trim(strconv.QuoteToASCII(s), `"`)
		}
	}
	return s
}

// short writes a count or a rate with three digits that mean something.
func short(v float64) string {
	for _, unit := range []string{"", " k", " M", " G"} {
		if v < 9999.5 || unit == " G" {
			switch {
			case v == math.Trunc(v) && unit == "" || v >= 100:
				return strconv.FormatFloat(v, 'f', 0, 64) + unit
			case v < 1:
				return strconv.FormatFloat(v, 'f', 2, 64) + unit
			}
			return strconv.FormatFloat(v, 'f', 1, 64) + unit
		}
		v /= 1000
	}
	return ""
}

// percent writes a share of 0 to 1; less than 0: there is none.
func percent(share float64) string {
	if share < 0 {
		return "-"
	}
	return strconv.FormatFloat(100*share, 'f', 1, 64) + "%"
}

// size writes a number of bytes.
func size(n int64) string {
	v := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if v < 1024 || unit == "GiB" {
			if unit == "B" {
				return strconv.FormatInt(n, 10) + " B"
			}
			return strconv.FormatFloat(v, 'f', 1, 64) + " " + unit
		}
		v /= 1024
	}
	return ""
}

// seconds6 writes a time of an answer.
func seconds6(s float64) string {
	if s < 0.001 {
		return strconv.FormatFloat(s*1e6, 'f', 0, 64) + " us"
	}
	return strconv.FormatFloat(s*1e3, 'f', 1, 64) + " ms"
}

// bar draws a part of a whole.
func bar(part, whole int64, width int) string {
	n := 0
	if whole > 0 {
		n = int(min(max(part, 0), whole) * int64(width) / whole)
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat("-", width-n) + "]"
}
