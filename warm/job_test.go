package warm

import (
	"testing"
	"time"
)

// TestRateLeavesOutWhatIsGoneOnFrom: a job that goes on behind what another one looked at does not count that as its own work.
func TestRateLeavesOutWhatIsGoneOnFrom(t *testing.T) {
	j := &job{state: Running, began: time.Now().Add(-10 * time.Second)}
	j.total.Store(1_000_000)
	j.seen.Store(400_000)
	j.measureFrom()
	j.seen.Add(1000)
	if p := j.progress(); p.Seen != 401_000 || p.Rate > 100 {
		t.Errorf("running: %d looked at, %.0f a second", p.Seen, p.Rate)
	}
	j.state, j.ended = Done, j.began.Add(20*time.Second)
	if p := j.progress(); p.Rate != 50 {
		t.Errorf("in the end: %.0f a second, want 1000 in 20 seconds", p.Rate)
	}
}
