package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
)

func TestExplain(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec(`CREATE TABLE good (country text, dev int, v text, PRIMARY KEY (country, dev));
INSERT INTO good SELECT 'c' || i % 100, i, 'v' || i FROM generate_series(1, 30000) i;
CREATE TABLE bare (country text, dev int, v text);
INSERT INTO bare SELECT * FROM good;
CREATE TABLE twice (country text, dev int, v text); CREATE INDEX ON twice (country, dev);
INSERT INTO twice SELECT * FROM good; INSERT INTO twice SELECT * FROM good WHERE dev % 100 = 7;
CREATE TABLE loose (country text, dev int, v text); CREATE INDEX ON loose (dev);
INSERT INTO loose SELECT * FROM good;
CREATE TABLE little (country text PRIMARY KEY, v text); INSERT INTO little SELECT 'c' || i, 'x' FROM generate_series(1, 50) i;
CREATE TABLE empty (country text PRIMARY KEY, v text);
CREATE TABLE paged (key varchar(100) PRIMARY KEY, v text); INSERT INTO paged SELECT 'k' || i, 'x' FROM generate_series(1, 20000) i;
CREATE TABLE "Odd one" ("Land" text, v text); INSERT INTO "Odd one" SELECT 'c' || i, 'x' FROM generate_series(1, 20000) i;
CREATE SEQUENCE counter;
CREATE FUNCTION look(text[]) RETURNS TABLE (ord bigint, v text) STABLE LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT 1::bigint, ''x''; END';
ANALYZE`)
	const from = " FROM unnest(@country::text[], @dev::int[]) WITH ORDINALITY AS k(country, dev, ord) "
	const single = " FROM unnest(@country::text[]) WITH ORDINALITY AS k(country, ord) "
	tests := map[string]struct {
		query string
		parts []string // of class int where they end in :int; nil: country and dev:int
		rows  filler.Rows
		want  []string // level: a text in it; in any order, nothing else
	}{
		"nothing to say":  {query: "SELECT k.ord, g.v" + from + "JOIN good g USING (country, dev)"},
		"a small table":   {query: "SELECT k.ord, l.v" + single + "JOIN little l USING (country)", parts: []string{"country"}},
		"whole keys":      {query: "SELECT k.ord, p.v FROM unnest(@keys::text[]) WITH ORDINALITY AS k(key, ord) JOIN paged p USING (key)"},
		"by subquery":     {query: "SELECT k.ord, (SELECT v FROM good g WHERE g.country = k.country AND g.dev = k.dev)" + from},
		"first of many":   {query: "SELECT k.ord, t.v" + from + "CROSS JOIN LATERAL (SELECT v FROM twice t WHERE t.country = k.country AND t.dev = k.dev LIMIT 1) t"},
		"list in order":   {query: "SELECT k.ord, t.v" + from + "JOIN twice t USING (country, dev) ORDER BY t.v", rows: filler.RowsList},
		"gathered":        {query: "SELECT k.ord, json_agg(t.v)" + from + "JOIN twice t USING (country, dev) GROUP BY k.ord"},
		"list unordered":  {query: "SELECT k.ord, t.v" + from + "JOIN twice t USING (country, dev)", rows: filler.RowsList, want: []string{"note: without ORDER BY"}},
		"missing index":   {query: "SELECT k.ord, b.v" + from + "JOIN bare b USING (country, dev)", want: []string{`warning: whole of public.bare (about 30000 rows, 1 MB), for want of an index: CREATE INDEX ON "public"."bare" (`, "note: no unique index"}},
		"no condition":    {query: "SELECT k.ord, b.v" + from + "JOIN bare b ON length(b.country) > 100", want: []string{"warning: no column of it is compared", "note: no query could be tried"}},
		"two rows always": {query: "SELECT k.ord, t.v" + single + "JOIN good t USING (country)", parts: []string{"country"}, want: []string{"mistake: a key has up to 300 rows such as c", "warning: though there is the index good_pkey"}},
		"not unique":      {query: "SELECT k.ord, l.v FROM unnest(@dev::int[]) WITH ORDINALITY AS k(dev, ord) JOIN loose l USING (dev)", parts: []string{"dev:int"}, want: []string{`note: (none of 200 sampled keys has)`}},
		"no rows":         {query: "SELECT k.ord, g.v" + from + "JOIN good g USING (country, dev) WHERE g.v = 'none'", want: []string{"warning: none of 200 keys sampled from public.good has a row"}},
		"column cast":     {query: "SELECT k.ord, g.v FROM unnest(@country::text[], @dev::text[]) WITH ORDINALITY AS k(country, dev, ord) JOIN good g ON g.country = k.country AND g.dev::text = k.dev", want: []string{"warning: column dev of public.good is integer and is compared as text", "note: part dev is of class int and compared as text"}},
		"text = int":      {query: "SELECT k.ord, g.v FROM unnest(@country::text[], @dev::text[]) WITH ORDINALITY AS k(country, dev, ord) JOIN good g ON g.country = k.country AND g.dev = k.dev", want: []string{"mistake: different types: cast the parameter"}},
		"text using int":  {query: "SELECT k.ord, g.v FROM unnest(@country::text[], @dev::text[]) WITH ORDINALITY AS k(country, dev, ord) JOIN good g USING (country, dev)", want: []string{"mistake: cast the parameter to an array"}},
		"no array":        {query: "SELECT 1::bigint AS ord, v FROM good WHERE country = @country AND dev = ANY(@dev::int[])", want: []string{"mistake: write @country::text[]"}},
		"no ord":          {query: "SELECT g.v" + from + "JOIN good g USING (country, dev)", want: []string{"mistake: no column beside ord|no column named ord"}},
		"several raw":     {query: "SELECT k.ord, g.v, g.dev" + from + "JOIN good g USING (country, dev)", want: []string{"mistake: raw takes one"}},
		"no table":        {query: "SELECT k.ord, g.v" + from + "JOIN nowhere g USING (country, dev)", want: []string{`mistake: relation "nowhere" does not exist near "nowhere g`}},
		"no such name":    {query: "SELECT 1 AS ord, @contry::text[]", want: []string{"mistake: contry"}},
		"unused part":     {query: "SELECT k.ord, l.v" + single + "JOIN little l USING (country)", want: []string{"note: part dev is not in the query"}},
		"int by itself":   {query: "SELECT k.ord, g.v" + from + "JOIN good g USING (country, dev)", parts: []string{"country", "dev"}, want: []string{"note: write {dev:int} in the key"}},
		"empty table":     {query: "SELECT k.ord, l.v" + single + "JOIN empty l USING (country)", parts: []string{"country"}, want: []string{"note: public.empty is empty"}},
		"odd names":       {query: `SELECT k.ord, o.v` + single + `JOIN "Odd one" o ON o."Land" = k.country`, parts: []string{"country"}, want: []string{`warning: CREATE INDEX ON "public"."Odd one" ("Land")`, "note: no unique index"}},
		"a function":      {query: "SELECT * FROM look(@country::text[])", parts: []string{"country"}, want: []string{"note: the query calls public.look"}},
		"it writes":       {query: "SELECT k.ord, g.v || nextval('counter')" + from + "JOIN good g USING (country, dev)", want: []string{"note: the query writes"}},
		"too slow":        {query: "SELECT k.ord, g.v || pg_sleep(1)" + from + "JOIN good g USING (country, dev)", want: []string{"warning: longer than statement_timeout"}},
		"bad data":        {query: "SELECT k.ord, (g.v::int)::text" + from + "JOIN good g USING (country, dev)", want: []string{"mistake: sampled from public.good fails: invalid input syntax"}},
		"any":             {query: "SELECT array_position(@dev::int[], l.dev) AS ord, l.v FROM loose l WHERE l.dev = ANY(@dev::int[])", parts: []string{"dev:int"}, want: []string{"note: (none of 200 sampled keys has)"}},
	}
	for name, mode := range map[string]Mode{"prepared": Prepared, "unnamed": Unnamed} {
		patient := source(t, Options{DSNs: []string{pg.DSN}, MaxConns: 1, StatementTimeout: time.Minute, Mode: mode})
		hasty := source(t, Options{DSNs: []string{pg.DSN}, MaxConns: 1, StatementTimeout: 700 * time.Millisecond, Mode: mode})
		for name2, tt := range tests {
			t.Run(name+"/"+name2, func(t *testing.T) {
				src := patient
				if name2 == "too slow" {
					src = hasty
				}
				if tt.parts == nil {
					tt.parts = []string{"country", "dev:int"}
				}
				r := &filler.Route{Name: "r", Query: tt.query, Rows: tt.rows, Encode: filler.EncodeRaw}
				if tt.rows == filler.RowsList {
					r.Encode = filler.EncodeJSON
				}
				for _, p := range tt.parts {
					n, isInt := strings.CutSuffix(p, ":int")
					r.Parts = append(r.Parts, filler.PartSpec{Name: n, Int: isInt})
				}
				got, err := src.Explain(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				var lines []string
				for _, a := range got {
					lines = append(lines, a.Level.String()+": "+a.Text)
				}
				left := slices.Clone(lines)
				for _, want := range tt.want {
					level, text, _ := strings.Cut(want, ": ")
					at := slices.IndexFunc(left, func(l string) bool {
						return strings.HasPrefix(l, level+": ") && slices.ContainsFunc(strings.Split(text, "|"), func(s string) bool { return strings.Contains(l, s) })
					})
					if at < 0 {
						t.Errorf("nothing says %q:\n%s", want, strings.Join(lines, "\n"))
						continue
					}
					left = slices.Delete(left, at, at+1)
				}
				if len(left) > 0 {
					t.Errorf("also said:\n%s", strings.Join(left, "\n"))
				}
			})
		}
		// It leaves the connection as it was, and the source loads as before.
		rig, _ := fillertest.Load(t, patient, filler.Route{Query: "SELECT o AS ord, k FROM unnest(@keys::text[]) WITH ORDINALITY u(k, o)"}, time.Second, "k")
		if rig.Values["k"] != "k" {
			t.Errorf("afterwards: got %q", rig.Values["k"])
		}
	}
	if got := one(t, pg.DSN, "SELECT last_value || ' ' || is_called FROM counter"); got != "1 false" {
		t.Errorf("a query was run that writes: %s", got)
	}
}

// TestExplainOfTheDemo: the queries that documentation shows have nothing against them.
func TestExplainOfTheDemo(t *testing.T) {
	pg := testenv.Postgres(t)
	demo(t, pg)
	pg.Exec("ANALYZE")
	r := demoRoute()
	r.Name = "characteristics"
	got, err := source(t, Options{DSNs: []string{pg.DSN}}).Explain(t.Context(), &r)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range got {
		if a.Level != filler.Note {
			t.Errorf("%v: %s", a.Level, a.Text)
		}
	}
}

func TestExplainNeedsTheServer(t *testing.T) {
	c := testenv.OwnPostgres(t)
	c.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if got, err := source(t, Options{DSNs: []string{c.DSN}}).Explain(ctx, &filler.Route{Query: "SELECT 1"}); err == nil {
		t.Errorf("got %v from a server that is down", got)
	}
}

func TestPlanConditions(t *testing.T) {
	const text = `[{"Plan": {"Node Type": "Hash Join", "Hash Cond": %q, "Plans": [
		{"Node Type": "Seq Scan", "Schema": "s", "Relation Name": "t", "Alias": "c", "Filter": %q},
		{"Node Type": "Function Scan", "Alias": "k"}]}}]`
	tests := map[string]struct {
		hash, filter string
		want         string
	}{
		"one":       {"(c.os = k.os)", "", "[os] []"},
		"two":       {"((c.os = k.os) AND (c.dev = k.dev))", "", "[os dev] []"},
		"turned":    {"((k.os = c.os) AND (k.dev = c.dev))", "", "[os dev] []"},
		"cast":      {"((c.dev)::text = k.dev)", "", "[dev] [{dev text}]"},
		"two casts": {"(((c.os)::text = k.os) AND ((c.name)::character varying(10) = (k.name)::text))", "", "[os name] [{os text} {name character varying(10)}]"},
		"any":       {"", "(c.dev = ANY ($1))", "[dev] []"},
		"constant":  {"", "((c.os = 'x = y'::text) AND (c.n = 7) AND c.ok)", "[] []"},
		"quoted":    {`(c."Odd ""one" = k."a b")`, "", `[Odd "one] []`},
		"no column": {"(lower(c.os) = k.os)", "", "[] []"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := parsePlan(fmt.Appendf(nil, text, tt.hash, tt.filter))
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(p.relations[0].columns, " ", p.relations[0].casts); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	for _, broken := range []string{"", "[]", "{}", "[{}, {}]", "x"} {
		if p, err := parsePlan([]byte(broken)); err == nil && len(p.relations) > 0 {
			t.Errorf("%q: got a plan", broken)
		}
	}
}
