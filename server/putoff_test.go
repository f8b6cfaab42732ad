package server

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"swordfish/store"
)

// TestWritesWaitForRoom: large values that come faster than small ones can be evicted for them are all stored, in their order
// and with the right answers, whatever the protocol. Nothing runs meanwhile on their connection; the others are served.
func TestWritesWaitForRoom(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		const size, n, small = 1_500_000, 4, 16_000
		var slow atomic.Bool
		seed := testSeed
		st, err := store.Open(store.Options{Memory: 16 << 20, MaxItem: 2 << 20, Seed: seed, Digest: seed.Payload, KeyHash: func(key []byte) uint64 {
			for began := time.Now(); slow.Load() && time.Since(began) < 50*time.Microsecond; { // so is evicting
			}
			return seed.Key(key)
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		o.Store, o.Workers = st, 1
		s, addr := startServer(t, o)
		other := talk(t, addr)
		fill := func() {
			t.Helper()
			slow.Store(false)
			var sets strings.Builder
			sets.WriteString("flush_all\r\n")
			for i := range small {
				fmt.Fprintf(&sets, "set s%d 0 0 1000 noreply\r\n%01000d\r\n", i, i)
			}
			other.ask(sets.String()+"mn\r\n", "MN")
			slow.Store(true)
		}
		sets := uint64(0)
		value := func(i int) string { return strings.Repeat(string(rune('a'+i)), size) }
		for _, form := range []struct {
			name string
			set  func(i int) (in, want string)
		}{
			{"text", func(i int) (in, want string) {
				return fmt.Sprintf("set t%d 0 0 %d\r\n%s\r\nget none\r\n", i, size, value(i)), "STORED\r\nEND\r\n"
			}},
			{"noreply", func(i int) (in, want string) {
				return fmt.Sprintf("set n%d 0 0 %d noreply\r\n%s\r\nmg none s\r\n", i, size, value(i)), "EN\r\n"
			}},
			{"meta", func(i int) (in, want string) {
				return fmt.Sprintf("mn\r\nms m%d %d O%d\r\n%s\r\nmg none s\r\n", i, size, i, value(i)), fmt.Sprintf("MN\r\nHD O%d\r\nEN\r\n", i)
			}},
			{"binary", func(i int) (in, want string) {
				key := fmt.Sprint("key=b", i)
				head := packet(t, "set", []string{key, "flags=0", "exptime=0", fmt.Sprint("bodylen=", 8+2+size)})
				return string(head) + value(i) + string(packet(t, "noop", nil)), ""
			}},
		} {
			t.Run(form.name, func(t *testing.T) {
				fill()
				sets += small
				other.until(s, func(n Counters) bool { return n.CmdSet == sets })
				before := s.Stats().Counters
				c := dial(t, addr)
				defer c.Close()
				var in, want strings.Builder
				for i := range n {
					a, b := form.set(i)
					in.WriteString(a)
					want.WriteString(b)
				}
				failed := make(chan error, 1)
				go func() {
					_, err := io.WriteString(c, in.String())
					failed <- err
				}()
				if form.name == "binary" { // whose answers hold a CAS
					got := make([]byte, n*48)
					if _, err := io.ReadFull(c, got); err != nil {
						t.Fatal(err)
					}
					for rest := got; len(rest) > 0; {
						a, left, ok := cutAnswer(rest)
						if !ok || a.status != 0 {
							t.Fatalf("got %s", spellAnswers(got))
						}
						rest = left
					}
				} else {
					got := make([]byte, want.Len())
					if _, err := io.ReadFull(c, got); err != nil || string(got) != want.String() {
						t.Fatalf("got %s, %v", shorten(got), err)
					}
				}
				if err := <-failed; err != nil {
					t.Error(err)
				}
				sets += n
				other.until(s, func(n Counters) bool { return n.CmdSet >= sets })
				after := s.Stats().Counters
				if after.RoomWaits == before.RoomWaits || after.StoreNoMemory > 0 || after.CmdSet != sets {
					t.Errorf("put off %d times, %d without memory, %d sets too many", after.RoomWaits-before.RoomWaits, after.StoreNoMemory, after.CmdSet-sets)
				}
			})
		}
		slow.Store(false)
	})
}
