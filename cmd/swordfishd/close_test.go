package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/config"
	"swordfish/filler"
)

// keeper starts programs over one memory file, one after the other.
type keeper struct {
	t      *testing.T
	file   string // -e
	yaml   string
	sticks atomic.Bool   // reading the configuration does not come to its end before end
	stuck  chan struct{} // told of by a reader
	end    chan struct{}
}

func newKeeper(t *testing.T, yaml string) *keeper {
	k := &keeper{t: t, file: filepath.Join(t.TempDir(), "memory"), yaml: yaml, stuck: make(chan struct{}), end: make(chan struct{})}
	t.Cleanup(func() { close(k.end) })
	return k
}

func (k *keeper) input() config.Input {
	return config.Input{
		Args: []string{"-p", "-1", "-m", "64", "-e", k.file, "--config=swordfish.yaml"},
		ReadFile: func(name string) ([]byte, error) {
			if k.sticks.Load() {
				k.stuck <- struct{}{}
				<-k.end
			}
			if name != "swordfish.yaml" {
				return nil, fs.ErrNotExist
			}
			return []byte(k.yaml), nil
		},
	}
}

func (k *keeper) tryOpen(opened sources) (*app, error) {
	k.t.Helper()
	in := k.input()
	c, err := config.Load(in)
	if err != nil {
		k.t.Fatal(err)
	}
	return newApp(in, c, opened, nil, zerolog.Nop())
}

// open starts one that has a client.
func (k *keeper) open(opened sources) *running {
	k.t.Helper()
	a, err := k.tryOpen(opened)
	if err != nil {
		k.t.Fatal(err)
	}
	if err := a.server.Start(); err != nil {
		k.t.Fatal(err)
	}
	r := &running{t: k.t, app: a}
	r.dial()
	return r
}

// wantKept opens one that has to go on with the item.
func (k *keeper) wantKept(key, value string) {
	k.t.Helper()
	r := k.open(nil)
	defer r.giveUp()
	if warm, why := r.store.Warm(); !warm {
		k.t.Fatalf("the items are gone: %s", why)
	}
	if got := r.get(key); got != value {
		k.t.Errorf("got %.40q", got)
	}
}

// move goes on with a copy of the memory file: somebody may still use that.
func (k *keeper) move() {
	k.t.Helper()
	to := filepath.Join(k.t.TempDir(), "moved")
	for _, suffix := range []string{"", ".meta"} {
		b, err := os.ReadFile(k.file + suffix)
		if err != nil {
			k.t.Fatal(err)
		}
		if err := os.WriteFile(to+suffix, b, 0o600); err != nil {
			k.t.Fatal(err)
		}
	}
	k.file = to
}

// A start that fails after the memory file was opened leaves its items to the next.
func TestKeepDespiteFailedStart(t *testing.T) {
	k := newKeeper(t, "")
	r := k.open(nil)
	r.ask("set k 0 0 5\r\nvalue")
	if err := r.close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	for name, yaml := range map[string]string{
		"key":    "sources:\n  main: {kind: sqlite, path: none}\nroutes:\n" + userRoute("main", "user:{id:int}{other}"),
		"source": "sources:\n  main: {kind: postgres, dsn: \"host=127.0.0.1 port=none\"}\nroutes:\n  - {name: user, key: \"user:{id:int}\", source: main, query: \"SELECT ord, v FROM f(@id)\"}\n",
	} {
		k.yaml = yaml
		if a, err := k.tryOpen(nil); err == nil {
			t.Errorf("%s: no error", name)
			a.giveUp()
		}
	}
	k.yaml = ""
	a, err := k.tryOpen(nil)
	if err != nil {
		t.Fatal(err)
	}
	a.giveUp() // as when a port is taken
	k.wantKept("k", "value")
}

// Neither does a load cost the items that does not end when it has to, nor a reload.
func TestKeepDespiteStuckWork(t *testing.T) {
	k := newKeeper(t, "sources:\n  main: {kind: sqlite, path: none}\nroutes:\n"+userRoute("main", "user:{id:int}"))
	load := filler.SourceFunc(func(context.Context, *filler.Batch) error {
		k.stuck <- struct{}{}
		<-k.end
		return nil
	})
	for _, test := range []struct{ name, command, err string }{
		{"load", "get user:1\r\n", "loads or sources left behind"},
		{"reload", "reload\r\n", "reload: it is still at work"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := k.open(sources{"main": {Source: load}})
			r.ask("set k 0 0 5\r\nvalue")
			k.sticks.Store(test.name == "reload")
			if _, err := io.WriteString(r.conn, test.command); err != nil {
				t.Fatal(err)
			}
			<-k.stuck
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := r.close(ctx, true); err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("close: %v", err)
			}
			k.sticks.Store(false)
			k.move()
			k.wantKept("k", "value")
		})
	}
}

// A client that does not take its replies costs neither the items that are to be kept nor the exit code. Its replies are
// large values, which lie in the store until they are written.
func TestKeepDespiteSlowReader(t *testing.T) {
	k := newKeeper(t, "")
	const size = 1 << 19
	r := k.open(nil)
	value := strings.Repeat("x", size)
	if got := r.ask(fmt.Sprintf("set k 0 0 %d\r\n%s", size, value)); got != "STORED" {
		t.Fatalf("got %q", got)
	}
	io.WriteString(r.conn, strings.Repeat("get k\r\n", 200)) // more than the sockets take
	timeout := time.After(20 * time.Second)
	for look := time.Tick(5 * time.Millisecond); r.server.Stats().Counters.SlowPauses == 0; {
		select {
		case <-look:
		case <-timeout:
			t.Fatal("the client is not slow")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := r.close(ctx, true); err != nil {
		t.Errorf("close: %v", err)
	}
	k.wantKept("k", value)
}
