// Package sqlite loads from a SQLite database, in a file or in memory, through a driver without cgo.
//
// SQLite has no arrays, so a batch reaches the query as JSON text in one of two parameters:
//
//	@batch  [{"ord": 1, "country": "IN", "dev": 812, "h": null}, ...]   an object a key: ord and all parts of the pattern
//	@keys   ["chr|country=IN|dev=812", ...]                             whole canonical keys
//
// A part of class int is a number, an absent one null. The query takes them apart with json_each and returns ord and the
// value's columns; for @keys ord is json_each's key + 1:
//
//	SELECT k.value->>'ord' AS ord, c.payload AS value
//	FROM json_each(@batch) AS k JOIN characteristics c ON c.country = k.value->>'country'
//
// A column declared BOOLEAN is a bool, one declared JSON a document for encode: json and php. An expression has no declared type; a text from one counts
// as a document if it is a JSON object or array. SQLite has no statement timeout: the filler's deadline interrupts.
package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"swordfish/filler"
)

// Source is a filler.Source. It is safe for concurrent use.
type Source struct {
	db    *sql.DB
	owned bool

	mu    sync.Mutex
	stmts map[string]*sql.Stmt // by query
}

// Open opens the database file at path for reading only. A missing file is an error at the first load, not here.
func Open(path string) (*Source, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=ro&_pragma=query_only(1)"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	s := New(db)
	s.owned = true
	return s, nil
}

// New loads from db, which stays the caller's to close, after Close. A database in memory lives in one connection: call
// db.SetMaxOpenConns(1) there.
func New(db *sql.DB) *Source {
	return &Source{db: db, stmts: make(map[string]*sql.Stmt)}
}

// Close frees the statements, and the database if Open opened it. No load may be under way.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.stmts {
		st.Close()
	}
	clear(s.stmts)
	if s.owned {
		return s.db.Close()
	}
	return nil
}

// Ping implements filler.Pinger.
func (s *Source) Ping(ctx context.Context) error {
	var n int
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
		return classify(ctx, err)
	}
	return nil
}

// Load implements filler.Source.
func (s *Source) Load(ctx context.Context, b *filler.Batch) error {
	st, err := s.prepare(ctx, b.Route().Query)
	if err != nil {
		return classify(ctx, err)
	}
	rows, err := st.QueryContext(ctx, arguments(b)...)
	if err != nil {
		return classify(ctx, err)
	}
	defer rows.Close()
	if err := read(rows, b); err != nil {
		return classify(ctx, err)
	}
	return nil
}

func (s *Source) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.stmts[query]; st != nil {
		return st, nil
	}
	st, err := s.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s.stmts[query] = st
	return st, nil
}

// arguments makes the parameters that the query uses.
func arguments(b *filler.Batch) []any {
	var args []any
	query := b.Route().Query
	if strings.Contains(query, "@batch") {
		args = append(args, sql.Named("batch", string(appendBatch(nil, b))))
	}
	if strings.Contains(query, "@keys") {
		args = append(args, sql.Named("keys", string(appendKeys(nil, b))))
	}
	return args
}

func appendBatch(dst []byte, b *filler.Batch) []byte {
	specs := b.Route().Parts
	dst = append(dst, '[')
	for i := range b.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"ord":`...)
		dst = strconv.AppendInt(dst, int64(i+1), 10)
		for j, part := range b.Parts(i) {
			dst = append(dst, ',')
			dst = filler.AppendJSONString(dst, specs[j].Name)
			dst = append(dst, ':')
			dst = appendPart(dst, specs[j], part)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendPart(dst []byte, spec filler.PartSpec, part filler.Part) []byte {
	if !part.Present {
		return append(dst, "null"...)
	}
	if spec.Int {
		// Parsed and printed again, because 007 is not a JSON number. Beyond 64 bits it stays a text and finds nothing.
		if n, err := strconv.ParseInt(string(part.Value), 10, 64); err == nil {
			return strconv.AppendInt(dst, n, 10)
		}
	}
	return filler.AppendJSONString(dst, string(part.Value))
}

func appendKeys(dst []byte, b *filler.Batch) []byte {
	dst = append(dst, '[')
	for i := range b.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = filler.AppendJSONString(dst, string(b.Key(i)))
	}
	return append(dst, ']')
}

// read hands all rows to b.
func read(rows *sql.Rows, b *filler.Batch) error {
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	ord, err := b.Route().ColumnsOf(names)
	if err != nil {
		return err
	}
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	declared := make([]string, 0, len(names)-1)
	rest := make([]string, 0, len(names)-1)
	for i, n := range names {
		if i != ord {
			rest = append(rest, n)
			declared = append(declared, types[i].DatabaseTypeName())
		}
	}
	b.Columns(rest)
	cells := make([]any, len(names))
	into := make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	vals := make([]filler.Value, len(rest))
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		n, ok := cells[ord].(int64)
		if !ok {
			return fmt.Errorf("sqlite: route %q: ord is %v (%T), not an integer", b.Route().Name, cells[ord], cells[ord])
		}
		at := 0
		for i, c := range cells {
			if i != ord {
				vals[at] = value(vals[at].Text[:0], c, declared[at])
				at++
			}
		}
		b.Row(n, vals)
	}
	return rows.Err()
}

// value turns what the driver returned into a Value, reusing buf where the text has to be made.
func value(buf []byte, cell any, declared string) filler.Value {
	switch v := cell.(type) {
	case nil:
		return filler.Value{Kind: filler.Null}
	case int64:
		kind := filler.Int
		if declared == "BOOLEAN" {
			kind = filler.Bool // 1 and 0
		}
		return filler.Value{Kind: kind, Text: strconv.AppendInt(buf, v, 10)}
	case float64:
		return filler.Value{Kind: filler.Float, Text: strconv.AppendFloat(buf, v, 'g', -1, 64)}
	case []byte:
		return filler.Value{Kind: filler.Bytes, Text: append(buf, v...)}
	case time.Time: // a column declared DATE, DATETIME or TIMESTAMP
		return filler.Value{Kind: filler.Text, Text: v.AppendFormat(buf, "2006-01-02 15:04:05.999999999-07:00")}
	case string:
		text := append(buf, v...)
		if declared == "JSON" || (declared == "" && isDocument(text)) {
			return filler.Value{Kind: filler.JSON, Text: text}
		}
		return filler.Value{Kind: filler.Text, Text: text}
	default:
		return filler.Value{Kind: filler.Text, Text: fmt.Append(buf, v)}
	}
}

func isDocument(text []byte) bool {
	return len(text) > 1 && (text[0] == '{' || text[0] == '[') && json.Valid(text)
}

// classify says what an error means for the batch.
func classify(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // the statement was interrupted
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	fault := filler.FaultQuery
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_SCHEMA:
		fault = filler.FaultTransient
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		fault = filler.FaultDown
	case sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		fault = filler.FaultData
	}
	return &filler.Error{Fault: fault, Err: fmt.Errorf("sqlite: %w", err)}
}
