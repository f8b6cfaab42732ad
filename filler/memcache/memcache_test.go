package memcache

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
)

func source(t testing.TB, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// relay stands before a memcached: it can hide the meta commands, as a memcached before 1.6 does, hang, or refuse connections.
type relay struct {
	t       testing.TB
	addr    string // its own
	target  string
	classic bool

	mu    sync.Mutex
	ln    net.Listener // nil: down
	hang  bool
	conns []net.Conn
}

func newRelay(t testing.TB, target string, classic bool) *relay {
	r := &relay{t: t, addr: "127.0.0.1:0", target: target, classic: classic}
	r.up()
	t.Cleanup(r.down)
	return r
}

func (r *relay) up() {
	ln, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.ln, r.addr = ln, ln.Addr().String()
	r.mu.Unlock()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.serve(c, ln)
		}
	}()
}

// down closes the listener and all connections.
func (r *relay) down() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ln != nil {
		r.ln.Close()
		r.ln = nil
	}
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

func (r *relay) freeze(hang bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hang = hang
}

func (r *relay) frozen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hang
}

// serve passes on what client says, which was accepted by ln; nil: by one that down does not close.
func (r *relay) serve(client net.Conn, ln net.Listener) {
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		client.Close()
		return
	}
	r.mu.Lock()
	if ln != nil && ln != r.ln { // accepted just before down
		r.mu.Unlock()
		client.Close()
		server.Close()
		return
	}
	r.conns = append(r.conns, client, server)
	r.mu.Unlock()
	go func() {
		defer client.Close()
		defer server.Close()
		_, _ = io.Copy(client, server)
	}()
	go func() {
		defer server.Close()
		in := bufio.NewReaderSize(client, 1<<20)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			switch {
			case r.frozen():
			case r.classic && (strings.HasPrefix(line, "mn") || strings.HasPrefix(line, "mg ")):
				_, _ = io.WriteString(client, "ERROR\r\n")
			default:
				_, _ = io.WriteString(server, line)
			}
		}
	}()
}

// dialects runs a test against a memcached that knows meta commands and one that does not.
func dialects(t *testing.T, f func(t *testing.T, mc *memcache.Client, r *relay)) {
	for name, classic := range map[string]bool{"meta": false, "classic": true} {
		t.Run(name, func(t *testing.T) {
			addr := testenv.Memcached(t, "-I", "4m")
			mc := memcache.New(addr)
			t.Cleanup(func() { mc.Close() })
			f(t, mc, newRelay(t, addr, classic))
		})
	}
}

func set(t *testing.T, mc *memcache.Client, items ...*memcache.Item) {
	t.Helper()
	for _, it := range items {
		if err := mc.Set(it); err != nil {
			t.Fatal(err)
		}
	}
}

func TestItemsComeOverAsTheyAre(t *testing.T) {
	dialects(t, func(t *testing.T, mc *memcache.Client, r *relay) {
		set(t, mc,
			&memcache.Item{Key: "plain", Value: []byte("value"), Flags: 4},
			&memcache.Item{Key: "empty", Value: []byte{}, Flags: 1<<32 - 1},
			&memcache.Item{Key: "dies", Value: []byte("x"), Flags: 16, Expiration: 1000},
			&memcache.Item{Key: "tricky", Value: []byte("VA 1 f0\r\nEND\r\nMN\r\n\x00\xff\r\n")},
			&memcache.Item{Key: "large", Value: []byte(strings.Repeat("y", 900<<10))},
			&memcache.Item{Key: "long", Value: []byte(strings.Repeat("z", 1<<20+1))},
		)
		route := filler.Route{Encode: filler.EncodePHP, Flags: 77, SetFlags: true, Rows: filler.RowsList}
		rig, st := fillertest.Load(t, source(t, Options{Addr: r.addr}), route, 5*time.Second,
			"plain", "empty", "dies", "tricky", "large", "long", "absent", "with space", "tab\tkey", strings.Repeat("k", 250))
		for k, want := range map[string]string{
			"plain": "value", "empty": "", "dies": "x", "tricky": "VA 1 f0\r\nEND\r\nMN\r\n\x00\xff\r\n", "large": strings.Repeat("y", 900<<10),
		} {
			if got, ok := rig.Values[k]; !ok || got != want {
				t.Errorf("%s: got %.40q %v, want %.40q", k, got, ok, want)
			}
		}
		if rig.Flags["plain"] != 4 || rig.Flags["empty"] != 1<<32-1 || rig.Flags["dies"] != 16 {
			t.Errorf("flags %v", rig.Flags)
		}
		if len(rig.Absent) != 4 || !rig.Absent["absent"] || !rig.Absent["with space"] {
			t.Errorf("absent %v", rig.Absent)
		}
		if !rig.Failed["long"] || st.TooLarge != 1 {
			t.Errorf("too large %d, failed %v", st.TooLarge, rig.Failed)
		}
		ttl := rig.TTLs["dies"]
		if len(rig.TTLs) > 1 || (!r.classic && (ttl < 990*time.Second || ttl > 1000*time.Second)) || (r.classic && ttl != 0) {
			t.Errorf("remaining times %v", rig.TTLs)
		}
	})
}

func TestManyKeysAtOnce(t *testing.T) {
	dialects(t, func(t *testing.T, mc *memcache.Client, r *relay) {
		var keys []string
		for i := range 3000 {
			k := fmt.Sprintf("%s%d", strings.Repeat("k", 200), i)
			keys = append(keys, k)
			if i%3 == 0 {
				set(t, mc, &memcache.Item{Key: k, Value: []byte(strings.Repeat(fmt.Sprint(i), 2000)), Flags: uint32(i)})
			}
		}
		route := filler.Route{Limits: filler.Limits{Batch: 3000}}
		rig, st := fillertest.Load(t, source(t, Options{Addr: r.addr}), route, 20*time.Second, keys...)
		for i, k := range keys {
			want := ""
			if i%3 == 0 {
				want = strings.Repeat(fmt.Sprint(i), 2000)
			}
			if rig.Values[k] != want || rig.Absent[k] != (want == "") {
				t.Fatalf("key %d: got %d bytes, absent %v", i, len(rig.Values[k]), rig.Absent[k])
			}
		}
		if st.SourceErrors != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestKeysAreSpelledAsThePeersClientsDo(t *testing.T) {
	dialects(t, func(t *testing.T, mc *memcache.Client, r *relay) {
		names := []string{"country", "dev", "h"}
		route := filler.Route{Parts: fillertest.Parts(names, "dev", "h"), Split: fillertest.Split(names)}
		set(t, mc,
			&memcache.Item{Key: "app:chr|dev=7|country=IN", Value: []byte("without h")},
			&memcache.Item{Key: "app:chr|h=3|dev=7|country=IN", Value: []byte("with h")},
			&memcache.Item{Key: "app:chr|country=IN|dev=7|h=3", Value: []byte("canonical")},
		)
		keys := []string{"chr|country=IN|dev=7", "chr|country=IN|dev=7|h=3"}
		for spelling, want := range map[string][2]string{
			"app:chr|h={h}|dev={dev}|country={country}": {"without h", "with h"},
			"app:{key}": {"", "canonical"},
			"":          {"", ""},
			"{key}":     {"", ""},
		} {
			rig, _ := fillertest.Load(t, source(t, Options{Addr: r.addr, Keys: map[string]string{"r": spelling}}), route, 5*time.Second, keys...)
			if got := [2]string{rig.Values[keys[0]], rig.Values[keys[1]]}; got != want {
				t.Errorf("%q: got %q, want %q", spelling, got, want)
			}
		}
	})
}

func TestSpellingMistakes(t *testing.T) {
	r := &filler.Route{Name: "r", Parts: []filler.PartSpec{{Name: "a"}}}
	for text, want := range map[string]string{"x": "names no part", "x{b}": "{b}", "x{a": "does not close"} {
		if _, err := newSpelling(r, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", text, err, want)
		}
	}
}

func TestExplain(t *testing.T) {
	dialects(t, func(t *testing.T, _ *memcache.Client, r *relay) {
		src := source(t, Options{Addr: r.addr, Keys: map[string]string{"bad": "{nothing}"}})
		got, err := src.Explain(t.Context(), &filler.Route{Name: "bad"})
		if err != nil || len(got) != 1 || got[0].Level != filler.Mistake {
			t.Errorf("got %v, %v", got, err)
		}
		got, err = src.Explain(t.Context(), &filler.Route{Name: "good"})
		if noted := len(got) == 1; err != nil || noted != r.classic {
			t.Errorf("got %v, %v", got, err)
		}
		r.down()
		if got, err = src.Explain(t.Context(), &filler.Route{Name: "good"}); err == nil {
			t.Errorf("got %v from a peer that is down", got)
		}
	})
}

func TestSpellingTooLongIsNotAsked(t *testing.T) {
	addr := testenv.Memcached(t)
	key := strings.Repeat("k", 248)
	rig, st := fillertest.Load(t, source(t, Options{Addr: addr, Keys: map[string]string{"r": "app{key}"}}), filler.Route{}, time.Second, key)
	if !rig.Absent[key] || st.SourceErrors+st.QueryErrors != 0 {
		t.Errorf("absent %v: %+v", rig.Absent, st)
	}
}

func TestLostConnections(t *testing.T) {
	dialects(t, func(t *testing.T, mc *memcache.Client, r *relay) {
		set(t, mc, &memcache.Item{Key: "k", Value: []byte("v")})
		rig := fillertest.New(t, filler.SourceSpec{Source: source(t, Options{Addr: r.addr}), Timeout: 300 * time.Millisecond}, filler.Route{})
		ask := func(key string) {
			t.Helper()
			delete(rig.Values, key)
			rig.Ask(key)
			rig.Wait()
			if rig.Values[key] != "v" {
				t.Errorf("got %q absent %v failed %v", rig.Values[key], rig.Absent[key], rig.Failed[key])
			}
		}
		ask("k")
		r.down()
		r.up()
		ask("k") // the idle connection was dead: nobody notices
		if st := rig.Stats(); st.SourceErrors != 0 || st.Retried != 0 {
			t.Errorf("%+v", st)
		}
		r.down()
		rig.Ask("k")
		rig.WaitDown(true)
		r.up()
		rig.WaitDown(false)
		rig.Wait()
		ask("k")
		r.freeze(true)
		rig.Ask("k")
		rig.WaitDown(true)
		r.freeze(false)
		rig.WaitDown(false)
		rig.Wait()
		ask("k")
		if st := rig.Stats(); st.Absent+st.Failed != 0 {
			t.Errorf("an outage became an answer: %+v", st)
		}
	})
}

func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "fish")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := newRelay(t, testenv.Memcached(t), false)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.serve(c, nil)
		}
	}()
	defer ln.Close()
	if err := source(t, Options{Addr: path}).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesMistakes(t *testing.T) {
	if _, err := New(Options{Addr: "nowhere"}); err == nil {
		t.Error("an address without a port was accepted")
	}
}

// TestBeforeADatabase has an old memcached stand before a database: its items come with their flags, what it has not comes from
// the database, and with the memcached gone the database's rows still come.
func TestBeforeADatabase(t *testing.T) {
	addr := testenv.Memcached(t)
	mc := memcache.New(addr)
	defer mc.Close()
	set(t, mc, &memcache.Item{Key: "old", Value: []byte("from memcached"), Flags: 5, Expiration: 100})
	r := newRelay(t, addr, false)
	db := filler.SourceFunc(func(_ context.Context, b *filler.Batch) error {
		for i := range b.Len() {
			if key := string(b.Key(i)); key != "none" {
				b.Row(int64(i+1), []filler.Value{{Kind: filler.Text, Text: []byte("row of " + key)}})
			}
		}
		return nil
	})
	rig := fillertest.New(t, filler.SourceSpec{Source: source(t, Options{Addr: r.addr})}, filler.Route{}, func(o *filler.Options) {
		o.Sources = append(o.Sources, filler.SourceSpec{Name: "main", Source: db})
		o.Routes[0].Sources = append(o.Routes[0].Sources, "main")
	})
	rig.Ask("old", "new", "none")
	rig.Wait()
	if rig.Values["old"] != "from memcached" || rig.Flags["old"] != 5 || rig.TTLs["old"] == 0 || rig.Values["new"] != "row of new" || !rig.Absent["none"] {
		t.Errorf("got %v, flags %v, times %v, absent %v", rig.Values, rig.Flags, rig.TTLs, rig.Absent)
	}
	r.down()
	rig.Ask("later", "none2", "none")
	rig.Wait()
	if rig.Values["later"] != "row of later" || !rig.Failed["none"] {
		t.Errorf("got %v failed %v", rig.Values, rig.Failed)
	}
}

// FuzzMeta has a peer answer anything: no panic, no endless loop, no value beyond the bound.
func FuzzMeta(f *testing.F) {
	for _, s := range []string{
		"VA 5 f4 t-1 O1\r\nvalue\r\nMN\r\n", "VA 0 f0 O1 X W\r\n\r\nMN\r\n", "EN\r\nMN\r\n", "VA 99999999999 O1\r\n", "VA 5 O1\r\nval",
		"VA -1 O1\r\n", "CLIENT_ERROR bad\r\n", "VA 3 O9\r\nabc\r\nMN\r\n", "VA 70000 O1\r\n", "VA 1 O1\r\nxxx\r\n", "\r\n", "VA",
	} {
		f.Add([]byte(s))
	}
	src, err := New(Options{Addr: "127.0.0.1:1", MaxValue: 1000})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		rig := fillertest.New(t, filler.SourceSpec{Source: filler.SourceFunc(func(ctx context.Context, b *filler.Batch) error {
			here, there := net.Pipe()
			go func() {
				go func() { _, _ = io.Copy(io.Discard, there) }()
				_, _ = there.Write(in)
				there.Close()
			}()
			defer here.Close()
			err := src.loadMeta(&conn{nc: here, r: bufio.NewReaderSize(here, 128)}, b, [][]byte{[]byte("k")})
			var own *filler.Error
			if err != nil && !errors.As(err, &own) {
				err = &filler.Error{Fault: filler.FaultQuery, Err: err}
			}
			return err
		})}, filler.Route{})
		rig.Ask("k")
		rig.Wait()
		if len(rig.Values["k"]) > 1000 {
			t.Errorf("a value of %d bytes", len(rig.Values["k"]))
		}
	})
}
