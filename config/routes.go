package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Encode says how a source's value becomes an item's bytes.
type Encode string

const (
	Raw  Encode = "raw"
	JSON Encode = "json"
	PHP  Encode = "php"
)

// Rows says how many rows of an answer belong to a key.
type Rows string

const (
	OneRow  Rows = "one"
	RowList Rows = "list"
)

// Route is a key pattern, what to load for its keys and for how long it holds.
type Route struct {
	Name      string
	Key       string // the pattern; normalizer compiles it
	Prefix    string // a client library's own prefix, stripped
	Normalize Normalize
	Parts     []string // the names of the pattern's parts, in its order
	Sources   []string // at least one; the first hit wins
	Query     string
	Keys      string // the query that enumerates its keys; empty: none
	UsesKeys  bool   // the query asks @keys, whole canonical keys

	Fresh         time.Duration // whole seconds, at least 1
	Stale         time.Duration // whole seconds, at least 1, counted from the end of Fresh
	Keep          time.Duration // whole seconds, counted from the end of Stale; 0 is off
	Negative      time.Duration // whole seconds, at least 1
	Settle        time.Duration // milliseconds; 0 is off
	Ahead         time.Duration // whole seconds; so long before the end of Fresh a value in use is loaded again; 0 is off
	JitterPercent int           // 0 to 100

	Encode       Encode
	Flags        *uint32 // nil: as the encoding has it
	Rows         Rows
	IgnoreSets   bool // on_client_set: ignore
	MissOnReload bool // on_reload: miss
	MissOnChange bool // on_change: miss
	Limits       Limits
	Watch        map[string][]string // table -> columns that are key parts
	Pos          string              // file:line, for messages
}

// Normalize is what becomes of the parts of a key.
type Normalize struct {
	Lower []string
	Drop  []string
	Alias map[string]string
}

// Limits bound what a route asks of its source.
type Limits struct {
	Batch         int           // keys in one query
	Window        time.Duration // microseconds; how long a batch may gather while all slots are busy
	Concurrency   int           // queries at a time
	Rate          float64       // rows asked a second; 0 is no limit
	Queue         int           // keys that may wait
	NegativesRate float64       // absent keys asked a second once they exceed it
	MemoryPercent int           // cap on the route's share of memory; 0 is none
}

func defaultRoute() Route {
	return Route{
		Fresh: 60 * time.Second, Stale: 10 * time.Minute, Keep: 6 * time.Hour, Negative: 20 * time.Second, Settle: time.Second,
		JitterPercent: 10, Encode: Raw, Rows: OneRow,
		Limits: Limits{Batch: 256, Window: 2 * time.Millisecond, Concurrency: 2, Queue: 100000, NegativesRate: 2000},
	}
}

// maxRoutes is what the store's route ids can tell apart.
const maxRoutes = 255

func (d *document) readRoutes(v value) {
	if !v.isNull() && !v.isList() {
		v.fail("a list is expected here; begin each route with \"- name:\"")
		return
	}
	if v.isNull() {
		return
	}
	items := v.items()
	if len(items) > maxRoutes {
		v.fail("there are %d routes; at most %d are possible", len(items), maxRoutes)
		return
	}
	for i, item := range items {
		item.where = "route " + strconv.Itoa(i+1)
		d.readRoute(item)
	}
}

var routeFields = []string{
	"name", "key", "prefix", "normalize", "source", "query", "keys", "fresh", "stale", "keep", "negative", "settle", "jitter",
	"refresh_ahead", "encode", "flags", "rows", "on_client_set", "on_reload", "on_change", "limits", "watch",
}

func (d *document) readRoute(v value) {
	if !v.isMapping() {
		v.fail("a mapping is expected here; write name: value lines")
		return
	}
	r := defaultRoute()
	// The name first, since messages about all other fields begin with it.
	if name := v.peek("name"); name != "" {
		v.where = "route " + quoted(name)
	}
	given := map[string]value{}
	for _, f := range v.fields(routeFields...) {
		given[f.name] = f.value
		d.readRouteField(&r, f)
	}
	r.Pos = position(d.file, v.line)
	if _, has := given["name"]; !has {
		v.fail("it has no name; write name: ...")
	}
	if i := slices.IndexFunc(d.l.c.Routes, func(o Route) bool { return o.Name == r.Name && r.Name != "" }); i >= 0 {
		v.fail("the route at %s has this name too; rename one of them", d.l.c.Routes[i].Pos)
	}
	if _, has := given["key"]; !has {
		v.fail("it has no key; write its pattern, such as key: \"user:{id}\"")
	}
	if rows := given["rows"]; r.Rows == RowList && r.Encode == Raw {
		rows.fail("list needs encode: json or php, since raw has no lists")
	}
	d.readAhead(&r, given["refresh_ahead"])
	d.checkSources(&r, v, given["source"])
	d.checkQuery(&r, v, given["query"])
	d.checkKeysQuery(&r, given["keys"])
	d.l.c.Routes = append(d.l.c.Routes, r)
}

func (d *document) readRouteField(r *Route, f field) {
	switch f.name {
	case "name":
		f.value.name(&r.Name)
	case "key":
		r.Key, _ = f.str("write a pattern such as user:{id}")
		r.Parts = patternParts(r.Key)
	case "prefix":
		r.Prefix, _ = f.str("write the client's prefix, or take the field out")
	case "normalize":
		d.readNormalize(&r.Normalize, f.value)
	case "source":
		r.Sources = f.strings("name a source")
	case "query":
		r.Query, _ = f.str("write the SQL")
	case "keys":
		r.Keys, _ = f.str("write the SQL that returns the parts of all keys")
	case "fresh":
		f.duration(&r.Fresh, time.Second, time.Second)
	case "stale":
		f.duration(&r.Stale, time.Second, time.Second)
	case "keep":
		f.duration(&r.Keep, 0, time.Second)
	case "negative":
		f.duration(&r.Negative, time.Second, time.Second)
	case "settle":
		f.duration(&r.Settle, 0, time.Millisecond)
	case "jitter":
		f.percent(&r.JitterPercent, 0, 100)
	case "encode":
		choice(f.value, &r.Encode, Raw, JSON, PHP)
	case "flags":
		n := -1
		if f.count(&n, 0, 1<<32-1); n >= 0 {
			flags := uint32(n)
			r.Flags = &flags
		}
	case "rows":
		choice(f.value, &r.Rows, OneRow, RowList)
	case "on_client_set":
		r.IgnoreSets = second(f.value, "accept", "ignore")
	case "on_reload":
		r.MissOnReload = second(f.value, "stale", "miss")
	case "on_change":
		r.MissOnChange = second(f.value, "stale", "miss")
		d.l.note("%s has no effect: change tracking is %s", f.where, notYet)
	case "limits":
		d.readLimits(&r.Limits, f.value)
	case "watch":
		r.Watch = map[string][]string{}
		for _, table := range f.fields() {
			r.Watch[table.name] = table.strings("name the columns that are key parts")
		}
		d.l.note("%s has no effect: change tracking is %s", f.where, notYet)
	}
}

// Of Fresh, refresh_ahead and jitter together leave at least a tenth.
const (
	defaultAhead = 10 // percent
	mostAhead    = 90
)

// readAhead turns refresh_ahead, a share of Fresh, into whole seconds. Jitter takes its share first.
func (d *document) readAhead(r *Route, at value) {
	left := max(mostAhead-r.JitterPercent, 0)
	percent := min(defaultAhead, left)
	if at.doc != nil {
		at.percent(&percent, 0, mostAhead)
		if percent > left && percent <= mostAhead {
			at.fail("%d%% and a jitter of %d%% leave too little of fresh; together they may be %d%%", percent, r.JitterPercent, mostAhead)
			return
		}
	}
	r.Ahead = (r.Fresh * time.Duration(percent) / 100).Truncate(time.Second)
}

// second reads one of two words and tells whether it is the second.
func second(v value, first, other string) bool {
	word := first
	choice(v, &word, first, other)
	return word == other
}

func (d *document) readNormalize(n *Normalize, v value) {
	for _, f := range v.fields("lower", "drop", "alias") {
		switch f.name {
		case "lower":
			n.Lower = f.strings("name the parts to fold, or take the field out")
		case "drop":
			n.Drop = f.strings("name what to drop, or take the field out")
		case "alias":
			n.Alias = map[string]string{}
			for _, a := range f.fields() {
				if part, ok := a.str("name the part it stands for"); ok {
					n.Alias[a.name] = part
				}
			}
		}
	}
}

func (d *document) readLimits(m *Limits, v value) {
	for _, f := range v.fields("batch", "window", "concurrency", "rate", "queue", "negatives_rate", "memory") {
		switch f.name {
		case "batch":
			f.count(&m.Batch, 1, 10000)
		case "window":
			f.duration(&m.Window, 0, time.Microsecond)
			if m.Window > time.Second {
				f.fail("%s is too long; write 1s or less, since a miss may wait for it", m.Window)
			}
		case "concurrency":
			f.count(&m.Concurrency, 1, 1000)
		case "rate":
			f.rate(&m.Rate)
		case "queue":
			f.count(&m.Queue, 1, 10000000)
		case "negatives_rate":
			f.rate(&m.NegativesRate)
		case "memory":
			f.percent(&m.MemoryPercent, 1, 100)
		}
	}
}

// checkSources looks the route's sources up. A file with one source needs no word about it.
func (d *document) checkSources(r *Route, v, at value) {
	if at.doc == nil {
		if len(d.l.c.Sources) == 1 {
			r.Sources = []string{d.l.c.Sources[0].Name}
			return
		}
		v.fail("it has no source; write source: and the name of one under sources")
		return
	}
	if at.isList() && len(at.items()) == 0 {
		at.fail("the list is empty; name a source")
	}
	names := make([]string, 0, len(d.l.c.Sources))
	for _, s := range d.l.c.Sources {
		names = append(names, s.Name)
	}
	for i, name := range r.Sources {
		switch {
		case !d.l.c.hasSource(name):
			at.fail("there is no source %q; %s", name, didYouMean(name, names))
		case slices.Contains(r.Sources[:i], name):
			at.fail("source %q comes twice; take one out", name)
		}
	}
}

// KeyPrint lists what makes up a route's canonical keys, in a fixed order and form. Its fingerprint changes exactly when old
// keys may be unreachable.
func (r *Route) KeyPrint() []string {
	list := []string{"key", r.Key, "prefix", r.Prefix}
	list = append(append(list, "lower"), sortedSet(r.Normalize.Lower)...)
	list = append(append(list, "drop"), sortedSet(r.Normalize.Drop)...)
	list = append(list, "alias")
	for _, name := range sortedNames(r.Normalize.Alias) {
		list = append(list, name, r.Normalize.Alias[name])
	}
	return list
}

// QueryPrint lists what makes up the values a route loads. Its fingerprint changes exactly when loaded items may be out of date.
// A source counts by its name: another password or host is still the same source.
func (r *Route) QueryPrint() []string {
	flags := "by encoding"
	if r.Flags != nil {
		flags = strconv.FormatUint(uint64(*r.Flags), 10)
	}
	return append([]string{"query", r.Query, "encode", string(r.Encode), "flags", flags, "rows", string(r.Rows), "source"}, r.Sources...)
}

func sortedSet(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func position(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }

func quoted(s string) string { return strconv.Quote(s) }

// patternParts lists the names between the braces of a key pattern; normalizer judges the rest of it.
func patternParts(key string) []string {
	var parts []string
	for {
		_, rest, found := strings.Cut(key, "{")
		if !found {
			return parts
		}
		inside, after, closed := strings.Cut(rest, "}")
		if !closed {
			return parts
		}
		name, _, _ := strings.Cut(inside, ":")
		parts = append(parts, strings.TrimSuffix(name, "?"))
		key = after
	}
}
