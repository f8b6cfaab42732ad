package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"swordfish/store"
)

// bare is a client's socket without a Go connection around it, so that the heap shows what the server's side takes.
type bare int

// crowd connects n sockets.
func crowd(t *testing.T, addr string, n int) []bare {
	t.Helper()
	at := netip.MustParseAddrPort(addr)
	var all []bare
	t.Cleanup(func() {
		for _, c := range all {
			_ = unix.Close(int(c)) // again, if the test has
		}
	})
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bare(fd))
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
			t.Fatal(err)
		}
		wait := unix.Timeval{Sec: 60}
		for _, opt := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, opt, &wait); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

func (c bare) send(t *testing.T, data []byte) {
	t.Helper()
	for len(data) > 0 {
		n, err := unix.Write(int(c), data)
		switch err {
		case nil:
			data = data[n:]
		case unix.EINTR:
		default:
			t.Fatal(err)
		}
	}
}

// want reads exactly this answer.
func (c bare) want(t *testing.T, answer string) {
	t.Helper()
	got := make([]byte, len(answer))
	for at := 0; at < len(got); {
		n, err := unix.Read(int(c), got[at:])
		switch {
		case err == unix.EINTR:
		case err != nil || n == 0:
			t.Fatalf("got %q, then %v", got[:at], err)
		default:
			at += n
		}
	}
	if string(got) != answer {
		t.Fatalf("got %q, want %q", got, answer)
	}
}

// limited is a server with one worker and the smallest shares that there are for items of this size.
func limited(t *testing.T, o Options, maxItem int) (*Server, string) {
	t.Helper()
	o.Store = newStore(t, store.Options{Memory: 64 << 20, MaxItem: maxItem})
	o.Workers, o.MaxConns, o.ConnMemory = 1, 5000, 1
	return startServer(t, o)
}

// TestIdleConnectionsAreSmall: a connection that waits for its client takes 2 KiB at most beside the kernel's, whatever it did
// before.
func TestIdleConnectionsAreSmall(t *testing.T) {
	s, addr := limited(t, Options{}, 1<<20)
	const n = 2000
	value := strings.Repeat("v", 20_000)
	before := heap()
	all := crowd(t, addr, n)
	used := func(what string) {
		t.Helper()
		each := (heap() - before - s.Stats().InputSpare) / n
		t.Logf("%s: %d bytes each", what, each)
		if each > 2<<10 {
			t.Errorf("%s: %d bytes each", what, each)
		}
	}
	for _, c := range all {
		c.send(t, []byte("get none\r\n"))
		c.want(t, "END\r\n")
	}
	used("after a get")
	for _, cut := range []int{5, 1000, 10_000} { // in pieces, so that the beginning had to be held
		in := fmt.Appendf(nil, "set k 0 0 %d\r\n%s\r\n", len(value), value)
		for some := range slices.Chunk(all, 100) {
			for _, c := range some {
				c.send(t, in[:cut])
			}
			for _, c := range some {
				c.send(t, in[cut:])
				c.want(t, "STORED\r\n")
			}
		}
		used(fmt.Sprintf("after a set cut at %d", cut))
	}
	answer := fmt.Sprintf("VALUE k 0 %d\r\n%s\r\nEND\r\n", len(value), value)
	for _, c := range all {
		c.send(t, []byte("get k\r\n"))
		c.want(t, answer)
	}
	used("after a get of 20 KB")
	if st := s.Stats(); st.InputBytes != 0 || st.ReplyBytes != 0 {
		t.Errorf("%d bytes of input and %d of replies are counted", st.InputBytes, st.ReplyBytes)
	}
}

// TestOneByteAtATime: clients that send a set byte by byte, all of them at once, take little more than they sent, and the
// others do not notice.
func TestOneByteAtATime(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		_, addr := limited(t, o, 1<<20)
		n, most := 2000, int64(4<<10)
		if o.Net {
			n, most = 500, 24<<10 // a read buffer each, and replies
		}
		other := talk(t, addr)
		other.ask("set small 0 0 1\r\nx\r\n", "STORED")
		before := heap()
		all := crowd(t, addr, n)
		in := []byte("set slow 0 0 20\r\n" + strings.Repeat("v", 20) + "\r\n")
		for i := range in {
			for _, c := range all {
				c.send(t, in[i:i+1])
			}
			if got := other.ask("get small\r\n", "END"); got != "VALUE small 0 1\r\nx\r\nEND\r\n" {
				t.Fatalf("beside them: %q", got)
			}
			if i == len(in)/2 {
				if each := (heap() - before) / int64(n); each > most {
					t.Errorf("%d bytes each", each)
				}
			}
		}
		for _, c := range all {
			c.want(t, "STORED\r\n")
		}
	})
}

// TestStalledValuesAreBounded: clients that announce values, send a part and stall do not take more memory than there is for
// input, cost nobody a stored item, and hold up neither small commands nor, for longer than it takes to see that they stall,
// large ones.
func TestStalledValuesAreBounded(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := limited(t, o, 1<<20)
		const n = 100
		other := talk(t, addr)
		for i := range 500 {
			other.ask(fmt.Sprintf("set kept%d 0 0 1000\r\n%s\r\n", i, strings.Repeat("k", 1000)), "STORED")
		}
		before := heap()
		value := strings.Repeat("v", 1_000_000)
		part := []byte("set stalled 0 0 1000000\r\n" + value[:150_000])
		all := crowd(t, addr, n)
		for _, c := range all {
			c.send(t, part)
		}
		other.until(s, func(n Counters) bool { return n.InputPauses > 0 })
		if grown, most := heap()-before, int64(s.workers[0].buffers.limit+n*(24<<10)+3<<20); grown > most {
			t.Errorf("%d bytes of heap, want at most %d", grown, most)
		}
		began := time.Now()
		large := talk(t, addr)
		if got := large.ask("set large 0 0 1000000\r\n"+value+"\r\n", "STORED"); got != "STORED\r\n" {
			t.Errorf("a client in time got %q", got)
		}
		t.Logf("a set of 1 MB took %v beside %d clients that stalled", time.Since(began), n)
		for i := range 500 {
			if got := other.ask(fmt.Sprintf("get kept%d\r\n", i), "END"); !strings.HasPrefix(got, "VALUE") {
				t.Fatalf("kept%d is gone", i)
			}
		}
		other.until(s, func(c Counters) bool { return c.InputDrops > 0 })
		for _, c := range all {
			_ = unix.Close(int(c))
		}
		for s.Stats().InputBytes > 0 || s.Stats().Connections > 2 {
			other.ask("version\r\n", "VERSION")
		}
	})
}

// TestManyLargeSetsAtOnce: more clients than there is memory for send values at once; none gets an error.
func TestManyLargeSetsAtOnce(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := limited(t, o, 1<<20)
		const n = 40
		done := make(chan string, n)
		for i := range n {
			c := dial(t, addr)
			defer c.Close()
			go func() {
				in := fmt.Appendf(nil, "set k%d 0 0 1000000\r\n%s\r\n", i, bytes.Repeat([]byte{byte('a' + i%26)}, 1_000_000))
				if _, err := c.Write(in); err != nil {
					done <- err.Error()
					return
				}
				answer, err := bufio.NewReader(c).ReadString('\n')
				done <- fmt.Sprintf("%q %v", answer, err)
			}()
		}
		for range n {
			if got := <-done; got != `"STORED\r\n" <nil>` {
				t.Errorf("got %s", got)
			}
		}
		other := talk(t, addr)
		for s.Stats().InputBytes > 0 {
			other.ask("version\r\n", "VERSION")
		}
		st := s.Stats().Counters
		if t.Logf("%d pauses", st.InputPauses); st.InputDrops != 0 {
			t.Errorf("%d were closed", st.InputDrops)
		}
	})
}

// TestDropInTheMiddleOfASet: a client that goes away leaves nothing behind, neither item nor memory.
func TestDropInTheMiddleOfASet(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := limited(t, o, 1<<20)
		other := talk(t, addr)
		value := strings.Repeat("v", 500_000)
		other.ask("set old 0 0 3\r\nold\r\n", "STORED")
		for _, head := range []string{"set old 0 0 500000\r\n", "set new 0 0 500000\r\n", "ms new 500000\r\n"} {
			for _, sent := range []int{0, 1, 5_000, 70_000, 499_999} {
				for _, how := range []string{"close", "reset", "half"} {
					c := dial(t, addr)
					if _, err := c.Write([]byte(head + value[:sent])); err != nil {
						t.Fatal(err)
					}
					switch how {
					case "reset":
						c.SetLinger(0)
					case "half":
						c.CloseWrite()
						if _, err := io.ReadAll(c); err != nil {
							t.Errorf("%q, %d bytes, %s: %v", head, sent, how, err)
						}
					}
					c.Close()
				}
			}
		}
		for st := s.Stats(); st.Connections > 1 || st.InputBytes > 0; st = s.Stats() {
			other.ask("version\r\n", "VERSION")
		}
		if got := other.ask("get old new\r\n", "END"); got != "VALUE old 0 3\r\nold\r\nEND\r\n" {
			t.Errorf("got %s", shorten([]byte(got)))
		}
	})
}

// TestWhoNeverReadsIsBounded: clients that ask for large values and read nothing hold no more than there is for replies; who
// has waited longest goes first. What they held is free again, and nobody else notices.
func TestWhoNeverReadsIsBounded(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := limited(t, o, 1<<20)
		st := s.o.Store
		limit := int64(s.workers[0].replies.limit)
		other := talk(t, addr)
		for i := range 20 { // different ones, so that each takes memory for itself
			other.ask(fmt.Sprintf("set big%d 0 0 1000000\r\n%s\r\n", i, strings.Repeat(string(rune('a'+i)), 1_000_000)), "STORED")
		}
		before := heap()
		all := crowd(t, addr, 60)
		for i, c := range all {
			c.send(t, []byte(strings.Repeat(fmt.Sprintf("get big%d\r\n", i%20), 50)))
		}
		other.until(s, func(n Counters) bool { return n.ReplyDrops > 0 })
		most := limit
		if o.Net {
			most += int64(len(all)) << 20 // a reply each is written before it is seen that the client does not take it
		}
		if held := s.Stats().ReplyBytes; held > most {
			t.Errorf("%d bytes of replies wait, want at most %d", held, most)
		}
		if grown := heap() - before; grown > most+3<<20 {
			t.Errorf("%d bytes of heap", grown)
		}
		for i := range 60 { // three times as many bytes as the limit
			if got := other.ask(fmt.Sprintf("set other 0 0 1000000\r\n%s\r\n", strings.Repeat(string(rune('A'+i)), 1_000_000)), "STORED"); got != "STORED\r\n" {
				t.Fatalf("beside them: %q", got)
			}
		}
		for _, c := range all {
			_ = unix.Close(int(c))
		}
		// The reply that this one has just read may be counted for a moment longer.
		n, asked := s.Stats(), 0
		for ; asked < 1000 && (n.Connections > 1 || n.ReplyBytes != 0); asked++ {
			other.ask("version\r\n", "VERSION")
			n = s.Stats()
		}
		if n.Connections > 1 || n.ReplyBytes != 0 {
			t.Errorf("%d connections and %d bytes of replies are left", n.Connections, n.ReplyBytes)
		}
		if n := st.Stats(); n.References != n.Data {
			t.Errorf("%d references to %d values", n.References, n.Data)
		}
	})
}

// TestServingDoesNotAllocate: from the socket to the socket, a request of a common kind allocates nothing.
func TestServingDoesNotAllocate(t *testing.T) {
	_, addr := limited(t, Options{}, 1<<20)
	c := crowd(t, addr, 1)[0]
	value := strings.Repeat("v", 100)
	c.send(t, []byte("set k 0 0 100\r\n"+value+"\r\n"))
	c.want(t, "STORED\r\n")
	hit := "VALUE k 0 100\r\n" + value + "\r\nEND\r\n"
	for _, test := range []struct{ name, in, want string }{
		{"get", "get k\r\n", hit},
		{"pipeline", strings.Repeat("get k\r\n", 16), strings.Repeat(hit, 16)},
		{"set", "set k 0 0 100\r\n" + value + "\r\n", "STORED\r\n"},
		{"mg", "mg k v\r\n", "VA 100\r\n" + value + "\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			const n = 2000
			in, answer := []byte(test.in), make([]byte, len(test.want))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range n {
				if _, err := unix.Write(int(c), in); err != nil {
					t.Fatal(err)
				}
				for at := 0; at < len(answer); {
					got, err := unix.Read(int(c), answer[at:])
					if err != nil && err != unix.EINTR || err == nil && got == 0 {
						t.Fatalf("%d bytes, then %v", at, err)
					}
					at += max(got, 0)
				}
			}
			runtime.ReadMemStats(&after)
			if string(answer) != test.want {
				t.Errorf("got %q", answer)
			}
			if made := after.Mallocs - before.Mallocs; made > n/20 { // others in the process allocate now and then
				t.Errorf("%d allocations for %d requests", made, n)
			}
		})
	}
}
