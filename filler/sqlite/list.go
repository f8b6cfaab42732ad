package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"swordfish/filler"
)

// KeyColumns implements filler.Lister.
func (s *Source) KeyColumns(ctx context.Context, r *filler.Route) ([]filler.KeyColumn, error) {
	rows, err := s.db.QueryContext(ctx, filler.KeyHead(r.Keys))
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, classify(ctx, err)
	}
	return r.KeyColumns(names)
}

// List implements filler.Lister. A Cursor of it holds SQLite's own values, because it compares numbers and texts as such.
func (s *Source) List(ctx context.Context, r *filler.Route, after filler.Cursor, p filler.Pages) error {
	for {
		most, err := p.Most()
		if err != nil {
			return err
		}
		if after, err = s.page(ctx, r, after, most, p.Row); err != nil {
			return err
		}
		if err := p.End(after); err != nil || after == nil {
			return err
		}
	}
}

// page hands a page over and returns where to go on; nil: it was the last.
func (s *Source) page(ctx context.Context, r *filler.Route, after filler.Cursor, limit int, row func(vals []filler.Part)) (filler.Cursor, error) {
	columns, err := s.KeyColumns(ctx, r)
	if err != nil {
		return nil, err
	}
	last, _ := after.([]any)
	if len(last) != len(columns) {
		last = nil
	}
	query, args := filler.KeyPage(r.Keys, columns, last != nil, limit, func(n int) string { return "?" + strconv.Itoa(n) })
	params := make([]any, len(args))
	for i, a := range args {
		v := last[a.Column]
		switch {
		case a.IsThere && v == nil:
			v = 0
		case a.IsThere:
			v = 1
		case columns[a.Column].Optional: // compared as text
			v = string(text(nil, v).Value)
		}
		params[i] = v
	}
	rows, err := s.db.QueryContext(ctx, query, params...)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer rows.Close()
	vals, n, next := make([]filler.Part, len(columns)), 0, filler.Cursor(nil)
	for rows.Next() {
		cells := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i, c := range cells {
			vals[i] = text(vals[i].Value[:0], c)
		}
		if n++; n == limit {
			next = cells
		}
		row(vals)
	}
	if err := rows.Err(); err != nil {
		return nil, classify(ctx, err)
	}
	return next, nil
}

// text is a value as a part of a key, written into buf.
func text(buf []byte, cell any) filler.Part {
	if cell == nil {
		return filler.Part{Value: buf}
	}
	return filler.Part{Value: value(buf, cell, "").Text, Present: true}
}

// Count implements filler.Lister.
func (s *Source) Count(ctx context.Context, r *filler.Route) (int64, error) {
	columns, err := s.KeyColumns(ctx, r)
	if err != nil {
		return 0, err
	}
	var n sql.NullInt64
	if err := s.db.QueryRowContext(ctx, filler.KeyCount(r.Keys, columns)).Scan(&n); err != nil {
		return 0, fmt.Errorf("sqlite: route %q: count of keys: %w", r.Name, classify(ctx, err))
	}
	return n.Int64, nil
}
