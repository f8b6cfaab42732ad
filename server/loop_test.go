package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain gives the scheduler places for workers and clients both, as swordfishd does: a worker keeps its own while it waits
// briefly, so on two CPUs two of them left none for who talks to them, and each request waited for the runtime's monitor, 10 ms.
// In the end it looks for goroutines that outlive their server.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(max(8, runtime.GOMAXPROCS(0)))
	code := m.Run()
	if code == 0 {
		code = leaked()
	}
	os.Exit(code)
}

// leaked waits a moment for the last goroutines of this package to end and reports those that do not.
func leaked() int {
	stacks := make([]byte, 1<<20)
	for range 1000 {
		n := runtime.Stack(stacks, true)
		if !bytes.Contains(stacks[:n], []byte("swordfish/server.(*")) {
			return 0
		}
		<-time.After(5 * time.Millisecond)
	}
	fmt.Fprintf(os.Stderr, "goroutines of servers are left:\n%s\n", stacks[:runtime.Stack(stacks, true)])
	return 1
}

// conversation sends commands over a socket and reads their answers.
type conversation struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func talk(t testing.TB, addr string) *conversation { return talkOn(t, dial(t, addr)) }

func talkOn(t testing.TB, c net.Conn) *conversation {
	t.Cleanup(func() { c.Close() })
	return &conversation{t, c, bufio.NewReader(c)}
}

// CloseWrite says that nothing more comes.
func (c *conversation) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// ask sends a command and returns the lines up to and including one that starts with last.
func (c *conversation) ask(command, last string) string {
	c.t.Helper()
	return askOver(c.t, c, c.r, command, last)
}

func askOver(t testing.TB, w io.Writer, r *bufio.Reader, command, last string) string {
	t.Helper()
	if _, err := w.Write([]byte(command)); err != nil {
		t.Fatalf("%q: %v", shorten([]byte(command)), err)
	}
	var all strings.Builder
	for {
		line, err := r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			t.Fatalf("%q: %v after %q", shorten([]byte(command)), err, shorten([]byte(all.String())))
		}
		if strings.HasPrefix(line, last) {
			return all.String()
		}
	}
}

// until asks stats until ok says yes; the sockets' deadline ends a wait in vain.
func (c *conversation) until(s *Server, ok func(n Counters) bool) {
	c.t.Helper()
	for !ok(s.Stats().Counters) {
		c.ask("version\r\n", "VERSION")
	}
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestPipelineOverASocket(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		_, addr := startServer(t, o)
		var in, want bytes.Buffer
		for i := range 10_000 {
			fmt.Fprintf(&in, "set k%d 0 0 2\r\nab\r\nget k%d\r\n", i%97, i%97)
			fmt.Fprintf(&want, "STORED\r\nVALUE k%d 0 2\r\nab\r\nEND\r\n", i%97)
		}
		if got := playSocket(t, addr, in.Bytes(), in.Len()); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("got %d bytes, want %d: %s", len(got), want.Len(), shorten(got))
		}
	})
}

// A client that does not read is left alone until it reads; it gets every byte then.
func TestSlowReaderIsPausedAndMissesNothing(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := startServer(t, o)
		value := strings.Repeat("v", 100_000)
		const gets = 1000 // 100 MB, more than any socket buffer takes
		other := talk(t, addr)
		other.ask("set big 0 0 100000\r\n"+value+"\r\n", "STORED")
		before := heap()
		slow := talk(t, addr)
		done := make(chan error, 1)
		go func() {
			_, err := slow.Write([]byte(strings.Repeat("get big\r\n", gets) + "quit\r\n"))
			done <- err
		}()
		if !o.Net {
			other.until(s, func(n Counters) bool { return n.SlowPauses > 0 })
		}
		for range 100 { // the others do not wait
			other.ask("get big\r\n", "END")
		}
		if grown := heap() - before; grown > 10<<20 {
			t.Errorf("%d bytes of heap while output waits", grown)
		}
		n, err := io.Copy(io.Discard, slow.r)
		want := int64(gets * (len("VALUE big 0 100000\r\n") + len(value) + len("\r\nEND\r\n")))
		if err != nil || n != want {
			t.Errorf("read %d bytes, want %d: %v", n, want, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestSlowReaderIsDropped(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.SlowTimeout = 50 * time.Millisecond
		s, addr := startServer(t, o)
		watcher := talk(t, addr)
		watcher.ask("watch connevents\r\n", "OK")
		other := talk(t, addr)
		other.ask("set big 0 0 100000\r\n"+strings.Repeat("v", 100_000)+"\r\n", "STORED")
		slow := talk(t, addr)
		go slow.Write([]byte(strings.Repeat("get big\r\n", 1000)))
		other.until(s, func(n Counters) bool { return n.SlowDrops == 1 })
		if _, err := io.Copy(io.Discard, slow.r); err != nil && !isReset(err) {
			t.Error(err)
		}
		if got := watchLines(watcher, "conn_close"); !strings.HasSuffix(got[len(got)-1], " reason=slow") {
			t.Errorf("got %q", got)
		}
		for s.Stats().Connections > 2 {
			other.ask("version\r\n", "VERSION")
		}
	})
}

func TestConnectionLimit(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.MaxConns = 3
		s, addr := startServer(t, o)
		var open []*conversation
		for range 3 {
			c := talk(t, addr)
			c.ask("version\r\n", "VERSION")
			open = append(open, c)
		}
		refused, err := io.ReadAll(dial(t, addr))
		if err != nil && !isReset(err) || string(refused) != "ERROR Too many open connections\r\n" {
			t.Errorf("got %q, %v", refused, err)
		}
		open[0].ask("set a 0 0 1\r\nx\r\n", "STORED")
		open[0].Write([]byte("quit\r\n"))
		io.ReadAll(open[0].r)
		for s.conns.open.Load() == 3 {
			open[1].ask("version\r\n", "VERSION")
		}
		talk(t, addr).ask("get a\r\n", "END")
		if st := s.Stats(); st.TotalConnections != 4 || st.RejectedConnections != 1 || st.Connections != 3 {
			t.Errorf("%d connections, %d in all, %d rejected", st.Connections, st.TotalConnections, st.RejectedConnections)
		}
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.IdleTimeout = time.Second
		s, addr := startServer(t, o)
		c := talk(t, addr)
		c.ask("version\r\n", "VERSION")
		if _, err := c.r.ReadByte(); err != io.EOF { // blocks until the server closes
			t.Errorf("got %v", err)
		}
		talk(t, addr).until(s, func(n Counters) bool { return n.IdleKicks == 1 })
	})
}

func TestShutdownFinishesWhatHasArrived(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := startServer(t, o)
		idle, busy := talk(t, addr), talk(t, addr)
		idle.ask("version\r\n", "VERSION")
		value := strings.Repeat("v", 100_000)
		busy.ask("set big 0 0 100000\r\n"+value+"\r\n", "STORED")
		const gets = 500
		if _, err := busy.Write([]byte(strings.Repeat("get big\r\n", gets))); err != nil {
			t.Fatal(err)
		}
		if _, err := busy.r.ReadByte(); err != nil { // it is at work
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(ctx) }()
		n, err := io.Copy(io.Discard, busy.r)
		if want := int64(gets*(len("VALUE big 0 100000\r\n")+len(value)+len("\r\nEND\r\n"))) - 1; err != nil || n != want {
			t.Errorf("read %d bytes, want %d: %v", n, want, err)
		}
		if _, err := idle.r.ReadByte(); err != io.EOF {
			t.Errorf("idle connection: %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := net.Dial("tcp", addr); err == nil {
			t.Error("still accepts")
		}
		if err := s.Shutdown(ctx); !errors.Is(err, ErrStopped) {
			t.Errorf("second shutdown: %v", err)
		}
	})
}

func TestShutdownDoesNotWaitForever(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := startServer(t, o)
		c := talk(t, addr)
		c.ask("set big 0 0 100000\r\n"+strings.Repeat("v", 100_000)+"\r\n", "STORED")
		c.Write([]byte(strings.Repeat("get big\r\n", 1000)))
		c.r.ReadByte()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// An operator's word that does not come to its end, such as a reload whose file cannot be read, does not hold up a shutdown
// for ever; it is told that the word is still at work.
func TestShutdownDoesNotWaitForErrands(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		begun, end := make(chan struct{}), make(chan struct{})
		o.Operator.Reload = func() error {
			close(begun)
			<-end
			return nil
		}
		s, addr := startServer(t, o)
		if _, err := talk(t, addr).Write([]byte("reload\r\n")); err != nil {
			t.Fatal(err)
		}
		<-begun
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		err := s.Shutdown(ctx)
		if !errors.Is(err, ErrErrands) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(end)
		s.errands.Wait()
	})
}

func TestPortInUse(t *testing.T) {
	_, addr := startServer(t, Options{})
	second := newServer(t, Options{Listen: []Listener{{Address: "127.0.0.1:0"}, {Address: addr}}})
	if err := second.Start(); !AddrInUse(err) || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v", err)
	}
	if got := second.Addrs(); len(got) != 0 {
		t.Errorf("still listens on %v", got)
	}
}

func TestSeveralAddresses(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.Listen = []Listener{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0"}}
		s, _ := startServer(t, o)
		talk(t, s.Addrs()[0].String()).ask("set a 0 0 1\r\nx\r\n", "STORED")
		if got := talk(t, s.Addrs()[1].String()).ask("get a\r\n", "END"); !strings.Contains(got, "VALUE a") {
			t.Errorf("got %q", got)
		}
	})
}

func TestAddressOfOneFamily(t *testing.T) {
	s, _ := startServer(t, Options{Listen: []Listener{{Address: "0.0.0.0:0"}}})
	if got := s.Addrs()[0].String(); !strings.HasPrefix(got, "0.0.0.0:") {
		t.Errorf("listens on %s", got)
	}
}

// TestStressManyClients mixes short and long commands of many clients, each on keys of its own, so that every answer is known.
func TestStressManyClients(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := startServer(t, o)
		const clients, rounds = 20, 100
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				c := talk(t, addr)
				for round := range rounds {
					size := (i*rounds + round) * 17 % 150_000
					value := strings.Repeat(string(rune('a'+round%26)), size)
					key := fmt.Sprintf("k%d-%d", i, round%7)
					want := fmt.Sprintf("STORED\r\nVALUE %s 0 %d\r\n%s\r\nEND\r\n", key, size, value)
					in := fmt.Sprintf("set %s 0 0 %d\r\n%s\r\nget %s\r\n", key, size, value, key)
					got := make([]byte, len(want))
					if _, err := c.Write([]byte(in)); err != nil {
						t.Error(err)
						return
					}
					if _, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
						t.Errorf("client %d, round %d: %v, %s", i, round, err, shorten(got))
						return
					}
					if round%10 == 0 {
						c.ask("stats\r\n", "END")
						c.ask("stats conns\r\n", "END")
					}
				}
			})
		}
		wg.Wait()
		talk(t, addr).until(s, func(n Counters) bool { return n.GetHits == clients*rounds && n.CmdSet == clients*rounds })
	})
}
