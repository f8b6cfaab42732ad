package server

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"swordfish/normalizer"
	"swordfish/store"
)

// path is a common way through a session: bytes in, bytes out. It can be taken again and again.
type path struct {
	name string
	in   []byte
	ops  int  // keys asked for, or commands
	miss bool // each time on another key of a route, so that each opens a lease; the key is where KEYKEY stands
}

// paths returns a server with items and the common ways to ask for them.
func paths(t testing.TB) (*client, []path) {
	t.Helper()
	st := newStore(t, store.Options{})
	ids, err := st.SetRoutes([]store.Route{{Name: "chr", KeyPrint: 1, QueryPrint: 1, Fresh: 3600, Stale: 60, Negative: 10}})
	if err != nil {
		t.Fatal(err)
	}
	table, err := normalizer.Compile([]normalizer.Route{{ID: uint16(ids[0]), Name: "chr", Lower: []string{"os", "browser"},
		Key: "chr|country={country}|dev={dev:int}|os={os}|browser={browser}|cat={cat}|w={w:int}|h={h:int?}"}})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, newServer(t, Options{Store: st, Routes: table}))
	const route = "chr|os=ios|country=IN|dev=812|browser=safari|cat=mobile|h=896|w=414"
	value := strings.Repeat("v", 100)
	c.ask("set " + route + " 0 0 100\r\n" + value + "\r\nset n 0 0 1\r\n1\r\nset small 5 0 5\r\nhello\r\nms Zm9v 1 b\r\nx\r\nms meta 1\r\nx\r\n")
	var plain []string
	var mget strings.Builder
	for i := range 100 {
		plain = append(plain, fmt.Sprintf("key:%020d", i))
		c.ask("set " + plain[i] + " 0 0 100\r\n" + value + "\r\n")
		mget.WriteString(" " + plain[i])
	}
	key := plain[7]
	each := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, plain[i])
		}
		return b.String()
	}
	var all []path
	text := func(name, in string, ops int) {
		all = append(all, path{name, []byte(in), ops, strings.Contains(in, "KEYKEY")})
	}
	binary := func(name, in string, ops int) { all = append(all, path{name, packets(t, []byte(in)), ops, false}) }

	text("text/get/hit", "get "+key+"\r\n", 1)
	text("text/get/miss", "get x"+key+"\r\n", 1)
	text("text/get/pipeline=64", each(64, "get %s\r\n"), 64)
	text("text/get/keys=100", "get"+mget.String()+"\r\n", 100)
	text("text/get/mixed", "get small miss "+route+" n miss\r\n", 5)
	text("text/gets/hit", "gets "+key+"\r\n", 1)
	text("text/gat/hit", "gat 100 "+key+"\r\n", 1)
	text("text/set/value=100", "set "+key+" 0 0 100\r\n"+value+"\r\n", 1)
	text("text/set/value=5", "set small 5 100 5\r\nhello\r\n", 1)
	text("text/set/noreply", "set small 0 0 5 noreply\r\nhello\r\n", 1)
	text("text/add/held", "add small 0 0 1\r\nx\r\n", 1)
	text("text/cas/wrong", "cas small 0 0 1 1\r\nx\r\n", 1)
	text("text/delete+set", "delete small\r\nset small 0 0 1\r\nx\r\n", 2)
	text("text/delete/miss", "delete miss\r\n", 1)
	text("text/incr", "incr n 1\r\n", 1)
	text("text/touch", "touch small 100\r\n", 1)
	text("text/refused", "foo\r\n", 1)
	text("route/get/hit", "get "+route+"\r\n", 1)
	text("route/get/pipeline=64", strings.Repeat("get "+route+"\r\n", 64), 64)
	text("route/get/miss", "get chr|os=KEYKEY|country=IN|dev=812|browser=safari|cat=mobile|w=414\r\n", 1)
	text("route/set/value=100", "set "+route+" 0 0 100\r\n"+value+"\r\n", 1)

	text("meta/mg/hit", "mg "+key+" v\r\n", 1)
	text("meta/mg/miss", "mg x"+key+" v\r\n", 1)
	text("meta/mg/pipeline=64", each(64, "mg %s k f v\r\n"), 64)
	text("meta/mg/flags", "mg "+key+" v k t c f s h O123\r\n", 1)
	text("meta/mg/access", "mg meta l v\r\n", 1)
	text("meta/mg/base64", "mg Zm9v b k v\r\n", 1)
	text("meta/mg/touch", "mg "+key+" T100 v\r\n", 1)
	text("meta/mg/recache", "mg "+key+" R1000 v\r\n", 1)
	text("meta/mg/quiet", "mg miss q v\r\nmg small q v\r\nmn\r\n", 3)
	text("meta/mg/route", "mg "+route+" v k\r\n", 1)
	text("meta/ms/value=100", "ms "+key+" 100\r\n"+value+"\r\n", 1)
	text("meta/ms/flags", "ms small 5 F7 T100 c\r\nhello\r\n", 1)
	text("meta/ms/held", "ms small 5 ME\r\nhello\r\n", 1)
	text("meta/ms/route", "ms "+route+" 100\r\n"+value+"\r\n", 1)
	text("meta/md+ms", "md small q\r\nms small 5\r\nhello\r\n", 2)
	text("meta/md/invalidate", "md meta I\r\n", 1)
	text("meta/ma", "ma n v t c\r\n", 1)
	text("meta/ma/miss", "ma miss\r\n", 1)
	text("meta/me", "me small\r\n", 1)
	text("meta/mn", "mn\r\n", 1)

	set := " value=" + value + " flags=0 exptime=0"
	binary("binary/get/hit", "get key="+key, 1)
	binary("binary/get/miss", "get key=x"+key, 1)
	binary("binary/getk/hit", "getk key="+key, 1)
	binary("binary/getq/hit", "getq key="+key, 1)
	binary("binary/getq/miss", "getq key=x"+key, 1)
	binary("binary/getkq/batch=100+noop", each(100, "getkq key=%s\n")+"noop", 100)
	binary("binary/getk/route", "getk key="+route, 1)
	binary("binary/set/value=100", "set key="+key+set, 1)
	binary("binary/setq/value=100", "setq key="+key+set, 1)
	binary("binary/setq/batch=20+noop", each(20, "setq key=%s"+set+"\n")+"noop", 20)
	binary("binary/set/route", "set key="+route+set, 1)
	binary("binary/add/held", "add key=small value=x flags=0 exptime=0", 1)
	binary("binary/set/wrong", "set key=small value=x flags=0 exptime=0 cas=1", 1)
	binary("binary/delete+set", "delete key=small\nset key=small value=hello flags=0 exptime=0", 2)
	binary("binary/incr", "incr key=n delta=1 initial=0 exptime=0", 1)
	binary("binary/delete+incr", "delete key=n\nincr key=n delta=1 initial=0 exptime=0", 2)
	binary("binary/touch", "touch key=small exptime=100", 1)
	binary("binary/gat/hit", "gat key="+key+" exptime=100", 1)
	binary("binary/noop", "noop", 1)
	binary("binary/version", "version", 1)
	return c, all
}

// take goes one way once.
func (p *path) take(c *client, out []byte, n int) bool {
	if p.miss {
		at := bytes.Index(p.in, []byte("os=")) + 3
		for i := 5; i >= 0; i, n = i-1, n/10 {
			p.in[at+i] = byte('0' + n%10)
		}
	}
	used, _, did := c.session.run(c.w, p.in, out[:0])
	return used == len(p.in) && did == starved
}

// other returns a client of the same server whose session has not begun, as binary and text need one each.
func (c *client) other() *client { return newClient(c.t, c.w.srv) }

func TestCommonPathsDoNotAllocate(t *testing.T) {
	c, all := paths(t)
	out := make([]byte, 0, highWater)
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			c := c.other()
			n := 0
			if allocs := testing.AllocsPerRun(200, func() {
				n++
				c.w.begin()
				if !p.take(c, out, n) {
					t.Fatal("not run")
				}
				c.w.end()
			}); allocs != 0 {
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}
