package filler

import (
	"math/rand/v2"
	"slices"
	"time"
)

// dispatcher is the state of the one goroutine that owns all queues. Nothing in it is locked.
type dispatcher struct {
	chunks   chunkPool
	batches  []*Batch // for reuse
	queued   int      // leases queued, all routes
	inFlight int      // loads and probes under way
	running  map[*Batch]struct{}
	turn     int // the route that is served first, moving on with every pass
}

// drainLimit is how many leases are taken from a ring before ends of loads and free slots are looked at again.
const drainLimit = 1024

// idle is how long the dispatcher sleeps when nothing is due.
const idle = time.Hour

func (f *Filler) dispatch() {
	defer close(f.done)
	f.running = make(map[*Batch]struct{})
	for _, s := range f.sources {
		if _, ok := s.spec.Source.(Pinger); ok {
			f.startProbe(s) // connects at once, and learns early that a database is not there
		}
	}
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		select {
		case <-f.wakeup:
		case ev := <-f.events:
			f.handle(ev)
		case <-timer.C:
		case <-f.stopping:
			f.end()
			return
		}
		for {
			f.handleAll()
			more := f.drain(drainLimit, f.accept)
			next := f.send(time.Now())
			if !more || f.isStopping() {
				timer.Reset(next)
				break
			}
		}
	}
}

func (f *Filler) isStopping() bool {
	select {
	case <-f.stopping:
		return true
	default:
		return false
	}
}

func (f *Filler) handleAll() {
	for {
		select {
		case ev := <-f.events:
			f.handle(ev)
		default:
			return
		}
	}
}

// drain takes leases off all rings, at most limit from each, forgets closed rings and tells whether leases are left.
func (f *Filler) drain(limit int, accept func(*slot)) (more bool) {
	f.mu.Lock()
	rings := f.rings
	f.mu.Unlock()
	for _, r := range rings {
		left, ended := r.drain(limit, accept)
		more = more || left
		if ended {
			f.forget(r)
		}
	}
	return more
}

func (f *Filler) forget(r *Ring) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ringFull += r.full.Load()
	kept := make([]*Ring, 0, len(f.rings))
	for _, other := range f.rings {
		if other != r {
			kept = append(kept, other)
		}
	}
	f.rings = kept
}

// accept queues the lease in a ring's slot, or ends it.
func (f *Filler) accept(s *slot) {
	key := s.key[:s.n]
	if int(s.route) >= len(f.byID) || f.byID[s.route] == nil || s.lane >= laneCount {
		f.unknown.Add(1)
		f.hooks.End(s.lease)
		return
	}
	r := f.byID[s.route]
	r.count.leased[s.lane].Add(1)
	if r.off.Load() {
		f.discard(r, s.lease, s.lane, DropOff)
		return
	}
	bad := false
	if r.parts, bad = r.refused(r.parts, key); bad {
		r.count.badPart.Add(1)
		r.count.closed(f.hooks.Absent(s.lease, s.route, key), &r.count.absent)
		return
	}
	switch {
	case r.queued >= r.room(s.lane):
		f.discard(r, s.lease, s.lane, DropQueueFull)
	case f.queued >= f.bound:
		f.discard(r, s.lease, s.lane, DropFillerFull)
	default:
		r.lanes[s.lane].push(&f.chunks, entry{lease: s.lease, lane: s.lane, checked: r.typesKnown()}, key)
		f.grow(r, 1)
	}
}

// discard ends a lease without an answer.
func (f *Filler) discard(r *route, l Lease, lane Lane, why DropReason) {
	r.count.dropped[why][lane].Add(1)
	f.hooks.End(l)
}

// grow notes that n leases entered r's queues, or left them.
func (f *Filler) grow(r *route, n int) {
	f.queued += n
	r.queued += n
	r.count.queued.Store(int64(r.queued))
}

// typesKnown tells whether the check of a key against the sources' types is final.
func (r *route) typesKnown() bool {
	for _, fd := range r.feeds {
		if fd.typed && fd.params.Load() == nil {
			return false
		}
	}
	return len(r.feeds) == 1
}

// send starts every probe and batch that may start now, and returns how long nothing else is due.
func (f *Filler) send(now time.Time) (next time.Duration) {
	next = idle
	for _, s := range f.sources {
		if s.state != sourceDown {
			continue
		}
		if wait := s.nextProbe.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		s.state = sourceProbe
		s.probing = false
		if _, ok := s.spec.Source.(Pinger); ok {
			f.startProbe(s)
		}
	}
	f.turn++
	for i := range f.routes {
		r := f.routes[(f.turn+i)%len(f.routes)]
		if r.off.Load() && r.queued > 0 {
			f.purge(r, DropOff)
		}
		next = min(next, f.sendRoute(r, now))
	}
	return next
}

// sendRoute starts r's batches while it has keys, slots and tokens.
func (f *Filler) sendRoute(r *route, now time.Time) (next time.Duration) {
	next = idle
	waiting := r.waiting[:0]
	for i := range r.waiting {
		w := &r.waiting[i]
		if wait := w.due.Sub(now); wait > 0 {
			next = min(next, wait)
			waiting = append(waiting, *w)
		} else {
			w.keys.moveTo(&r.again)
		}
	}
	clear(r.waiting[len(waiting):])
	r.waiting = waiting
	for r.inFlight < r.cfg.Limits.Concurrency {
		b, wait := f.form(r, now)
		if b == nil {
			return min(next, wait)
		}
		f.start(b)
	}
	return next
}

// form takes the keys of the next batch out of r's queues. Without one it returns how long to wait for tokens, or idle.
func (f *Filler) form(r *route, now time.Time) (*Batch, time.Duration) {
	trial, ok := r.reachable()
	if !ok {
		return nil, idle // its keys stay queued: parked, within the queue's bound
	}
	for {
		ready := r.ready()
		if ready == 0 {
			return nil, idle
		}
		want := min(ready, r.cfg.Limits.Batch)
		if trial != nil {
			want = 1
		}
		limit, wait := r.allowance(want, now)
		if wait > 0 {
			return nil, wait
		}
		misses := r.negatives.has(limit, now)
		b := f.newBatch(r)
		misses -= f.fillBatch(b, limit, misses)
		if len(b.items) == 0 {
			f.batches = append(f.batches, b)
			if r.ready() == 0 {
				return nil, idle
			}
			if misses == 0 {
				return nil, r.negatives.wait(1)
			}
			continue // all were dead
		}
		b.trial = trial
		r.tokens.take(len(b.items))
		r.feeds[0].src.tokens.take(len(b.items))
		r.negatives.take(b.paid)
		return b, 0
	}
}

// ready counts the keys that may be sent now.
func (r *route) ready() int {
	if len(r.split) > 0 {
		return r.split[0].n
	}
	n := r.again.n
	for i := range r.lanes {
		n += r.lanes[i].n
	}
	return n
}

// reachable tells whether a batch may be sent now: one of the route's sources is up, or its probe is due and has to be a
// batch, and none has all its loads under way.
func (r *route) reachable() (trial *source, ok bool) {
	for _, fd := range r.feeds {
		s := fd.src
		if s.spec.MaxLoads > 0 && s.inFlight >= s.spec.MaxLoads {
			return nil, false
		}
		switch s.state {
		case sourceUp:
			ok = true
		case sourceProbe:
			if _, pings := s.spec.Source.(Pinger); !pings && !s.probing && trial == nil {
				trial = s
			}
		}
	}
	return trial, ok || trial != nil
}

// allowance returns how many of want rows the rates allow now. Where that is less than want it waits, up to the window, for
// more company rather than sending single keys at the pace of the tokens.
func (r *route) allowance(want int, now time.Time) (n int, wait time.Duration) {
	n = want
	for _, b := range []*bucket{&r.tokens, &r.feeds[0].src.tokens} {
		has := b.has(want, now)
		if has < want {
			pace := max(1, min(want, int(b.rate*r.cfg.Limits.Window.Seconds()), int(b.size)))
			if has < pace {
				wait = max(wait, b.wait(pace))
			}
		}
		n = min(n, has)
	}
	return n, wait
}

// fillBatch moves up to limit keys into b, of them at most misses from the miss lane, and returns how many of those it moved.
func (f *Filler) fillBatch(b *Batch, limit, misses int) (missed int) {
	r := b.r
	if len(r.split) > 0 {
		f.take(b, &r.split[0], limit, misses)
		if r.split[0].n == 0 {
			r.split = slices.Delete(r.split, 0, 1)
		}
		return b.paid
	}
	f.take(b, &r.again, limit, misses)
	for i := range r.lanes {
		f.take(b, &r.lanes[i], limit, misses)
	}
	return b.paid
}

func (f *Filler) take(b *Batch, q *queue, limit, misses int) {
	r := b.r
	for q.n > 0 && len(b.items) < limit {
		e, key := q.front()
		if e.lane == LaneMiss && b.paid >= misses && r.negatives.rate > 0 {
			return
		}
		if !f.hooks.Alive(e.lease) {
			r.count.skipped.Add(1)
			f.hooks.End(e.lease)
		} else {
			if e.lane == LaneMiss {
				b.paid++
			}
			b.add(*e, key)
		}
		q.drop(&f.chunks)
		f.grow(r, -1)
	}
}

func (f *Filler) newBatch(r *route) *Batch {
	var b *Batch
	if n := len(f.batches); n > 0 {
		b = f.batches[n-1]
		f.batches = f.batches[:n-1]
	} else {
		b = new(Batch)
	}
	b.reset(r)
	return b
}

func (f *Filler) start(b *Batch) {
	r := b.r
	if b.trial != nil {
		b.trial.probing = true
	}
	r.inFlight++
	r.count.inFlight.Add(1)
	for _, fd := range r.feeds {
		fd.src.inFlight++
	}
	f.inFlight++
	f.running[b] = struct{}{}
	if err := r.pool.Go(func() { f.load(b) }); err != nil {
		// The subpool's queue holds a task for every slot, so this is a broken invariant; the leases are ended all the same.
		for _, e := range b.items {
			f.discard(r, e.lease, e.lane, DropPool)
		}
		f.finished(b)
	}
}

// finished takes a batch off the books.
func (f *Filler) finished(b *Batch) {
	delete(f.running, b)
	f.inFlight--
	b.r.inFlight--
	b.r.count.inFlight.Add(-1)
	for _, fd := range b.r.feeds {
		fd.src.inFlight--
	}
	if b.trial != nil {
		b.trial.probing = false
	}
	if len(f.batches) < 64 {
		f.batches = append(f.batches, b)
	}
}

func (f *Filler) startProbe(s *source) {
	s.probing = true
	s.probes.Add(1)
	f.inFlight++
	go f.probe(s)
}

// handle takes the end of a load or a probe.
func (f *Filler) handle(ev event) {
	now := time.Now()
	if ev.batch == nil {
		f.inFlight--
		ev.src.probing = false
		f.judge(ev.src, ev.err, now, true)
		return
	}
	b := ev.batch
	r := b.r
	for i, o := range b.asked {
		if i > 0 {
			o.src.tokens.take(o.keys) // the first source's were taken when the batch was formed
		}
		if o.err != nil && faultOf(o.err) == FaultDown {
			f.judge(o.src, o.err, now, o.src == b.trial)
		} else if f.ctx.Err() == nil {
			f.judge(o.src, nil, now, false)
		}
	}
	r.negatives.take(b.absentMisses - b.paid)
	if ev.err != nil && f.ctx.Err() == nil {
		f.logLoad(r, ev.err, len(b.items), now)
	}
	f.requeue(b, ev.split, now)
	f.finished(b)
}

// judge tells the breaker of s how it went.
func (f *Filler) judge(s *source, err error, now time.Time, decisive bool) {
	if f.ctx.Err() != nil {
		return // our own end says nothing about the source
	}
	switch {
	case err != nil:
		if s.fail(err, now, decisive) {
			f.logSource(s, true)
			f.tell(s)
		}
	case s.ok():
		for _, r := range s.routes {
			for _, fd := range r.feeds {
				if fd.src == s {
					fd.params.Store(nil) // what came back may not be what went away
				}
			}
		}
		f.logSource(s, false)
		f.tell(s)
	}
}

// tell passes on which routes have lost their last source, or got one back.
func (f *Filler) tell(s *source) {
	for _, r := range s.routes {
		down := true
		for _, fd := range r.feeds {
			down = down && fd.src.down.Load()
		}
		if down != r.down {
			r.down = down
			f.hooks.SourceDown(r.cfg.ID, down)
		}
	}
}

const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// requeue takes back the items of b that are to be sent again.
func (f *Filler) requeue(b *Batch, split bool, now time.Time) {
	r := b.r
	var all, half queue
	tries := uint8(0)
	back := 0
	for i := range b.results {
		if b.results[i].state == resultLater {
			back++
		}
	}
	if back == 0 {
		return
	}
	moved := 0
	for i, e := range b.items {
		if b.results[i].state != resultLater {
			continue
		}
		switch {
		case f.ctx.Err() != nil:
			f.discard(r, e.lease, e.lane, DropShutdown)
			continue
		case r.off.Load():
			f.discard(r, e.lease, e.lane, DropOff)
			continue
		case r.queued >= r.cfg.Limits.Queue || f.queued >= f.bound:
			f.discard(r, e.lease, e.lane, DropRetryFull)
			continue
		}
		f.hooks.Sent(e.lease, 0)
		key := b.key(int32(i))
		f.grow(r, 1)
		if split {
			if moved++; moved > back/2 {
				half.push(&f.chunks, e, key)
			} else {
				all.push(&f.chunks, e, key)
			}
			continue
		}
		r.count.retried.Add(1)
		tries = max(tries, e.tries)
		if b.trial == nil {
			e.tries++
		}
		all.push(&f.chunks, e, key)
	}
	if split {
		for _, q := range []queue{all, half} {
			if q.n > 0 {
				r.split = append(r.split, q)
			}
		}
	} else if all.n > 0 {
		r.waiting = append(r.waiting, retry{now.Add(jitter(min(retryFirst<<min(tries, 10), retryMost))), all})
	}
}

// jitter spreads d over its upper half, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// purge ends everything that is queued for r.
func (f *Filler) purge(r *route, why DropReason) {
	empty := func(q *queue) {
		for q.n > 0 {
			e, _ := q.front()
			f.discard(r, e.lease, e.lane, why)
			q.drop(&f.chunks)
			f.grow(r, -1)
		}
	}
	for i := range r.lanes {
		empty(&r.lanes[i])
	}
	empty(&r.again)
	for i := range r.split {
		empty(&r.split[i])
	}
	for i := range r.waiting {
		empty(&r.waiting[i].keys)
	}
	r.split, r.waiting = nil, nil
}

// end is the dispatcher's part of Shutdown.
func (f *Filler) end() {
	f.mu.Lock()
	rings := f.rings
	f.mu.Unlock()
	for _, r := range rings {
		r.close()
	}
	for f.drain(len(f.rings)*f.ringSize, f.refuse) {
	}
	for _, r := range f.routes {
		f.purge(r, DropShutdown)
	}
	for f.inFlight > 0 {
		select {
		case ev := <-f.events:
			f.handle(ev)
		case <-f.force:
			for b := range f.running {
				if b.claimed.CompareAndSwap(false, true) {
					for _, e := range b.items {
						f.discard(b.r, e.lease, e.lane, DropShutdown)
					}
				}
			}
			return // the pools live on for the loads left behind; events has room for all of them
		}
	}
	f.poolStop()
}

// refuse ends the lease in a slot that arrived too late.
func (f *Filler) refuse(s *slot) {
	if int(s.route) < len(f.byID) && f.byID[s.route] != nil && s.lane < laneCount {
		r := f.byID[s.route]
		r.count.leased[s.lane].Add(1)
		f.discard(r, s.lease, s.lane, DropShutdown)
		return
	}
	f.unknown.Add(1)
	f.hooks.End(s.lease)
}
