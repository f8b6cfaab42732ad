package replay

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

// TestWireMissesEachObjectOnce: with room for all, the first request of each object misses and no other, in windows of any
// length.
func TestWireMissesEachObjectOnce(t *testing.T) {
	ids := join([]uint32{5, 5, 5, 1, 2, 1, 2, 5}, zipf(300, 1000), run(0, 100))
	sizes := make([]uint32, 300)
	for i := range sizes {
		sizes[i] = uint32(i*i) + 8 // up to 89,409
	}
	for name, o := range map[string]WireOptions{
		"one size":       {Size: 100},
		"sizes":          {Sizes: sizes},
		"another value":  {Size: 100, Fresh: true},
		"a word's part":  {Size: 13},
		"shorter values": {Size: 8},
	} {
		t.Run(name, func(t *testing.T) {
			for _, window := range []int{1, 7, 1000} {
				o.Objects, o.Window = 300, window
				w, err := Dial(testenv.Memcached(t), o)
				if err != nil {
					t.Fatal(err)
				}
				last := 0
				misses, err := w.Replay(ids, func(done int) {
					if done <= last || done > last+window {
						t.Errorf("window %d: %d requests done after %d", window, done, last)
					}
					last = done
				})
				if want := distinct(ids); err != nil || misses != want || w.Refused != 0 || last != len(ids) {
					t.Errorf("window %d: %d misses, want %d; %d refused, %d done, %v", window, misses, want, w.Refused, last, err)
				}
				if misses, err = w.Replay(ids, func(int) {}); misses != 0 || err != nil {
					t.Errorf("window %d: %d misses the second time, %v", window, misses, err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestWireAsModel(t *testing.T) {
	w, err := Dial(testenv.Memcached(t), WireOptions{Window: 64, Objects: 10, Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i, want := range []bool{false, true, true} {
		if got := w.Ask(3); got != want || w.Err() != nil {
			t.Errorf("question %d: hit %v, %v", i, got, w.Err())
		}
	}
}

// TestWireNoticesWrongAnswers: another value under a key, and a set that is refused.
func TestWireNoticesWrongAnswers(t *testing.T) {
	addr := testenv.Memcached(t, "-I", "512k")
	w, err := Dial(addr, WireOptions{Window: 4, Objects: 10, Sizes: []uint32{100, 100, 100, 600_000, 0, 0, 0, 0, 0, 0}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if misses, err := w.Replay([]uint32{1, 2, 3, 1, 3}, func(int) {}); err != nil || misses != 4 || w.Refused != 2 {
		t.Errorf("%d misses, %d refused, %v; want object 3 missed and refused twice", misses, w.Refused, err)
	}
	other, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	fmt.Fprintf(other, "set %s 0 0 100\r\n%s\r\n", appendWireKey(nil, 2), strings.Repeat("x", 100))
	if n, err := other.Read(make([]byte, 100)); err != nil || n != len("STORED\r\n") {
		t.Fatal(n, err)
	}
	if _, err := w.Replay([]uint32{1, 2}, func(int) {}); err == nil || !strings.Contains(err.Error(), "object 2") {
		t.Errorf("a value of somebody else's: %v", err)
	}
	if w.Ask(1) || w.Err() == nil {
		t.Error("it goes on after an error")
	}
}
