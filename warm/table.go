package warm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"swordfish/filler"
	"swordfish/store"
)

// Keys that are read from a table at a time. The next page is read while one is being loaded. A paced one is small: while it comes, both
// the database and this program are busy.
const (
	pageKeys     = 256
	fullPageKeys = 16 << 10
)

// cursor is where a stopped job has come to. It lies in the server's memory, like the items that are there because of it.
type cursor struct {
	query   string // for keys; another one begins anew, as does another one that loads
	load    string // query that loads
	after   filler.Cursor
	seen    int64
	present int64 // loaded ones included
	noRow   int64
	passed  int64
	at      time.Time
	sample  []string // some of the keys that were loaded: where they are gone the others may be, too
}

const sampleKeys = 32

// page is a page of keys, in canonical spelling.
type page struct {
	keys   []byte
	ends   []int // of each key in keys
	hashes []uint64
	passed int64 // rows that make no key of the route
	begin  filler.Cursor
	err    error
}

func (j *job) prepareTable() error {
	switch {
	case j.spec.Route == "":
		return wrong("from table: name the route whose keys are to be loaded")
	case j.route.Fill.Keys == "" && j.route.Lister == nil:
		return wrong("route %s loads from no database, which could list its keys; warm it from its memcached, from a peer, or from a list of keys", j.spec.Route)
	case j.route.Fill.Keys == "":
		return wrong("route %s does not say which keys there are; give it keys: with a query that returns the parts of its keys as columns, such as SELECT DISTINCT %s FROM ...",
			j.spec.Route, partNames(j.route.Fill.Parts))
	case j.route.Lister == nil:
		return wrong("none of the sources of route %s can list keys", j.spec.Route)
	}
	return nil
}

func partNames(parts []filler.PartSpec) string {
	text := ""
	for i, p := range parts {
		if i > 0 {
			text += ", "
		}
		text += p.Name
	}
	return text
}

// fromTable enumerates the route's keys and has them loaded.
func (j *job) fromTable(ctx context.Context) error {
	columns, err := j.route.Lister.KeyColumns(ctx, &j.route.Fill)
	if err != nil {
		return err
	}
	if n, err := j.route.Lister.Count(ctx, &j.route.Fill); err == nil {
		j.total.Store(n)
	} else if j.spec.Until < 100 {
		return fmt.Errorf("the keys could not be counted, which a share of them needs; leave until out: %w", err)
	}
	cur := j.resume()
	var done mark
	err = j.fed(ctx, func(f *feeder) error {
		done, err = j.pages(ctx, f, columns, cur.after)
		return err
	})
	if err != nil && !errors.Is(err, errEnough) {
		j.remember(done)
	} else {
		j.forget()
	}
	return err
}

// mark is the beginning of a page, and how many keys had been looked at by then.
type mark struct {
	after filler.Cursor
	seen  int64
}

// pages loads page by page from after on and returns where the page begins that was not finished.
func (j *job) pages(ctx context.Context, f *feeder, columns []filler.KeyColumn, after filler.Cursor) (done mark, err error) {
	reading, stop := context.WithCancel(ctx)
	pages, used := make(chan *page, 1), make(chan *page, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(pages)
		j.read(reading, f.throttle, columns, after, pages, used)
	}()
	defer func() {
		stop()
		for range pages { // what was read and is not wanted any more
		}
		<-ended
	}()
	done = mark{after, j.seen.Load()}
	for p := range pages {
		if p.err != nil {
			return done, p.err
		}
		done = mark{p.begin, j.seen.Load()}
		j.seen.Add(p.passed)
		j.passed.Add(p.passed)
		begin := 0
		for i, end := range p.ends {
			if i%store.AheadMost == 0 {
				j.w.o.Store.AheadFill(p.hashes[i:])
			}
			if n := j.seen.Add(1); n%perCheck == 0 && j.enough() {
				return done, errEnough
			}
			if err := f.offer(ctx, p.keys[begin:end], p.hashes[i], j.route.ID, 1); err != nil {
				return done, err
			}
			begin = end
		}
		if err := f.send(ctx); err != nil {
			return done, err
		}
		select {
		case used <- p:
		default:
		}
	}
	return done, ctx.Err()
}

// Pages that cannot be read are asked for again: the database may be on its way back.
const (
	readTries = 5
	readWait  = time.Second
)

// read sends pages until the last one, an error, or ctx's end. It takes used ones again.
func (j *job) read(ctx context.Context, th *throttle, columns []filler.KeyColumn, after filler.Cursor, pages chan<- *page, used <-chan *page) {
	var p *page
	var turn func(keys int) // ends it
	tries := 0
	send := func() error {
		select {
		case pages <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	compose := j.composer(columns)
	for {
		err := j.route.Lister.List(ctx, &j.route.Fill, after, filler.Pages{
			Most: func() (rows int, err error) {
				if turn != nil { // a connection was lost, and the page is asked for once more
					turn(0)
				}
				select {
				case p = <-used:
					*p = page{keys: p.keys[:0], ends: p.ends[:0], hashes: p.hashes[:0], begin: after}
				default:
					p = &page{begin: after}
				}
				if turn, err = th.turn(ctx); th.full {
					return fullPageKeys, err
				}
				return pageKeys, err
			},
			Row: func(vals []filler.Part) { compose(p, vals) },
			End: func(next filler.Cursor) error {
				turn(0)
				turn, tries = nil, 0
				after = next
				return send()
			},
		})
		if turn != nil {
			turn(0)
			turn = nil
		}
		var known *filler.Error
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case tries < readTries && errors.As(err, &known) && (known.Fault == filler.FaultDown || known.Fault == filler.FaultTransient):
			tries++
			sleep(ctx, readWait)
		default:
			p = &page{begin: after, err: err}
			_ = send() // or the job has ended
			return
		}
	}
}

// composer returns what makes canonical keys of rows and adds them to a page.
func (j *job) composer(columns []filler.KeyColumn) func(p *page, vals []filler.Part) {
	keyOf := j.route.Fill.KeyOf(columns)
	var raw []byte
	return func(p *page, vals []filler.Part) {
		raw = keyOf(raw[:0], vals)
		begin := len(p.keys)
		keys, route := j.w.o.Resolve(p.keys, raw)
		if route != j.route.ID {
			p.keys = keys[:begin]
			p.passed++
			return
		}
		p.keys = keys
		p.ends = append(p.ends, len(p.keys))
		p.hashes = append(p.hashes, j.w.o.Hash(keys[begin:]))
	}
}

// resume returns where a job before this one stopped, if what it loaded is still there and fresh, and takes its figures over.
func (j *job) resume() cursor {
	j.w.mu.Lock()
	cur, ok := j.w.cursors[j.spec.Route]
	j.w.mu.Unlock()
	if !ok || cur.query != j.route.Fill.Keys || cur.load != j.route.Fill.Query || time.Since(cur.at) > j.route.Fresh {
		return cursor{}
	}
	held := 0
	for _, key := range cur.sample {
		if j.holds([]byte(key)) {
			held++
		}
	}
	if held < len(cur.sample) {
		return cursor{} // flushed, invalidated, evicted
	}
	j.seen.Store(cur.seen)
	j.present.Store(cur.present)
	j.noRow.Store(cur.noRow)
	j.passed.Store(cur.passed)
	j.resumed.Store(cur.after != nil)
	return cur
}

// remember keeps where the job has come to, if that is behind its first page.
func (j *job) remember(at mark) {
	if at.after == nil {
		return
	}
	cur := cursor{
		query: j.route.Fill.Keys, load: j.route.Fill.Query, after: at.after, at: j.began,
		seen: at.seen, noRow: j.noRow.Load(), passed: j.passed.Load(),
	}
	cur.present = max(at.seen-cur.noRow-cur.passed-j.failed.Load(), 0)
	for _, b := range j.feed.Load().all {
		for i := 0; i < b.Len() && len(cur.sample) < sampleKeys; i++ {
			if key, _ := b.Key(i); j.holds(key) {
				cur.sample = append(cur.sample, string(key))
			}
		}
	}
	j.w.mu.Lock()
	j.w.cursors[j.spec.Route] = cur
	j.w.mu.Unlock()
}

func (j *job) holds(key []byte) bool {
	return j.w.o.Store.Holds(key, j.w.o.Hash(key), j.route.ID, j.w.o.Store.Now())
}

// forget drops what an earlier job remembered: this one came to the end.
func (j *job) forget() {
	j.w.mu.Lock()
	delete(j.w.cursors, j.spec.Route)
	j.w.mu.Unlock()
}
