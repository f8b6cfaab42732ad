package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
)

// packetAsker draws requests of the binary protocol, most of them valid.
type packetAsker struct {
	asker
	t    testing.TB
	last string // key of the last request
}

// request returns a request for each server; they differ in the CAS only. Behind an unsound one nothing else makes sense; it
// has as many bytes as its header says of key and extras, for which memcached waits.
func (a *packetAsker) request() (both [2][]byte, sound bool) {
	key, value := a.key(), a.value()
	sound = len(key) <= 250
	broken := ""
	if a.rng.IntN(15) == 0 {
		sound, key, value = false, "a", a.pick("", "x")
		broken = a.pick("keylen=0", "keylen=251", "extlen=0", "extlen=3", "extlen=8", "extlen=21", "extlen=255", "bodylen=0", "bodylen=1", "bodylen=9",
			"bodylen=1073741825", "extras=00", "value=xy", "type=1")
	}
	name := a.pick("get", "getq", "getk", "getkq", "gat", "gatq", "gatk", "gatkq", "touch", "set", "setq", "set", "setq", "add", "addq", "replace", "replaceq",
		"append", "appendq", "prepend", "prependq", "incr", "incrq", "decr", "decrq", "incr", "decr", "delete", "deleteq", "noop", "version", "flush", "flushq",
		"saslmechs")
	if sound && a.rng.IntN(30) == 0 { // without its key it is about figures that differ
		name = "stat"
	}
	if sound && a.rng.IntN(30) == 0 { // of an unknown one with a key memcached skips more than there is
		name = a.pick("0x1b", "0x40", "0xff")
	}
	words := []string{fmt.Sprint("opaque=", a.rng.IntN(1000))}
	add := func(field, text string) { words = append(words, field+"="+text) }
	exptime := func() { add("exptime", a.pick("0", "0", "100", "2592000", "2592001", "4294967295")) }
	switch strings.TrimSuffix(name, "q") {
	case "get", "getk", "delete":
		add("key", spellBytes([]byte(key)))
	case "gat", "gatk", "touch":
		add("key", spellBytes([]byte(key)))
		exptime()
	case "set", "add", "replace":
		add("key", spellBytes([]byte(key)))
		add("flags", a.pick("0", "5", "4294967295"))
		exptime()
		add("value", spellBytes([]byte(value)))
	case "append", "prepend":
		add("key", spellBytes([]byte(key)))
		add("value", spellBytes([]byte(value)))
	case "incr", "decr":
		if sound {
			key = a.pick("num", "num", "num2", key)
		}
		add("key", spellBytes([]byte(key)))
		add("delta", a.pick("0", "1", "7", "100", "18446744073709551615"))
		add("initial", a.pick("0", "5", "18446744073709551615"))
		exptime()
	case "stat":
		add("key", a.pick("reset", "sizes", "nothing", "resetting"))
	}
	if broken != "" {
		words = append(words, broken)
	}
	a.last = key
	cas := a.rng.IntN(8)
	for side := range both {
		all := words
		if unique := a.unique[side][key]; cas < 3 && unique != "" {
			all = append(slices.Clone(words), "cas="+unique)
		} else if cas == 3 {
			all = append(slices.Clone(words), "cas=9007199254740993")
		}
		b := packet(a.t, name, all)
		if lacking := 24 + int(b[4]) + int(binary.BigEndian.Uint16(b[2:])) - len(b); lacking > 0 {
			b = append(b, make([]byte, lacking)...)
		}
		both[side] = b
	}
	return both, sound
}

// Requests answer the same when they arrive in one buffer, where keys are hashed before their turn, as one by one.
func TestAheadOfPacketsChangesNoAnswer(t *testing.T) {
	s := routed(t, Options{})
	for seed := range uint64(20) {
		a := &packetAsker{asker{rng: rand.New(rand.NewPCG(seed, 7)), unique: [2]map[string]string{{}, {}}}, t, ""}
		in := packets(t, []byte("setq key=chr|a=1|b=2 value=x flags=0 exptime=0\n"))
		for range 300 {
			both, sound := a.request()
			if !sound {
				continue
			}
			in = append(in, both[0]...)
			for range a.rng.IntN(5) {
				in = append(in, packets(t, []byte(a.pick("getkq key=a", "get key=num", "gat key=b exptime=0", "getk key=chr|b=2|a=1", "getkq key=chr|a=1|b=2")))...)
			}
		}
		flush := []byte("flush_all\r\n")
		playSession(t, s, flush, len(flush))
		whole := spellAnswers(playSession(t, s, in, len(in)))
		playSession(t, s, flush, len(flush))
		if pieces := spellAnswers(playSession(t, s, in, 40)); string(pieces) != string(whole) {
			t.Fatalf("seed %d: got %d bytes in pieces, %d at once", seed, len(pieces), len(whole))
		}
	}
}

// TestRandomPacketsLikeMemcached is TestRandomCommandsLikeMemcached in the binary protocol.
func TestRandomPacketsLikeMemcached(t *testing.T) {
	memcached := oracle(t, "-o", quietOracle)
	for seed := *firstSeed; seed < *firstSeed+4; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			_, ours := startServer(t, Options{Net: seed%2 == 0})
			addrs := [2]string{ours, memcached}
			var sides [2]*net.TCPConn
			talk(t, memcached).ask("flush_all\r\n", "OK")
			a := &packetAsker{asker{rng: rand.New(rand.NewPCG(seed, 0)), unique: [2]map[string]string{{}, {}}}, t, ""}
			noop := packet(t, "noop", []string{"opaque=4294967295"})
			var history []string
			for i := range *commands {
				both, sound := a.request()
				history = append(history, fmt.Sprintf("%x", both[0]))
				var said [2][]byte
				for side := range sides {
					if sides[side] == nil {
						sides[side] = dial(t, addrs[side])
					}
					c := sides[side]
					in := both[side]
					if sound {
						in = slices.Concat(in, noop)
					}
					if _, err := c.Write(in); err != nil {
						t.Fatal(err)
					}
					if sound {
						said[side] = a.hear(c, side)
						continue
					}
					c.CloseWrite()
					answers, err := io.ReadAll(c)
					if err != nil && !isReset(err) {
						t.Fatal(err)
					}
					said[side] = spellAnswers(answers)
					c.Close()
					sides[side] = nil
				}
				if got, want := string(said[0]), string(said[1]); got != want {
					t.Fatalf("request %d, %x\ngot\n%swant\n%sbefore it:\n%s", i, both[0], got, want, strings.Join(history[max(0, len(history)-12):], "\n"))
				}
			}
			for _, c := range sides {
				if c != nil {
					c.Close()
				}
			}
		})
	}
}

// hear reads answers up to the one of the noop, spells them, and remembers their CAS for the keys they are about.
func (a *packetAsker) hear(c net.Conn, side int) []byte {
	b := &binaryTalk{a.t, c}
	var out []byte
	for {
		got := b.read()
		if got.opaque == 1<<32-1 {
			return out
		}
		out = append(out, got.spell()+"\n"...)
		if got.cas != 0 {
			a.unique[side][a.last] = fmt.Sprint(got.cas)
		}
	}
}
