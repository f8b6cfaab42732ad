package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// reapAll looks at everything that is due.
func (x tester) reapAll() { x.reap(func() bool { return true }) }

func TestEndClasses(t *testing.T) {
	last := -1
	for in := uint32(0); in < 1<<20; in++ {
		c := endClass(in)
		if c != last && c != last+1 {
			t.Fatalf("%d s is of class %d, after class %d", in, c, last)
		}
		if end := classEnd(c); end < in || in >= 8 && end-in > in/4 {
			t.Fatalf("class %d of %d s ends at %d s", c, in, end)
		}
		last = c
	}
	if c := endClass(notDue - 1); c >= endClasses || classEnd(c) < notDue-1 {
		t.Errorf("the longest time is of class %d of %d", c, endClasses)
	}
}

// TestExpiredLeaveByThemselves gives items all kinds of life times and lets time pass: nobody asks for them, and each is
// gone at the latest when it has been over for as long as its segment was there before, everything in the end, and nothing too soon.
func TestExpiredLeaveByThemselves(t *testing.T) {
	spread := map[string]func(*rand.Rand, int) uint32{
		"one minute":     func(*rand.Rand, int) uint32 { return 60 },
		"up to an hour":  func(r *rand.Rand, _ int) uint32 { return 1 + r.Uint32N(3600) },
		"short and long": func(_ *rand.Rand, i int) uint32 { return [2]uint32{5, 3000}[i%2] },
		"one in 1,000 ends": func(_ *rand.Rand, i int) uint32 {
			if i%1000 == 0 {
				return 30
			}
			return 0
		},
		"by powers of two": func(r *rand.Rand, _ int) uint32 { return 1 << r.IntN(12) },
	}
	for name, life := range spread {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			x := newTester(t, Options{Memory: 16 << 20})
			type item struct {
				key            string
				stored, expiry uint32
			}
			var items []item
			ending := 0
			for i := range 20_000 {
				if i%50 == 0 {
					x.c.advance(time.Second)
					x.reapAll()
				}
				it := item{key: fmt.Sprint("key ", i), stored: x.c.now.Second()}
				if d := life(rng, i); d > 0 {
					it.expiry = it.stored + d
					ending++
				}
				checkStatus(t, "set", x.write(Set, 0, it.key, digits(100, i), it.expiry), Stored)
				items = append(items, it)
			}
			for range 100 {
				x.c.advance(time.Duration(1+rng.IntN(80)) * time.Second)
				x.reapAll()
				now := x.c.now.Second()
				for _, it := range items {
					h := testHash([]byte(it.key))
					slot, _ := x.shardOf(h).find(h, []byte(it.key))
					switch {
					case slot == nil && (it.expiry == 0 || now < it.expiry):
						t.Fatalf("%s, for second %d, is gone at %d", it.key, it.expiry, now)
					case slot != nil && it.expiry != 0:
						sh := x.shardOf(h)
						m := sh.segment(*slot)
						if born := sh.st.logs[m.log].ages.at(m.start); now > it.expiry+max(it.expiry-min(born, it.expiry), 1)+1 {
							t.Fatalf("%s, of second %d for second %d, in a segment of second %d, is still held at %d", it.key, it.stored, it.expiry, born, now)
						}
					}
				}
			}
			x.c.advance(time.Hour)
			x.reapAll()
			st := x.Stats()
			if want := int64(len(items) - ending); st.Items != want || st.Reaped+st.Reclaimed != uint64(ending) {
				t.Errorf("%d items left, %d and %d taken out; want %d and %d in all", st.Items, st.Reaped, st.Reclaimed, want, ending)
			}
			if ending == len(items) && st.Bytes != 0 {
				t.Errorf("%d bytes left", st.Bytes)
			}
			if most := uint64(24 * len(items)); st.ReapLooks > most {
				t.Errorf("%d looks at %d items", st.ReapLooks, len(items))
			}
			verify(t, x.Store)
		})
	}
}

// statedTime is how many seconds after their end the documentation says that the memory of items that end together is back: a second
// of the item clock, the background's tick, and what the work takes.
const statedTime = 3

// TestExpiredMemoryIsBackInTime: of items that were stored together for as long, however long that was, all memory is back within the
// stated time but for a shard's last segments, and of those with all kinds of life times what is over never is more
// than an eighth of what is not.
func TestExpiredMemoryIsBackInTime(t *testing.T) {
	for _, life := range fewer(2, []uint32{1, 3600, 5, 60, 86_400, 30 * 86_400}) {
		t.Run(fmt.Sprint(life, " s"), func(t *testing.T) {
			x := newTester(t, Options{Memory: 32 << 20})
			empty := x.Stats().UsedBytes
			open := 3 * int64(x.z.shards) * int64(x.z.segment) // of keys, of payloads and of tables
			for i := range 60_000 {
				if i%20_000 == 19_999 && life > 1 {
					x.c.advance(time.Second / 3)
				}
				checkStatus(t, "set", x.write(Set, 0, fmt.Sprint("key ", i), digits(100, i), x.c.now.Second()+life), Stored)
			}
			full := x.Stats().UsedBytes - empty
			x.c.advance(time.Duration(life) * time.Second)
			for range statedTime {
				x.reapAll()
				x.c.advance(time.Second)
			}
			st := x.Stats()
			if left := st.UsedBytes - empty; left > open || full < 5*open || st.Items > 60_000/20 {
				t.Errorf("%d items, and %d bytes of %d, are there after %d seconds, want at most %d", st.Items, left, full, statedTime, open)
			}
		})
	}
	t.Run("mixed", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(4, 2))
		x := newTester(t, Options{Memory: 32 << 20})
		var ends []uint32
		worst := 0.0
		for sec := range 4000 {
			for range 20 {
				end := x.c.now.Second() + 1 + rng.Uint32N(1<<(3+rng.IntN(10)))
				x.write(Set, 0, fmt.Sprint("key ", len(ends)), digits(100, len(ends)), end)
				ends = append(ends, end)
			}
			x.c.advance(time.Second)
			if x.reapAll(); sec > 1000 && sec%50 == 0 {
				alive := int64(0)
				for _, end := range ends {
					if end > x.c.now.Second() {
						alive++
					}
				}
				worst = max(worst, float64(x.Stats().Items-alive)/float64(alive))
			}
		}
		if worst > 0.125 {
			t.Errorf("what was over was %.3f of what was not", worst)
		}
	})
}

// TestMemoryComesBack: what a flush, an invalidation, a route's end or its clock has ended gives its memory back unasked.
func TestMemoryComesBack(t *testing.T) {
	fill := func(x tester, id RouteID, n int) {
		for i := range n {
			k := fmt.Sprint("key ", i)
			if id == 0 {
				x.write(Set, 0, k, digits(300, i), 0)
				continue
			}
			l := x.get(id, k).leased
			f := Fill{Key: []byte(k), Route: id, Now: x.c.now, Value: []byte(digits(300, i/2)), Absent: i%10 == 0}
			if st := x.PutLease(l, &f); st != PutStored && st != PutNegative {
				t.Fatalf("put %s: %v", k, st)
			}
		}
	}
	for name, end := range map[string]func(tester, RouteID){
		"flush_all":     func(x tester, _ RouteID) { x.FlushAll(x.c.now, 0) },
		"delayed flush": func(x tester, _ RouteID) { x.FlushAll(x.c.now, x.c.now+5000); x.c.advance(5 * time.Second) },
		"invalidate":    func(x tester, id RouteID) { x.Invalidate(id) },
		"route removed": func(x tester, _ RouteID) { x.routes() },
		"shorter route": func(x tester, _ RouteID) {
			r := testRoute
			r.Fresh, r.Stale, r.Keep, r.Negative = 1, 1, 1, 1
			x.routes(r)
			x.c.advance(4 * time.Second)
		},
		"route's clock": func(x tester, _ RouteID) {
			x.c.advance(time.Duration(testRoute.Fresh+testRoute.Stale+testRoute.Keep) * 2 * time.Second)
		},
		"plain, flushed": func(x tester, _ RouteID) { x.FlushAll(x.c.now, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			x := newTester(t, Options{Memory: 16 << 20})
			id := x.routes(testRoute)[0]
			if name == "plain, flushed" {
				id = 0
			}
			empty := x.Stats().UsedBytes
			fill(x, id, 10_000)
			full := x.Stats().UsedBytes
			x.reapAll()
			if st := x.Stats(); st.UsedBytes != full || st.Items+st.NegativeItems != 10_000 {
				t.Fatalf("something left too soon: %+v", st)
			}
			end(x, id)
			x.reapAll()
			st := x.Stats()
			if st.Items+st.NegativeItems != 0 || st.Bytes != 0 {
				t.Errorf("left: %+v", st)
			}
			// Directories and handle tables stay as they are, and a data log's last segment.
			if left := st.UsedBytes - empty; left > (full-empty)/8 {
				t.Errorf("%d of %d bytes came back", full-st.UsedBytes, full-empty)
			}
			if id != 0 {
				id = x.routes(testRoute)[0]
			}
			fill(x, id, 10_000)
			verify(t, x.Store)
		})
	}
}

// TestReapingMixedSegmentsMovesTheRestTogether: what expired among items that stay leaves no holes behind for long.
func TestReapingMixedSegmentsMovesTheRestTogether(t *testing.T) {
	x := newTester(t, Options{Memory: 32 << 20})
	for i := range 40_000 {
		expiry := uint32(0)
		if i%3 != 0 {
			expiry = x.c.now.Second() + 60
		}
		x.write(Set, 0, fmt.Sprint("key ", i), digits(100, i), expiry)
	}
	full := x.Stats()
	x.c.advance(2 * time.Minute)
	x.reapAll()
	st := x.Stats()
	if st.Items != 40_000/3+1 || st.Evictions != 0 {
		t.Fatalf("%d items, %d evicted", st.Items, st.Evictions)
	}
	if gone := full.UsedBytes - st.UsedBytes; gone < (full.Bytes-st.Bytes)*8/10 {
		t.Errorf("%d bytes came back of %d that expired", gone, full.Bytes-st.Bytes)
	}
	for i := 0; i < 40_000; i += 3 {
		x.want(0, fmt.Sprint("key ", i), digits(100, i))
	}
	verify(t, x.Store)
}

// TestTouchedEarlierLeavesEarlier: an exptime that a client has moved is seen by the plan.
func TestTouchedEarlierLeavesEarlier(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	now := x.c.now.Second()
	for i := range 2000 {
		x.write(Set, 0, fmt.Sprint("key ", i), long, now+100_000)
	}
	for i := range 2000 {
		k := []byte(fmt.Sprint("key ", i))
		checkStatus(t, "touch", x.Touch(k, testHash(k), 0, x.c.now, now+10), Touched)
	}
	x.c.advance(25 * time.Second)
	x.reapAll()
	if st := x.Stats(); st.Items != 0 {
		t.Errorf("%d items are left", st.Items)
	}
	verify(t, x.Store)
}

// What no plan would look at yet is taken out when somebody asks for it.
func TestCrawlLooksAtEverything(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	now := x.c.now.Second()
	for i := range 200 {
		x.write(Set, 0, fmt.Sprint("long ", i), long, now+3600)
		x.write(Set, 0, fmt.Sprint("short ", i), long, now+10)
	}
	x.c.advance(11 * time.Second)
	x.reapAll()
	if st := x.Stats(); st.Items != 400 {
		t.Fatalf("%d items are left, so the test shows nothing", st.Items)
	}
	x.Crawl()
	if st := x.Stats(); st.Crawls != 1 || !st.Crawling {
		t.Errorf("asked to crawl: %d runs, under way: %v", st.Crawls, st.Crawling)
	}
	x.reapAll()
	if st := x.Stats(); st.Items != 200 || st.Reaped != 200 {
		t.Errorf("%d items are left, %d were taken out", st.Items, st.Reaped)
	}
	verify(t, x.Store)
}

// A command that finds what is over counts it, whichever way it ended.
func TestReclaimedAreCounted(t *testing.T) {
	x := newTester(t, Options{Memory: 4 << 20})
	flush := func() { x.FlushAll(x.c.now, x.c.now) }
	get := func() { x.lookup(Lookup{Key: []byte("k")}) }
	for _, test := range []struct {
		name string
		end  func()
		meet func()
	}{
		{"expired, got", func() { x.c.advance(3 * time.Second) }, get},
		{"expired, replaced", func() { x.c.advance(3 * time.Second) }, func() { x.write(Set, 0, "k", "new", 0) }},
		{"flushed, got", flush, get},
		{"flushed, replaced", flush, func() { x.write(Set, 0, "k", "new", 0) }},
	} {
		x.write(Set, 0, "k", "old", x.c.now.Second()+2)
		before := x.Stats()
		test.end()
		test.meet()
		test.meet() // which is no longer news
		if st := x.Stats(); st.Reclaimed != before.Reclaimed+1 {
			t.Errorf("%s: counted %d", test.name, st.Reclaimed-before.Reclaimed)
		}
	}
}

func TestHoldClasses(t *testing.T) {
	for d := time.Duration(0); d < 1<<20; d += 3 {
		if end := holdEnd(holdClass(d)); end < d || d >= 16 && end-d > d/8 {
			t.Fatalf("class of %v ends at %v", d, end)
		}
	}
	var h holds
	h.note(HoldEvict, 0, time.Now())
	if r := h.read(HoldEvict); r.Count != 0 {
		t.Errorf("a hold that touched nothing counts: %+v", r)
	}
	for range 200 {
		h.note(HoldEvict, 1, time.Now().Add(-time.Microsecond*50))
	}
	h.note(HoldEvict, 1, time.Now().Add(-time.Second))
	if r := h.read(HoldEvict); r.Count != 201 || r.P50 < 50*time.Microsecond || r.P99 > time.Second/2 || r.Max < time.Second {
		t.Errorf("%+v", r)
	}
}

// TestReapingGoesRound: something that is invalidated again and again does not keep the reaper at one shard.
func TestReapingGoesRound(t *testing.T) {
	x := newTester(t, Options{Memory: 16 << 20})
	id := x.routes(testRoute)[0]
	for i := range 8000 {
		x.write(Set, 0, fmt.Sprint("kept ", i), long, 0)
		x.write(Set, id, fmt.Sprint("r ", i), "v", 0)
		if i%2 == 0 {
			x.write(Set, 0, fmt.Sprint("expires ", i), "v", x.c.now.Second()+1)
		}
	}
	x.c.advance(10 * time.Second)
	holds, looks := 0, x.Stats().ReapLooks
	x.reap(func() bool {
		x.Invalidate(id)
		x.write(Set, id, fmt.Sprint("r ", holds), "v", 0)
		holds++
		return holds < 5000
	})
	looks = x.Stats().ReapLooks - looks
	if holds == 5000 || looks > 40_000 {
		t.Errorf("%d lock holds, %d records looked at", holds, looks)
	}
	if st := x.Stats(); st.Reaped != 4000 {
		t.Errorf("%d expired items were taken out", st.Reaped)
	}
	verify(t, x.Store)
}

// TestFarDeadlines: an end so far off that its double is past the last second is no reason to look at once, again and again.
func TestFarDeadlines(t *testing.T) {
	for _, deadline := range []uint32{1 << 30, 1<<31 - 1, 1 << 31, 1<<31 + 8, 1<<32 - 300, Expired - 1} {
		x := newTester(t, Options{Memory: 1 << 20})
		for i := range 2000 {
			x.write(Set, 0, fmt.Sprint("key ", i), "v", deadline)
		}
		for range 4 {
			x.c.advance(20 * time.Second)
			holds := 0
			x.reap(func() bool { holds++; return holds < 200 })
			if holds > 0 {
				t.Fatalf("deadline %d: looked at, %d lock holds, %d seconds from the start", deadline, holds, x.c.now.Second())
			}
		}
		x.want(0, "key 7", "v")
	}
}
