package config

import (
	"slices"
	"time"
)

// Kind says what a source is.
type Kind string

const (
	Postgres Kind = "postgres"
	SQLite   Kind = "sqlite"
	Memcache Kind = "memcache" // a peer
)

// Source is where routes load from.
type Source struct {
	Name             string
	Kind             Kind
	DSN              []Secret      // postgres: the first that answers serves
	WatchDSN         Secret        // postgres: for change tracking; empty: none
	Path             string        // sqlite: the database file
	MaxConns         int           // connections at most
	StatementTimeout time.Duration // of one query, milliseconds
	Rate             float64       // rows asked a second, all routes together; 0 is no limit
	Pos              string        // file:line, for messages
}

// readTop reads the whole file.
func (d *document) readTop(root value) {
	fields := root.fields("sources", "routes")
	var sources, routes value
	for _, f := range fields {
		switch f.name {
		case "sources":
			sources = f.value
		case "routes":
			routes = f.value
		}
	}
	if sources.doc != nil {
		d.readSources(sources)
	}
	if routes.doc != nil {
		d.readRoutes(routes)
	}
}

func (d *document) readSources(v value) {
	for _, f := range v.fields() {
		f.where = "source " + quoted(f.name)
		if !nameForm.MatchString(f.name) {
			f.fail("this is no name; %s", nameRemedy)
			continue
		}
		d.l.c.Sources = append(d.l.c.Sources, d.readSource(f))
	}
}

func (d *document) readSource(f field) Source {
	s := Source{Name: f.name, MaxConns: 4, StatementTimeout: 2 * time.Second, Pos: position(d.file, f.line)}
	given := map[string]value{}
	for _, set := range f.fields("kind", "dsn", "watch_dsn", "path", "url", "max_conns", "statement_timeout", "rate") {
		given[set.name] = set.value
		switch set.name {
		case "kind":
			choice(set.value, &s.Kind, Postgres, SQLite, Memcache)
		case "dsn":
			for _, item := range set.items() {
				if dsn, ok := item.secret(); ok {
					s.DSN = append(s.DSN, dsn)
				}
			}
			if set.isList() && len(set.items()) == 0 {
				set.fail("the list is empty; write the database's address")
			}
		case "watch_dsn":
			s.WatchDSN, _ = set.secret()
			d.l.note("%s: watch_dsn has no effect: change tracking is %s", f.where, notYet)
		case "path":
			s.Path, _ = set.str("write the path of the database file")
		case "url":
			set.secret()
		case "max_conns":
			set.count(&s.MaxConns, 1, 1000)
		case "statement_timeout":
			set.duration(&s.StatementTimeout, 10*time.Millisecond, time.Millisecond)
		case "rate":
			set.rate(&s.Rate)
		}
	}
	d.checkKind(f, &s, given)
	return s
}

// checkKind holds the fields against the source's kind.
func (d *document) checkKind(f field, s *Source, given map[string]value) {
	needs := map[Kind]string{Postgres: "dsn", SQLite: "path", Memcache: "url"}
	if _, has := given["kind"]; !has {
		f.fail("it has no kind; write kind: postgres or kind: sqlite")
		return
	}
	need, known := needs[s.Kind]
	if !known { // a wrong kind is a problem already
		return
	}
	if _, has := given[need]; !has {
		f.fail("a %s source needs %s; write it", s.Kind, need)
	}
	for _, other := range []string{"dsn", "path", "url", "watch_dsn"} {
		v, has := given[other]
		if has && other != need && !(s.Kind == Postgres && other == "watch_dsn") {
			v.fail("a %s source has no %s; take it out", s.Kind, other)
		}
	}
	if s.Kind == Memcache {
		f.fail("a memcache source is %s; use postgres or sqlite", notYet)
	}
}

// hasSource tells whether the file has a source of that name.
func (c *Config) hasSource(name string) bool {
	return slices.ContainsFunc(c.Sources, func(s Source) bool { return s.Name == name })
}
