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
	DSN              []Secret          // postgres: the first that answers serves
	WatchDSN         Secret            // postgres: for change tracking; empty: none
	Path             string            // sqlite: the database file
	ExecMode         ExecMode          // postgres
	URL              Secret            // memcache: host:port, or the path of a socket
	Keys             map[string]string // memcache: by route, how the peer's clients spell its keys
	MaxConns         int               // connections at most
	StatementTimeout time.Duration     // of one query, milliseconds
	Rate             float64           // rows asked a second, all routes together; 0 is no limit
	Pos              string            // file:line, for messages
}

// readTop reads the whole file.
func (d *document) readTop(root value) {
	fields := root.fields("sources", "routes", "admin", "warm", "request_log", "snapshot")
	var sources, routes value
	for _, f := range fields {
		if d.l.in.Asking && f.name != "admin" {
			continue
		}
		switch f.name {
		case "sources":
			sources = f.value
		case "routes":
			routes = f.value
		case "admin":
			d.readAdmin(f.value)
		case "warm":
			d.readWarm(f.value)
		case "request_log":
			d.readRequestLog(f.value)
		case "snapshot":
			d.readSnapshot(f.value)
		}
	}
	if sources.doc != nil {
		d.readSources(sources)
	}
	if routes.doc != nil {
		d.readRoutes(routes)
	}
	d.checkKeys()
	d.checkWarm()
}

// checkKeys wants the routes that a peer's keys are spelled for to be there, and to load from that peer.
func (d *document) checkKeys() {
	names := make([]string, 0, len(d.l.c.Routes))
	for _, r := range d.l.c.Routes {
		names = append(names, r.Name)
	}
	for i := range d.l.c.Sources {
		source := d.l.c.Sources[i].Name
		for _, key := range d.keys[source].fields() {
			switch at := slices.Index(names, key.name); {
			case at < 0:
				key.fail("there is no route %q; %s", key.name, didYouMean(key.name, names))
			case !slices.Contains(d.l.c.Routes[at].Sources, source):
				key.fail("the route does not load from this source; take it out")
			}
		}
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
	for _, set := range f.fields("kind", "dsn", "watch_dsn", "path", "exec_mode", "url", "keys", "max_conns", "statement_timeout", "rate") {
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
		case "keys":
			s.Keys = map[string]string{}
			for _, route := range set.fields() {
				if text, ok := route.str("write how the peer's clients spell the route's keys, such as chr:{country}:{os}"); ok {
					s.Keys[route.name] = text
				}
			}
			d.keys[s.Name] = set.value
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

// kindFields are the fields that not every kind has; the first of a kind's is needed.
var kindFields = map[Kind][]string{
	Postgres: {"dsn", "watch_dsn", "exec_mode"}, SQLite: {"path"}, Memcache: {"url", "keys"},
}

// checkKind holds the fields against the source's kind.
func (d *document) checkKind(f field, s *Source, given map[string]value) {
	if _, has := given["kind"]; !has {
		f.fail("it has no kind; write kind: postgres, sqlite or memcache")
		return
	}
	fields, known := kindFields[s.Kind]
	if !known { // a wrong kind is a problem already
		return
	}
	need := fields[0]
	if _, has := given[need]; !has {
		f.fail("a %s source needs %s; write it", s.Kind, need)
	}
	for _, other := range []string{"dsn", "watch_dsn", "exec_mode", "path", "url", "keys"} {
		if v, has := given[other]; has && !slices.Contains(kindFields[s.Kind], other) {
			v.fail("a %s source has no %s; take it out", s.Kind, other)
		}
	}
	if _, has := given["exec_mode"]; s.Kind == Postgres && !has {
		s.ExecMode = Prepared
	}
}

// address checks host:port, where memcached's port may be left out, or the path of a socket.
func (v value) address(s Secret) Secret {
	text := s.Reveal()
	if text == "" || text[0] == '/' { // a problem already, or a path
		return s
	}
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
