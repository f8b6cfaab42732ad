package main

import (
	"fmt"
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
}

// cases returns the loads of a suite.
func cases(o *options) ([]loadCase, error) {
	if o.suite == "one" {
		c, err := customCase(&o.custom)
		return []loadCase{c}, err
	}
	// 1,000,000 keys of 24 bytes with values of 100 bytes, asked for evenly: more than the CPU's caches hold.
	const keys = 1_000_000
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
	switch o.suite {
	case "quick":
	case "record":
		all = append(all,
			with("1000 connections", func(c *loadCase) { c.load.Conns = 1000 }),
			with("10 % set", func(c *loadCase) { c.load.Sets = 0.1 }),
			with("miss", func(c *loadCase) { c.load.Offset, c.misses = keys, true }),
			with("zipf 0.99", func(c *loadCase) {
				c.load.Sequence = func(seed uint64) load.Sequence { return load.Zipf(keys, 0.99, seed) }
			}),
			with("20,000 a second", func(c *loadCase) { c.load.Rate = 20_000 }),
		)
	default:
		return nil, fmt.Errorf("suite %q: want quick, record, memory or one", o.suite)
	}
	var chosen []loadCase
	for _, c := range all {
		if strings.Contains(c.name, o.only) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("suite %s has no case with %q in its name", o.suite, o.only)
	}
	return chosen, nil
}

// customCase is the load that the flags describe.
func customCase(f *custom) (loadCase, error) {
	values, err := load.ParseSizes(f.sizes)
	if err != nil {
		return loadCase{}, err
	}
	c := loadCase{
		name: fmt.Sprintf("%s, %d connections, pipeline %d, mget %d, sets %v", f.dist, f.conns, f.pipeline, f.multiget, f.sets),
		load: load.Load{
			Keys: load.Keys{Size: f.keySize}, Values: values, Objects: f.keys, Conns: f.conns, Pipeline: f.pipeline,
			Multiget: f.multiget, Sets: f.sets, Rate: f.rate, Fill: f.fill,
		},
	}
	kind, arg, _ := strings.Cut(f.dist, ":")
	switch kind {
	case "uniform":
		c.load.Sequence = func(seed uint64) load.Sequence { return load.Uniform(f.keys, seed) }
	case "zipf":
		s, err := strconv.ParseFloat(arg, 64)
		if err != nil || s < 0 || s > 10 {
			return loadCase{}, fmt.Errorf("-dist %q: want zipf:S with S from 0 to 10", f.dist)
		}
		c.load.Sequence = func(seed uint64) load.Sequence { return load.Zipf(f.keys, s, seed) }
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
	if !f.fill {
		c.filled = c.load.Objects
	}
	if f.miss {
		c.load.Offset = uint32(c.load.Objects)
	}
	c.misses = f.fill || f.miss
	return c, c.load.Check()
}
