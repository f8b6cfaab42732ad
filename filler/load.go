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

// load runs one batch on a pond worker: it asks the route's sources in turn, ends the leases that are settled and leaves
// the others, marked resultLater, to the dispatcher.
func (f *Filler) load(b *Batch) {
	ev := event{batch: b}
	defer func() { f.events <- ev }()
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
		if b.settled > 0 || b.claimed.CompareAndSwap(false, true) {
			f.settle(b)
		}
	}()
	ev.err, ev.split = f.ask(b)
	if b.claimed.CompareAndSwap(false, true) {
		f.settle(b)
	}
	returned = true
}

// ask fills b.results from the route's sources, the first that has a row first.
func (f *Filler) ask(b *Batch) (err error, split bool) {
	r := b.r
	r.count.batches.Add(1)
	unsure := false
	for _, fd := range r.feeds {
		if fd.src.down.Load() && fd.src != b.trial && len(r.feeds) > 1 {
			unsure = true
			continue
		}
		if err = f.prepare(fd, b); err == nil {
			if len(b.todo) == 0 {
				break
			}
			err = f.askOne(fd.src, b)
		}
		b.asked = append(b.asked, outcome{fd.src, err, len(b.todo)})
		if err == nil {
			if r.cfg.Rows == RowsList {
				b.join()
			}
			continue
		}
		b.forget()
		return err, f.giveUp(b, err)
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

// prepare learns what fd's query accepts, where that is not known, and chooses the items to ask fd for.
func (f *Filler) prepare(fd *feed, b *Batch) error {
	var err error
	if fd.typed && fd.params.Load() == nil {
		ctx, cancel := context.WithTimeout(f.ctx, fd.src.spec.Timeout+loadGrace)
		var p Params
		if p, err = fd.src.spec.Source.(Typer).Params(ctx, &b.r.cfg); err == nil {
			fd.params.Store(&p)
		}
		cancel()
	}
	b.todo = b.todo[:0]
	for i := range b.items {
		res := &b.results[i]
		if res.state != resultNone && res.state != resultRefused {
			continue
		}
		res.state = resultNone
		if !b.items[i].checked {
			var bad bool
			if b.parts, bad = fd.refused(b.parts, &b.r.cfg, b.key(int32(i))); bad {
				res.state = resultRefused
				continue
			}
		}
		b.todo = append(b.todo, int32(i))
	}
	return err
}

// askOne runs one load under its deadline.
func (f *Filler) askOne(s *source, b *Batch) error {
	within := s.spec.Timeout + leaseGrace
	for _, item := range b.todo {
		f.hooks.Sent(b.items[item].lease, within)
	}
	b.r.count.asked.Add(uint64(len(b.todo)))
	b.rows = 0
	ctx, cancel := context.WithTimeout(f.ctx, s.spec.Timeout+loadGrace)
	defer cancel()
	start := time.Now()
	err := s.spec.Source.Load(ctx, b)
	b.r.count.loadNanos.Add(uint64(time.Since(start)))
	b.r.count.rows.Add(uint64(b.rows))
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		b.r.count.cutOff.Add(1)
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
		if fault == FaultTransient || fault == FaultDown {
			again = b.items[item].tries < f.retries || b.trial != nil // parked keys are not worn out by probes
		}
		if again {
			res.state = resultLater
		} else {
			res.state = resultFailed
		}
	}
	return fault == FaultData && len(b.todo) > 1
}

// settle ends the lease of every item that has an answer. b.settled moves before the hook is called, so that a hook that
// panics does not get the same lease again.
func (f *Filler) settle(b *Batch) {
	c := &b.r.count
	id := b.r.cfg.ID
	for b.settled < len(b.items) {
		i := b.settled
		b.settled++
		l, key, res := b.items[i].lease, b.key(int32(i)), b.results[i]
		switch res.state {
		case resultLater:
		case resultValue:
			c.put(f.hooks.Put(l, id, key, b.out[res.off:res.end], res.flags))
		case resultNone, resultRefused:
			if res.state == resultRefused {
				c.badPart.Add(1)
			} else if b.items[i].lane == LaneMiss {
				b.absentMisses++
			}
			c.closed(f.hooks.Absent(l, id, key), &c.absent)
		default:
			c.closed(f.hooks.Failed(l, id, key), &c.failed)
		}
	}
}

// probe asks a source whether it is there.
func (f *Filler) probe(s *source) {
	ev := event{src: s}
	defer func() { f.events <- ev }()
	defer func() {
		if p := recover(); p != nil {
			ev.err = fmt.Errorf("filler: source panicked: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(f.ctx, s.spec.Timeout+loadGrace)
	defer cancel()
	ev.err = errors.New("filler: the probe ended its goroutine")
	ev.err = s.spec.Source.(Pinger).Ping(ctx)
}
