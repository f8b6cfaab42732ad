package server

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
)

// TestConnectionsOfOneWorkerDoNotMix has many connections ask one worker at the same time, short and long, whole and in
// pieces, in both protocols: each gets the answers to what it asked, byte for byte.
func TestConnectionsOfOneWorkerDoNotMix(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.Workers = 1
		_, addr := startServer(t, o)
		const keys = 500
		value := func(i int) string { return strings.Repeat(fmt.Sprint("value ", i, " "), 1+i%20) }
		c := talk(t, addr)
		for i := range keys {
			c.ask(fmt.Sprintf("set key:%d %d 0 %d\r\n%s\r\n", i, i, len(value(i)), value(i)), "STORED")
		}
		get := func(rng *rand.Rand, n int) (ask, want string) {
			ask = "get"
			for range n {
				i := rng.IntN(keys * 5 / 4) // some are not there
				ask += fmt.Sprintf(" key:%d", i)
				if i < keys {
					want += fmt.Sprintf("VALUE key:%d %d %d\r\n%s\r\n", i, i, len(value(i)), value(i))
				}
			}
			return ask + "\r\n", want + "END\r\n"
		}
		var wg sync.WaitGroup
		for n := range 40 {
			wg.Go(func() {
				c := dial(t, addr)
				defer c.Close()
				rng := rand.New(rand.NewPCG(uint64(n), 1))
				for round := range 150 {
					var ask, want string
					commands := 1
					if rng.IntN(4) == 0 {
						commands += rng.IntN(8)
					}
					for range commands {
						keys := 1
						if rng.IntN(4) == 0 {
							keys += rng.IntN(150)
						}
						a, w := get(rng, keys)
						if rng.IntN(5) == 0 { // something else between
							a, w = fmt.Sprintf("set own:%d 0 0 5\r\n%05d\r\n%sget own:%d\r\n", n, round, a, n), "STORED\r\n"+w+fmt.Sprintf("VALUE own:%d 0 5\r\n%05d\r\nEND\r\n", n, round)
						}
						ask, want = ask+a, want+w
					}
					cut := len(ask)
					if rng.IntN(3) == 0 {
						cut = rng.IntN(len(ask))
					}
					for _, piece := range []string{ask[:cut], ask[cut:]} {
						if _, err := io.WriteString(c, piece); err != nil {
							t.Error(err)
							return
						}
					}
					got := make([]byte, len(want))
					if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
						t.Errorf("connection %d, round %d: %.200q\ngot  %.300q, %v\nwant %.300q", n, round, ask, got, err, want)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestKeysOfAnEarlierBufferAreForgotten has connections take turns with a command that is refused after its key was hashed ahead, and with
// gets of another key that comes to lie at the same place, many at a time: the hash of the one is not taken for the other's.
func TestKeysOfAnEarlierBufferAreForgotten(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.Workers = 1
		_, addr := startServer(t, o)
		talk(t, addr).ask("set key 0 0 1\r\nv\r\n", "STORED")
		refused, others := dial(t, addr), make([]net.Conn, 8)
		for i := range others {
			others[i] = dial(t, addr)
		}
		expect := func(c net.Conn, ask, want string) {
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				t.Fatalf("%q: got %q, %v; want %q", ask, got, err, want)
			}
		}
		const bad, good = "get aaa\r\nmg bad Tx\r\n", "version\r\nmg key v\r\n"
		send := func(c net.Conn, ask string) {
			if _, err := io.WriteString(c, ask); err != nil {
				t.Fatal(err)
			}
		}
		for range 300 {
			send(refused, bad)
			expect(refused, bad, "END\r\nCLIENT_ERROR bad token in command line format\r\n")
			for _, c := range others {
				send(c, good)
			}
			for _, c := range others {
				expect(c, good, "VERSION 1.6.45\r\nVA 1\r\nv\r\n")
			}
		}
	})
}
