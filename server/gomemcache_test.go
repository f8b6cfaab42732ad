package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// gomemcache does with Go's client what the scripts in testdata/clients do with theirs.
func gomemcache(mode string, servers ...string) (string, error) {
	g := &goClient{Client: memcache.New(servers...)}
	g.Timeout = 20 * time.Second
	defer g.Close()
	if mode == "spread" {
		g.spread()
	} else {
		g.steps()
	}
	g.show("done")
	return g.out.String(), nil
}

type goClient struct {
	*memcache.Client
	out strings.Builder
}

func (g *goClient) show(step string, values ...any) {
	g.out.WriteString(step)
	for i, v := range values {
		if i == 0 {
			g.out.WriteByte(':')
		}
		if item, ok := v.(*memcache.Item); ok && item != nil {
			v = fmt.Sprintf("%q flags %d, CAS %t", shorten(item.Value), item.Flags, item.CasID > 0)
		} else if ok {
			v = "nothing"
		}
		fmt.Fprintf(&g.out, " %v;", v)
	}
	g.out.WriteByte('\n')
}

// get shows what is stored under a key.
func (g *goClient) get(step, key string) *memcache.Item {
	item, err := g.Get(key)
	g.show(step+", then", item, err)
	return item
}

func (g *goClient) text(key, value string) *memcache.Item {
	return &memcache.Item{Key: key, Value: []byte(value)}
}

func (g *goClient) spread() {
	var keys []string
	for i := range 200 {
		key := fmt.Sprintf("crc:%d", i)
		if err := g.Set(g.text(key, "value of "+key)); err != nil {
			g.show("set", err)
		}
		keys = append(keys, key)
	}
	items, err := g.GetMulti(keys)
	g.show("get", len(items), err)
	g.show("delete", g.Delete("crc:8"))
	items, err = g.GetMulti(keys)
	g.show("get", len(items), err)
	g.get("one", "crc:7")
}

func (g *goClient) steps() {
	g.show("flush", g.Set(g.text("gone", "x")), g.FlushAll())
	g.get("flush", "gone")
	g.show("ping", g.Ping())

	for _, v := range []struct {
		name  string
		value any
	}{
		{"string", "größer ☃"}, {"empty", ""}, {"int", 42}, {"float", 1.5}, {"true", true}, {"nil", nil}, {"list", []any{1, "two"}}, {"map", map[string]int{"a": 1}},
	} {
		data, err := json.Marshal(v.value)
		g.show("set "+v.name, err, g.Set(&memcache.Item{Key: v.name, Value: data, Flags: 0x10}))
		g.get(v.name, v.name)
	}
	for _, data := range [][]byte{nil, []byte("\x00\r\n\xff END\r\n"), bytes.Repeat([]byte("ab"), 400_000)} {
		key := fmt.Sprintf("bytes-%d", len(data))
		g.show("set "+key, g.Set(&memcache.Item{Key: key, Value: data, Flags: 1<<32 - 1}))
		item := g.get(key, key)
		g.show("equal", bytes.Equal(item.Value, data))
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(w, strings.Repeat("all work and no play ", 5000)) // into memory
	_ = w.Close()
	g.show("compressed", g.Set(&memcache.Item{Key: "gzip", Value: zipped.Bytes(), Flags: 2}))
	g.get("compressed", "gzip")
	g.show("too large", g.Set(&memcache.Item{Key: "int", Value: make([]byte, 2<<20)}))
	g.get("too large", "int")

	var keys []string
	for i := range 300 {
		key := fmt.Sprintf("many-%d", i)
		if err := g.Set(g.text(key, "value of "+key)); err != nil {
			g.show("set many", err)
		}
		keys = append(keys, key)
	}
	items, err := g.GetMulti(append(keys, "none"))
	g.show("get many", len(items), err, items["many-7"], items["none"])

	g.show("add", g.Add(g.text("new", "1")), g.Add(g.text("new", "2")))
	g.get("add", "new")
	g.show("replace", g.Replace(g.text("new", "3")), g.Replace(g.text("none", "3")))
	g.get("replace", "new")
	g.show("append, prepend", g.Append(g.text("new", "c")), g.Prepend(g.text("new", "a")), g.Append(g.text("none", "c")), g.Prepend(g.text("none", "a")))
	item := g.get("append, prepend", "new")
	item.Value = []byte("swapped")
	g.show("cas", g.CompareAndSwap(item), g.CompareAndSwap(item))
	g.get("cas", "new")
	g.show("delete", g.Delete("new"), g.Delete("new"), g.CompareAndSwap(item))
	g.get("delete", "new")

	for _, c := range []struct {
		from  string
		delta uint64
	}{{"5", 10}, {"99", 1}, {"18446744073709551615", 2}, {"text", 1}} {
		g.show("set "+c.from, g.Set(g.text("n", c.from)))
		up, err := g.Increment("n", c.delta)
		g.show("increment", up, err)
		down, err := g.Decrement("n", 3)
		g.show("decrement", down, err)
		down, err = g.Decrement("n", 1000)
		g.show("to the floor", down, err)
		g.get("counter", "n")
	}
	up, err := g.Increment("none", 1)
	g.show("increment nothing", up, err)

	g.show("touch", g.Touch("many-1", 1000), g.Touch("none", 1000), g.Touch("many-2", -1))
	g.get("touch", "many-2")
	item, err = g.GetAndTouch("many-3", 2000)
	g.show("get and touch", item, err)
	item, err = g.GetAndTouch("none", 2000)
	g.show("get and touch nothing", item, err)
	over := g.text("over", "x")
	for _, exptime := range []int32{-1, int32(time.Now().Unix() - 100), 3000} {
		over.Expiration = exptime
		g.show("over", g.Set(over))
		g.get("over", "over")
	}
	for _, n := range []int{249, 250, 251} {
		key := strings.Repeat("k", n)
		g.show(fmt.Sprintf("key of %d", n), g.Set(g.text(key, "x")))
		g.get(fmt.Sprintf("key of %d", n), key)
	}
	g.show("odd keys", g.Set(g.text("with blank", "x")), g.Set(g.text("schlüssel", "x")))
	g.get("odd keys", "schlüssel")
}
