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
			x.write(Set, 0, fmt.Sprint("key ", i), fmt.Sprintf("%0200d", i), 0)
		}
	}
	if st := x.Stats(); st.Data > keys/50 {
		t.Errorf("%d of %d payloads are data", st.Data, keys)
	}
	for round := range 4 {
		for i := range keys {
			x.write(Set, 0, fmt.Sprint("key ", i, " ", round), fmt.Sprintf("%0200d", i), 0)
		}
	}
	if st := x.Stats(); st.Data < keys*99/100 {
		t.Errorf("%d of %d payloads are data", st.Data, keys)
	}
	verify(t, x.Store)
}
