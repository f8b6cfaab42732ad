package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"swordfish/filler"
)

// From bigTable rows or bigBytes on it matters that a whole table is read for a batch.
const (
	bigTable = 10_000
	bigBytes = 8 << 20
)

// sampleKeys is how many keys are asked for to see what comes back.
const sampleKeys = 200

// Explain implements filler.Explainer: it prepares the route's query, reads its generic plan and the catalog, and asks for a
// sample of keys that the table itself holds, all in transactions that only read and are rolled back.
func (s *Source) Explain(ctx context.Context, r *filler.Route) ([]filler.Advice, error) {
	var e *explanation
	err := s.with(ctx, r.Name, func(c *conn) error {
		e = &explanation{ctx: ctx, c: c, r: r, timeout: s.o.StatementTimeout}
		return e.run()
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(e.advice, func(a, b filler.Advice) int { return cmp.Compare(a.Level, b.Level) })
	return e.advice, nil
}

// explanation is one Explain on one connection.
type explanation struct {
	ctx     context.Context
	c       *conn
	r       *filler.Route
	timeout time.Duration
	st      *statement
	plan    *plan
	tables  []*table // that the plan reads
	advice  []filler.Advice
}

func (e *explanation) say(level filler.Level, format string, args ...any) {
	e.advice = append(e.advice, filler.Advice{Level: level, Text: fmt.Sprintf(format, args...)})
}

// explained is the name of the statement under examination. It is gone when Explain returns.
const explained = "fish_explained"

func (e *explanation) run() error {
	sql, args, err := rewrite(e.ctx, e.r)
	if err != nil {
		e.say(filler.Mistake, "%v", err)
		return nil
	}
	return e.readOnly(func() error {
		e.st = &statement{name: explained, sql: sql, args: args}
		sd, err := e.c.pg.Prepare(e.ctx, explained, sql, nil)
		var refused *pgconn.PgError
		if errors.As(err, &refused) {
			e.say(filler.Mistake, "%s", e.refusal(refused))
			return nil
		}
		if err != nil {
			return err
		}
		defer e.c.pg.Deallocate(e.ctx, explained)
		if err := e.st.describe(e.r, sd); err != nil {
			e.say(filler.Mistake, "%v", err)
			return nil
		}
		e.parts()
		if err := e.explain(); err != nil {
			return err
		}
		if err := e.catalog(); err != nil {
			return err
		}
		e.scans()
		e.order()
		sampled, twice, err := e.sample()
		if err != nil {
			return err
		}
		if !twice {
			e.uniqueness(sampled)
		}
		return nil
	})
}

// readOnly runs f in a transaction that cannot write.
func (e *explanation) readOnly(f func() error) error {
	begin := fmt.Sprintf("BEGIN READ ONLY; SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL statement_timeout = %d", e.timeout.Milliseconds())
	if err := e.exec(begin); err != nil {
		return err
	}
	err := f()
	if back := e.exec("ROLLBACK"); err == nil {
		err = back
	}
	return err
}

func (e *explanation) exec(sql string) error { return e.c.pg.Exec(e.ctx, sql).Close() }

// rows asks and returns all values as text; NULL is empty.
func (e *explanation) rows(sql string, params ...string) ([][]string, error) {
	var values [][]byte
	for _, p := range params {
		values = append(values, []byte(p))
	}
	res := e.c.pg.ExecParams(e.ctx, sql, values, nil, nil, nil).Read()
	var out [][]string
	for _, row := range res.Rows {
		var texts []string
		for _, v := range row {
			texts = append(texts, string(v))
		}
		out = append(out, texts)
	}
	return out, res.Err
}

// refusal explains why the server does not prepare the query.
func (e *explanation) refusal(err *pgconn.PgError) string {
	help := ""
	switch err.Code {
	case "42883": // undefined_function: also an operator between types
		help = "a part and the column it is compared with have different types: cast the parameter to an array of the column's type, such as @dev::int[]"
	case "42804": // datatype_mismatch
		help = "cast the parameter to an array of the column's type"
	case "42P18": // indeterminate_datatype
		help = "write the parameter's type, such as @os::text[]"
	case "42501": // insufficient_privilege
		help = "the owner has to GRANT SELECT on it to this role"
	}
	text := "the server refuses the query: " + err.Message
	if err.Position > 0 {
		if at := int(err.Position) - 1; at < len(e.st.sql) {
			near, _, _ := strings.Cut(e.st.sql[at:], "\n")
			text += fmt.Sprintf(" near %.40q", near)
		}
	}
	if help != "" {
		text += "; " + help
	}
	return text
}

// parts compares the pattern's parts with the parameters.
func (e *explanation) parts() {
	accepts := e.st.accepts(e.r)
	for i, p := range e.r.Parts {
		switch t := accepts.Parts[i]; {
		case t == filler.ParamUnused && !accepts.Keys:
			e.say(filler.Note, "part %s is not in the query: keys that differ only in it load the same row, each for itself", p.Name)
		case p.Int && t == filler.ParamText && e.isText(i):
			e.say(filler.Note, "part %s is of class int and compared as text: 7 and 007 are two keys and two values", p.Name)
		case !p.Int && (t == filler.ParamInt16 || t == filler.ParamInt32 || t == filler.ParamInt64):
			e.say(filler.Note, "@%s is an array of integers: write {%s:int} in the key, or keys with anything else there count as bad_part", p.Name, p.Name)
		}
	}
}

// isText tells whether a part's parameter is an array of text, rather than of something that text is read into.
func (e *explanation) isText(part int) bool {
	at := slices.Index(e.st.args, part)
	return at >= 0 && (e.st.oids[at] == oidTexts || e.st.oids[at] == oidVarchars)
}

// explain reads the plan that the server would take for any keys.
func (e *explanation) explain() error {
	sql := "EXPLAIN (FORMAT JSON, VERBOSE) EXECUTE " + explained
	if n := len(e.st.args); n > 0 {
		sql += "(" + strings.TrimSuffix(strings.Repeat("NULL, ", n), ", ") + ")"
	}
	res, err := e.c.pg.Exec(e.ctx, sql).ReadAll()
	if err != nil {
		return err
	}
	if len(res) != 1 || len(res[0].Rows) != 1 {
		return errors.New("EXPLAIN returned no plan")
	}
	e.plan, err = parsePlan(res[0].Rows[0][0])
	return err
}

// table is a table that the plan reads, as the catalog knows it.
type table struct {
	*relation
	oid     string
	rows    int64 // about; -1: never analyzed
	bytes   int64
	types   map[string]string // by column
	indexes []index
}

type index struct {
	name    string
	columns []string // keys; an expression is empty
	unique  bool     // and whole: not partial
	partial bool
}

func (t *table) String() string { return t.schema + "." + t.name }

// catalog looks up the tables of the plan.
func (e *explanation) catalog() error {
	for _, rel := range e.plan.relations {
		t := &table{relation: rel, types: make(map[string]string)}
		found, err := e.rows(`SELECT c.oid, c.reltuples::bigint, pg_relation_size(c.oid)
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`, rel.schema, rel.name)
		if err != nil {
			return err
		}
		if len(found) != 1 {
			continue
		}
		t.oid = found[0][0]
		fmt.Sscan(found[0][1], &t.rows)
		fmt.Sscan(found[0][2], &t.bytes)
		columns, err := e.rows(`SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
			WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped`, t.oid)
		if err != nil {
			return err
		}
		for _, c := range columns {
			t.types[c[0]] = c[1]
		}
		found, err = e.rows(`SELECT i.relname, x.indisunique AND x.indpred IS NULL, x.indpred IS NOT NULL,
				coalesce((SELECT string_agg(coalesce(a.attname, ''), ',' ORDER BY k.n) FROM unnest(x.indkey) WITH ORDINALITY k(attnum, n)
					LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum AND k.attnum > 0 WHERE k.n <= x.indnkeyatts), '')
			FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = $1::oid AND x.indisvalid ORDER BY 1`, t.oid)
		if err != nil {
			return err
		}
		for _, f := range found {
			t.indexes = append(t.indexes, index{name: f[0], unique: f[1] == "t", partial: f[2] == "t", columns: strings.Split(f[3], ",")})
		}
		e.tables = append(e.tables, t)
	}
	return nil
}

// scans says what is read as a whole, and why.
func (e *explanation) scans() {
	for _, t := range e.tables {
		for _, cast := range t.casts {
			if has := t.types[cast.column]; !strings.HasPrefix(has, "character varying") { // varchar and text share their indexes
				e.say(filler.Warning, "column %s of %s is %s and is compared as %s, which no index on it helps: cast the parameter instead, to an array of %s",
					cast.column, t, has, cast.to, has)
			}
		}
		if t.rows < 0 && t.bytes > 0 {
			e.say(filler.Note, "%s was never analyzed, so its plans are guesses: ANALYZE %s", t, ident(t.schema, t.name))
		}
		if !t.whole || (t.rows < bigTable && t.bytes < bigBytes) {
			continue
		}
		size := fmt.Sprintf("%d MB", max(1, t.bytes>>20))
		if t.rows >= 0 {
			size = fmt.Sprintf("about %d rows, %s", t.rows, size)
		}
		switch usable := t.usableIndex(); {
		case len(t.columns) == 0:
			e.say(filler.Warning, "every batch reads the whole of %s (%s): no column of it is compared with a part", t, size)
		case usable == "":
			e.say(filler.Warning, "every batch reads the whole of %s (%s), for want of an index: CREATE INDEX ON %s (%s)",
				t, size, ident(t.schema, t.name), strings.Join(idents(t.columns), ", "))
		default:
			e.say(filler.Warning, "every batch reads the whole of %s (%s) though there is the index %s: a key finds many rows, or the types do not fit, or it wants an ANALYZE", t, size, usable)
		}
	}
	for _, f := range e.plan.functions {
		e.say(filler.Note, "the query calls %s: what happens inside is not looked into here", f)
	}
}

// usableIndex returns an index that begins with one of the compared columns.
func (t *table) usableIndex() string {
	for _, x := range t.indexes {
		if !x.partial && slices.Contains(t.columns, x.columns[0]) {
			return x.name
		}
	}
	return ""
}

// unique tells whether the compared columns can find at most one row.
func (t *table) unique() bool {
	return slices.ContainsFunc(t.indexes, func(x index) bool {
		return x.unique && !slices.ContainsFunc(x.columns, func(c string) bool { return !slices.Contains(t.columns, c) })
	})
}

// order looks at lists.
func (e *explanation) order() {
	if e.r.Rows == filler.RowsList && !strings.Contains(strings.ToLower(e.r.Query), "order by") {
		e.say(filler.Note, "rows: list without ORDER BY: a list's rows may come in another order each time, and then count as a change")
	}
}

// uniqueness says that two rows may come for one key where only one counts.
func (e *explanation) uniqueness(sampled int) {
	if e.r.Rows == filler.RowsList || e.plan.gathers {
		return
	}
	for _, t := range e.tables {
		if len(t.columns) == 0 || t.unique() {
			continue
		}
		level, seen := filler.Warning, ""
		if sampled > 0 {
			level, seen = filler.Note, fmt.Sprintf(" (none of %d sampled keys has)", sampled)
		}
		e.say(level, "no unique index says that a key finds at most one row of %s; it may have two%s, and then the first counts. CREATE UNIQUE INDEX ON %s (%s), or rows: list",
			t, seen, ident(t.schema, t.name), strings.Join(idents(t.columns), ", "))
	}
}

// sample asks for keys that the table holds. It returns how many had an answer, and whether one had two.
func (e *explanation) sample() (answered int, twice bool, err error) {
	t, columns := e.sampled()
	if t == nil {
		return 0, false, nil
	}
	var list, filled []string
	for _, c := range columns {
		list = append(list, ident(c))
		filled = append(filled, ident(c)+" IS NOT NULL")
	}
	if err := e.exec("SAVEPOINT sample"); err != nil {
		return 0, false, err
	}
	keys, err := e.rows(fmt.Sprintf("SELECT DISTINCT %s FROM (SELECT %s FROM %s WHERE %s LIMIT %d) s LIMIT %d", texts(list), strings.Join(list, ", "),
		ident(t.schema, t.name), strings.Join(filled, " AND "), 10*sampleKeys, sampleKeys))
	if err == nil && len(keys) == 0 {
		e.say(filler.Note, "%s is empty, so no query could be tried", t)
		return 0, false, nil
	}
	found := map[string]int{}
	if err == nil {
		found, err = e.ask(columns, keys)
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "25006": // read_only_sql_transaction
			e.say(filler.Note, "the query writes, so it was not tried")
		case "57014": // query_canceled
			e.say(filler.Warning, "%d sampled keys take longer than statement_timeout: every such batch fails", len(keys))
		default:
			e.say(filler.Mistake, "a batch of %d keys sampled from %s fails: %s", len(keys), t, refused.Message)
		}
		return 0, false, e.exec("ROLLBACK TO SAVEPOINT sample")
	}
	if err != nil {
		return 0, false, err
	}
	most := ""
	for ord, n := range found {
		answered++
		if n > 1 {
			twice = true
			if most == "" || n > found[most] || (n == found[most] && ord < most) {
				most = ord
			}
		}
	}
	delete(found, "")
	switch {
	case answered == 0:
		e.say(filler.Warning, "none of %d keys sampled from %s has a row: see whether the other conditions of the query, or its types, rule them out", len(keys), t)
	case twice && e.r.Rows == filler.RowsOne:
		var n int
		fmt.Sscan(most, &n)
		key := ""
		if n >= 1 && n <= len(keys) {
			key = " such as " + strings.Join(keys[n-1], ", ")
		}
		e.say(filler.Mistake, "a key has up to %d rows%s, and only the first counts: see to it that there is one row for each ord, or write rows: list", found[most], key)
	}
	return answered, twice, nil
}

// sampled chooses the table whose columns are compared with all parts that the query uses. columns are by parameter; empty: an
// optional part that stands for nothing here.
func (e *explanation) sampled() (t *table, columns []string) {
	for _, t := range e.tables {
		columns = columns[:0]
		for i := range e.st.args {
			c := t.comparedWith(e.paramName(i), i+1)
			if c == "" {
				break
			}
			columns = append(columns, c)
		}
		if len(columns) == len(e.st.args) && len(columns) > 0 {
			return t, columns
		}
	}
	if len(e.tables) > 0 && len(e.st.args) > 0 {
		e.say(filler.Note, "no table has a column for each part, so no query could be tried: ask for real keys with check --key")
	}
	return nil, nil
}

func (e *explanation) paramName(param int) string {
	if at := e.st.args[param]; at != wholeKey {
		return e.r.Parts[at].Name
	}
	return "keys"
}

// ask runs the statement for the sampled keys and counts the rows of each ord.
func (e *explanation) ask(columns []string, keys [][]string) (map[string]int, error) {
	params := make([][]byte, len(columns))
	for i := range params {
		params[i] = append(params[i], '{')
		for k, key := range keys {
			if k > 0 {
				params[i] = append(params[i], ',')
			}
			params[i] = appendElement(params[i], []byte(key[i]))
		}
		params[i] = append(params[i], '}')
	}
	rr := e.c.pg.ExecPrepared(e.ctx, explained, params, nil, e.st.formats)
	found := make(map[string]int)
	for rr.NextRow() {
		found[string(rr.Values()[e.st.ord])]++
	}
	_, err := rr.Close()
	return found, err
}

func ident(name ...string) string { return pgx.Identifier(name).Sanitize() }

func idents(names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, ident(n))
	}
	return out
}

func texts(columns []string) string { return strings.Join(columns, "::text, ") + "::text" }
