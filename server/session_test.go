package server

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"swordfish/normalizer"
	"swordfish/store"
)

// routed returns a server with one route, whose store knows it.
func routed(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Store == nil {
		o.Store = newStore(t, store.Options{})
	}
	ids, err := o.Store.SetRoutes([]store.Route{{Name: "chr", KeyPrint: 1, QueryPrint: 1, Fresh: 60, Stale: 60, Negative: 10}})
	if err != nil {
		t.Fatal(err)
	}
	o.Routes, err = normalizer.Compile([]normalizer.Route{{ID: uint16(ids[0]), Name: "chr", Key: "chr|a={a}|b={b}", Lower: []string{"a"}}})
	if err != nil {
		t.Fatal(err)
	}
	return newServer(t, o)
}

func TestRouteKeysMeetInOneItem(t *testing.T) {
	c := newClient(t, routed(t, Options{}))
	for _, step := range []struct{ ask, want string }{
		{"set chr|b=2|a=X 3 0 1\r\nv\r\n", "STORED\r\n"},
		{"get chr|a=x|b=2 chr|b=2|a=X plain\r\n", "VALUE chr|a=x|b=2 3 1\r\nv\r\nVALUE chr|b=2|a=X 3 1\r\nv\r\nEND\r\n"},
		{"append chr|a=x|b=2 0 0 1\r\nw\r\n", "STORED\r\n"},
		{"gat 0 chr|b=2|a=x\r\n", "VALUE chr|b=2|a=x 3 2\r\nvw\r\nEND\r\n"},
		{"touch chr|b=2|a=x 0\r\n", "TOUCHED\r\n"},
		{"delete chr|b=2|a=x\r\n", "DELETED\r\n"},
		{"get chr|a=x|b=2\r\n", "END\r\n"},
		{"set chr|a=x|b=2 0 0 1\r\n5\r\n", "STORED\r\n"},
		{"incr chr|b=2|a=x 1\r\n", "6\r\n"},
		{"set chr|a=x|c=2 0 0 1\r\np\r\n", "STORED\r\n"}, // matches no pattern
		{"get chr|c=2|a=x chr|a=x|c=2\r\n", "VALUE chr|a=x|c=2 0 1\r\np\r\nEND\r\n"},
	} {
		if got := c.ask(step.ask); got != step.want {
			t.Fatalf("%q: got %q, want %q", step.ask, got, step.want)
		}
	}
}

func TestCASNumbers(t *testing.T) {
	c := newClient(t, newServer(t, Options{}))
	unique := func(key string) (n uint64) {
		reply := c.ask("gets " + key + "\r\n")
		if _, err := fmt.Sscanf(reply, "VALUE "+key+" 0 1 %d", &n); err != nil {
			t.Fatalf("gets: %q", reply)
		}
		return n
	}
	c.ask("set a 0 0 1\r\n1\r\nset b 0 0 1\r\n1\r\n")
	first := unique("a")
	if first == 0 || first == unique("b") || first != unique("a") {
		t.Fatal("the number belongs to an item and stays")
	}
	if got := c.ask(fmt.Sprintf("cas a 0 0 1 %d\r\n2\r\ncas a 0 0 1 %d\r\n3\r\ncas a 0 0 1 %d noreply\r\n4\r\nget a\r\n", first, first, first)); got != "STORED\r\nEXISTS\r\nVALUE a 0 1\r\n2\r\nEND\r\n" {
		t.Fatalf("got %q", got)
	}
	for _, change := range []string{"set a 0 0 1\r\n1\r\n", "incr a 1\r\n", "append a 0 0 0\r\n\r\n"} {
		before := unique("a")
		c.ask(change)
		if after := unique("a"); after <= before {
			t.Errorf("after %q the number is %d, before %d", change, after, before)
		}
	}
	before := unique("a")
	c.ask("touch a 100\r\ngat 100 a\r\n")
	if unique("a") != before {
		t.Error("touch changes the number")
	}
}

// Whatever a client sends, its connection holds a bounded number of bytes.
func TestConnectionMemoryIsBounded(t *testing.T) {
	value := strings.Repeat("v", 5_000)
	var keys, sets strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&keys, " key-%d", i)
		fmt.Fprintf(&sets, "set key-%d 0 0 1\r\nx\r\n", i)
	}
	for _, test := range []struct {
		name    string
		in      string
		held    int // bytes of input between two reads
		replies int // how many lines END there must be
		ended   bool
	}{
		{"10,000 pipelined gets", strings.Repeat("get big\r\n", 10_000), keepInput, 10_000, false},
		{"10,000 pipelined commands in one write", strings.Repeat("set a 0 0 1\r\nx\r\nget a\r\n", 5_000), keepInput, 5_000, false},
		{"one get of 10,000 large values", "get" + strings.Repeat(" big", 10_000) + "\r\n", keepInput, 1, false},
		{"one get of 20,000 keys", "get" + strings.Repeat(keys.String(), 10) + "\r\n", keepInput, 1, false},
		{"a list of keys without end", "get " + strings.Repeat("abcdefgh ", 1_000_000), keepInput, 0, false},
		{"a key without end", "get " + strings.Repeat("x", 10_000_000), keepInput, 0, false},
		{"a line without end", strings.Repeat("x", 10_000_000), keepInput, 0, true},
		{"a value too large", "set a 0 0 9000000\r\n" + strings.Repeat("x", 9_000_000) + "\r\nget a\r\n", keepInput, 1, false},
		{"the largest length", "set a 0 0 2147483645\r\n" + strings.Repeat("x", 9_000_000), keepInput, 0, false},
		{"announced and not sent", "set a 0 0 1000000\r\nx", keepInput, 0, false},
		{"half a value", "set a 0 0 1000000\r\n" + strings.Repeat("x", 200_000), 1_000_100 + 16<<10, 0, false},
		{"a little of a value", "set a 0 0 1000000\r\n" + strings.Repeat("x", 4_800), 16*5_000 + 16<<10, 0, false},
		{"a value in time", "set a 0 0 1000000\r\n" + strings.Repeat("x", 1_000_000) + "\r\nget a\r\n", 1_000_100 + 16<<10, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, Options{})
			playSession(t, s, []byte(sets.String()+"set big 0 0 5000\r\n"+value+"\r\n"), 100_000)
			c := newClient(t, s)
			c.send([]byte(test.in))
			if c.ended != test.ended {
				t.Errorf("ended: %v", c.ended)
			}
			if got := bytes.Count(c.out, []byte("END\r\n")); got != test.replies {
				t.Errorf("%d answers, want %d; the last bytes are %q", got, test.replies, c.out[max(0, len(c.out)-100):])
			}
			if c.maxHeld > test.held {
				t.Errorf("held %d bytes of input, want at most %d", c.maxHeld, test.held)
			}
			if most := highWater + 1_000_000 + 300; c.maxOut > most || !strings.Contains(test.in, "1000000") && c.maxOut > highWater+5_100 {
				t.Errorf("held %d bytes of output", c.maxOut)
			}
			if strings.HasSuffix(test.in, "\r\n") && cap(c.input.held) > keepInput {
				t.Errorf("keeps %d bytes of input buffer", cap(c.input.held))
			}
		})
	}
}

func TestEveryKeyOfALongGetIsAnswered(t *testing.T) {
	s := newServer(t, Options{})
	var sets, want, get strings.Builder
	get.WriteString("get")
	for i := range 30_000 {
		key := fmt.Sprintf("k%d", i)
		get.WriteString(" " + key)
		if i%3 != 0 {
			fmt.Fprintf(&sets, "set %s %d 0 %d\r\n%s\r\n", key, i, len(key), key)
			fmt.Fprintf(&want, "VALUE %s %d %d\r\n%s\r\n", key, i, len(key), key)
		}
	}
	get.WriteString("\r\n")
	want.WriteString("END\r\n")
	playSession(t, s, []byte(sets.String()), 1<<20)
	for _, size := range []int{1 << 20, 5000, 333} {
		if got := playSession(t, s, []byte(get.String()), size); string(got) != want.String() {
			t.Fatalf("in pieces of %d: %d bytes, want %d", size, len(got), want.Len())
		}
	}
}

// Values larger than what is left of the reply buffer are asked for twice; that must not show.
func TestLargeValuesAreCountedAndTouchedOnce(t *testing.T) {
	s := newServer(t, Options{})
	value := strings.Repeat("v", 300_000)
	c := newClient(t, s)
	c.ask("set big 0 0 300000\r\n" + value + "\r\n")
	c = newClient(t, s)
	want := "VALUE big 0 300000\r\n" + value + "\r\nEND\r\n"
	if got := c.ask("get big\r\n"); got != want {
		t.Fatalf("get: %d bytes", len(got))
	}
	c = newClient(t, s)
	if got := c.ask("gat -1 big\r\n"); got != want {
		t.Fatalf("gat: %d bytes", len(got))
	}
	if got := c.ask("get big\r\n"); got != "END\r\n" {
		t.Fatalf("after gat -1: %d bytes", len(got))
	}
	if n := s.Stats().Counters; n.CmdGet != 2 || n.GetHits != 1 || n.CmdTouch != 1 || n.TouchHits != 1 {
		t.Errorf("counted %+v", n)
	}
}
