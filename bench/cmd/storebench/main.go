// Command storebench measures the store without a server: how long its passes hold a lock, what a get waits for meanwhile, how
// much of the memory is live when sizes drift, what the garbage collector has to do, what snapshots take, and how many keys a
// machine holds. It prints one Markdown section a measurement.
//
//	go run ./bench/cmd/storebench -keys 10000000 expiry drift
package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"flag"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"swordfish/hasher"
	"swordfish/store"
)

// measurements by name, in the order in which all of them run.
var measurements = []struct {
	name, help string
	run        func(keys int)
}{
	{"eviction", "lock holds and gets while a full cache is written to", eviction},
	{"expiry", "lock holds and gets while half of the keys expire in one second", expiry},
	{"flush", "lock holds and gets while a prefix, a route and then everything is invalidated", flush},
	{"drift", "live bytes after the sizes of values have changed", drift},
	{"gc", "a forced garbage collection", collect},
	{"restart", "going on with a memory file", restart},
	{"snapshot", "writing and loading a snapshot beside gets; goals are for -keys 5000000", snapshots},
	{"footprint", "bytes a key of plain and of loaded items, with -keys", footprint},
	{"large", "bytes a key, load rate and gets with -keys, 200-byte payloads of which a hundredth are different", large},
}

func main() {
	keys := flag.Int("keys", 10_000_000, "how many `keys`")
	flag.IntVar(&passBackground, "pass", 0, "records that a pass in the background works on while it holds a lock; 0: the store's default")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: storebench [-keys N] [measurement...]; without one, all but large:")
		for _, m := range measurements {
			fmt.Fprintf(os.Stderr, "  %-10s %s\n", m.name, m.help)
		}
	}
	flag.Parse()
	commit, _ := exec.Command("git", "describe", "--always", "--dirty=+").Output()
	fmt.Printf("%s, %d CPUs, %s, commit %s, %s\n\n`storebench -keys %d %s`\n", cpuModel(), runtime.NumCPU(), runtime.Version(),
		strings.TrimSpace(string(commit)), time.Now().Format("2006-01-02"), *keys, strings.Join(flag.Args(), " "))
	if passBackground > 0 {
		fmt.Printf("\nPasses in the background work on %d records at a time.\n", passBackground)
	}
	known := 0
	for _, m := range measurements {
		asked := flag.NArg() == 0 && m.name != "large"
		for _, name := range flag.Args() {
			asked = asked || name == m.name
		}
		if asked {
			known++
			m.run(*keys)
		}
	}
	if known < max(flag.NArg(), 1) {
		flag.Usage()
		os.Exit(64)
	}
}

// passBackground is the flag -pass.
var passBackground int

// bed is a store with the program's own hashes and sizes.
type bed struct {
	*store.Store
	seed   hasher.Seed
	route  store.RouteID // of the keys from routed on, for gets; 0: there is none
	routed int
}

func open(megabytes int, file string) *bed {
	b := &bed{seed: hasher.NewSeed()}
	if seed, ok := store.SavedSeed(file); file != "" && ok {
		b.seed = seed
	}
	var err error
	b.Store, err = store.Open(store.Options{
		Memory: int64(megabytes) << 20, Seed: b.seed, KeyHash: b.seed.Key, Digest: b.seed.Payload, File: file,
	})
	if err != nil {
		fail(err)
	}
	if passBackground > 0 {
		if err := b.SetPasses(b.Settings().PassInline, passBackground); err != nil {
			fail(err)
		}
	}
	return b
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "storebench:", err)
	os.Exit(1)
}

// key makes the i-th key, of 40 bytes.
func key(dst []byte, i int) []byte { return fmt.Appendf(dst[:0], "benchmark:key:%026d", i) }

// value makes n bytes that follow from i and do not compress.
func value(dst []byte, i, n int) []byte {
	r := rand.NewPCG(uint64(i), 1)
	for dst = dst[:0]; len(dst) < n; {
		dst = binary.LittleEndian.AppendUint64(dst, r.Uint64())
	}
	return dst[:n]
}

// get returns a copy of a key's value.
func (b *bed) get(k []byte) ([]byte, bool) {
	var it store.Item
	if !b.Get(&store.Lookup{Key: k, Hash: b.seed.Key(k), Now: b.Now()}, &it) {
		return nil, false
	}
	defer it.Release()
	return bytes.Clone(it.Value), true
}

func (b *bed) set(k, v []byte, deadline uint32) store.Status {
	st, _ := b.Write(&store.Write{Op: store.Set, Key: k, Hash: b.seed.Key(k), Now: b.Now(), Value: v, Deadline: deadline})
	return st
}

// load sets keys from first on; value n(i) of content c(i).
func (b *bed) load(first, n int, content func(i int) (int, int), deadline func(i int) uint32) time.Duration {
	began := time.Now()
	var k, v []byte
	for i := first; i < first+n; i++ {
		k = key(k, i)
		c, size := content(i)
		v = value(v, c, size)
		d := uint32(0)
		if deadline != nil {
			d = deadline(i)
		}
		if st := b.set(k, v, d); st != store.Stored {
			fail(fmt.Errorf("set of key %d: status %d", i, st))
		}
	}
	return time.Since(began)
}

// latencies is a histogram of eight classes to each power of two of nanoseconds.
type latencies struct {
	class [8 * 48]uint64
	n     uint64
	max   time.Duration
}

func (l *latencies) note(d time.Duration) {
	x := uint64(max(d, 8))
	e := bits.Len64(x) - 4
	l.class[8*e+int(x>>e&7)]++
	l.n++
	l.max = max(l.max, d)
}

func (l *latencies) quantile(q float64) time.Duration {
	sum := uint64(0)
	for i, n := range l.class {
		if sum += n; float64(sum) >= q*float64(l.n) {
			return time.Duration(uint64(8+i%8+1)<<(i/8) - 1)
		}
	}
	return l.max
}

// gets looks up random keys, one after the other with a pause between, until done is closed, and times each.
func (b *bed) gets(keys int, done <-chan struct{}) *latencies {
	l := new(latencies)
	var k []byte
	var it store.Item
	rng := rand.New(rand.NewPCG(1, 1))
	for {
		select {
		case <-done:
			return l
		default:
		}
		for range 64 {
			i := rng.IntN(keys)
			k = key(k, i)
			q := store.Lookup{Key: k, Hash: b.seed.Key(k), Now: b.Now()}
			if i >= b.routed {
				q.Route = b.route
			}
			began := time.Now()
			if b.Get(&q, &it) {
				it.Release()
			}
			l.note(time.Since(began))
		}
		runtime.Gosched()
	}
}

// during runs gets beside f.
func (b *bed) during(keys int, f func()) *latencies {
	done, result := make(chan struct{}), make(chan *latencies)
	go func() { result <- b.gets(keys, done) }()
	f()
	close(done)
	return <-result
}

func (b *bed) quiet(keys int) *latencies {
	return b.during(keys, func() { time.Sleep(5 * time.Second) })
}

func getRow(what string, l *latencies) {
	fmt.Printf("| %s | %d | %v | %v | %v | %v |\n", what, l.n, l.quantile(.5), l.quantile(.99), l.quantile(.999), l.max)
}

const getHead = "\n| gets | number | p50 | p99 | p99.9 | longest |\n|---|---|---|---|---|---|\n"

func (b *bed) holds() {
	fmt.Print("\n| lock holds that touched a record | number | p50 | p99 | longest |\n|---|---|---|---|---|\n")
	for kind, h := range b.Stats().Holds {
		if h.Count > 0 {
			fmt.Printf("| %v | %d | %v | %v | %v |\n", store.HoldKind(kind), h.Count, h.P50, h.P99, h.Max)
		}
	}
}

// resident returns the process's resident memory in bytes.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		fail(err)
	}
	return kib << 10
}

// unique is a value for each key.
func unique(size int) func(int) (int, int) { return func(i int) (int, int) { return i, size } }

func megabytesFor(keys, each int) int { return keys/1000*each/1000 + 64 }

func eviction(keys int) {
	fmt.Printf("\n## Eviction: %d keys with values of 100 bytes fill the cache, then as many again are set\n", keys)
	b := open(megabytesFor(keys, 170), "")
	defer b.Close()
	b.load(0, keys, unique(100), nil)
	fmt.Print(getHead)
	getRow("quiet", b.quiet(keys))
	getRow("beside sets that evict", b.during(keys, func() { b.load(keys, keys, unique(100), nil) }))
	st := b.Stats()
	fmt.Printf("\n%d evicted, %d items held.\n", st.Evictions, st.Items)
	b.holds()
}

func expiry(keys int) {
	fmt.Printf("\n## Expiry: %d keys with values of 100 bytes, every second of which expires in one second\n", keys)
	b := open(megabytesFor(keys, 200), "")
	defer b.Close()
	at := b.Now().Second() + uint32(keys/100_000) + 30
	took := b.load(0, keys, unique(100), func(i int) uint32 { return uint32(i%2) * at })
	fmt.Print(getHead)
	getRow("quiet", b.quiet(keys))
	if b.Now().Second() >= at {
		fail(fmt.Errorf("loading took %v, longer than the items were to live", took))
	}
	time.Sleep(time.Duration(at-b.Now().Second()) * time.Second)
	before := b.Stats()
	began := time.Now()
	var gone time.Duration
	l := b.during(keys, func() {
		for b.Stats().Items > before.Items-int64(keys/2) {
			time.Sleep(20 * time.Millisecond)
			if time.Since(began) > 5*time.Minute {
				fail(fmt.Errorf("after %v %d items are left", time.Since(began), b.Stats().Items))
			}
		}
		gone = time.Since(began)
		time.Sleep(2 * time.Second)
	})
	getRow("while they are taken out", l)
	time.Sleep(5 * time.Second)
	st := b.Stats()
	fmt.Printf("\nAll were gone after %v, %d of them by the background. %d of %d bytes are free again; resident %d MiB, before %d MiB in use.\n",
		gone.Round(time.Millisecond), st.Reaped, before.UsedBytes-st.UsedBytes, before.UsedBytes, resident()>>20, before.UsedBytes>>20)
	b.holds()
}

// flush loads a half of the keys as sets and the other as loads of a route, and invalidates them in three steps.
func flush(keys int) {
	fmt.Printf("\n## Flush: %d keys with values of 100 bytes, half of them of a route\n", keys)
	b := open(megabytesFor(keys, 210), "")
	defer b.Close()
	b.load(0, keys/2, unique(100), nil)
	b.loadLeased(keys/2, keys-keys/2, unique(100))
	fmt.Print(getHead)
	getRow("quiet", b.quiet(keys))
	// Without the last digits of the key in the middle of the first half: it and those that differ in no other digit.
	prefix := string(key(nil, keys/4))
	prefix = prefix[:len(prefix)-len(strconv.Itoa(keys/40))]
	rows := ""
	for _, step := range []struct {
		name string
		do   func()
		left func(before int64) int64 // items that are left afterwards, at most
	}{
		{"a prefix", func() {
			if err := b.InvalidatePrefix(prefix); err != nil {
				fail(err)
			}
		}, func(before int64) int64 { return before - int64(keys/100) }},
		{"the route", func() { b.Invalidate(b.route) }, func(int64) int64 { return int64(keys / 2) }},
		{"everything", func() { b.FlushAll(b.Now(), 0) }, func(int64) int64 { return 0 }},
	} {
		before := b.Stats()
		var took, gone time.Duration
		l := b.during(keys, func() {
			began := time.Now()
			step.do()
			took = time.Since(began)
			// Until they have stopped to become fewer.
			for last := before.Items; ; {
				time.Sleep(1500 * time.Millisecond)
				now := b.Stats().Items
				if now == last && now <= step.left(before.Items) {
					return
				}
				if now != last {
					last, gone = now, time.Since(began)
				}
				if time.Since(began) > 5*time.Minute {
					fail(fmt.Errorf("after %v %d items are left", time.Since(began), now))
				}
			}
		})
		getRow("beside the flush of "+step.name, l)
		st := b.Stats()
		rows += fmt.Sprintf("| %s | %v | %d | %v | %d |\n", step.name, took, before.Items-st.Items, gone.Round(100*time.Millisecond), (before.UsedBytes-st.UsedBytes)>>20)
	}
	fmt.Print("\n| flushed | the call took | items | gone after, looked at every 1.5 s | MiB free again |\n|---|---|---|---|---|\n", rows)
	b.holds()
}

func drift(keys int) {
	megabytes := megabytesFor(keys, 100)
	fmt.Printf("\n## Drift: -m %d\n\n| values | items | live bytes of the limit |\n|---|---|---|\n", megabytes)
	b := open(megabytes, "")
	defer b.Close()
	next := 0
	for _, size := range []int{100, 1000, 50, 400} {
		// Twice what fits, so that every older item has had its turn.
		n := 2 * megabytes << 20 / (size + 50)
		b.load(next, n, unique(size), nil)
		next += n
		st := b.Stats()
		live := st.Bytes + st.HashBytes + 8*st.Data
		fmt.Printf("| %d bytes | %d | %.1f %% |\n", size, st.Items, 100*float64(live)/float64(st.LimitBytes))
	}
	big := value(nil, 1, 1<<20-200)
	if st := b.set([]byte("large"), big, 0); st != store.Stored {
		fail(fmt.Errorf("a value of 1 MiB into the full cache: status %d", st))
	}
	fmt.Print("\nA value of 1 MiB was then stored.\n")
	b.holds()
}

func collect(keys int) {
	fmt.Printf("\n## Garbage collection: %d keys\n", keys)
	b := open(megabytesFor(keys, 110), "")
	defer b.Close()
	b.load(0, keys, unique(32), nil)
	runtime.GC()
	fmt.Print("\n| forced collection | wall |\n|---|---|\n")
	for i := range 5 {
		began := time.Now()
		runtime.GC()
		fmt.Printf("| %d | %v |\n", i+1, time.Since(began).Round(time.Microsecond))
	}
}

func restart(keys int) {
	fmt.Printf("\n## Restart: %d keys with values of 100 bytes in a memory file\n", keys)
	dir, err := os.MkdirTemp("/dev/shm", "storebench")
	if err != nil {
		fail(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "memory")
	megabytes := megabytesFor(keys, 200)
	b := open(megabytes, file)
	b.load(0, keys, unique(100), nil)
	began := time.Now()
	if err := cmp.Or(b.Save(), b.Close()); err != nil {
		fail(err)
	}
	saved := time.Since(began)
	began = time.Now()
	b = open(megabytes, file)
	opened := time.Since(began)
	defer b.Close()
	if warm, why := b.Warm(); !warm {
		fail(fmt.Errorf("a cold start: %s", why))
	}
	fmt.Printf("\nSaved in %v; open again, its sums checked, after %v.\n", saved.Round(time.Millisecond), opened.Round(time.Millisecond))
	b.verify(keys, unique(100))
}

func large(keys int) {
	fmt.Printf("\n## %d keys of 40 bytes, %d different payloads of 200 bytes, beside a hundredth of them\n", keys, keys/100)
	fmt.Print("\n| keys | bytes a key, resident | loaded a second | get p50 | get p99 |\n|---|---|---|---|---|\n")
	for _, n := range []int{keys / 100, keys} {
		runtime.GC()
		before := resident()
		b := open(max(megabytesFor(keys, 100), 2048), "")
		took := b.load(0, n, func(i int) (int, int) { return i * 7919 % (n / 100), 200 }, nil)
		if st := b.Stats(); st.Items != int64(n) {
			fail(fmt.Errorf("%d items of %d are held", st.Items, n))
		}
		bytes := resident() - before
		l := b.quiet(n)
		fmt.Printf("| %d | %.1f | %.0f | %v | %v |\n", n, float64(bytes)/float64(n), float64(n)/took.Seconds(), l.quantile(.5), l.quantile(.99))
		b.Close()
	}
}

// footprint loads keys of 40 bytes, as sets by clients and as loads of a route, into stores of their own.
func footprint(keys int) {
	fmt.Printf("\n## %d keys of 40 bytes\n\n| items | bytes a key, resident |\n|---|---|\n", keys)
	few := func(i int) (int, int) { return i * 7919 % (keys / 100), 300 }
	for _, c := range []struct {
		name    string
		content func(i int) (int, int)
		loaded  bool
	}{
		{"set, unique values of 32 bytes", unique(32), false},
		{"set, unique values of 100 bytes", unique(100), false},
		{"set, values of 300 bytes, one in a hundred different", few, false},
		{"loaded, values of 300 bytes, one in a hundred different", few, true},
	} {
		runtime.GC()
		before := resident()
		b := open(max(megabytesFor(keys, 250), 2048), "")
		if c.loaded {
			b.loadLeased(0, keys, c.content)
		} else {
			b.load(0, keys, c.content, nil)
		}
		if st := b.Stats(); st.Items != int64(keys) {
			fail(fmt.Errorf("%d items of %d are held", st.Items, keys))
		}
		fmt.Printf("| %s | %.1f |\n", c.name, float64(resident()-before)/float64(keys))
		b.Close()
	}
}

// loadLeased asks for keys from first on, of a route, and puts value n(i) of content c(i) for each, as the filler does.
func (b *bed) loadLeased(first, n int, content func(i int) (int, int)) {
	routes, err := b.SetRoutes([]store.Route{{Name: "benchmark", Fresh: 3600, Stale: 3600, Keep: 3600, Negative: 60}})
	if err != nil {
		fail(err)
	}
	b.route, b.routed = routes[0], first
	var k, v []byte
	var it store.Item
	for i := first; i < first+n; i++ {
		k = key(k, i)
		if b.Get(&store.Lookup{Key: k, Hash: b.seed.Key(k), Route: routes[0], Now: b.Now()}, &it) || it.Lease.Serial == 0 {
			fail(fmt.Errorf("key %d opened no lease", i))
		}
		c, size := content(i)
		v = value(v, c, size)
		if st := b.PutLease(it.Lease, &store.Fill{Key: k, Route: routes[0], Now: b.Now(), Value: v}); st != store.PutStored {
			fail(fmt.Errorf("load of key %d: status %d", i, st))
		}
	}
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, _ := strings.Cut(string(text), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(strings.TrimLeft(line, "\t: "))
}
