package warm

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"swordfish/filler"
	"swordfish/store"
)

// feeder hands the keys of a job to the filler, some thousand together, and knows which of them are under way: a bounded number, so
// that a job neither holds up clients' misses nor takes the lease table. Keys that the filler dropped are offered again. But for
// what the filler tells it belongs to the job's goroutine.
type feeder struct {
	j        *job
	throttle *throttle
	least    int // keys asked for together, at least
	most     int
	open     map[store.RouteID]*bulk // being filled
	unsent   int                     // keys of open
	all      []*bulk

	size    atomic.Int64 // keys to ask for together
	waiting atomic.Int64 // keys leased and not ended
	lost    atomic.Int64 // len(dropped)
	wake    chan struct{}

	mu      sync.Mutex // guards the rest
	free    []*bulk
	queued  int // keys that the filler loads one by one
	dropped []key
}

// bulk is what a job fills and the filler loads.
type bulk struct {
	filler.Bulk
	route store.RouteID
	about []about
	noRow int // keys that have none
}

// about is what a job knows of a key.
type about struct {
	weight uint64
	tries  int // how often it was dropped
}

// key is one that is not loaded with a bulk.
type key struct {
	text  []byte
	route store.RouteID
	about
}

// Bounds on what is under way. A question takes about so long, if its keys allow that: but a moment to those who wait for the database
// meanwhile, and yet worth its planning.
const (
	pacedTime  = 6 * time.Millisecond
	fullTime   = 60 * time.Millisecond
	fullKeys   = 16 << 10
	fullBulks  = 2 // at a time: the database answers one while another is put
	queuedMost = 4096

	// leaseMost voids a lease whose load never ends, which should not happen, in milliseconds.
	leaseMost = store.Time(10 * time.Minute / time.Millisecond)

	// dropMost is how often a key is offered again that the filler dropped, and dropWait how long it waits for that.
	dropMost = 50
	dropWait = 100 * time.Millisecond
)

func newFeeder(j *job, batch int, th *throttle) *feeder {
	f := &feeder{j: j, throttle: th, least: min(batch, leastKeys), most: mostKeys, open: make(map[store.RouteID]*bulk), wake: make(chan struct{}, 1)}
	if th.full {
		f.least, f.most = batch, fullKeys
	}
	if th.rate > 0 { // not all keys of a second at once
		f.most = max(1, min(f.most, int(th.rate/10)))
	}
	f.least = min(f.least, f.most)
	f.size.Store(int64(f.least))
	return f
}

// offer has a key loaded if that is due. text is its canonical spelling; it is copied. The key may wait for others until send.
func (f *feeder) offer(ctx context.Context, text []byte, hash uint64, route store.RouteID, weight uint64) error {
	if f.lost.Load() > 0 {
		if err := f.retry(ctx); err != nil {
			return err
		}
	}
	return f.add(ctx, text, hash, route, about{weight: weight})
}

// add opens the lease of a key where there is something to load.
func (f *feeder) add(ctx context.Context, text []byte, hash uint64, route store.RouteID, a about) error {
	o := &f.j.w.o
	for {
		var it store.Item
		now := o.Store.Now()
		switch worth := o.Store.Offer(text, hash, route, now, now+leaseMost, false, &it); {
		case it.Lease.Serial != 0:
			b := f.bulkOf(route)
			b.Add(filler.Lease(it.Lease), text, worth == store.WorthNothing)
			b.about = append(b.about, a)
			f.waiting.Add(1)
			if f.unsent++; f.unsent >= f.together() {
				return f.send(ctx)
			}
			return nil
		case !it.NoRoom:
			f.j.found(worth, it.Leased, a.weight)
			return nil
		}
		// Others have the lease table.
		if err := f.send(ctx); err != nil {
			return err
		}
		if err := f.wait(ctx, dropWait); err != nil {
			return err
		}
	}
}

// together is how many keys to ask for together.
func (f *feeder) together() int {
	size := f.size.Load()
	if !f.throttle.full {
		size = min(size, f.throttle.keys.Load())
	}
	return int(size)
}

// bulkOf returns the bulk that is being filled for a route.
func (f *feeder) bulkOf(route store.RouteID) *bulk {
	b := f.open[route]
	if b != nil {
		return b
	}
	f.mu.Lock()
	if n := len(f.free); n > 0 {
		b, f.free = f.free[n-1], f.free[:n-1]
	}
	f.mu.Unlock()
	if b == nil {
		b = f.newBulk()
		f.all = append(f.all, b)
	}
	b.Reset(uint16(route))
	b.route, b.about, b.noRow = route, b.about[:0], 0
	f.open[route] = b
	return b
}

// newBulk makes a bulk that tells f what becomes of its keys.
func (f *feeder) newBulk() *bulk {
	b := new(bulk)
	b.Ended = func(i int, how filler.End) {
		switch how {
		case filler.EndQueued, filler.EndDropped:
			text, lease := b.Key(i)
			k := key{append([]byte{}, text...), b.route, b.about[i]}
			if how == filler.EndDropped {
				f.drop(k)
				break
			}
			f.size.Store(int64(f.least)) // these are asked for in batches
			f.mu.Lock()
			f.queued++
			f.mu.Unlock()
			f.j.w.o.Tracker.add(lease, queued{f, k})
		default:
			if how == filler.EndNoRow {
				b.noRow++
			}
			f.j.count(how, b.about[i].weight)
			f.waiting.Add(-1)
		}
	}
	b.Done = func(took time.Duration) {
		f.resize(b, took)
		f.mu.Lock()
		f.free = append(f.free, b)
		f.mu.Unlock()
		f.awake()
	}
	return b
}

// resize chooses how many keys are asked for together, after the question for b's took so long. Where many have no row it stays with few:
// what that costs is bounded by negatives_rate.
func (f *feeder) resize(b *bulk, took time.Duration) {
	aim, size, n := pacedTime, int(f.size.Load()), b.Len()
	if f.throttle.full {
		aim = fullTime
	}
	switch {
	case b.noRow > f.least/4:
		f.size.Store(int64(f.least))
	case took > 2*aim:
		f.size.Store(int64(max(n/2, f.least)))
	case took > 0 && took < aim/2 && n >= size:
		f.size.Store(int64(min(2*size, f.most)))
	}
}

// ended is told by the tracker.
func (f *feeder) ended(k key, how filler.End) {
	f.mu.Lock()
	f.queued--
	f.mu.Unlock()
	if how == filler.EndDropped {
		f.drop(k)
	} else {
		f.j.count(how, k.weight)
		f.waiting.Add(-1)
	}
	f.awake()
}

// drop keeps a key that is to be offered again, unless that was tried often enough.
func (f *feeder) drop(k key) {
	f.waiting.Add(-1)
	if k.tries++; k.tries > dropMost {
		f.j.count(filler.EndFailed, k.weight)
		return
	}
	f.mu.Lock()
	f.dropped = append(f.dropped, k)
	f.lost.Store(int64(len(f.dropped)))
	f.mu.Unlock()
}

func (f *feeder) awake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// retry offers the dropped keys again, after a while: there was no room for them.
func (f *feeder) retry(ctx context.Context) error {
	timer := time.NewTimer(dropWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	f.mu.Lock()
	dropped := f.dropped
	f.dropped = nil
	f.lost.Store(0)
	f.mu.Unlock()
	for _, k := range dropped {
		if err := f.add(ctx, k.text, f.j.w.o.Hash(k.text), k.route, k.about); err != nil {
			return err
		}
	}
	return nil
}

// send hands over what was filled, when it is the job's turn and not too much is under way.
func (f *feeder) send(ctx context.Context) error {
	if f.unsent == 0 {
		return nil
	}
	n := f.unsent
	end, err := f.throttle.turn(ctx)
	defer end(n)
	for err == nil && f.throttle.full && f.busy()-len(f.open) >= fullBulks {
		err = f.wait(ctx, 0)
	}
	f.handOver() // after an error, too: the leases have to end
	for err == nil && (!f.throttle.full && f.busy() > 0 || f.crowded()) {
		err = f.wait(ctx, 0)
	}
	return err
}

// handOver hands all bulks over that are being filled.
func (f *feeder) handOver() {
	f.unsent = 0
	for route, b := range f.open {
		delete(f.open, route)
		if f.j.w.o.Filler.LoadBulk(&b.Bulk) {
			continue
		}
		for i := range b.Len() {
			_, l := b.Key(i)
			f.j.w.o.Store.EndLease(store.Lease(l))
			b.Ended(i, filler.EndFailed)
		}
		b.Done(0)
	}
}

// busy is how many bulks are under way.
func (f *feeder) busy() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all) - len(f.free)
}

// crowded tells whether the filler loads so many keys one by one that it should not have more.
func (f *feeder) crowded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queued >= queuedMost
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

// drain waits until all keys have ended.
func (f *feeder) drain(ctx context.Context) error {
	for {
		if err := f.send(ctx); err != nil {
			return err
		}
		switch {
		case f.lost.Load() > 0:
			if err := f.retry(ctx); err != nil {
				return err
			}
		case f.waiting.Load() == 0:
			return nil
		default:
			if err := f.wait(ctx, 0); err != nil {
				return err
			}
		}
	}
}

// close hands nothing more over. What is under way ends without being counted.
func (f *feeder) close() { f.j.w.o.Tracker.leave(f) }
