//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"swordfish/testdata"
)

// session is a connection to the database, of a test that looks at it or holds locks in it.
type session struct {
	t  testing.TB
	pg *pgconn.PgConn
}

func openSession(t testing.TB, dsn string) *session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	pg, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		pg.Close(ctx)
	})
	return &session{t, pg}
}

// rows runs SQL and returns the rows of its last statement, as text.
func (s *session) rows(sql string) [][]string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all, err := s.pg.Exec(ctx, sql).ReadAll()
	if err != nil {
		s.t.Fatalf("%.200s: %v", sql, err)
	}
	var out [][]string
	for _, r := range all[len(all)-1].Rows {
		row := make([]string, len(r))
		for i, col := range r {
			row[i] = string(col)
		}
		out = append(out, row)
	}
	return out
}

func (s *session) number(sql string) int {
	s.t.Helper()
	r := s.rows(sql)
	if len(r) != 1 {
		s.t.Fatalf("%s: %d rows", sql, len(r))
	}
	n, err := strconv.Atoi(r[0][0])
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// loadTables creates devices, countries and characteristics.
func loadTables(t testing.TB, dsn string) {
	t.Helper()
	s := openSession(t, dsn)
	s.rows(testdata.PostgresSchema)
	err := testdata.CopyTables(func(sql string, rows io.Reader) error {
		_, err := s.pg.CopyFrom(t.Context(), rows, sql)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.rows("ANALYZE")
}

// questions returns how often the route's query was run in this database, and how many rows it has returned in all.
func (s *session) questions() (calls, rows int) {
	s.t.Helper()
	const where = ` FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid
		WHERE d.datname = current_database() AND query LIKE '%unnest%ORDINALITY%' AND query NOT LIKE '%pg_stat_statements%'`
	return s.number("SELECT coalesce(sum(calls), 0)" + where), s.number("SELECT coalesce(sum(rows), 0)" + where)
}

// config is a configuration with one source and one route, the characteristics. Empty fields have the program's defaults.
type config struct {
	dsn    string
	source string   // more settings of the source, such as "statement_timeout: 1s"
	query  string   // default testdata.PostgresQuery
	route  []string // more lines of the route
}

func (c config) String() string {
	query := c.query
	if query == "" {
		query = testdata.PostgresQuery
	}
	source := "kind: postgres, dsn: " + strconv.Quote(c.dsn)
	if c.source != "" {
		source += ", " + c.source
	}
	var b strings.Builder
	fmt.Fprintf(&b, "sources:\n  main: {%s}\nroutes:\n  - name: characteristics\n    key: %q\n    source: main\n", source, testdata.RouteKey)
	for _, line := range c.route {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	fmt.Fprintf(&b, "    query: |\n      %s\n", strings.ReplaceAll(query, "\n", "\n      "))
	return b.String()
}
