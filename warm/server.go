package warm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"swordfish/filler/memcache"
	"swordfish/store"
)

// Copies from another server: copyKeys items are asked for in one go, and so many lists of keys wait at most. Values are in memory
// one at a time.
const (
	copyKeys    = 128
	copyWaiting = 8
)

// wanted is a key of another server that is not held here.
type wanted struct {
	raw   []byte // as the other server has it
	key   []byte // as it is stored here
	hash  uint64
	route store.RouteID
	lease store.Lease // of a route's key
}

// fromServer copies the items of another server that are not held here: those of a route as loads that the other server has
// done, plain ones as adds.
func (j *job) fromServer(ctx context.Context) error {
	d, items, err := j.src.Dump(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w; is it running there, and may this machine connect?", j.spec.Addr, err)
	}
	defer d.Close()
	defer j.src.Close()
	j.total.Store(items)
	th := newThrottle(nil, j.spec.Rate, true)
	j.throttle.Store(th)

	listing, stop := context.WithCancel(ctx)
	defer stop()
	lists := make(chan [][]byte, copyWaiting)
	var listed error
	var work sync.WaitGroup
	work.Go(func() {
		defer close(lists)
		listed = list(listing, d, lists)
	})
	err = j.copyLists(ctx, d, th, lists)
	stop()
	for range lists { // what is not wanted any more
	}
	work.Wait()
	if err == nil {
		err = listed
	}
	if err != nil && !errors.Is(err, errEnough) && ctx.Err() == nil {
		err = fmt.Errorf("%s: %w", j.spec.Addr, err)
	}
	return err
}

// list sends the other server's keys, some at a time.
func list(ctx context.Context, d *memcache.Dump, lists chan<- [][]byte) error {
	var keys [][]byte
	send := func() error {
		select {
		case lists <- keys:
			keys = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := d.Keys(ctx, func(key []byte) error {
		if keys = append(keys, append([]byte{}, key...)); len(keys) < copyKeys {
			return nil
		}
		return send()
	})
	if err == nil && len(keys) > 0 {
		err = send()
	}
	return err
}

func (j *job) copyLists(ctx context.Context, d *memcache.Dump, th *throttle, lists <-chan [][]byte) error {
	var want []wanted
	var ask [][]byte
	for keys := range lists {
		want, ask = want[:0], ask[:0]
		for _, key := range keys {
			if x, ok := j.wants(key); ok {
				want, ask = append(want, x), append(ask, key)
			}
		}
		if len(ask) > 0 {
			if err := j.copyItems(ctx, d, want, ask); err != nil {
				return err
			}
		}
		if j.seen.Add(int64(len(keys))); j.enough() {
			return errEnough
		}
		end, err := th.turn(ctx)
		if err != nil {
			return err
		}
		end(len(ask))
	}
	return ctx.Err()
}

// wants tells whether a key is to be copied. On a route it opens the key's lease, so that a client's write or delete from now on
// keeps the copy out.
func (j *job) wants(raw []byte) (wanted, bool) {
	if len(raw) > maxKey {
		j.failed.Add(1)
		return wanted{}, false
	}
	canonical, route := j.w.o.Resolve(nil, raw)
	if j.route.ID != 0 && route != j.route.ID {
		j.passed.Add(1)
		return wanted{}, false
	}
	x := wanted{raw: raw, key: canonical, hash: j.w.o.Hash(canonical), route: route}
	now := j.w.o.Store.Now()
	if route == 0 {
		if j.w.o.Store.Holds(x.key, x.hash, 0, now) {
			j.present.Add(1)
			return x, false
		}
		return x, true
	}
	var it store.Item
	worth := j.w.o.Store.Offer(x.key, x.hash, route, now, 0, true, &it)
	if x.lease = it.Lease; x.lease.Serial != 0 {
		return x, true
	}
	if it.NoRoom {
		j.failed.Add(1)
	} else {
		j.found(worth, true, 0)
	}
	return x, false
}

// maxKey is the longest key there is.
const maxKey = 250

// copyItems asks for the wanted items and puts them. Every lease has ended when it returns.
func (j *job) copyItems(ctx context.Context, d *memcache.Dump, want []wanted, ask [][]byte) error {
	put := make([]bool, len(want))
	defer func() {
		for i := range want {
			if want[i].lease.Serial != 0 && !put[i] {
				j.w.o.Store.EndLease(want[i].lease)
			}
		}
	}()
	answered, asked := 0, j.w.o.Store.Now()
	err := d.Items(ctx, ask, func(i int, it *memcache.Dumped) error {
		x := &want[i]
		if put[i] {
			return errors.New("the server answers a key twice")
		}
		answered++
		switch {
		case it.TooLarge:
			j.failed.Add(1)
		case x.route != 0:
			put[i] = true
			j.fill(x, it, asked)
		default:
			j.add(x, it, asked)
		}
		return nil
	})
	if err == nil {
		j.noRow.Add(int64(len(want) - answered)) // expired or deleted meanwhile
	}
	return err
}

// fill puts a copy of a route's item, which was asked for at that moment.
func (j *job) fill(x *wanted, it *memcache.Dumped, asked store.Time) {
	now := j.w.o.Store.Now()
	f := store.Fill{Key: x.key, Route: x.route, Now: now, Value: it.Value, Flags: it.Flags, Deadline: deadline(now, asked, it.TTL), Stale: it.Stale}
	if j.spec.From == Peer {
		f.Age = uint32(it.Age / time.Second)
	}
	switch j.w.o.Store.PutLease(x.lease, &f) {
	case store.PutStored, store.PutSame:
		j.loaded.Add(1)
	case store.PutKilled, store.PutKept:
		j.present.Add(1)
	default:
		j.failed.Add(1)
	}
}

// add puts a copy of a plain item, unless a client has stored one by now.
func (j *job) add(x *wanted, it *memcache.Dumped, asked store.Time) {
	now := j.w.o.Store.Now()
	st, _ := j.w.o.Store.Write(&store.Write{
		Op: store.Add, Key: x.key, Hash: x.hash, Now: now, Value: it.Value, Flags: it.Flags, Deadline: deadline(now, asked, it.TTL), BinaryKey: it.BinaryKey,
	})
	switch st {
	case store.Stored:
		j.loaded.Add(1)
	case store.NotStored:
		j.present.Add(1)
	default:
		j.failed.Add(1)
	}
}

// deadline is the second of the item clock at which ttl ends, as the other server told it after it was asked; 0 is no end. Answers may
// have waited for us, so it counts from the question: a copy never outlives its original.
func deadline(now, asked store.Time, ttl time.Duration) uint32 {
	if ttl <= 0 {
		return store.NoDeadline
	}
	seconds := min(int64(ttl/time.Second), 1<<30)
	return max(asked.Second()+uint32(seconds), now.Second()+1)
}
