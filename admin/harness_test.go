package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
	"swordfish/hasher"
	"swordfish/internal/testenv"
	"swordfish/normalizer"
	"swordfish/server"
	"swordfish/snapshot"
	"swordfish/store"
	"swordfish/warm"
)

// world is a server with one route, user:{id:int}, and its admin port. Its source has a row for ids that do not begin with 9.
type world struct {
	t      *testing.T
	admin  *Admin
	server *server.Server
	filler *filler.Filler
	store  *store.Store
	addr   string // of memcached's protocol
	url    string
	puts   chan struct{}

	tracker warm.Tracker
	warmer  *warm.Warmer

	mu   sync.Mutex
	done []string // actions
	fail error    // of the next action
}

func start(t *testing.T, change func(o *Options)) *world {
	t.Helper()
	w := &world{t: t, puts: make(chan struct{}, 1000)}
	seed := hasher.NewSeed()
	var err error
	if w.store, err = store.Open(store.Options{Memory: 64 << 20, Seed: seed, KeyHash: seed.Key, Digest: seed.Payload}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	ids, err := w.store.SetRoutes([]store.Route{{Name: "user", KeyPrint: 1, QueryPrint: 1, Fresh: 60, Stale: 60, Negative: 60}})
	if err != nil {
		t.Fatal(err)
	}
	id := uint16(ids[0])
	table, err := normalizer.Compile([]normalizer.Route{{ID: id, Name: "user", Key: "user:{id:int}"}})
	if err != nil {
		t.Fatal(err)
	}
	w.filler, err = filler.New(filler.Options{
		Sources: []filler.SourceSpec{{Name: "main", Source: filler.SourceFunc(w.load)}},
		Routes: []filler.Route{{
			ID: id, Name: "user", Sources: []string{"main"}, Query: "SELECT ord, name FROM users", Parts: []filler.PartSpec{{Name: "id", Int: true}},
			Split: func(dst []filler.Part, key []byte) []filler.Part {
				return append(dst, filler.Part{Value: key[len("user:"):], Present: true})
			},
		}},
		Hooks: w.hooks(), Logger: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.filler.Shutdown(context.Background()) })
	own := testenv.NewAuthority(t, "admin").Issue(t, "server", nil)
	certificates, err := server.LoadTLS(server.TLSOptions{Chain: own.File, Key: own.KeyFile})
	if err != nil {
		t.Fatal(err)
	}
	w.server = server.New(server.Options{
		Store: w.store, Seed: &seed, Routes: table, Filler: w.filler, Workers: 1, TLS: certificates,
		Listen: []server.Listener{{Address: "127.0.0.1:0"}}, Logger: zerolog.Nop(),
	})
	if err := w.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.server.Shutdown(context.Background()) })
	w.addr = w.server.Addrs()[0].String()
	act := func(name string) func(string) error {
		return func(arg string) error { return w.act(name + " " + arg) }
	}
	w.warmer = warm.New(warm.Options{
		Store: w.store, Filler: w.filler, Tracker: &w.tracker, Logger: zerolog.Nop(), Resolve: w.server.Resolve, Hash: seed.Key,
		Route: func(name string) (warm.Route, error) {
			if name != "" && name != "user" {
				return warm.Route{}, &warm.Error{Text: "there is no route " + name}
			}
			return warm.Route{}, nil
		},
	})
	t.Cleanup(w.warmer.Close)
	o := Options{
		Warmer: w.warmer,
		Addr:   "127.0.0.1:0", Version: "1.2.3", Logger: zerolog.Nop(), Server: w.server, Store: w.store, Filler: w.filler,
		Do: Actions{
			Invalidate: act("invalidate"), Refresh: act("refresh"), LogLevel: act("log_level"),
			Route:    func(name string, off bool) error { return w.act(fmt.Sprintf("route %s off=%v", name, off)) },
			Reload:   func() error { return w.act("reload") },
			Snapshot: func() error { return w.act("snapshot") },
		},
		Snapshot: func() snapshot.Status { return snapshot.Status{} },
	}
	if change != nil {
		change(&o)
	}
	w.admin = New(o)
	if err := w.admin.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.admin.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	w.url = "http://" + w.admin.Addr().String()
	return w
}

func (w *world) load(_ context.Context, b *filler.Batch) error {
	for i := range b.Len() {
		if key := string(b.Key(i)); !strings.HasPrefix(key, "user:9") {
			b.Row(int64(i+1), []filler.Value{{Kind: filler.Text, Text: []byte(strings.Repeat("all that is known of a user ", 4))}})
		}
	}
	return nil
}

func (w *world) hooks() filler.Hooks {
	put := func(l filler.Lease, f *store.Fill) filler.PutStatus {
		f.Now = w.store.Now()
		status := w.store.PutLease(store.Lease(l), f)
		w.tracker.Ended(l, map[bool]filler.End{true: filler.EndNoRow, false: filler.EndLoaded}[f.Absent])
		w.puts <- struct{}{}
		return filler.PutStatus(status)
	}
	return filler.Hooks{
		Put: func(l filler.Lease, route uint16, key, value []byte, flags uint32) filler.PutStatus {
			return put(l, &store.Fill{Key: key, Route: store.RouteID(route), Value: value, Flags: flags})
		},
		Absent: func(l filler.Lease, route uint16, key []byte) filler.PutStatus {
			return put(l, &store.Fill{Key: key, Route: store.RouteID(route), Absent: true})
		},
		Failed: func(l filler.Lease, route uint16, key []byte) filler.PutStatus {
			return put(l, &store.Fill{Key: key, Route: store.RouteID(route), Failed: true})
		},
		End:        func(l filler.Lease) bool { return w.store.EndLease(store.Lease(l)) },
		Alive:      func(l filler.Lease) bool { return w.store.LeaseAlive(store.Lease(l)) },
		Sent:       func(filler.Lease, time.Duration) {},
		SourceDown: func(route uint16, down bool) { w.store.SetSourceDown(store.RouteID(route), down) },
	}
}

func (w *world) act(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, what)
	err := w.fail
	w.fail = nil
	return err
}

// actions returns what was done since the last call.
func (w *world) actions() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.done, ", ")
	w.done = nil
	return all
}

// memcached sends commands and returns what is answered up to a line that begins with last.
func (w *world) memcached(commands, last string) string {
	w.t.Helper()
	return talk(w.t, w.addr, commands, last)
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

// ask makes a request with headers given as "Name: value".
func (w *world) ask(method, path string, headers ...string) answer {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
		} else {
			r.Header.Set(name, value)
		}
	}
	resp, err := client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp, string(b)}
}

// client follows no redirect and keeps no connection.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       30 * time.Second,
}

func (w *world) get(path string) string {
	w.t.Helper()
	a := w.ask("GET", path)
	if a.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s: %s", path, a.Status, a.body)
	}
	return a.body
}

var errRefused = errors.New("no such thing")

func query(name, value string) string { return "?" + url.Values{name: {value}}.Encode() }
