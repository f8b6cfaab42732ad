package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"swordfish/store"
)

// Load takes a snapshot into a store. From Begin on the store notes what clients do, so that they win.
type Load struct {
	s  *store.Store
	l  *store.Loading
	mu sync.Mutex // guards now, which Progress reads
	now,
	done Loaded
	after func() // for tests: after each item
}

// Begin is called before clients come: what they do earlier is not known to be newer than the snapshot. Nil: another load of
// the store has not ended.
func Begin(s *store.Store) *Load {
	l := s.BeginLoading()
	if l == nil {
		return nil
	}
	return &Load{s: s, l: l}
}

// End ends a load. Run must have returned.
func (l *Load) End() { l.l.End() }

// Progress tells how far it has come.
func (l *Load) Progress() Loaded {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// openSnapshot opens a regular file for reading.
func openSnapshot(path string) (*os.File, int64, error) {
	// Nobody waits for the other end of a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("snapshot: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("snapshot: %s: %w", path, err), f.Close())
	}
	return f, st.Size(), nil
}

// content is that of a block on its way from the file to the store.
type content struct {
	head
	b       []byte
	items   []store.Kept // of a block of items, ready for the store; they alias b
	bad     bool         // what follows them is no item
	at      int64        // in the file, of its end
	damaged int64
	err     error
}

// Run takes in what of the file can be read. An error says that it could not be read from the beginning or from some place on;
// what was taken in until then stays. When ctx ends it returns ctx's cause. It is called once.
func (l *Load) Run(ctx context.Context, path string) (Loaded, error) {
	f, size, err := openSnapshot(path)
	if err != nil {
		return Loaded{}, err
	}
	defer f.Close()
	l.done.Size = size
	u := &unpacker{r: f, size: size, most: l.s.Settings().MaxItem + 1<<20}
	defer u.close()
	h, b, err := u.next(nil)
	for err == nil && h.kind != kindOrigin && u.at < beginning {
		h, b, err = u.next(b[:0])
	}
	if err != nil || h.kind != kindOrigin {
		if err == nil || err == io.EOF {
			err = ErrForeign
		}
		return l.done, fmt.Errorf("%s: %w", path, err)
	}
	origin, ok := readOrigin(b)
	if !ok {
		return l.done, fmt.Errorf("%s: %w", path, ErrForeign)
	}
	l.l.From(&origin)
	return l.blocks(ctx, u)
}

// blocks takes in all blocks behind the first. One is put while the next ones are read and taken apart.
func (l *Load) blocks(ctx context.Context, u *unpacker) (Loaded, error) {
	full, empty := make(chan content, 2), make(chan content, 4)
	for range cap(empty) {
		empty <- content{}
	}
	var stop atomic.Bool
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(full)
		for !stop.Load() {
			c := <-empty
			c.head, c.b, c.err = u.next(c.b[:0])
			c.at, c.damaged = u.at, u.damaged
			if c.err == nil && c.kind == kindItems {
				c.items, c.bad = readItems(c.items[:0], c.b)
				l.l.Prepare(c.items)
			}
			full <- c
			if c.err != nil {
				return
			}
		}
	})
	var failed error
	promised := int64(-1)
	for c := range full {
		l.done.Bytes, l.done.Damaged = c.at, c.damaged
		switch {
		case stop.Load(): // only what is on its way
		case c.err == io.EOF:
		case c.err != nil:
			failed = c.err
		case c.kind == kindEnd:
			f := fields{b: c.b}
			promised = int64(f.uint64())
			l.done.Whole = !f.bad
		case c.kind == kindItems:
			l.put(&c)
		}
		l.report()
		if ctx.Err() != nil && failed == nil {
			failed = context.Cause(ctx)
		}
		if failed != nil || l.l.Ended() {
			stop.Store(true)
		}
		if cap(c.b) > 4*blockSize { // a large value's
			clear(c.items)
			c.b = nil
		}
		empty <- c
	}
	reading.Wait()
	if failed == nil && !l.l.Ended() && promised > l.done.Read() {
		l.done.Lost = promised - l.done.Read()
	}
	if l.l.Ended() {
		l.done.Early = "the memory that is free is used up"
		if l.done.Items[store.LoadFlushed] > 0 {
			l.done.Early = "flush_all"
		}
	}
	l.report()
	return l.done, failed
}

func (l *Load) report() {
	l.mu.Lock()
	l.now = l.done
	l.mu.Unlock()
}

// readItems appends the items of a block, up to its end or what is none.
func readItems(dst []store.Kept, b []byte) (ks []store.Kept, bad bool) {
	for f := (fields{b: b}); len(f.b) > 0; {
		dst = append(dst, store.Kept{})
		if readItem(&f, &dst[len(dst)-1]) != nil {
			return dst[:len(dst)-1], true
		}
	}
	return dst, false
}

// put takes in the items of a block.
func (l *Load) put(c *content) {
	l.done.Blocks++
	most := len(c.items)
	if l.after != nil {
		most = 1
	}
	for ks := c.items; len(ks) > 0 && !l.l.Ended(); ks = ks[most:] {
		l.l.Put(ks[:most], &l.done.Items)
		if l.after != nil {
			l.after()
		}
	}
	if c.bad && !l.l.Ended() {
		l.done.Items[store.LoadBad]++
	}
}
