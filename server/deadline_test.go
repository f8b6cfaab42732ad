package server

import (
	"math"
	"testing"
	"time"

	"swordfish/store"
)

func TestDeadline(t *testing.T) {
	const unix = 1_800_000_000
	wall := time.Unix(unix, 999)
	now := store.Time(50_999) // second 50
	for _, test := range []struct {
		name    string
		exptime int64
		want    uint32
	}{
		{"never", 0, store.NoDeadline},
		{"a second", 1, 51},
		{"30 days", maxRelative, 50 + maxRelative},
		{"a second more is a moment, long past", maxRelative + 1, store.Expired},
		{"negative", -1, store.Expired},
		{"most negative", math.MinInt32, store.Expired},
		{"now by the wall clock", unix, store.Expired},
		{"a second ago", unix - 1, store.Expired},
		{"in ten seconds", unix + 10, 60},
		{"the last moment of 31 bits", math.MaxInt32, 50 + math.MaxInt32 - unix},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := deadline(test.exptime, now, wall); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestDeadlineNeverMeansNever(t *testing.T) {
	for _, now := range []store.Time{0, 999, 1000, store.Time(math.MaxUint32) * 1000} {
		for _, exptime := range []int64{1, 2, maxRelative, maxRelative + 1, math.MaxInt32, -1} {
			if got := deadline(exptime, now, time.Unix(int64(exptime)-1, 0)); got == store.NoDeadline {
				t.Errorf("exptime %d at %d has no deadline", exptime, now)
			}
		}
	}
}

// A step of the wall clock moves moments, not durations.
func TestWallClockStepMovesNoRelativeDeadline(t *testing.T) {
	clock := &testClock{now: 10_000}
	wall := time.Unix(1_800_000_000, 0)
	s := newServer(t, Options{
		Store: newStore(t, store.Options{Clock: clock.read}),
		Wall:  func() time.Time { return wall },
	})
	c := newClient(t, s)
	c.ask("set relative 0 100 1\r\nr\r\n")
	c.ask("set moment 0 1800000100 1\r\nm\r\n")
	for _, step := range []time.Duration{time.Hour, -2 * time.Hour} {
		wall = wall.Add(step)
		if got := c.ask("get relative moment\r\n"); got != "VALUE relative 0 1\r\nr\r\nVALUE moment 0 1\r\nm\r\nEND\r\n" {
			t.Fatalf("after a step of %v: %q", step, got)
		}
	}
	if got := c.ask("set past 0 1799996400 1\r\np\r\nget past\r\n"); got != "STORED\r\nEND\r\n" {
		t.Errorf("a moment is judged by the wall clock of its arrival: %q", got)
	}
	clock.advance(99_000)
	if got := c.ask("get relative\r\n"); got == "END\r\n" {
		t.Error("over after 99 of 100 seconds")
	}
	clock.advance(1_000)
	if got := c.ask("get relative moment\r\n"); got != "END\r\n" {
		t.Errorf("not over after 100 seconds: %q", got)
	}
}
