package postgres

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
)

// TestAheadSharesQuestions: keys ahead of the asking that differ only in what the query does not ask about cost one row, and each gets
// its own answer; an absent part is not an empty question of another. Clients' misses cost a row each.
func TestAheadSharesQuestions(t *testing.T) {
	const keys, sizes = 3000, 4
	parts := []string{"id", "size", "lang"}
	for name, tt := range map[string]struct {
		mode   Mode
		rows   filler.Rows
		query  string // its parameters
		unlike bool   // they tell all keys apart
		ahead  bool
		want   int // rows
	}{
		"ahead":             {Prepared, filler.RowsOne, "@size::int[], @lang::text[]", false, true, 6},
		"a list":            {Prepared, filler.RowsList, "@size::int[], @lang::text[]", false, true, 7},
		"unnamed":           {Unnamed, filler.RowsOne, "@size::int[], @lang::text[]", false, true, 6},
		"all parts differ":  {Prepared, filler.RowsOne, "@size::int[], @lang::text[], @id::int[]", true, true, 6 * keys / 8},
		"whole keys":        {Prepared, filler.RowsOne, "@size::int[], @lang::text[], @keys::text[]", true, true, 6 * keys / 8},
		"misses of clients": {Prepared, filler.RowsOne, "@size::int[], @lang::text[]", false, false, 6 * keys / 8},
	} {
		t.Run(name, func(t *testing.T) {
			pg := testenv.Postgres(t)
			pg.Exec("CREATE TABLE sizes (size int, lang text, n int, value text)")
			want := map[string]string{}
			for size := range sizes - 1 { // the last one has no rows
				for _, lang := range []string{"en", ""} {
					value := fmt.Sprint(size, lang)
					pg.Exec(fmt.Sprintf("INSERT INTO sizes VALUES (%d, nullif('%s', ''), 1, '%s')", size, lang, value))
					want[value] = value
				}
			}
			if tt.rows == filler.RowsList {
				pg.Exec("INSERT INTO sizes VALUES (0, 'en', 2, 'more')")
				for k, v := range want {
					want[k] = "[" + strconv.Quote(v) + "]"
				}
				want["0en"] = `["0en","more"]`
			}
			route := filler.Route{
				Parts: fillertest.Parts(parts, "id", "size"), Split: fillertest.Split(parts), Rows: tt.rows,
				Query: "SELECT k.ord, s.value FROM unnest(" + tt.query + ") WITH ORDINALITY AS k(size, lang" +
					map[bool]string{true: ", id"}[tt.unlike] + ", ord)" +
					" JOIN sizes s ON s.size = k.size AND s.lang IS NOT DISTINCT FROM k.lang ORDER BY k.ord, s.n",
			}
			if tt.rows == filler.RowsList {
				route.Encode = filler.EncodeJSON
			}
			rig := fillertest.New(t, filler.SourceSpec{Source: source(t, Options{DSNs: []string{pg.DSN}, Mode: tt.mode}), Timeout: 10 * time.Second}, route)
			all, answers := []string{}, map[string]string{}
			for i := range keys {
				size, lang := i%sizes, []string{"en", ""}[i/sizes%2]
				key := fmt.Sprintf("s|id=%d|size=%d", i, size)
				if lang != "" {
					key += "|lang=" + lang
				}
				all, answers[key] = append(all, key), want[fmt.Sprint(size, lang)]
			}
			if tt.ahead {
				rig.AskAhead(all...)
			} else {
				rig.Ask(all...)
			}
			rig.Wait()
			for key, value := range answers {
				if got := rig.Values[key]; got != value || rig.Absent[key] != (value == "") {
					t.Fatalf("%s: got %q, absent %v, want %q", key, got, rig.Absent[key], value)
				}
			}
			if st := rig.Stats(); st.BadOrd+st.ExtraRows != 0 || st.Asked != keys {
				t.Errorf("asked for %d keys, %d rows for none, %d too many", st.Asked, st.BadOrd, st.ExtraRows)
			}
			if got := one(t, pg.DSN, "SELECT sum(rows) FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid "+
				"WHERE d.datname = current_database() AND query LIKE '%ORDINALITY%'"); got != strconv.Itoa(tt.want) {
				t.Errorf("%s rows, want %d", got, tt.want)
			}
		})
	}
}
