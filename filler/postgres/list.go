package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"swordfish/filler"
)

// listTimeout is what a statement that enumerates keys may take: longer than one that loads them, for it may sort a table.
const listTimeout = 30 * time.Second

// KeyColumns implements filler.Lister.
func (s *Source) KeyColumns(ctx context.Context, r *filler.Route) (columns []filler.KeyColumn, err error) {
	err = s.with(ctx, r.Name, func(c *conn) error {
		columns, err = s.keyColumns(ctx, c, r)
		return err
	})
	return columns, err
}

func (s *Source) keyColumns(ctx context.Context, c *conn, r *filler.Route) ([]filler.KeyColumn, error) {
	sd, err := c.pg.Prepare(ctx, "", r.Keys, nil)
	if err != nil {
		return nil, err
	}
	if len(sd.ParamOIDs) > 0 {
		return nil, fmt.Errorf("route %q: keys: the query has parameters, and there is nothing to give them", r.Name)
	}
	names := make([]string, len(sd.Fields))
	for i, f := range sd.Fields {
		names[i] = f.Name
	}
	return r.KeyColumns(names)
}

// List implements filler.Lister.
func (s *Source) List(ctx context.Context, r *filler.Route, after filler.Cursor, limit int, row func(vals []filler.Part)) (next filler.Cursor, err error) {
	last, _ := after.([]filler.Part)
	err = s.with(ctx, r.Name, func(c *conn) error {
		next = nil
		columns, err := s.keyColumns(ctx, c, r)
		if err != nil {
			return err
		}
		if last != nil && len(last) != len(columns) {
			last = nil // the query has changed
		}
		sql, args := filler.KeyPage(r.Keys, columns, last != nil, limit, func(n int) string { return "$" + strconv.Itoa(n) })
		params := make([][]byte, len(args))
		for i, a := range args {
			params[i] = keyParam(&last[a.Column], a.IsThere)
		}
		vals, n := make([]filler.Part, len(columns)), 0
		return s.atLeisure(ctx, c, r, sql, params, func(fields [][]byte) {
			for i, text := range fields {
				vals[i] = filler.Part{Value: text, Present: text != nil}
			}
			if n++; n == limit {
				next = copyParts(vals)
			}
			row(vals)
		})
	})
	return next, err
}

func keyParam(last *filler.Part, isThere bool) []byte {
	switch {
	case isThere && last.Present:
		return []byte("1")
	case isThere:
		return []byte("0")
	case last.Present:
		return last.Value
	}
	return []byte{}
}

func copyParts(vals []filler.Part) []filler.Part {
	kept := make([]filler.Part, len(vals))
	for i, v := range vals {
		kept[i] = filler.Part{Value: append([]byte{}, v.Value...), Present: v.Present}
	}
	return kept
}

// Count implements filler.Lister.
func (s *Source) Count(ctx context.Context, r *filler.Route) (n int64, err error) {
	err = s.with(ctx, r.Name, func(c *conn) error {
		columns, err := s.keyColumns(ctx, c, r)
		if err != nil {
			return err
		}
		return s.atLeisure(ctx, c, r, filler.KeyCount(r.Keys, columns), nil, func(fields [][]byte) {
			n, _ = strconv.ParseInt(string(fields[0]), 10, 64) // what count returns
		})
	})
	return n, err
}

// atLeisure runs a statement under listTimeout, which does not outlive it.
func (s *Source) atLeisure(ctx context.Context, c *conn, r *filler.Route, sql string, params [][]byte, row func(fields [][]byte)) error {
	p := c.pg.StartPipeline(ctx)
	timeout := strconv.FormatInt(max(listTimeout, s.o.StatementTimeout).Milliseconds(), 10)
	p.SendQueryParams(localSettings, [][]byte{[]byte(timeout), []byte(s.o.AppName + "/" + r.Name)}, nil, nil, nil)
	p.SendQueryParams(sql, params, nil, nil, nil)
	err := p.Sync()
	for queries := 0; err == nil; {
		var res any
		if res, err = p.GetResults(); err != nil {
			break
		}
		rr, ok := res.(*pgconn.ResultReader)
		if !ok {
			break // the end of the pipeline
		}
		if queries++; queries == 2 {
			for rr.NextRow() {
				row(rr.Values())
			}
		}
		_, err = rr.Close()
	}
	if closed := p.Close(); err == nil {
		err = closed
	}
	return err
}
