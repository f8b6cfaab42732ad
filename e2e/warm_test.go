//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// warmCountries are few enough that a test which waits for all of their keys is quick.
var warmCountries = []string{"BR", "DE", "FR", "GB", "IN", "JP", "US"}

// keysOf is the demo's query for keys, cut down to some countries.
func keysOf(countries ...string) string {
	return "keys: " + strconv.Quote(testdata.KeysQuery+" WHERE c.country IN ('"+strings.Join(countries, "','")+"');")
}

// eachKey calls visit with every key of some countries and its payload.
func eachKey(countries []string, visit func(key, payload string)) {
	payloads := make(map[testdata.Characteristic]string)
	for _, ch := range testdata.Characteristics() {
		payload := ch.Payload
		ch.Payload = ""
		payloads[ch] = payload
	}
	for _, country := range countries {
		for i := range testdata.Devices() {
			d := &testdata.Devices()[i]
			visit(string(testdata.AppendKey(nil, country, d)),
				payloads[testdata.Characteristic{Country: country, OS: d.OS, Browser: d.Browser, Category: d.Category}])
		}
	}
}

var adminListening = regexp.MustCompile(`"address":"([^"]+)"[^\n]*"admin listening"`)

// adminOf is where a server, started with -o admin=0, listens for operators.
func adminOf(t *testing.T, s *server) string {
	t.Helper()
	addr := ""
	eventually(t, "the admin port is in the log", func() bool {
		b, err := os.ReadFile(s.log)
		if err != nil {
			t.Fatal(err)
		}
		if m := adminListening.FindSubmatch(b); m != nil {
			addr = string(m[1])
		}
		return addr != ""
	})
	return addr
}

// ask gets a page of the admin port.
func askAdmin(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	answer, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// warmed is what is compared of a warm-up's progress.
type warmed struct {
	State   string  `json:"state"`
	Total   int     `json:"total"`
	Seen    int     `json:"seen"`
	Present int     `json:"present"`
	Loaded  int     `json:"loaded"`
	NoRow   int     `json:"absent"`
	Failed  int     `json:"failed"`
	Passed  int     `json:"passed"`
	Share   float64 `json:"share"`
	Resumed bool    `json:"resumed"`
}

// warmJobs are the server's warm-ups.
func warmJobs(t *testing.T, admin string) []warmed {
	t.Helper()
	_, body := askAdmin(t, admin, "/api/warm")
	var jobs []warmed
	if err := json.Unmarshal([]byte(body), &jobs); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return jobs
}

// lastWarm is the last of them.
func lastWarm(t *testing.T, admin string) warmed {
	t.Helper()
	jobs := warmJobs(t, admin)
	if len(jobs) == 0 {
		t.Fatal("there was no warm-up")
	}
	return jobs[len(jobs)-1]
}

// runWarm runs swordfishd warm to its end and returns what it wrote.
func runWarm(t *testing.T, code int, stdin string, args ...string) string {
	t.Helper()
	cmd := command(t, append([]string{"warm"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		if _, ok := err.(*exec.ExitError); !ok {
			t.Fatal(err)
		}
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("warm %q: exit code %d, want %d:\n%s", args, got, code, out)
	}
	return string(out)
}

func newWarmServer(t *testing.T, more ...string) (*server, string, *session) {
	t.Helper()
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	s := serve(t, config{dsn: pg.DSN, route: append([]string{"fresh: 1h", keysOf(warmCountries...)}, more...)}.String(), "-t", "2", "-o", "admin=0")
	return s, adminOf(t, s), openSession(t, pg.DSN)
}

// wantAll wants every key of some countries to be there, but for those that a client wrote.
func wantAll(t *testing.T, c *client, countries []string, written map[string]string) {
	t.Helper()
	n := 0
	eachKey(countries, func(key, payload string) {
		if own, ok := written[key]; ok {
			payload = own
		}
		if value, _, found := c.get(key); !found || value != payload {
			if n++; n < 5 {
				t.Errorf("%s: got %q, %v, want %q", key, value, found, payload)
			}
		}
	})
}

// TestE2EWarmFromTable: a warm-up that is interrupted by Ctrl-C goes on where it was; no key is asked for twice, all are
// there in the end, and what a client wrote stays.
func TestE2EWarmFromTable(t *testing.T) {
	s, admin, db := newWarmServer(t)
	c := dial(t, s.addr)
	keys := len(warmCountries) * len(testdata.Devices())
	mine := string(testdata.AppendKey(nil, "DE", &testdata.Devices()[7]))
	c.want("STORED", "set %s 5 0 4\r\nmine", mine)

	first := start(t, nil, "warm", "--admin="+admin, "--route=characteristics", "--from", "table", "--rate=8k/s")
	eventually(t, "40% are loaded", func() bool {
		jobs := warmJobs(t, admin)
		return len(jobs) > 0 && jobs[0].Loaded >= keys*4/10
	})
	first.signal(syscall.SIGINT)
	first.wait(1)
	if said := tail(first.log); !strings.Contains(said, "the same command goes on") {
		t.Errorf("after Ctrl-C: %q", said)
	}
	eventually(t, "the job is stopped", func() bool { return lastWarm(t, admin).State == "stopped" })
	if p := lastWarm(t, admin); p.Loaded >= keys*9/10 || p.Share < 0.4 {
		t.Fatalf("interrupted at %+v", p)
	}

	said := runWarm(t, 0, "", "--admin="+admin, "--route=characteristics", "--from=table")
	p := lastWarm(t, admin)
	if p.State != "done" || !p.Resumed || p.Total != keys || p.Present+p.Loaded != p.Seen || p.Share != 1 || p.Failed+p.NoRow+p.Passed != 0 {
		t.Errorf("resumed: %+v", p)
	}
	if !strings.Contains(said, "it went on where one before had stopped") {
		t.Errorf("said %q", said)
	}
	wantAll(t, c, warmCountries, map[string]string{mine: "mine"})
	_, rows := db.questions()
	if asked, got := c.route("asked"), c.route("rows"); asked != keys-1 || got != keys-1 || rows >= keys/4 {
		t.Errorf("asked for %d keys, got %d rows, %d of the database; want %d, one for each key, of far fewer: many keys share a question",
			asked, got, rows, keys-1)
	}
	if misses := c.route("misses"); misses != 0 {
		t.Errorf("%d misses", misses)
	}
	runWarm(t, 0, "", "--admin="+admin, "--route=characteristics", "--from=table")
	if p := lastWarm(t, admin); p.Loaded != 0 || p.Present != keys || p.Resumed {
		t.Errorf("a third time: %+v", p)
	}
	c.send("warm\r\n")
	for range 3 {
		if line := c.line(); !strings.HasPrefix(line, "characteristics from=table state=") {
			t.Errorf("telnet: %q", line)
		}
	}
	if line := c.line(); line != "END" {
		t.Errorf("telnet: %q", line)
	}
	c.want("OK", "invalidate characteristics")
	runWarm(t, 0, "", "--admin="+admin, "--route=characteristics", "--from=table", "--until=50%")
	if p := lastWarm(t, admin); p.State != "done" || p.Share < 0.5 || p.Share > 0.7 {
		t.Errorf("until 50%%: %+v", p)
	}
}

// TestE2EWarmFromKeys: a list of keys in any spelling, from a file and from standard input; what is no key of the route is passed
// over, and a key without a row is known as such.
func TestE2EWarmFromKeys(t *testing.T) {
	s, admin, _ := newWarmServer(t)
	c := dial(t, s.addr)
	var list strings.Builder
	n := 0
	eachKey([]string{"IN"}, func(key, _ string) {
		if parts := strings.Split(key, "|"); n%2 == 0 {
			key = "chr|" + parts[2] + "|" + parts[1] + "|" + strings.Join(parts[3:], "|")
		}
		n++
		list.WriteString(key + "\r\n")
	})
	list.WriteString("\nsession:1\nchr|country=XX|dev=1|os=ios|browser=safari|cat=mobile|w=414\n" + strings.Repeat("x", 100_000) + "\nlast")
	file := writeFile(t, t.TempDir(), "keys", list.String())
	runWarm(t, 0, "", "--admin="+admin, "--route", "characteristics", "--from", "keys", file)
	if p := lastWarm(t, admin); p.State != "done" || p.Total != n+4 || p.Seen != n+4 || p.Loaded != n || p.NoRow != 1 || p.Passed != 3 {
		t.Errorf("from a file: %+v, want %d loaded", p, n)
	}
	wantAll(t, c, []string{"IN"}, nil)
	runWarm(t, 0, list.String(), "--admin="+admin, "--from", "keys", "-")
	if p := lastWarm(t, admin); p.State != "done" || p.Loaded != 0 || p.Present != n || p.Seen != n+4 || p.Total != 0 {
		t.Errorf("from standard input: %+v", p)
	}
}

// itemOf asks for an item with mg: its answer without the value's time, its ttl, and its value.
func (c *client) itemOf(key string) (head string, ttl int, value string) {
	c.t.Helper()
	line := c.ask("mg %s s f t v", key)
	f := strings.Fields(line)
	if f[0] != "VA" {
		return line, 0, ""
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		c.t.Fatal(err)
	}
	data := make([]byte, n+2)
	if _, err := io.ReadFull(c.in, data); err != nil {
		c.t.Fatal(err)
	}
	for i := range f {
		if rest, ok := strings.CutPrefix(f[i], "t"); ok {
			if ttl, err = strconv.Atoi(rest); err != nil {
				c.t.Fatal(err)
			}
			f[i] = "t"
		}
	}
	return strings.Join(f, " "), ttl, string(data[:n])
}

// sameItem wants two servers to have one item alike.
func sameItem(t *testing.T, got, want *client, key string) {
	t.Helper()
	head, ttl, value := got.itemOf(key)
	wantHead, wantTTL, wantValue := want.itemOf(key)
	apart := ttl - wantTTL
	if head != wantHead || value != wantValue || apart < -1 || apart > 1 || (ttl < 0) != (wantTTL < 0) {
		t.Errorf("%.40s: got %q, ttl %d, %.40q; want %q, ttl %d, %.40q", key, head, ttl, value, wantHead, wantTTL, wantValue)
	}
}

// TestE2EWarmFromMemcached: every item of a real memcached, with flags, TTL and value, of all sizes; what a client has written here stays.
func TestE2EWarmFromMemcached(t *testing.T) {
	from := testenv.Memcached(t, "-m", "256")
	yaml := fmt.Sprintf("sources:\n  old: {kind: memcache, url: %q}\nroutes:\n  - {name: user, key: \"u|a={a}|b={b:int}\", fresh: 1h}\n", from)
	s := serve(t, yaml, "-m", "256", "-o", "admin=0")
	admin := adminOf(t, s)
	src, c := dial(t, from), dial(t, s.addr)
	var keys []string
	set := func(key string, flags, ttl int, value string) {
		keys = append(keys, key)
		src.want("STORED", "set %s %d %d %d\r\n%s", key, flags, ttl, len(value), value)
	}
	for i := range 3000 {
		set(fmt.Sprintf("plain:%d", i), i, []int{0, 100, 5000, 86400 * 20}[i%4], strings.Repeat("v", i%500))
	}
	for i := range 1000 {
		set(fmt.Sprintf("u|b=%d|a=x%d", i, i), 4, 3000+i, fmt.Sprintf("user %d", i))
	}
	set("flags", 1<<32-1, 0, "x")
	set("100%_schlüssel\"'&", 1, 0, "odd")
	set("lines", 0, 60, "\r\nEND\r\nVA 5\r\n")
	for _, size := range []int{0, 1, 31, 32, 33, 4096, 100_000, 900_000} {
		set(fmt.Sprintf("size:%d", size), 2, 0, strings.Repeat("s", size))
	}
	c.want("STORED", "set plain:1 9 0 4\r\nmine")
	c.want("STORED", "set u|a=x7|b=7 9 0 4\r\nmine")

	runWarm(t, 0, "", "--admin="+admin, "--from", "memcached", from)
	if p := lastWarm(t, admin); p.State != "done" || p.Loaded != len(keys)-2 || p.Present != 2 || p.Failed+p.NoRow+p.Passed != 0 {
		t.Errorf("%d items: %+v", len(keys), p)
	}
	for _, key := range keys {
		if key == "plain:1" || key == "u|b=7|a=x7" {
			if value, flags, _ := c.get(key); value != "mine" || flags != 9 {
				t.Errorf("%s: %q, flags %d; want what the client wrote", key, value, flags)
			}
			continue
		}
		sameItem(t, c, src, key)
	}
	if n := c.stat("routes", "user:asked"); n != 0 {
		t.Errorf("the copies were asked for %d times more", n)
	}
	c.want("OK", "flush_all")
	runWarm(t, 0, "", "--admin="+admin, "--route=user", "--from", "memcached", from)
	if p := lastWarm(t, admin); p.State != "done" || p.Loaded != 1000 || p.Passed != len(keys)-1000 {
		t.Errorf("one route's: %+v", p)
	}
}

// TestE2EWarmFromPeer: the items of another Swordfish, loaded ones and clients', are the same here, and fresh; the database is not
// asked.
func TestE2EWarmFromPeer(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	yaml := config{dsn: pg.DSN, route: []string{"fresh: 1h", keysOf("IN")}}.String()
	a, b := serve(t, yaml, "-o", "admin=0"), serve(t, yaml, "-o", "admin=0")
	from, c := dial(t, a.addr), dial(t, b.addr)
	runWarm(t, 0, "", "--admin="+adminOf(t, a), "--route=characteristics", "--from=table")
	for i := range 500 {
		from.want("STORED", "set session:%d %d %d 5\r\n%05d", i, i, i*10, i)
	}
	admin := adminOf(t, b)
	runWarm(t, 0, "", "--admin="+admin, "--from=peer "+a.addr)
	if p := lastWarm(t, admin); p.State != "done" || p.Loaded != 500+len(testdata.Devices()) || p.Failed != 0 || p.Share != 1 {
		t.Errorf("%+v", p)
	}
	for i := range 500 {
		sameItem(t, c, from, fmt.Sprint("session:", i))
	}
	eachKey([]string{"IN"}, func(key, _ string) { sameItem(t, c, from, key) })
	if asked, hits := c.route("asked"), c.route("hits"); asked != 0 || hits != len(testdata.Devices()) {
		t.Errorf("asked for %d keys, %d fresh hits; want none and %d", asked, hits, len(testdata.Devices()))
	}
}

// TestE2EWarmSaysWhatIsWrong: each mistake with what to do about it.
func TestE2EWarmSaysWhatIsWrong(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	s := serve(t, config{dsn: pg.DSN}.String(), "-o", "admin=0")
	admin := "--admin=" + adminOf(t, s)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing to warm from":   {[]string{admin}, 64, "--from is missing; write --from table"},
		"a wrong kind":           {[]string{admin, "--from=tables"}, 64, "write one of table, keys FILE, memcached HOST:PORT"},
		"a table of no route":    {[]string{admin, "--from", "table"}, 64, "write --route=NAME"},
		"a wrong route":          {[]string{admin, "--from", "table", "--route=chracteristics"}, 64, `there is no route "chracteristics"; there are characteristics`},
		"no query for keys":      {[]string{admin, "--from", "table", "--route=characteristics"}, 64, "give it keys: with a query that returns the parts of its keys as columns"},
		"a missing file":         {[]string{admin, "--from", "keys", "/none/keys"}, 64, "name a file with a key a line"},
		"keys of nothing":        {[]string{admin, "--from", "keys"}, 64, "keys needs a file"},
		"a host that is none":    {[]string{admin, "--from", "memcached", "a b:c"}, 64, "is no address of a server"},
		"nobody there":           {[]string{admin, "--from", "peer", nobody}, 1, "is it running there, and may this machine connect?"},
		"no log":                 {[]string{admin, "--from", "log"}, 64, "write request_log: {path: FILE} into the configuration"},
		"a log that is none":     {[]string{admin, "--from", "log", "/etc/hostname"}, 64, "no log of requests"},
		"no server":              {[]string{"--admin=" + nobody, "--from", "log"}, 1, "is swordfishd running with its admin port at"},
		"not the admin port":     {[]string{"--admin=" + s.addr, "--from", "log"}, 1, "is swordfishd running with its admin port at"},
		"a rate":                 {[]string{admin, "--from", "log", "--rate=fast"}, 64, "write one such as 2k/s"},
		"a share":                {[]string{admin, "--from", "log", "--until=101%"}, 64, "write one such as 95%"},
		"a share of who knows":   {[]string{admin, "--from", "keys", "-", "--until=95%"}, 64, "put them into a file, or leave it out"},
		"an option that is none": {[]string{admin, "--form=table"}, 64, "unrecognized option '--form'"},
	} {
		t.Run(name, func(t *testing.T) {
			if said := runWarm(t, tt.code, "k\n", tt.args...); !strings.Contains(said, tt.want) {
				t.Errorf("got %q, want %q", said, tt.want)
			}
		})
	}
	dial(t, s.addr).want("OK", "route characteristics off")
	if said := runWarm(t, 64, "", admin, "--from", "keys", writeFile(t, t.TempDir(), "keys", "k\n"), "--route=characteristics"); !strings.Contains(said, "route characteristics on lets it load") {
		t.Errorf("off: %q", said)
	}
}

// TestE2EWarmAtTheStart: /readyz waits for the warm-up, which waits for the database.
func TestE2EWarmAtTheStart(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	db := openSession(t, pg.DSN)
	db.rows("BEGIN; LOCK TABLE countries IN ACCESS EXCLUSIVE MODE")
	yaml := config{dsn: pg.DSN, route: []string{"fresh: 1h", keysOf("IN")}}.String() + "warm:\n  - {route: characteristics, from: table}\n"
	s := serve(t, yaml, "-o", "admin=0")
	admin := adminOf(t, s)
	eventually(t, "the warm-up waits for the database", func() bool {
		return db.number("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0
	})
	if code, body := askAdmin(t, admin, "/readyz"); code != 503 || !strings.Contains(body, "not ready: route characteristics is being warmed up from table") {
		t.Errorf("before: %d %q", code, body)
	}
	if code, _ := askAdmin(t, admin, "/livez"); code != 200 {
		t.Errorf("livez: %d", code)
	}
	db.rows("COMMIT")
	eventually(t, "the server is ready", func() bool {
		code, _ := askAdmin(t, admin, "/readyz")
		return code == 200
	})
	c := dial(t, s.addr)
	wantAll(t, c, []string{"IN"}, nil)
	if misses := c.route("misses"); misses != 0 {
		t.Errorf("%d misses after /readyz said yes", misses)
	}
}

// TestE2EWarmFromLog: what one server is asked for is loaded by the next before anybody asks, what was asked for most first.
func TestE2EWarmFromLog(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	file := filepath.Join(t.TempDir(), "requests")
	yaml := config{dsn: pg.DSN, route: []string{"fresh: 1h"}}.String() + fmt.Sprintf("request_log: {path: %q, every: 1s}\n", file)
	s := serve(t, yaml, "-o", "admin=0")
	c := dial(t, s.addr)
	var keys []string
	for i := range 60 {
		key := string(testdata.AppendKey(nil, "IN", &testdata.Devices()[i]))
		keys = append(keys, key)
		for range 1 + i/20*5 { // the last third most often
			c.get(key)
		}
		c.get(fmt.Sprint("session:", i))
	}
	s.end(syscall.SIGTERM)
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the log: %v, %v", st, err)
	}

	s = serve(t, yaml+"warm: {from: log, route: characteristics}\n", "-o", "admin=0")
	admin := adminOf(t, s)
	eventually(t, "the server is ready", func() bool {
		code, _ := askAdmin(t, admin, "/readyz")
		return code == 200
	})
	if p := lastWarm(t, admin); p.Loaded != len(keys) || p.Passed != 60 || p.Share != 1 {
		t.Errorf("%+v", p)
	}
	c = dial(t, s.addr)
	for _, key := range keys {
		if !c.hits(key) {
			t.Errorf("%s is not there", key)
		}
	}
	// Half of the requests were for the last 20 keys and more.
	c.want("OK", "invalidate characteristics")
	runWarm(t, 0, "", "--admin="+admin, "--from=log", "--route=characteristics", "--until=40%")
	if p := lastWarm(t, admin); p.State != "done" || p.Loaded > len(keys) {
		t.Errorf("until 40%%: %+v", p)
	}
	// In another region the file is carried over.
	other := serve(t, config{dsn: pg.DSN, route: []string{"fresh: 1h"}}.String(), "-o", "admin=0")
	runWarm(t, 0, "", "--admin="+adminOf(t, other), "--from", "log", file)
	if p := lastWarm(t, adminOf(t, other)); p.Loaded != len(keys) {
		t.Errorf("elsewhere: %+v", p)
	}
}
