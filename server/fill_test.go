package server

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
	"swordfish/normalizer"
	"swordfish/store"
)

// hooks lets a filler end leases of st. puts gets a token after every put.
func hooks(st *store.Store, puts chan<- struct{}) filler.Hooks {
	put := func(l filler.Lease, f *store.Fill) filler.PutStatus {
		f.Now = st.Now()
		status := st.PutLease(store.Lease(l), f)
		puts <- struct{}{}
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
		End:   func(l filler.Lease) bool { return st.EndLease(store.Lease(l)) },
		Alive: func(l filler.Lease) bool { return st.LeaseAlive(store.Lease(l)) },
		Sent: func(l filler.Lease, within time.Duration) {
			deadline := store.Time(0)
			if within > 0 {
				deadline = st.Now() + store.Time(within.Milliseconds())
			}
			st.LeaseSent(store.Lease(l), deadline)
		},
		SourceDown: func(route uint16, down bool) { st.SetSourceDown(store.RouteID(route), down) },
	}
}

// filled is a server with one route, "user:{id:int}", whose source is load.
type filled struct {
	*Server
	addr   string
	st     *store.Store
	filler *filler.Filler
	puts   chan struct{}
}

func startFilled(t *testing.T, o Options, load filler.SourceFunc) *filled {
	t.Helper()
	f := &filled{st: newStore(t, store.Options{}), puts: make(chan struct{}, 10_000)}
	ids, err := f.st.SetRoutes([]store.Route{{Name: "user", KeyPrint: 1, QueryPrint: 1, Fresh: 60, Stale: 60, Negative: 60}})
	if err != nil {
		t.Fatal(err)
	}
	id := uint16(ids[0])
	o.Store = f.st
	if o.Routes, err = normalizer.Compile([]normalizer.Route{{ID: id, Name: "user", Key: "user:{id:int}"}}); err != nil {
		t.Fatal(err)
	}
	f.filler, err = filler.New(filler.Options{
		Sources: []filler.SourceSpec{{Name: "main", Source: load}},
		Routes:  []filler.Route{{ID: id, Name: "user", Sources: []string{"main"}, Flags: 7, SetFlags: true}},
		Hooks:   hooks(f.st, f.puts),
		Logger:  zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.filler.Shutdown(context.Background()) })
	o.Filler = f.filler
	f.Server, f.addr = startServer(t, o)
	return f
}

// row answers a key with its own name, but for ids that begin with 9, which the source does not have.
func row(b *filler.Batch) {
	for i := range b.Len() {
		if key := b.Key(i); !bytes.HasPrefix(key, []byte("user:9")) {
			b.Row(int64(i+1), []filler.Value{{Kind: filler.Text, Text: append([]byte("name of "), key...)}})
		}
	}
}

func TestMissIsFilled(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		f := startFilled(t, o, func(ctx context.Context, b *filler.Batch) error {
			row(b)
			return nil
		})
		c := talk(t, f.addr)
		if got := c.ask("get user:1 user:2 user:91 plain\r\n", "END"); got != "END\r\n" {
			t.Fatalf("the first get: %q", got)
		}
		for range 3 {
			<-f.puts
		}
		want := "VALUE user:1 7 14\r\nname of user:1\r\nVALUE user:2 7 14\r\nname of user:2\r\nEND\r\n"
		if got := c.ask("get user:1 user:2 user:91 plain\r\n", "END"); got != want {
			t.Fatalf("the second get: %q", got)
		}
		c.ask("version\r\n", "VERSION")
		_, values := statNames(t, c.ask("stats routes\r\n", "END"))
		for name, want := range map[string]string{
			"hits": "2", "misses": "4", "negative_misses": "1", "leased": "3", "coalesced": "0", "loaded": "2", "absent": "1",
			"items": "2", "items_negative": "1", "dropped_ring": "0", "down": "0", "asked": "3",
		} {
			if got := values["user:"+name]; got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	})
}

// However many clients ask however often, a cold key is asked for once, and nobody waits for it.
func TestColdKeyIsAskedForOnce(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		gate := make(chan struct{})
		f := startFilled(t, o, func(ctx context.Context, b *filler.Batch) error {
			<-gate
			row(b)
			return nil
		})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				c := talk(t, f.addr)
				for range 20 {
					if got := c.ask("get user:5\r\n", "END"); got != "END\r\n" {
						t.Errorf("got %q", got)
					}
				}
			})
		}
		wg.Wait()
		close(gate)
		<-f.puts
		if got := talk(t, f.addr).ask("get user:5\r\n", "END"); !strings.Contains(got, "name of user:5") {
			t.Errorf("got %q", got)
		}
		r := f.Routes()[0]
		if r.Fills.Asked != 1 || r.Client.Leased != 1 || r.Client.Coalesced != 50*20-1 {
			t.Errorf("asked %d, leased %d, coalesced %d", r.Fills.Asked, r.Client.Leased, r.Client.Coalesced)
		}
	})
}

// What a client writes while a load is under way stays, whichever way it writes.
func TestClientWinsOverLoad(t *testing.T) {
	for _, test := range []struct{ command, want string }{
		{"set user:1 0 0 4\r\nmine\r\n", "VALUE user:1 0 4\r\nmine\r\nEND\r\n"},
		{"add user:1 0 0 4\r\nmine\r\n", "VALUE user:1 0 4\r\nmine\r\nEND\r\n"},
		{"set user:1 0 0 4 noreply\r\nmine\r\nincr user:1 1\r\n", "VALUE user:1 0 4\r\nmine\r\nEND\r\n"},
		{"delete user:1\r\n", "END\r\n"},
		{"flush_all\r\n", "END\r\n"},
		{"set user:1 0 0 2000000\r\n" + strings.Repeat("x", 2_000_000) + "\r\n", "END\r\n"},
	} {
		name, _, _ := strings.Cut(test.command, "\r")
		t.Run(name, func(t *testing.T) {
			gate, loading := make(chan struct{}), make(chan struct{}, 100)
			f := startFilled(t, Options{}, func(ctx context.Context, b *filler.Batch) error {
				loading <- struct{}{}
				<-gate
				row(b)
				return nil
			})
			c := talk(t, f.addr)
			c.ask("get user:1\r\n", "END")
			<-loading
			c.ask(test.command+"version\r\n", "VERSION")
			gate <- struct{}{}
			<-f.puts
			if got := c.ask("get user:1\r\n", "END"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			close(gate)
		})
	}
}

// A fill that cannot be handed over ends, is counted, and is tried again by the next get.
func TestRingThatTakesNothing(t *testing.T) {
	f := startFilled(t, Options{Workers: 1}, func(ctx context.Context, b *filler.Batch) error { return nil })
	f.filler.Shutdown(context.Background()) // closes the rings
	c := talk(t, f.addr)
	for i := range 3 {
		if got := c.ask("get user:1\r\n", "END"); got != "END\r\n" {
			t.Fatalf("got %q", got)
		}
		if r := f.RouteCounters(f.filler.Stats()[0].ID); r.RingDrops != uint64(i+1) || r.Leased != 0 || r.Coalesced != 0 {
			t.Errorf("after %d gets: %+v", i+1, r)
		}
	}
	if leases := f.st.Stats().Leases; leases != 0 {
		t.Errorf("%d leases are left", leases)
	}
}

func TestSetRoutesIsSeenByTheNextCommand(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := startServer(t, o)
		c := talk(t, addr)
		c.ask("set b:2:1 0 0 1\r\nx\r\n", "STORED")
		ids, err := s.o.Store.SetRoutes([]store.Route{{Name: "b", KeyPrint: 1, QueryPrint: 1, Fresh: 60}})
		if err != nil {
			t.Fatal(err)
		}
		table, err := normalizer.Compile([]normalizer.Route{{ID: uint16(ids[0]), Name: "b", Key: "new|x={x}|y={y}"}})
		if err != nil {
			t.Fatal(err)
		}
		s.SetRoutes(table)
		c.ask("set new|y=2|x=1 0 0 1\r\nx\r\n", "STORED")
		if got := c.ask("get new|x=1|y=2 b:2:1\r\n", "END"); got != "VALUE new|x=1|y=2 0 1\r\nx\r\nVALUE b:2:1 0 1\r\nx\r\nEND\r\n" {
			t.Errorf("got %q", got)
		}
	})
}

// The store's reasons for a load are the filler's lanes.
func TestUrgencyIsLane(t *testing.T) {
	for urgency, lane := range map[store.Urgency]filler.Lane{
		store.ForMiss: filler.LaneMiss, store.ForStale: filler.LaneStale, store.ForAhead: filler.LaneRefresh, store.ForWarm: filler.LaneWarm,
	} {
		if filler.Lane(urgency) != lane {
			t.Errorf("urgency %d is lane %v, want %v", urgency, filler.Lane(urgency), lane)
		}
	}
}

func ExampleLatency_Quantile() {
	var l Latency
	l[latencyBucket(90*time.Microsecond)] = 100
	fmt.Println(l.Quantile(0.99))
	// Output: 92µs
}
