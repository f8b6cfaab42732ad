package filler

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// event tells the dispatcher that a load or a probe has ended.
type event struct {
	batch *Batch  // nil: a probe
	src   *source // of a probe
	err   error   // the last error, for the log
	split bool    // the items to be sent again go in two halves
}

// report hands ev to the dispatcher, if it is still there.
func (f *Filler) report(ev *event) {
	select {
	case f.events <- *ev:
	case <-f.done:
	}
}

// load runs one batch on a pond worker: it asks the plan's sources in turn, ends the leases that are settled and leaves
// the others, marked resultLater, to the dispatcher.
func (f *Filler) load(b *Batch) {
	ev := event{batch: b}
	defer f.report(&ev)
	returned := false
	defer func() {
		if returned {
			return
		}
		// A panic, or a Goexit, where recover returns nil.
		ev.err = fmt.Errorf("filler: source panicked: %v\n%s", recover(), debug.Stack())
		ev.split = false
		b.r.count.panics.Add(1)
		for i := range b.results {
			b.results[i] = result{state: resultFailed}
		}
		f.recent.note(b, ev.err)
		f.settle(b, false)
	}()
	ev.err, ev.split = f.ask(b)
	f.recent.note(b, ev.err)
	f.settle(b, false)
	returned = true
}

// ask fills b.results from the plan's sources, the first that has a row first.
func (f *Filler) ask(b *Batch) (err error, split bool) {
	b.r.count.batches.Add(1)
	feeds := b.plan.feeds
	unsure := false
	for i, fd := range feeds {
		paid := 0
		if i == 0 {
			paid = len(b.items) // by the dispatcher
		}
		if fd.src.down.Load() && fd.src != b.trial && len(feeds) > 1 {
			unsure = true
			fd.src.tokens.take(-paid)
			continue
		}
		if err = f.prepare(fd, b, &paid); err == nil {
			if len(b.todo) == 0 {
				fd.src.tokens.take(-paid)
				break
			}
			if err = f.pay(fd, b, paid); err == nil {
				err = f.askOne(fd, b)
			}
		}
		b.asked = append(b.asked, outcome{fd.src, err})
		if err != nil {
			b.failed = true
			return err, f.giveUp(b, err)
		}
		if len(b.list) > 0 {
			b.join()
		}
		if i+1 < len(feeds) {
			f.settle(b, true) // what is there need not wait for the next source
		}
	}
	if unsure {
		for i := range b.results {
			if b.results[i].state == resultNone {
				b.results[i].state = resultUnsure
			}
		}
	}
	return nil, false
}

// prepare learns what fd's query accepts, where that is not known, and chooses the items to ask fd for. Learning takes time in
// which the rates go on: what was paid for the moment before it is worth nothing after it.
func (f *Filler) prepare(fd *feed, b *Batch, paid *int) error {
	var err error
	if fd.typed && fd.params.Load() == nil {
		ctx, cancel := context.WithTimeout(f.ctx, fd.timeout+loadGrace)
		var p Params
		if p, err = fd.impl.(Typer).Params(ctx, &b.plan.cfg); err == nil {
			fd.params.Store(&p)
		}
		cancel()
		*paid = 0
	}
	b.todo, b.parts, b.split = b.todo[:0], b.parts[:0], len(b.plan.cfg.Parts) > 0
	for i := range b.items {
		res := &b.results[i]
		if res.state != resultNone && res.state != resultRefused {
			continue
		}
		res.state = resultNone
		if b.items[i].checked == b.plan.gen {
			b.split = false
		} else {
			at := len(b.parts)
			parts, bad := fd.refused(b.parts[at:], &b.plan.cfg, b.key(int32(i)))
			if bad {
				res.state = resultRefused
				continue
			}
			b.parts = append(b.parts[:at], parts...)
			b.split = b.split && len(b.parts) == at+len(b.plan.cfg.Parts)
		}
		b.todo = append(b.todo, int32(i))
	}
	return err
}

// pay sees to it that the keys to be asked for are within the rates: those that paid keys were not taken for yet may have to wait.
func (f *Filler) pay(fd *feed, b *Batch, paid int) error {
	n := len(b.todo)
	if paid >= n {
		fd.src.tokens.take(n - paid)
		return nil
	}
	now := time.Now()
	wait := fd.src.tokens.reserve(n-paid, now)
	if fd == b.plan.feeds[0] {
		wait = max(wait, b.r.tokens.reserve(n-paid, now))
	}
	if wait == 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// askOne runs one load under its deadline.
func (f *Filler) askOne(fd *feed, b *Batch) error {
	within := fd.timeout + leaseGrace
	if b.bulk == nil { // whose leases have theirs
		for _, item := range b.todo {
			f.hooks.Sent(b.items[item].lease, within)
		}
	}
	c, n := &b.r.count, uint64(len(b.todo))
	c.asked.Add(n)
	fd.src.loads.Add(1)
	fd.src.asked.Add(n)
	b.rows = 0
	ctx, cancel := context.WithTimeout(f.ctx, fd.timeout+loadGrace)
	defer cancel()
	start := time.Now()
	err := fd.impl.Load(ctx, b)
	took := time.Since(start)
	c.loadNanos.Add(uint64(took))
	c.loadTimes.record(took)
	b.source, b.took = fd.src.name, b.took+took
	c.rows.Add(uint64(b.rows))
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.cutOff.Add(1)
		var e *Error
		if !errors.As(err, &e) {
			err = &Error{FaultDown, err}
		}
	}
	return err
}

// giveUp decides what an error means for the items that were asked for, and tells whether they go again in halves.
func (f *Filler) giveUp(b *Batch, err error) (split bool) {
	c := &b.r.count
	if f.ctx.Err() != nil {
		for _, item := range b.todo {
			b.results[item].state = resultLater // the dispatcher ends them
		}
		return false
	}
	fault := faultOf(err)
	switch {
	case fault == FaultData && len(b.todo) > 1:
		c.bisected.Add(1)
	case fault == FaultData:
		c.dataErrors.Add(1)
	case fault == FaultQuery:
		c.queryErrors.Add(1)
	default:
		c.sourceErrors.Add(1)
	}
	for _, item := range b.todo {
		res := &b.results[item]
		again := fault == FaultData && len(b.todo) > 1
		if b.bulk != nil { // with fewer keys it may go better, and the one that is to blame is found
			again = true
		} else if fault == FaultTransient || fault == FaultDown {
			again = b.items[item].tries < f.retries || b.trial != nil // parked keys are not worn out by probes
		}
		if again {
			res.state = resultLater
		} else {
			res.state = resultFailed
		}
	}
	return fault == FaultData && len(b.todo) > 1 && b.bulk == nil
}

// settle ends the lease of every item that has an answer; with valuesOnly, of those that have a value. An item counts as done
// before the hook is called, so that a hook that panics does not get the same lease again.
func (f *Filler) settle(b *Batch, valuesOnly bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &b.r.count
	if b.bulk != nil && f.hooks.PutMany != nil {
		f.settleBulk(b)
	}
	for i := range b.items {
		res := &b.results[i]
		if b.done[i] || res.state == resultLater || (valuesOnly && res.state != resultValue) {
			continue
		}
		b.done[i] = true
		l, key := b.items[i].lease, b.key(int32(i))
		var st PutStatus
		how := EndLoaded
		switch res.state {
		case resultValue:
			st = f.put(l, b.r.id, key, b.out[res.off:res.end], res)
			c.put(st)
		case resultNone, resultRefused:
			if res.state == resultRefused {
				c.badPart.Add(1)
			}
			st, how = f.hooks.Absent(l, b.r.id, key), EndNoRow
			c.closed(st, &c.absent)
		case resultTooLarge:
			st, how = f.hooks.Failed(l, b.r.id, key), EndFailed
			c.closed(st, &c.tooLarge)
		default:
			st, how = f.hooks.Failed(l, b.r.id, key), EndFailed
			c.closed(st, &c.failed)
		}
		if b.bulk != nil {
			b.bulk.Ended(i, EndOf(st, how))
		}
	}
}

func (f *Filler) put(l Lease, route uint16, key, value []byte, res *result) PutStatus {
	if res.ttl > 0 && f.hooks.PutTTL != nil {
		return f.hooks.PutTTL(l, route, key, value, res.flags, res.ttl)
	}
	return f.hooks.Put(l, route, key, value, res.flags)
}

// probe asks a source whether it is there.
func (f *Filler) probe(s *source, timeout time.Duration) {
	ev := event{src: s}
	defer f.report(&ev)
	defer func() {
		if p := recover(); p != nil {
			ev.err = fmt.Errorf("filler: source panicked: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(f.ctx, timeout+loadGrace)
	defer cancel()
	ev.err = errors.New("filler: the probe ended its goroutine")
	ev.err = s.impl.(Pinger).Ping(ctx)
}
