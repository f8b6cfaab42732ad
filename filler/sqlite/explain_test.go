package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"swordfish/filler"
)

func TestExplain(t *testing.T) {
	src := memory(t, `CREATE TABLE big (id INTEGER, v TEXT); CREATE TABLE good (id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE small (id INTEGER, v TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO big SELECT i, 'x' FROM n;
INSERT INTO good SELECT * FROM big; INSERT INTO small SELECT * FROM big LIMIT 10`)
	const from = " FROM json_each(@batch) AS k JOIN "
	tests := map[string]struct {
		query string
		rows  filler.Rows
		want  string // level: a text; empty: nothing
	}{
		"by primary key": {"SELECT k.value->>'ord' AS ord, c.v" + from + "good c ON c.id = k.value->>'id'", filler.RowsOne, ""},
		"small":          {"SELECT k.value->>'ord' AS ord, c.v" + from + "small c ON c.id > k.value->>'id'", filler.RowsOne, ""},
		"whole table":    {"SELECT k.value->>'ord' AS ord, c.v" + from + "big AS c ON c.id > length(k.value->>'id') + c.id", filler.RowsOne, "warning: whole of c"},
		"unordered list": {"SELECT k.value->>'ord' AS ord, c.v" + from + "good c ON c.id = k.value->>'id'", filler.RowsList, "note: without ORDER BY"},
		"no ord":         {"SELECT c.v" + from + "good c ON c.id = k.value->>'id'", filler.RowsOne, "mistake: ord"},
		"no table":       {"SELECT k.value->>'ord' AS ord, c.v" + from + "nowhere c", filler.RowsOne, "mistake: no such table: nowhere"},
		"no keys":        {"SELECT 1 AS ord, v FROM good", filler.RowsOne, "mistake: neither @batch nor @keys"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := src.Explain(t.Context(), &filler.Route{Name: "r", Query: tt.query, Rows: tt.rows, Encode: filler.EncodeJSON})
			if err != nil {
				t.Fatal(err)
			}
			level, text, _ := strings.Cut(tt.want, ": ")
			if tt.want == "" && len(got) > 0 {
				t.Errorf("got %v", got)
			}
			if tt.want != "" && (len(got) != 1 || got[0].Level.String() != level || !strings.Contains(got[0].Text, text)) {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
	missing, err := Open(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	defer missing.Close()
	if got, err := missing.Explain(t.Context(), &filler.Route{Query: "SELECT 1"}); err == nil {
		t.Errorf("a missing file: got %v", got)
	}
}
