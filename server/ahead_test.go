package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"swordfish/normalizer"
	"swordfish/store"
)

// TestAheadChangesNoAnswer: gets of every form between writes of the same keys answer the same when they arrive in one buffer,
// where keys are hashed before their turn, as one line at a time.
func TestAheadChangesNoAnswer(t *testing.T) {
	st := newStore(t, store.Options{})
	ids, err := st.SetRoutes([]store.Route{{Name: "r", Fresh: 60, Stale: 60, Negative: 60}})
	if err != nil {
		t.Fatal(err)
	}
	table, err := normalizer.Compile([]normalizer.Route{{ID: uint16(ids[0]), Name: "r", Key: "chr|os={os}|w={w:int}"}})
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Options{Store: st, Routes: table})
	long := strings.Repeat("k", 251)
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 5))
		key := func() string {
			switch n := rng.IntN(30); {
			case n == 0:
				return long
			case n < 8:
				return fmt.Sprintf("chr|w=%d|os=a", rng.IntN(4))
			case n < 16:
				return fmt.Sprintf("chr|os=a|w=%d", rng.IntN(4))
			}
			return fmt.Sprint("k", rng.IntN(8))
		}
		var in bytes.Buffer
		for range 400 {
			end := []string{"\r\n", "\n"}[rng.IntN(2)]
			switch rng.IntN(10) {
			case 0:
				value := strings.Repeat("v", rng.IntN(50))
				fmt.Fprintf(&in, "set %s 0 0 %d%s%s\r\n", key(), len(value), end, value)
			case 1:
				fmt.Fprintf(&in, "delete %s%s", key(), end)
			case 2:
				in.WriteString("get")
				for range rng.IntN(40) {
					in.WriteString(" " + key())
				}
				in.WriteString(end)
			case 3:
				fmt.Fprintf(&in, "gat 100 %s %s%s", key(), key(), end)
			case 4:
				fmt.Fprintf(&in, "mg %s%s%s", key(), []string{"", " v", " v k f", "  v q", " k v b"}[rng.IntN(5)], end)
			case 5:
				for range 1 + rng.IntN(5) {
					fmt.Fprintf(&in, "mg %s v%s", key(), end)
				}
			default:
				fmt.Fprintf(&in, "get %s%s", key(), end)
			}
		}
		flush := []byte("flush_all\r\n")
		playSession(t, s, flush, len(flush))
		whole := playSession(t, s, in.Bytes(), in.Len())
		playSession(t, s, flush, len(flush))
		if single := playSession(t, s, in.Bytes(), 1); !bytes.Equal(whole, single) {
			t.Fatalf("seed %d: %q\nat once    %q\nby the byte %q", seed, in.Bytes(), whole, single)
		}
	}
}
