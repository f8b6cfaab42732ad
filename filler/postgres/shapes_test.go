package postgres

import (
	"testing"
	"time"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
)

// TestQueryShapes has the forms of queries that documentation recommends answer the same few keys.
func TestQueryShapes(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec(`CREATE TABLE price (country text, dev int, amount numeric(6,2), PRIMARY KEY (country, dev));
INSERT INTO price VALUES ('IN', 1, 10.50), ('IN', 2, 20), ('DE', 1, 30);
CREATE TABLE page (key text PRIMARY KEY, body text);
INSERT INTO page SELECT format('p|country=%s|dev=%s', country, dev), 'page of ' || country || ' ' || dev FROM price;
CREATE TABLE offer (country text, dev int, pos int, title text, hot bool);
INSERT INTO offer VALUES ('IN', 1, 3, 'third', false), ('IN', 1, 1, 'first', true), ('IN', 1, 2, 'sec''ond', NULL), ('DE', 1, 1, 'erstes', false);
CREATE VIEW prices AS SELECT country, dev, amount, amount * 2 AS double FROM price;
CREATE FUNCTION look(countries text[], devs int[]) RETURNS TABLE (ord bigint, value numeric) STABLE LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT k.o, p.amount FROM unnest(countries, devs) WITH ORDINALITY k(c, d, o) JOIN price p ON p.country = k.c AND p.dev = k.d;
END $$;
CREATE FUNCTION one_price(c text, d int) RETURNS numeric STABLE LANGUAGE sql AS 'SELECT amount FROM price WHERE country = c AND dev = d'`)
	names := []string{"country", "dev"}
	const (
		in1, in2, de1, none, odd = "p|country=IN|dev=1", "p|country=IN|dev=2", "p|country=DE|dev=1", "p|country=IN|dev=9", "p|country=IN"
		parts                    = " FROM unnest(@country::text[], @dev::int[]) WITH ORDINALITY AS k(country, dev, ord) "
	)
	amounts := map[string]string{in1: "10.50", in2: "20.00", de1: "30.00"}
	tests := map[string]struct {
		query  string
		encode filler.Encoding
		rows   filler.Rows
		want   map[string]string // what is not there is absent
	}{
		"by parts":    {"SELECT k.ord, p.amount" + parts + "JOIN price p USING (country, dev)", filler.EncodeRaw, filler.RowsOne, amounts},
		"by lateral":  {"SELECT k.ord, p.amount" + parts + "CROSS JOIN LATERAL (SELECT amount FROM price WHERE country = k.country AND dev = k.dev LIMIT 1) p", filler.EncodeRaw, filler.RowsOne, amounts},
		"by subquery": {"SELECT k.ord, (SELECT amount FROM price p WHERE p.country = k.country AND p.dev = k.dev)" + parts, filler.EncodeRaw, filler.RowsOne, amounts},
		"by keys": {"SELECT k.ord, p.body FROM unnest(@keys::text[]) WITH ORDINALITY AS k(key, ord) JOIN page p USING (key)", filler.EncodeRaw, filler.RowsOne,
			map[string]string{in1: "page of IN 1", in2: "page of IN 2", de1: "page of DE 1"}},
		"a function of arrays": {"SELECT * FROM look(@country::text[], @dev::int[])", filler.EncodeRaw, filler.RowsOne, amounts},
		"a function of a key":  {"SELECT k.ord, one_price(k.country, k.dev)" + parts, filler.EncodeRaw, filler.RowsOne, amounts},
		"a view": {"SELECT k.ord, v.amount, v.double" + parts + "JOIN prices v USING (country, dev)", filler.EncodeJSON, filler.RowsOne,
			map[string]string{in1: `{"amount":10.50,"double":21.00}`, in2: `{"amount":20.00,"double":40.00}`, de1: `{"amount":30.00,"double":60.00}`}},
		"rows as a json list": {"SELECT k.ord, o.title" + parts + "JOIN offer o USING (country, dev) ORDER BY k.ord, o.pos", filler.EncodeJSON, filler.RowsList,
			map[string]string{in1: `["first","sec'ond","third"]`, de1: `["erstes"]`}},
		"rows as json objects": {"SELECT k.ord, o.title, o.hot" + parts + "JOIN offer o USING (country, dev) ORDER BY o.pos DESC", filler.EncodeJSON, filler.RowsList,
			map[string]string{in1: `[{"title":"third","hot":false},{"title":"sec'ond","hot":null},{"title":"first","hot":true}]`, de1: `[{"title":"erstes","hot":false}]`}},
		"rows as a php array": {"SELECT k.ord, o.pos, o.hot" + parts + "JOIN offer o USING (country, dev) ORDER BY o.pos", filler.EncodePHP, filler.RowsList,
			map[string]string{in1: `a:3:{i:0;a:2:{s:3:"pos";i:1;s:3:"hot";b:1;}i:1;a:2:{s:3:"pos";i:2;s:3:"hot";N;}i:2;a:2:{s:3:"pos";i:3;s:3:"hot";b:0;}}`, de1: `a:1:{i:0;a:2:{s:3:"pos";i:1;s:3:"hot";b:0;}}`}},
		"rows gathered by the database": {"SELECT k.ord, json_agg(o.title ORDER BY o.pos)" + parts + "JOIN offer o USING (country, dev) GROUP BY k.ord", filler.EncodePHP, filler.RowsOne,
			map[string]string{in1: `a:3:{i:0;s:5:"first";i:1;s:7:"sec'ond";i:2;s:5:"third";}`, de1: `a:1:{i:0;s:6:"erstes";}`}},
		"the first of several rows": {"SELECT k.ord, o.title" + parts + "JOIN offer o USING (country, dev) ORDER BY o.pos", filler.EncodeRaw, filler.RowsOne,
			map[string]string{in1: "first", de1: "erstes"}},
		"an optional part": {"SELECT k.ord, count(*)" + parts + "JOIN price p ON p.country = k.country AND (p.dev = k.dev OR k.dev IS NULL) GROUP BY k.ord", filler.EncodePHP, filler.RowsOne,
			map[string]string{in1: "1", in2: "1", de1: "1", odd: "2"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []Mode{Prepared, Unnamed} {
				route := filler.Route{
					Query: tt.query, Encode: tt.encode, Rows: tt.rows,
					Parts: fillertest.Parts(names, "dev"), Split: fillertest.Split(names), Limits: filler.Limits{Batch: 3},
				}
				rig, st := fillertest.Load(t, source(t, Options{DSNs: []string{pg.DSN}, Mode: mode}), route, time.Second, in1, none, in2, odd, de1)
				for _, k := range []string{in1, in2, de1, none, odd} {
					if got, want := rig.Values[k], tt.want[k]; got != want || rig.Absent[k] != (want == "") {
						t.Errorf("%s: got %q absent %v failed %v, want %q", k, got, rig.Absent[k], rig.Failed[k], want)
					}
				}
				if name == "the first of several rows" && st.ExtraRows != 2 {
					t.Errorf("%d extra rows, want 2", st.ExtraRows)
				}
			}
		})
	}
}
