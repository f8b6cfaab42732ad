package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/config"
)

// files are what config.Load reads; a test may change them while a program runs.
type files struct {
	mu sync.Mutex
	m  map[string]string
}

func (f *files) write(name, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = make(map[string]string)
	}
	f.m[name] = text
}

func (f *files) read(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, ok := f.m[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged since the last call, a line each as its fields without time.
func (l *logBuffer) take(t testing.TB) (lines []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		fields, err := logFields(line)
		if err != nil {
			t.Errorf("log line %q: %v", line, err)
		}
		var b strings.Builder
		for _, f := range fields {
			if f.name != "time" && f.name != "took" {
				fmt.Fprintf(&b, "%s=%s ", f.name, f.value)
			}
		}
		lines = append(lines, strings.TrimSuffix(b.String(), " "))
	}
	l.b.Reset()
	return lines
}

type logField struct{ name, value string }

// logFields reads a log line, which must be one JSON object whose names are all different.
func logFields(line string) (fields []logField, err error) {
	d := json.NewDecoder(strings.NewReader(line))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return nil, fmt.Errorf("no object: %v, %v", tok, err)
	}
	seen := make(map[string]bool)
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := tok.(string)
		if seen[name] {
			return nil, fmt.Errorf("the name %q comes twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		fields = append(fields, logField{name, strings.Trim(string(value), `"`)})
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if rest, err := io.ReadAll(d.Buffered()); err != nil || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("behind it stands %q", rest)
	}
	return fields, nil
}

// running is a program that serves, with the files it reads and what it logs.
type running struct {
	*app
	t     testing.TB
	files *files
	log   *logBuffer
	conn  net.Conn
	in    *bufio.Reader
}

// run starts a program whose swordfish.yaml is yaml, on a free port, with more options. Its log level is everything.
func startApp(t testing.TB, yaml string, args ...string) *running {
	t.Helper()
	r := &running{t: t, files: &files{}, log: &logBuffer{}}
	r.files.write("swordfish.yaml", yaml)
	r.files.write("memcached.conf", "")
	in := config.Input{
		Args:     append([]string{"-p", "-1", "-t", "2", "-vv", "--config=swordfish.yaml", "--memcached-conf=memcached.conf"}, args...),
		ReadFile: r.files.read,
	}
	c, err := config.Load(in)
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := readCertificates(&c.TLS)
	if err != nil {
		t.Fatal(err)
	}
	if r.app, err = newApp(in, c, nil, certificates, zerolog.New(r.log).With().Timestamp().Logger()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if r.closed {
			return
		}
		if err := r.close(ctx, false); err != nil {
			t.Error(err)
		}
	})
	if err := r.server.Start(); err != nil {
		t.Fatal(err)
	}
	if !c.SASL { // which refuses text
		r.dial()
		r.ask("version") // by now the connection's opening is in the log
	}
	return r
}

func (r *running) dial() { r.connect(r.server.Addrs()[0].String()) }

func (r *running) connect(addr string) {
	r.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	r.conn, r.in = conn, bufio.NewReader(conn)
}

// ask sends a command and returns its reply, of several lines up to END.
func (r *running) ask(command string) string {
	r.t.Helper()
	if _, err := io.WriteString(r.conn, command+"\r\n"); err != nil {
		r.t.Fatal(err)
	}
	var all strings.Builder
	for {
		line, err := r.in.ReadString('\n')
		if err != nil {
			r.t.Fatalf("%s: %v after %q", command, err, all.String())
		}
		line = strings.TrimSuffix(line, "\r\n")
		all.WriteString(line)
		word, _, _ := strings.Cut(command, " ")
		switch word {
		case "get", "stats", "routes", "queue", "sources", "help", "explain", "top", "dedup":
			if line != "END" && !strings.HasPrefix(line, "CLIENT_ERROR") {
				all.WriteByte('\n')
				continue
			}
		}
		return all.String()
	}
}

// get returns a value; empty: a miss.
func (r *running) get(key string) string {
	r.t.Helper()
	lines := strings.Split(r.ask("get "+key), "\n")
	if len(lines) < 2 {
		return ""
	}
	return lines[1]
}

// loads waits until get returns value.
func (r *running) loads(key, value string) {
	r.t.Helper()
	got := ""
	for end := time.Now().Add(time.Minute); got != value; got = r.get(key) {
		if time.Now().After(end) {
			r.t.Fatalf("get %s: got %q, want %q in the end", key, got, value)
		}
	}
}

// stat returns a number of `stats routes`.
func (r *running) stat(name string) int {
	r.t.Helper()
	for line := range strings.Lines(r.ask("stats routes")) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == name {
			n, err := strconv.Atoi(f[2])
			if err != nil {
				r.t.Fatal(err)
			}
			return n
		}
	}
	r.t.Fatalf("stats routes has no %s", name)
	return 0
}

// sqliteFile makes a database with a table t(id, v) and the rows 1 to 9, whose values begin with text.
func sqliteFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	for id := range 9 {
		if _, err := db.Exec("INSERT INTO t VALUES (?, ?)", id+1, fmt.Sprintf("%s %d", text, id+1)); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// userRoute is a route named user over sqliteFile's table, with more settings.
func userRoute(source, key string, more ...string) string {
	return fmt.Sprintf(`  - name: user
    key: %q
    source: %s
    query: "SELECT k.value->>'ord' AS ord, t.v FROM json_each(@batch) k JOIN t ON t.id = k.value->>'id'"
    %s
`, key, source, strings.Join(more, "\n    "))
}

// Options reach the packages that they are for.
func TestOptionsArrive(t *testing.T) {
	for _, test := range []struct{ args, ask, want string }{
		{"-B ascii", "version", "VERSION 1.6.45"},
		{"-F", "flush_all", "CLIENT_ERROR flush_all not allowed"},
		{"-W", "watch", "CLIENT_ERROR watch commands not allowed"},
		{"-F", "invalidate x", "CLIENT_ERROR invalidate not allowed"},
		{"-X", "stats detail on", "CLIENT_ERROR stats detail not allowed"},
		{"-o admin_words=off", "explain k", "CLIENT_ERROR an operator's words are off; -o admin_words=local lets clients on this machine send them"},
		{"-I 1k", "set a 0 0 2000\r\n" + strings.Repeat("x", 2000), "SERVER_ERROR object too large for cache"},
	} {
		t.Run(test.args, func(t *testing.T) {
			r := startApp(t, "", strings.Fields(test.args)...)
			if got := r.ask(test.ask); got != test.want {
				t.Errorf("%.20s: got %q, want %q", test.ask, got, test.want)
			}
		})
	}
	t.Run("-B binary", func(t *testing.T) {
		r := &running{t: t}
		in := config.Input{Args: []string{"-p", "-1", "-B", "binary"}}
		c, err := config.Load(in)
		if err != nil {
			t.Fatal(err)
		}
		a, err := newApp(in, c, nil, nil, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer a.close(context.Background(), false)
		if err := a.server.Start(); err != nil {
			t.Fatal(err)
		}
		r.connect(a.server.Addrs()[0].String())
		io.WriteString(r.conn, "version\r\n")
		if b, err := io.ReadAll(r.in); len(b) > 0 {
			t.Errorf("got %q, %v", b, err)
		}
	})
}
