package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// example is the file of the documentation.
const example = `sources:
  main: {kind: postgres, dsn: "${DATABASE_URL}", max_conns: 4, statement_timeout: 2s}
routes:
  - name: characteristics
    key: "chr|country={country}|dev={dev:int}|os={os}|browser={browser}|cat={cat}|w={w:int}|h={h:int?}"
    normalize: {lower: [os, browser], drop: [utm], alias: {platform: os}}
    source: main
    query: |
      SELECT k.ord, c.payload AS value
      FROM unnest(@country::text[], @os::text[], @browser::text[], @cat::text[])
           WITH ORDINALITY AS k(country, os, browser, cat, ord)
      JOIN characteristics c USING (country, os, browser, cat)
    fresh: 60s
    stale: 10m
    keep: 6h
    negative: 20s
    jitter: 10%
    encode: php
    limits: {batch: 256, window: 2ms, concurrency: 2, rate: 20000/s, queue: 100000, negatives_rate: 2000/s}
    watch: {characteristics: [country, os, browser, cat]}
`

func TestExample(t *testing.T) {
	env := map[string]string{"DATABASE_URL": "postgres://u:geheim@db/x"}
	c := mustLoad(t, input(map[string]string{"swordfish.yaml": example}, env, "--config", "swordfish.yaml"))
	wantSources := []Source{{
		Name: "main", Kind: Postgres, DSN: []Secret{"postgres://u:geheim@db/x"}, MaxConns: 4, StatementTimeout: 2 * time.Second,
		ExecMode: Prepared, Pos: "swordfish.yaml:2",
	}}
	if !reflect.DeepEqual(c.Sources, wantSources) {
		t.Errorf("Sources = %#v", c.Sources)
	}
	if len(c.Routes) != 1 {
		t.Fatalf("%d routes, want 1", len(c.Routes))
	}
	got := c.Routes[0]
	if !strings.HasPrefix(got.Query, "SELECT k.ord, c.payload AS value\nFROM unnest(") || !strings.HasSuffix(got.Query, "cat)\n") {
		t.Errorf("Query = %q", got.Query)
	}
	got.Query = ""
	want := Route{
		Name: "characteristics", Key: "chr|country={country}|dev={dev:int}|os={os}|browser={browser}|cat={cat}|w={w:int}|h={h:int?}",
		Normalize: Normalize{Lower: []string{"os", "browser"}, Drop: []string{"utm"}, Alias: map[string]string{"platform": "os"}},
		Parts:     []string{"country", "dev", "os", "browser", "cat", "w", "h"}, Sources: []string{"main"},
		Fresh: time.Minute, Stale: 10 * time.Minute, Keep: 6 * time.Hour, Negative: 20 * time.Second, Settle: time.Second, JitterPercent: 10,
		Ahead: 6 * time.Second, Encode: PHP, Rows: OneRow,
		Limits: Limits{Batch: 256, Window: 2 * time.Millisecond, Concurrency: 2, Rate: 20000, Queue: 100000, NegativesRate: 2000},
		Watch:  map[string][]string{"characteristics": {"country", "os", "browser", "cat"}}, Pos: "swordfish.yaml:4",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if want := []string{`route "characteristics": watch has no effect: change tracking is not there yet`}; !slices.Equal(c.Notes, want) {
		t.Errorf("Notes = %q, want %q", c.Notes, want)
	}
}

// minimal is a file with one of each and nothing that can be left out.
const minimal = `sources:
  main: {kind: postgres, dsn: host=db}
routes:
  - name: user
    key: user:{id:int}
    query: SELECT ord, value FROM t WHERE id IN (@id)
`

func loadText(t *testing.T, text string) *Config {
	t.Helper()
	return mustLoad(t, input(map[string]string{"f.yaml": text}, nil, "--config=f.yaml"))
}

func TestRouteDefaults(t *testing.T) {
	c := loadText(t, minimal)
	want := defaultRoute()
	want.Ahead = 6 * time.Second
	want.Name, want.Key, want.Parts, want.Sources = "user", "user:{id:int}", []string{"id"}, []string{"main"}
	want.Query, want.Pos = "SELECT ord, value FROM t WHERE id IN (@id)", "f.yaml:4"
	if !reflect.DeepEqual(c.Routes, []Route{want}) {
		t.Errorf("got %+v\nwant %+v", c.Routes, want)
	}
	if s := c.Sources[0]; s.Kind != Postgres || !slices.Equal(s.DSN, []Secret{"host=db"}) || s.MaxConns != 4 || s.StatementTimeout != 2*time.Second || s.Rate != 0 {
		t.Errorf("source %+v", s)
	}
	if len(c.Notes) != 0 {
		t.Errorf("Notes = %q, want none", c.Notes)
	}
}

func TestEverySetting(t *testing.T) {
	c := loadText(t, `sources:
  old: {kind: postgres, dsn: [host=a, host=b], watch_dsn: host=a, rate: 500/s, exec_mode: unnamed}
  new: {kind: sqlite, path: x.db}
routes:
  - &first
    name: a
    key: "a:{x}:{y?}"
    prefix: "shop:"
    source: [old, new]
    query: "SELECT @keys, '@no', @x"
    settle: 0s
    keep: 0s
    jitter: 0%
    refresh_ahead: 90%
    encode: json
    flags: 4294967295
    rows: list
    on_client_set: ignore
    on_reload: miss
    on_change: miss
    limits: &limits {batch: 1, window: 0s, concurrency: 3, queue: 5, rate: 0.5/s, negatives_rate: 1/s, memory: 30%}
  - <<: *first
    name: b
    key: !!str "b:{x}"
    normalize:
    limits: *limits
    flags: 7
`)
	a, b := c.Routes[0], c.Routes[1]
	if a.Flags == nil || *a.Flags != 1<<32-1 {
		t.Error("flags are lost")
	}
	a.Flags = nil
	want := Route{
		Name: "a", Key: "a:{x}:{y?}", Prefix: "shop:", Parts: []string{"x", "y"}, Sources: []string{"old", "new"},
		Query: "SELECT @keys, '@no', @x", UsesKeys: true, Fresh: time.Minute, Stale: 10 * time.Minute, Negative: 20 * time.Second,
		Ahead: 54 * time.Second, Encode: JSON, Rows: RowList, IgnoreSets: true, MissOnReload: true, MissOnChange: true,
		Limits: Limits{Batch: 1, Concurrency: 3, Rate: 0.5, Queue: 5, NegativesRate: 1, MemoryPercent: 30}, Pos: "f.yaml:5",
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got  %+v\nwant %+v", a, want)
	}
	if b.Flags == nil || *b.Flags != 7 {
		t.Error("flags are not overwritten")
	}
	b.Flags = nil
	want.Name, want.Key, want.Parts, want.Pos = "b", "b:{x}", []string{"x"}, "f.yaml:22"
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got  %+v\nwant %+v", b, want)
	}
	if s := c.Sources[0]; !slices.Equal(s.DSN, []Secret{"host=a", "host=b"}) || s.WatchDSN != "host=a" || s.Rate != 500 || s.ExecMode != Unnamed {
		t.Errorf("source %#v", s)
	}
}

func TestRefreshAhead(t *testing.T) {
	for _, tt := range []struct {
		lines string
		want  time.Duration
	}{
		{"fresh: 60s", 6 * time.Second},
		{"fresh: 10s", time.Second},
		{"fresh: 9s", 0},
		{"fresh: 1h\nrefresh_ahead: 0%", 0},
		{"refresh_ahead: 50%\nfresh: 5s", 2 * time.Second},
		{"fresh: 100s\njitter: 85%", 5 * time.Second},
		{"fresh: 100s\njitter: 100%", 0},
		{"fresh: 100s\njitter: 50%\nrefresh_ahead: 40%", 40 * time.Second},
	} {
		if got := loadText(t, withRoute(tt.lines)).Routes[0].Ahead; got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.lines, got, tt.want)
		}
	}
}

func TestMemcacheSources(t *testing.T) {
	for url, want := range map[string]string{
		"10.0.0.7:11300": "10.0.0.7:11300", "10.0.0.7": "10.0.0.7:11211", "cache.local": "cache.local:11211", "::1": "[::1]:11211",
		"[::1]:11300": "[::1]:11300", "${PEER}": "peer:99", "/run/old.sock": "/run/old.sock",
	} {
		c := mustLoad(t, input(map[string]string{"f.yaml": fmt.Sprintf(`sources:
  old: {kind: memcache, url: %q, keys: {both: "b-{id}"}}
  main: {kind: postgres, dsn: a}
routes:
  - {name: peer, key: "p:{id}", source: old}
  - {name: both, key: "b:{id}", source: [old, main], query: "SELECT @id, @keys"}
`, url)}, map[string]string{"PEER": "peer:99"}, "--config=f.yaml"))
		if got := c.Sources[0].URL.Reveal(); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
		if got := c.Sources[0].Keys; len(got) != 1 || got["both"] != "b-{id}" {
			t.Errorf("keys %v", got)
		}
		if r := c.Routes[0]; r.Query != "" || c.Sources[0].ExecMode != "" {
			t.Errorf("%+v", r)
		}
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "sources:\nroutes:\n", "routes: []\n", "sources: {}\n", "null\n"} {
		if c := loadText(t, text); len(c.Routes)+len(c.Sources) != 0 {
			t.Errorf("%q gives %+v", text, c)
		}
	}
}

// withRoute is the minimal file with more lines in its route.
func withRoute(lines string) string { return minimal + indent(lines) }

func withQuery(line string) string {
	return strings.Replace(minimal, "    query: SELECT ord, value FROM t WHERE id IN (@id)\n", indent(line), 1)
}

func withSource(line string) string {
	return strings.Replace(strings.Replace(minimal, "@id", "@keys", 1), "{kind: postgres, dsn: host=db}", line, 1)
}

func indent(lines string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(lines, "\n") {
		b.WriteString("    " + line + "\n")
	}
	return b.String()
}

func TestYAMLErrors(t *testing.T) {
	const known = "known are batch, concurrency, memory, negatives_rate, queue, rate, window"
	const onlyMemcache = `f.yaml:6: route "user": query: it loads from a memcache source only, which is asked for whole keys; take the query out`
	for _, tt := range []struct {
		name string
		text string
		want string
	}{
		// The file.
		{"no YAML", "sources: [\n", `f.yaml:1: no valid YAML: sequence end token ']' not found; mind the indentation, and quote values that hold ": " or " #"`},
		{"a list", "- a\n", `f.yaml:1: a mapping is expected here; write name: value lines`},
		{"a word", "routes\n", `f.yaml:1: a mapping is expected here; write name: value lines`},
		{"unknown field", "sources: {}\nroute: []\n", `f.yaml:2: unknown field "route"; did you mean routes?`},
		{"field twice", "routes: []\nroutes: []\n", `f.yaml:2: no valid YAML: mapping key "routes" already defined at [1:1]; mind the indentation, and quote values that hold ": " or " #"`},
		{"two documents", "routes: []\n---\nroutes: []\n", `f.yaml:3: a second document begins here; put everything into one`},
		{"no anchor", "routes: *x\n", "f.yaml:1: routes: there is no anchor &x; write one or take *x out"},
		{"routes as a mapping", "routes: {a: 1}\n", `f.yaml:1: routes: a list is expected here; begin each route with "- name:"`},
		{"a route as a word", "routes: [a]\n", `f.yaml:1: route 1: a mapping is expected here; write name: value lines`},

		{"nested too deep", "routes: " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "\n", `f.yaml:1: the file is nested over 50 levels deep; flatten it`},

		// Sources.
		{"unknown source field", withSource("{kind: sqlite, path: a, pathh: b}"), `f.yaml:2: source "main": unknown field "pathh"; did you mean path?`},
		{"no kind", withSource("{path: a}"), `f.yaml:2: source "main": it has no kind; write kind: postgres, sqlite or memcache`},
		{"unknown kind", withSource("{kind: postgre, dsn: a}"), `f.yaml:2: source "main": kind: "postgre" is none of postgres, sqlite, memcache; did you mean postgres?`},
		{"no dsn", withSource("{kind: postgres}"), `f.yaml:2: source "main": a postgres source needs dsn; write it`},
		{"no path", withSource("{kind: sqlite}"), `f.yaml:2: source "main": a sqlite source needs path; write it`},
		{"path for postgres", withSource("{kind: postgres, dsn: a, path: b}"), `f.yaml:2: source "main": path: a postgres source has no path; take it out`},
		{"no url", withSource("{kind: memcache}"), "f.yaml:2: source \"main\": a memcache source needs url; write it\n" + onlyMemcache},
		{"url with a scheme", withSource(`{kind: memcache, url: "memcache://a:1"}`), "f.yaml:2: source \"main\": url: it is no address; write host:port, such as 10.0.0.7:11211\n" + onlyMemcache},
		{"url without a host", withSource(`{kind: memcache, url: ":1"}`), "f.yaml:2: source \"main\": url: it is no address; write host:port, such as 10.0.0.7:11211\n" + onlyMemcache},
		{"url with too high a port", withSource("{kind: memcache, url: a:65536}"), "f.yaml:2: source \"main\": url: it is no address; write host:port, such as 10.0.0.7:11211\n" + onlyMemcache},
		{"query for memcache", withSource("{kind: memcache, url: a}"), onlyMemcache},
		{"keys of no route", withSource("{kind: memcache, url: a, keys: {users: a}}"), `f.yaml:2: source "main": keys: users: there is no route "users"; did you mean user?` + "\n" + onlyMemcache},
		{"keys of a route of others", strings.Replace(minimal, "routes:", "  old: {kind: memcache, url: a, keys: {user: \"u-{id}\"}}\nroutes:", 1) + "    source: main\n",
			`f.yaml:3: source "old": keys: user: the route does not load from this source; take it out`},
		{"keys for sqlite", withSource("{kind: sqlite, path: a, keys: {user: a}}"), `f.yaml:2: source "main": keys: a sqlite source has no keys; take it out`},
		{"exec_mode for sqlite", withSource("{kind: sqlite, path: a, exec_mode: unnamed}"), `f.yaml:2: source "main": exec_mode: a sqlite source has no exec_mode; take it out`},
		{"exec_mode", withSource("{kind: postgres, dsn: a, exec_mode: simple}"), `f.yaml:2: source "main": exec_mode: "simple" is none of prepared, unnamed; known are prepared, unnamed`},
		{"empty dsn", withSource("{kind: postgres, dsn: }"), `f.yaml:2: source "main": dsn: it is empty; write it, or ${NAME} for an environment variable`},
		{"empty dsn list", withSource("{kind: postgres, dsn: []}"), `f.yaml:2: source "main": dsn: the list is empty; write the database's address`},
		{"no such variable", withSource(`{kind: postgres, dsn: "${DB_URL}"}`), `f.yaml:2: source "main": dsn: the environment has no DB_URL; set it, or write the value in place of ${DB_URL}`},
		{"empty variable", withSource(`{kind: postgres, dsn: "${EMPTY}"}`), `f.yaml:2: source "main": dsn: it is empty once its variables are put in; set them`},
		{"open variable", withSource(`{kind: postgres, dsn: "a${DB"}`), `f.yaml:2: source "main": dsn: a ${ is not followed by a variable's name and }; write ${NAME}`},
		{"connections", withSource("{kind: sqlite, path: a, max_conns: 0}"), `f.yaml:2: source "main": max_conns: 0 is out of bounds; write a number from 1 to 1000`},
		{"timeout", withSource("{kind: sqlite, path: a, statement_timeout: 1ms}"), `f.yaml:2: source "main": statement_timeout: 1ms is too short; write 10ms or more`},
		{"source name", "sources:\n  a b: {kind: sqlite, path: a}\n", `f.yaml:2: source "a b": this is no name; use letters, digits, _ . and -, first a letter, at most 64 in all`},

		// Routes.
		{"unknown route field", withRoute("negativ: 3s"), `f.yaml:7: route "user": unknown field "negativ"; did you mean negative?`},
		{"unknown limit", withRoute("limits:\n  parallel: 3"), `f.yaml:8: route "user": limits: unknown field "parallel"; ` + known},
		{"unknown normalize field", withRoute("normalize: {lowre: [id]}"), `f.yaml:7: route "user": normalize: unknown field "lowre"; did you mean lower?`},
		{"no name", "routes:\n  - key: a:{b}\n    source: x\n    query: SELECT @b\n", "f.yaml:2: route 1: it has no name; write name: ...\n" + `f.yaml:3: route 1: source: there is no source "x"; none is known`},
		{"bad name", strings.Replace(minimal, "name: user", "name: us er", 1), `f.yaml:4: route "us er": name: "us er" is no name; use letters, digits, _ . and -, first a letter, at most 64 in all`},
		{"name twice", minimal + strings.SplitAfter(minimal, "routes:\n")[1], `f.yaml:7: route "user": the route at f.yaml:4 has this name too; rename one of them`},
		{"no key", strings.Replace(minimal, "    key: user:{id:int}\n", "", 1), `f.yaml:4: route "user": it has no key; write its pattern, such as key: "user:{id}"`},
		{"no query", withQuery("fresh: 1s"), `f.yaml:4: route "user": it has no query; write the SQL that loads its keys`},
		{"no source", strings.Replace(minimal, "  main:", "  a: {kind: sqlite, path: a}\n  main:", 1), `f.yaml:5: route "user": it has no source; write source: and the name of one under sources`},
		{"unknown source", withRoute("source: mian"), `f.yaml:7: route "user": source: there is no source "mian"; did you mean main?`},
		{"source twice", withRoute("source: [main, main]"), `f.yaml:7: route "user": source: source "main" comes twice; take one out`},
		{"no sources", withRoute("source: []"), `f.yaml:7: route "user": source: the list is empty; name a source`},

		// Queries.
		{"unknown part", withQuery("query: SELECT @idd"), `f.yaml:6: route "user": query: it asks for @idd, and there is no such parameter; did you mean id?`},
		{"a part with sqlite", strings.Replace(minimal, "kind: postgres, dsn: host=db", "kind: sqlite, path: a", 1), `f.yaml:6: route "user": query: it asks for @id, and there is no such parameter; known are batch, keys`},
		{"no part", withQuery("query: SELECT 1"), `f.yaml:6: route "user": query: it asks for no part of the key, so every key would load the same; use @id, @keys`},
		{"part in a comment only", withQuery("query: |\n  -- @id\n  SELECT '@id' /* @id */"), `f.yaml:6: route "user": query: it asks for no part of the key, so every key would load the same; use @id, @keys`},
		{"query as a list", withQuery("query: [a]"), `f.yaml:6: route "user": query: one plain value is expected here; write the SQL`},
		{"variables are for secrets", withQuery(`query: "SELECT ${DB_URL}"`), `f.yaml:6: route "user": query: it asks for no part of the key, so every key would load the same; use @id, @keys`},

		// Values.
		{"duration without unit", withRoute("fresh: 60"), `f.yaml:7: route "user": fresh: 60 has no unit; write 60s for seconds`},
		{"duration word", withRoute("fresh: soon"), `f.yaml:7: route "user": fresh: "soon" is no duration; write one such as 60s, 10m or 6h`},
		{"duration under a second", withRoute("negative: 500ms"), `f.yaml:7: route "user": negative: 500ms is too short; write 1s or more`},
		{"duration not whole", withRoute("stale: 1500ms"), `f.yaml:7: route "user": stale: 1500ms is no whole number of seconds; round it`},
		{"duration too long", withRoute("keep: 90000h"), `f.yaml:7: route "user": keep: 90000h is too long; write 87600h (ten years) or less`},
		{"duration negative", withRoute("settle: -1s"), `f.yaml:7: route "user": settle: -1s is too short; write 0s or more`},
		{"duration empty", withRoute("fresh:"), `f.yaml:7: route "user": fresh: it is empty; write a duration such as 60s`},
		{"window", withRoute("limits: {window: 2s}"), `f.yaml:7: route "user": limits: window: 2s is too long; write 1s or less, since a miss may wait for it`},
		{"rate without unit", withRoute("limits: {rate: 20000}"), `f.yaml:7: route "user": limits: rate: 20000 has no unit; write 20000/s`},
		{"rate a minute", withRoute("limits: {rate: 20000/m}"), `f.yaml:7: route "user": limits: rate: "20000/m" is no rate; write one such as 20000/s`},
		{"rate zero", withRoute("limits: {rate: 0/s}"), `f.yaml:7: route "user": limits: rate: 0/s is out of bounds; write a rate over 0/s and up to 1000000000/s`},
		{"percentage without sign", withRoute("jitter: 10"), `f.yaml:7: route "user": jitter: 10 has no unit; write 10%`},
		{"percentage word", withRoute("jitter: some"), `f.yaml:7: route "user": jitter: "some" is no percentage; write a whole one such as 10%`},
		{"percentage out of bounds", withRoute("jitter: 101%"), `f.yaml:7: route "user": jitter: 101% is out of bounds; write 0% to 100%`},
		{"refresh_ahead without sign", withRoute("refresh_ahead: 10"), `f.yaml:7: route "user": refresh_ahead: 10 has no unit; write 10%`},
		{"refresh_ahead out of bounds", withRoute("refresh_ahead: 91%"), `f.yaml:7: route "user": refresh_ahead: 91% is out of bounds; write 0% to 90%`},
		{"refresh_ahead and jitter", withRoute("jitter: 50%\nrefresh_ahead: 41%"), `f.yaml:8: route "user": refresh_ahead: 41% and a jitter of 50% leave too little of fresh; together they may be 90%`},
		{"number", withRoute("limits: {batch: many}"), `f.yaml:7: route "user": limits: batch: "many" is no whole number; write one from 1 to 10000`},
		{"number out of bounds", withRoute("flags: 4294967296"), `f.yaml:7: route "user": flags: 4294967296 is out of bounds; write a number from 0 to 4294967295`},
		{"encode", withRoute("encode: igbinary"), `f.yaml:7: route "user": encode: "igbinary" is none of raw, json, php; known are json, php, raw`},
		{"rows", withRoute("rows: many"), `f.yaml:7: route "user": rows: "many" is none of one, list; known are list, one`},
		{"rows without encoding", withRoute("encode: raw\nrows: list"), `f.yaml:8: route "user": rows: list needs encode: json or php, since raw has no lists`},
		{"on_client_set", withRoute("on_client_set: acept"), `f.yaml:7: route "user": on_client_set: "acept" is none of accept, ignore; did you mean accept?`},
		{"a list where a value belongs", withRoute("fresh: [60s]"), `f.yaml:7: route "user": fresh: one plain value is expected here; write a duration such as 60s`},
		{"lower as a mapping", withRoute("normalize: {lower: {a: b}}"), `f.yaml:7: route "user": normalize: lower: one plain value is expected here; name the parts to fold, or take the field out`},
		{"limits as a word", withRoute("limits: none"), `f.yaml:7: route "user": limits: a mapping is expected here; write name: value lines`},
		{"several, by line", withRoute("fresh: 0s\njitter: x\nfresch: 1"), `f.yaml:7: route "user": fresh: 0s is too short; write 1s or more` + "\n" +
			`f.yaml:8: route "user": jitter: "x" is no percentage; write a whole one such as 10%` + "\n" +
			`f.yaml:9: route "user": unknown field "fresch"; did you mean fresh?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, input(map[string]string{"f.yaml": tt.text}, map[string]string{"EMPTY": ""}, "--config=f.yaml"), tt.want)
		})
	}
}

func TestManyProblemsAreCut(t *testing.T) {
	text := minimal
	for i := range 50 {
		text += fmt.Sprintf("    unknown%d: 1\n", i)
	}
	_, err := Load(input(map[string]string{"f.yaml": text}, nil, "--config=f.yaml"))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if last := lines[len(lines)-1]; len(lines) != maxProblems+1 || last != "f.yaml: and 30 more" {
		t.Errorf("%d lines, the last %q", len(lines), last)
	}
}

func TestTooManyRoutes(t *testing.T) {
	text := "routes:\n" + strings.Repeat("  - {}\n", maxRoutes+1)
	wantError(t, input(map[string]string{"f.yaml": text}, nil, "--config=f.yaml"), `f.yaml:2: routes: there are 256 routes; at most 255 are possible`)
}

func TestQueryArgs(t *testing.T) {
	for _, tt := range []struct{ name, sql, want string }{
		{"several, once each", "SELECT @b, @a, @b::int, @c_1", "b a c_1"},
		{"in quotes", `SELECT '@a', 'it''s @a', "@a", "x""@a", @b`, "b"},
		{"escapes", `SELECT E'\'@a', e'@a', 'x\', @b`, "b"},
		{"comments", "SELECT 1 -- @a\n, @b /* @a /* @a */ @a */, @c", "b c"},
		{"operators", "SELECT a @> b, a <@ b, a @@ b, @ -5, a @1, x@y", "y"},
		{"open quote", "SELECT '@a", ""},
		{"open comment", "SELECT /* @a", ""},
		{"at the end", "SELECT @", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(queryArgs(tt.sql), " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSecretsAreHidden(t *testing.T) {
	c := mustLoad(t, input(map[string]string{"f.yaml": withSource(`{kind: postgres, dsn: "pw=${PW}", watch_dsn: "${PW}"}`)}, map[string]string{"PW": "geheim"}, "--config=f.yaml"))
	if got := c.Sources[0].DSN[0].Reveal(); got != "pw=geheim" {
		t.Errorf("Reveal = %q", got)
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(c.Sources), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", c.Sources), fmt.Sprintf("%q", c.Sources[0].DSN), string(encoded)} {
		if strings.Contains(shown, "geheim") || !strings.Contains(shown, "(hidden)") {
			t.Errorf("the password shows: %s", shown)
		}
	}
}

func TestPrints(t *testing.T) {
	base := loadText(t, withRoute("normalize: {lower: [id], drop: [b, a], alias: {}}")).Routes[0]
	same := loadText(t, withRoute("normalize: {drop: [a, b, a], lower: [id]}\nfresh: 5s\nlimits: {batch: 3}")).Routes[0]
	if !slices.Equal(base.KeyPrint(), same.KeyPrint()) || !slices.Equal(base.QueryPrint(), same.QueryPrint()) {
		t.Errorf("the order of names or a limit changed a print: %q and %q", base.KeyPrint(), same.KeyPrint())
	}
	if want := []string{"key", "user:{id:int}", "prefix", "", "lower", "id", "drop", "a", "b", "alias"}; !slices.Equal(base.KeyPrint(), want) {
		t.Errorf("KeyPrint = %q, want %q", base.KeyPrint(), want)
	}
	if want := []string{"query", base.Query, "encode", "raw", "flags", "by encoding", "rows", "one", "source", "main"}; !slices.Equal(base.QueryPrint(), want) {
		t.Errorf("QueryPrint = %q, want %q", base.QueryPrint(), want)
	}
	for _, tt := range []struct {
		lines      string
		key, query bool // which print changes
	}{
		{"normalize: {lower: [id], drop: [b]}", true, false},
		{"normalize: {lower: [id], drop: [a, b], alias: {x: id}}", true, false},
		{"normalize: {lower: [id], drop: [a, b]}\nprefix: x", true, false},
		{"normalize: {lower: [id], drop: [a, b]}\nencode: json", false, true},
		{"normalize: {lower: [id], drop: [a, b]}\nflags: 0", false, true},
		{"normalize: {lower: [id], drop: [a, b]}\nencode: json\nrows: list", false, true},
	} {
		r := loadText(t, withRoute(tt.lines)).Routes[0]
		if slices.Equal(r.KeyPrint(), base.KeyPrint()) == tt.key || slices.Equal(r.QueryPrint(), base.QueryPrint()) == tt.query {
			t.Errorf("%s: prints %q and %q", tt.lines, r.KeyPrint(), r.QueryPrint())
		}
	}
}

func FuzzYAML(f *testing.F) {
	f.Add(example)
	f.Add(minimal)
	f.Add("a: &a [*a]\nroutes: *a\n")
	f.Add("routes:\n  - &x {<<: *x, name: a}\n")
	f.Add("--- !!map\nsources: {a: !!str b}\n...\n")
	f.Add("? a\n: b\n")
	f.Add("routes: |\n  x\nsources: >-\n  y\n")
	f.Fuzz(func(t *testing.T, text string) {
		checkLoad(t, input(map[string]string{"f.yaml": text}, map[string]string{"DATABASE_URL": "x"}, "--config=f.yaml"))
	})
}

func FuzzArgs(f *testing.F) {
	f.Add("-m 64 -p 11211 -vv -l 127.0.0.1", debianConf)
	f.Add("--memory-limit=64 -o idle_timeout=5,modern --port", "-o")
	f.Add("-l [::1]:5,proto[ascii]:tag_a_:x -I 5k", "-d\nlogfile x\n'\"\\")
	f.Fuzz(func(t *testing.T, args, conf string) {
		checkLoad(t, input(map[string]string{"c": conf}, nil, append(strings.Split(args, " "), "--memcached-conf", "c")...))
	})
}

// checkLoad holds what Load promises for any input: a valid Config or an error that says something.
func checkLoad(t *testing.T, in Input) {
	t.Helper()
	c, err := Load(in)
	if err != nil {
		if c != nil || strings.TrimSpace(err.Error()) == "" {
			t.Errorf("got %+v and the error %q", c, err)
		}
		return
	}
	if c.Ask != AskNothing {
		return
	}
	if len(c.Listen) == 0 || c.MaxItem < 1024 && c.Memory >= 1<<20 || int64(c.MaxItem) > c.Memory/2 || c.Threads < 1 || c.MaxConns < 1 {
		t.Errorf("invalid options %+v", c.Options)
	}
	for _, r := range c.Routes {
		if r.Name == "" || r.Key == "" || r.Query == "" || len(r.Sources) == 0 || r.Fresh < time.Second || r.Limits.Batch < 1 || len(r.KeyPrint()) == 0 {
			t.Errorf("invalid route %+v", r)
		}
		for _, s := range r.Sources {
			if !c.hasSource(s) {
				t.Errorf("route %q loads from %q, which is not there", r.Name, s)
			}
		}
	}
}
