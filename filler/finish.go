package filler

import (
	"math/rand/v2"
	"time"
)

// finished takes a batch off the books.
func (f *Filler) finished(b *Batch) {
	delete(f.running, b)
	f.inFlight--
	b.r.inFlight--
	b.r.count.inFlight.Add(-1)
	if b.trial != nil {
		b.trial.probing = false
	}
	p := b.plan
	for _, fd := range p.feeds {
		fd.src.inFlight--
		f.releaseSource(fd.src)
	}
	if p.inFlight--; p.retired {
		p.retire()
	}
	if b.bulk != nil {
		b.bulk.Done(b.took)
	} else if len(f.batches) < 64 {
		f.batches = append(f.batches, b)
	}
}

// handle takes the end of a load or a probe.
func (f *Filler) handle(ev event) {
	now := time.Now()
	if ev.batch == nil {
		f.inFlight--
		ev.src.probing = false
		f.judge(ev.src, ev.err, now, true)
		f.releaseSource(ev.src)
		return
	}
	b := ev.batch
	r := b.r
	for _, o := range b.asked {
		if o.err != nil && faultOf(o.err) == FaultDown {
			f.judge(o.src, o.err, now, o.src == b.trial)
		} else if f.ctx.Err() == nil {
			f.judge(o.src, nil, now, false)
		}
	}
	absent := 0
	for i := range b.results {
		if b.results[i].state == resultNone && r.pays(b.items[i].lane) {
			absent++
		}
	}
	if b.bulk != nil { // clients' misses do not pay for more of them than for a batch's
		absent = r.negatives.has(absent, now)
	}
	r.negatives.take(absent - b.paid)
	if ev.err != nil && f.ctx.Err() == nil {
		f.logLoad(r, b.plan.cfg.Name, ev.err, len(b.items), now)
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
		if !s.fail(err, now, decisive) {
			return
		}
		f.logSource(s, true)
	case s.ok(now):
		for _, r := range s.routes {
			for _, fd := range r.plan.feeds {
				if fd.src == s {
					fd.params.Store(nil) // what came back may not be what went away
				}
			}
		}
		f.logSource(s, false)
	default:
		return
	}
	for _, r := range s.routes {
		f.tell(r)
	}
}

// tell passes on that r has lost its last source, or got one back.
func (f *Filler) tell(r *route) {
	down := true
	for _, fd := range r.plan.feeds {
		down = down && fd.src.down.Load()
	}
	if down != r.down {
		r.down = down
		f.hooks.SourceDown(r.id, down)
	}
}

const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// requeue takes back the items of b that are to be sent again: in two halves when one of them is a bad key, at once when the
// batch had no room for their rows, else after a backoff.
func (f *Filler) requeue(b *Batch, split bool, now time.Time) {
	r := b.r
	back := 0
	for i := range b.results {
		if b.results[i].state == resultLater {
			back++
		}
	}
	if back == 0 {
		return
	}
	var all, half queue
	tries := uint8(0)
	failed := b.failed && !split
	moved := 0
	for i, e := range b.items {
		if b.results[i].state != resultLater {
			continue
		}
		if why, drop := f.dropAgain(r); drop {
			f.drop(b, i, why)
			continue
		}
		f.hooks.Sent(e.lease, 0)
		if b.bulk != nil { // no one waits for it, and it is not to go before those that are waited for
			b.bulk.Ended(i, EndQueued)
			f.grow(r, e.lane, 1)
			f.enqueue(r, e, b.key(int32(i)))
			continue
		}
		f.grow(r, e.lane, 1)
		if failed {
			r.count.retried.Add(1)
			tries = max(tries, e.tries)
			if b.trial == nil {
				e.tries++
			}
		}
		q := &all
		if moved++; split && moved > back/2 {
			q = &half
		}
		q.push(&f.chunks, e, b.key(int32(i)))
	}
	switch {
	case split:
		for _, q := range []queue{all, half} {
			if q.n > 0 {
				r.split = append(r.split, q)
			}
		}
	case all.n == 0:
	case failed:
		r.waiting = append(r.waiting, retry{now.Add(jitter(min(retryFirst<<min(tries, 10), retryMost))), all})
	default:
		all.moveTo(&r.again)
	}
}

// dropAgain tells why an item that is to be sent again cannot be.
func (f *Filler) dropAgain(r *route) (why DropReason, drop bool) {
	switch {
	case f.ctx.Err() != nil:
		return DropShutdown, true
	case r.removed:
		return DropRemoved, true
	case r.off.Load():
		return DropOff, true
	case r.queued >= r.plan.cfg.Limits.Queue || f.queued >= f.bound:
		return DropRetryFull, true
	}
	return 0, false
}

// jitter spreads d over its upper half, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// purge ends everything that is queued for r.
func (f *Filler) purge(r *route, why DropReason) {
	empty := func(q *queue) {
		for q.n > 0 {
			e, _ := q.front(&f.chunks)
			f.unindex(e)
			f.grow(r, e.lane, -1)
			f.discard(r, e.lease, e.lane, why)
			q.drop(&f.chunks)
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
	for _, k := range r.bulks {
		f.discardBulk(r, k, why)
	}
	r.split, r.waiting, r.bulks = nil, nil, nil
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
				b.abandon(func(i int) { f.drop(b, i, DropShutdown) })
			}
			return // the pools live on for the loads left behind
		}
	}
	f.poolStop()
}

// refuse ends the lease in a slot that arrived too late.
func (f *Filler) refuse(s *slot) {
	if s.promote {
		return
	}
	if r := f.routeOf(s.route); r != nil && s.lane < laneCount {
		r.count.leased[s.lane].Add(1)
		f.discard(r, s.lease, s.lane, DropShutdown)
		return
	}
	f.unknown.Add(1)
	f.hooks.End(s.lease)
}
