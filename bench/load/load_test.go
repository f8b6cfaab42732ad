package load

import (
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// TestRunAgainstMemcached asks a real server in each way, shortly.
func TestRunAgainstMemcached(t *testing.T) {
	addr := testenv.Memcached(t)
	const keys = 2000
	v, err := ParseSizes("10-5000")
	if err != nil {
		t.Fatal(err)
	}
	base := Load{
		Keys: Keys{Size: 24}, Values: v, Objects: keys, Conns: 5, Pipeline: 1, Multiget: 1,
		Sequence: func(seed uint64) Sequence { return Uniform(keys, seed) },
	}
	if err := Fill(&base, addr, keys, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*Load)
	}{
		{"pipeline 1", func(*Load) {}},
		{"pipeline 16", func(l *Load) { l.Pipeline = 16 }},
		{"mget 100", func(l *Load) { l.Multiget = 100 }},
		{"sets", func(l *Load) { l.Sets = 0.5; l.Pipeline = 8 }},
		{"rate", func(l *Load) { l.Rate = 2000 }},
		{"misses", func(l *Load) { l.Offset = keys }},
		{"misses filled", func(l *Load) { l.Offset = 2 * keys; l.Fill = true; l.Multiget = 3 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := base
			tc.change(&l)
			edges := 0
			r, err := Run(&l, addr, []int{-1, -1}, 50*time.Millisecond, 200*time.Millisecond, func() { edges++ }, func() { edges++ })
			if err != nil {
				t.Fatal(err)
			}
			if r.Operations == 0 || r.Operations != r.Hits+r.Misses+r.Sets || edges != 2 || r.Latency.TotalCount() == 0 {
				t.Errorf("got %+v", r)
			}
			if (r.Misses > 0) != (l.Offset > 0) || (r.Sets > 0) != (l.Sets > 0 || l.Fill) {
				t.Errorf("got %d misses and %d sets of %d", r.Misses, r.Sets, r.Operations)
			}
			if got := float64(r.Operations) / r.Elapsed.Seconds(); l.Rate > 0 && (got < l.Rate/2 || got > l.Rate*2) {
				t.Errorf("got %.0f a second, want %v", got, l.Rate)
			}
			if l.Rate == 0 && l.Offset == 0 && r.Checked == 0 {
				t.Error("no value was compared")
			}
		})
	}
}

func TestLoadCheck(t *testing.T) {
	good := Load{Keys: Keys{Size: 24}, Objects: 1, Conns: 1, Pipeline: 1, Multiget: 1}
	for _, tc := range []struct {
		name   string
		change func(*Load)
		ok     bool
	}{
		{"good", func(*Load) {}, true},
		{"no connections", func(l *Load) { l.Conns = 0 }, false},
		{"more sets than all", func(l *Load) { l.Sets = 1.5 }, false},
		{"rate with a pipeline", func(l *Load) { l.Rate, l.Pipeline = 1, 2 }, false},
		{"short keys", func(l *Load) { l.Keys.Size = 5 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := good
			tc.change(&l)
			if err := l.Check(); (err == nil) != tc.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}
