package store

import "time"

// HoldTimes counts the lock holds of one kind by how long they were: class i those of less than HoldTimeBound(i), and not less
// than the bound before it. The last has no bound.
type HoldTimes [holdClasses / 8]uint64

// HoldTimeBound is the upper bound of class i: doublings from 16 nanoseconds.
func HoldTimeBound(i int) time.Duration { return 16 << i }

// HoldTimes returns what passes have held locks for since Open.
func (s *Store) HoldTimes(kind HoldKind) (t HoldTimes) {
	for i := range s.holds[kind].class {
		t[i/8] += s.holds[kind].class[i].Load()
	}
	return t
}
