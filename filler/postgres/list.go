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

// listHold is how long a List goes on with what it began to read: meanwhile the server cannot clear away rows that are deleted or
// changed anywhere. Then it begins anew behind the last row. One that waits in the middle is ended by the server after listIdle.
const (
	listHold = 10 * time.Second
	listIdle = time.Minute
)

// List implements filler.Lister. It reads from a cursor, so that a short page costs what its rows do, wherever in the table they are.
func (s *Source) List(ctx context.Context, r *filler.Route, after filler.Cursor, p filler.Pages) error {
	last, _ := after.([]filler.Part)
	for more := true; more; {
		err := s.with(ctx, r.Name, func(c *conn) (err error) {
			more, err = s.list(ctx, c, r, &last, p)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// list lists for Source.listHold, or to the end, and moves last on.
func (s *Source) list(ctx context.Context, c *conn, r *filler.Route, last *[]filler.Part, p filler.Pages) (more bool, err error) {
	columns, err := s.keyColumns(ctx, c, r)
	if err != nil {
		return false, err
	}
	if *last != nil && len(*last) != len(columns) {
		*last = nil // the query has changed
	}
	sql, args := filler.KeyPage(r.Keys, columns, *last != nil, 0, func(n int) string { return "$" + strconv.Itoa(n) })
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = keyParam(&(*last)[a.Column], a.IsThere)
	}
	begin := time.Now()
	if err := c.pg.Exec(ctx, "BEGIN READ ONLY").Close(); err != nil {
		return false, err
	}
	defer func() {
		end := "COMMIT"
		if err != nil {
			end = "ROLLBACK"
		}
		if ended := c.pg.Exec(ctx, end).Close(); err == nil {
			err = ended
		}
	}()
	idle := []byte(strconv.FormatInt(listIdle.Milliseconds(), 10))
	if err := c.pg.ExecParams(ctx, "SELECT set_config('idle_in_transaction_session_timeout', $1, true)", [][]byte{idle}, nil, nil, nil).Read().Err; err != nil {
		return false, err
	}
	none := func([][]byte) {}
	if err := s.atLeisure(ctx, c, r, "DECLARE fish NO SCROLL CURSOR FOR "+sql, params, none); err != nil {
		return false, err
	}
	vals := make([]filler.Part, len(columns))
	for {
		most, err := p.Most()
		if err != nil {
			return false, err
		}
		rr, n := c.pg.ExecParams(ctx, "FETCH FORWARD "+strconv.Itoa(most)+" FROM fish", nil, nil, nil, nil), 0
		var next []filler.Part
		for rr.NextRow() {
			for i, text := range rr.Values() {
				vals[i] = filler.Part{Value: text, Present: text != nil}
			}
			if n++; n == most {
				next = copyParts(vals)
			}
			p.Row(vals)
		}
		if _, err := rr.Close(); err != nil {
			return false, err
		}
		if next == nil {
			return false, p.End(nil)
		}
		*last = next
		if err := p.End(next); err != nil {
			return false, err
		}
		if time.Since(begin) >= s.listHold {
			return true, nil
		}
	}
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
