package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/tools/txtar"

	"swordfish/filler"
	"swordfish/normalizer"
	"swordfish/store"
)

// explained is a session without a socket on a server with one route, which times and loads obey.
type explained struct {
	*client
	t      *testing.T
	filler *filler.Filler
	now    atomic.Int64 // item clock
	puts   chan struct{}
	gate   chan struct{} // a load waits for a token, if it is there
	began  chan struct{} // a load has begun, where there is a gate
	fail   atomic.Pointer[error]
}

const explainKey = "chr|country={country}|dev={dev:int}|h={h:int?}|os={os}"

// newExplained has a source with a row for every key but those with dev=9, or with an error for all.
func newExplained(t *testing.T) *explained {
	t.Helper()
	x := &explained{t: t, puts: make(chan struct{}, 100)}
	x.now.Store(1_000_000)
	st := newStore(t, store.Options{Memory: 64 << 20, Clock: func() store.Time { return store.Time(x.now.Load()) }})
	ids, err := st.SetRoutes([]store.Route{{
		Name: "characteristics", KeyPrint: 1, QueryPrint: 1, Fresh: 60, Stale: 600, Keep: 21600, Negative: 20, Settle: time.Second, Ahead: 6,
	}})
	if err != nil {
		t.Fatal(err)
	}
	id := uint16(ids[0])
	table, err := normalizer.Compile([]normalizer.Route{{
		ID: id, Name: "characteristics", Key: explainKey, Lower: []string{"os"}, Drop: []string{"utm"}, Alias: map[string]string{"platform": "os"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	load := func(ctx context.Context, b *filler.Batch) error {
		if x.gate != nil {
			x.began <- struct{}{}
			<-x.gate
		}
		if err := x.fail.Load(); err != nil {
			return *err
		}
		for i := range b.Len() {
			if !bytes.Contains(b.Key(i), []byte("dev=9|")) {
				b.Row(int64(i+1), []filler.Value{{Kind: filler.Text, Text: []byte(strings.Repeat("all that is known of a phone ", 4))}})
			}
		}
		return nil
	}
	route := filler.Route{
		ID: id, Name: "characteristics", Sources: []string{"main"}, Flags: 4, SetFlags: true,
		Query: "SELECT k.ord, c.payload\n  FROM unnest(@country::text[], @dev::int[])\n  JOIN c",
		Split: func(dst []filler.Part, key []byte) []filler.Part {
			for _, p := range table.Parts(nil, id, key) {
				dst = append(dst, filler.Part(p))
			}
			return dst
		},
	}
	for _, p := range table.PartSpecs(id) {
		route.Parts = append(route.Parts, filler.PartSpec(p))
	}
	x.filler, err = filler.New(filler.Options{
		Sources: []filler.SourceSpec{{Name: "main", Source: filler.SourceFunc(load)}}, Routes: []filler.Route{route},
		Hooks: hooks(st, x.puts), Logger: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if x.gate != nil {
			close(x.gate)
		}
		x.filler.Shutdown(context.Background())
	})
	x.client = newClient(t, newServer(t, Options{Store: st, Routes: table, Filler: x.filler}))
	return x
}

func (x *explained) pass(d time.Duration) { x.now.Add(d.Milliseconds()) }

// key is one with a row, unless dev is 9.
func (x *explained) key(dev int) string {
	return fmt.Sprintf("chr|country=IN|dev=%d|h=896|os=ios", dev)
}

// load asks for keys and waits for what the source says.
func (x *explained) load(devs ...int) {
	for _, dev := range devs {
		x.ask("get " + x.key(dev) + "\r\n")
	}
	for range devs {
		<-x.puts
	}
}

var loadMasks = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`\d+s ago from`), "Ns ago from"},
	{regexp.MustCompile(`rows, [0-9.e-]+ms;`), "rows, Nms;"},
	{regexp.MustCompile(`a batch of \d+ keys, \d+ rows`), "a batch of N keys, N rows"},
}

// TestExplainTranscripts compares what explain says of a key in each state with testdata/explain.txtar; -update rewrites it.
func TestExplainTranscripts(t *testing.T) {
	const path = "testdata/explain.txtar"
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for _, f := range archive.Files {
		want[f.Name] = string(f.Data)
	}
	written := &txtar.Archive{Comment: archive.Comment}
	for _, tt := range []struct {
		name string
		ask  string
		do   func(x *explained)
	}{
		{"absent", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {}},
		{"fresh", "chr|platform=IOS|utm=mail|dev=1|country=IN|h=896", func(x *explained) {
			x.load(1)
			x.pass(12 * time.Second)
		}},
		{"fresh, shared and read", "chr|country=IN|dev=3|h=896|os=ios", func(x *explained) {
			x.load(1, 2, 3, 4)
			x.ask("gets " + x.key(3) + "\r\n")
		}},
		{"fresh, loaded ahead", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.load(1)
			x.pass(56 * time.Second)
		}},
		{"stale", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.load(1)
			x.pass(72 * time.Second)
		}},
		{"stale, asked in vain", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.load(1)
			x.pass(72 * time.Second)
			broken := errors.New("no such table: c\nLINE 3")
			x.fail.Store(&broken)
			x.load(1)
		}},
		{"over", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.load(1)
			x.pass(700 * time.Second)
		}},
		{"negative", "chr|country=IN|dev=9|h=896|os=ios", func(x *explained) {
			x.load(9)
			x.pass(3 * time.Second)
		}},
		{"client", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.ask("set " + x.key(1) + " 7 30 5\r\nvalue\r\n")
			x.pass(10 * time.Second)
		}},
		{"client, without a row", "chr|country=IN|dev=9|h=896|os=ios", func(x *explained) {
			x.ask("set " + x.key(9) + " 7 0 5\r\nvalue\r\n")
			x.pass(61 * time.Second)
			x.load(9)
		}},
		{"deleted by a client", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.load(1)
			x.ask("delete " + x.key(1) + "\r\n")
		}},
		{"deleted by a client and loaded", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.load(1)
			x.ask("delete " + x.key(1) + "\r\n")
			x.load(1)
		}},
		{"deleted by a client, route off", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.ask("delete " + x.key(1) + "\r\n")
			x.ask("route characteristics off\r\n")
		}},
		{"leased, being loaded", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.gate, x.began = make(chan struct{}), make(chan struct{})
			x.ask("get " + x.key(1) + "\r\n")
			<-x.began
		}},
		{"invalidated", "chr|country=IN|dev=1|h=896|os=ios", func(x *explained) {
			x.load(1)
			x.ask("invalidate characteristics\r\n")
		}},
		{"route off", "chr|country=IN|dev=1|os=ios", func(x *explained) { x.ask("route characteristics off\r\n") }},
		{"plain key", "session:42", func(x *explained) {
			x.ask("set session:42 0 100 5\r\nvalue\r\n")
			x.pass(10 * time.Second)
		}},
		{"plain key, absent", "session:42", func(x *explained) {}},
		{"malformed composite key", "chr|country=IN|dev=one|os=ios", func(x *explained) {}},
		{"too long a key", strings.Repeat("k", 251), func(x *explained) {}},
		{"unknown part", "chr|country=IN|dev=1|os=ios|brand=x", func(x *explained) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newExplained(t)
			tt.do(x)
			got := x.ask("explain " + tt.ask + "\r\n")
			for _, m := range loadMasks {
				got = m.find.ReplaceAllString(got, m.put)
			}
			if again := x.client.session.errand; again == nil {
				t.Error("it was not answered off the worker")
			}
			got = "explain " + tt.ask + "\n" + strings.ReplaceAll(got, "\r\n", "\n")
			if got != want[tt.name] && !*update {
				t.Errorf("got\n%s\nwant\n%s", got, want[tt.name])
			}
			written.Files = append(written.Files, txtar.File{Name: tt.name, Data: []byte(got)})
			delete(want, tt.name)
		})
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(written), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if len(want) > 0 {
		t.Errorf("transcripts of nothing: %v", want)
	}
}

// What the query gets for a key is told only where it is asked for, and in the order of the key's parts.
func TestExplainParameters(t *testing.T) {
	x := newExplained(t)
	key := "chr|os=ios|dev=7|country=IN"
	if got := x.w.srv.Explain(key, false); got.Load == nil || got.Load.Parameters != nil {
		t.Fatalf("not asked for: got %+v", got.Load)
	}
	var b strings.Builder
	for _, p := range x.w.srv.Explain(key, true).Load.Parameters {
		value := "NULL"
		if p.Value != nil {
			value = *p.Value
		}
		fmt.Fprintf(&b, "%s=%s ", p.Name, value)
	}
	if got, want := b.String(), "@keys=chr|country=IN|dev=7|os=ios @country=IN @dev=7 @h=NULL @os=ios "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := x.w.srv.Explain("session:42", true); got.Load != nil {
		t.Errorf("a plain key: got %+v", got.Load)
	}
}

// Keys that somebody else chose may not steer an operator's terminal.
func TestPrintable(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"chr|country=IN", "chr|country=IN"}, {"straße:1", "straße:1"}, {"a\x1b[2Jb", `"a\x1b[2Jb"`}, {"\xff", `"\xff"`}, {"a\u202eb", `"a\u202eb"`},
	} {
		if got := printable(tt.in); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestRefreshWord(t *testing.T) {
	x := newExplained(t)
	x.load(1)
	for _, step := range []struct{ name, ask, want string }{
		{"a plain key", "refresh session:1", "CLIENT_ERROR no route takes this key, so nothing loads it; explain tells why\r\n"},
		{"a fresh item, in any spelling", "refresh chr|dev=1|platform=IOS|country=IN|h=896", "OK\r\n"},
	} {
		if got := x.ask(step.ask + "\r\n"); got != step.want {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
	}
	<-x.puts
	if n := x.filler.Stats()[0].Asked; n != 2 {
		t.Errorf("%d keys asked for, want 2", n)
	}
	x.gate, x.began = make(chan struct{}), make(chan struct{}, 10)
	if got := x.ask("refresh " + x.key(1) + "\r\n"); got != "OK\r\n" {
		t.Errorf("got %q", got)
	}
	if got := x.ask("refresh " + x.key(1) + "\r\n"); got != "CLIENT_ERROR a load of this key is under way already; explain shows it\r\n" {
		t.Errorf("under way: got %q", got)
	}
	x.ask("route characteristics off\r\n")
	if got := x.ask("refresh " + x.key(2) + "\r\n"); got != "CLIENT_ERROR route characteristics is off; route characteristics on lets it load\r\n" {
		t.Errorf("off: got %q", got)
	}
	x.w.srv.hand.close()
	x.ask("route characteristics on\r\n")
	if err := x.w.srv.Refresh(x.key(2)); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: got %v", err)
	}
}

func TestInvalidateKey(t *testing.T) {
	x := newExplained(t)
	x.load(1, 2)
	if got := x.ask("invalidate chr|dev=1|os=ios|country=IN|h=896\r\n"); got != "OK\r\n" {
		t.Errorf("got %q", got)
	}
	if got := x.ask("get " + x.key(1) + " " + x.key(2) + "\r\n"); strings.Count(got, "VALUE") != 1 || !strings.HasPrefix(got, "VALUE "+x.key(2)) {
		t.Errorf("got %q", got)
	}
	x.ask("set session:1 0 0 1\r\nx\r\n")
	if got := x.ask("set session:1 0 0 1\r\nx\r\nset other:1 0 0 1\r\ny\r\ninvalidate session*\r\nget session:1 other:1\r\n"); got != "STORED\r\nSTORED\r\nOK\r\nVALUE other:1 0 1\r\ny\r\nEND\r\n" {
		t.Errorf("by prefix: got %q", got)
	}
	if got := x.ask("invalidate session:1\r\n"); got != "CLIENT_ERROR \"session:1\" is neither a route nor a key of one: routes lists them, and delete removes a plain key\r\n" {
		t.Errorf("a plain key: got %q", got)
	}
}
