package warm

import (
	"testing"

	"swordfish/filler"
)

// TestTrackerTellsEachLeaseOnce: of leases that it does not know it says nothing, and of those that were taken back neither.
func TestTrackerTellsEachLeaseOnce(t *testing.T) {
	var tr Tracker
	f := &feeder{j: &job{}, slots: make([]slot, 3), wake: make(chan struct{}, 1)}
	a, b, c := filler.Lease{Hash: 1, Serial: 1}, filler.Lease{Hash: 2, Serial: 1}, filler.Lease{Hash: 3, Serial: 1}
	tr.Ended(a, Loaded)
	for i, l := range []filler.Lease{a, b, c} {
		tr.add(l, place{f, i})
	}
	tr.Ended(a, Loaded)
	tr.Ended(a, Loaded)
	tr.Ended(filler.Lease{Hash: 1, Serial: 2}, Loaded)
	tr.remove(b)
	tr.Ended(b, NoRow)
	tr.Ended(c, Dropped)
	if f.j.loaded.Load() != 1 || f.j.noRow.Load() != 0 || len(f.free) != 1 || len(f.again) != 1 || tr.n.Load() != 0 {
		t.Errorf("loaded %d, without row %d, free %v, again %v, waited for %d", f.j.loaded.Load(), f.j.noRow.Load(), f.free, f.again, tr.n.Load())
	}
	f.slots[2].tries = dropMost
	tr.add(c, place{f, 2})
	tr.Ended(c, Dropped)
	if f.j.failed.Load() != 1 {
		t.Errorf("dropped too often: %d failed", f.j.failed.Load())
	}
	tr.add(a, place{f, 0})
	tr.leave(f)
	if tr.n.Load() != 0 {
		t.Error("it waits for leases of one who left")
	}
}
