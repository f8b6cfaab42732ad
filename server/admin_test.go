package server

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
	"swordfish/store"
)

func TestAdminWords(t *testing.T) {
	f := startFilled(t, Options{Operator: Operator{
		Pattern: func(route string) string { return route + ":{id:int}" },
	}}, func(ctx context.Context, b *filler.Batch) error {
		row(b)
		return nil
	})
	c := talk(t, f.addr)
	c.ask("get user:1 user:91 usr:1\r\n", "END")
	<-f.puts
	<-f.puts
	c.ask("get user:1\r\n", "END")
	for _, step := range []struct{ ask, last, want string }{
		{"routes", "END", "user on items=1 client=0 negative=1 gets=3 hits=1 stale=0 misses=2 known_absent=0 loaded=1 absent=1 failed=0 key=user:{id:int}\r\nEND\r\n"},
		{"routes unmatched", "END", "1 usr:*\r\nEND\r\n"},
		{"sources", "END", "main up since=TIME went_down=0 probes=0 loads=LOADS keys=2\r\nEND\r\n"},
		{"route user off", "OK", "OK\r\n"},
		{"get user:2", "END", "END\r\n"},
		{"invalidate user", "OK", "OK\r\n"},
		{"get user:1", "END", "END\r\n"},
		{"route user on", "OK", "OK\r\n"},
		{"route nobody on", "CLIENT_ERROR", "CLIENT_ERROR there is no route \"nobody\"; routes lists them\r\n"},
		{"route user maybe", "CLIENT_ERROR", "CLIENT_ERROR usage: route NAME on|off\r\n"},
		{"route", "CLIENT_ERROR", "CLIENT_ERROR usage: route NAME on|off\r\n"},
		{"invalidate nobody", "CLIENT_ERROR", "CLIENT_ERROR \"nobody\" is neither a route nor a key of one: routes lists them, and delete removes a plain key\r\n"},
		{"invalidate *", "CLIENT_ERROR", "CLIENT_ERROR a prefix has something before the *; flush_all forgets everything\r\n"},
		{"log_level", "CLIENT_ERROR", "CLIENT_ERROR usage: log_level LEVEL\r\n"},
		{"log_level a b", "CLIENT_ERROR", "CLIENT_ERROR usage: log_level LEVEL\r\n"},
		{"log_level debug", "CLIENT_ERROR", "CLIENT_ERROR log_level is not available\r\n"},
		{"log_level debug noreply\r\nversion", "VERSION", "VERSION 1.6.45\r\n"},
		{"invalidate", "CLIENT_ERROR", "CLIENT_ERROR usage: invalidate NAME|PREFIX*|KEY\r\n"},
		{"invalidate a b", "CLIENT_ERROR", "CLIENT_ERROR usage: invalidate NAME|PREFIX*|KEY\r\n"},
		{"routes all", "CLIENT_ERROR", "CLIENT_ERROR usage: routes, or routes unmatched\r\n"},
		{"sources now", "CLIENT_ERROR", "CLIENT_ERROR usage: sources\r\n"},
		{"reload", "CLIENT_ERROR", "CLIENT_ERROR reload is not available\r\n"},
		{"reload it", "CLIENT_ERROR", "CLIENT_ERROR usage: reload\r\n"},
		{"snapshot", "CLIENT_ERROR", "CLIENT_ERROR snapshot is not available\r\n"},
		{"snapshot status", "END", "END\r\n"},
		{"snapshot now", "CLIENT_ERROR", "CLIENT_ERROR usage: snapshot, or snapshot status\r\n"},
		{"explain", "CLIENT_ERROR", "CLIENT_ERROR usage: explain KEY\r\n"},
		{"explain a b", "CLIENT_ERROR", "CLIENT_ERROR usage: explain KEY\r\n"},
		{"top none", "CLIENT_ERROR", "CLIENT_ERROR usage: top [N]\r\n"},
		{"top 129", "CLIENT_ERROR", "CLIENT_ERROR usage: top [N]\r\n"},
		{"dedup it", "CLIENT_ERROR", "CLIENT_ERROR usage: dedup\r\n"},
		{"refresh", "CLIENT_ERROR", "CLIENT_ERROR usage: refresh KEY\r\n"},
		{"help a b", "CLIENT_ERROR", "CLIENT_ERROR usage: help [WORD]\r\n"},
		{"help me", "CLIENT_ERROR", "CLIENT_ERROR there is no word \"me\"; help lists them\r\n"},
		{"help queue", "END", "queue: keys that wait to be loaded\r\nEND\r\n"},
		{"help routes", "END", "routes: routes with their state and what became of their keys\r\n" +
			"routes unmatched: what keys look like that missed and match no route, most frequent first\r\nEND\r\n"},
		{"explain user:1 noreply\r\ntop noreply\r\nrefresh x noreply\r\nversion", "VERSION", "VERSION 1.6.45\r\n"},
		{"route user on noreply\r\nhelp noreply\r\nreload noreply\r\nversion", "VERSION", "VERSION 1.6.45\r\n"},
		{"explode", "ERROR", "ERROR\r\n"},
		{"Routes", "ERROR", "ERROR\r\n"},
	} {
		got := c.ask(step.ask+"\r\n", step.last)
		got = regexp.MustCompile(`loads=[12]`).ReplaceAllString(times.ReplaceAllString(got, "since=TIME"), "loads=LOADS") // in one batch or two
		if got != step.want {
			t.Errorf("%s: got %q, want %q", step.ask, got, step.want)
		}
	}
	for word, want := range map[string]string{"help": "invalidate NAME|PREFIX*|KEY forget", "queue": "user queued=0 batches_in_flight=0\r\nuser miss queued=0 came="} {
		if got := c.ask(word+"\r\n", "END"); !strings.Contains(got, want) {
			t.Errorf("%s: got %q", word, got)
		}
	}
}

var times = regexp.MustCompile(`since=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// wobbly is a source that can be reached or not.
type wobbly struct {
	filler.SourceFunc
	gone atomic.Bool
}

func (w *wobbly) Ping(context.Context) error {
	if w.gone.Load() {
		return errors.New("nobody\r\nhome")
	}
	return nil
}

func TestSourceGoesDownAndComesUp(t *testing.T) {
	source := &wobbly{SourceFunc: func(context.Context, *filler.Batch) error { return nil }}
	source.gone.Store(true)
	st := newStore(t, store.Options{})
	f, err := filler.New(filler.Options{
		Sources: []filler.SourceSpec{{Name: "main", Source: source}}, Hooks: hooks(st, make(chan struct{}, 1)), Logger: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Shutdown(context.Background()) })
	_, addr := startServer(t, Options{Store: st, Filler: f})
	c := talk(t, addr)
	until := func(want string) {
		t.Helper()
		for !strings.HasPrefix(times.ReplaceAllString(c.ask("sources\r\n", "END"), "since=TIME"), want) { // ended by the deadline of the socket
		}
	}
	until("main down since=TIME went_down=1 ")
	if got := c.ask("sources\r\n", "END"); !strings.Contains(got, `last_error="nobody\r\nhome"`) {
		t.Errorf("got %q", got)
	}
	source.gone.Store(false)
	until("main up since=TIME went_down=1 ")
}

// A route that is switched off asks its source nothing, and its items stay; switched on it loads again.
func TestRouteOffAndOn(t *testing.T) {
	var asked atomic.Int64
	f := startFilled(t, Options{}, func(ctx context.Context, b *filler.Batch) error {
		asked.Add(int64(b.Len()))
		row(b)
		return nil
	})
	c := talk(t, f.addr)
	c.ask("get user:1\r\n", "END")
	<-f.puts
	c.ask("route user off\r\n", "OK")
	if got := c.ask("get user:1 user:2\r\n", "END"); got != "VALUE user:1 7 14\r\nname of user:1\r\nEND\r\n" {
		t.Errorf("off: got %q", got)
	}
	for f.filler.Stats()[0].Dropped[filler.DropOff][filler.LaneMiss] == 0 {
		c.ask("version\r\n", "VERSION")
	}
	if got := c.ask("routes\r\n", "END"); !strings.HasPrefix(got, "user off ") {
		t.Errorf("got %q", got)
	}
	c.ask("route user on\r\n", "OK")
	c.ask("get user:2\r\n", "END")
	<-f.puts
	if got := c.ask("get user:2\r\n", "END"); got == "END\r\n" || asked.Load() != 2 {
		t.Errorf("on: got %q, %d keys asked", got, asked.Load())
	}
}

func TestInvalidateIsRefusedWhereFlushIs(t *testing.T) {
	s := routed(t, Options{NoFlush: true})
	c := newClient(t, s)
	c.ask("set chr|a=1|b=2 0 0 1\r\nx\r\n")
	if got := c.ask("invalidate chr\r\nget chr|a=1|b=2\r\n"); got != "CLIENT_ERROR invalidate not allowed\r\nVALUE chr|a=1|b=2 0 1\r\nx\r\nEND\r\n" {
		t.Errorf("got %q", got)
	}
}

// gated is a server whose reload waits at a gate and then returns what is sent there.
func gated(t *testing.T, o Options) (_ *Server, addr string, began chan struct{}, gate chan error) {
	began, gate = make(chan struct{}, 10), make(chan error)
	o.Workers = 1
	o.Operator.Reload = func() error {
		began <- struct{}{}
		return <-gate
	}
	s, addr := startServer(t, o)
	return s, addr, began, gate
}

// A reload takes its time; its connection waits with the commands behind it, and nobody else does.
func TestReloadKeepsNobodyWaiting(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		_, addr, began, gate := gated(t, o)
		op, other := talk(t, addr), talk(t, addr)
		op.Write([]byte("set a 0 0 1\r\nx\r\nreload\r\nget a\r\nreload noreply\r\nget a\r\n"))
		<-began
		if got := other.ask("set a 0 0 1\r\ny\r\nget a\r\n", "END"); got != "STORED\r\nVALUE a 0 1\r\ny\r\nEND\r\n" {
			t.Errorf("got %q", got)
		}
		if got := op.ask("", "STORED"); got != "STORED\r\n" {
			t.Errorf("before the reload: got %q", got)
		}
		gate <- errors.New("swordfish.yaml:7: unknown field \"kee\"\nand another")
		if got := op.ask("", "END"); got != "CLIENT_ERROR swordfish.yaml:7: unknown field \"kee\"\r\nVALUE a 0 1\r\ny\r\nEND\r\n" {
			t.Errorf("got %q", got)
		}
		<-began
		gate <- nil
		if got := op.ask("reload\r\n", "END"); got != "VALUE a 0 1\r\ny\r\nEND\r\n" {
			t.Errorf("got %q", got)
		}
		<-began
		gate <- nil
		if got := op.ask("", "OK"); got != "OK\r\n" {
			t.Errorf("got %q", got)
		}
	})
}

// A client that leaves while its reload is under way is no harm, nor is another that gets its descriptor.
func TestClientLeavesDuringReload(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr, began, gate := gated(t, o)
		op, other := talk(t, addr), talk(t, addr)
		op.Write([]byte("reload\r\n"))
		<-began
		op.Conn.(*net.TCPConn).SetLinger(0)
		op.Close()
		if !o.Net { // a goroutine that waits for the reload notices later
			for s.conns.open.Load() > 1 {
				other.ask("version\r\n", "VERSION")
			}
		}
		third := talk(t, addr)
		third.ask("version\r\n", "VERSION")
		gate <- nil
		if got := third.ask("get a\r\n", "END"); got != "END\r\n" {
			t.Errorf("got %q", got)
		}
	})
}

// A client that has shut its side down still gets its answer.
func TestHalfClosedDuringReload(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		_, addr, began, gate := gated(t, o)
		op := talk(t, addr)
		op.Write([]byte("reload\r\nget a\r\n"))
		op.CloseWrite()
		<-began
		gate <- nil
		if got, err := io.ReadAll(op.r); err != nil || string(got) != "OK\r\nEND\r\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestShutdownDuringReload(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr, began, gate := gated(t, o)
		op := talk(t, addr)
		op.Write([]byte("reload\r\nget a\r\n"))
		<-began
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			done <- s.Shutdown(ctx)
		}()
		gate <- nil
		if got, err := io.ReadAll(op.r); err != nil || string(got) != "OK\r\nEND\r\n" {
			t.Errorf("got %q, %v", got, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What a slow client has not read when it asks for a reload is not lost.
func TestReloadBehindMuchOutput(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		_, addr, began, gate := gated(t, o)
		c := talk(t, addr)
		value := strings.Repeat("v", 500_000)
		c.ask("set big 0 0 500000\r\n"+value+"\r\n", "STORED")
		const gets = 40
		c.Write([]byte(strings.Repeat("get big\r\n", gets) + "reload\r\nget big\r\nquit\r\n"))
		go func() {
			<-began
			gate <- nil
		}()
		n, err := io.Copy(io.Discard, c.r)
		want := int64((gets+1)*(len("VALUE big 0 500000\r\n")+len(value)+len("\r\nEND\r\n")) + len("OK\r\n"))
		if err != nil || n != want {
			t.Errorf("read %d bytes, want %d: %v", n, want, err)
		}
	})
}
