package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/testdata"
)

func memory(t *testing.T, script string) *Source {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec(script); err != nil {
		t.Fatal(err)
	}
	s := New(db)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestDemoAnswersRealKeys(t *testing.T) {
	src := memory(t, "SELECT 1")
	if err := testdata.LoadSQLite(t.Context(), src.db); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	payload := map[[4]string]string{}
	for _, c := range testdata.Characteristics() {
		payload[[4]string{c.Country, c.OS, c.Browser, c.Category}] = c.Payload
	}
	r := rand.New(rand.NewPCG(1, 1))
	var keys []string
	for _, c := range append([]string{testdata.ColdCountry, "ZZ"}, testdata.HomeCountries...) {
		for range 200 {
			d := testdata.DrawDevice(r)
			k := string(testdata.AppendKey(nil, c, d))
			want[k] = payload[[4]string{c, d.OS, d.Browser, d.Category}]
		}
	}
	for k := range want {
		keys = append(keys, k)
	}
	route := filler.Route{
		Query: testdata.SQLiteQuery, Parts: fillertest.Parts(testdata.RouteParts, "dev", "w", "h"), Split: fillertest.Split(testdata.RouteParts),
	}
	s, st := fillertest.Load(t, src, route, 10*time.Second, keys...)
	for k, w := range want {
		if got := s.Values[k]; got != w || s.Absent[k] != (w == "") {
			t.Fatalf("%s: got %q absent %v, want %q", k, got, s.Absent[k], w)
		}
	}
	if st.Asked != uint64(len(keys)) || st.ExtraRows != 0 || st.BadOrd != 0 {
		t.Errorf("asked %d of %d keys, extra rows %d, bad ord %d", st.Asked, len(keys), st.ExtraRows, st.BadOrd)
	}
}

func TestParametersAndTypes(t *testing.T) {
	const schema = `CREATE TABLE t (id INTEGER, h INTEGER, name TEXT, doc JSON, ok BOOLEAN, f REAL, b BLOB, n TEXT);
INSERT INTO t VALUES (7, NULL, 'a"\é', '{"b":1,"a":[2]}', 1, 0.5, x'00ff', NULL), (8, 3, '[1]', '[]', 0, 1e300, x'', NULL)`
	const join = ` FROM json_each(@batch) k JOIN t ON t.id = k.value->>'id' AND t.h IS k.value->>'h'`
	names := []string{"id", "h"}
	tests := map[string]struct {
		query  string
		encode filler.Encoding
		key    string
		want   string // "-" is absent
	}{
		"text raw":      {"SELECT k.value->>'ord' AS ord, name" + join, filler.EncodeRaw, "t|id=7", `a"\é`},
		"text php":      {"SELECT k.value->>'ord' AS ord, name" + join, filler.EncodePHP, "t|id=8|h=3", "[1]"},
		"leading zeros": {"SELECT k.value->>'ord' AS ord, name" + join, filler.EncodeRaw, "t|id=007", `a"\é`},
		"optional":      {"SELECT k.value->>'ord' AS ord, name" + join, filler.EncodeRaw, "t|id=8", "-"},
		"too big":       {"SELECT k.value->>'ord' AS ord, name" + join, filler.EncodeRaw, "t|id=9999999999999999999", "-"},
		"json php":      {"SELECT doc, k.value->>'ord' AS ord" + join, filler.EncodePHP, "t|id=7", `a:2:{s:1:"b";i:1;s:1:"a";a:1:{i:0;i:2;}}`},
		"made json php": {"SELECT json_object('x', f) AS v, k.value->>'ord' AS ord" + join, filler.EncodePHP, "t|id=7", `a:1:{s:1:"x";d:0.5;}`},
		"row php": {"SELECT k.value->>'ord' AS ord, t.id, name, ok, f, b, n" + join, filler.EncodePHP, "t|id=8|h=3",
			`a:6:{s:2:"id";i:8;s:4:"name";s:3:"[1]";s:2:"ok";b:0;s:1:"f";d:1.0E+300;s:1:"b";s:0:"";s:1:"n";N;}`},
		"row json": {"SELECT k.value->>'ord' AS ord, t.id, name, doc, ok, b, n" + join, filler.EncodeJSON, "t|id=7",
			`{"id":7,"name":"a\"\\é","doc":{"b":1,"a":[2]},"ok":true,"b":"\\x00ff","n":null}`},
		"keys":  {"SELECT k.key + 1 AS ord, 'got ' || k.value AS v FROM json_each(@keys) k", filler.EncodeRaw, "t|id=1", "got t|id=1"},
		"quote": {"SELECT k.key + 1 AS ord, k.value AS v FROM json_each(@keys) k", filler.EncodeRaw, `t|id=1|h="\`, `t|id=1|h="\`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			route := filler.Route{Query: tt.query, Encode: tt.encode, Parts: fillertest.Parts(names, "id", "h"), Split: fillertest.Split(names)}
			s, _ := fillertest.Load(t, memory(t, schema), route, time.Second, tt.key)
			if got := s.Values[tt.key]; tt.want == "-" && !s.Absent[tt.key] || tt.want != "-" && got != tt.want {
				t.Errorf("got %q, absent %v, failed %v, want %q", got, s.Absent[tt.key], s.Failed[tt.key], tt.want)
			}
		})
	}
}

func TestQueryMistakesFail(t *testing.T) {
	for name, query := range map[string]string{
		"syntax":   "SELEC 1",
		"no ord":   "SELECT 1 AS value",
		"ord text": "SELECT 'x' AS ord, 1 AS value",
		"no table": "SELECT 1 AS ord, v FROM nowhere",
	} {
		t.Run(name, func(t *testing.T) {
			s, st := fillertest.Load(t, memory(t, "SELECT 1"), filler.Route{Query: query}, time.Second, "k")
			if !s.Failed["k"] || st.QueryErrors != 1 {
				t.Errorf("failed %v, query errors %d, want one of each", s.Failed, st.QueryErrors)
			}
		})
	}
}

func TestEndlessQueryIsInterrupted(t *testing.T) {
	src := memory(t, "SELECT 1")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	st, err := src.prepare(ctx, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := classify(ctx, st.QueryRowContext(ctx).Scan(&n)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if err := src.Ping(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestOpenReadsOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a file?#%.db")
	missing, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var e *filler.Error
	if err := missing.Ping(t.Context()); !errors.As(err, &e) || e.Fault != filler.FaultDown {
		t.Errorf("a missing file: got %v, want a source that is down", err)
	}
	missing.Close()

	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('x')"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	src, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var v string
	if err := src.db.QueryRow("SELECT v FROM t").Scan(&v); err != nil || v != "x" {
		t.Errorf("got %q, %v", v, err)
	}
	if _, err := src.db.Exec("DELETE FROM t"); err == nil {
		t.Error("a write went through")
	}
}
