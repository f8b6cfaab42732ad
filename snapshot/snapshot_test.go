package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"swordfish/hasher"
	"swordfish/store"
)

// world is a store with a secret of its own and one route.
type world struct {
	t testing.TB
	*store.Store
	seed  hasher.Seed
	route store.RouteID
	end   func() // closes it; the end of the test does as well
}

func open(t testing.TB, megabytes int) *world {
	t.Helper()
	w := &world{t: t, seed: hasher.NewSeed()}
	var err error
	w.Store, err = store.Open(store.Options{Memory: int64(megabytes) << 20, Seed: w.seed, KeyHash: w.seed.Key, Digest: w.seed.Payload})
	if err != nil {
		t.Fatal(err)
	}
	w.end = sync.OnceFunc(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.end)
	ids, err := w.SetRoutes([]store.Route{{Name: "r", KeyPrint: 1, QueryPrint: 1, Fresh: 1000, Stale: 1000, Negative: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	w.route = ids[0]
	return w
}

func (w *world) set(route store.RouteID, key, value string) {
	w.t.Helper()
	st, _ := w.Write(&store.Write{
		Op: store.Set, Key: []byte(key), Hash: w.seed.Key([]byte(key)), Route: route, Now: w.Now(), Value: []byte(value), Flags: uint32(len(key)),
	})
	if st != store.Stored {
		w.t.Fatalf("set %s: %v", key, st)
	}
}

func (w *world) get(route store.RouteID, key string) (string, bool) {
	var it store.Item
	if !w.Get(&store.Lookup{Key: []byte(key), Hash: w.seed.Key([]byte(key)), Route: route, Now: w.Now()}, &it) {
		return "", false
	}
	defer it.Release()
	return string(it.Value), true
}

func (w *world) fill(key string, f store.Fill) {
	w.t.Helper()
	var it store.Item
	if w.Get(&store.Lookup{Key: []byte(key), Hash: w.seed.Key([]byte(key)), Route: w.route, Now: w.Now()}, &it) {
		w.t.Fatalf("%s is there", key)
	}
	f.Key, f.Route, f.Now = []byte(key), w.route, w.Now()
	if st := w.PutLease(it.Lease, &f); st > store.PutNegative {
		w.t.Fatalf("%s: put %v", key, st)
	}
}

func (w *world) save(path string) Written {
	w.t.Helper()
	done, err := Write(context.Background(), w.Store, path, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// load loads path; after is called after each item.
func (w *world) load(path string, after func()) (Loaded, error) {
	w.t.Helper()
	l := Begin(w.Store)
	if l == nil {
		w.t.Fatal("a load is under way")
	}
	defer l.End()
	l.after = after
	return l.Run(context.Background(), path)
}

// valueOf is what the n-th key has: short ones, ones of their own, ones that many have, and long ones.
func valueOf(n int) string {
	switch n % 5 {
	case 0:
		return strings.Repeat("s", n%20)
	case 1:
		return fmt.Sprintf("%0*d", 50+n%100, n)
	case 2, 3:
		return fmt.Sprintf("%0300d", n%50)
	}
	if n%40 == 4 {
		return strings.Repeat(fmt.Sprint("large ", n%3, " "), 4000)
	}
	r := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, 2000)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func keyOf(n int) string { return fmt.Sprint("key:", n) }

// furnished is a world with n plain keys and a tenth of them on the route.
func furnished(t testing.TB, n int) *world {
	w := open(t, max(8, n/500))
	for i := range n {
		w.set(0, keyOf(i), valueOf(i))
	}
	for i := range n / 10 {
		if i%7 == 0 {
			w.fill(fmt.Sprint("row:", i), store.Fill{Absent: true})
		} else {
			w.fill(fmt.Sprint("row:", i), store.Fill{Value: []byte(valueOf(i)), Flags: 4})
		}
	}
	return w
}

// check wants every key that is there to have its value, and returns how many are there.
func (w *world) check(n int) (there int) {
	w.t.Helper()
	for i := range n {
		if v, ok := w.get(0, keyOf(i)); ok {
			there++
			if v != valueOf(i) {
				w.t.Fatalf("key %d has %.40q", i, v)
			}
		}
	}
	for i := range n / 10 {
		if v, ok := w.get(w.route, fmt.Sprint("row:", i)); ok {
			there++
			if i%7 == 0 || v != valueOf(i) {
				w.t.Fatalf("row %d has %.40q", i, v)
			}
		}
	}
	return there
}

// blocks returns where the blocks of a file begin, its end, and their kinds.
func blocks(t testing.TB, path string) (at []int64, kinds []byte) {
	t.Helper()
	f, size, err := openSnapshot(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	u := &unpacker{r: f, size: size, most: 4 << 20}
	defer u.close()
	for {
		from := u.at
		h, _, err := u.next(nil)
		if err == io.EOF {
			return append(at, from), kinds
		}
		if err != nil {
			t.Fatal(err)
		}
		at, kinds = append(at, from), append(kinds, h.kind)
	}
}

func TestFileRoundTrip(t *testing.T) {
	const keys = 10_000
	x := furnished(t, keys)
	path := filepath.Join(t.TempDir(), "snapshot")
	done := x.save(path)
	st, err := os.Stat(path)
	if err != nil || st.Size() != done.Bytes || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %+v, %v", st, done, err)
	}
	items := x.Stats().Items + x.Stats().NegativeItems
	if done.Items != items || done.Payloads == 0 || done.Payloads > x.Stats().Data {
		t.Errorf("written %+v of %+v", done, x.Stats())
	}
	for _, megabytes := range []int{32, 64} {
		y := open(t, megabytes)
		got, err := y.load(path, nil)
		if err != nil || got.Items[store.Loaded] != items || got.Damaged != 0 || got.Lost != 0 || !got.Whole || got.Bytes != st.Size() || got.Early != "" {
			t.Fatalf("%+v, %v", got, err)
		}
		if there := y.check(keys); there != int(x.Stats().Items) {
			t.Errorf("%d keys are there", there)
		}
		if a, b := x.Stats(), y.Stats(); a.DataBytes > b.DataBytes+b.DataBytes/8 || a.NegativeItems != b.NegativeItems {
			t.Errorf("%+v\n%+v", a, b)
		}
	}
	// Into too small a store: it takes what fits.
	y := open(t, 4)
	got, err := y.load(path, nil)
	if s := y.Stats(); err != nil || got.Early == "" || got.Items[store.Loaded] == 0 || s.Evictions != 0 || s.UsedBytes > s.LimitBytes {
		t.Errorf("%+v, %v, %+v", got, err, s)
	}
	y.check(keys)
}

func TestItemsReadAsWritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(n int) bool { return rng.IntN(n) == 0 }
	for range 2000 {
		var want []store.Kept
		var b []byte
		for range rng.IntN(5) {
			k := store.Kept{Key: bytes.Repeat([]byte("k"), 1+rng.IntN(250)), Value: bytes.Repeat([]byte("v"), rng.IntN(300)), Hits: byte(rng.IntN(4)), Fetched: pick(2), Main: pick(2)}
			if pick(2) {
				k.Flags, k.CAS, k.Expiry = rng.Uint32(), rng.Uint64(), rng.Uint32()
			}
			if pick(2) {
				k.Route = store.RouteID(1 + rng.IntN(255))
			}
			k.Noted = k.Route == 0 && pick(2)
			if k.Route != 0 || k.Noted {
				k.State, k.Filled = byte(rng.IntN(256)), rng.Uint32()
			}
			if pick(2) {
				if k.Number, k.New = 1+rng.Uint32N(1<<31), pick(2); !k.New {
					k.Value = nil
				}
			}
			want = append(want, k)
			b = appendItem(b, &k)
		}
		f := fields{b: b}
		for i := range want {
			var got store.Kept
			if err := readItem(&f, &got); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want[i]) {
				t.Fatalf("got  %+v\nwant %+v", got, want[i])
			}
		}
		if len(f.b) != 0 {
			t.Fatalf("%d bytes are left", len(f.b))
		}
	}
}

// TestOriginReadAsWritten: with what it has by now and without, as the first files are.
func TestOriginReadAsWritten(t *testing.T) {
	want := store.Origin{
		Clock: 1 << 40, Wall: time.Unix(1, 2), FlushAt: 3, CAS: 4, Items: 5, Bytes: 6,
		Routes: []store.OriginRoute{{ID: 1, Name: "one", KeyPrint: 7, QueryPrint: 8}, {ID: 64, Name: "two"}},
	}
	b := appendOrigin(nil, &want)
	if got, ok := readOrigin(b); !ok || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, ok, want)
	}
	want.Items, want.Bytes = 0, 0
	if got, ok := readOrigin(b[:len(b)-16]); !ok || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("of a first file: got %+v, %v\nwant %+v", got, ok, want)
	}
	if _, ok := readOrigin(b[:len(b)-1]); ok {
		t.Error("one that is cut off is taken")
	}
}

func FuzzReadItem(f *testing.F) {
	f.Add([]byte("\x01\x20\x00\x01\x03abcK"))
	f.Add(appendItem(nil, &store.Kept{Key: []byte("k"), Value: []byte("v"), Route: 1, Number: 7, New: true, CAS: 5}))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := fields{b: b}
		var k store.Kept
		if readItem(&in, &k) != nil {
			return
		}
		var again store.Kept
		out := fields{b: appendItem(nil, &k)}
		if err := readItem(&out, &again); err != nil || fmt.Sprintf("%+v", k) != fmt.Sprintf("%+v", again) {
			t.Errorf("%+v became %+v, %v", k, again, err)
		}
		readOrigin(b)
	})
}

// TestFlippedBits flips bits in the head and in the body of every block. What the others have is loaded, never a wrong value.
func TestFlippedBits(t *testing.T) {
	const keys = 4000
	x := furnished(t, keys)
	path := filepath.Join(t.TempDir(), "snapshot")
	all := x.save(path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at, kinds := blocks(t, path)
	if len(kinds) < 6 {
		t.Fatalf("%d blocks are too few", len(kinds))
	}
	for i, kind := range kinds {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		size := at[i+1] - at[i]
		for _, flip := range []int64{7, rng.Int64N(headSize), headSize - 1, headSize + rng.Int64N(size-headSize), size - 1} {
			b := bytes.Clone(whole)
			b[at[i]+flip] ^= 1 << rng.IntN(8)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			y := open(t, 8)
			got, err := y.load(path, nil)
			if i == 0 && flip == 7 && errors.Is(err, ErrVersion) {
				t.Fatal("a flipped bit is taken for another version")
			}
			there := y.check(keys)
			switch {
			case err != nil || got.Damaged == 0:
				t.Errorf("block %d byte %d: %+v, %v", i, flip, got, err)
			case kind != kindItems && int(got.Items[store.Loaded]) != int(all.Items):
				t.Errorf("block %d byte %d: the damage is not among the items: %+v", i, flip, got)
			case kind == kindItems && (got.Lost == 0 || there == 0 || got.Read()+got.Lost != all.Items):
				t.Errorf("block %d byte %d: %d items are there, %+v", i, flip, there, got)
			case kind == kindEnd && got.Whole:
				t.Errorf("the file is taken for whole")
			}
			y.end()
		}
	}
	// Both of the first blocks: nothing can be used.
	b := bytes.Clone(whole)
	b[at[0]+headSize] ^= 1
	b[at[1]+headSize] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	y := open(t, 8)
	if got, err := y.load(path, nil); !errors.Is(err, ErrForeign) || y.Stats().Items != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	// Several blocks at once.
	for i := 3; i < len(kinds)-1; i += 2 {
		b = bytes.Clone(whole)
		for j := 2; j < i; j++ {
			b[at[j]+int64(j)] ^= 4
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		y := open(t, 8)
		if got, err := y.load(path, nil); err != nil || got.Blocks != int64(len(kinds)-1-i) {
			t.Errorf("%d blocks are damaged of %d: %+v, %v", i-2, len(kinds), got, err)
		}
		y.check(keys)
		y.end()
	}
}

// TestTruncated cuts the file at the borders of blocks and within them.
func TestTruncated(t *testing.T) {
	const keys = 4000
	x := furnished(t, keys)
	path := filepath.Join(t.TempDir(), "snapshot")
	x.save(path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at, kinds := blocks(t, path)
	for i := range at {
		for _, cut := range []int64{at[i], at[i] + 1, at[i] + headSize - 1, at[i] + headSize, at[i] + headSize + 5, at[min(i+1, len(kinds))] - 1} {
			if cut >= int64(len(whole)) || cut < at[i] {
				continue
			}
			if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			y := open(t, 8)
			got, err := y.load(path, nil)
			if i < 1 {
				if !errors.Is(err, ErrForeign) {
					t.Errorf("cut at %d: %+v, %v", cut, got, err)
				}
			} else if err != nil || got.Blocks != int64(max(i-2, 0)) || got.Whole || (cut != at[i]) != (got.Damaged > 0) {
				t.Errorf("cut at %d in block %d: %+v, %v", cut, i, got, err)
			}
			y.check(keys)
			y.end()
		}
	}
}

func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot")
	x := furnished(t, 100)
	x.save(path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at, kinds := blocks(t, path)
	// reversioned is the file as another version would have written it.
	reversioned := func(v byte) []byte {
		b := bytes.Clone(whole)
		for i := range kinds {
			var h head
			if !h.parse(b[at[i]:]) {
				t.Fatal("no head")
			}
			h.version = v
			h.appendTo(b[at[i]:at[i]])
		}
		return b
	}
	for _, tt := range []struct {
		name string
		make func(path string) error
		want error
	}{
		{"absent", func(string) error { return nil }, os.ErrNotExist},
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o600) }, ErrForeign},
		{"text", func(p string) error { return os.WriteFile(p, []byte("#!/bin/sh\n"), 0o600) }, ErrForeign},
		{"noise", func(p string) error {
			return os.WriteFile(p, []byte(valueOf(9)+strings.Repeat(valueOf(14), 2000)), 0o600)
		}, ErrForeign},
		{"magic alone", func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte(magic), 50_000), 0o600) }, ErrForeign},
		{"an older version", func(p string) error { return os.WriteFile(p, reversioned(version-1), 0o600) }, ErrVersion},
		{"a newer version", func(p string) error { return os.WriteFile(p, reversioned(version+1), 0o600) }, ErrVersion},
		{"no beginning", func(p string) error { return os.WriteFile(p, whole[at[2]:], 0o600) }, ErrForeign},
		{"a directory", func(p string) error { return os.Mkdir(p, 0o700) }, nil},
		{"a pipe", func(p string) error { return syscall.Mkfifo(p, 0o600) }, nil},
		{"a symbolic link", func(p string) error { return os.Symlink(path, p) }, syscall.ELOOP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "f")
			if err := tt.make(p); err != nil {
				t.Fatal(err)
			}
			y := open(t, 4)
			got, err := y.load(p, nil)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || y.Stats().Items != 0 {
				t.Fatalf("%+v, %v", got, err)
			}
			y.set(0, "k", "v")
			// What is no snapshot is not written over, unless it is empty.
			_, err = Write(context.Background(), y.Store, p, false)
			if ours := tt.name == "absent" || tt.name == "empty" || strings.Contains(tt.name, "version") || tt.name == "no beginning" || tt.name == "magic alone"; (err == nil) != ours {
				t.Errorf("write over it: %v", err)
			}
		})
	}
}

// TestLoadedBesideClients does, at every item of a load of a file, each thing that must win.
func TestLoadedBesideClients(t *testing.T) {
	const keys = 40
	x := furnished(t, keys)
	path := filepath.Join(t.TempDir(), "snapshot")
	all := x.save(path)
	for name, do := range map[string]func(w *world){
		"delete": func(w *world) { w.Delete([]byte(keyOf(7)), w.seed.Key([]byte(keyOf(7))), 0, w.Now(), 0) },
		"set":    func(w *world) { w.set(0, keyOf(7), "new") },
		"flush":  func(w *world) { w.FlushAll(w.Now(), 0) },
		"prefix": func(w *world) { w.InvalidatePrefix("key:") },
		"route":  func(w *world) { w.Invalidate(w.route) },
	} {
		t.Run(name, func(t *testing.T) {
			for step := range all.Items {
				y := open(t, 2)
				n := int64(0)
				if _, err := y.load(path, func() {
					if n++; n == step+1 {
						do(y)
					}
				}); err != nil {
					t.Fatal(err)
				}
				v, ok := y.get(0, keyOf(7))
				_, row := y.get(y.route, "row:1")
				if ok != (name == "set" || name == "route") || name == "set" && v != "new" || row == (name == "route" || name == "flush") {
					t.Fatalf("after %d items: %q, %v; row %v", step+1, v, ok, row)
				}
				y.end()
			}
		})
	}
}

// TestConcurrent saves and loads while clients read and write, for the race detector.
func TestConcurrent(t *testing.T) {
	const keys = 3000
	x, y := furnished(t, keys), open(t, 8)
	path := filepath.Join(t.TempDir(), "snapshot")
	quit := make(chan struct{})
	var clients sync.WaitGroup
	for c := range 3 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(c), 1))
			for {
				select {
				case <-quit:
					return
				default:
				}
				w := []*world{x, y}[rng.IntN(2)]
				n := rng.IntN(keys)
				switch rng.IntN(4) {
				case 0:
					w.set(0, keyOf(n), valueOf(n))
				case 1:
					w.Delete([]byte(keyOf(n)), w.seed.Key([]byte(keyOf(n))), 0, w.Now(), 0)
				default:
					if v, ok := w.get(0, keyOf(n)); ok && v != valueOf(n) {
						t.Errorf("%s is %.40q", keyOf(n), v)
					}
				}
			}
		})
	}
	for range 3 {
		x.save(path)
		if _, err := y.load(path, nil); err != nil {
			t.Error(err)
		}
	}
	close(quit)
	clients.Wait()
	y.check(keys)
}

// failing takes so many bytes and then no more, as a disk that is full.
type failing struct{ left int }

func (f *failing) Write(b []byte) (int, error) {
	n := min(len(b), f.left)
	if f.left -= n; n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// TestFullDisk: a disk that is full at any place of the file is an error, and a real one leaves the file that was there.
func TestFullDisk(t *testing.T) {
	x := furnished(t, 3000)
	path := filepath.Join(t.TempDir(), "snapshot")
	all := x.save(path)
	for left := int64(0); left < all.Bytes; left += all.Bytes/17 + 1 {
		sv := x.BeginSaving()
		var c counts
		if err := fill(context.Background(), &failing{int(left)}, sv, false, &c); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room for %d of %d bytes: %v", left, all.Bytes, err)
		}
		sv.End()
	}
}

// TestCancelled: a save that is ended leaves the file that was there and nothing beside it.
func TestCancelled(t *testing.T) {
	x := furnished(t, 3000)
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot")
	x.save(path)
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the server stops")
	cancel(why)
	if _, err := Write(ctx, x.Store, path, true); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	now, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(was, now) {
		t.Errorf("the file has changed, %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("in the directory: %v, %v", left, err)
	}
	// What a process that was killed has left is no hindrance.
	if err := os.WriteFile(path+partSuffix, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	x.save(path)
	// One at a time.
	sv := x.BeginSaving()
	if _, err := Write(context.Background(), x.Store, path, false); !errors.Is(err, ErrBusy) {
		t.Errorf("a second save at a time: %v", err)
	}
	sv.End()
	if _, err := Write(context.Background(), x.Store, filepath.Join(dir, "absent", "snapshot"), false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into a directory that is not there: %v", err)
	}
}
