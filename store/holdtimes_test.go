package store

import (
	"testing"
	"time"
)

func TestHoldTimes(t *testing.T) {
	s, _ := open(t, Options{Memory: 4 << 20})
	for i := range len(HoldTimes{}) - 1 {
		for _, d := range []time.Duration{HoldTimeBound(i) - 1, HoldTimeBound(i)} {
			s.holds[HoldFlush].class[holdClass(d)].Add(1)
		}
		got := s.HoldTimes(HoldFlush)
		if got[i] != 1+min(uint64(i), 1) || got[i+1] != 1 {
			t.Fatalf("around %v: got %v", HoldTimeBound(i), got)
		}
	}
	if got := s.HoldTimes(HoldEvict); got != (HoldTimes{}) {
		t.Errorf("another kind: got %v", got)
	}
}
