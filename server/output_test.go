package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"swordfish/store"
)

// TestValuesSentFromTheStore: replies whose large values are sent from where the store has them are the same bytes as copied
// ones, in whatever pieces the socket takes them, and the store has its values back afterwards.
func TestValuesSentFromTheStore(t *testing.T) {
	st := newStore(t, store.Options{Memory: 64 << 20})
	s := newServer(t, Options{Store: st})
	sets := newClient(t, s)
	for i, size := range []int{0, 10, 5_000, 9_000, 20_000, 100_000, 1_000_000} {
		sets.ask(fmt.Sprintf("set k%d %d 0 %d\r\n%s\r\n", i, i, size, strings.Repeat(string(rune('a'+i)), size)))
	}
	w := s.workers[0]
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var in bytes.Buffer
		for range 1 + rng.IntN(6) {
			switch rng.IntN(4) {
			case 0:
				fmt.Fprintf(&in, "mg k%d v f k\r\n", rng.IntN(8))
			case 1:
				fmt.Fprintf(&in, "gat 0 k%d\r\n", rng.IntN(8))
			default:
				in.WriteString("get")
				for range 1 + rng.IntN(4) {
					fmt.Fprintf(&in, " k%d", rng.IntN(8))
				}
				in.WriteString("\r\n")
			}
		}
		want := playSession(t, s, in.Bytes(), in.Len())

		var got []byte
		ss := newSession(w, &s.o.Listen[0])
		for data, did := in.Bytes(), full; did == full; {
			w.pins = make([]pinned, 0, 8)
			w.begin()
			used, out, next := ss.run(w, data, nil)
			w.end()
			data, did = data[used:], next
			o := output{bytes: out, pins: w.pins}
			w.pins, w.pinnedBytes = nil, 0
			if len(out) > 3*highWater {
				t.Fatalf("seed %d: %d bytes were copied", seed, len(out))
			}
			for o.size() > 0 {
				if rng.IntN(3) == 0 {
					o = o.keep()
				}
				n := min(1+rng.IntN(1<<rng.IntN(21)), o.size())
				flat := bytes.Join(o.pieces(nil), nil)
				if len(flat) != o.size() {
					t.Fatalf("seed %d: pieces of %d bytes, size %d", seed, len(flat), o.size())
				}
				got = append(got, flat[:n]...)
				if o.skip(n); rng.IntN(100) == 0 { // the client has gone
					got = append(got, flat[n:]...)
					o.drop()
				}
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %q: %d bytes differ from the copied %d: %s", seed, in.Bytes(), len(got), len(want), shorten(got))
		}
		if n := st.Stats(); n.References != n.Data {
			t.Fatalf("seed %d: %d references to %d values are left", seed, n.References, n.Data)
		}
	}
}
