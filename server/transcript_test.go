package server

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"swordfish/internal/transcript"
)

var update = flag.Bool("update", false, "rewrite the transcripts with what memcached answers")

// transcripts are what every implementation has to answer; the items of the sections before one are flushed. A number that
// differs from run to run, the last word of a gets, is written CAS. Binary answers are as spellAnswers has them.
const transcripts = "../testdata/protocol/*.txtar"

func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// What differs from run to run: the CAS of a gets, CAS and times in the first line of an answer to a meta command, and
// both in that of me, where the slab class is another one too.
var (
	uniques    = regexp.MustCompile(`(?m)^(VALUE [^ ]+ \d+ \d+) \d+\r$`)
	metaLines  = regexp.MustCompile(`(?m)^(?:HD|VA|NS|EX|NF|EN)( [^\r\n]*)?\r$`)
	metaNumber = regexp.MustCompile(` (?:c[1-9]\d*|t\d+|l\d+)\b`)
	debugLines = regexp.MustCompile(`(?m)^(ME [^\r\n]* exp=)(-1|\d+) la=\d+ cas=[1-9]\d* (fetch=\w+) cls=\d+ (size=\d+)\r$`)
)

func maskUniques(b []byte) []byte {
	b = uniques.ReplaceAll(b, []byte("$1 CAS\r"))
	b = debugLines.ReplaceAll(b, []byte("${1}EXP la=AGE cas=CAS $3 cls=CLASS $4\r"))
	return metaLines.ReplaceAllFunc(b, func(line []byte) []byte {
		return metaNumber.ReplaceAllFunc(line, func(flag []byte) []byte {
			return append(flag[:2:2], map[byte]string{'c': "CAS", 't': "TTL", 'l': "AGE"}[flag[1]]...)
		})
	})
}

// shown is what the server answered in the form that a transcript is compared with.
func shown(x *transcript.Exchange, answer []byte) []byte {
	if x.Binary {
		return spellAnswers(answer)
	}
	return maskUniques(answer)
}

func transcriptPaths(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(transcripts)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	return paths
}

// eachTranscript runs f with every file.
func eachTranscript(t *testing.T, f func(t *testing.T, path string)) {
	t.Helper()
	for _, path := range transcriptPaths(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { f(t, path) })
	}
}

func compare(t *testing.T, how string, x *transcript.Exchange, answer []byte) {
	t.Helper()
	if bytes.Equal(answer, x.Want) && !x.Binary {
		return
	}
	got, want := shown(x, answer), x.Want
	if bytes.Equal(got, want) {
		return
	}
	if !x.Binary {
		got, want = transcript.Escape(got), transcript.Escape(want)
	}
	t.Errorf("%s\ngot:\n%s\nwant:\n%s", how, shorten(got), shorten(want))
}

// cuts are the offsets at which an input is cut in two: all of them, but where nothing happens for long. Inside a long run of
// one byte only its ends and its middle count, lists of thousands of keys are cut at 2,000 places, and megabytes at 20.
func cuts(in []byte) (at []int) {
	const near = 8
	same := 0 // how many bytes before i are equal
	for i := 0; i <= len(in); i++ {
		end := min(i+near, len(in))
		run := same >= near && bytes.Count(in[i:end], in[i-1:i]) == end-i && end < len(in)
		if !run || i == len(in)/2 {
			at = append(at, i)
		}
		if i > 0 && i < len(in) && in[i] == in[i-1] {
			same++
		} else {
			same = 1
		}
	}
	most := 2000
	if len(in) > 100_000 {
		most = 20
	}
	if step := 1 + len(at)/most; step > 1 {
		n := 0
		at = slices.DeleteFunc(at, func(int) bool { n++; return n%step != 0 && n != len(at) })
	}
	return at
}

const anew = "flush_all\r\nverbosity 0\r\n" // before each exchange

func TestTranscriptsOverSockets(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.Store = usualStore(t)
		_, addr := startServer(t, o)
		eachTranscript(t, func(t *testing.T, path string) {
			all, _ := transcript.Read(t, path)
			for _, x := range all {
				for _, size := range []int{len(x.In), 1} {
					if size == 1 && len(x.In) > 20_000 {
						size = 1000
					}
					playSocket(t, addr, []byte(anew), 100)
					compare(t, fmt.Sprintf("%s, in pieces of %d", x.Name, size), &x, playSocket(t, addr, x.In, size))
				}
			}
		})
	})
}

func TestTranscriptsCutAnywhere(t *testing.T) {
	s := newServer(t, Options{Store: usualStore(t)})
	eachTranscript(t, func(t *testing.T, path string) {
		all, _ := transcript.Read(t, path)
		for _, x := range all {
			for _, cut := range cuts(x.In) {
				playSession(t, s, []byte(anew), 100)
				compare(t, fmt.Sprintf("%s, cut after %d bytes", x.Name, cut), &x, playSession(t, s, x.In, cut, len(x.In)))
				if t.Failed() {
					return
				}
			}
		}
	})
}

// TestTranscriptsOnMemcached asks the real server the same questions, and writes down its answers with -update.
func TestTranscriptsOnMemcached(t *testing.T) {
	// The maintainer would hold items for a moment, which flush_all then leaves where they are; but lru speaks to it.
	p, tuned := newPlayer(t, oracle(t, "-o", "no_lru_crawler,no_lru_maintainer")), newPlayer(t, oracle(t, "-o", "no_lru_crawler"))
	eachTranscript(t, func(t *testing.T, path string) {
		all, real := transcript.Read(t, path)
		if !real {
			return
		}
		p := p
		if filepath.Base(path) == "tune.txtar" {
			p = tuned
		}
		for i := range all {
			x := &all[i]
			whole := p.play(x.In)
			if *update {
				x.Want = shown(x, whole)
			}
			compare(t, x.Name, x, whole)
			if len(x.In) < 20_000 {
				compare(t, x.Name+", byte by byte", x, p.play(x.In, 1))
			}
			for _, cut := range cuts(x.In) {
				if t.Failed() {
					return
				}
				compare(t, fmt.Sprintf("%s, cut after %d bytes", x.Name, cut), x, p.play(x.In, cut, len(x.In)))
			}
		}
		if *update {
			transcript.Rewrite(t, path, all)
		}
	})
}

// player talks to a server of one worker in pieces that the server reads one by one.
type player struct {
	t    testing.TB
	addr string
	side *conversation
}

func newPlayer(t testing.TB, addr string) *player { return &player{t, addr, talk(t, addr)} }

// read returns when the worker has read whatever was sent before. The first answer may come from the round in which it finds
// the earlier bytes as well, the second one from a later round only.
func (p *player) read() {
	p.side.ask("mn\r\n", "MN")
	p.side.ask("mn\r\n", "MN")
}

// play is playSocket in pieces as playSession takes them; without sizes in is sent at once.
func (p *player) play(in []byte, sizes ...int) []byte {
	p.t.Helper()
	p.side.ask(anew+"mn\r\n", "MN")
	if len(sizes) == 0 {
		return playSocket(p.t, p.addr, in, len(in))
	}
	c := dial(p.t, p.addr)
	defer c.Close()
	// A first answer shows that the connection has come to the worker. It fixes the protocol as the first byte would.
	hello := []byte("mn\r\n")
	answered := len("MN\r\n")
	if len(in) > 0 && in[0] == 0x80 {
		hello, answered = packet(p.t, "noop", nil), 24
	}
	if _, err := c.Write(hello); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, answered)); err != nil {
		p.t.Fatal(err)
	}
	heard := make(chan []byte, 1)
	go func() {
		out, err := io.ReadAll(c)
		if err != nil && !isReset(err) {
			p.t.Errorf("read: %v after %d bytes", err, len(out))
		}
		heard <- out
	}()
	for len(in) > 0 {
		n := min(max(sizes[0], 1), len(in))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		if _, err := c.Write(in[:n]); err != nil {
			break // the other side has closed, which the replies show
		}
		if in = in[n:]; len(in) > 0 {
			p.read()
		}
	}
	c.CloseWrite()
	return <-heard
}
