package warm

import (
	"testing"

	"swordfish/filler"
)

// TestTrackerTellsEachLeaseOnce: of leases that it does not know it says nothing.
func TestTrackerTellsEachLeaseOnce(t *testing.T) {
	var tr Tracker
	f := &feeder{j: &job{}, wake: make(chan struct{}, 1), queued: 3}
	f.waiting.Store(3)
	a, b, c := filler.Lease{Hash: 1, Serial: 1}, filler.Lease{Hash: 2, Serial: 1}, filler.Lease{Hash: 3, Serial: 1}
	tr.Ended(a, filler.EndLoaded)
	for _, l := range []filler.Lease{a, b, c} {
		tr.add(l, queued{f, key{}})
	}
	tr.Ended(a, filler.EndLoaded)
	tr.Ended(a, filler.EndLoaded)
	tr.Ended(filler.Lease{Hash: 1, Serial: 2}, filler.EndLoaded)
	tr.Ended(b, filler.EndNoRow)
	tr.Ended(c, filler.EndDropped)
	if f.j.loaded.Load() != 1 || f.j.noRow.Load() != 1 || f.queued != 0 || f.waiting.Load() != 0 || len(f.dropped) != 1 || tr.n.Load() != 0 {
		t.Errorf("loaded %d, without row %d, queued %d, waiting %d, dropped %v, waited for %d",
			f.j.loaded.Load(), f.j.noRow.Load(), f.queued, f.waiting.Load(), f.dropped, tr.n.Load())
	}
	tr.add(c, queued{f, key{about: about{tries: dropMost}}})
	tr.Ended(c, filler.EndDropped)
	if f.j.failed.Load() != 1 || len(f.dropped) != 1 {
		t.Errorf("dropped too often: %d failed", f.j.failed.Load())
	}
	tr.add(a, queued{f, key{}})
	tr.leave(f)
	if tr.n.Load() != 0 {
		t.Error("it waits for leases of one who left")
	}
}
