package filler

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Lister is a Source that can enumerate the keys of a route by the route's query for keys, Route.Keys. It takes its time: it is for
// whoever fills a cache ahead of the asking.
type Lister interface {
	// KeyColumns says what the query for keys returns, as Route.KeyColumns reads it.
	KeyColumns(ctx context.Context, r *Route) ([]KeyColumn, error)

	// List hands over the rows behind after in the order of the query's columns, page by page, until the last, an error, or one
	// of p's. After a lost connection rows may come twice.
	List(ctx context.Context, r *Route, after Cursor, p Pages) error

	// Count tells how many rows List would hand over in all.
	Count(ctx context.Context, r *Route) (int64, error)
}

// Pages takes what a List hands over. Its functions are called one at a time; an error of theirs ends the List.
type Pages struct {
	Most func() (rows int, err error)  // asks before each page how many rows it is to have at most, above 0. It may wait
	Row  func(vals []Part)             // takes a row. Values are text, and valid during the call only. It must not wait for the source
	End  func(next Cursor) (err error) // tells that a page has ended, and where to go on; nil: it was the last. It may wait
}

// Cursor is a place in a List. Only the kind of Source that made it can read it; it stays good for as long as one likes, since it
// names the last row and not its number. Nil is the beginning.
type Cursor any

// KeyColumn is a column of a query for keys.
type KeyColumn struct {
	Name     string
	Optional bool // it may be NULL
}

// WholeKey is the name of the column that has whole keys, in any spelling, in place of their parts.
const WholeKey = "key"

// KeyColumns reads the names of the columns that the route's query for keys returns: the parts of the key, or whole keys alone.
func (r *Route) KeyColumns(names []string) ([]KeyColumn, error) {
	fail := func(format string, args ...any) ([]KeyColumn, error) {
		return nil, fmt.Errorf("filler: route %q: keys: %s", r.Name, fmt.Sprintf(format, args...))
	}
	if len(names) == 1 && names[0] == WholeKey && !slices.ContainsFunc(r.Parts, func(p PartSpec) bool { return p.Name == WholeKey }) {
		return []KeyColumn{{Name: WholeKey}}, nil
	}
	var parts []string
	for _, p := range r.Parts {
		parts = append(parts, p.Name)
	}
	var columns []KeyColumn
	for i, name := range names {
		at := slices.Index(parts, name)
		if at < 0 {
			return fail("the query returns a column %q; name its columns as the parts of the key (%s), or return whole keys as %s",
				name, strings.Join(parts, ", "), WholeKey)
		}
		if slices.Contains(names[:i], name) {
			return fail("the query returns two columns named %q", name)
		}
		columns = append(columns, KeyColumn{name, r.Parts[at].Optional})
	}
	for _, p := range r.Parts {
		if !p.Optional && !slices.Contains(names, p.Name) {
			return fail("the query returns no column named %q, which every key has", p.Name)
		}
	}
	return columns, nil
}

// KeyOf returns what appends the key of a row of the route's query for keys, in any spelling; nothing tells yet whether that is a key
// of the route. It is for one goroutine at a time.
func (r *Route) KeyOf(columns []KeyColumn) func(dst []byte, vals []Part) []byte {
	at := make([]int, len(r.Parts)) // by part: its column; -1: none
	for i := range at {
		at[i] = slices.IndexFunc(columns, func(c KeyColumn) bool { return c.Name == r.Parts[i].Name })
	}
	if len(columns) == 1 && columns[0].Name == WholeKey && !slices.Contains(at, 0) {
		return func(dst []byte, vals []Part) []byte { return append(dst, vals[0].Value...) }
	}
	parts := make([]Part, len(at))
	return func(dst []byte, vals []Part) []byte {
		for i, c := range at {
			parts[i] = Part{}
			if c >= 0 {
				parts[i] = vals[c]
			}
		}
		return r.Compose(dst, parts)
	}
}

// quoteName writes a column's name for SQL. Names of parts hold no quotes.
func quoteName(name string) string { return `q."` + name + `"` }

// KeyPage is the SQL that reads a page of a query for keys, all that is behind the last one with a limit of 0, and which of the columns'
// values its parameters are.
//
// A page is found by the last row of the one before it, whatever was inserted or deleted meanwhile. The first column is compared
// by itself as well, because a database can look that up in an index even where the columns are of several tables. What may be NULL
// is ordered by whether it is there, then by its text, for NULL is neither less nor more than anything.
func KeyPage(query string, columns []KeyColumn, after bool, limit int, param func(n int) string) (sql string, args []KeyArg) {
	var order, left, right, where []string
	bind := func(a KeyArg) string {
		args = append(args, a)
		return param(len(args))
	}
	for i, c := range columns {
		name := quoteName(c.Name)
		exprs := []string{name}
		if c.Optional {
			exprs = []string{"CASE WHEN " + name + " IS NULL THEN 0 ELSE 1 END", "COALESCE(CAST(" + name + " AS TEXT), '')"}
		} else {
			where = append(where, name+" IS NOT NULL")
		}
		for j, e := range exprs {
			order, left = append(order, e), append(left, e)
			if after {
				right = append(right, bind(KeyArg{Column: i, IsThere: c.Optional && j == 0}))
			}
		}
	}
	if after {
		if !columns[0].Optional {
			where = append(where, left[0]+" >= "+right[0])
		}
		where = append(where, "("+strings.Join(left, ", ")+") > ("+strings.Join(right, ", ")+")")
	}
	sql = "SELECT * FROM (" + trimQuery(query) + "\n) q"
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	if sql += " ORDER BY " + strings.Join(order, ", "); limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d", limit)
	}
	return sql, args
}

// KeyArg is a parameter of KeyPage: a column's value in the last row, an empty text for NULL, or 1 and 0 for whether it was there.
type KeyArg struct {
	Column  int
	IsThere bool
}

// KeyCount is the SQL that counts the rows of a query for keys.
func KeyCount(query string, columns []KeyColumn) string {
	var where []string
	for _, c := range columns {
		if !c.Optional {
			where = append(where, quoteName(c.Name)+" IS NOT NULL")
		}
	}
	sql := "SELECT count(*) FROM (" + trimQuery(query) + "\n) q"
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	return sql
}

// KeyHead is the SQL that returns the columns of a query for keys, and no rows.
func KeyHead(query string) string { return "SELECT * FROM (" + trimQuery(query) + "\n) q LIMIT 0" }

// trimQuery takes off what may not stand inside parentheses.
func trimQuery(query string) string { return strings.TrimRight(query, "; \t\r\n") }
