package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"swordfish/internal/transcript"
)

// The targets of this file hold one parser each to what eachRequest demands, and to two things more: where the input is cut
// makes no difference, unless for a line that is too long to be waited for, and what was understood, written out anew, is understood again.

const fuzzInput = 8 << 10 // longer inputs only cost time

// heard calls f with what clients say in the transcripts.
func heard(t testing.TB, f func(in []byte, isBinary bool)) {
	t.Helper()
	paths, err := filepath.Glob("../testdata/protocol/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range paths {
		all, _ := transcript.Read(t, path)
		for _, x := range all {
			if len(x.In) <= fuzzInput {
				f(x.In, x.Binary)
			}
		}
	}
}

// holds fails where cutting or writing out changes what a parser understands.
func holds(t *testing.T, in []byte, cut, piece uint16) {
	t.Helper()
	if len(in) > fuzzInput {
		return
	}
	whole := parseCut(t, in, len(in)+1)
	if waitedFor(in) {
		if got := parseCut(t, in, int(cut), len(in)+1); got != whole {
			t.Fatalf("cut after %d of %q\ngot  %swant %s", cut, in, got, whole)
		}
		if got := parseCut(t, in, int(piece)); got != whole {
			t.Fatalf("in pieces of %d of %q\ngot  %swant %s", piece, in, got, whole)
		}
	}
	var first, again wire
	eachRequest(t, &Parser{TooLarge: func(k, n int) bool { return n > limit }}, in, first.request, len(in)+1)
	if first.broken || first.inKeys {
		return
	}
	eachRequest(t, &Parser{TooLarge: func(k, n int) bool { return n > limit }}, first.Bytes(), again.request, first.Len()+1)
	if first.said.String() != again.said.String() || !bytes.Equal(first.Bytes(), again.Bytes()) {
		t.Fatalf("%q\nwas written out as %q\nwhich means %swant        %s", in, first.Bytes(), &again.said, &first.said)
	}
}

// lists are how the lines begin that may go on for longer than others.
var lists = []string{"get ", "gets "}

// waitedFor tells whether no line that a parser meets in in is so long that it is answered only where it arrives in one piece.
// What begins as a list of keys within a value that is swallowed is none.
func waitedFor(in []byte) bool {
	if !longLine(in) {
		return true
	}
	p := Parser{TooLarge: func(k, n int) bool { return n > limit }}
	for {
		rest := in[min(p.swallow, int64(len(in))):]
		if p.where == atSkip {
			_, rest, _ = bytes.Cut(rest, []byte("\n"))
		}
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		if p.where != atKeys && len(line) > MaxLine && !slices.ContainsFunc(lists, func(word string) bool { return bytes.HasPrefix(line, []byte(word)) }) {
			return false
		}
		n, st := p.Parse(in)
		if st == NeedMore || st == Hangup {
			return true
		}
		in = in[n:]
	}
}

// longLine tells whether in may have a line of more than MaxLine bytes.
func longLine(in []byte) bool {
	if len(in) > 0 && in[0] == binaryRequest {
		return false
	}
	for line := range bytes.SplitSeq(in, []byte("\n")) {
		if len(line) > MaxLine {
			return true
		}
	}
	return false
}

func FuzzText(f *testing.F) {
	for _, test := range parseTests {
		f.Add([]byte(test.in), uint16(len(test.in)/2), uint16(1))
	}
	heard(f, func(in []byte, isBinary bool) {
		if !isBinary {
			f.Add(in, uint16(len(in)/2), uint16(7))
		}
	})
	f.Add([]byte("delete noreply 1\r\n"), uint16(3), uint16(1))
	f.Fuzz(func(t *testing.T, in []byte, cut, piece uint16) { holds(t, in, cut, piece) })
}

// FuzzMeta's input begins with a meta command of these parts; an ms announces more bytes than it has by more.
func FuzzMeta(f *testing.F) {
	for _, letter := range []byte("ngsdae") {
		f.Add(letter, []byte("key"), []byte(" v k Oabc q"), []byte("value"), int8(0), []byte("mn\r\n"), uint16(9), uint16(1))
	}
	for _, flags := range []string{"b c f h k l O1 q s t v u", "N30 T60 R5", "C5 E6", "MA I c", "F5 T0 MR", "x I q", "J13 D5 N0 MD t v", "P L k", "T-1 v v", "O" + long} {
		for _, letter := range []byte("gsda") {
			f.Add(letter, []byte("Zm9v"), []byte(" "+flags), []byte("12345"), int8(0), []byte(""), uint16(5), uint16(2))
		}
	}
	heard(f, func(in []byte, isBinary bool) {
		if !isBinary {
			f.Add(byte('g'), []byte("a"), []byte(""), []byte(""), int8(0), in, uint16(len(in)/2), uint16(7))
		}
	})
	for _, test := range metaTests {
		f.Add(byte('s'), []byte("a"), []byte(" T5"), []byte("x"), int8(0), []byte(test.in), uint16(len(test.in)/2), uint16(1))
	}
	swallowed := "x\r\nget " + strings.Repeat("missing ", MaxLine/4) + "\r\nget a\r\n"
	f.Add(byte('s'), []byte("a"), []byte(" bad flags"), []byte(""), int8(100), []byte(swallowed), uint16(9), uint16(182))
	f.Fuzz(func(t *testing.T, letter byte, key, flags, value []byte, more int8, behind []byte, cut, piece uint16) {
		in := append([]byte{'m', letter, ' '}, key...)
		if letter == 's' {
			in = fmt.Appendf(in, " %d", len(value)+int(more))
		}
		in = append(append(in, flags...), "\r\n"...)
		if letter == 's' {
			in = append(append(in, value...), "\r\n"...)
		}
		holds(t, append(in, behind...), cut, piece)
	})
}

// FuzzBinary's input begins with a binary request of these parts; its header says more or less of them than there is by the
// three bytes of wrong.
func FuzzBinary(f *testing.F) {
	for opcode, op := range operations {
		extras := ""
		switch op.verb {
		case Set, Add, Replace:
			extras = eight
		case Incr, Decr:
			extras = twenty
		case Gat, Touch, FlushAll:
			extras = twenty[:4]
		}
		if op.verb != Refused || opcode < 0x30 {
			f.Add(byte(opcode), []byte(extras), []byte("key"), []byte("1"), []byte{}, uint64(5), []byte(packet(0x0a, "", "", "")), uint16(24), uint16(1))
		}
	}
	f.Add(byte(1), []byte(eight), []byte("k"), []byte(""), []byte("\x01\x01\x01"), uint64(0), []byte(""), uint16(3), uint16(3))
	heard(f, func(in []byte, isBinary bool) {
		if isBinary {
			f.Add(byte(0x0a), []byte{}, []byte{}, []byte{}, []byte{}, uint64(0), in, uint16(len(in)/2), uint16(7))
		}
	})
	for _, test := range binaryTests {
		f.Add(byte(0x0b), []byte{}, []byte{}, []byte{}, []byte{}, uint64(0), []byte(test.in), uint16(len(test.in)/2), uint16(1))
	}
	f.Fuzz(func(t *testing.T, opcode byte, extras, key, value, wrong []byte, unique uint64, behind []byte, cut, piece uint16) {
		var by [3]int
		for i := range min(len(wrong), len(by)) {
			by[i] = int(int8(wrong[i]))
		}
		in := []byte(head(opcode, len(extras)+by[0], len(key)+by[1], len(extras)+len(key)+len(value)+by[2]<<(8*by[2]&24), unique))
		holds(t, slices.Concat(in, extras, key, value, behind), cut, piece)
	})
}

// FuzzLogin begins before authentication, in text or where SASL is there. The password "p" is right.
func FuzzLogin(f *testing.F) {
	plain := packet(0x20, "", "", "") + packet(0x21, "", "PLAIN", "\x00u\x00p") + packet(0x22, "", "PLAIN", "\x00u\x00q") + packet(0x0b, "", "", "") + packet(0x00, "", "a", "")
	for _, in := range []string{
		"set auth 0 0 3\r\nu p\r\nget a\r\n", "set auth 0 0 3\r\nu q\r\nget a\r\n", "set a 0 0 1\r\nx\r\n", "get a\r\n", "set a 0 0 20000\r\n", "a\n", "set a 0 0 3\r\nu pxx", plain,
	} {
		f.Add([]byte(in), uint16(len(in)/2), uint16(1))
	}
	locked := func(t testing.TB, in []byte, sizes ...int) string {
		var s say
		p := &Parser{Locked: true, SASL: len(in) > 0 && in[0] == binaryRequest, TooLarge: func(k, n int) bool { return n > limit }}
		if !eachRequest(t, p, in, func(r *Request) {
			s.request(r)
			if r.Verb == Login && string(r.Password) == "p" || r.Verb == SASLAuth && bytes.HasSuffix(r.Value, []byte("\x00p")) {
				p.Locked = false
			}
		}, sizes...) {
			s.WriteString("hangup\n")
		}
		return s.String()
	}
	f.Fuzz(func(t *testing.T, in []byte, cut, piece uint16) {
		if len(in) > fuzzInput {
			return
		}
		whole := locked(t, in, len(in)+1)
		if longLine(in) {
			return
		}
		for _, sizes := range [][]int{{int(cut), len(in) + 1}, {int(piece)}} {
			if got := locked(t, in, sizes...); got != whole {
				t.Fatalf("%q in pieces of %d\ngot  %swant %s", in, sizes, got, whole)
			}
		}
	})
}

// wire writes requests out in one plain form and says what they are. Refusals are left out, values that are swallowed, and
// words for operators whose arguments would have to be translated back.
type wire struct {
	bytes.Buffer
	said   say
	inKeys bool
	broken bool // a list of keys ended in a refusal: its beginning alone has no form
}

func (w *wire) request(r *Request) {
	if r.Verb == Refused || r.TooLarge || r.Form == Classic && (r.Verb == Watch || r.Verb == Crawler) {
		w.broken = w.broken || w.inKeys
		return
	}
	w.said.request(r)
	switch r.Form {
	case Binary:
		w.binary(r)
	case Meta:
		w.meta(r)
	default:
		w.text(r)
	}
}

func (w *wire) text(r *Request) {
	switch r.Verb {
	case Get, Gets, Gat, Gats:
		if !w.inKeys {
			w.WriteString(names[r.Verb])
			if r.Verb >= Gat {
				fmt.Fprintf(w, " %d", r.Exptime)
			}
		}
		for key, left := NextKey(r.Keys); len(key) > 0; key, left = NextKey(left) {
			fmt.Fprintf(w, " %s", key)
		}
		if w.inKeys = r.More; !r.More {
			w.WriteString("\r\n")
		}
		return
	case Set, Add, Replace, Append, Prepend, CAS:
		fmt.Fprintf(w, "%s %s %d %d %d", names[r.Verb], r.Key, r.Flags, r.Exptime, len(r.Value))
		if r.Verb == CAS {
			fmt.Fprintf(w, " %d", r.Unique)
		}
		w.end(r)
		fmt.Fprintf(w, "%s\r\n", r.Value)
		return
	case Delete:
		fmt.Fprintf(w, "delete %s 0", r.Key) // the key may be noreply
	case Incr, Decr:
		fmt.Fprintf(w, "%s %s %d", names[r.Verb], r.Key, r.Delta)
	case Touch:
		fmt.Fprintf(w, "touch %s %d", r.Key, r.Exptime)
	case FlushAll:
		fmt.Fprintf(w, "flush_all %d", r.Exptime)
	case Verbosity:
		fmt.Fprintf(w, "verbosity %d", r.Level)
	case MemLimit:
		fmt.Fprintf(w, "cache_memlimit %d", r.Level)
	default:
		word := string(r.Word)
		if r.Verb != Admin {
			word = names[r.Verb]
		}
		w.WriteString(word)
		for i := range r.NArgs { // a noreply is the last of them
			switch {
			case i < len(r.Args):
				fmt.Fprintf(w, " %s", r.Args[i])
			case r.NoReply && i == r.NArgs-1:
				w.WriteString(" noreply")
			default:
				w.WriteString(" x")
			}
		}
		w.WriteString("\r\n")
		return
	}
	w.end(r)
}

// end ends a command line.
func (w *wire) end(r *Request) {
	if r.NoReply {
		w.WriteString(" noreply")
	}
	w.WriteString("\r\n")
}

func (w *wire) meta(r *Request) {
	key := string(r.Key)
	if r.Meta.BinaryKey {
		key = base64.StdEncoding.EncodeToString(r.Key)
	}
	switch r.Verb {
	case Noop:
		w.WriteString("mn\r\n")
	case Debug:
		fmt.Fprintf(w, "me %s%s\r\n", key, map[bool]string{true: " b x"}[r.Meta.BinaryKey])
	case Get:
		fmt.Fprintf(w, "mg %s %s\r\n", key, r.Meta.Words)
	case Delete:
		fmt.Fprintf(w, "md %s %s\r\n", key, r.Meta.Words)
	case Incr, Decr:
		fmt.Fprintf(w, "ma %s %s\r\n", key, r.Meta.Words)
	default:
		fmt.Fprintf(w, "ms %s %d %s\r\n%s\r\n", key, len(r.Value), r.Meta.Words, r.Value)
	}
}

func (w *wire) binary(r *Request) {
	var extras []byte
	switch r.Verb {
	case Set, Add, Replace:
		extras = binary.BigEndian.AppendUint32(extras, r.Flags)
		extras = binary.BigEndian.AppendUint32(extras, uint32(r.Exptime))
	case Incr, Decr:
		extras = binary.BigEndian.AppendUint64(extras, r.Delta)
		extras = binary.BigEndian.AppendUint64(extras, r.Initial)
		extras = binary.BigEndian.AppendUint32(extras, uint32(r.Exptime))
	case Gat, Touch, FlushAll:
		extras = binary.BigEndian.AppendUint32(extras, uint32(r.Exptime))
	}
	key := r.Key
	if r.Verb == FlushAll || r.Verb == Noop || r.Verb == Version || r.Verb == Quit {
		key = nil
	}
	b := []byte(packetCAS(r.Opcode, string(extras), string(key), string(r.Value), r.Unique))
	binary.BigEndian.PutUint32(b[12:], r.Opaque)
	w.Write(b)
}

// The plain form of a request has to mean what the request meant, in the tests that are not fuzzed as well.
func TestWrittenOutIsUnderstoodAgain(t *testing.T) {
	for _, test := range slices.Concat(parseTests, metaTests, binaryTests) {
		t.Run(test.name, func(t *testing.T) { holds(t, []byte(test.in), 3, 5) })
	}
	if long := strings.Repeat("a ", 2000); len(long) < fuzzInput {
		holds(t, []byte("get "+long+"\r\nmn\r\n"), 3000, 100)
	}
}
