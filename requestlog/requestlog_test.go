package requestlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clock is a time that tests move.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func newLog(t *testing.T, path string, size int64) (*Log, *clock) {
	t.Helper()
	c := &clock{time.Unix(1_800_000_000, 0)}
	l, err := Open(Options{Path: path, MaxSize: size, Now: c.read})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, c
}

func add(t *testing.T, l *Log, route string, n uint64, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := l.Add(route, []byte(key), n); err != nil {
			t.Fatal(err)
		}
	}
}

func flush(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
}

// text is what a log has, a line an entry.
func text(t *testing.T, path string) string {
	t.Helper()
	entries, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s %g\n", e.Route, e.Key, e.Count)
	}
	return b.String()
}

func want(t *testing.T, path, lines string) {
	t.Helper()
	if got := text(t, path); got != lines {
		t.Errorf("got\n%swant\n%s", got, lines)
	}
}

func TestLogTellsWhatWasAskedForMost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests")
	l, c := newLog(t, path, 1<<20)
	add(t, l, "chr", 3, "chr|os=ios", "chr|os=android")
	add(t, l, "", 10, "session:1", "a\x00\r\n\xff")
	add(t, l, "chr", 2, "chr|os=ios")
	flush(t, l)
	flush(t, l) // nothing is nothing
	c.now = c.now.Add(HalfLife)
	add(t, l, "chr", 1, "chr|os=android")
	flush(t, l)
	if st := l.Stats(); st.Blocks != 2 || st.Keys != 5 {
		t.Errorf("stats: %+v", st)
	}
	want(t, path, " a\x00\r\n\xff 5\n session:1 5\nchr chr|os=android 2.5\nchr chr|os=ios 2.5\n")
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestLogGoesOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests")
	l, _ := newLog(t, path, 1<<20)
	add(t, l, "r", 1, "r:1")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	add(t, l, "r", 1, "r:late") // nobody takes it
	l, _ = newLog(t, path, 1<<20)
	add(t, l, "r", 1, "r:1", "r:2")
	flush(t, l)
	want(t, path, "r r:1 2\nr r:2 1\n")
}

// TestLogWithATornTail: whatever a crash leaves of the last block, those before it are read, and the next start writes on behind
// them.
func TestLogWithATornTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests")
	l, _ := newLog(t, path, 1<<20)
	add(t, l, "r", 1, "r:1", "r:2")
	flush(t, l)
	first := l.Stats().Size
	add(t, l, "r", 1, "r:3")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(content []byte, damaged string) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		lines := ""
		if int64(len(content)) >= first {
			lines = "r r:1 1\nr r:2 1\n"
		}
		want(t, path, lines)
		l, _ := newLog(t, path, 1<<20)
		add(t, l, "r", 5, "r:9")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		want(t, path, "r r:9 5\n"+lines)
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", damaged, st.Mode(), err)
		}
	}
	for n := range whole {
		try(whole[:n], fmt.Sprintf("cut at %d", n))
	}
	for at := first; at < int64(len(whole)); at++ {
		flipped := append([]byte{}, whole...)
		flipped[at] ^= 0x10
		try(flipped, fmt.Sprintf("a bit of byte %d", at))
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests")
	const size = 16 << 10
	l, c := newLog(t, path, size)
	for i := range 300 {
		c.now = c.now.Add(time.Minute)
		for k := range 40 {
			add(t, l, "r", 1, fmt.Sprintf("r:%x", uint64(i*40+k)*0x9e3779b97f4a7c15))
		}
		add(t, l, "r", 1, "r:always")
		flush(t, l)
		total := int64(0)
		for _, name := range []string{path, path + ".1"} {
			if st, err := os.Stat(name); err == nil {
				total += st.Size()
				if st.Mode().Perm() != 0o600 {
					t.Fatalf("%s: mode %v", name, st.Mode())
				}
			}
		}
		if total > size {
			t.Fatalf("%d bytes after %d blocks, want at most %d", total, i+1, size)
		}
	}
	entries, err := Read(path)
	if err != nil || len(entries) < 500 || entries[0].Key != "r:always" {
		t.Fatalf("%d entries, %v; want the newest, and first what was asked for most", len(entries), err)
	}
	few, err := read(path, 100)
	if err != nil || len(few) != 100 || few[0] != entries[0] {
		t.Errorf("bounded: %d entries, first %v, %v; want the newest 100 and %v", len(few), few[0], err, entries[0])
	}
}

func TestLogWritesBeforeItHoldsTooMuch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests")
	l, _ := newLog(t, path, 16<<20)
	for i := range keysMost + 1 {
		add(t, l, "r", 1, fmt.Sprintf("r:%d", i))
	}
	if st := l.Stats(); st.Blocks != 1 || st.Keys != keysMost {
		t.Errorf("stats: %+v", st)
	}
}

func TestLogThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	foreign, link := filepath.Join(dir, "foreign"), filepath.Join(dir, "link")
	if err := os.WriteFile(foreign, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{foreign: ErrForeign, filepath.Join(dir, "none", "requests"): fs.ErrNotExist, link: nil, dir: nil} {
		if _, err := Open(Options{Path: path, MaxSize: 1 << 20}); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
		if err := Check(path); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("check of %s: got %v, want %v", path, err, want)
		}
	}
	if b, _ := os.ReadFile(foreign); string(b) != "precious" {
		t.Errorf("the foreign file has %q now", b)
	}
	if _, err := Read(foreign); !errors.Is(err, ErrForeign) {
		t.Errorf("read: %v", err)
	}
	l, _ := newLog(t, filepath.Join(dir, "small"), 100)
	add(t, l, "r", 1, "r:"+strings.Repeat("long", 50))
	if err := l.Flush(); err == nil || l.Stats().Failed != 1 {
		t.Errorf("a key that does not fit: %v, %+v", err, l.Stats())
	}
}

// TestLogKeepsWhatIsAskedForMost: where a block has no room for all that was asked for, it has what was asked for most.
func TestLogKeepsWhatIsAskedForMost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests")
	const size, keys, often = 64 << 10, 20_000, 500
	l, _ := newLog(t, path, size)
	for i := range keys {
		key := fmt.Sprintf("r:%x", uint64(i+1)*0x9e3779b97f4a7c15)
		add(t, l, "r", 1, key)
		if i%(keys/often) == 0 {
			add(t, l, "r", 10, key)
		}
	}
	flush(t, l)
	st := l.Stats()
	if st.Blocks != 1 || st.Failed != 0 || st.Keys+st.Left != keys || st.Size > size/2 || st.Size < size/4 {
		t.Errorf("stats: %+v", st)
	}
	entries, err := Read(path)
	if err != nil || uint64(len(entries)) != st.Keys || len(entries) < often || entries[often-1].Count != 11 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

// TestCheckChangesNothing: neither where there is no log yet nor where one is being written.
func TestCheckChangesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "requests")
	if err := Check(path); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	l, _ := newLog(t, path, 1<<20)
	add(t, l, "r", 1, "r:1")
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	half := []byte("half a block")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.Write(half)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	if err := Check(path); err != nil {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
		t.Errorf("the file has %d bytes, had %d", len(after), len(before))
	}
}

func FuzzEachKey(f *testing.F) {
	whole := appendBlock(nil, map[string]map[string]uint64{"r": {"r:1": 1, "r:12": 300}, "": {"x": 1 << 40}}, time.Unix(1, 0))
	f.Add(whole[headSize:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, packed []byte) {
		_ = eachKey(packed, func(_ string, key []byte, _ uint64) {
			if len(key) > maxKey {
				t.Fatalf("a key of %d bytes", len(key))
			}
		})
	})
}
