package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"swordfish/filler"
)

// statement is a route's query, described by the server.
type statement struct {
	name    string // on the connection; empty with Unnamed
	sql     string
	args    []int // for each parameter: the index of its part, or wholeKey
	oids    []uint32
	ord     int
	names   []string // columns without ord
	columns []column // all columns
	formats []int16  // asked for, by column
}

// wholeKey stands for @keys among the parts.
const wholeKey = -1

type column struct {
	oid  uint32
	kind filler.Kind
	elem filler.Kind // of an array that has to become JSON; else Null
}

// Object ids of the types that mean something to us; all others are text.
const (
	oidBool, oidBytea, oidInt8, oidInt2, oidInt4, oidOID    = 16, 17, 20, 21, 23, 26
	oidJSON, oidJSONB, oidFloat4, oidFloat8, oidNumeric     = 114, 3802, 700, 701, 1700
	oidBools, oidInt2s, oidInt4s, oidTexts, oidVarchars     = 1000, 1005, 1007, 1009, 1015
	oidInt8s, oidFloat4s, oidFloat8s, oidNumerics, oidJSONs = 1016, 1021, 1022, 1231, 199
	oidJSONBs, oidUUIDs, oidChars, oidDates, oidTimestamps  = 3807, 2951, 1014, 1182, 1115
	oidTimestamptzs, oidTimes, oidTimetzs, oidIntervals     = 1185, 1183, 1270, 1187
	oidInets, oidCidrs, oidNames, oidOIDs, oidByteas        = 1041, 651, 1003, 1028, 1001
)

var kinds = map[uint32]filler.Kind{
	oidBool: filler.Bool, oidBytea: filler.Bytes, oidInt2: filler.Int, oidInt4: filler.Int, oidInt8: filler.Int,
	oidOID: filler.Int, oidFloat4: filler.Float, oidFloat8: filler.Float, oidNumeric: filler.Numeric,
	oidJSON: filler.JSON, oidJSONB: filler.JSON,
}

var elements = map[uint32]filler.Kind{
	oidBools: filler.Bool, oidInt2s: filler.Int, oidInt4s: filler.Int, oidInt8s: filler.Int,
	oidFloat4s: filler.Float, oidFloat8s: filler.Float, oidNumerics: filler.Numeric, oidJSONs: filler.JSON, oidJSONBs: filler.JSON,
	oidTexts: filler.Text, oidVarchars: filler.Text, oidUUIDs: filler.Text, oidChars: filler.Text, oidDates: filler.Text,
	oidTimestamps: filler.Text, oidTimestamptzs: filler.Text, oidTimes: filler.Text, oidTimetzs: filler.Text, oidIntervals: filler.Text,
	oidInets: filler.Text, oidCidrs: filler.Text, oidNames: filler.Text, oidOIDs: filler.Int, oidByteas: filler.Text,
}

// notArrays are the parameter types that a query gets when it forgets to cast to an array.
var notArrays = map[uint32]string{
	25: "text", 1043: "varchar", oidBool: "bool", oidInt2: "smallint", oidInt4: "integer", oidInt8: "bigint",
	oidNumeric: "numeric", oidFloat8: "double precision", 2950: "uuid", 1082: "date", oidJSON: "json", oidJSONB: "jsonb",
}

// rewrite turns the route's named parameters into numbered ones and tells what each stands for.
func rewrite(ctx context.Context, r *filler.Route) (sql string, args []int, err error) {
	known := pgx.NamedArgs{"keys": wholeKey}
	for i, p := range r.Parts {
		known[p.Name] = i
	}
	_, found, err := known.RewriteQuery(ctx, nil, r.Query, nil)
	if err != nil {
		return "", nil, err
	}
	used := pgx.StrictNamedArgs{}
	for _, at := range found {
		if at == wholeKey {
			used["keys"] = wholeKey
		} else if i, ok := at.(int); ok {
			used[r.Parts[i].Name] = i
		}
	}
	sql, found, err = used.RewriteQuery(ctx, nil, r.Query, nil) // names a parameter that is no part
	if err != nil {
		return "", nil, err
	}
	for _, at := range found {
		args = append(args, at.(int))
	}
	return sql, args, nil
}

// prepare returns the route's statement on c, asking the server the first time.
func (s *Source) prepare(ctx context.Context, c *conn, r *filler.Route) (*statement, error) {
	if st := c.prepared[r]; st != nil {
		return st, nil
	}
	sql, args, err := rewrite(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("route %q: %w", r.Name, err)
	}
	st := &statement{sql: sql, args: args}
	if s.o.Mode == Prepared {
		st.name = "fish" + strconv.Itoa(c.made)
		c.made++ // also when what follows fails: the server may have the name by then
	}
	sd, err := c.pg.Prepare(ctx, st.name, sql, nil)
	if err != nil {
		return nil, err
	}
	if err := st.describe(r, sd); err != nil {
		return nil, err
	}
	c.prepared[r] = st
	return st, nil
}

// describe checks what the server says of a prepared query.
func (st *statement) describe(r *filler.Route, sd *pgconn.StatementDescription) error {
	st.oids = sd.ParamOIDs
	if len(st.oids) != len(st.args) {
		return fmt.Errorf("route %q: the server sees %d parameters, the query names %d", r.Name, len(st.oids), len(st.args))
	}
	for i, oid := range st.oids {
		if name := notArrays[oid]; name != "" {
			part := "keys"
			if st.args[i] != wholeKey {
				part = r.Parts[st.args[i]].Name
			}
			return fmt.Errorf("route %q: @%s is of type %s, but a batch is an array: write @%s::%s[]", r.Name, part, name, part, name)
		}
	}
	var all []string
	for _, f := range sd.Fields {
		all = append(all, f.Name)
		col := column{oid: f.DataTypeOID, kind: filler.Text}
		format := int16(0)
		if kind, ok := kinds[f.DataTypeOID]; ok {
			col.kind = kind
		}
		if elem, ok := elements[f.DataTypeOID]; ok && r.Encode != filler.EncodeRaw {
			col.kind, col.elem = filler.JSON, elem
		}
		if col.kind == filler.Bytes {
			format = 1
		}
		st.columns = append(st.columns, col)
		st.formats = append(st.formats, format)
	}
	var err error
	if st.ord, err = r.ColumnsOf(all); err != nil {
		return err
	}
	if st.columns[st.ord].kind != filler.Int {
		return fmt.Errorf("route %q: column ord is not an integer", r.Name)
	}
	for i, n := range all {
		if i != st.ord {
			st.names = append(st.names, n)
		}
	}
	return nil
}

// accepts says what the parameters accept.
func (st *statement) accepts(r *filler.Route) filler.Params {
	p := filler.Params{Parts: make([]filler.ParamType, len(r.Parts))}
	for i := range p.Parts {
		p.Parts[i] = filler.ParamUnused
	}
	for i, at := range st.args {
		if at == wholeKey {
			p.Keys = true
			continue
		}
		switch st.oids[i] {
		case oidInt2s:
			p.Parts[at] = filler.ParamInt16
		case oidInt4s:
			p.Parts[at] = filler.ParamInt32
		case oidInt8s:
			p.Parts[at] = filler.ParamInt64
		default:
			p.Parts[at] = filler.ParamText
		}
	}
	return p
}

// localSettings are what a session would have, for one transaction. A transaction begins with the first query of a pipeline and ends with
// its Sync, so neither outlives it, in an error either.
const localSettings = "SELECT set_config('statement_timeout', $1, true), set_config('application_name', $2, true)"

// ask sends the batch and hands its rows over.
func (s *Source) ask(ctx context.Context, c *conn, st *statement, b *filler.Batch) error {
	n := c.arrays(st, b)
	if s.o.Mode == Prepared && n < plannedKeys {
		return c.read(c.pg.ExecPrepared(ctx, st.name, c.params, nil, st.formats), st, b)
	}
	if s.o.Mode == Prepared {
		rr := c.pg.ExecParams(ctx, st.sql, c.params, st.oids, nil, st.formats)
		return c.readSame(rr, st, b)
	}
	p := c.pg.StartPipeline(ctx)
	timeout := strconv.FormatInt(s.o.StatementTimeout.Milliseconds(), 10)
	app := s.o.AppName + "/" + b.Route().Name
	p.SendQueryParams(localSettings, [][]byte{[]byte(timeout), []byte(app)}, nil, nil, nil)
	p.SendQueryParams(st.sql, c.params, nil, nil, st.formats)
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
		if queries++; queries == 1 {
			_, err = rr.Close()
			continue
		}
		err = c.readSame(rr, st, b)
	}
	if closed := p.Close(); err == nil {
		err = closed
	}
	return err
}

// plannedKeys is how many keys are worth a plan of their own. The plan that a server makes for a prepared statement once and for all
// suits a few keys: it looks each up in an index.
const plannedKeys = 1000

// readSame is read for a result that was not described by the prepared statement itself.
func (c *conn) readSame(rr *pgconn.ResultReader, st *statement, b *filler.Batch) error {
	if columns := rr.FieldDescriptions(); columns != nil && st.changed(columns) {
		delete(c.prepared, b.Route())
		_, _ = rr.Close()
		return &filler.Error{Fault: filler.FaultTransient, Err: fmt.Errorf("postgres: route %q: the result's columns have changed", b.Route().Name)}
	}
	return c.read(rr, st, b)
}

// changed tells whether columns are not those that the statement was described with. A prepared statement ends with an error then.
func (st *statement) changed(columns []pgconn.FieldDescription) bool {
	if len(columns) != len(st.columns) {
		return true
	}
	for i := range columns {
		if columns[i].DataTypeOID != st.columns[i].oid {
			return true
		}
	}
	return false
}

// read hands the rows over.
func (c *conn) read(rr *pgconn.ResultReader, st *statement, b *filler.Batch) error {
	b.Columns(st.names)
	if cap(c.values) < len(st.columns) {
		c.values = make([]filler.Value, len(st.columns))
	}
	for rr.NextRow() {
		row := rr.Values()
		if len(row) != len(st.columns) {
			_, _ = rr.Close()
			return fmt.Errorf("route %q: a row has %d columns, not %d", b.Route().Name, len(row), len(st.columns))
		}
		ord, err := strconv.ParseInt(string(row[st.ord]), 10, 64)
		if err != nil {
			ord = 0 // NULL: belongs to no key
		}
		vals := c.values[:0]
		for i, text := range row {
			if i != st.ord {
				vals = append(vals, st.columns[i].value(text))
			}
		}
		if !c.shared || ord < 1 || ord > int64(len(c.first)) {
			b.Row(ord, vals)
			continue
		}
		for k := c.first[ord-1]; k >= 0; k = c.next[k] {
			b.Row(int64(k)+1, vals)
		}
	}
	_, err := rr.Close()
	return err
}

// value makes a Value of a column's text. It aliases the read buffer.
func (col column) value(text []byte) filler.Value {
	switch {
	case text == nil:
		return filler.Value{Kind: filler.Null}
	case col.elem != filler.Null:
		return filler.Value{Kind: filler.JSON, Text: appendArrayJSON(nil, text, col.elem)}
	default:
		return filler.Value{Kind: col.kind, Text: text}
	}
}

// arrays makes the parameters: one array for each, with an element a question. It returns how many questions these are: one a key, but
// keys ahead of the asking, which come in their order from a table, often differ in nothing that the query asks about, and then
// they share one.
func (c *conn) arrays(st *statement, b *filler.Batch) (questions int) {
	for len(c.params) < len(st.args) {
		c.params = append(c.params, nil)
	}
	c.params = c.params[:len(st.args)]
	for i := range c.params {
		c.params[i] = append(c.params[i][:0], '{')
	}
	c.shared = b.Ahead() && !slices.Contains(st.args, wholeKey)
	if c.shared {
		c.first, c.next = c.first[:0], c.next[:0]
		clear(c.asked)
	}
	for k := range b.Len() {
		parts := b.Parts(k)
		if c.shared && c.share(st, parts) {
			continue
		}
		for i, at := range st.args {
			dst := c.params[i]
			if questions > 0 {
				dst = append(dst, ',')
			}
			switch {
			case at == wholeKey:
				dst = appendElement(dst, b.Key(k))
			case !parts[at].Present:
				dst = append(dst, "NULL"...)
			default:
				dst = appendElement(dst, parts[at].Value)
			}
			c.params[i] = dst
		}
		questions++
	}
	for i := range c.params {
		c.params[i] = append(c.params[i], '}')
	}
	return questions
}

// share enters the batch's next key, with its parts, and tells whether one before it asks the same.
func (c *conn) share(st *statement, parts []filler.Part) (same bool) {
	c.tuple = c.tuple[:0]
	for _, at := range st.args {
		if p := &parts[at]; p.Present {
			c.tuple = append(append(c.tuple, byte(len(p.Value))), p.Value...) // a part has 64 bytes at most, and one at least
		} else {
			c.tuple = append(c.tuple, 0)
		}
	}
	k := int32(len(c.next))
	question, same := c.asked[string(c.tuple)]
	if same {
		c.next = append(c.next, c.first[question])
		c.first[question] = k
		return true
	}
	if c.asked == nil {
		c.asked = make(map[string]int32)
	}
	c.asked[string(c.tuple)] = int32(len(c.first))
	c.first, c.next = append(c.first, k), append(c.next, -1)
	return false
}

// appendElement appends a quoted array element, which is right for every type.
func appendElement(dst, v []byte) []byte {
	dst = append(dst, '"')
	for _, c := range v {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// appendArrayJSON turns the text form of an array, {1,NULL,"a\"b",{2}}, into a JSON list. Lower bounds, [0:1]={...}, are left out.
func appendArrayJSON(dst, text []byte, elem filler.Kind) []byte {
	if len(text) > 0 && text[0] == '[' {
		for len(text) > 0 && text[0] != '{' {
			text = text[1:]
		}
	}
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '{':
			dst = append(dst, '[')
			i++
		case '}':
			dst = append(dst, ']')
			i++
		case ',':
			dst = append(dst, ',')
			i++
		case '"':
			var v []byte
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' && i+1 < len(text) {
					i++
				}
				v = append(v, text[i])
			}
			i++
			dst = appendScalar(dst, v, elem)
		default:
			start := i
			for i < len(text) && text[i] != ',' && text[i] != '}' {
				i++
			}
			if v := text[start:i]; string(v) == "NULL" {
				dst = append(dst, "null"...)
			} else {
				dst = appendScalar(dst, v, elem)
			}
		}
	}
	return dst
}

func appendScalar(dst, v []byte, elem filler.Kind) []byte {
	return filler.AppendJSON(dst, filler.Value{Kind: elem, Text: v})
}
