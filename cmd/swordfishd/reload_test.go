package main

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"swordfish/config"
	"swordfish/filler"
)

func TestReload(t *testing.T) {
	a, b := sqliteFile(t, "a"), sqliteFile(t, "b")
	sources := fmt.Sprintf("sources:\n  main: {kind: sqlite, path: %s}\n", a)
	both := sources + fmt.Sprintf("  other: {kind: sqlite, path: %s}\n", b)
	user := sources + "routes:\n" + userRoute("main", "user:{id:int}")
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	const reloaded = "level=info sources=%d routes=%d message=configuration reloaded"
	for _, test := range []struct {
		name          string
		before, after string
		log           []string // but for the last line
		then          func(r *running)
	}{
		{"nothing changed", user, user, nil, func(r *running) {
			if got := r.get("user:1"); got != "a 1" {
				t.Errorf("got %q", got)
			}
		}},
		{"a snapshot comes", user, user + fmt.Sprintf("snapshot: {path: %s}\n", snapshot), []string{"level=info option=snapshot message=reload: option changed"},
			func(r *running) {
				if got := r.ask("snapshot"); got != "OK" {
					t.Errorf("got %q", got)
				}
			}},
		{"routes come", "", user, []string{"level=info source=main message=reload: source opened", "level=info route=user message=reload: route added"},
			func(r *running) {
				// What was plain is a client's item, due for a load.
				if got := r.get("user:1"); got != "plain" {
					t.Errorf("got %q", got)
				}
				r.loads("user:1", "a 1")
			}},
		{"routes go", user, "", []string{"level=info source=main message=reload: source closed",
			"level=info route=user items_out_of_reach=1 message=reload: route removed"},
			func(r *running) {
				if got := r.get("user:1"); got != "" {
					t.Errorf("got %q", got)
				}
				if got := r.ask("routes"); got != "END" {
					t.Errorf("got %q", got)
				}
				r.ask("set user:1 0 0 5\r\nplain")
				if got := r.get("user:1"); got != "plain" {
					t.Errorf("got %q", got)
				}
			}},
		{"another source", user, both + "routes:\n" + userRoute("other", "user:{id:int}"), []string{
			"level=info source=other message=reload: source opened",
			"level=info route=user changed=[\"source\"] items_stale=1 message=reload: route changed",
		}, func(r *running) {
			if got := r.get("user:1"); got != "a 1" {
				t.Errorf("stale: got %q", got)
			}
			r.loads("user:1", "b 1")
			r.loads("user:2", "b 2")
		}},
		{"another query", user, strings.Replace(user, "t.v FROM", "t.v || '!' AS v FROM", 1), []string{
			"level=info route=user changed=[\"query\"] items_stale=1 message=reload: route changed",
		}, func(r *running) {
			if got := r.get("user:1"); got != "a 1" {
				t.Errorf("stale: got %q", got)
			}
			r.loads("user:1", "a 1!")
		}},
		{"another encoding, on_reload: miss", user, sources + "routes:\n" + userRoute("main", "user:{id:int}", "encode: json", "on_reload: miss"), []string{
			"level=info route=user changed=[\"encode\",\"on_reload\"] items_dropped=1 message=reload: route changed",
		}, func(r *running) {
			if got := r.get("user:1"); got != "" {
				t.Errorf("got %q", got)
			}
			r.loads("user:1", `"a 1"`)
		}},
		{"another pattern", user, sources + "routes:\n" + userRoute("main", "user:{id:int}:{x?}"), []string{
			"level=info route=user changed=[\"key\"] items_out_of_reach=1 message=reload: route changed",
		}, func(r *running) {
			if got := r.get("user:1"); got != "" {
				t.Errorf("got %q", got)
			}
			r.loads("user:1", "a 1")
		}},
		{"other freshness", user, sources + "routes:\n" + userRoute("main", "user:{id:int}", "fresh: 1h", "limits: {batch: 7}"), []string{
			"level=info route=user changed=[\"fresh\",\"refresh_ahead\",\"limits\"] message=reload: route changed",
		}, func(r *running) {
			if got := r.get("user:1"); got != "a 1" {
				t.Errorf("got %q", got)
			}
		}},
		{"another file behind a source", user, strings.Replace(user, a, b, 1), []string{"level=info source=main message=reload: source opened anew"},
			func(r *running) {
				if got := r.get("user:1"); got != "a 1" { // a source counts by its name
					t.Errorf("got %q", got)
				}
				r.loads("user:2", "b 2")
			}},
		{"a source's rate", user, strings.Replace(user, "path:", "rate: 5/s, path:", 1), nil, func(r *running) {
			if got := r.get("user:1"); got != "a 1" {
				t.Errorf("got %q", got)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := startApp(t, test.before)
			if test.before == "" {
				r.ask("set user:1 0 0 5\r\nplain")
			} else {
				r.loads("user:1", "a 1")
			}
			was := r.sources["main"].Source
			r.log.take(t)
			r.files.write("swordfish.yaml", test.after)
			if got := r.ask("reload"); got != "OK" {
				t.Fatalf("reload: got %q", got)
			}
			c := r.config.Load()
			want := append(test.log, fmt.Sprintf(reloaded, len(c.Sources), len(c.Routes)))
			got := slices.DeleteFunc(r.log.take(t), func(line string) bool { return !strings.Contains(line, "reload") })
			if !slices.Equal(got, want) {
				t.Errorf("logged\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if kept := r.sources["main"].Source == was; kept == slices.ContainsFunc(test.log, func(line string) bool { return strings.Contains(line, "source=main") }) {
				t.Errorf("the source was kept: %v", kept)
			}
			test.then(r)
		})
	}
}

// A configuration that cannot be used changes nothing; its first problem is answered, all are logged.
func TestReloadOfSomethingBad(t *testing.T) {
	path := sqliteFile(t, "a")
	good := fmt.Sprintf("sources:\n  main: {kind: sqlite, path: %s}\nroutes:\n", path) + userRoute("main", "user:{id:int}")
	for _, test := range []struct {
		name, yaml, answer string
		log                []string
	}{
		{"unknown fields", good + "    nagative: 3s\n    fresch: 1s\n", `CLIENT_ERROR swordfish.yaml:9: route "user": unknown field "nagative"; did you mean negative?`, []string{
			`level=error file=swordfish.yaml line=9 problem=route \"user\": unknown field \"nagative\"; did you mean negative? message=reload: nothing was changed`,
			`level=error file=swordfish.yaml line=10 problem=route \"user\": unknown field \"fresch\"; did you mean fresh? message=reload: nothing was changed`,
		}},
		{"no YAML", "routes: [", `CLIENT_ERROR swordfish.yaml:1: no valid YAML: sequence end token ']' not found; mind the indentation, and quote values that hold ": " or " #"`, nil},
		{"a pattern", strings.Replace(good, "user:{id:int}", "user:{id:float}", 1), "CLIENT_ERROR swordfish.yaml:4: ", nil},
		{"a dsn", strings.Replace(good, "sources:", "sources:\n  pg: {kind: postgres, dsn: \"postgres://u:geheim@[::1\"}", 1), `CLIENT_ERROR swordfish.yaml:2: source "pg": `, nil},
		{"a source after others", strings.Replace(good, "routes:", "  new: {kind: sqlite, path: "+path+"}\n  pg: {kind: postgres, dsn: \"port=x\"}\nroutes:", 1), `CLIENT_ERROR swordfish.yaml:4: source "pg": `, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := startApp(t, good)
			r.loads("user:1", "a 1")
			before, source := r.config.Load(), r.sources["main"].Source
			r.log.take(t)
			r.files.write("swordfish.yaml", test.yaml)
			if got := r.ask("reload"); !strings.HasPrefix(got, test.answer) || strings.Contains(got, "geheim") {
				t.Errorf("got %q, want %q", got, test.answer)
			}
			logged := r.log.take(t)
			if test.log != nil && !slices.Equal(logged, test.log) || len(logged) == 0 || strings.Contains(strings.Join(logged, ""), "geheim") {
				t.Errorf("logged\n%s", strings.Join(logged, "\n"))
			}
			if r.config.Load() != before || r.sources["main"].Source != source || len(r.sources) != 1 {
				t.Error("something was changed")
			}
			if got := r.get("user:1"); got != "a 1" {
				t.Errorf("got %q", got)
			}
			r.loads("user:2", "a 2")
			r.files.write("swordfish.yaml", good)
			if got := r.ask("reload"); got != "OK" {
				t.Errorf("afterwards: got %q", got)
			}
		})
	}
}

func TestReloadTakesOptions(t *testing.T) {
	r := startApp(t, "", "-c", "1000")
	r.log.take(t)
	r.files.write("memcached.conf", "-m 128\n-p 12345\n-o idle_timeout=7,pass_inline=8\n-M\n-L\n")
	r.ask("reload")
	want := []string{
		"level=info option=-m message=reload: option changed",
		"level=info option=-o pass_inline message=reload: option changed",
		`level=warn options=["-M","-o idle_timeout"] message=reload: these options hold from the next start on`,
		`level=warn message=-L has no effect: huge pages are asked for where they help, and for the rest the kernel's setting holds`,
		"level=info sources=0 routes=0 message=configuration reloaded",
	}
	if got := r.log.take(t); !slices.Equal(got, want) { // -p stands on the command line too, which wins
		t.Errorf("logged\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, line := range []string{"STAT maxbytes 134217728\n", "STAT pass_inline 8\n", "STAT pass_background 64\n"} {
		if settings := r.ask("stats settings"); !strings.Contains(settings, line) {
			t.Errorf("no %q in\n%s", line, settings)
		}
	}
}

// Every field has its name, so that a new setting is not forgotten in the log.
func TestNamesOfSettings(t *testing.T) {
	check := func(kind reflect.Type, names map[string]string) {
		for i := range kind.NumField() {
			if _, ok := names[kind.Field(i).Name]; !ok {
				t.Errorf("%v: %s has no name", kind, kind.Field(i).Name)
			}
		}
		if len(names) != kind.NumField() {
			t.Errorf("%v has %d fields, %d names", kind, kind.NumField(), len(names))
		}
	}
	check(reflect.TypeFor[config.Route](), settingNames)
	check(reflect.TypeFor[config.Options](), optionNames)
}

// Reloads come from several sides while clients ask; no item of a route that stays is lost, and every value is right.
func TestStressReload(t *testing.T) {
	path := sqliteFile(t, "a")
	head := fmt.Sprintf("sources:\n  main: {kind: sqlite, path: %s}\n", path)
	stays := userRoute("main", "user:{id:int}", "fresh: 1h")
	comes := strings.NewReplacer("name: user", "name: item").Replace(userRoute("main", "item:{id:int}"))
	r := startApp(t, head+"routes:\n"+stays)
	for id := 1; id <= 9; id++ {
		r.loads(fmt.Sprintf("user:%d", id), fmt.Sprintf("a %d", id))
	}
	ctx, stop := context.WithCancel(context.Background())
	var clients, reloads sync.WaitGroup
	for range 3 {
		c := &running{app: r.app, t: t}
		c.dial()
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := i%9 + 1
				if got, want := c.get(fmt.Sprintf("user:%d", id)), fmt.Sprintf("a %d", id); got != want {
					t.Errorf("user:%d: got %q, want %q", id, got, want)
				}
				if got, want := c.get(fmt.Sprintf("item:%d", id)), fmt.Sprintf("a %d", id); got != want && got != "" {
					t.Errorf("item:%d: got %q, want %q", id, got, want)
				}
			}
		})
	}
	for side := range 2 {
		c := &running{app: r.app, t: t}
		c.dial()
		reloads.Go(func() {
			for i := range 20 {
				text := head + "routes:\n" + stays
				if (side+i)%2 == 0 {
					text = head + "routes:\n" + comes + stays
				}
				r.files.write("swordfish.yaml", text)
				if got := c.ask("reload"); got != "OK" {
					t.Errorf("reload: got %q", got)
				}
			}
		})
	}
	reloads.Wait()
	stop()
	clients.Wait()
	if n := r.stat("user:loaded"); n != 9 {
		t.Errorf("%d loads of the route that stays, want 9", n)
	}
}

func TestReloadAfterClose(t *testing.T) {
	r := startApp(t, "")
	r.close(context.Background(), false)
	if err := r.reload(); err != errStopping {
		t.Errorf("got %v", err)
	}
}

func TestShareQueues(t *testing.T) {
	for _, test := range []struct {
		queues []int
		room   int
		want   []int
	}{
		{nil, 100, nil},
		{[]int{40, 60}, 100, []int{40, 60}},
		{[]int{100_000}, 12288, []int{12288}},
		{[]int{100_000, 100_000}, 12288, []int{6144, 6144}},
		{[]int{100_000, 300_000}, 12288, []int{3072, 9216}},
		{[]int{10_000_000, 1}, 100, []int{99, 1}},
	} {
		var routes []filler.Route
		for _, q := range test.queues {
			routes = append(routes, filler.Route{Limits: filler.Limits{Queue: q}})
		}
		shareQueues(routes, test.room)
		var got []int
		for _, r := range routes {
			got = append(got, r.Limits.Queue)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%d in %d: got %d, want %d", test.queues, test.room, got, test.want)
		}
	}
}
