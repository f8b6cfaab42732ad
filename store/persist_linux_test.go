package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keeper opens stores over one file, each with a clock of its own.
type keeper struct {
	t    *testing.T
	file string
	o    Options
}

func newKeeper(t *testing.T, o Options) *keeper {
	o.KeyHash, o.Digest, o.manual = testHash, testDigest, true
	o.File = filepath.Join(t.TempDir(), "memory")
	o.Seed[3] = 7
	return &keeper{t, o.File, o}
}

func (k *keeper) open() tester {
	k.t.Helper()
	x, err := k.tryOpen()
	if err != nil {
		k.t.Fatal(err)
	}
	return x
}

func (k *keeper) tryOpen() (tester, error) {
	s, err := Open(k.o)
	if err != nil {
		return tester{}, err
	}
	return tester{k.t, s, &clock{now: s.Now()}}, nil
}

func (k *keeper) save(x tester) {
	k.t.Helper()
	if err := errors.Join(x.Save(), x.Close()); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keeper) wantCold(x tester, why string) {
	k.t.Helper()
	if warm, reason := x.Warm(); warm || !strings.Contains(reason, why) {
		k.t.Errorf("warm %v: %q, want a cold start: %q", warm, reason, why)
	}
	if st := x.Stats(); st.Items != 0 || st.UsedBytes > x.z.fixed+8*int64(x.z.segment)+1<<20 {
		k.t.Errorf("a cold start with %+v", st)
	}
}

// contents is everything that Walk and Get tell of a store.
func contents(x tester, ids ...RouteID) map[string]string {
	all := map[string]string{}
	var c Cursor
	var keys []Walked
	for more := true; more; {
		more = x.Walk(&c, x.c.now, 1000, func(w *Walked) {
			k := *w
			k.Key = bytes.Clone(w.Key)
			keys = append(keys, k)
		})
	}
	for _, w := range keys {
		a := x.lookup(Lookup{Key: w.Key, Route: w.Route, NoBump: true})
		all[string(w.Key)] = fmt.Sprint(a.ok, w.Route, w.Flags, w.CAS, w.Deadline, w.Fetched, w.BinaryKey, w.Size, a.value)
	}
	return all
}

func TestSavedStoreGoesOn(t *testing.T) {
	for _, memory := range []int64{1 << 20, 16 << 20} {
		t.Run(fmt.Sprintf("-m %d", memory>>20), func(t *testing.T) {
			k := newKeeper(t, Options{Memory: memory})
			x := k.open()
			k.wantCold(x, "it is new")
			other := testRoute
			other.Name = "other"
			ids := x.routes(testRoute, other)
			rng := rand.New(rand.NewPCG(5, 5))
			fill := func(n int) {
				for i := range n {
					key := fmt.Sprint("key ", i)
					value := digits(1+rng.IntN(400), rng.IntN(300))
					if i%997 == 0 {
						value = strings.Repeat(value+"x", 20_000/len(value))
					}
					switch i % 4 {
					case 0, 1:
						w := Write{Op: Set, Key: []byte(key), Hash: testHash([]byte(key)), Now: x.c.now, Value: []byte(value), Flags: uint32(i % 3), WantCAS: i%8 == 1}
						if i%5 == 0 {
							w.Deadline = x.c.now.Second() + 1000
						}
						x.Write(&w)
					default:
						if l := x.get(ids[i%2], key).leased; l.Serial != 0 {
							x.PutLease(l, &Fill{Key: []byte(key), Route: ids[i%2], Now: x.c.now, Value: []byte(value), Absent: i%50 == 3})
						}
					}
				}
			}
			fill(6000)
			for i := range 1000 {
				x.del(0, fmt.Sprint("key ", 4*i))
			}
			before := contents(x)
			if len(before) < 1000 {
				t.Fatalf("only %d items", len(before))
			}
			x.stop()
			cas := x.lookup(Lookup{Key: []byte("key 5001"), WantCAS: true}).item.CAS
			before = contents(x)
			stats := x.Stats()
			open := x.get(ids[0], "lease").leased
			k.save(x)
			if st, err := os.Stat(k.file); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", st.Mode(), err)
			}

			x = k.open()
			if warm, why := x.Warm(); !warm {
				t.Fatalf("cold: %s", why)
			}
			if _, err := os.Stat(k.file + metaSuffix); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the meta file is still there: %v", err)
			}
			if got := x.routes(testRoute, other); got[0] != ids[0] || got[1] != ids[1] {
				t.Fatalf("routes got other ids: %v", got)
			}
			after := contents(x)
			for key, want := range before {
				if after[key] != want {
					t.Fatalf("%s: %.80q, want %.80q", key, after[key], want)
				}
			}
			if len(after) != len(before) {
				t.Errorf("%d items, want %d", len(after), len(before))
			}
			now := x.Stats()
			if now.Data != stats.Data || now.References != stats.References || now.Bytes != stats.Bytes || now.Leases != 0 || now.Evictions != 0 {
				t.Errorf("stats %+v, want %+v", now, stats)
			}
			checkStatus(t, "put by an old lease", x.put(open, ids[0], "lease", "old"), PutKilled)
			x.write(Set, 0, "new", "v", 0)
			if a := x.lookup(Lookup{Key: []byte("new"), WantCAS: true}); x.z.shards == 1 && a.item.CAS <= cas {
				t.Errorf("CAS %d after %d", a.item.CAS, cas)
			}
			fill(20_000) // it evicts, compacts, splits and goes on
			x.FlushAll(x.c.now, 0)
			x.reapAll()
			if st := x.Stats(); st.Items+st.NegativeItems != 0 {
				t.Errorf("%d items after a flush", st.Items)
			}
			fill(3000)
			x.del(0, "key 1994") // leaves pages free
			x.stop()             // or the background may still evict
			before = contents(x)
			k.save(x)
			x = k.open()
			x.routes(testRoute, other)
			if after := contents(x); len(after) != len(before) {
				t.Errorf("the second time %d items, want %d", len(after), len(before))
			}
			verify(t, x.Store)
			if err := x.Close(); err != nil {
				t.Error(err)
			}
			k.wantCold(k.open(), "clean stop")
		})
	}
}

// TestSavedClockGoesOn: what expires while nobody runs is gone afterwards, and a flush that was due is done.
func TestSavedClockGoesOn(t *testing.T) {
	k := newKeeper(t, Options{Memory: 1 << 20})
	x := k.open()
	id := x.routes(testRoute)[0]
	sec := x.c.now.Second()
	x.write(Set, 0, "short", "v", sec+50)
	x.write(Set, 0, "longer", "v", sec+1000)
	l := x.get(id, "filled").leased
	checkStatus(t, "put", x.put(l, id, "filled", "v"), PutStored)
	x.del(id, "settling")
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	x.hdr.saved.wall -= int64(60 * time.Second) // a minute passes
	resum(t, x)
	x.Close()
	x = k.open()
	if x.c.now.Second() < sec+59 {
		t.Errorf("the clock stands at %d after %d and a minute", x.c.now.Second(), sec)
	}
	x.routes(testRoute)
	x.wantMiss(0, "short", TTLOver)
	x.want(0, "longer", "v")
	if a := x.get(id, "filled"); a.ok != (60 < testRoute.Fresh+testRoute.Stale) {
		t.Errorf("the filled item: %v", a.ok)
	}
	x.FlushAll(x.c.now, x.c.now+30_000)
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	x.hdr.saved.wall += int64(time.Hour) // a wall clock that went back does not take the item clock along
	resum(t, x)
	was := x.c.now
	x.Close()
	x = k.open()
	if x.c.now < was || x.c.now > was+10_000 {
		t.Errorf("the clock stands at %d after %d", x.c.now, was)
	}
	x.want(0, "longer", "v")
	x.c.advance(30 * time.Second)
	x.wantMiss(0, "longer", Flushed)
	x.Close()
}

// Whoever still uses a store that is saved waits, and what is saved is whole but for what they had in hand.
func TestSaveHoldsLateUsers(t *testing.T) {
	k := newKeeper(t, Options{Memory: 4 << 20})
	x := k.open()
	x.routes(testRoute)
	const keys = 1000 // of each writer
	keyOf := func(n, i int) string { return fmt.Sprintf("key %d %d", n, i%keys) }
	valueOf := func(key string) string { return strings.Repeat(key, 5+len(key)%3*20) }
	begun := make(chan struct{})
	for n := range 4 { // they end with the process
		go func() {
			for i := 0; ; i++ {
				key := []byte(keyOf(n, i))
				x.Write(&Write{Op: Set, Key: key, Hash: testHash(key), Value: []byte(valueOf(string(key))), Now: x.Now()})
				if i == keys {
					begun <- struct{}{}
				}
			}
		}()
	}
	for range 4 {
		<-begun
	}
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	for _, suffix := range []string{"", metaSuffix} { // the file itself is in use
		b, err := os.ReadFile(k.o.File + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k.o.File = copied
	y := k.open()
	y.routes(testRoute)
	if warm, why := y.Warm(); !warm {
		t.Error(why)
	}
	for n := range 4 {
		for i := range keys {
			y.want(0, keyOf(n, i), valueOf(keyOf(n, i)))
		}
	}
	y.Close()
}

// A program may have to give up before it knows its routes. Their items are there for the next.
func TestSaveBeforeRoutesAreKnown(t *testing.T) {
	k := newKeeper(t, Options{Memory: 1 << 20})
	x := k.open()
	id := x.routes(testRoute)[0]
	l := x.get(id, "filled").leased
	checkStatus(t, "put", x.put(l, id, "filled", "v"), PutStored)
	for i := range 3000 { // so that something is due
		x.write(Set, 0, fmt.Sprint("short ", i), "v", Expired)
	}
	k.save(x)
	k.save(k.open())
	x = k.open()
	if got := x.routes(testRoute)[0]; got != id {
		t.Fatalf("the route has got id %d, not %d", got, id)
	}
	if a := x.get(id, "filled"); !a.ok {
		t.Error("its item is gone")
	}
	verify(t, x.Store)
	x.Close()
}

// resum writes FILE.meta anew after a test has changed the header.
func resum(t *testing.T, x tester) {
	t.Helper()
	if err := os.WriteFile(x.opt.File+metaSuffix, fmt.Appendf(nil, metaFormat, x.z.total, x.sum()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSavedFileThatDoesNotFit starts cold and says why, whatever is wrong with the file; never with a wrong item.
func TestSavedFileThatDoesNotFit(t *testing.T) {
	k := newKeeper(t, Options{Memory: 2 << 20, MaxItem: 1 << 18})
	x := k.open()
	for i := range 5000 {
		x.write(Set, 0, fmt.Sprint("key ", i), digits(10+i%300, i%700), 0)
	}
	x.write(Set, 0, "large", strings.Repeat("large ", 20_000), 0)
	k.save(x)
	whole, err := os.ReadFile(k.file)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := os.ReadFile(k.file + metaSuffix)
	if err != nil {
		t.Fatal(err)
	}
	put := func(bytes []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(k.file, bytes, 0o600), os.WriteFile(k.file+metaSuffix, meta, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(why string) {
		t.Helper()
		x := k.open()
		k.wantCold(x, why)
		x.write(Set, 0, "k", "v", 0)
		x.want(0, "k", "v")
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
	var places []int // that are not zero, so in use
	rng := rand.New(rand.NewPCG(1, 1))
	for len(places) < rounds(60, 12) {
		if i := rng.IntN(len(whole)); whole[i] != 0 {
			places = append(places, i)
		}
	}
	warm := 0
	for _, i := range places {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1 << rng.IntN(8)
		put(damaged)
		x := k.open()
		if ok, _ := x.Warm(); ok { // a print of a key or a payload: of no consequence
			warm++
			for i := range 5000 {
				want := digits(10+i%300, i%700)
				if a := x.get(0, fmt.Sprint("key ", i)); a.ok && a.value != want {
					t.Fatalf("key %d is %.50q, want %.50q", i, a.value, want)
				}
			}
		}
		x.Close()
	}
	if warm > len(places)/2 {
		t.Errorf("%d of %d damaged files were taken", warm, len(places))
	}
	for _, cut := range []int{0, 1, 100, 5000, bytes.LastIndexByte(whole, 'l'), int(x.z.offSegments) + 100} {
		put(whole[:cut])
		x := k.open()
		if ok, _ := x.Warm(); ok {
			t.Errorf("a file cut at %d was taken", cut)
		}
		x.Close()
	}
	z := &x.z
	damaged := bytes.Clone(whole) // what the sum does not tell of does no harm
	for i := range z.ghostBuckets {
		damaged[z.offShard+alignUp(sizeOf[shardState](), 64)+uint64(z.leaseBuckets)*sizeOf[leaseBucket]()+
			uint64(i+1)*sizeOf[printBucket]()-1] |= 0x80
	}
	for i := range z.metBuckets {
		damaged[z.offData+z.offMet+uint64(i+1)*sizeOf[printBucket]()-1] |= 0x80
	}
	put(damaged)
	x = k.open()
	if warm, why := x.Warm(); !warm {
		t.Errorf("cold: %s", why)
	}
	for i := range 20_000 {
		x.write(Set, 0, fmt.Sprint("more ", i), digits(100, i), 0)
	}
	verify(t, x.Store)
	x.Close()
	put(whole)
	k.o.Memory = 4 << 20
	check("-m 2, not 4")
	k.o.Memory = 2 << 20
	put(whole)
	k.o.Seed[0]++
	check("another secret")
	k.o.Seed[0]--
	put([]byte("something else\n" + strings.Repeat("x", 100_000)))
	check("no memory file")
	put(whole)
	if seed, ok := SavedSeed(k.file); !ok || seed != k.o.Seed {
		t.Errorf("the seed of the file is %v, %v", seed, ok)
	}
	x = k.open()
	if ok, why := x.Warm(); !ok {
		t.Errorf("the whole file: %s", why)
	}
	x.want(0, "key 4999", digits(10+4999%300, 4999%700))
	if _, err := k.tryOpen(); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second store over the file: %v", err)
	}
	x.Close()
	if _, ok := SavedSeed(k.file); ok {
		t.Error("a file in use or left in use has a seed to offer")
	}

	for name, text := range map[string]string{"empty": "", "foreign": "Tmain\nKmem_limit 64\n"} {
		if err := os.WriteFile(k.file+metaSuffix, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := k.tryOpen(); !errors.Is(err, ErrMeta) {
			t.Errorf("%s meta file: %v", name, err)
		}
	}
	os.Remove(k.file + metaSuffix)
	link := k.file + ".link"
	if err := os.Symlink(k.file, link); err != nil {
		t.Fatal(err)
	}
	k.o.File = link
	if _, err := k.tryOpen(); err == nil {
		t.Error("a symbolic link was followed")
	}
}

// TestMemoryFileNeedsRoom: a limit that the file's system cannot hold is refused, at the start and when it is raised.
func TestMemoryFileNeedsRoom(t *testing.T) {
	k := newKeeper(t, Options{Memory: 1 << 20})
	x := k.open()
	defer x.Close()
	if err := roomFor(x.a.file, 1<<60); err == nil {
		t.Error("there is room for an exbibyte")
	}
	if err := x.SetMemory(2 << 20); err != nil {
		t.Error(err)
	}
}

// TestSavedAboveTheLimitComesDown: what a raised limit has let in is within the limit again after a restart, though nobody writes.
func TestSavedAboveTheLimitComesDown(t *testing.T) {
	k := newKeeper(t, Options{Memory: 8 << 20, MaxItem: 1 << 16})
	x := k.open()
	if err := x.SetMemory(16 << 20); err != nil {
		t.Fatal(err)
	}
	for i := range 60_000 {
		x.write(Set, 0, fmt.Sprint("key ", i), digits(300, i), 0)
	}
	k.save(x)
	y := k.open()
	for end := time.Now().Add(10 * time.Second); y.Stats().UsedBytes > 8<<20 && time.Now().Before(end); {
		y.get(0, "key 59999") // as clients do meanwhile
	}
	if st := y.Stats(); st.UsedBytes > 8<<20 || st.Items < 5000 {
		t.Errorf("%d items, %d bytes used", st.Items, st.UsedBytes)
	}
	k.save(y)
}
