package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"swordfish/bench/load"
	"swordfish/bench/target"
)

// footprint is what one server needed for one set of items. Bytes.
type footprint struct {
	Case    string  `json:"case"`
	Server  string  `json:"server"`
	Items   int     `json:"items"`
	Empty   int64   `json:"rss_empty"`
	Full    int64   `json:"rss_full"`
	PerKey  float64 `json:"rss_per_key"` // Full / Items
	Seconds float64 `json:"load_seconds"`
}

// little is what a server needed before it had anything to do, and full of 100-byte values that are all different.
type little struct {
	Server string `json:"server"`
	Memory int    `json:"megabytes"` // -m
	Empty  int64  `json:"rss_empty"`
	Full   int64  `json:"rss_full,omitempty"` // 0: not measured
	Items  int    `json:"items,omitempty"`
}

// memory loads ours, ours again and the peer with the same items, one server at a time, and measures their RSS.
func (b *bench) memory() error {
	keys := 5_000_000
	if b.options.custom.keys != 0 {
		keys = b.options.custom.keys
	}
	again := b.ours
	again.Name = "ours again"
	servers := []target.Spec{b.ours, again}
	if b.peer.Path != "" {
		servers = append(servers, b.peer)
	}
	for _, data := range []struct {
		name, size string
		distinct   int
	}{
		{"300-byte values, 50,000 distinct", "300", 50_000},
		{"100-byte values, all distinct", "100", 0},
		{"32-byte values, all distinct", "32", 0},
	} {
		l, err := footprintLoad(data.size, data.distinct, keys)
		if err != nil {
			return err
		}
		for _, spec := range servers {
			if time.Now().After(b.deadline) {
				return errLimit
			}
			if err := b.footprint(data.name, spec, load.Fill, l, keys); err != nil {
				return err
			}
		}
	}
	if b.peer.Path == "" {
		return b.littles(servers[:1])
	}
	if err := b.loaded(servers[:2], keys); err != nil {
		return err
	}
	return b.littles([]target.Spec{b.ours, b.peer})
}

func footprintLoad(size string, distinct, keys int) (*load.Load, error) {
	values, err := load.ParseSizes(size)
	values.Distinct = distinct
	return &load.Load{
		Keys: load.Keys{Size: 40}, Values: values, Objects: keys, Conns: 50, Pipeline: 16, Multiget: 1,
		Sequence: func(seed uint64) load.Sequence { return load.Uniform(keys, seed) },
	}, err
}

// loaded measures servers that have loaded their items from the peer, through a route.
func (b *bench) loaded(servers []target.Spec, keys int) error {
	l, err := footprintLoad("300", 50_000, keys)
	if err != nil {
		return err
	}
	peer := b.peer
	peer.Name, peer.Memory, peer.CPUs = "source", max(peer.Memory, 4096), b.clientCPU
	source, err := b.start(peer)
	if err != nil {
		return err
	}
	defer source.Stop()
	if err := fill(source, l, keys); err != nil {
		return err
	}
	file := filepath.Join(os.TempDir(), fmt.Sprintf("fishbench-loading-%d.yaml", os.Getpid()))
	if err := writeLoading(file, source.Addr); err != nil {
		return err
	}
	defer os.Remove(file)
	for _, spec := range servers {
		if time.Now().After(b.deadline) {
			return errLimit
		}
		spec.Args = append(strings.Fields(b.options.oursArgs), "--config="+file)
		if err := b.footprint("300-byte values, 50,000 distinct, loaded by a route", spec, load.Demand, l, keys); err != nil {
			return err
		}
	}
	return nil
}

// littles measures servers with little memory, and empty ones.
func (b *bench) littles(servers []target.Spec) error {
	for _, megabytes := range []int{64, 1024} {
		for _, spec := range servers {
			spec.Memory = megabytes
			f, err := b.little(spec)
			if err != nil {
				return err
			}
			progress("-m %-5d %-10s %d MB empty, %d MB full", f.Memory, f.Server, f.Empty>>20, f.Full>>20)
			b.report.Little = append(b.report.Little, f)
		}
	}
	return nil
}

func (b *bench) little(spec target.Spec) (f little, err error) {
	if time.Now().After(b.deadline) {
		return f, errLimit
	}
	s, err := b.start(spec)
	if err != nil {
		return f, err
	}
	defer s.Stop()
	f = little{Server: spec.Name, Memory: spec.Memory}
	if f.Empty, err = settledRSS(s); err != nil || spec.Memory > 64 { // loading more takes long and tells no more
		return f, err
	}
	keys := spec.Memory << 14 // more than twice what fits
	l, err := footprintLoad("100", 0, keys)
	if err != nil {
		return f, err
	}
	if err := load.Fill(l, s.Addr, keys, 5*time.Minute); err != nil {
		return f, err
	}
	if f.Full, err = settledRSS(s); err != nil {
		return f, err
	}
	f.Items, err = number(s, "curr_items")
	return f, err
}

// footprint measures one server with keys items that come to it in that way, and adds it to the report.
func (b *bench) footprint(name string, spec target.Spec, way loadWay, l *load.Load, keys int) error {
	spec.Memory = max(spec.Memory, 4096)
	f, err := b.footprintOf(spec, way, l, keys)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f.Case = name
	progress("%-52s %-10s %7.1f bytes a key", f.Case, f.Server, f.PerKey)
	b.report.Memory = append(b.report.Memory, f)
	return nil
}

func (b *bench) footprintOf(spec target.Spec, way loadWay, l *load.Load, keys int) (footprint, error) {
	s, err := b.start(spec)
	if err != nil {
		return footprint{}, err
	}
	defer s.Stop()
	f := footprint{Server: spec.Name, Items: keys}
	if f.Empty, err = s.RSS(); err != nil {
		return footprint{}, err
	}
	began := time.Now()
	if err := fillBy(way, s, l, keys); err != nil {
		return footprint{}, err
	}
	f.Seconds = time.Since(began).Seconds()
	if f.Full, err = settledRSS(s); err != nil {
		return footprint{}, err
	}
	f.PerKey = float64(f.Full) / float64(keys)
	// The items must be there, and right.
	return f, b.measure(loadCase{load: *l}, s, new(figures))
}

// settledRSS waits until the server's memory stays the same for two seconds (hash tables grow and garbage is returned in
// the background), at most 30.
func settledRSS(s *target.Server) (int64, error) {
	last, err := s.RSS()
	quiet := 0
	for range 60 {
		if err != nil || quiet == 4 {
			break
		}
		time.Sleep(500 * time.Millisecond)
		var now int64
		if now, err = s.RSS(); math.Abs(float64(now-last)) > 0.002*float64(last) {
			quiet = 0
		} else {
			quiet++
		}
		last = now
	}
	return last, err
}
