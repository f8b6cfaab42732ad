package store

import (
	"fmt"
	"testing"
)

// TestRewritingStaysPrivate: one key that is given the same payload again and again keeps it in its record, where it costs
// less; a second key makes it a datum.
func TestRewritingStaysPrivate(t *testing.T) {
	x := newTester(t, Options{Memory: 16 << 20})
	const keys = 1000
	for range 3 {
		for i := range keys {
			x.write(Set, 0, fmt.Sprint("key ", i), digits(200, i), 0)
		}
	}
	if st := x.Stats(); st.Data > keys/50 {
		t.Errorf("%d of %d payloads are data", st.Data, keys)
	}
	for round := range 4 {
		for i := range keys {
			x.write(Set, 0, fmt.Sprint("key ", i, " ", round), digits(200, i), 0)
		}
	}
	if st := x.Stats(); st.Data < keys*99/100 {
		t.Errorf("%d of %d payloads are data", st.Data, keys)
	}
	verify(t, x.Store)
}

// TestPrintsWhileTheyGrow: what was met within the last doubling of the table is known, strangers seldom are, and the table
// takes memory only as prints come.
func TestPrintsWhileTheyGrow(t *testing.T) {
	p := prints{make([]printBucket, 3000), new(printState)}
	hash := func(i int) uint64 { return testHash(fmt.Append(nil, "payload ", i)) }
	strangers, forgotten, asked := 0, 0, 0
	for i := range 60_000 {
		if p.metElsewhere(hash(i), uint64(i)<<13) {
			strangers++
		}
		if i%7 == 0 && i > 100 {
			asked++
			if !p.metElsewhere(hash(i-i/3), uint64(i-i/3+1)<<13) {
				forgotten++
			}
		}
		if used := int(max(p.st.buckets, firstBuckets)); used > firstBuckets+(i+asked)/printsPerBucket+1 {
			t.Fatalf("%d buckets for %d prints", used, i)
		}
	}
	if strangers > 60_000/150 {
		t.Errorf("%d strangers of 60,000 were taken for others", strangers)
	}
	if forgotten > asked/50 {
		t.Errorf("%d of %d were forgotten", forgotten, asked)
	}
	if p.metElsewhere(hash(59_999), 59_999<<13) {
		t.Error("a payload counts as met elsewhere under its own key")
	}
}
