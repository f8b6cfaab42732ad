package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"swordfish/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestCheckAsksSources(t *testing.T) {
	pg := testenv.Postgres(t)
	conn, err := pgx.Connect(t.Context(), pg.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, born int NOT NULL);
		INSERT INTO users SELECT n, 'user ' || n, 1900 + n % 100 FROM generate_series(1, 20000) AS n; ANALYZE users`); err != nil {
		t.Fatal(err)
	}
	sqlitePath := sqliteFile(t, "a")
	const byID = "SELECT k.ord, u.name AS value FROM unnest(@id::int[]) WITH ORDINALITY AS k(id, ord) JOIN users u USING (id)"
	yaml := func(query string) string {
		return "sources:\n  main: {kind: postgres, dsn: " + strconv.Quote(pg.DSN) + "}\nroutes:\n  - name: user\n    key: \"user:{id:int}\"\n    query: \"" + query + "\"\n"
	}
	for _, test := range []struct {
		name, yaml     string
		args           []string
		code           int
		stdout, stderr []string // parts of it
	}{
		{"good", yaml(byID), nil, 0, []string{"route user", "configuration is good"}, nil},
		{"no such column", yaml(strings.Replace(byID, "u.name", "u.nam", 1)), nil, 64, []string{"route user"},
			[]string{`f.yaml:4: route "user" on source main: the server refuses the query: column u.nam does not exist`}},
		{"no such column, offline", yaml(strings.Replace(byID, "u.name", "u.nam", 1)), []string{"--offline"}, 0, []string{"configuration is good"}, nil},
		{"types that do not fit", yaml(strings.Replace(byID, "int[]", "text[]", 1)), nil, 64, nil, []string{"f.yaml:4:", "cast the parameter"}},
		{"no index", yaml("SELECT k.ord, u.name AS value FROM unnest(@id::int[]) WITH ORDINALITY AS k(id, ord) JOIN users u ON u.born = k.id"), nil, 64,
			[]string{"warning: route user on source main: "}, []string{"f.yaml:4:"}}, // and many rows for one key
		{"nobody there", strings.Replace(yaml(byID), strconv.Quote(pg.DSN), `"postgres://u:geheim@127.0.0.1:1/x"`, 1), nil, 1, []string{"route user"},
			[]string{"source main: ", "not checked (--offline checks none)"}},
		{"one of two there", yaml(byID) + "    source: [gone, main]\n", nil, 1, nil, []string{"source gone: "}},
		{"SQLite", "sources:\n  main: {kind: sqlite, path: " + sqlitePath + "}\nroutes:\n" + userRoute("main", "user:{id:int}"), nil, 0,
			[]string{"configuration is good"}, nil},
		{"a wrong query and a source that is not there", strings.Replace(yaml(strings.Replace(byID, "u.name", "u.nam", 1)), "routes:",
			"  gone: {kind: memcache, url: \"127.0.0.1:1\"}\nroutes:\n  - {name: peer, key: \"p:{x}\", source: gone}", 1) + "    source: main\n", nil, 64, nil,
			[]string{"f.yaml:6: ", "source gone: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := test.yaml
			if strings.Contains(text, "gone, main") {
				text = strings.Replace(text, "routes:", "  gone: {kind: memcache, url: \"127.0.0.1:1\"}\nroutes:", 1)
			}
			file := filepath.Join(t.TempDir(), "f.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			code := run(append([]string{"check", "--config=" + file}, test.args...), &stdout, &stderr)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, part := range test.stdout {
				if !strings.Contains(stdout.String(), part) {
					t.Errorf("standard output lacks %q", part)
				}
			}
			for _, part := range test.stderr {
				if !strings.Contains(stderr.String(), part) {
					t.Errorf("standard error lacks %q", part)
				}
			}
			if strings.Contains(stdout.String()+stderr.String(), "geheim") || code != 0 && strings.Contains(stdout.String(), "is good") {
				t.Error("a password shows, or what is bad is called good")
			}
			if t.Failed() {
				t.Logf("printed\n%s\nand as errors\n%s", stdout.String(), stderr.String())
			}
		})
	}
}

// A reload brings a memcached that is asked before the database.
func TestMemcachedBeforeDatabase(t *testing.T) {
	old := testenv.Memcached(t)
	peer := &running{t: t}
	peer.connect(old)
	peer.ask("set u-1 5 0 3\r\nold")
	path := sqliteFile(t, "a")
	main := "sources:\n  main: {kind: sqlite, path: " + path + "}\n"
	r := startApp(t, main+"routes:\n"+userRoute("main", "user:{id:int}"))
	r.loads("user:1", "a 1")
	r.files.write("swordfish.yaml", main+"  old: {kind: memcache, url: \""+old+"\", keys: {user: \"u-{id}\"}}\nroutes:\n"+userRoute("[old, main]", "user:{id:int}"))
	if got := r.ask("reload"); got != "OK" {
		t.Fatal(got)
	}
	r.loads("user:1", "old")
	r.loads("user:2", "a 2")
	if got := r.ask("get user:1"); !strings.HasPrefix(got, "VALUE user:1 5 3\n") {
		t.Errorf("got %q", got)
	}
}
