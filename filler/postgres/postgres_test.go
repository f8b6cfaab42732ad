package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
	"swordfish/testdata"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func source(t testing.TB, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// one reads a single value.
func one(t *testing.T, dsn, sql string) string {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	res := c.ExecParams(t.Context(), sql, nil, nil, nil, nil).Read()
	if res.Err != nil || len(res.Rows) != 1 {
		t.Fatalf("%s: %d rows, %v", sql, len(res.Rows), res.Err)
	}
	return string(res.Rows[0][0])
}

// demo loads the tables of testdata.
func demo(t testing.TB, pg *testenv.PG) {
	t.Helper()
	pg.Exec(testdata.PostgresSchema)
	c, err := pgconn.Connect(t.Context(), pg.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	err = testdata.CopyTables(func(sql string, rows io.Reader) error {
		_, err := c.CopyFrom(t.Context(), rows, sql)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func demoRoute() filler.Route {
	return filler.Route{
		Query: testdata.PostgresQuery,
		Parts: fillertest.Parts(testdata.RouteParts, "dev", "w", "h"), Split: fillertest.Split(testdata.RouteParts),
	}
}

func TestDemoAnswersRealKeys(t *testing.T) {
	for name, tt := range map[string]struct {
		mode  Mode
		batch int // 0: its default
	}{"prepared": {Prepared, 0}, "planned each time": {Prepared, 2 * plannedKeys}, "unnamed": {Unnamed, 0}} {
		t.Run(name, func(t *testing.T) {
			pg := testenv.Postgres(t)
			demo(t, pg)
			route := demoRoute()
			route.Limits.Batch = tt.batch
			payload := map[[4]string]string{}
			for _, c := range testdata.Characteristics() {
				payload[[4]string{c.Country, c.OS, c.Browser, c.Category}] = c.Payload
			}
			r := rand.New(rand.NewPCG(1, 1))
			want := map[string]string{}
			for _, c := range append([]string{testdata.ColdCountry, "ZZ"}, testdata.HomeCountries...) {
				for range 500 {
					d := testdata.DrawDevice(r)
					want[string(testdata.AppendKey(nil, c, d))] = payload[[4]string{c, d.OS, d.Browser, d.Category}]
				}
			}
			var keys []string
			for k := range want {
				keys = append(keys, k)
			}
			rig, st := fillertest.Load(t, source(t, Options{DSNs: []string{pg.DSN}, Mode: tt.mode}), route, 10*time.Second, keys...)
			for k, w := range want {
				if got := rig.Values[k]; got != w || rig.Absent[k] != (w == "") {
					t.Fatalf("%s: got %q absent %v, want %q", k, got, rig.Absent[k], w)
				}
			}
			if st.Asked != uint64(len(keys)) || st.ExtraRows != 0 || st.BadOrd != 0 || st.SourceErrors != 0 {
				t.Errorf("asked %d of %d keys: %+v", st.Asked, len(keys), st)
			}
			if most := uint64(len(keys)/100 + 2); st.Batches > most {
				t.Errorf("%d batches for %d keys", st.Batches, len(keys))
			}
		})
	}
}

// TestEveryArrayIsCounted proves one lookup a key by what the server saw: calls, rows, and the lengths of the arrays, since
// absent keys return no row.
func TestEveryArrayIsCounted(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec(`CREATE TABLE asked (key text);
CREATE FUNCTION look(keys text[]) RETURNS TABLE (ord bigint, value text) LANGUAGE sql AS $$
  INSERT INTO asked SELECT unnest(keys);
  SELECT o, 'row of ' || k FROM unnest(keys) WITH ORDINALITY AS u(k, o) WHERE k LIKE 'there%' $$`)
	var keys []string
	for i := range 3000 {
		keys = append(keys, fmt.Sprint([]string{"there", "absent"}[i%2], i))
	}
	_, st := fillertest.Load(t, source(t, Options{DSNs: []string{pg.DSN}}), filler.Route{Query: "SELECT * FROM look(@keys::text[])"}, 10*time.Second, keys...)
	if st.Stored != 1500 || st.Absent != 1500 {
		t.Errorf("stored %d, absent %d, want 1500 each", st.Stored, st.Absent)
	}
	if got := one(t, pg.DSN, "SELECT count(*) || ' ' || count(DISTINCT key) FROM asked"); got != "3000 3000" {
		t.Errorf("the server was asked for %s keys, want 3000 3000", got)
	}
	got := one(t, pg.DSN, "SELECT sum(calls) || ' ' || sum(rows) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() AND query LIKE 'SELECT * FROM look%'")
	if want := fmt.Sprint(st.Batches, " 1500"); got != want {
		t.Errorf("calls and rows %s, want %s", got, want)
	}
}

func TestSessionBearsNameAndTimeout(t *testing.T) {
	pg := testenv.Postgres(t)
	const query = `SELECT o AS ord, current_setting('application_name') || ' ' || current_setting('statement_timeout') FROM unnest(@keys::text[]) WITH ORDINALITY k(k, o)`
	src := source(t, Options{DSNs: []string{pg.DSN}, MaxConns: 1, StatementTimeout: 1500 * time.Millisecond})
	if err := src.Ping(t.Context()); err != nil { // leaves a connection with another name
		t.Fatal(err)
	}
	rig, _ := fillertest.Load(t, src, filler.Route{Query: query}, time.Second, "k")
	if got, want := rig.Values["k"], "swordfishd/r 1500ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTypesAndEncodings(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec(`CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE t (id int, i2 int2, i8 int8, f float8, n numeric, b bool, s text, j json, jb jsonb, by bytea, a int[], ta text[],
  ts timestamptz, m mood, u uuid, nul text);
INSERT INTO t VALUES (7, -3, 9007199254740993, 0.1, 1.50, true, 'a"\é', '{"z":1,"a":[2, null]}', '{"z":1,"a":[2, null]}', '\x00ff',
  '{1,NULL,3}', '{"x,y","q\"\\",NULL,"{}"}', '2026-01-02 03:04:05+00', 'ok', '00000000-0000-0000-0000-000000000001', NULL)`)
	tests := map[string]struct {
		columns        string
		raw, json, php string // "-" is absent
		flags          uint32
	}{
		"int":       {"i8", "9007199254740993", "9007199254740993", "9007199254740993", 1},
		"float":     {"f", "0.1", "0.1", ".1", 2},
		"numeric":   {"n", "1.50", "1.50", "1.50", 0},
		"bool":      {"b", "t", "true", "1", 3},
		"text":      {"s", `a"\é`, `"a\"\\é"`, `a"\é`, 0},
		"json":      {"j", `{"z":1,"a":[2, null]}`, `{"z":1,"a":[2, null]}`, `a:2:{s:1:"z";i:1;s:1:"a";a:2:{i:0;i:2;i:1;N;}}`, 4},
		"jsonb":     {"jb", `{"a": [2, null], "z": 1}`, `{"a": [2, null], "z": 1}`, `a:2:{s:1:"a";a:2:{i:0;i:2;i:1;N;}s:1:"z";i:1;}`, 4},
		"bytea":     {"by", "\x00\xff", `"\\x00ff"`, "\x00\xff", 0},
		"ints":      {"a", "{1,NULL,3}", "[1,null,3]", "a:3:{i:0;i:1;i:1;N;i:2;i:3;}", 4},
		"texts":     {"ta", `{"x,y","q\"\\",NULL,"{}"}`, `["x,y","q\"\\",null,"{}"]`, `a:4:{i:0;s:3:"x,y";i:1;s:3:"q"\";i:2;N;i:3;s:2:"{}";}`, 4},
		"timestamp": {"ts", "2026-01-02 03:04:05+00", `"2026-01-02 03:04:05+00"`, "2026-01-02 03:04:05+00", 0},
		"enum":      {"m", "ok", `"ok"`, "ok", 0},
		"uuid":      {"u", "00000000-0000-0000-0000-000000000001", `"00000000-0000-0000-0000-000000000001"`, "00000000-0000-0000-0000-000000000001", 0},
		"null":      {"nul", "-", "-", "-", 0},
		"several":   {"i2, b, nul, jb", "", `{"i2":-3,"b":true,"nul":null,"jb":{"a": [2, null], "z": 1}}`, `a:4:{s:2:"i2";i:-3;s:1:"b";b:1;s:3:"nul";N;s:2:"jb";a:2:{s:1:"a";a:2:{i:0;i:2;i:1;N;}s:1:"z";i:1;}}`, 4},
	}
	src := source(t, Options{DSNs: []string{pg.DSN}})
	unnamed := source(t, Options{DSNs: []string{pg.DSN}, Mode: Unnamed})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for enc, want := range map[filler.Encoding]string{filler.EncodeRaw: tt.raw, filler.EncodeJSON: tt.json, filler.EncodePHP: tt.php} {
				if want == "" {
					continue
				}
				route := filler.Route{
					Query:  "SELECT k.ord, " + tt.columns + " FROM unnest(@id::int[]) WITH ORDINALITY k(id, ord) JOIN t USING (id)",
					Encode: enc, Parts: fillertest.Parts([]string{"id"}, "id"), Split: fillertest.Split([]string{"id"}),
				}
				for _, s := range []*Source{src, unnamed} {
					rig, _ := fillertest.Load(t, s, route, time.Second, "t|id=7")
					got := rig.Values["t|id=7"]
					if want == "-" && !rig.Absent["t|id=7"] || want != "-" && got != want {
						t.Errorf("encoding %d: got %q absent %v, want %q", enc, got, rig.Absent["t|id=7"], want)
					}
					if flags := rig.Flags["t|id=7"]; enc == filler.EncodePHP && flags != tt.flags {
						t.Errorf("flags %d, want %d", flags, tt.flags)
					}
				}
			}
		})
	}
}

func TestArrayTextToJSON(t *testing.T) {
	tests := map[string]struct {
		in   string
		elem filler.Kind
		want string
	}{
		"empty":        {"{}", filler.Int, "[]"},
		"nested":       {"{{1,2},{3,NULL}}", filler.Int, "[[1,2],[3,null]]"},
		"bounds":       {"[0:1]={5,6}", filler.Int, "[5,6]"},
		"quoted":       {`{"a,b","q\"\\","NULL",NULL,plain}`, filler.Text, `["a,b","q\"\\","NULL",null,"plain"]`},
		"bools":        {"{t,f}", filler.Bool, "[true,false]"},
		"nan":          {"{NaN,1.5,Infinity}", filler.Float, "[null,1.5,null]"},
		"jsons":        {`{"{\"a\": 1}",2}`, filler.JSON, `[{"a": 1},2]`},
		"cut off":      {`{"a`, filler.Text, `["a"`},
		"cut escape":   {`{"a\`, filler.Text, `["a\\"`},
		"empty string": {`{""}`, filler.Text, `[""]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := string(appendArrayJSON(nil, []byte(tt.in), tt.elem)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestKeysReachTheServerUnharmed(t *testing.T) {
	pg := testenv.Postgres(t)
	src := source(t, Options{DSNs: []string{pg.DSN}})
	keys := []string{`q"uote`, `back\slash`, "comma,brace{}", "NULL", "", "'; DROP TABLE t; --", "é漢", "@x $1"}
	rig, _ := fillertest.Load(t, src, filler.Route{Query: "SELECT o AS ord, k FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)"}, time.Second, keys...)
	for _, k := range keys {
		if got := rig.Values[k]; got != k {
			t.Errorf("%q came back as %q", k, got)
		}
	}
	rig, st := fillertest.Load(t, src, filler.Route{Query: "SELECT o AS ord, k FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)"}, time.Second, "bad\xff", "bad\x00", "good")
	if st.BadPart != 2 || rig.Values["good"] != "good" || st.Batches != 1 {
		t.Errorf("bad parts %d, batches %d, good %q", st.BadPart, st.Batches, rig.Values["good"])
	}
}

func TestIntOutOfRangeIsNotAsked(t *testing.T) {
	pg := testenv.Postgres(t)
	names := []string{"a", "b", "c", "d"}
	route := filler.Route{
		Query: "SELECT o AS ord, a || ' ' || coalesce(b::text, 'null') || ' ' || c FROM unnest(@a::int2[], @b::int4[], @c::int8[]) WITH ORDINALITY u(a, b, c, o)",
		Parts: fillertest.Parts(names, names...), Split: fillertest.Split(names),
	}
	good := []string{"t|a=32767|b=-2147483648|c=9223372036854775807|d=99999999999999999999", "t|a=1|c=2|d=3"}
	bad := []string{"t|a=32768|b=1|c=1", "t|a=1|b=2147483648|c=1", "t|a=1|b=1|c=9223372036854775808"}
	rig, st := fillertest.Load(t, source(t, Options{DSNs: []string{pg.DSN}}), route, time.Second, append(good, bad...)...)
	if rig.Values[good[0]] != "32767 -2147483648 9223372036854775807" || rig.Values[good[1]] != "1 null 2" {
		t.Errorf("got %q", rig.Values)
	}
	for _, k := range bad {
		if !rig.Absent[k] {
			t.Errorf("%s is not absent", k)
		}
	}
	if st.BadPart != 3 || st.DataErrors != 0 {
		t.Errorf("bad parts %d, data errors %d, want 3 and 0", st.BadPart, st.DataErrors)
	}
}

func TestDataErrorFindsItsCulprit(t *testing.T) {
	pg := testenv.Postgres(t)
	var keys []string
	for i := range 200 {
		keys = append(keys, fmt.Sprint(i))
	}
	keys[123] = "12x3"
	rig, st := fillertest.Load(t, source(t, Options{DSNs: []string{pg.DSN}}),
		filler.Route{Query: "SELECT o AS ord, k::int * 2 FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)"}, time.Second, keys...)
	if st.Stored != 199 || st.DataErrors != 1 || !rig.Failed["12x3"] || rig.Values["199"] != "398" {
		t.Errorf("stored %d, data errors %d, failed %v", st.Stored, st.DataErrors, rig.Failed)
	}
}

func TestQueryMistakesAreExplained(t *testing.T) {
	pg := testenv.Postgres(t)
	src := source(t, Options{DSNs: []string{pg.DSN}})
	for name, tt := range map[string]struct{ query, want string }{
		"syntax":       {"SELEC 1", "syntax error"},
		"unknown name": {"SELECT 1::bigint AS ord, @oss::text[] AS v", "oss"},
		"no array":     {"SELECT 1::bigint AS ord, @a::text AS v", "write @a::text[]"},
		"keys scalar":  {"SELECT 1::bigint AS ord, @keys::text AS v", "write @keys::text[]"},
		"no ord":       {"SELECT 1 AS value, @a::text[]", "no column named ord"},
		"ord text":     {"SELECT 'x' AS ord, cardinality(@a::text[]) AS value", "ord is not an integer"},
		"raw several":  {"SELECT 1::bigint AS ord, 2 AS a, cardinality(@a::text[]) AS b", "raw takes one"},
		"no table":     {"SELECT ord, v FROM nowhere", `relation "nowhere" does not exist`},
	} {
		t.Run(name, func(t *testing.T) {
			route := filler.Route{Name: "r", Query: tt.query, Parts: fillertest.Parts([]string{"a"}), Split: fillertest.Split([]string{"a"})}
			_, err := src.Params(t.Context(), &route)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			rig, st := fillertest.Load(t, src, route, time.Second, "t|a=1")
			if !rig.Failed["t|a=1"] || st.QueryErrors != 1 || st.Retried != 0 {
				t.Errorf("failed %v, query errors %d, retried %d", rig.Failed, st.QueryErrors, st.Retried)
			}
		})
	}
}

func TestNamesInStringsAndCommentsAreLeftAlone(t *testing.T) {
	r := filler.Route{Query: `SELECT '@a', "@a", u @> '{}' -- @a
FROM unnest(@a::text[], @keys, @a) /* @b */`, Parts: fillertest.Parts([]string{"a", "b"})}
	sql, args, err := rewrite(t.Context(), &r)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(strings.Replace(strings.Replace(r.Query, "(@a::", "($1::", 1), "@keys", "$2", 1), ", @a)", ", $1)", 1)
	if sql != want || fmt.Sprint(args) != "[0 -1]" {
		t.Errorf("got %s %v, want %s [0 -1]", sql, args, want)
	}
}

func TestNewRefusesMistakes(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no dsn accepted")
	}
	_, err := New(Options{DSNs: []string{"postgres://u:secret@[::1/db"}})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want an error without the password", err)
	}
}

func TestFaults(t *testing.T) {
	pg := func(code string) error { return &pgconn.PgError{Code: code} }
	tests := map[string]struct {
		err  error
		lost bool
		want filler.Fault
	}{
		"data":                {pg("22P02"), false, filler.FaultData},
		"statement timeout":   {pg("57014"), false, filler.FaultQuery},
		"no table":            {pg("42P01"), false, filler.FaultQuery},
		"deadlock":            {pg("40P01"), false, filler.FaultTransient},
		"recovery conflict":   {pg("40001"), false, filler.FaultTransient},
		"admin shutdown":      {pg("57P01"), true, filler.FaultDown},
		"too many clients":    {pg("53300"), true, filler.FaultDown},
		"wrong password":      {pg("28P01"), true, filler.FaultDown},
		"out of memory":       {pg("53200"), false, filler.FaultTransient},
		"connection lost":     {io.ErrUnexpectedEOF, true, filler.FaultDown},
		"lock timeout":        {pg("55P03"), false, filler.FaultTransient},
		"statement is gone":   {pg("26000"), false, filler.FaultTransient},
		"mistake in our call": {errors.New("x"), false, filler.FaultQuery},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var e *filler.Error
			if err := classify(t.Context(), tt.err, tt.lost); !errors.As(err, &e) || e.Fault != tt.want {
				t.Errorf("got %+v, want fault %d", err, tt.want)
			}
		})
	}
}
