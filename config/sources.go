package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind says what a source is.
type Kind string

const (
	Postgres Kind = "postgres"
	SQLite   Kind = "sqlite"
	Memcache Kind = "memcache" // a peer
)

// ExecMode says how queries reach a PostgreSQL.
type ExecMode string

const (
	Prepared ExecMode = "prepared" // a prepared statement a route and connection
	Unnamed  ExecMode = "unnamed"  // nothing is left on the connection, for PgBouncer in transaction mode
)

// Source is where routes load from.
type Source struct {
	Name             string
	Kind             Kind
	DSN              []Secret      // postgres: the first that answers serves
	WatchDSN         Secret        // postgres: for change tracking; empty: none
	Path             string        // sqlite: the database file
	ExecMode         ExecMode      // postgres
	URL              Secret        // memcache: host:port
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
	for _, set := range f.fields("kind", "dsn", "watch_dsn", "path", "exec_mode", "url", "max_conns", "statement_timeout", "rate") {
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
		case "exec_mode":
			choice(set.value, &s.ExecMode, Prepared, Unnamed)
		case "url":
			s.URL, _ = set.secret()
			s.URL = set.address(s.URL)
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
		f.fail("it has no kind; write kind: postgres, sqlite or memcache")
		return
	}
	need, known := needs[s.Kind]
	if !known { // a wrong kind is a problem already
		return
	}
	if _, has := given[need]; !has {
		f.fail("a %s source needs %s; write it", s.Kind, need)
	}
	for _, other := range []string{"dsn", "path", "url", "watch_dsn", "exec_mode"} {
		v, has := given[other]
		if has && other != need && !(s.Kind == Postgres && (other == "watch_dsn" || other == "exec_mode")) {
			v.fail("a %s source has no %s; take it out", s.Kind, other)
		}
	}
	if _, has := given["exec_mode"]; s.Kind == Postgres && !has {
		s.ExecMode = Prepared
	}
}

// address checks host:port; memcached's port may be left out.
func (v value) address(s Secret) Secret {
	if s == "" { // a problem already
		return ""
	}
	text := s.Reveal()
	if ip, err := netip.ParseAddr(text); err == nil {
		text = net.JoinHostPort(ip.String(), memcachedPort)
	} else if !strings.Contains(text, ":") {
		text += ":" + memcachedPort
	}
	host, port, err := net.SplitHostPort(text)
	n, notNumber := strconv.Atoi(port)
	if err != nil || notNumber != nil || host == "" || strings.Contains(host, "/") || n < 1 || n > 65535 {
		v.fail("it is no address; write host:port, such as 10.0.0.7:11211")
		return ""
	}
	return Secret(text)
}

const memcachedPort = "11211"

// kindOf returns the kind of a source; none, or one that is wrong, has none.
func (c *Config) kindOf(name string) Kind {
	for i := range c.Sources {
		if c.Sources[i].Name == name {
			return c.Sources[i].Kind
		}
	}
	return ""
}

// hasSource tells whether the file has a source of that name.
func (c *Config) hasSource(name string) bool {
	return slices.ContainsFunc(c.Sources, func(s Source) bool { return s.Name == name })
}
