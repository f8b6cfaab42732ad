package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRebuildSeesWhatCameBetween lets something happen to a key after a command has taken its long value and before it puts the
// new one: the outcome is that of the command after it.
func TestRebuildSeesWhatCameBetween(t *testing.T) {
	long := "7 " + strings.Repeat("old", 10_000) // has a run of pages
	short := "7 " + strings.Repeat("s", 100)     // stays in its record
	mid := "7 " + strings.Repeat("mid", 2000)    // has a datum that may move
	tail := strings.Repeat("tail", 5000)
	type outcome struct {
		status Status
		value  string // "": the key is absent
	}
	for _, old := range []string{long, short, mid} {
		for name, tt := range map[string]struct {
			between       func(x tester, k []byte, h uint64)
			append, count outcome
			lost          int
		}{
			"nothing": {func(tester, []byte, uint64) {}, outcome{Stored, old + tail}, outcome{Stored, "8"}, 0},
			"the same bytes": {
				func(x tester, k []byte, h uint64) { x.write(Set, 0, "k", old, 0) }, outcome{Stored, old + tail}, outcome{Stored, "8"}, 0,
			},
			"a touch, a look at the CAS and an item that moves": {
				func(x tester, k []byte, h uint64) {
					x.Touch(k, h, 0, x.c.now, x.c.now.Second()+1000)
					x.lookup(Lookup{Key: k, WantCAS: true})
					x.compactAny(maxPass)
				}, outcome{Stored, old + tail}, outcome{Stored, "8"}, 0,
			},
			"another value": {
				func(x tester, k []byte, h uint64) { x.write(Set, 0, "k", "5 "+long, 0) }, outcome{Stored, "5 " + long + tail}, outcome{Stored, "6"}, 1,
			},
			"a short value": {
				func(x tester, k []byte, h uint64) { x.write(Set, 0, "k", "1", 0) }, outcome{Stored, "1" + tail}, outcome{Stored, "2"}, 1,
			},
			"a delete":          {func(x tester, k []byte, h uint64) { x.del(0, "k") }, outcome{NotStored, ""}, outcome{NotFound, ""}, 0},
			"a flush":           {func(x tester, k []byte, h uint64) { x.FlushAll(x.c.now, 0) }, outcome{NotStored, ""}, outcome{NotFound, ""}, 0},
			"a deadline before": {func(x tester, k []byte, h uint64) { x.Touch(k, h, 0, x.c.now, x.c.now.Second()) }, outcome{NotStored, ""}, outcome{NotFound, ""}, 0},
			"a value too large": {
				func(x tester, k []byte, h uint64) { x.write(Set, 0, "k", strings.Repeat("5", 1_040_000), 0) },
				outcome{NotStored, strings.Repeat("5", 1_040_000)}, outcome{NonNumeric, strings.Repeat("5", 1_040_000)}, 0,
			},
		} {
			t.Run(fmt.Sprintf("append/old=%d/%s", len(old), name), func(t *testing.T) {
				x := newTester(t, Options{Memory: 16 << 20})
				k, h := key("k")
				x.write(Set, 0, "k", old, 0)
				w := Write{Op: Append, Key: k, Hash: h, Now: x.c.now, Value: []byte(tail)}
				var c concat
				var r room
				st, done := Stored, false
				for met := false; ; {
					if st, _, done = x.tryConcat(&w, &c); done {
						break
					}
					if !c.work(x.Store, &w, &r) {
						t.Fatal("no memory")
					}
					if c.ready && !met {
						met = true
						tt.between(x, k, h)
					}
				}
				checkRebuild(t, x, &c.rebuild, st, tt.append.status, tt.append.value, tt.lost)
			})
			if len(old) != len(long) {
				continue // counted in one hold
			}
			t.Run("incr/"+name, func(t *testing.T) {
				x := newTester(t, Options{Memory: 16 << 20})
				k, h := key("k")
				x.write(Set, 0, "k", old, 0)
				d := Delta{Key: k, Hash: h, Now: x.c.now, Delta: 1}
				var c count
				var r room
				st, done := Stored, false
				for met := false; ; {
					if _, st, done = x.tryDelta(&d, &c); done {
						break
					}
					if st := c.work(x.Store, &d, &r); st != Stored {
						t.Fatal(st)
					}
					if c.ready && !met {
						met = true
						tt.between(x, k, h)
					}
				}
				want := tt.count.value
				if a := x.get(0, "k"); a.ok && st == Stored {
					want += strings.Repeat(" ", len(a.value)-len(want))
				}
				checkRebuild(t, x, &c.rebuild, st, tt.count.status, want, tt.lost)
			})
		}
	}
}

func checkRebuild(t *testing.T, x tester, b *rebuild, got, want Status, value string, lost int) {
	t.Helper()
	if b.lost != lost {
		t.Errorf("begun again %d times, want %d", b.lost, lost)
	}
	b.drop(x.Store)
	checkStatus(t, "status", got, want)
	if a := x.get(0, "k"); a.ok != (value != "") || a.value != value {
		t.Errorf("the key has %d bytes %.40q, %v; want %d bytes %.40q", len(a.value), a.value, a.ok, len(value), value)
	}
	verify(t, x.Store)
}

// TestRebuildKeepsTheRest: flags and deadline stay, the CAS is new, the token that is out is forgotten, and a CAS that does not
// match any more by the second hold refuses.
func TestRebuildKeepsTheRest(t *testing.T) {
	x := newTester(t, Options{Memory: 16 << 20})
	k, h := key("k")
	old, tail := strings.Repeat("o", 100_000), []byte(strings.Repeat("t", 100_000))
	deadline := x.c.now.Second() + 500
	x.Write(&Write{Key: k, Hash: h, Now: x.c.now, Value: []byte(old), Flags: 1234, Deadline: deadline})
	x.Remove(&Deletion{Key: k, Hash: h, Now: x.c.now, Invalidate: true})
	before := x.mg(0, "k", Lookup{WantCAS: true})
	x.wantTokens(before, tokens{stale: true, won: true})
	w := Write{Op: Append, Key: k, Hash: h, Now: x.c.now, Value: tail, CAS: before.item.CAS + 1<<40}
	if st, _ := x.Write(&w); st != Exists {
		t.Fatalf("append with another CAS: %v", st)
	}
	total := x.Stats().TotalItems
	w.CAS, w.WantCAS = before.item.CAS, true
	st, cas := x.Write(&w)
	checkStatus(t, "append", st, Stored)
	after := x.mg(0, "k", Lookup{WantCAS: true})
	x.wantTokens(after, tokens{})
	it := after.item
	if it.Flags != 1234 || it.Deadline != deadline || it.CAS != cas || cas == before.item.CAS || it.Fetched || w.Size != 200_000 {
		t.Errorf("afterwards: flags %d, deadline %d, CAS %d of %d and %d before, read %v, %d bytes", it.Flags, it.Deadline, it.CAS, cas, before.item.CAS, it.Fetched, w.Size)
	}
	if got := x.Stats().TotalItems - total; got != 1 {
		t.Errorf("%d items were stored", got)
	}
	var c concat
	var r room
	for w.CAS = cas; !c.ready; {
		if st, _, done := x.tryConcat(&w, &c); done {
			t.Fatal(st)
		}
		c.work(x.Store, &w, &r)
	}
	x.Remove(&Deletion{Key: k, Hash: h, Now: x.c.now, Invalidate: true}) // the same bytes with another CAS
	if st, _, done := x.tryConcat(&w, &c); !done || st != Exists {
		t.Errorf("append, and the CAS has changed since: %v, %v", st, done)
	}
	c.drop(x.Store)
	verify(t, x.Store)
}

// TestRebuildEnds: a command that comes too late again and again is done in one hold in the end.
func TestRebuildEnds(t *testing.T) {
	x := newTester(t, Options{Memory: 32 << 20})
	k, h := key("k")
	sets := 0
	another := func() string {
		sets++
		value := fmt.Sprint(sets, strings.Repeat(" long", 20_000))
		x.write(Set, 0, "k", value, 0)
		return value
	}
	var r room
	w := Write{Op: Prepend, Key: k, Hash: h, Now: x.c.now, Value: []byte("head ")}
	var c concat
	value := another()
	for done := false; !done; {
		st := Stored
		if st, _, done = x.tryConcat(&w, &c); done {
			checkStatus(t, "prepend", st, Stored)
		} else if !c.work(x.Store, &w, &r) {
			t.Fatal("no memory")
		} else if c.ready {
			value = another()
		}
	}
	x.want(0, "k", "head "+value)
	if c.drop(x.Store); c.lost != mostLost || sets != mostLost+1 {
		t.Errorf("prepend was begun again %d times", c.lost)
	}
	d := Delta{Key: k, Hash: h, Now: x.c.now, Delta: 5}
	var n count
	sets = 0
	value = another()
	for done := false; !done; {
		st := Stored
		if _, st, done = x.tryDelta(&d, &n); done {
			checkStatus(t, "incr", st, Stored)
		} else if st := n.work(x.Store, &d, &r); st != Stored {
			t.Fatal(st)
		} else if n.ready {
			value = another()
		}
	}
	x.want(0, "k", fmt.Sprintf("%-*d", len(value), sets+5))
	if n.drop(x.Store); n.lost != mostLost || sets != mostLost+1 {
		t.Errorf("incr was begun again %d times", n.lost)
	}
	verify(t, x.Store)
}

// TestRebuildOnARoute: an append to a long value kills the load that was under way when it is put, and its bytes count for the
// route's cap.
func TestRebuildOnARoute(t *testing.T) {
	x := newTester(t, Options{Memory: 32 << 20})
	r := testRoute
	r.MemoryPercent = 50
	id := x.routes(r)[0]
	l := x.lease(id, "k")
	x.put(l, id, "k", strings.Repeat("f", 200_000))
	x.want(id, "k", strings.Repeat("f", 200_000))
	x.c.advance(time.Duration(r.Fresh+1) * time.Second)
	l = x.lease(id, "k")
	checkStatus(t, "append", x.write(Append, id, "k", strings.Repeat("c", 100_000), 0), Stored)
	if x.LeaseAlive(l) {
		t.Error("the load goes on")
	}
	if got := x.put(l, id, "k", "old row"); got != PutKilled {
		t.Errorf("the load is put: %v", got)
	}
	x.want(id, "k", strings.Repeat("f", 200_000)+strings.Repeat("c", 100_000))
	if st := x.RouteStats(id); st.Client != 1 || st.Bytes < 300_000 || st.Bytes > 301_000 {
		t.Errorf("the route has %+v", st)
	}
	verify(t, x.Store)
}

// TestRebuildWithoutMemory: where nothing is evicted and there is no room for the new value, the old one stays.
func TestRebuildWithoutMemory(t *testing.T) {
	x := newTester(t, Options{Memory: 8 << 20, NoEvict: true})
	value := "7 " + strings.Repeat("v", 200_000)
	x.write(Set, 0, "k", value, 0)
	for i := 0; x.write(Set, 0, fmt.Sprint(i), digits(200000, i), 0) == Stored; i++ {
	}
	for _, patient := range []bool{false, true} {
		noMemory := x.Stats().NoMemory
		k, h := key("k")
		st, _ := x.Write(&Write{Op: Prepend, Key: k, Hash: h, Now: x.c.now, Value: []byte("head"), Patient: patient})
		checkStatus(t, "prepend", st, NoMemory)
		if got := x.Stats().NoMemory - noMemory; got != 1 {
			t.Errorf("counted %d times", got)
		}
		_, st = x.Delta(&Delta{Key: k, Hash: h, Now: x.c.now, Delta: 1})
		checkStatus(t, "incr", st, NoMemory)
		x.want(0, "k", value)
	}
	verify(t, x.Store)
}

// TestAppendIsPutOff: an append for which too much would have to go at once says so, has done nothing, and is stored then.
func TestAppendIsPutOff(t *testing.T) {
	x := newTester(t, Options{Memory: 32 << 20, MaxItem: 5 << 20, RoomTime: 1})
	for i := range 150_000 {
		x.write(Set, 0, fmt.Sprint("small", i), digits(200, i), NoDeadline)
	}
	later := 0
	for i := range 8 {
		k, h := key(fmt.Sprint("k", i))
		x.write(Set, 0, string(k), "old", NoDeadline)
		w := Write{Op: Append, Key: k, Hash: h, Now: x.c.now, Value: bytes.Repeat([]byte{byte('a' + i)}, 4_000_000), Patient: true, Vivify: true}
		st, _ := x.Write(&w)
		for waits := 0; st == Later; waits++ {
			if waits > 1000 {
				t.Fatal("there is never room")
			}
			if got := x.get(0, string(k)); got.ok && got.value != "old" { // it may be evicted
				t.Fatalf("append %d was put off, and the value is %.20q", i, got.value)
			}
			x.AwaitRoom(w.Short, time.Second)
			st, _ = x.Write(&w)
			later++
		}
		checkStatus(t, "append", st, Stored)
	}
	if later == 0 {
		t.Error("no append was put off")
	}
	verify(t, x.Store)
}

// TestAppendersLoseNothing: of several at once that append to a long value, prepend to it, put another with its CAS and delete it
// with its CAS, each piece that was stored is taken out once, whole, and none that was refused.
func TestAppendersLoseNothing(t *testing.T) {
	x := newTester(t, Options{Memory: 64 << 20, MaxItem: 1 << 18})
	k, h := key("k")
	const piece, rounds = 3000, 400
	base := strings.Repeat(".", 30_000)
	x.write(Set, 0, "k", base, 0)
	var mu sync.Mutex
	stored, taken := map[string]int{}, map[string]int{}
	take := func(value string) {
		at := strings.Index(value, base)
		if at < 0 || at%piece != 0 || (len(value)-len(base))%piece != 0 {
			t.Errorf("%d bytes, what it began with is at %d", len(value), at)
			return
		}
		value = value[:at] + value[at+len(base):]
		mu.Lock()
		defer mu.Unlock()
		for ; value != ""; value = value[piece:] {
			if id := strings.TrimLeft(value[:piece], "-"); len(id) < 100 {
				taken[id]++
			} else {
				t.Errorf("a torn piece: %.40q", id)
			}
		}
	}
	var writers, takers sync.WaitGroup
	ended := make(chan struct{})
	for w := range 3 {
		writers.Go(func() {
			for i := range rounds {
				id := fmt.Sprintf("%d.%d", w, i)
				st, _ := x.Write(&Write{Op: Append + WriteOp(i%2), Key: k, Hash: h, Now: x.c.now, Value: []byte(fmt.Sprintf("%s%s", strings.Repeat("-", piece-len(id)), id))})
				switch st {
				case Stored:
					mu.Lock()
					stored[id]++
					mu.Unlock()
				case NotStored:
				default:
					t.Errorf("piece %s: %v", id, st)
				}
			}
		})
	}
	takers.Go(func() {
		rng := rand.New(rand.NewPCG(1, 9))
		for open := true; open; {
			select {
			case <-ended:
				open = false
			default:
			}
			a := x.lookup(Lookup{Key: k, WantCAS: true})
			if !a.ok {
				x.write(Add, 0, "k", base, 0)
				continue
			}
			if rng.IntN(3) > 0 {
				if st, _ := x.Write(&Write{Op: CAS, Key: k, Hash: h, Now: x.c.now, Value: []byte(base), CAS: a.item.CAS}); st == Stored {
					take(a.value)
				}
			} else if x.Delete(k, h, 0, x.c.now, a.item.CAS) == Deleted {
				take(a.value)
			}
		}
	})
	writers.Wait()
	close(ended)
	takers.Wait()
	if a := x.get(0, "k"); a.ok {
		take(a.value)
	}
	for id := range stored {
		if taken[id] != 1 {
			t.Errorf("piece %s was stored and is there %d times", id, taken[id])
		}
	}
	if len(taken) != len(stored) || len(stored) == 0 {
		t.Errorf("%d pieces stored, %d there", len(stored), len(taken))
	}
	verify(t, x.Store)
}

// TestCountersOfLongValues: several at once that count in a value with a run of pages lose nothing, touches between or not.
func TestCountersOfLongValues(t *testing.T) {
	x := newTester(t, Options{Memory: 64 << 20})
	k, h := key("k")
	const workers, rounds = 4, 200
	value := "0 " + strings.Repeat("words", 10_000)
	x.write(Set, 0, "k", value, 0)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				n, st := x.Delta(&Delta{Key: k, Hash: h, Now: x.c.now, Delta: 3, WantCAS: i%2 == 0})
				if st != Stored || n.Value%3 != 0 {
					t.Errorf("incr: %v, %d", st, n.Value)
				}
				if w == 0 {
					x.Touch(k, h, 0, x.c.now, x.c.now.Second()+uint32(i)+10)
				}
			}
		})
	}
	wg.Wait()
	x.want(0, "k", fmt.Sprintf("%-*d", len(value), 3*workers*rounds))
	verify(t, x.Store)
}

// TestWhatCounts: which long values are numbers, as memcached 1.6.45 has it.
func TestWhatCounts(t *testing.T) {
	const most = numberMax - itemCost - 1 // of a value under a key of one byte, without flags
	padded := func(number string, n int) string { return number + strings.Repeat(" ", n-len(number)) }
	for name, tt := range map[string]struct {
		value string
		flags uint32
		cas   uint64 // 0: any
		noCAS bool
		want  string // "": not a number
		st    Status
	}{
		"as long as can be":          {value: padded("5", most), want: padded("6", most)},
		"a byte longer":              {value: padded("5", most+1), st: NonNumeric},
		"the longest with flags":     {value: padded("5", most-4), flags: 1, want: padded("6", most-4)},
		"longer with flags":          {value: padded("5", most-3), flags: 1, st: NonNumeric},
		"the longest without a CAS":  {value: padded("5", most+8), noCAS: true, want: padded("6", most+8)},
		"too long, whatever its CAS": {value: padded("5", most+1), cas: 1 << 50, st: NonNumeric},
		"another CAS":                {value: padded("5", most), cas: 1 << 50, st: Exists},
		"no number, and another CAS": {value: strings.Repeat("x", most), cas: 1 << 50, st: Exists},
		"no number":                  {value: strings.Repeat("x", most), st: NonNumeric},
		"zeros before":               {value: digits(most, 41), want: padded("42", most)},
		"spaces before":              {value: fmt.Sprintf("%*d", most, 41), want: padded("42", most)},
		"spaces alone":               {value: padded("", most), st: NonNumeric},
		"in one hold":                {value: padded("5", 10_000), want: padded("6", 10_000)},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTester(t, Options{Memory: 16 << 20, NoCAS: tt.noCAS})
			k, h := key("k")
			x.Write(&Write{Key: k, Hash: h, Now: x.c.now, Value: []byte(tt.value), Flags: tt.flags})
			_, st := x.Delta(&Delta{Key: k, Hash: h, Now: x.c.now, Delta: 1, CAS: tt.cas})
			checkStatus(t, "status", st, tt.st)
			if tt.want == "" {
				tt.want = tt.value
			}
			x.want(0, "k", tt.want)
			if got := x.lookup(Lookup{Key: k}).item.Flags; got != tt.flags {
				t.Errorf("flags %d", got)
			}
			verify(t, x.Store)
		})
	}
}

func TestParseNumber(t *testing.T) {
	for value, want := range map[string]string{
		"5": "5", "+7": "7", " 5": "5", "\t\n\v\f\r8": "8", "5 abc": "5", "5abc": "", "1-": "", "-0": "0", "-5": "", "--5": "", "+-5": "",
		"18446744073709551615": "18446744073709551615", "18446744073709551616": "", "-18446744073709551615": "1",
		"-9223372036854775809": "9223372036854775807", "-9223372036854775808": "", "-18446744073709551616": "",
		"5\x00abc": "5", "1\x00": "1", "\x00": "", "": "", "-": "", " ": "",
	} {
		n, ok := parseNumber([]byte(value))
		if got := strconv.FormatUint(n, 10); ok != (want != "") || ok && got != want {
			t.Errorf("%q is %s, %v; want %q", value, got, ok, want)
		}
	}
}
