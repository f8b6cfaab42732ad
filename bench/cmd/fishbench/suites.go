package main

import (
	"crypto/tls"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"swordfish/bench/load"
)

// loadCase is a load with a name and with the items that it finds.
type loadCase struct {
	name   string
	load   load.Load
	filled int  // ids that are loaded before
	misses bool // gets may miss
	alone  bool // both servers do not fit into the machine together: one after the other
	half   bool // an open loop at half of what the peer answered in the case that came before
	growth
}

// growth places a case on a curve; the zero value is for cases on none.
type growth struct {
	Over string `json:"over,omitempty"` // keys or connections
	At   int    `json:"at,omitempty"`   // how many
}

// cases returns the loads of a suite.
func cases(o *options) ([]loadCase, error) {
	if o.suite == "one" {
		c, err := customCase(&o.custom)
		return []loadCase{c}, err
	}
	// 1,000,000 keys of 24 bytes with values of 100 bytes, asked for evenly: more than the CPU's caches hold.
	keys := 1_000_000
	if o.custom.keys > 0 {
		keys = o.custom.keys
	}
	values, err := load.ParseSizes("100")
	if err != nil {
		return nil, err
	}
	plain := load.Load{
		Keys: load.Keys{Size: 24}, Values: values, Objects: keys, Conns: 50, Pipeline: 1, Multiget: 1,
		Sequence: func(seed uint64) load.Sequence { return load.Uniform(keys, seed) },
	}
	with := func(name string, change func(*loadCase)) loadCase {
		c := loadCase{name: name, load: plain, filled: keys}
		change(&c)
		return c
	}
	all := []loadCase{
		with("pipeline 1", func(c *loadCase) {}),
		with("pipeline 16", func(c *loadCase) { c.load.Pipeline = 16 }),
		with("mget 100", func(c *loadCase) { c.load.Multiget = 100 }),
	}
	pipeline := func(n int) func(*loadCase) { return func(c *loadCase) { c.load.Pipeline = n } }
	switch o.suite {
	case "quick":
	case "record":
		all = []loadCase{
			with("pipeline 1", pipeline(1)),
			with("half of that a second", func(c *loadCase) { c.half = true }),
			with("1000 connections", func(c *loadCase) { c.load.Conns = 1000 }),
			with("10 % set", func(c *loadCase) { c.load.Sets = 0.1 }),
			with("miss", func(c *loadCase) { c.load.Offset, c.misses = uint32(keys), true }),
			with("miss on a route", func(c *loadCase) {
				c.load.Keys = load.Keys{Size: load.PartsSize, Parts: true}
				c.load.Offset, c.misses = uint32(keys), true
				c.load.Objects = routeMisses
				c.load.Sequence = func(seed uint64) load.Sequence { return load.Uniform(routeMisses, seed) }
			}),
			with("pipeline 16", pipeline(16)),
			with("pipeline 64", pipeline(64)),
			with("mget 100", func(c *loadCase) { c.load.Multiget = 100 }),
			with("10 % set, pipeline 64", func(c *loadCase) { c.load.Sets, c.load.Pipeline = 0.1, 64 }),
			with("binary GetKQ 100", func(c *loadCase) { c.load.Protocol, c.load.Multiget = load.Binary, 100 }),
			with("meta, pipeline 64", func(c *loadCase) { c.load.Protocol, c.load.Pipeline = load.Meta, 64 }),
			with("plain long key, pipeline 64", func(c *loadCase) { c.load.Keys.Size, c.load.Pipeline = load.PartsSize, 64 }),
			with("route key, pipeline 64", func(c *loadCase) {
				c.load.Keys, c.load.Pipeline = load.Keys{Size: load.PartsSize, Parts: true}, 64
			}),
			with("zipf 0.99", func(c *loadCase) {
				c.load.Sequence = func(seed uint64) load.Sequence { return load.Zipf(keys, 0.99, seed) }
			}),
		}
	case "threads":
		all = []loadCase{
			with("pipeline 1", pipeline(1)),
			with("pipeline 16", pipeline(16)),
			with("pipeline 64", pipeline(64)),
			with("mget 100", func(c *loadCase) { c.load.Multiget = 100 }),
		}
	case "tls":
		encrypted := func(change func(*loadCase)) func(*loadCase) {
			return func(c *loadCase) {
				c.load.TLS = clientTLS()
				change(c)
			}
		}
		all = []loadCase{
			with("TLS, pipeline 1", encrypted(pipeline(1))),
			with("TLS, pipeline 16", encrypted(pipeline(16))),
			with("new session, one get", encrypted(func(c *loadCase) { c.load.Reconnect = true })),
			with("resumed session, one get", encrypted(func(c *loadCase) {
				c.load.Reconnect = true
				c.load.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			})),
		}
	case "large":
		all = nil
		for _, size := range []struct {
			name, bytes string
			objects     int
		}{{"values of 10 KiB", "10240", 20_000}, {"values of 100 KiB", "102400", 4_000}, {"values of 1 MB", "1000000", 400}} {
			sized, err := load.ParseSizes(size.bytes)
			if err != nil {
				return nil, err
			}
			few := func(c *loadCase) {
				c.load.Values, c.load.Objects, c.filled = sized, size.objects, size.objects
				c.load.Sequence = func(seed uint64) load.Sequence { return load.Uniform(size.objects, seed) }
			}
			all = append(all, with(size.name, few),
				with(size.name+", 10 % set", func(c *loadCase) { few(c); c.load.Sets = 0.1 }))
		}
	case "grow":
		all = nil
		for _, n := range []int{keys, 10 * keys, 50 * keys} {
			all = append(all, with(count(n)+" keys", func(c *loadCase) {
				c.alone, c.filled, c.load.Objects, c.load.Pipeline = true, n, n, 16
				c.load.Sequence = func(seed uint64) load.Sequence { return load.Uniform(n, seed) }
				c.growth = growth{"keys", n}
			}))
		}
		for _, n := range []int{10, 100, 1000, 10_000} {
			all = append(all, with(count(n)+" connections", func(c *loadCase) {
				c.alone, c.load.Conns = true, n
				c.growth = growth{"connections", n}
			}))
		}
	default:
		return nil, fmt.Errorf("suite %q: want quick, record, large, threads, tls, grow, memory or one", o.suite)
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-case: %w", err)
	}
	var chosen []loadCase
	for _, c := range all {
		if only.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("suite %s has no case whose name matches %q", o.suite, o.only)
	}
	return chosen, nil
}

// count writes n as people say it.
func count(n int) string {
	if n >= 1_000_000 {
		return fmt.Sprintf("%g million", float64(n)/1e6)
	}
	return strconv.Itoa(n)
}

// routeMisses is how many keys of the route are asked for in vain: each is leased once, and while that load lasts the others
// who ask find the lease.
const routeMisses = 50_000

// customCase is the load that the flags describe.
func customCase(f *custom) (loadCase, error) {
	keys := f.keys
	if keys == 0 {
		keys = 1_000_000
	}
	values, err := load.ParseSizes(f.sizes)
	if err != nil {
		return loadCase{}, err
	}
	c := loadCase{
		name: fmt.Sprintf("%s, %d connections, pipeline %d, mget %d, sets %v", f.dist, f.conns, f.pipeline, f.multiget, f.sets),
		load: load.Load{
			Keys: load.Keys{Size: f.keySize}, Values: values, Objects: keys, Conns: f.conns, Pipeline: f.pipeline,
			Multiget: f.multiget, Sets: f.sets, Rate: f.rate, Fill: f.fill,
		},
	}
	kind, arg, _ := strings.Cut(f.dist, ":")
	switch kind {
	case "uniform":
		c.load.Sequence = func(seed uint64) load.Sequence { return load.Uniform(keys, seed) }
	case "zipf":
		s, err := strconv.ParseFloat(arg, 64)
		if err != nil || s < 0 || s > 10 {
			return loadCase{}, fmt.Errorf("-dist %q: want zipf:S with S from 0 to 10", f.dist)
		}
		c.load.Sequence = func(seed uint64) load.Sequence { return load.Zipf(keys, s, seed) }
	case "trace":
		trace, err := load.ReadTrace(arg)
		if err != nil {
			return loadCase{}, err
		}
		c.load.Objects = trace.Objects
		if trace.Sizes != nil {
			c.load.Values = load.SizedByID(trace.Sizes)
		}
		c.load.Sequence = func(uint64) load.Sequence { return load.Repeat(trace.IDs, 0) }
	default:
		return loadCase{}, fmt.Errorf("-dist %q: want uniform, zipf:S or trace:FILE", f.dist)
	}
	c.load.Values.Distinct = f.distinct
	switch f.protocol {
	case "text":
	case "meta":
		c.load.Protocol = load.Meta
	case "binary":
		c.load.Protocol = load.Binary
	default:
		return loadCase{}, fmt.Errorf("-protocol %q: want text, meta or binary", f.protocol)
	}
	if !f.fill {
		c.filled = c.load.Objects
	}
	if f.miss {
		c.load.Offset = uint32(c.load.Objects)
	}
	c.misses = f.fill || f.miss
	return c, c.load.Check()
}
