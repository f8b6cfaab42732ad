package main

import (
	"flag"
	"time"
)

// options are the flags, as given.
type options struct {
	ours, peer         string
	oursArgs, peerArgs string
	suite, only, out   string
	pairs              int
	warm, window       time.Duration
	limit              time.Duration
	fresh, plain       bool
	profile            bool
	serverCPU          string
	clientCPU          string
	memory, threads    int
	draw               string
	custom             custom
}

// custom are the flags of the suite one.
type custom struct {
	conns, pipeline, multiget, keys, keySize, distinct int
	sets, rate                                         float64
	sizes, dist, protocol                              string
	fill, miss                                         bool
}

// complete sets what was left out to what the suite takes.
func (o *options) complete() {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.suite == "threads" {
		// Two threads and their client share whatever CPUs there are.
		if o.threads == 0 {
			o.threads = 2
		}
		if !given["server-cpu"] {
			o.serverCPU = ""
		}
		if !given["client-cpu"] {
			o.clientCPU = ""
		}
	}
	o.threads = max(o.threads, 1)
	thorough := o.suite == "record" || o.suite == "threads" || o.suite == "tls"
	if o.pairs == 0 {
		o.pairs = 5
		if thorough {
			o.pairs = 11
		}
	}
	if o.window == 0 {
		o.window = time.Second
		if thorough {
			o.window = 2 * time.Second
		}
	}
}
