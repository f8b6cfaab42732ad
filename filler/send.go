package filler

import (
	"slices"
	"time"
)

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
		s.halfOpen()
		s.probing = false
		if _, ok := s.impl.(Pinger); ok {
			f.startProbe(s)
		}
	}
	f.turn++
	for i := range f.routes {
		r := f.routes[(f.turn+i)%len(f.routes)]
		if r.off.Load() && (r.queued > 0 || len(r.bulks) > 0) {
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
	for r.inFlight < r.plan.cfg.Limits.Concurrency {
		b, wait := f.form(r, now)
		if b == nil {
			queued := false
			if b, queued = f.formBulk(r, now); b == nil && queued {
				continue
			} else if b == nil {
				return min(next, wait)
			}
		}
		f.start(b)
	}
	return next
}

// form takes the keys of the next batch out of r's queues. Without one it returns how long to wait for tokens, or idle.
func (f *Filler) form(r *route, now time.Time) (*Batch, time.Duration) {
	p := r.plan
	trial, ok := p.reachable()
	if !ok {
		return nil, idle // its keys stay queued: parked, within the queue's bound
	}
	l := &p.cfg.Limits
	for {
		r.hold(now)
		free, paying := r.ready()
		if free+paying == 0 {
			return nil, idle
		}
		want := min(free+paying, l.Batch)
		if trial != nil {
			want = 1
		}
		limit, wait := r.tokens.pace(want, l.Window, now)
		n, also := p.feeds[0].src.tokens.pace(want, l.Window, now)
		if wait = max(wait, also); wait > 0 {
			return nil, wait
		}
		limit = min(limit, n)
		paying, wait = r.negatives.pace(min(paying, limit), l.Window, now)
		if wait > 0 && free == 0 {
			return nil, wait
		}
		b := f.newBatch(r)
		f.fillBatch(b, limit, paying)
		if len(b.items) == 0 {
			f.batches = append(f.batches, b)
			continue // all that were taken were dead
		}
		b.trial = trial
		r.tokens.take(len(b.items))
		p.feeds[0].src.tokens.take(len(b.items))
		return b, 0
	}
}

// ready counts the keys that may be sent now: those that need a token of negatives_rate for it, and the others.
func (r *route) ready() (free, paying int) {
	if len(r.split) > 0 {
		return r.split[0].n, 0
	}
	free = r.again.n
	for l := range r.lanes {
		if r.pays(Lane(l)) {
			paying += r.lanes[l].n
		} else {
			free += r.lanes[l].n
		}
	}
	return free, paying
}

// pays tells whether a key of lane l may well be one that has no row: it needs a token of negatives_rate then, and the token
// comes back when a row is found. Held items have a row, or had one. What is sent once more is not stopped again, but if it
// turns out to have no row, its token is taken afterwards.
func (r *route) pays(l Lane) bool {
	return r.negatives.rate > 0 && (l == LaneMiss || l == LaneWarm)
}

// hold notes whether keys are held back by negatives_rate: from the first one that finds no token until none waits.
func (r *route) hold(now time.Time) {
	waiting := 0
	for l := range r.lanes {
		if r.pays(Lane(l)) {
			waiting += r.lanes[l].n
		}
	}
	switch {
	case waiting == 0:
		r.held = false
	case !r.held && r.negatives.has(1, now) == 0:
		r.held = true
		r.count.negativesOpened.Add(1)
	}
	r.count.negativesHeld.Store(r.held)
}

// reachable tells whether a batch may be sent now: one of the plan's sources is up, or its probe is due and has to be a
// batch, and none has all its loads under way.
func (p *plan) reachable() (trial *source, ok bool) {
	for _, fd := range p.feeds {
		s := fd.src
		if s.limit > 0 && s.inFlight >= s.limit {
			return nil, false
		}
		switch s.state {
		case sourceUp:
			ok = true
		case sourceProbe:
			if _, pings := s.impl.(Pinger); !pings && !s.probing && trial == nil {
				trial = s
			}
		}
	}
	return trial, ok || trial != nil
}

// fillBatch moves up to limit keys into b, of them at most paying that pay.
func (f *Filler) fillBatch(b *Batch, limit, paying int) {
	r := b.r
	if len(r.split) > 0 {
		f.take(b, &r.split[0], limit)
		if r.split[0].n == 0 {
			r.split = slices.Delete(r.split, 0, 1)
		}
		return
	}
	f.take(b, &r.again, limit)
	for l := range r.lanes {
		before := len(b.items)
		if !r.pays(Lane(l)) {
			f.take(b, &r.lanes[l], limit)
			continue
		}
		f.take(b, &r.lanes[l], min(limit, before+paying))
		n := len(b.items) - before
		r.negatives.take(n)
		b.paid += n
		paying -= n
	}
}

// take moves keys from q to b until b has limit of them. Killed ones are left out.
func (f *Filler) take(b *Batch, q *queue, limit int) {
	r := b.r
	for q.n > 0 && len(b.items) < limit {
		e, key := q.front(&f.chunks)
		f.unindex(e)
		f.grow(r, e.lane, -1)
		if f.hooks.Alive(e.lease) {
			b.add(*e, key)
		} else {
			r.count.skipped.Add(1)
			f.hooks.End(e.lease)
		}
		q.drop(&f.chunks)
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
	b.reset(r, f.maxValue, f.batchBytes)
	return b
}

func (f *Filler) start(b *Batch) {
	r, p := b.r, b.plan
	if b.trial != nil {
		b.trial.probing = true
	}
	r.inFlight++
	r.count.inFlight.Add(1)
	p.inFlight++
	for _, fd := range p.feeds {
		fd.src.inFlight++
	}
	f.inFlight++
	f.running[b] = struct{}{}
	if err := p.pool.Go(func() { f.load(b) }); err != nil {
		// The subpool's queue holds a task for every slot, so this is a broken invariant; the leases are ended all the same.
		for i := range b.items {
			f.drop(b, i, DropPool)
		}
		r.negatives.take(-b.paid)
		f.finished(b)
	}
}

func (f *Filler) startProbe(s *source) {
	s.probing = true
	s.probes.Add(1)
	f.inFlight++
	go f.probe(s, s.timeout)
}

// drop ends the lease of an item that is not loaded after all.
func (f *Filler) drop(b *Batch, i int, why DropReason) {
	e := &b.items[i]
	f.discard(b.r, e.lease, e.lane, why)
	if b.bulk != nil {
		b.bulk.Ended(i, EndDropped)
	}
}
