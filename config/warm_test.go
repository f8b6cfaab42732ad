package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const warmFile = `sources:
  main: {kind: sqlite, path: /db}
  old: {kind: memcache, url: "10.0.0.7"}
routes:
  - {name: user, key: "u:{id}", source: main, query: "SELECT @batch", keys: "SELECT id FROM users"}
  - {name: bare, key: "b:{id}", source: main, query: "SELECT @batch"}
`

func TestWarm(t *testing.T) {
	file := warmFile + `warm:
  - {route: user, from: table, rate: 2000/s, until: 95%, wait: 1m}
  - {from: "memcached 10.0.0.7"}
  - {from: peer /run/fish.sock}
  - {from: keys /etc/keys, route: user}
  - {from: log}
  - {from: log /var/other.log}
request_log: {path: /var/requests.log, every: 5s, max_size: 8MiB}
`
	c := mustLoad(t, input(map[string]string{"f.yaml": file}, nil, "--config", "f.yaml"))
	var got []string
	for i := range c.Warm {
		w := &c.Warm[i]
		got = append(got, strings.Join([]string{w.Route, w.From, w.Arg}, " "))
	}
	want := []string{"user table ", " memcached 10.0.0.7:11211", " peer /run/fish.sock", "user keys /etc/keys", " log ", " log /var/other.log"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if w := c.Warm[0]; w.Rate != 2000 || w.Until != 95 || w.Wait != time.Minute || w.Pos != "f.yaml:8" {
		t.Errorf("%+v", w)
	}
	if w := c.Warm[1]; w.Rate != 0 || w.Until != 100 || w.Wait != 10*time.Minute {
		t.Errorf("defaults: %+v", w)
	}
	if want := (RequestLog{Path: "/var/requests.log", Every: 5 * time.Second, MaxSize: 8 << 20}); c.RequestLog != want {
		t.Errorf("request_log: %+v", c.RequestLog)
	}
	c = mustLoad(t, input(map[string]string{"f.yaml": warmFile + "warm: {from: peer there:1}\nrequest_log:\n"}, nil, "--config", "f.yaml"))
	if len(c.Warm) != 1 || c.RequestLog.Path != "" {
		t.Errorf("one alone, and no log: %+v, %+v", c.Warm, c.RequestLog)
	}
}

func TestWarmErrors(t *testing.T) {
	for name, tt := range map[string]struct{ line, want string }{
		"nothing to warm from":    {"warm: [{route: user}]", "it does not say from what; write from: table"},
		"a kind that is none":     {"warm: {from: tables}", "write one of table, keys FILE"},
		"a table of something":    {"warm: {from: table users}", "nothing stands behind it"},
		"a table of no route":     {"warm: {from: table}", "write route: and its name"},
		"no such route":           {"warm: {from: table, route: usr}", `there is no route "usr"; did you mean user`},
		"no query for keys":       {"warm: {from: table, route: bare}", `route "bare" at f.yaml:6 does not say which keys there are; give it keys:`},
		"no file":                 {"warm: {from: keys}", "keys needs a file"},
		"standard input":          {"warm: {from: keys -}", "name a file"},
		"no host":                 {"warm: {from: memcached}", "needs the address of a server"},
		"a host that is none":     {`warm: {from: "peer a:b"}`, "is no address of a server"},
		"no log":                  {"warm: {from: log}", "write request_log: {path: FILE}"},
		"a field":                 {"warm: {form: table}", `unknown field "form"`},
		"a log without a path":    {"request_log: {every: 1m}", "it has no path"},
		"a size without a unit":   {"request_log: {path: /x, max_size: 64}", "write one such as 64MiB"},
		"a size that is too low":  {"request_log: {path: /x, max_size: 64KiB}", "write 1MiB or more"},
		"a size that is no size":  {"request_log: {path: /x, max_size: manyMiB}", "is no size"},
		"how often":               {"request_log: {path: /x, every: 1ms}", "write 1s or more"},
		"keys with a parameter":   {`routes: [{name: r, key: "r:{id}", source: main, query: "@batch", keys: "SELECT @id"}]`, "it asks for @id, and there is nothing to give it"},
		"keys of a memcached":     {`routes: [{name: r, key: "r:{id}", source: old, keys: "SELECT 1"}]`, "which runs no query"},
		"two kinds in one string": {`warm: {from: "memcached a:1 b:2"}`, "is no address"},
	} {
		t.Run(name, func(t *testing.T) {
			file := warmFile
			if strings.HasPrefix(tt.line, "routes:") {
				file, _, _ = strings.Cut(file, "routes:")
			}
			_, err := Load(input(map[string]string{"f.yaml": file + tt.line + "\n"}, nil, "--config", "f.yaml"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
