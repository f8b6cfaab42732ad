package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// handedKinds are the memories that can be handed over. The race detector sees mapped memory only where a file is asked for.
func handedKinds(t *testing.T) map[string]string {
	kinds := map[string]string{"file": filepath.Join(t.TempDir(), "memory")}
	if !raceBuild {
		kinds["no file"] = ""
	}
	return kinds
}

// inherited opens the memory of x as another process would, with a descriptor of its own.
func inherited(t *testing.T, x tester, h Handed) (tester, error) {
	t.Helper()
	fd, err := unix.Dup(int(x.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	o := x.opt
	o.Inherit = &Inherited{File: os.NewFile(uintptr(fd), "inherited"), State: h}
	if seed, err := InheritedSeed(o.Inherit.File); err != nil || seed != o.Seed {
		t.Errorf("the seed is %x, %v; want %x", seed, err, o.Seed)
	}
	s, err := Open(o)
	if err != nil {
		return tester{}, errors.Join(err, o.Inherit.File.Close())
	}
	return tester{t, s, &clock{now: s.Now()}}, nil
}

func openHanded(t *testing.T, file string) tester {
	t.Helper()
	if file == "" && !sharedIsFast() {
		t.Log("this system has no huge pages for memory that can be handed over, so it takes anonymous memory")
		sharedIsFast = func() bool { return true }
	}
	o := Options{Memory: 16 << 20, KeyHash: testHash, Digest: testDigest, manual: true, File: file, RoomTime: time.Minute}
	o.Seed[5] = 9
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return tester{t, s, &clock{now: s.Now()}}
}

// TestHandedOverStoreGoesOn hands a store over several times while flushes, invalidations, leases and a changed limit are under
// way, and finds everything as it was.
func TestHandedOverStoreGoesOn(t *testing.T) {
	for name, file := range handedKinds(t) {
		t.Run(name, func(t *testing.T) {
			x := openHanded(t, file)
			lasting := testRoute // the clock goes on by the machine's, which may be slow
			lasting.Fresh, lasting.Stale, lasting.Keep, lasting.Negative = 1000, 2000, 10_000, 1000
			other := lasting
			other.Name = "other"
			ids := x.routes(lasting, other)
			for i := range 5000 {
				x.write(Set, 0, fmt.Sprint("key ", i), digits(1+i%700, i%400), uint32(i%2)*(x.c.now.Second()+1000))
			}
			x.write(Set, 0, "large", strings.Repeat("large ", 30_000), 0)
			for i := range 500 {
				key := fmt.Sprint("route ", i)
				checkStatus(t, "put", x.put(x.get(ids[i%2], key).leased, ids[i%2], key, fmt.Sprint("value ", i%9)), PutStored)
			}
			if err := x.SetMemory(20 << 20); err != nil {
				t.Fatal(err)
			}
			for turn := range 3 {
				gone := fmt.Sprintf("gone %d ", turn)
				x.write(Set, 0, gone+"a", "v", 0)
				x.write(Set, 0, "stays "+gone, "v", 0)
				if err := x.InvalidatePrefix(gone); err != nil {
					t.Fatal(err)
				}
				asked := x.get(ids[0], fmt.Sprint("asked ", turn)).leased
				x.PutLease(asked, &Fill{Key: fmt.Append(nil, "asked ", turn), Route: ids[0], Now: x.c.now, Failed: true})
				open := x.get(ids[1], fmt.Sprint("open ", turn)).leased
				cas := x.lookup(Lookup{Key: []byte("key 1"), WantCAS: true}).item.CAS
				before, stats := contents(x), x.Stats()

				h := x.HandOver()
				y, err := inherited(t, x, h)
				if err != nil {
					t.Fatal(err)
				}
				if got := y.routes(lasting, other); got[0] != ids[0] || got[1] != ids[1] {
					t.Fatalf("routes got other ids: %v", got)
				}
				y.Begin()
				y.c.now = y.Now()
				if passed := y.c.now - h.Clock; passed < 0 || passed > Time(time.Minute.Milliseconds()) {
					t.Errorf("the clock went on by %d ms", passed)
				}
				y.c.now = max(y.c.now, x.c.now)
				if warm, why := y.Warm(); !warm {
					t.Errorf("cold: %s", why)
				}
				after := contents(y)
				for key, want := range before {
					if after[key] != want {
						t.Fatalf("%s: %.80q, want %.80q", key, after[key], want)
					}
				}
				if len(after) != len(before) || len(before) < 5000 {
					t.Errorf("%d items, want %d", len(after), len(before))
				}
				now := y.Stats()
				if now.LimitBytes != stats.LimitBytes || now.UsedBytes > stats.UsedBytes || now.Bytes != stats.Bytes || now.References != stats.References {
					t.Errorf("stats %+v, want %+v", now, stats)
				}
				y.wantMiss(0, gone+"a", Flushed)
				y.want(0, "stays "+gone, "v")
				checkStatus(t, "put by a lease from before", y.put(open, ids[1], fmt.Sprint("open ", turn), "old"), PutKilled)
				if y.get(ids[1], fmt.Sprint("open ", turn)).leased.Serial == 0 {
					t.Error("what was being loaded is not loaded again")
				}
				y.noLease(ids[0], fmt.Sprint("asked ", turn))
				if a := y.lookup(Lookup{Key: []byte("key 1"), WantCAS: true}); a.item.CAS != cas {
					t.Errorf("the CAS of an item is %d, was %d", a.item.CAS, cas)
				}
				y.reapAll()
				y.wantMiss(0, gone+"a", Absent)
				if fd := int(x.File().Fd()); fd < 0 || x.a.close() != nil { // its locks stay taken for ever
					t.Error("the old one does not let go of its memory")
				}
				x = y
			}
			verify(t, x.Store)
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestShareHoldsAfterHandOver: what a route with a cap had counts in the process that took over, and the cap holds there.
func TestShareHoldsAfterHandOver(t *testing.T) {
	for name, file := range handedKinds(t) {
		t.Run(name, func(t *testing.T) {
			x := openHanded(t, file)
			r := testRoute
			r.MemoryPercent = 5
			id := x.routes(r)[0]
			fill := func(x tester, keys string) {
				for i := range 5000 {
					checkStatus(t, "set", x.write(Set, id, fmt.Sprint(keys, i), digits(300, i), 0), Stored)
				}
			}
			fill(x, "old ")
			y, err := inherited(t, x, x.HandOver())
			if err != nil {
				t.Fatal(err)
			}
			y.routes(r)
			y.Begin()
			fill(y, "new ")
			if got, most := y.RouteStats(id).Bytes, int64(16<<20)/100*5; got > most || got < most/2 {
				t.Errorf("%d bytes, the cap is %d", got, most)
			}
			verify(t, y.Store)
			if err := errors.Join(x.a.close(), y.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTakenBackStoreGoesOn: a successor that has come as far as it may without Begin leaves nothing behind.
func TestTakenBackStoreGoesOn(t *testing.T) {
	for name, file := range handedKinds(t) {
		t.Run(name, func(t *testing.T) {
			x := openHanded(t, file)
			ids := x.routes(testRoute)
			lease := x.lease(ids[0], "loading")
			for i := range 3000 {
				x.write(Set, 0, fmt.Sprint("key ", i), fmt.Sprint("value ", i), 0)
			}
			checkStatus(t, "put", x.put(x.lease(ids[0], "filled"), ids[0], "filled", "v"), PutStored)
			before := contents(x)
			y, err := inherited(t, x, x.HandOver())
			if err != nil {
				t.Fatal(err)
			}
			changed, added := testRoute, testRoute
			changed.KeyPrint++
			added.Name = "added"
			y.routes(changed, added)
			asked := make(chan Stats)
			go func() { asked <- x.Stats() }() // waits until the owner is the owner again
			if err := y.Close(); err != nil {
				t.Fatal(err)
			}
			x.TakeBack()
			if st := <-asked; st.Items != int64(len(before)) {
				t.Errorf("%d items, want %d", st.Items, len(before))
			}
			after := contents(x)
			for key, want := range before {
				if after[key] != want {
					t.Fatalf("%s: %.80q, want %.80q", key, after[key], want)
				}
			}
			checkStatus(t, "put by a lease from before", x.put(lease, ids[0], "loading", "v"), PutStored)
			if got := x.routes(testRoute); got[0] != ids[0] {
				t.Errorf("the route's id is %d, was %d", got[0], ids[0])
			}
			x.want(ids[0], "filled", "v")
			verify(t, x.Store)
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestInheritRefuses what is no memory of this program, or of another version of it.
func TestInheritRefuses(t *testing.T) {
	tests := map[string]struct {
		spoil func(h *header)
		want  string
	}{
		"foreign":         {func(h *header) { h.magic++ }, "no memory file of this program"},
		"another layout":  {func(h *header) { h.layout++ }, "another version"},
		"other structs":   {func(h *header) { h.structs++ }, "another version"},
		"other segments":  {func(h *header) { h.segment *= 2 }, "was made with"},
		"nonsense limits": {func(h *header) { h.memory, h.capacity = 1<<40, 1<<20 }, "was made with"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := openHanded(t, filepath.Join(t.TempDir(), "memory"))
			h := x.HandOver()
			test.spoil(x.hdr)
			if name == "foreign" {
				if _, err := InheritedSeed(x.File()); !errors.Is(err, ErrInherit) {
					t.Errorf("the seed: %v, want ErrInherit", err)
				}
				test.want = ""
			} else if _, err := inherited(t, x, h); !errors.Is(err, ErrInherit) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want ErrInherit and %q", err, test.want)
			}
			x.TakeBack()
			x.Close()
		})
	}
}
