package main

import (
	"runtime"
	"strconv"
	"testing"
)

// Every worker has a place in the scheduler, and something is left for all others, whatever the environment says.
func TestPlacesForAllWorkers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, tc := range []struct {
		name          string
		set           int // by the environment; 0: nothing
		workers, want int
	}{
		{"not set", 0, 3, 3 + runtime.NumCPU()},
		{"set too low", 1, 4, 5},
		{"set to the workers", 4, 4, 5},
		{"set high", 9, 4, 9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("GOMAXPROCS", "")
			runtime.GOMAXPROCS(1)
			if tc.set != 0 {
				t.Setenv("GOMAXPROCS", strconv.Itoa(tc.set))
				runtime.GOMAXPROCS(tc.set)
			}
			if makePlaces(tc.workers); runtime.GOMAXPROCS(0) != tc.want {
				t.Errorf("got %d, want %d", runtime.GOMAXPROCS(0), tc.want)
			}
		})
	}
}
