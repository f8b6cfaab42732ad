package config

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Warm is a warm-up that begins with the server. Clients should come when it has ended: /readyz waits for it.
type Warm struct {
	Route string // empty: all keys
	From  string // table, keys, memcached, peer or log
	Arg   string // what From names: a file of keys, a server's host:port, or another log
	Rate  float64
	Until int           // percent; 100: all
	Wait  time.Duration // how long /readyz waits for it at most
	Pos   string        // file:line, for messages
}

// WarmForms are what a warm-up can be from, as they are written.
var WarmForms = []string{"table", "keys FILE", "memcached HOST:PORT", "peer HOST:PORT", "log"}

// defaultWait is long enough for some millions of keys.
const defaultWait = 10 * time.Minute

// WarmFrom reads where a warm-up is from. fault says what is wrong, with its remedy.
func WarmFrom(text string) (from, arg, fault string) {
	from, arg, _ = strings.Cut(strings.TrimSpace(text), " ")
	arg = strings.TrimSpace(arg)
	remedy := "write one of " + strings.Join(WarmForms, ", ")
	switch from {
	case "table":
		if arg != "" {
			return "", "", "table is the route's own, so nothing stands behind it; " + remedy
		}
	case "keys":
		if arg == "" {
			return "", "", "keys needs a file, with a key a line; " + remedy
		}
	case "log": // without a file: the server's own
	case "memcached", "peer":
		if arg == "" {
			return "", "", from + " needs the address of a server; " + remedy
		}
		if arg, fault = serverAddress(arg); fault != "" {
			return "", "", fault
		}
	default:
		return "", "", strconv.Quote(text) + " is nothing that a warm-up can be from; " + remedy
	}
	return from, arg, ""
}

// serverAddress reads host:port, where memcached's port may be left out, or the path of a socket.
func serverAddress(s string) (addr, fault string) {
	if s[0] == '/' {
		return s, ""
	}
	if strings.Count(s, ":") != 1 && !strings.HasPrefix(s, "[") {
		s = net.JoinHostPort(s, memcachedPort)
	}
	host, port, err := net.SplitHostPort(s)
	if n, notNumber := strconv.Atoi(port); err != nil || notNumber != nil || host == "" || strings.ContainsAny(host, "/ ") || n < 1 || n > 65535 {
		return "", strconv.Quote(s) + " is no address of a server; write host:port, such as 10.0.0.7:11211"
	}
	return net.JoinHostPort(host, port), ""
}

// readWarm reads the warm-ups, one or a list.
func (d *document) readWarm(v value) {
	if v.isNull() {
		return
	}
	for i, item := range v.items() {
		item.where = "warm " + strconv.Itoa(i+1)
		w := Warm{Until: 100, Wait: defaultWait, Pos: position(d.file, item.line)}
		var from, route value
		for _, f := range item.fields("route", "from", "rate", "until", "wait") {
			switch f.name {
			case "route":
				route = f.value
				w.Route, _ = f.str("name a route, or leave it out for all keys")
			case "from":
				from = f.value
				text, ok := f.str("write one of " + strings.Join(WarmForms, ", "))
				if !ok {
					continue
				}
				fault := ""
				if w.From, w.Arg, fault = WarmFrom(text); fault != "" {
					f.fail("%s", fault)
				} else if w.From == "keys" && w.Arg == "-" {
					f.fail("a server has no list of keys on its standard input; name a file")
				}
			case "rate":
				f.rate(&w.Rate)
			case "until":
				f.percent(&w.Until, 1, 100)
			case "wait":
				f.duration(&w.Wait, 0, time.Second)
			}
		}
		if from.doc == nil {
			item.fail("it does not say from what; write from: %s", strings.Join(WarmForms, ", or from: "))
		}
		d.warms = append(d.warms, warmAt{w, item, route})
	}
}

// warmAt is a warm-up with the places that messages about it name.
type warmAt struct {
	Warm
	item, route value
}

// checkWarm holds the warm-ups against routes and request log, which may stand behind them in the file.
func (d *document) checkWarm() {
	names := make([]string, 0, len(d.l.c.Routes))
	for _, r := range d.l.c.Routes {
		names = append(names, r.Name)
	}
	for _, w := range d.warms {
		at := slices.Index(names, w.Route)
		switch {
		case w.Route != "" && at < 0:
			w.route.fail("there is no route %q; %s", w.Route, didYouMean(w.Route, names))
		case w.From == "table" && w.Route == "":
			w.item.fail("from: table loads the keys of a route; write route: and its name")
		case w.From == "table" && d.l.c.Routes[at].Keys == "":
			w.item.fail("route %q at %s does not say which keys there are; give it keys: with a query that returns the parts of its keys as columns", w.Route, d.l.c.Routes[at].Pos)
		case w.From == "log" && w.Arg == "" && d.l.c.RequestLog.Path == "":
			w.item.fail("there is no log of requests; write request_log: {path: FILE}, or from: log FILE for another server's")
		}
		d.l.c.Warm = append(d.l.c.Warm, w.Warm)
	}
}

// RequestLog is where the server writes down what it is asked for.
type RequestLog struct {
	Path    string        // empty: nowhere
	Every   time.Duration // how often it writes
	MaxSize int64         // bytes, of the file and the one before it together
}

const (
	defaultEvery   = time.Minute
	defaultLogSize = 64 << 20
	leastLogSize   = 1 << 20
)

func (d *document) readRequestLog(v value) {
	r := RequestLog{Every: defaultEvery, MaxSize: defaultLogSize}
	given := false
	for _, f := range v.fields("path", "every", "max_size") {
		switch f.name {
		case "path":
			given = true
			r.Path, _ = f.str("write the path of a file")
		case "every":
			f.duration(&r.Every, time.Second, time.Second)
		case "max_size":
			f.size(&r.MaxSize, leastLogSize)
		}
	}
	if !given && !v.isNull() {
		v.fail("it has no path; write the path of a file, such as path: /var/lib/swordfish/requests.log")
	}
	d.l.c.RequestLog = r
}

// size reads 64MiB as bytes.
func (v value) size(into *int64, low int64) {
	s, ok := v.str("write a size such as 64MiB")
	if !ok {
		return
	}
	units := []struct {
		name string
		n    int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
	for _, u := range units {
		digits, found := strings.CutSuffix(s, u.name)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 32)
		switch {
		case err != nil || n < 0:
			v.fail("%q is no size; write one such as 64MiB", s)
		case n*u.n < low:
			v.fail("%s is too little; write %dMiB or more", s, low>>20)
		default:
			*into = n * u.n
		}
		return
	}
	v.fail("%q is no size; write one such as 64MiB, with KiB, MiB or GiB", s)
}
