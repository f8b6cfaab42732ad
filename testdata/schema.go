package testdata

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// RouteKey is the key pattern of the demo's route.
const RouteKey = "chr|country={country}|dev={dev:int}|os={os}|browser={browser}|cat={cat}|w={w:int}|h={h:int?}"

// RouteParts are the names of RouteKey's parts as the pattern lists them.
var RouteParts = []string{"country", "dev", "os", "browser", "cat", "w", "h"}

// PostgresQuery answers a batch of RouteKey's keys from PostgreSQL.
const PostgresQuery = `SELECT k.ord, c.payload AS value
FROM unnest(@country::text[], @os::text[], @browser::text[], @cat::text[])
     WITH ORDINALITY AS k(country, os, browser, cat, ord)
JOIN characteristics c USING (country, os, browser, cat)`

// KeysQuery enumerates RouteKey's keys, all 464,184 of them, in PostgreSQL and in SQLite.
const KeysQuery = `SELECT c.country, d.device_id AS dev, d.os, d.browser, d.cat, d.screen_width AS w, d.screen_height AS h
FROM countries c CROSS JOIN devices d`

// SQLiteQuery answers a batch of RouteKey's keys from SQLite, where a batch is one JSON array of objects.
const SQLiteQuery = `SELECT k.value->>'ord' AS ord, c.payload AS value
FROM json_each(@batch) AS k
JOIN characteristics c ON c.country = k.value->>'country' AND c.os = k.value->>'os'
 AND c.browser = k.value->>'browser' AND c.cat = k.value->>'cat'`

// PostgresSchema creates the three tables, empty.
const PostgresSchema = `CREATE TABLE countries (
  country char(2) PRIMARY KEY, name text NOT NULL, continent text NOT NULL, currency text NOT NULL, languages text NOT NULL);
CREATE TABLE devices (
  device_id int PRIMARY KEY, os text NOT NULL, os_version text NOT NULL, browser text NOT NULL, cat text NOT NULL,
  vendor text NOT NULL, screen_width int NOT NULL, screen_height int NOT NULL, weight float8 NOT NULL, user_agent text NOT NULL);
CREATE TABLE characteristics (
  country text, os text, browser text, cat text, payload jsonb NOT NULL,
  PRIMARY KEY (country, os, browser, cat));
`

// SQLiteSchema creates the three tables, empty. The type JSON tells the filler that a payload is a document, not a text.
const SQLiteSchema = `CREATE TABLE countries (
  country TEXT PRIMARY KEY, name TEXT NOT NULL, continent TEXT NOT NULL, currency TEXT NOT NULL, languages TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE devices (
  device_id INTEGER PRIMARY KEY, os TEXT NOT NULL, os_version TEXT NOT NULL, browser TEXT NOT NULL, cat TEXT NOT NULL,
  vendor TEXT NOT NULL, screen_width INTEGER NOT NULL, screen_height INTEGER NOT NULL, weight REAL NOT NULL, user_agent TEXT NOT NULL);
CREATE TABLE characteristics (
  country TEXT, os TEXT, browser TEXT, cat TEXT, payload JSON NOT NULL,
  PRIMARY KEY (country, os, browser, cat)) WITHOUT ROWID;
`

// table is one table's rows as text, the form that COPY and SQLite's column affinity both take.
type table struct {
	name    string
	columns int
	rows    func(emit func(row ...string))
}

var tables = []table{
	{"countries", 5, func(emit func(...string)) {
		for _, c := range Countries() {
			emit(c.Code, c.Name, c.Continent, strings.Join(c.Currencies, ";"), strings.Join(c.Languages, ";"))
		}
	}},
	{"devices", 10, func(emit func(...string)) {
		for _, d := range Devices() {
			emit(strconv.Itoa(d.ID), d.OS, d.OSVersion, d.Browser, d.Category, d.Vendor, strconv.Itoa(d.Width),
				strconv.Itoa(d.Height), strconv.FormatFloat(d.Weight, 'g', -1, 64), d.UserAgent)
		}
	}},
	{"characteristics", 5, func(emit func(...string)) {
		for _, c := range Characteristics() {
			emit(c.Country, c.OS, c.Browser, c.Category, c.Payload)
		}
	}},
}

// CopyTables calls load for every table with a COPY statement and the rows in COPY's text format. load is the driver's:
//
//	testdata.CopyTables(func(sql string, rows io.Reader) error {
//		_, err := conn.PgConn().CopyFrom(ctx, rows, sql)
//		return err
//	})
func CopyTables(load func(sql string, rows io.Reader) error) error {
	for _, t := range tables {
		if err := load(t.copySQL(), strings.NewReader(t.copyRows())); err != nil {
			return fmt.Errorf("testdata: copy %s: %w", t.name, err)
		}
	}
	return nil
}

// WritePostgresScript writes schema and rows as a script for psql, for a container that loads what lies in its init folder.
func WritePostgresScript(w io.Writer) error {
	if _, err := io.WriteString(w, "BEGIN;\n"+PostgresSchema); err != nil {
		return err
	}
	for _, t := range tables {
		if _, err := io.WriteString(w, t.copySQL()+";\n"+t.copyRows()+"\\.\n"); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "COMMIT;\nANALYZE;\n")
	return err
}

func (t table) copySQL() string { return "COPY " + t.name + " FROM STDIN" }

var copyEscape = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)

func (t table) copyRows() string {
	var b strings.Builder
	t.rows(func(row ...string) {
		for i, v := range row {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(copyEscape.Replace(v))
		}
		b.WriteByte('\n')
	})
	return b.String()
}

// LoadSQLite creates the three tables in db and fills them in one transaction. db must be empty.
func LoadSQLite(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("testdata: sqlite: %w", err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, SQLiteSchema); err != nil {
		return fmt.Errorf("testdata: sqlite schema: %w", err)
	}
	for _, t := range tables {
		if err := t.insertSQLite(ctx, tx); err != nil {
			return fmt.Errorf("testdata: sqlite %s: %w", t.name, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("testdata: sqlite: %w", err)
	}
	return nil
}

func (t table) insertSQLite(ctx context.Context, tx *sql.Tx) error {
	st, err := tx.PrepareContext(ctx, "INSERT INTO "+t.name+" VALUES (?"+strings.Repeat(", ?", t.columns-1)+")")
	if err != nil {
		return err
	}
	defer st.Close()
	args := make([]any, t.columns)
	t.rows(func(row ...string) {
		if err != nil {
			return
		}
		for i, v := range row {
			args[i] = v
		}
		_, err = st.ExecContext(ctx, args...)
	})
	return err
}
