package store

import (
	"fmt"
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
	value := func(i int) string { return fmt.Sprintf("%0100d", i) }
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

// TestEvictedKeyComesBackToTheMainLog: the print of an evicted key spares it a second probation.
func TestEvictedKeyComesBackToTheMainLog(t *testing.T) {
	x := newTester(t, Options{Memory: 1 << 20, MaxItem: 1 << 12})
	logOf := func(k string) int {
		sh := x.shardOf(testHash([]byte(k)))
		slot, loc := sh.find(testHash([]byte(k)), []byte(k))
		if slot == nil {
			t.Fatalf("%s is not held", k)
		}
		log, _ := sh.place(loc)
		return log
	}
	x.write(Set, 0, "k", "v", 0)
	if logOf("k") != probation {
		t.Fatal("a new key is not on probation")
	}
	x.write(Set, 0, "again", "v", 0)
	sh := x.shardOf(testHash([]byte("again")))
	for i := 0; ; i++ {
		sh.mu.Lock()
		slot, _ := sh.find(testHash([]byte("again")), []byte("again"))
		sh.mu.Unlock()
		if slot == nil {
			break
		}
		x.write(Set, 0, fmt.Sprint("push ", i), fmt.Sprintf("%0100d", i), 0)
	}
	x.write(Set, 0, "again", "v", 0)
	if logOf("again") != mainLog {
		t.Error("a key that was evicted a moment ago is on probation again")
	}
}
