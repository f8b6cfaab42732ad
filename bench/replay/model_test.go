package replay

import (
	"math"
	"math/rand/v2"
	"testing"

	"swordfish/internal/testenv"
)

// run returns the ids from first to last.
func run(first, last uint32) (ids []uint32) {
	for id := first; id <= last; id++ {
		ids = append(ids, id)
	}
	return ids
}

func join(parts ...[]uint32) (ids []uint32) {
	for _, p := range parts {
		ids = append(ids, p...)
	}
	return ids
}

// TestModelsByHand plays sequences whose outcome was worked out on paper.
func TestModelsByHand(t *testing.T) {
	const objects = 1000
	all := map[string]func(capacity int) Model{
		"lru":       func(c int) Model { return NewLRU(objects, c) },
		"segmented": func(c int) Model { return NewSegmented(objects, c) },
		"s3fifo":    func(c int) Model { return NewGated(S3FIFO, objects, c) },
		"ours":      func(c int) Model { return NewGated(Ours, objects, c) },
	}
	for _, tc := range []struct {
		name     string
		capacity int
		before   []uint32
		hit      map[string][]uint32 // then held by model
		missed   map[string][]uint32
	}{
		{
			name: "everything fits", capacity: 10, before: join(run(0, 9), run(0, 9)),
			hit: map[string][]uint32{"lru": run(0, 9), "segmented": run(0, 9), "s3fifo": run(0, 9), "ours": run(0, 9)},
		},
		{
			name: "the oldest goes", capacity: 10, before: run(0, 10),
			hit:    map[string][]uint32{"lru": run(1, 10), "segmented": run(1, 10), "s3fifo": run(1, 10), "ours": run(1, 10)},
			missed: map[string][]uint32{"lru": {0}, "segmented": {0}, "s3fifo": {0}, "ours": {0}},
		},
		{
			name: "one hit keeps an object in lru only", capacity: 10, before: join(run(0, 9), []uint32{0}, run(10, 12)),
			hit:    map[string][]uint32{"lru": {0}},
			missed: map[string][]uint32{"lru": {1}, "segmented": {0}, "s3fifo": {0}},
		},
		{
			// The second hit takes it from COLD to WARM, the third in a row to S3-FIFO's main queue.
			name: "several hits keep it", capacity: 10, before: join(run(0, 9), []uint32{0, 0, 0}, run(10, 15)),
			hit:    map[string][]uint32{"lru": {0}, "segmented": {0}, "s3fifo": {0}},
			missed: map[string][]uint32{"lru": {1}, "segmented": {1}, "s3fifo": {1}},
		},
		{
			// WARM is more than 40 % with the fifth: object 0, its oldest, goes to COLD's head, behind what lies there.
			name: "warm overflows to cold", capacity: 10,
			before: join(run(0, 9), []uint32{0, 0, 1, 1, 2, 2, 3, 3, 4, 4}, run(10, 13)),
			hit:    map[string][]uint32{"segmented": {1, 2, 3, 4, 8, 9}},
			missed: map[string][]uint32{"segmented": {5, 6, 7, 0}},
		},
		{
			// An evicted object that comes back goes to the main queue, whose turn has not come yet.
			name: "a ghost", capacity: 10, before: join(run(0, 10), []uint32{0}, run(11, 18)),
			hit: map[string][]uint32{"s3fifo": {0}},
		},
		{
			// Object 0 earns its place in the main queue, where 2 to 5 follow and push it out. Back on probation its turn comes
			// with 17, and it stays.
			name: "what was hit once comes back with a hit", capacity: 10,
			before: join([]uint32{0, 1, 0}, run(2, 10), run(2, 6), []uint32{11, 0}, run(12, 18)),
			hit:    map[string][]uint32{"ours": {0}},
			missed: map[string][]uint32{"ours": {1, 12}},
		},
		{
			// The main queue has only object 0, since 10 was put in. Object 11 came later, so it would be kept there.
			name: "a ghost that was away for a short time", capacity: 10,
			before: join([]uint32{0, 1, 0}, run(2, 20), []uint32{11}, run(21, 30)),
			hit:    map[string][]uint32{"ours": {0, 11}},
			missed: map[string][]uint32{"ours": {12}},
		},
		{
			// Object 1 was put in before that. It is on probation again.
			name: "a ghost that was away for long", capacity: 10,
			before: join([]uint32{0, 1, 0}, run(2, 10), []uint32{1}, run(11, 19)),
			hit:    map[string][]uint32{"ours": {0}},
			missed: map[string][]uint32{"ours": {1}},
		},
		{
			// Probation holds half of 100. Object 0 is hit only before 5 % were put in, object 1 also afterwards.
			name: "a burst counts once", capacity: 100, before: join([]uint32{0, 0, 0, 1, 1}, run(2, 10), []uint32{1}, run(11, 150)),
			hit:    map[string][]uint32{"ours": {1}},
			missed: map[string][]uint32{"ours": {0}},
		},
		{
			name: "a loop larger than the cache", capacity: 99, before: join(run(0, 99), run(0, 99), run(0, 49)),
			hit:    map[string][]uint32{"lru": {49}},
			missed: map[string][]uint32{"lru": {50}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, open := range all {
				// A question changes the model, so each has its own.
				for _, want := range []bool{true, false} {
					ids := tc.missed[name]
					if want {
						ids = tc.hit[name]
					}
					for _, id := range ids {
						m := open(tc.capacity)
						Misses(m, tc.before)
						if got := m.Ask(id); got != want {
							t.Errorf("%s: object %d held: %v", name, id, got)
						}
					}
				}
			}
		})
	}
}

// zipf is a trace of objects with popularity falling as 1/rank.
func zipf(objects, requests int) []uint32 {
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, uint64(objects-1))
	ids := make([]uint32, requests)
	for i := range ids {
		ids[i] = uint32(z.Uint64())
	}
	return ids
}

func distinct(ids []uint32) int {
	seen := map[uint32]bool{}
	for _, id := range ids {
		seen[id] = true
	}
	return len(seen)
}

// TestModelsAreOfTheirSize: however they are asked, models hold what they were made for, and at their full size miss only
// what is new.
func TestModelsAreOfTheirSize(t *testing.T) {
	const objects = 3000
	ids := zipf(objects, 50_000)
	want := distinct(ids)
	for name, open := range map[string]func(capacity int) Model{
		"lru":       func(c int) Model { return NewLRU(objects, c) },
		"segmented": func(c int) Model { return NewSegmented(objects, c) },
		"s3fifo":    func(c int) Model { return NewGated(S3FIFO, objects, c) },
		"ours":      func(c int) Model { return NewGated(Ours, objects, c) },
	} {
		if got := Misses(open(objects), ids); got != want {
			t.Errorf("%s with room for all: %d misses of %d objects", name, got, want)
		}
		for _, capacity := range []int{1, 2, 7, 500} {
			m := open(capacity)
			Misses(m, ids)
			if got := held(t, m); got != capacity {
				t.Errorf("%s of %d holds %d", name, capacity, got)
			}
		}
	}
}

func held(t *testing.T, m Model) int {
	switch m := m.(type) {
	case *lru:
		return m.all.length
	case *segmented:
		return m.held()
	case *gated:
		return m.probation.length + m.main.length
	}
	t.Fatalf("a model of type %T", m)
	return 0
}

// TestSegmentedIsMemcacheds asks a real memcached the same: with as many objects it misses as often, nearly.
func TestSegmentedIsMemcacheds(t *testing.T) {
	const objects, memory = 40_000, 2
	ids := zipf(objects, 120_000)
	addr := testenv.Memcached(t, "-m", "2", "-t", "1")
	w, err := Dial(addr, WireOptions{Window: 64, Objects: objects, Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	got, err := w.Replay(ids, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	const perPage = (1 << 20) / 240 // the slab chunk of such an item
	want := Misses(NewSegmented(objects, memory*perPage), ids)
	// memcached's lists are kept by a thread of their own, which a busy machine holds up.
	if math.Abs(float64(got-want)) > float64(want)/100 {
		t.Errorf("memcached missed %d, the model %d", got, want)
	}
}
