package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"modernc.org/sqlite"

	"swordfish/filler"
)

// bigTable is from how many rows on it matters that a whole table is read.
const bigTable = 10_000

// Explain implements filler.Explainer: it runs the query for no keys at all and reads its plan.
func (s *Source) Explain(ctx context.Context, r *filler.Route) ([]filler.Advice, error) {
	if err := s.Ping(ctx); err != nil {
		return nil, err
	}
	advice, err := s.explain(ctx, r)
	var refused *sqlite.Error
	if errors.As(err, &refused) {
		return []filler.Advice{{Level: filler.Mistake, Text: "SQLite refuses the query: " + err.Error()}}, nil
	}
	return advice, err
}

func (s *Source) explain(ctx context.Context, r *filler.Route) ([]filler.Advice, error) {
	var args []any
	for _, name := range []string{"batch", "keys"} {
		if strings.Contains(r.Query, "@"+name) {
			args = append(args, sql.Named(name, "[]"))
		}
	}
	if len(args) == 0 {
		return []filler.Advice{{Level: filler.Mistake, Text: "the query asks for no keys: it has neither @batch nor @keys"}}, nil
	}
	rows, err := s.db.QueryContext(ctx, r.Query, args...)
	if err != nil {
		return nil, err
	}
	names, err := rows.Columns()
	rows.Close()
	if err != nil {
		return nil, err
	}
	if _, err := r.ColumnsOf(names); err != nil {
		return []filler.Advice{{Level: filler.Mistake, Text: err.Error()}}, nil
	}
	var advice []filler.Advice
	scans, err := s.scans(ctx, r.Query, args)
	if err != nil {
		return nil, err
	}
	for _, name := range scans {
		many, err := s.isBig(ctx, r.Query, name)
		if err != nil {
			return nil, err
		}
		if many {
			advice = append(advice, filler.Advice{Level: filler.Warning, Text: fmt.Sprintf(
				"every batch reads the whole of %s, of over %d rows, perhaps once for each key: CREATE INDEX on the columns that are compared with parts", name, bigTable)})
		}
	}
	if r.Rows == filler.RowsList && !strings.Contains(strings.ToLower(r.Query), "order by") {
		advice = append(advice, filler.Advice{Level: filler.Note, Text: "rows: list without ORDER BY: a list's rows may come in another order each time, and then count as a change"})
	}
	return advice, nil
}

// scans returns the tables, by alias, that the plan reads from one end to the other.
func (s *Source) scans(ctx context.Context, query string, args []any) (names []string, err error) {
	rows, err := s.db.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return nil, err
		}
		if name, ok := strings.CutPrefix(detail, "SCAN "); ok && !strings.Contains(name, " ") { // k VIRTUAL TABLE is json_each; c USING INDEX reads an index
			names = append(names, name)
		}
	}
	return names, rows.Err()
}

// isBig tells whether the table that the query calls name has many rows.
func (s *Source) isBig(ctx context.Context, query, name string) (bool, error) {
	table := name
	if m := regexp.MustCompile(`(?i)\b(?:FROM|JOIN)\s+("[^"]+"|[\w.]+)\s+(?:AS\s+)?` + regexp.QuoteMeta(name) + `\b`).FindStringSubmatch(query); m != nil {
		table = strings.Trim(m[1], `"`)
	}
	var known, n int
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE", table).Scan(&known); err != nil || known == 0 {
		return false, err // a view or a subquery
	}
	count := fmt.Sprintf(`SELECT count(*) FROM (SELECT 1 FROM "%s" LIMIT %d)`, strings.ReplaceAll(table, `"`, `""`), bigTable+1)
	err := s.db.QueryRowContext(ctx, count).Scan(&n)
	return n > bigTable, err
}
