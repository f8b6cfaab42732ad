package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"swordfish/protocol"
)

// startUDP starts a server that answers datagrams, one at a time, and returns it with the addresses of TCP and UDP.
func startUDP(t testing.TB, o Options) (s *Server, tcp, udp string) {
	t.Helper()
	if o.UDP == nil {
		o.UDP = []string{"127.0.0.1:0"}
	}
	if o.Workers == 0 {
		o.Workers = 1
	}
	s, tcp = startServer(t, o)
	return s, tcp, s.UDPAddrs()[0].String()
}

// datagrams is a client's socket.
type datagrams struct {
	t testing.TB
	*net.UDPConn
	id uint16 // of the last request
}

func sendTo(t testing.TB, addr string) *datagrams {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return &datagrams{t, c.(*net.UDPConn), 0x1100}
}

// send sends commands with a header and returns the id in it.
func (c *datagrams) send(commands string) uint16 {
	c.t.Helper()
	c.id++
	head := binary.BigEndian.AppendUint16(nil, c.id)
	c.raw(string(head) + "\x00\x00\x00\x01\x00\x00" + commands)
	return c.id
}

func (c *datagrams) raw(datagram string) {
	c.t.Helper()
	if _, err := c.Write([]byte(datagram)); err != nil {
		c.t.Fatal(err)
	}
}

// rest says mn and returns the datagrams that come before its answer: a server that takes datagrams one at a time has
// answered all others by then.
func (c *datagrams) rest() (before []string) {
	c.t.Helper()
	last := c.send("mn\r\n")
	buf := make([]byte, 65536)
	for {
		n, err := c.Read(buf)
		if err != nil {
			c.t.Fatalf("%v after %q", err, before)
		}
		if n < protocol.FrameHeader {
			c.t.Fatalf("a datagram of %d bytes", n)
		}
		if binary.BigEndian.Uint16(buf) == last {
			if string(buf[protocol.FrameHeader:n]) != "MN\r\n" {
				c.t.Fatalf("mn: %q", buf[:n])
			}
			return before
		}
		before = append(before, string(buf[:n]))
	}
}

// ask sends commands and returns the messages of the answer.
func (c *datagrams) ask(commands string) (messages []string) {
	c.t.Helper()
	id := c.send(commands)
	message, next, total := "", 0, 0
	for i, d := range c.rest() {
		head := [4]uint16{}
		for j := range head {
			head[j] = binary.BigEndian.Uint16([]byte(d[2*j:]))
		}
		if total == 0 {
			total = int(head[2])
		}
		if head[0] != id || int(head[1]) != next || int(head[2]) != total || head[3] != 0 || len(d) > 1400 {
			c.t.Fatalf("datagram %d of %d bytes begins with %x", i, len(d), d[:8])
		}
		message += d[8:]
		if next++; next == total {
			messages = append(messages, message)
			message, next, total = "", 0, 0
		}
	}
	if total != 0 {
		c.t.Fatalf("%d of %d datagrams", next, total)
	}
	return messages
}

// request is a binary request.
func request(opcode byte, key, extras, value string) string {
	p := []byte{0x80, opcode, 0, byte(len(key)), byte(len(extras)), 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(p[8:], uint32(len(key)+len(extras)+len(value)))
	return string(p) + extras + key + value
}

// Commands are answered as memcached answers them, to the byte and the datagram. Left out are what it answers with a header
// alone (quit, and what it does not find in a quiet or an earlier place) and after what it does not recover: half a value, and
// one that is too large.
func TestUDPLikeMemcached(t *testing.T) {
	_, _, ours := startUDP(t, Options{})
	port := freeUDP(t)
	oracle(t, "-U", port)
	a, b := sendTo(t, ours), sendTo(t, "127.0.0.1:"+port)
	eight := strings.Repeat("\x00", 8)
	for _, said := range []string{
		"set a 0 0 3\r\nfoo\r\n", "get a\r\n", "get nobody\r\n", "gat 0 a\r\n", "add a 0 0 1\r\nx\r\n", "append a 0 0 1\r\nx\r\n", "delete nobody\r\n",
		"set n 0 0 1\r\n5\r\n", "incr n 7\r\n", "decr n 1\r\n", "incr a 1\r\n", "touch n 0\r\n", "set big 1 0 5000\r\n" + strings.Repeat("v", 5000) + "\r\n",
		"get big\r\n", "set fit 0 0 1366\r\n" + strings.Repeat("v", 1366) + "\r\n", "get fit\r\n", "set over 0 0 1367\r\n" + strings.Repeat("v", 1367) + "\r\n",
		"get over\r\n", "mg a v\r\n", "mg nobody v\r\n", "mg nobody v q\r\n", "ms m 2 T0\r\nab\r\n", "mn\r\n", "me nobody\r\n", "md m q\r\n", "md nobody q\r\n",
		"set q 0 0 1 noreply\r\nx\r\n", "get q\r\n", "delete q noreply\r\n", "get q\r\n", "version\r\n", "version\nversion\n", "bogus\r\n", "\r\n", "verbosity 0\r\n",
		"get a\r\nget n\r\nmn\r\nset z 0 0 1\r\nz\r\n", "set z 0 0 2\r\ntoo long\r\n", "shutdown\r\n", "refresh_certs\r\n", "stats sizes\r\n", "flush_all\r\n", "get a\r\n",
		"lru_crawler crawl all\r\n", "cache_memlimit x\r\n", "stats noreply\r\n", "mg " + strings.Repeat("k", 251) + " v\r\n",
		request(0x01, "b", eight, "val"), request(0x00, "b", "", ""), request(0x0c, "b", "", ""), request(0x00, "nobody", "", ""),
		request(0x09, "b", "", "") + request(0x09, "nobody", "", "") + request(0x0d, "b", "", "") + request(0x0a, "", "", ""), request(0x0a, "", "", ""),
		request(0x05, "c", "\x00\x00\x00\x00\x00\x00\x00\x01"+eight+"\x00\x00\x00\x00", ""), request(0x04, "b", "", ""), request(0x99, "", "", ""),
		request(0x0b, "", "", ""), request(0x21, "PLAIN", "", "\x00a\x00b"), request(0x07, "", "", "") + request(0x0a, "", "", ""), request(0x0a, "", "", "") + "version\r\n",
		"version\r\n" + request(0x0a, "", "", ""), "gets nobody\r\n",
	} {
		idA, idB := a.send(said), b.send(said)
		got, want := a.rest(), b.rest()
		for i := range got {
			got[i] = masked(got[i])
		}
		for i := range want {
			want[i] = masked(want[i])
		}
		if idA != idB || !slices.Equal(got, want) {
			t.Errorf("%q\ngot  %q\nwant %q", shorten([]byte(said)), got, want)
		}
	}
}

// masked blanks the CAS of a binary reply.
func masked(datagram string) string {
	b := []byte(datagram)
	for at := protocol.FrameHeader; len(b) >= at+24 && b[at] == 0x81; at += 24 + int(binary.BigEndian.Uint32(b[at+8:])) {
		clear(b[at+16 : at+24])
	}
	return string(b)
}

// freeUDP returns a port that was free for UDP a moment ago.
func freeUDP(t testing.TB) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return fmt.Sprint(c.LocalAddr().(*net.UDPAddr).Port)
}

// All that a get of several keys finds is one message, as memcached's doc/protocol.txt has it: memcached itself sends one for
// each key, and an empty one for some that it does not find.
func TestUDPMultiget(t *testing.T) {
	_, tcp, udp := startUDP(t, Options{})
	c, plain := sendTo(t, udp), talk(t, tcp)
	var keys, want strings.Builder
	for i := range 100 {
		value := strings.Repeat(string(rune('a'+i%26)), i*7)
		plain.ask(fmt.Sprintf("set k%d 0 0 %d\r\n%s\r\n", i, len(value), value), "STORED")
		fmt.Fprintf(&keys, " absent%d k%d", i, i)
		fmt.Fprintf(&want, "VALUE k%d 0 %d\r\n%s\r\n", i, len(value), value)
	}
	want.WriteString("END\r\n")
	if got := c.ask("get" + keys.String() + "\r\n"); len(got) != 1 || got[0] != want.String() {
		t.Errorf("got %d messages: %s", len(got), shorten([]byte(strings.Join(got, "|"))))
	}
	// A line that is longer than other commands may have, and more output than a connection may have waiting.
	plain.ask("set wide 0 0 30000\r\n"+strings.Repeat("w", 30000)+"\r\n", "STORED")
	one := "VALUE wide 0 30000\r\n" + strings.Repeat("w", 30000) + "\r\n"
	if got := c.ask("get" + strings.Repeat(" wide absent", 4) + strings.Repeat(" absent", 5000) + "\r\n"); len(got) != 1 || got[0] != strings.Repeat(one, 4)+"END\r\n" {
		t.Errorf("got %d messages: %s", len(got), shorten([]byte(strings.Join(got, "|"))))
	}
}

func TestUDPDatagramsWithoutAnswer(t *testing.T) {
	s, tcp, udp := startUDP(t, Options{Workers: 1}) // which counts a datagram before it takes the next
	c := sendTo(t, udp)
	for name, datagram := range map[string]string{
		"nothing":             "",
		"cut header":          "\x00\x01\x00\x00",
		"header alone":        "\x00\x01\x00\x00\x00\x01\x00\x00",
		"first of two":        "\x00\x01\x00\x00\x00\x02\x00\x00version\r\n",
		"of none":             "\x00\x01\x00\x00\x00\x00\x00\x00version\r\n",
		"line without an end": "\x00\x01\x00\x00\x00\x01\x00\x00version",
		"value cut short":     "\x00\x01\x00\x00\x00\x01\x00\x00set cut 0 0 5\r\nhel",
		"value without end":   "\x00\x01\x00\x00\x00\x01\x00\x00set cut 0 0 5\r\nhello",
		"packet cut short":    "\x00\x01\x00\x00\x00\x01\x00\x00" + request(0x01, "cut", strings.Repeat("\x00", 8), "val")[:30],
		"too long a line":     "\x00\x01\x00\x00\x00\x01\x00\x00" + strings.Repeat("x", 5000),
		"no method":           "\x00\x01\x00\x00\x00\x01\x00\x00GET / HTTP/1.1\r\n",
		"quit":                "\x00\x01\x00\x00\x00\x01\x00\x00quit\r\nversion\r\n",
	} {
		c.raw(datagram)
		if got := c.rest(); len(got) > 0 { // what comes next is answered as if nothing had been
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got := talk(t, tcp).ask("get cut\r\n", "END"); got != "END\r\n" {
		t.Errorf("half a value was stored: %q", got)
	}
	// Of those above the first five have no frame around commands.
	if n := s.Stats().Counters; n.BytesRead == 0 || n.BytesWritten == 0 || n.UDPIgnored != 5 || n.UDPReceived <= 12 || n.UDPUnsent != 0 {
		t.Errorf("bytes read %d, written %d; datagrams %d, ignored %d, unsent %d", n.BytesRead, n.BytesWritten, n.UDPReceived, n.UDPIgnored, n.UDPUnsent)
	}
}

func TestUDPRefusesWhatHasNoEnd(t *testing.T) {
	p := newPKI(t)
	o := p.options(t, nil)
	o.AdminWords = WordsAny
	_, _, udp := startUDP(t, o)
	c := sendTo(t, udp)
	c.ask("set a 0 0 1\r\nx\r\n")
	for said, want := range map[string]string{
		"watch\r\n":                        "CLIENT_ERROR not over UDP, use TCP\r\n",
		"watch connevents\r\nversion\r\n":  "CLIENT_ERROR not over UDP, use TCP\r\n|VERSION 1.6.45\r\n",
		"lru_crawler metadump all\r\n":     "CLIENT_ERROR not over UDP, use TCP\r\n",
		"lru_crawler mgdump all\r\n":       "CLIENT_ERROR not over UDP, use TCP\r\n",
		"reload\r\n":                       "CLIENT_ERROR not over UDP, use TCP\r\n",
		"help\r\n":                         "CLIENT_ERROR not over UDP, use TCP\r\n",
		"log_level debug\r\n":              "CLIENT_ERROR not over UDP, use TCP\r\n",
		"invalidate x noreply\r\nmn\r\n":   "MN\r\n",
		"refresh_certs\r\nrefresh_certs\n": "OK\r\n|OK\r\n",
		"stats cachedump 1 0\r\n":          "ITEM a [1 b; 0 s]\r\nEND\r\n",
	} {
		if got := strings.Join(c.ask(said), "|"); got != want {
			t.Errorf("%q: got %q, want %q", said, got, want)
		}
	}
}

// With -A a datagram ends the server, and is not answered.
func TestUDPShutdownLikeMemcached(t *testing.T) {
	for _, graceful := range []bool{false, true} {
		said := map[bool]string{false: "shutdown\r\n", true: "shutdown graceful\r\n"}[graceful]
		asked := make(chan bool, 1)
		_, _, ours := startUDP(t, Options{OnShutdown: func(graceful bool) { asked <- graceful }})
		c := sendTo(t, ours)
		c.send(said)
		if got := c.rest(); len(got) > 0 {
			t.Errorf("%q: answered %q", said, got)
		}
		if got := <-asked; got != graceful {
			t.Errorf("%q: graceful is %v", said, got)
		}
		port := freeUDP(t)
		other := dial(t, oracle(t, "-U", port, "-A"))
		defer other.Close()
		memcached := sendTo(t, "127.0.0.1:"+port)
		memcached.send(said)
		if n, err := other.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q: memcached goes on: %d bytes, %v", said, n, err)
		}
		_ = memcached.SetReadDeadline(time.Now()) // what it sent before it ended is there
		if n, err := memcached.Read(make([]byte, 1)); err == nil {
			t.Errorf("%q: memcached answered with %d bytes", said, n)
		}
	}
}

// A datagram cannot ask for more than a bounded answer, and what is answered is well formed.
func TestUDPAnswersAreBounded(t *testing.T) {
	s, tcp, udp := startUDP(t, Options{})
	talk(t, tcp).ask("set big 0 0 100000\r\n"+strings.Repeat("v", 100_000)+"\r\n", "STORED")
	for name, commands := range map[string]string{
		"one get":  "get" + strings.Repeat(" big", 10_000) + "\r\n",
		"many":     strings.Repeat("get big\r\n", 5000),
		"metas":    strings.Repeat("mg big v\r\n", 5000),
		"packets":  strings.Repeat(request(0x00, "big", "", ""), 1000),
		"and more": strings.Repeat("get big big big big\r\n", 2000),
	} {
		before := s.Stats().Counters.BytesWritten
		c := sendTo(t, udp)
		c.send(commands)
		// Not all of it arrives; the end of it is known by a question from elsewhere.
		sendTo(t, udp).rest()
		if sent := s.Stats().Counters.BytesWritten - before; sent < maxReplies || sent > maxReplies+maxReplies/4 {
			t.Errorf("%s: %d bytes sent", name, sent)
		}
	}
}

// quietUDP returns a reader that is not started, of a server of one's own, and where it sends to.
func quietUDP(t testing.TB) (r *udpReader, sent *[]string) {
	t.Helper()
	s := newServer(t, Options{UDP: []string{"127.0.0.1:0"}, Workers: 1, Listen: []Listener{}})
	if err := s.udp.bind(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.udp.close)
	r, sent = s.udp.readers[0], new([]string)
	r.write = func(datagram []byte, _ netip.AddrPort) (int, error) {
		*sent = append(*sent, string(datagram))
		return len(datagram), nil
	}
	return r, sent
}

const udpHead = "\x00\x07\x00\x00\x00\x01\x00\x00"

// An answer that is cut is still well formed.
func TestUDPCutAnswer(t *testing.T) {
	r, sent := quietUDP(t)
	const size = 100_000
	r.answer([]byte(udpHead+fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", size, strings.Repeat("v", size))), netip.AddrPort{})
	*sent = nil
	r.answer([]byte(udpHead+"get"+strings.Repeat(" big", 10_000)+"\r\n"), netip.AddrPort{})
	var all strings.Builder
	for seq, d := range *sent {
		if want := fmt.Sprintf("%04x%04x%04x%04x", 7, seq, len(*sent), 0); fmt.Sprintf("%x", d[:8]) != want {
			t.Fatalf("datagram %d begins with %x, want %s", seq, d[:8], want)
		}
		all.WriteString(d[8:])
	}
	one := fmt.Sprintf("VALUE big 0 %d\r\n%s\r\n", size, strings.Repeat("v", size))
	if n := maxReplies/len(one) + 1; all.String() != strings.Repeat(one, n)+"END\r\n" {
		t.Errorf("got %d bytes, want %d: %s", all.Len(), n*len(one)+5, shorten([]byte(all.String())))
	}
	if cap(r.message) > 2*highWater || cap(r.out) > 2*highWater {
		t.Errorf("%d and %d bytes are kept", cap(r.message), cap(r.out))
	}
	*sent = nil
	r.answer([]byte(udpHead+"mn\r\n"), netip.AddrPort{})
	if len(*sent) != 1 || (*sent)[0] != udpHead+"MN\r\n" {
		t.Errorf("the next datagram: %q", *sent)
	}
}

func TestUDPDoesNotAllocate(t *testing.T) {
	r, _ := quietUDP(t)
	r.write = func(datagram []byte, _ netip.AddrPort) (int, error) { return len(datagram), nil }
	from := netip.MustParseAddrPort("127.0.0.1:9")
	r.answer([]byte(udpHead+"set a 0 0 100\r\n"+strings.Repeat("v", 100)+"\r\n"), from)
	for _, commands := range []string{"get a\r\n", "get a b a\r\n", "mg a v\r\n", request(0x00, "a", "", "")} {
		datagram := []byte(udpHead + commands)
		if n := testing.AllocsPerRun(100, func() { r.answer(datagram, from) }); n != 0 {
			t.Errorf("%q: %v allocations", commands, n)
		}
	}
}

// Two servers that were made to answer each other would never end: what comes from a server's port gets no answer.
func TestUDPNoQuarrel(t *testing.T) {
	s, _, udp := startUDP(t, Options{UDP: []string{"127.0.0.1:0"}, Workers: 1})
	port := s.UDPAddrs()[0].(*net.UDPAddr).Port
	forged, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: port}, s.UDPAddrs()[0].(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer forged.Close()
	if _, err := forged.Write([]byte(udpHead + "bogus\r\nset a 0 0 1\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	c := sendTo(t, udp)
	if got := strings.Join(c.ask("get a\r\n"), "|"); got != "END\r\n" {
		t.Errorf("it was obeyed: %q", got)
	}
	if n := s.Stats().Counters.UDPIgnored; n != 1 {
		t.Errorf("%d datagrams ignored, want 1", n)
	}
	r := &udpReader{port: 11211}
	for port, want := range map[uint16]bool{0: true, 7: true, 19: true, 1023: true, 1024: false, 11210: false, 11211: true, 65535: false} {
		if r.quarrel(port) != want {
			t.Errorf("port %d: %v", port, !want)
		}
	}
}

func TestUDPStatsLikeMemcached(t *testing.T) {
	port := freeUDP(t)
	memcached := oracle(t, "-U", port, "-t", "3")
	s, tcp, udp := startUDP(t, Options{Workers: 3})
	ours, theirs := talk(t, tcp), talk(t, memcached)
	talk(t, tcp).ask("version\r\n", "VERSION") // as one asked memcached for its version, and is there still
	curr := func(c *conversation) string {
		_, values := statNames(t, c.ask("stats\r\n", "END"))
		return values["curr_connections"]
	}
	for range 1000 { // until memcached has noticed that the one that tried whether it runs has gone
		if curr(theirs) == curr(ours) {
			break
		}
	}
	if got, want := curr(ours), curr(theirs); got != want || got != "5" {
		t.Errorf("curr_connections is %s, want %s", got, want)
	}
	_, got := statNames(t, ours.ask("stats settings\r\n", "END"))
	_, want := statNames(t, theirs.ask("stats settings\r\n", "END"))
	if got["num_threads_per_udp"] != want["num_threads_per_udp"] {
		t.Errorf("num_threads_per_udp is %s, want %s", got["num_threads_per_udp"], want["num_threads_per_udp"])
	}
	// The lines of the UDP readers: their names in order, the numbers left out, and their values.
	lines := func(c *conversation, addr string) (lines []string) {
		for line := range strings.Lines(c.ask("stats conns\r\n", "END")) {
			_, rest, found := strings.Cut(line, ":")
			if rest = strings.ReplaceAll(rest, addr, "HERE"); found && (strings.HasPrefix(rest, "UDP") || strings.Contains(rest, "udp:")) {
				lines = append(lines, rest)
			}
		}
		return lines
	}
	a, b := lines(ours, udp), lines(theirs, "127.0.0.1:"+port)
	if len(a) != 6 || !slices.Equal(a, b) {
		t.Errorf("got  %q\nwant %q", a, b)
	}
	if n := s.Stats(); n.Connections != 5 || n.TotalConnections != 5 {
		t.Errorf("%d connections, %d in all", n.Connections, n.TotalConnections)
	}
	// With several addresses each has one reader.
	two, _, _ := startUDP(t, Options{Workers: 3, UDP: []string{"127.0.0.1:0", "[::1]:0"}})
	if n := two.Stats().Connections; n != 2 {
		t.Errorf("%d connections with two addresses", n)
	}
	if got := strings.Join(sendTo(t, two.UDPAddrs()[1].String()).ask("mn\r\n"), "|"); got != "MN\r\n" {
		t.Errorf("over IPv6: %q", got)
	}
}

func TestUDPAlone(t *testing.T) {
	s := newServer(t, Options{UDP: []string{"127.0.0.1:0"}, Listen: []Listener{}, Workers: 2})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if got := s.Addrs(); len(got) != 0 {
		t.Errorf("listens on %v", got)
	}
	second := newServer(t, Options{UDP: []string{s.UDPAddrs()[0].String()}})
	if err := second.Start(); !AddrInUse(err) || !strings.Contains(err.Error(), "UDP "+s.UDPAddrs()[0].String()) {
		t.Errorf("an address in use: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if c, err := net.ListenPacket("udp", s.UDPAddrs()[0].String()); err != nil {
		t.Errorf("the address is still taken: %v", err)
	} else {
		c.Close()
	}
	if n := s.Stats().Connections; n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestUDPStress(t *testing.T) {
	s, tcp, udp := startUDP(t, Options{Workers: 4})
	const clients, rounds = 8, 300
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c := sendTo(t, udp)
			buf := make([]byte, 2000)
			for round := range rounds {
				want := fmt.Sprintf("VALUE k%d 0 4\r\n%04d\r\nEND\r\n", i, round)
				c.send(fmt.Sprintf("set k%d 0 0 4 noreply\r\n%04d\r\nget k%d\r\n", i, round, i))
				n, err := c.Read(buf)
				if err != nil || string(buf[8:n]) != want {
					t.Errorf("client %d, round %d: %v, %q", i, round, err, buf[:n])
					return
				}
				if round%50 == 0 {
					c.send("stats conns\r\n")
					if _, err := c.Read(buf); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	talk(t, tcp).until(s, func(n Counters) bool { return n.GetHits == clients*rounds && n.CmdSet == clients*rounds })
}

// Nobody can log in over UDP, so the two exclude each other.
func TestUDPWithUsers(t *testing.T) {
	users := usersOf(t, TextUsers, "user:password")
	s := newServer(t, Options{UDP: []string{"127.0.0.1:0"}, Users: users})
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "UDP and authentication exclude each other") {
		t.Errorf("got %v", err)
		s.Shutdown(context.Background())
	}
}

// FuzzUDP gives datagrams to a reader: it must go on, answer within bounds, and answer the next datagram as if nothing had been.
func FuzzUDP(f *testing.F) {
	for _, said := range []string{"get a\r\n", "set a 0 0 1\r\nx\r\nget a a a\r\nmn\r\n", "set a 0 0 9\r\nx", "stats cachedump 1 0\r\nquit\r\nmn\r\n", "watch\r\n",
		request(0x09, "a", "", "") + request(0x10, "", "", ""), request(0x07, "", "", ""), "gat 0 " + strings.Repeat("a ", 2000) + "\r\n", "x"} {
		f.Add([]byte(udpHead + said))
	}
	f.Add([]byte("\x00"))
	r, sent := quietUDP(f)
	f.Fuzz(func(t *testing.T, datagram []byte) {
		*sent = (*sent)[:0]
		r.answer(datagram, netip.AddrPort{})
		total := 0
		for _, d := range *sent {
			total += len(d)
		}
		if total > 3*maxReplies {
			t.Errorf("%d bytes of answer", total)
		}
		*sent = (*sent)[:0]
		r.answer([]byte(udpHead+"mn\r\n"), netip.AddrPort{})
		if len(*sent) != 1 || (*sent)[0] != udpHead+"MN\r\n" {
			t.Errorf("then: %q", *sent)
		}
	})
}
