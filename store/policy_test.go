package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// ask is a cache's client: get, and set what was missed.
func (x tester) ask(k, value string) (hit bool) {
	if x.get(0, k).ok {
		return true
	}
	x.write(Set, 0, k, value, 0)
	return false
}

// TestScanSparesTheWorkingSet: a scan of keys that are asked once, three times the cache, costs a working set that is asked
// again and again only a few of its hits.
func TestScanSparesTheWorkingSet(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20, MaxItem: 1 << 16})
	const working, scanned = 5000, 80_000
	value := func(i int) string { return digits(100, i) }
	for round := range 6 {
		for i := range working {
			x.ask(fmt.Sprint("working ", i), value(i))
		}
		for i := range 4000 { // other traffic, so that hits of different rounds are apart
			x.ask(fmt.Sprint("other ", round, " ", i), value(-i))
		}
	}
	hits, asked, next := 0, 0, 0
	for i := range scanned {
		x.ask(fmt.Sprint("scan ", i), value(i+1_000_000))
		if i%4 == 0 {
			asked++
			if x.ask(fmt.Sprint("working ", next%working), value(next%working)) {
				hits++
			}
			next++

		}
	}
	if float64(hits) < 0.97*float64(asked) {
		t.Errorf("%d hits of %d in the scan", hits, asked)
	}
	verify(t, x.Store)
}

// TestEvictedKeysComeBack: a key that is set again after its eviction goes to the main log if it was on probation, and is on
// probation with a hit if it was in the main log and had been read.
func TestEvictedKeysComeBack(t *testing.T) {
	x := newTester(t, Options{Memory: 1 << 20, MaxItem: 1 << 12})
	look := func(k string) (log int, hits byte, held bool) {
		sh := x.shardOf(testHash([]byte(k)))
		sh.mu.Lock()
		defer sh.mu.Unlock()
		slot, loc := sh.find(testHash([]byte(k)), []byte(k))
		if slot == nil {
			return 0, 0, false
		}
		log, _ = sh.place(loc)
		return log, sh.raw(loc)[1] & metaHits, true
	}
	pushed := 0
	// evict sets keys until k is out: new ones, or, to push in the main log, a circle of those that were just evicted.
	evict := func(k string, circle int) {
		t.Helper()
		for range 1_000_000 {
			if _, _, held := look(k); !held {
				return
			}
			pushed++
			i := pushed
			if circle > 0 {
				i %= circle
			}
			if _, _, held := look(fmt.Sprint("push ", i)); !held {
				x.write(Set, 0, fmt.Sprint("push ", i), digits(100, pushed), 0)
			}
		}
		t.Fatalf("%s is not evicted", k)
	}
	expect := func(when string, log int, hits byte) {
		t.Helper()
		x.write(Set, 0, "k", "v", 0)
		if l, n, _ := look("k"); l != log || n != hits {
			t.Fatalf("%s: in log %d with %d hits, want log %d with %d", when, l, n, log, hits)
		}
	}
	expect("new", probation, 0)
	evict("k", 0)
	expect("evicted on probation", mainLog, 0)
	x.get(0, "k")
	evict("k", int(x.Stats().Items)*3/2)
	expect("evicted from the main log after a read", probation, 1)
	evict("k", int(x.Stats().Items)*3/2) // the hit takes it to the main log first
	expect("evicted from the main log without a read", probation, 0)
	evict("k", 0)
	sh := x.shardOf(testHash([]byte("k")))
	sh.mu.Lock()
	for seg := sh.st.logs[mainLog].head; seg != noSegment; seg = x.p.meta[seg].next {
		x.p.meta[seg].clock = sh.inserted() // as if all of it had come only now
	}
	sh.mu.Unlock()
	expect("evicted on probation before all of the main log came", probation, 0)
}

// TestMainLogTakesWhatItWouldKeep: how long a key may have been away to go to the main log follows from how fast that turns
// over.
func TestMainLogTakesWhatItWouldKeep(t *testing.T) {
	for _, tc := range []struct {
		name      string
		returning int // of ten new keys, after how many one comes back that was evicted lately
		lasts     bool
	}{
		{"nothing comes back", 0, true},
		{"much comes back", 9, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := newTester(t, Options{Memory: 1 << 20, MaxItem: 1 << 12})
			next, items := 0, 0
			ask := func(i int) { x.ask(fmt.Sprint("key ", i), digits(100, i)) }
			for i := range 60_000 {
				if i%20 == 0 {
					items = int(x.Stats().Items)
				}
				ask(next)
				if i < 20_000 {
					ask(max(next-items/16, 0)) // late enough to count, so that the main log fills
				} else if i%10 < tc.returning {
					ask(next - items/2) // it was on probation for an eighth of the items
				}
				next++
			}
			sh := &x.shards[0]
			sh.mu.Lock()
			defer sh.mu.Unlock()
			// But for what comes back, the main log got its last more than five stores full of keys ago.
			if got := sh.lasts(4 * sh.st.items); got != tc.lasts {
				t.Errorf("away for as many keys as four stores hold: %v", got)
			}
			if !sh.lasts(sh.st.items / 10) {
				t.Error("away for a tenth of what the store holds: turned down")
			}
			if sh.lasts(100 * sh.st.items) {
				t.Error("away for longer than the store has been there: taken")
			}
		})
	}
}

// TestRecall: prints tell how a key was evicted and about how long ago, once, and only as far back as one and a half times as
// many keys as are held.
func TestRecall(t *testing.T) {
	const buckets = 4
	for _, tc := range []struct {
		name  string
		how   eviction
		since int   // others of the same bucket evicted afterwards
		items int64 // as recall is told
		want  eviction
	}{
		{"just now", evictedOnProbation, 0, 0, evictedOnProbation},
		{"from the main log", evictedFromMain, 0, 0, evictedFromMain},
		{"within", evictedFromMain, 6, 4 * buckets, evictedFromMain},
		{"longer ago", evictedFromMain, 6, 4*buckets - 1, unknown},
		{"oldest", evictedOnProbation, printWays - 1, 1 << 40, evictedOnProbation},
		{"overwritten", evictedOnProbation, printWays, 1 << 40, unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			used := uint32(buckets)
			table := ghosts{make([]printBucket, buckets), &used}
			const h = 0xbeef << 40
			table.remember(h, tc.how, 16*buckets)
			for i := range tc.since {
				table.remember(uint64(i+1)<<40, evictedOnProbation, 16*buckets)
			}
			ago := int64(tc.since * buckets)
			if tc.want == unknown {
				ago = 0
			}
			if got, n := table.recall(h, tc.items); got != tc.want || n != ago {
				t.Errorf("got %d, %d ago, want %d, %d ago", got, n, tc.want, ago)
			}
			if got, _ := table.recall(h, tc.items); got != unknown {
				t.Errorf("got %d the second time", got)
			}
		})
	}
}

// TestGhostsReachAsFarAsItems: what was evicted among the last n of a shard of n items is known, what lies much further back
// is not, whether n fills the table or a few of its buckets, and after n changed as well.
func TestGhostsReachAsFarAsItems(t *testing.T) {
	used := uint32(0)
	table := ghosts{make([]printBucket, 300), &used}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, items := range []int{10, 100, 1000, 8000, 300, 10, 3000} {
		keys := make([]uint64, 4*items)
		for i := range keys {
			keys[i] = rng.Uint64()
			table.remember(keys[i], evictedOnProbation, int64(items))
		}
		known := func(from, to int) float64 { // share of those evicted so many ago
			n := 0
			for _, h := range keys[len(keys)-to : len(keys)-from] {
				if how, _ := table.recall(h, int64(items)); how != unknown {
					n++
				}
			}
			return float64(n) / float64(to-from)
		}
		if late := known(0, items); late < 0.85 {
			t.Errorf("of %d items: %.2f of the last evicted are known", items, late)
		}
		if early := known(3*items, 4*items); early > 0.1 {
			t.Errorf("of %d items: %.2f of what was evicted long ago is known", items, early)
		}
	}
	if how, _ := table.recall(rng.Uint64(), 3000); how != unknown {
		t.Error("a stranger is known")
	}
}
