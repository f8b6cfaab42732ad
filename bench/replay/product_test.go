package replay

import (
	"math"
	"testing"
)

func TestReplayWithRoomForAll(t *testing.T) {
	ids := zipf(500, 5000)
	out, err := Equal{Memory: 2 << 20, Value: 100, Seed: 1}.Replay(ids)
	if err != nil {
		t.Fatal(err)
	}
	want := distinct(ids)
	if out.Misses != want || out.Held != want || out.Shards != 1 {
		t.Errorf("got %+v, want %d misses and objects in one shard", out, want)
	}
}

func TestReplayChecksItsOptions(t *testing.T) {
	for _, e := range []Equal{{Memory: 1 << 20, Value: 7}, {Memory: 1 << 20, Value: ValueMost + 1}, {Memory: 1 << 10, Value: 100}} {
		if _, err := e.Replay(run(0, 1)); err == nil {
			t.Errorf("%+v: no error", e)
		}
	}
}

// TestFitHoldsWhatItIsAskedFor also compares the store with the model of its policy: they miss nearly the same.
func TestFitHoldsWhatItIsAskedFor(t *testing.T) {
	const objects = 10_000
	ids := zipf(objects, 30_000)
	for _, n := range []int{700} {
		tries := 0
		e, err := Fit(ids, n, 1, func(Equal, Outcome) { tries++ })
		if err != nil {
			t.Fatal(err)
		}
		c, err := Compare(e, ids, objects)
		if err != nil {
			t.Fatal(err)
		}
		if off := math.Abs(float64(c.Held)/float64(n) - 1); off > 0.05 || tries == 0 {
			t.Errorf("after %d tries %+v holds %d, want about %d", tries, e, c.Held, n)
		}
		if r := float64(c.Misses) / float64(c.Ideal); r < 0.97 || r > 1.05 {
			t.Errorf("of %d: the store missed %d, the model of its policy %d", n, c.Misses, c.Ideal)
		}
		if c.Misses >= c.Segmented || c.Segmented >= c.LRU {
			t.Errorf("of %d: missed %d, segmented LRU %d, LRU %d", n, c.Misses, c.Segmented, c.LRU)
		}
	}
}

// TestScan: keys that are asked for once push a working set out of an LRU and not out of the store.
func TestScan(t *testing.T) {
	e := Equal{Memory: 1 << 20, Value: 160, Seed: 1}
	full, err := e.Replay(run(0, 10_000))
	if err != nil {
		t.Fatal(err)
	}
	for _, rate := range []int{0, 4} {
		s := Scan{Capacity: full.Held, Working: 0.5, Length: 3, Rate: rate, Seed: 1}
		p, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		got := s.Run(p)
		if err := p.Close(); err != nil || p.Err() != nil {
			t.Fatal(err, p.Err())
		}
		if got.Before.Ratio() < 0.99 || got.Lost() > 0.03 {
			t.Errorf("rate %d: %+v, lost %.3f", rate, got, got.Lost())
		}
		if rate > 0 && got.During.Asked != 3*full.Held/rate || rate == 0 && got.During.Asked != 0 {
			t.Errorf("rate %d: %d asked during the scan", rate, got.During.Asked)
		}
		// A scan at once leaves an LRU nothing: of as many requests as there are objects 63 % are for one not asked for yet.
		if lost := s.Run(NewLRU(s.Objects(), full.Held)).Lost(); rate == 0 && math.Abs(lost-0.632) > 0.03 || lost < 0.4 {
			t.Errorf("rate %d: lru lost %.3f", rate, lost)
		}
	}
}
