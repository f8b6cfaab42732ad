package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPinOutlivesItem(t *testing.T) {
	x := newTester(t, Options{Memory: 8 << 20, MaxItem: 1 << 20})
	value := strings.Repeat("pinned", 20_000)
	x.write(Set, 0, "a", value, NoDeadline)
	x.write(Set, 0, "short", strings.Repeat("s", 2000), NoDeadline)
	x.write(Set, 0, "short again", strings.Repeat("s", 2000), NoDeadline)
	get := func(key string) (Pin, []byte, bool) {
		var it Item
		if !x.Get(&Lookup{Key: []byte(key), Hash: testHash([]byte(key)), Now: x.c.now}, &it) {
			t.Fatalf("%s is gone", key)
		}
		defer it.Release()
		pin, ok := it.Pin()
		return pin, it.Value, ok
	}
	for _, key := range []string{"short", "short again"} {
		if _, _, ok := get(key); ok {
			t.Errorf("%s: a value that may move was pinned", key)
		}
	}
	first, bytesOf, ok := get("a")
	if !ok {
		t.Fatal("a large value was not pinned")
	}
	second, _, _ := get("a")
	x.Delete([]byte("a"), testHash([]byte("a")), 0, x.c.now, 0)
	for i := range 40 { // five times the limit
		x.write(Set, 0, "k", strings.Repeat(fmt.Sprint(i%10), 1_000_000), NoDeadline)
	}
	first.Release()
	for i := range 40 {
		x.write(Set, 0, "k", strings.Repeat(fmt.Sprint(i%10), 1_000_000), NoDeadline)
	}
	if string(bytesOf) != value {
		t.Error("the bytes have changed under the pin")
	}
	pinned := x.Stats().DataBytes
	second.Release()
	if freed := pinned - x.Stats().DataBytes; freed != int64(len(value)) {
		t.Errorf("%d bytes came free with the last pin, want %d", freed, len(value))
	}
}

// TestLargeValueIsReplacedInPlace: one large value after another takes no page from the system that it had before.
func TestLargeValueIsReplacedInPlace(t *testing.T) {
	x := newTester(t, Options{Memory: 64 << 20})
	for i := range 100 {
		x.write(Set, 0, "k", strings.Repeat(fmt.Sprint(i%10), 1_000_000), NoDeadline)
	}
	// The new value is there before the old one goes.
	if most := int64(2 * pagesFor(dataHead+1_000_000) * pageSize); x.p.paged.Load()*2 != most || int64(x.p.longHint)*pageSize > most {
		t.Errorf("%d bytes in runs, and the area was used up to %d, want at most %d", x.p.paged.Load(), x.p.longHint*pageSize, most)
	}
}

// TestPoolRuns takes and gives back runs, segments and bytes at random: no page is dealt out twice, and what is memory stays
// within the limit.
func TestPoolRuns(t *testing.T) {
	s, _ := open(t, Options{Memory: 16 << 20})
	p := s.p
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		owner := map[int]bool{}
		type run struct{ first, pages int }
		var runs []run
		var segments []uint32
		charged := int64(0)
		for range 5000 {
			switch rng.IntN(8) {
			case 0, 1, 2:
				n := 1 + rng.IntN(1<<rng.IntN(9))
				off, ok := p.takePages(n)
				if !ok {
					continue
				}
				first := int((off - p.z.offPages) / pageSize)
				for i := first; i < first+n; i++ {
					if owner[i] {
						t.Fatalf("seed %d: page %d was dealt out twice", seed, i)
					}
					owner[i] = true
				}
				s.a.mem[off]++
				runs = append(runs, run{first, n})
			case 3, 4, 5:
				if len(runs) == 0 {
					continue
				}
				i := rng.IntN(len(runs))
				r := runs[i]
				runs[i] = runs[len(runs)-1]
				runs = runs[:len(runs)-1]
				for i := r.first; i < r.first+r.pages; i++ {
					delete(owner, i)
				}
				p.freePages(p.z.offPages+uint64(r.first)*pageSize, r.pages)
			case 6:
				if seg, ok := p.segment(forWrite, false); ok {
					segments = append(segments, seg)
				}
				if p.charge(4096) {
					charged += 4096
				}
			case 7:
				if n := len(segments); n > 0 {
					p.release(segments[n-1])
					segments = segments[:n-1]
				}
			}
			if most := p.limit.Load() - p.z.fixed; p.resident > most {
				t.Fatalf("seed %d: %d bytes are memory, the limit leaves %d", seed, p.resident, most)
			}
			warm := 0
			for _, w := range p.warm {
				warm += w.pages
			}
			taken := 0
			for _, w := range p.pageMap {
				for ; w != 0; w &= w - 1 {
					taken++
				}
			}
			if taken != warm+len(owner) || p.paged.Load() != int64(len(owner))*pageSize {
				t.Fatalf("seed %d: %d pages are marked, %d are dealt out and %d warm", seed, taken, len(owner), warm)
			}
		}
		for _, r := range runs {
			p.freePages(p.z.offPages+uint64(r.first)*pageSize, r.pages)
		}
		for _, seg := range segments {
			p.release(seg)
		}
		p.charge(-charged)
	}
}

// TestSameLargeValueAtOnce: several writers of one payload share one datum, however close together they come.
func TestSameLargeValueAtOnce(t *testing.T) {
	x := newTester(t, Options{Memory: 64 << 20})
	for round := range 50 {
		value := bytes.Repeat([]byte{byte('a' + round%26)}, 300_000+round)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				key := []byte(fmt.Sprint("k", i))
				x.Write(&Write{Op: Set, Key: key, Hash: testHash(key), Now: x.c.now, Value: value})
			})
		}
		wg.Wait()
		if st := x.Stats(); st.Data != 1 || st.References != 4 || x.p.paged.Load() != int64(pagesFor(dataHead+len(value)))*pageSize {
			t.Fatalf("round %d: %d data, %d references, %d bytes in runs", round, st.Data, st.References, x.p.paged.Load())
		}
	}
}

// TestPatientWriteIsPutOff: a write that would have to evict too long for itself says so, and has done nothing: until it is
// done the key has its old value.
func TestPatientWriteIsPutOff(t *testing.T) {
	x := newTester(t, Options{Memory: 32 << 20, MaxItem: 5 << 20, RoomTime: 1}) // a write evicts next to nothing for itself
	for i := range 150_000 {
		x.write(Set, 0, fmt.Sprint("small", i), digits(200, i), NoDeadline)
	}
	noMemory := x.Stats().NoMemory
	const n, size = 8, 4_000_000
	for i := range n {
		x.write(Set, 0, fmt.Sprint("k", i), "old", NoDeadline)
	}
	later := 0
	for i := range n {
		key := fmt.Sprint("k", i)
		w := Write{Op: Set, Key: []byte(key), Hash: testHash([]byte(key)), Now: x.c.now, Value: bytes.Repeat([]byte{byte(i)}, size), Patient: true}
		st, _ := x.Write(&w)
		for waits := 0; st == Later; waits++ {
			if waits > 1000 {
				t.Fatal("there is never room")
			}
			if got := x.get(0, key); got.ok && got.value != "old" { // it may be evicted
				t.Fatalf("write %d was put off, and the value is %.20q", i, got.value)
			}
			if w.Short.bytes < size {
				t.Fatalf("room for %d bytes is asked for", w.Short.bytes)
			}
			x.AwaitRoom(w.Short, time.Second)
			st, _ = x.Write(&w)
			later++
		}
		if st != Stored {
			t.Fatalf("write %d: %v", i, st)
		}
	}
	if later == 0 {
		t.Error("no write was put off")
	}
	if got := x.Stats().NoMemory - noMemory; got != 0 {
		t.Errorf("%d writes found no memory", got)
	}
	for i := range n {
		x.del(0, fmt.Sprint("k", i))
	}
	if got := x.p.paged.Load(); got != 0 { // nothing of the tries is left
		t.Errorf("%d bytes are left in runs", got)
	}
	t.Logf("put off %d times", later)
}

// TestNothingToWaitFor: where eviction is off, or all has been evicted, a write is answered, not put off.
func TestNothingToWaitFor(t *testing.T) {
	x := newTester(t, Options{Memory: 8 << 20, NoEvict: true})
	for i := 0; ; i++ {
		w := Write{Op: Set, Key: fmt.Append(nil, "k", i), Now: x.c.now, Value: bytes.Repeat([]byte{byte(i)}, 1_000_000), Patient: true}
		w.Hash = testHash(w.Key)
		if st, _ := x.Write(&w); st == NoMemory {
			break
		} else if st != Stored {
			t.Fatalf("write %d: %v", i, st)
		}
	}
	x.AwaitRoom(Shortage{bytes: 1 << 20}, time.Hour) // comes back
}

// TestRefusalsAreCheap: where nothing is evicted, a full store does not look everywhere for something to free at each write that it
// refuses; once something has gone, it stores again.
func TestRefusalsAreCheap(t *testing.T) {
	x := newTester(t, Options{Memory: 8 << 20, NoEvict: true, RoomTime: time.Minute})
	n := 0
	for refused := 0; refused < 1000; n++ { // until every shard is full
		if x.write(Set, 0, fmt.Sprint("k", n), digits(300, n), NoDeadline) == NoMemory {
			refused++
		}
	}
	before, refused := x.Stats().Passes, uint64(0)
	for i := range 1000 { // a few still find a table of the index with room
		if x.write(Set, 0, fmt.Sprint("more", i), digits(300, i), NoDeadline) == NoMemory {
			refused++
		}
	}
	if got := x.Stats().Passes - before; refused < 900 || got > refused/50 {
		t.Errorf("%d passes for %d refusals", got, refused)
	}
	for i := range n / 2 { // every second one, so that no segment comes free by itself
		x.del(0, fmt.Sprint("k", 2*i))
	}
	for i := range n / 4 {
		checkStatus(t, "a write after deletes", x.write(Set, 0, fmt.Sprint("again", i), digits(300, i), NoDeadline), Stored)
	}
	verify(t, x.Store)
}

// TestPoolWorksInPieces: nobody holds the pool's lock for long: what is given back to the system at a time is bounded however
// large the runs are, and so is one look for free pages.
func TestPoolWorksInPieces(t *testing.T) {
	s, _ := open(t, Options{Memory: 64 << 20, MaxItem: 16 << 20})
	p := s.p
	page := func(off uint64) int { return int((off - p.z.offPages) / pageSize) }
	take := func(n int) uint64 {
		t.Helper()
		off, ok := p.takePages(n)
		if !ok {
			t.Fatalf("no run of %d pages", n)
		}
		return off
	}
	const big = 16 << 20 / pageSize
	large := take(big)
	var runs []uint64
	for range 3 * warmRuns { // every other one stays, so that none becomes one with its neighbours
		runs = append(runs, take(2))
	}
	p.freePages(large, big)
	for i := 0; i < len(runs); i += 2 {
		before := p.resident
		p.freePages(runs[i], 2)
		if gone := before - p.resident; gone > coolMost {
			t.Fatalf("%d bytes were given back to the system at once", gone)
		}
	}
	if len(p.warm) > 2*warmRuns {
		t.Errorf("%d runs are remembered", len(p.warm))
	}
	for len(p.warm) > 0 {
		p.coolRun(p.warm[0].pages)
	}
	for i := 0; i < p.z.pages-big; i += 2 { // no two pages together but at the far end
		p.pageMap[i/64] |= 1 << (i % 64)
	}
	looks := 0
	for from, first := 0, -1; first < 0; looks++ {
		was := from
		if first, from = p.findRun(from, p.z.pages, 4); first < 0 && from-was > 3*findMost {
			t.Fatalf("one look went from page %d to %d", was, from)
		}
	}
	if looks < 5 {
		t.Errorf("%d looks found a run", looks)
	}
	if first := page(take(4)); first < p.z.pages-big-1 {
		t.Errorf("pages from %d on were dealt out twice", first)
	}
}

// TestLongRunsFindPlaceAmongShortOnes: values of some pages that come and go for long leave place for those of a megabyte, also
// where the page area is only twice the limit.
func TestLongRunsFindPlaceAmongShortOnes(t *testing.T) {
	x := newTester(t, Options{Memory: 16 << 20, MaxItem: 1 << 20, RoomTime: time.Minute})
	if err := x.SetMemory(int64(x.z.capacity)); err != nil {
		t.Fatal(err)
	}
	x.z.pages = int(2 * x.p.limit.Load() / pageSize)
	rng := rand.New(rand.NewPCG(3, 1))
	value := make([]byte, 1_000_000)
	items := int(x.p.limit.Load() / 30_000)
	for turn := range rounds(6, 3) {
		for i := range 2 * items {
			k := fmt.Sprint("key ", rng.IntN(items))
			x.get(0, k)
			x.get(0, k)
			copy(value, fmt.Sprintf("%09d %09d", turn, i))
			x.write(Set, 0, k, string(value[:17_000+rng.IntN(63_000)]), 0)
		}
		for i := range 5 {
			copy(value, fmt.Sprintf("large %09d %09d", turn, i))
			if st := x.write(Set, 0, fmt.Sprint("large ", i), string(value), 0); st != Stored {
				t.Fatalf("turn %d: large value %d: %v, with %d KiB free", turn, i, st, x.p.avail.Load()>>10)
			}
		}
	}
	verify(t, x.Store)
}
