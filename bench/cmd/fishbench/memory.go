package main

import (
	"fmt"
	"math"
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
	} {
		values, err := load.ParseSizes(data.size)
		if err != nil {
			return err
		}
		values.Distinct = data.distinct
		l := &load.Load{
			Keys: load.Keys{Size: 40}, Values: values, Objects: keys, Conns: 50, Pipeline: 16, Multiget: 1,
			Sequence: func(seed uint64) load.Sequence { return load.Uniform(keys, seed) },
		}
		for _, spec := range servers {
			if time.Now().After(b.deadline) {
				return errLimit
			}
			spec.Memory = max(spec.Memory, 4096)
			f, err := b.footprint(spec, l, keys)
			if err != nil {
				return fmt.Errorf("%s: %w", data.name, err)
			}
			f.Case = data.name
			progress("%-34s %-10s %7.1f bytes a key", f.Case, f.Server, f.PerKey)
			b.report.Memory = append(b.report.Memory, f)
		}
	}
	return nil
}

func (b *bench) footprint(spec target.Spec, l *load.Load, keys int) (footprint, error) {
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
	if err := fill(s, l, keys); err != nil {
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
