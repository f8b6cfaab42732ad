package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Rows runs a query that only reads, on the first of the servers that can be reached, and calls each for every row, as text; NULL is
// nil. The rows stream: none is kept. They must have the given number of columns. row dies with each's return. There is no time
// limit but ctx.
func Rows(ctx context.Context, dsns []string, query string, columns int, each func(row [][]byte)) error {
	var c *pgconn.PgConn
	var errs []error
	for _, dsn := range dsns {
		config, err := pgconn.ParseConfig(dsn)
		if err != nil {
			return fmt.Errorf("postgres: dsn: %w", err) // pgconn leaves the password out of it
		}
		config.RuntimeParams["application_name"] = "swordfishd/estimate"
		config.RuntimeParams["default_transaction_read_only"] = "on"
		if c, err = pgconn.ConnectConfig(ctx, config); err == nil {
			break
		}
		errs = append(errs, err)
	}
	if c == nil {
		return fmt.Errorf("postgres: %w", errors.Join(errs...))
	}
	defer c.Close(context.WithoutCancel(ctx))
	rr := c.ExecParams(ctx, query, nil, nil, nil, nil)
	if n := len(rr.FieldDescriptions()); n != 0 && n != columns {
		_, _ = rr.Close()
		return fmt.Errorf("postgres: the query has %d columns; write one with %d, as SELECT key, value FROM items has", n, columns)
	}
	for rr.NextRow() {
		row := rr.Values()
		if len(row) != columns {
			_, _ = rr.Close()
			return fmt.Errorf("postgres: the query has %d columns; write one with %d, as SELECT key, value FROM items has", len(row), columns)
		}
		each(row)
	}
	_, err := rr.Close()
	return err
}
