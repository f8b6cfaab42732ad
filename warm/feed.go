package warm

import (
	"context"
	"sync"
	"time"

	"swordfish/filler"
	"swordfish/store"
)

// feeder hands the keys of a job to the filler and knows which of them are under way: a bounded number, so that a job neither
// fills the queues nor takes the lease table. Keys that the filler dropped are offered again. But for ended it belongs to the job's
// goroutine.
type feeder struct {
	j        *job
	ring     *filler.Ring
	throttle *throttle
	unsent   int // keys pushed since the last flush
	together int // keys that go to the filler at a time: a batch

	wake  chan struct{} // something has ended
	slots []slot

	mu    sync.Mutex // guards the rest
	free  []int
	again []int // slots whose keys were dropped
}

// slot is a key under way.
type slot struct {
	key    [filler.MaxKey]byte
	n      int
	hash   uint64
	route  store.RouteID
	weight uint64
	tries  int
}

// dropMost is how often a key is offered again that the filler dropped, and dropWait how long it waits for that.
const (
	dropMost = 50
	dropWait = 100 * time.Millisecond
)

func newFeeder(j *job, batch, concurrency int, th *throttle) *feeder {
	f := &feeder{j: j, ring: j.w.o.Filler.NewRing(), throttle: th, together: batch, wake: make(chan struct{}, 1)}
	f.slots = make([]slot, batch*(concurrency+1))
	for i := range f.slots {
		f.free = append(f.free, i)
	}
	return f
}

// ended is told by the tracker.
func (f *feeder) ended(i int, how End) {
	s := &f.slots[i]
	f.mu.Lock()
	if how == Dropped && s.tries < dropMost {
		f.again = append(f.again, i)
	} else {
		f.j.count(how, s.weight)
		f.free = append(f.free, i)
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take returns a slot, waiting until one is free. Dropped keys are offered again first.
func (f *feeder) take(ctx context.Context) (int, error) {
	for {
		f.mu.Lock()
		if n := len(f.again); n > 0 {
			i := f.again[n-1]
			f.again = f.again[:n-1]
			f.mu.Unlock()
			if err := f.retry(ctx, i); err != nil {
				return 0, err
			}
			continue
		}
		if n := len(f.free); n > 0 {
			i := f.free[n-1]
			f.free = f.free[:n-1]
			f.mu.Unlock()
			return i, nil
		}
		f.mu.Unlock()
		f.flush()
		if err := f.wait(ctx, 0); err != nil {
			return 0, err
		}
	}
}

// wait waits until something ends; with a limit, at most so long.
func (f *feeder) wait(ctx context.Context, limit time.Duration) error {
	var over <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-f.wake:
	case <-over:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (f *feeder) put(i int) {
	f.mu.Lock()
	f.free = append(f.free, i)
	f.mu.Unlock()
}

// retry offers a dropped key again, after a while: there was no room for it.
func (f *feeder) retry(ctx context.Context, i int) error {
	f.flush()
	timer := time.NewTimer(dropWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		f.put(i)
		return ctx.Err()
	}
	f.slots[i].tries++
	return f.send(ctx, i)
}

// offer has a key loaded if that is due. key is canonical, of a route; it is copied.
func (f *feeder) offer(ctx context.Context, key []byte, route store.RouteID, weight uint64) error {
	i, err := f.take(ctx)
	if err != nil {
		return err
	}
	s := &f.slots[i]
	s.n, s.hash, s.route, s.weight, s.tries = copy(s.key[:], key), f.j.w.o.Hash(key), route, weight, 0
	return f.send(ctx, i)
}

// send opens the lease of a slot's key and hands it over. The slot is free again where there is nothing to load.
func (f *feeder) send(ctx context.Context, i int) error {
	s := &f.slots[i]
	o := &f.j.w.o
	for {
		var it store.Item
		switch worth := o.Store.Offer(s.key[:s.n], s.hash, s.route, o.Store.Now(), false, &it); {
		case it.Lease.Serial != 0:
			l := filler.Lease(it.Lease)
			o.Tracker.add(l, place{f, i})
			if f.ring.Push(uint16(s.route), filler.LaneWarm, l, s.key[:s.n]) {
				if f.unsent++; f.unsent >= f.together {
					f.flush()
					return f.throttle.pace(ctx, f.together)
				}
				return nil
			}
			o.Tracker.remove(l)
			o.Store.EndLease(it.Lease)
		case it.NoRoom: // others have the lease table
		default:
			f.j.found(worth, it.Leased, s.weight)
			f.put(i)
			return nil
		}
		f.flush()
		if err := f.wait(ctx, dropWait); err != nil {
			f.put(i)
			return err
		}
	}
}

func (f *feeder) flush() {
	if f.unsent > 0 {
		f.unsent = 0
		f.ring.Flush()
	}
}

// underWay is how many keys have not ended.
func (f *feeder) underWay() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.slots) - len(f.free)
}

// drain waits until all keys have ended.
func (f *feeder) drain(ctx context.Context) error {
	for {
		f.mu.Lock()
		n := len(f.again)
		i := -1
		if n > 0 {
			i = f.again[n-1]
			f.again = f.again[:n-1]
		}
		f.mu.Unlock()
		switch {
		case i >= 0:
			if err := f.retry(ctx, i); err != nil {
				return err
			}
			continue
		case f.underWay() == 0:
			return nil
		}
		f.flush()
		if err := f.wait(ctx, 0); err != nil {
			return err
		}
	}
}

// close hands nothing more over. What is under way ends without being counted.
func (f *feeder) close() {
	f.flush()
	f.ring.Close()
	f.j.w.o.Tracker.leave(f)
}
