package server

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

// binaryTalk is a connection over which packets are asked one by one.
type binaryTalk struct {
	t    testing.TB
	conn io.ReadWriter
}

func talkBinary(t testing.TB, addr string) *binaryTalk {
	t.Helper()
	c := dial(t, addr)
	t.Cleanup(func() { c.Close() })
	return &binaryTalk{t, c}
}

// ask sends a line of packets and returns the next answer.
func (b *binaryTalk) ask(format string, args ...any) answer {
	b.t.Helper()
	if _, err := b.conn.Write(packets(b.t, fmt.Appendf(nil, format, args...))); err != nil {
		b.t.Fatal(err)
	}
	return b.read()
}

func (b *binaryTalk) read() answer {
	b.t.Helper()
	data := make([]byte, 24)
	if _, err := io.ReadFull(b.conn, data); err != nil {
		b.t.Fatal(err)
	}
	body := int(data[8])<<24 | int(data[9])<<16 | int(data[10])<<8 | int(data[11])
	data = append(data, make([]byte, body)...)
	if _, err := io.ReadFull(b.conn, data[24:]); err != nil {
		b.t.Fatal(err)
	}
	a, _, ok := cutAnswer(data)
	if !ok {
		b.t.Fatalf("answer %x", data)
	}
	return a
}

// onBoth runs f on our server and on the real one.
func onBoth(t *testing.T, f func(t *testing.T, addr string)) {
	t.Run("ours", func(t *testing.T) {
		_, addr := startServer(t, Options{})
		f(t, addr)
	})
	t.Run("memcached", func(t *testing.T) { f(t, testenv.Memcached(t)) })
}

// Every change gives an item another CAS, which its answer tells, and only the latest one is good.
func TestBinaryCAS(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		b := talkBinary(t, addr)
		last := b.ask("set key=n value=1 flags=0 exptime=0").cas
		for _, line := range []string{
			"set key=n value=2 flags=0 exptime=0", "add key=n value=3 flags=0 exptime=0", "replace key=n value=4 flags=0 exptime=0",
			"append key=n value=5", "prepend key=n value=6", "incr key=n delta=1 initial=0 exptime=0", "decr key=n delta=1 initial=0 exptime=0",
			"incr key=n delta=100000 initial=0 exptime=0",
		} {
			if got := b.ask("get key=n").cas; got != last {
				t.Fatalf("before %s: get tells %d, want %d", line, got, last)
			}
			a := b.ask("%s cas=%d", line, last)
			if a.status != 0 || a.cas == 0 || a.cas == last {
				t.Fatalf("%s: %s, CAS %d after %d", line, a.spell(), a.cas, last)
			}
			if a := b.ask("%s cas=%d", line, last); a.status != 2 {
				t.Fatalf("%s with the CAS before: %s", line, a.spell())
			}
			last = a.cas
		}
		for _, line := range []string{"touch key=n exptime=100", "gat key=n exptime=100"} {
			if a := b.ask("%s", line); a.status != 0 || a.cas != last {
				t.Fatalf("%s: %s with CAS %d, want %d", line, a.spell(), a.cas, last)
			}
		}
		if a := b.ask("delete key=n cas=%d", last); a.status != 0 || a.cas != 0 {
			t.Fatalf("delete: %s", a.spell())
		}
		if a := b.ask("incr key=n delta=1 initial=9 exptime=0"); a.cas == 0 || b.ask("get key=n").cas != a.cas {
			t.Fatalf("initial value: %s", a.spell())
		}
	})
}

func TestBinaryStats(t *testing.T) {
	_, addr := startServer(t, Options{})
	text := talk(t, addr)
	text.ask("set a 0 0 1\r\nx\r\n", "STORED")
	for _, group := range []string{"", "settings", "items", "slabs", "fish", "routes"} {
		want, _ := statNames(t, text.ask("stats "+group+"\r\n", "END"))
		b := talkBinary(t, addr)
		line := "stat opaque=7"
		if group != "" {
			line += " key=" + group
		}
		var got []string
		for a := b.ask("%s", line); len(a.key) > 0; a = b.read() {
			if a.opaque != 7 || a.status != 0 || a.cas != 0 || len(a.extras) > 0 {
				t.Fatalf("%s: %s", line, a.spell())
			}
			got = append(got, string(a.key))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("group %q\ngot  %v\nwant %v", group, got, want)
		}
	}
}

func TestBinaryFlushNotAllowed(t *testing.T) {
	_, addr := startServer(t, Options{NoFlush: true})
	b := talkBinary(t, addr)
	if a := b.ask("flushq"); a.status != 0x20 {
		t.Errorf("got %s", a.spell())
	}
}

func TestBinaryRouteKeysMeetInOneItem(t *testing.T) {
	c := newClient(t, routed(t, Options{}))
	in := packets(t, []byte("setq key=chr|b=2|a=1 value=x flags=0 exptime=0\ngetk key=chr|a=1|b=2\ngetkq key=chr|b=2|a=1\nget key=chr|a=1|b=3\n"))
	c.send(in)
	want := "getk status=0x0 cas=CAS extras=00000000 key=chr|a=1|b=2 value=x\ngetkq status=0x0 cas=CAS extras=00000000 key=chr|b=2|a=1 value=x\n" +
		"get status=0x1 value=Not\\x20found\n"
	if got := string(spellAnswers(c.out)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
