package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"swordfish/internal/transcript"
	"swordfish/protocol"
	"swordfish/store"
)

// fuzzServer is a server in whose life nothing has happened yet, so that two of them answer the same to the last byte.
func fuzzServer(t testing.TB) *Server {
	t.Helper()
	clock := &testClock{now: 10_000}
	st := newStore(t, store.Options{Memory: 2 << 20, MaxItem: 64 << 10, Clock: clock.read})
	s := newServer(t, Options{Store: st, Workers: 1, NoWatch: true, Wall: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	return s
}

// play gives in to a session of a new server and returns the answers. It fails where more is held than a command may need.
func play(t *testing.T, in []byte, sizes ...int) []byte {
	t.Helper()
	s := fuzzServer(t)
	c := newClient(t, s)
	left := in
	for len(left) > 0 {
		n := min(max(sizes[0], 1), len(left))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		c.send(left[:n])
		left = left[n:]
	}
	if most := max(keepInput, 4*len(in)); c.maxHeld > most {
		t.Fatalf("held %d bytes of input of %d", c.maxHeld, len(in))
	}
	if most := highWater + 64<<10 + 1000; c.maxOut > most {
		t.Fatalf("held %d bytes of output", c.maxOut)
	}
	return c.out
}

// unsteady are words whose answers tell of the moment or of how much arrived at once.
var unsteady = regexp.MustCompile(`stats|lru_crawler|watch|help|routes?|invalidate|reload|queue|sources|log_level`)

// FuzzSession: whatever arrives and however it is cut, unless in a line that is too long to be waited for, the session answers the
// same, in lines as they are known, holds little and does not panic.
func FuzzSession(f *testing.F) {
	eachTranscribed(f, false, func(in []byte) { f.Add(in, uint16(len(in)/2), uint16(7)) })
	f.Add([]byte("set a 0 0 1\r\nx\r\nget a b\r\nincr a 1\r\n"), uint16(7), uint16(1))
	f.Add([]byte("set num 5 100 2\r\n10\r\nincr num 18446744073709551615\r\ngets num\r\ncas num 0 0 1 1\r\n7\r\nmg num s v t f c\r\nma num J5 N0 v\r\n"), uint16(30), uint16(3))
	f.Add([]byte("get "+string(bytes.Repeat([]byte("a "), 3000))+"\r\n"), uint16(100), uint16(500))
	f.Fuzz(func(t *testing.T, in []byte, cut, piece uint16) {
		if len(in) > 16<<10 || len(in) > 0 && in[0] == 0x80 {
			return
		}
		in = unsteady.ReplaceAllFunc(in, func(word []byte) []byte { return append([]byte("x"), word[1:]...) })
		whole := play(t, in, len(in)+1)
		for rest := whole; len(rest) > 0; {
			n := replyLength(rest)
			if n <= 0 {
				t.Fatalf("%q\nis answered with %q\nwhich is no answer", in, rest)
			}
			rest = rest[n:]
		}
		if longLine(in) {
			return
		}
		for _, sizes := range [][]int{{int(cut), len(in) + 1}, {int(piece)}} {
			if got := play(t, in, sizes...); !bytes.Equal(got, whole) {
				t.Fatalf("%q in pieces of %d\ngot  %q\nwant %q", in, sizes, got, whole)
			}
		}
	})
}

// longLine tells whether in may have a line that is answered only where it arrives in one piece. Of lists of keys none is.
func longLine(in []byte) bool {
	for line := range bytes.SplitSeq(in, []byte("\n")) {
		if len(line) > protocol.MaxLine && !bytes.HasPrefix(line, []byte("get ")) && !bytes.HasPrefix(line, []byte("gets ")) {
			return true
		}
	}
	return false
}

// FuzzBinarySession: as FuzzSession, for what begins as the binary protocol does. Every answer is a whole packet about a
// request that was sent.
func FuzzBinarySession(f *testing.F) {
	eachTranscribed(f, true, func(in []byte) { f.Add(in[1:], uint16(len(in)/2), uint16(7)) })
	f.Fuzz(func(t *testing.T, in []byte, cut, piece uint16) {
		if len(in) > 16<<10 {
			return
		}
		in = append([]byte{0x80}, in...)
		for i := range in { // statistics tell of the moment
			if in[i] == 0x10 && i > 0 && in[i-1] == 0x80 {
				in[i] = 0x0b
			}
		}
		whole := play(t, in, len(in)+1)
		for rest := whole; len(rest) > 0; {
			a, behind, ok := cutAnswer(rest)
			if !ok {
				t.Fatalf("%x\nis answered with %x\nwhich is no answer", in, rest)
			}
			asked := binary.BigEndian.AppendUint32(nil, a.opaque)
			if !bytes.Contains(in, []byte{0x80, a.opcode}) || !bytes.Contains(in, asked) {
				t.Fatalf("%x\nis answered with %s\nwhich nobody has asked", in, a.spell())
			}
			rest = behind
		}
		for _, sizes := range [][]int{{int(cut), len(in) + 1}, {int(piece)}} {
			if got := play(t, in, sizes...); !bytes.Equal(got, whole) {
				t.Fatalf("%x in pieces of %d\ngot\n%swant\n%s", in, sizes, spellAnswers(got), spellAnswers(whole))
			}
		}
	})
}

// eachTranscribed runs f with what clients send in the transcripts.
func eachTranscribed(t testing.TB, isBinary bool, f func(in []byte)) {
	for _, path := range transcriptPaths(t) {
		all, _ := transcript.Read(t, path)
		for _, x := range all {
			if x.Binary == isBinary && len(x.In) > 0 && len(x.In) < 10_000 {
				f(x.In)
			}
		}
	}
}

// oneLine are the answers of text and meta commands that are a line each; the two that announce a value are replyLength's.
var oneLine = regexp.MustCompile(`^(?:(?:HD|EN|NS|EX|NF|MN|ME)(?: [^\n]*)?|END|STORED|NOT_STORED|EXISTS|NOT_FOUND|DELETED|TOUCHED|OK|` +
	`\d{1,20}|VERSION [^\n]*|ERROR(?: [^\n]*)?|CLIENT_ERROR [^\n]+|SERVER_ERROR:? [^\n]+|BADCLASS [^\n]+|NOTSTARTED [^\n]+|MEMLIMIT_[^\n]+)\r\n$`)

// replyLength returns how long the first answer in b is, 0 where there is none that makes sense.
func replyLength(b []byte) int {
	line := b[:bytes.IndexByte(b, '\n')+1]
	words := bytes.Split(bytes.TrimSuffix(line, []byte("\r\n")), []byte(" "))
	announced := -1
	switch first := string(words[0]); {
	case first == "VALUE" && (len(words) == 4 || len(words) == 5):
		announced, _ = strconv.Atoi(string(words[3]))
	case first == "VA" && len(words) > 1:
		announced, _ = strconv.Atoi(string(words[1]))
	case oneLine.Match(line):
		return len(line)
	default:
		return 0
	}
	end := len(line) + announced
	if announced < 0 || len(b) < end+2 || string(b[end:end+2]) != "\r\n" {
		return 0
	}
	return end + 2
}

func TestReplyLength(t *testing.T) {
	for in, want := range map[string]int{
		"VALUE a 0 3\r\na\r\n\r\nEND\r\n": 18, "VALUE a 0 3 7\r\nabc\r\n": 20, "VA 0 s0 k\r\n\r\n": 13, "HD\r\nHD\r\n": 4, "12\r\n": 4, "END\r\n": 5,
		"": 0, "EN": 0, "HDX\r\n": 0, "VALUE a 0 4\r\nabc\r\n": 0, "VALUE a 0 -1\r\n\r\n": 0, "stored\r\n": 0, "OK\n": 0, fmt.Sprint(1<<60, "0000\r\n"): 0,
	} {
		if got := replyLength([]byte(in)); got != want {
			t.Errorf("%q: got %d, want %d", in, got, want)
		}
	}
}
