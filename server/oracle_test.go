package server

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

var (
	commands  = flag.Int("commands", 2000, "how many random commands each seed gives to memcached and to us")
	firstSeed = flag.Uint64("seed", 1, "the first of the seeds")
)

// oracle starts the real server with more arguments, and wants the version that ours speaks as.
func oracle(t testing.TB, args ...string) (addr string) {
	t.Helper()
	addr = testenv.Memcached(t, args...)
	if got := talk(t, addr).ask("version\r\n", "VERSION"); got != "VERSION "+DefaultVersion+"\r\n" {
		testenv.Missing(t, "memcached "+DefaultVersion, fmt.Sprintf("this one answers %q; make oracle builds a newer one", got))
	}
	return addr
}

// quietOracle keeps memcached's maintainer away: it would hold items for a moment after a get, and a number that is held is not
// changed where it stands.
const quietOracle = "no_lru_maintainer"

// asker draws commands, most of them valid.
type asker struct {
	rng    *rand.Rand
	unique [2]map[string]string // by server: the number that the last gets of a key told
}

func (a *asker) pick(words ...string) string { return words[a.rng.IntN(len(words))] }

func (a *asker) key() string {
	if a.rng.IntN(40) == 0 {
		return strings.Repeat("k", 250+a.rng.IntN(2))
	}
	return a.pick("a", "b", "c", "d", "e", "f", "num", "num", "num2", "tab\tkey", "\x01\xff", "noreply")
}

// shortKey is a key for get, which memcached answers wrongly where one is too long.
func (a *asker) shortKey() string {
	if key := a.key(); len(key) <= 250 {
		return key
	}
	return "a"
}

func (a *asker) number() string {
	return a.pick("0", "1", "5", "7", "10", "99", "100", "007", "-1", "+1", "x", "1x", "", "18446744073709551615", "18446744073709551616",
		"4294967295", "4294967296", "2147483647", "2147483648", strconv.Itoa(a.rng.IntN(1000)))
}

func (a *asker) exptime() string {
	return a.pick("0", "0", "0", "100", "2592000", "2592001", "-1", "2147483647", "2147483648", "x", "1x", "4294967296")
}

func (a *asker) value() string {
	switch a.rng.IntN(6) {
	case 0, 1, 2:
		return strconv.Itoa(a.rng.IntN(300))
	case 3:
		return a.pick("", " 5", "5 ", "5x", "5\r\n", "END\r\n", "-3") // of white space alone memcached reads past the value
	}
	return strings.Repeat(a.pick("x", "y", "0", "1"), a.rng.IntN(300))
}

func (a *asker) tail() string {
	return a.pick("", "", "", "", " noreply", " extra", " extra noreply", " ") + a.pick("\r\n", "\r\n", "\n")
}

// command returns a command for each server; they differ in the number of a cas only.
func (a *asker) command() [2]string {
	same := func(s string) [2]string { return [2]string{s, s} }
	switch a.rng.IntN(26) {
	case 0, 1, 2, 3:
		value := a.value()
		length := strconv.Itoa(len(value))
		switch a.rng.IntN(20) {
		case 0:
			value += "y" // longer than announced
		case 1:
			length = a.pick("x", "-1", "+1", "1x", "", "00001", "2147483647")
		case 2:
			value += "z"                                          // of white space alone memcached reads past the value
			length = strconv.Itoa(len(value) + 1 + a.rng.IntN(9)) // shorter: the filler behind it is eaten
		}
		verb := a.pick("set", "set", "set", "add", "replace", "append", "prepend")
		return same(verb + " " + a.key() + " " + a.number() + " " + a.exptime() + " " + length + a.tail() + value + a.pick("\r\n", "\r\n", "\r\n", "\r\n", "\n"))
	case 4:
		key, value, tail := a.shortKey(), a.value(), a.tail()
		var both [2]string
		for i := range both {
			unique := a.unique[i][key]
			if unique == "" {
				unique = "1"
			}
			both[i] = fmt.Sprintf("cas %s 3 0 %d %s%s%s\r\n", key, len(value), unique, tail, value)
		}
		return both
	case 5, 6, 7:
		words := a.pick("get", "get", "gets", "gets")
		for range 1 + a.rng.IntN(4) {
			words += a.pick(" ", " ", "  ") + a.shortKey()
		}
		return same(words + a.pick("\r\n", "\n", " \r\n"))
	case 8:
		words := a.pick("gat ", "gats ") + a.exptime()
		for range a.rng.IntN(3) {
			words += " " + a.shortKey()
		}
		return same(words + "\r\n")
	case 9, 10:
		return same(a.pick("incr ", "decr ") + a.pick("num", "num2", a.key()) + " " + a.number() + a.tail())
	case 11:
		return same("touch " + a.key() + " " + a.exptime() + a.tail())
	case 12, 13:
		return same("delete " + a.key() + a.pick("", "", " 0", " 5") + a.tail())
	case 14:
		return same(a.pick("flush_all", "flush_all", "flush_all 0", "flush_all x", "verbosity 0", "verbosity", "version", "stats reset", "stats foo",
			"stats sizes", "shutdown", "log", "GET a", "") + a.tail())
	case 15:
		junk := make([]byte, a.rng.IntN(12))
		for i := range junk {
			junk[i] = "abcgest incr0129\t-"[a.rng.IntN(18)]
		}
		return same("x" + string(junk) + "\r\n")
	}
	return a.meta()
}

var gets = regexp.MustCompile(`(?m)^VALUE ([^ ]+) \d+ \d+ (\d+)\r$`)

// TestRandomCommandsLikeMemcached gives seeded random commands to us and to the real server. Each is answered before the next
// is sent, so that memcached's replies do not hold items.
func TestRandomCommandsLikeMemcached(t *testing.T) {
	memcached := oracle(t, "-o", quietOracle)
	for seed := *firstSeed; seed < *firstSeed+6; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			_, addr := startServer(t, Options{Net: seed%2 == 0})
			sides := [2]*conversation{talk(t, addr), talk(t, memcached)}
			sides[1].ask("flush_all\r\n", "OK")
			a := &asker{rng: rand.New(rand.NewPCG(seed, 0)), unique: [2]map[string]string{{}, {}}}
			var history []string
			for i := range *commands {
				both := a.command()
				history = append(history, both[0])
				// What a wrong length may eat, and a line by which the end of the answer is known.
				mark := "mark" + strconv.Itoa(i)
				end := "VALUE " + mark
				behind := "\r\nfffffffffff\r\nfffffffffff\r\nset " + mark + " 0 0 1 noreply\r\nx\r\nget " + mark + "\r\ndelete " + mark + " noreply\r\n"
				var replies [2]string
				for side, c := range sides {
					replies[side] = c.ask(both[side]+behind, end)
					rest := make([]byte, len("x\r\nEND\r\n"))
					if _, err := io.ReadFull(c.r, rest); err != nil {
						t.Fatal(err)
					}
					for _, m := range gets.FindAllStringSubmatch(replies[side], -1) {
						a.unique[side][m[1]] = m[2]
					}
				}
				got, want := maskUniques([]byte(replies[0])), maskUniques([]byte(replies[1]))
				if !bytes.Equal(got, want) {
					t.Fatalf("command %d, %q\ngot  %q\nwant %q\nbefore it: %q", i, both[0], got, want, history[max(0, len(history)-12):])
				}
			}
		})
	}
}
