package protocol

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func (s *say) meta(r *Request) {
	s.inKeys = false
	m := &r.Meta
	switch r.Verb {
	case Refused:
		fmt.Fprintf(s, "refused %q\n", replies[r.Reply])
		return
	case Noop:
		s.WriteString("mn\n")
		return
	case Debug:
		fmt.Fprintf(s, "me %q b %v\n", r.Key, m.BinaryKey)
		return
	case Get:
		s.WriteString("mg")
	case Delete:
		s.WriteString("md")
	case Incr, Decr:
		fmt.Fprintf(s, "ma %s %d initial %d", names[r.Verb], r.Delta, r.Initial)
	default:
		fmt.Fprintf(s, "ms %s value %q", names[r.Verb], r.Value)
		if r.TooLarge {
			s.WriteString(" too large")
		}
	}
	fmt.Fprintf(s, " key %q flags %q", r.Key, m.Words)
	for _, f := range []struct {
		set  bool
		text string
	}{
		{m.BinaryKey, " b"}, {r.Quiet, " q"}, {m.Value, " v"}, {m.NoBump, " u"}, {m.Access, " l"}, {m.WantCAS, " c"}, {m.Invalidate, " I"}, {m.Drop, " x"},
		{m.Touch, fmt.Sprintf(" T %d", r.Exptime)}, {!m.Touch && r.Exptime != 0, fmt.Sprintf(" exptime %d", r.Exptime)},
		{r.Vivify, fmt.Sprintf(" N %d, in the end %d", m.VivifyExptime, m.CreatedExptime)},
		{m.Recache, fmt.Sprintf(" R %d after T %v", m.RecacheExptime, m.RecacheTouched)},
		{m.Compare, fmt.Sprintf(" C %d", r.Unique)}, {m.NewUnique != 0, fmt.Sprintf(" E %d", m.NewUnique)}, {r.Flags != 0, fmt.Sprintf(" F %d", r.Flags)},
	} {
		if f.set {
			s.WriteString(f.text)
		}
	}
	s.WriteString("\n")
}

// mistake is a refusal in the tests' words.
func mistake(r Reply) string { return fmt.Sprintf("refused %q", replies[r]) }

var metaTests = []struct{ name, in, want string }{
	{"mn", "mn\r\nmn x $ y\r\nmn\n", "mn|mn|refused BF"},
	{"mg", "mg a\r\nmg a s v t f c h l u q k Oabc\n", `mg key "a" flags ""|mg key "a" flags "s v t f c h l u q k Oabc" q v u l c`},
	{"mg, no key", "mg\r\nmg \r\n", "refused BF|refused BF"},
	{"mg, odd keys", "mg $ v\r\nmg a\x00\xff  v  k \r\n", `mg key "$" flags "v" v|mg key "a\x00\xff" flags "v  k " v`},
	{"mg, longest key", "mg " + long + "\r\nmg " + long + "k v\r\n", `mg key "` + long + `" flags ""|refused BF`},
	{"mg, exptimes", "mg a N30 T-1 R5\r\nmg a R-5 T60 N0\r\n", `mg key "a" flags "N30 T-1 R5" T -1 N 30, in the end -1 R 5 after T true|mg key "a" flags "R-5 T60 N0" T 60 N 0, in the end 0 R -5 after T false`},
	{"mg, CAS", "mg a C5 E18446744073709551615\r\n", `mg key "a" flags "C5 E18446744073709551615" C 5 E 18446744073709551615`},
	{"mg, tail of a flag without argument", "mg a vx kk t-1 qq\r\n", `mg key "a" flags "vx kk t-1 qq" q v`},
	{"mg, for proxies", "mg a Pabc L7\r\n", `mg key "a" flags "Pabc L7"`},
	{"mg, base64", "mg Zm9v b k\r\nmg Zg== k b\r\nmg Z$m9v= b\r\n", `mg key "foo" flags "b k" b|mg key "f" flags "k b" b|` + mistake(BadKey)},
	{"mg, not base64", "mg foo b\r\nmg ==== b\r\nmg Z=== b\r\nmg $$ b\r\n", strings.TrimSuffix(strings.Repeat(mistake(BadKey)+"|", 4), "|")},
	{"mg, duplicate", "mg a v v\r\nmg a T5 T6\r\nmg a Tx v v\r\n", mistake(DuplicateFlag) + "|" + mistake(DuplicateFlag) + "|" + mistake(DuplicateFlag)},
	{"mg, unknown flag", "mg a y\r\nmg a 0\r\nmg a _\r\nmg a noreply\r\n", mistake(InvalidFlag) + "|" + mistake(InvalidFlag) + "|" + mistake(InvalidFlag) + "|" + mistake(InvalidFlag)},
	{"mg, no letter", "mg a $\r\nmg a v \xff\r\nmg a {\r\n", "refused BF|refused BF|refused BF"},
	{"mg, bad arguments", "mg a T\r\nmg a Tx\r\nmg a N1x\r\nmg a R+1\r\nmg a C-1\r\nmg a E\r\nmg a Jx\r\nmg a D\r\nmg a F4294967296\r\nmg a T2147483648\r\n",
		strings.Repeat(mistake(BadToken)+"|", 6) + mistake(BadInitial) + "|" + mistake(BadDeltaValue) + "|refused BF|" + mistake(BadToken)},
	{"mg, two bad arguments", "mg a Tx Jx\r\nmg a Jx Tx F-\r\nmg a Fx Tx\r\n", mistake(BadInitial) + "|" + mistake(BadToken) + "|" + mistake(BadToken)},
	{"mg, longest opaque", "mg a O" + strings.Repeat("x", 31) + "\r\nmg a O" + strings.Repeat("x", 32) + "\r\n", `mg key "a" flags "O` + strings.Repeat("x", 31) + `"|` + mistake(OpaqueTooLong)},
	{"mg, many flags", "mg a b c f h k l q s t v u x I P L O J1 D1\r\nmg a b c f h k l q s t v u x I P L O J1 D1 C1\r\n", mistake(BadKey) + "|" + mistake(TooManyFlags)},
	{"ms", "ms a 2\r\nhi\r\nms a 0 q c F5 T9 E7 b k\r\n\r\nms YQ== 1 b\r\nx\r\n", `ms set value "hi" key "a" flags ""|` + mistake(BadKey) + `|ms set value "x" key "a" flags "b" b`},
	{"ms, flags", "ms a 1 q c F5 T9 E7 I s Oabc\r\nx\r\n", `ms set value "x" key "a" flags "q c F5 T9 E7 I s Oabc" q c I T 9 E 7 F 5`},
	{"ms, modes", "ms a 1 MS\r\nx\r\nms a 1 ME\r\nx\r\nms a 1 MA\r\nx\r\nms a 1 MP\r\nx\r\nms a 1 MR\r\nx\r\nms a 1 MEEE\r\nx\r\n",
		`ms set value "x" key "a" flags "MS"|ms add value "x" key "a" flags "ME"|ms append value "x" key "a" flags "MA"|ms prepend value "x" key "a" flags "MP"|ms replace value "x" key "a" flags "MR"|ms add value "x" key "a" flags "MEEE"`},
	{"ms, wrong modes", "ms a 1 Me\r\nx\r\nms a 1 M\r\nx\r\nms a 1 M q\r\nx\r\n", mistake(BadSetMode) + "|" + mistake(BadSetMode) + "|" + mistake(BadSetMode)},
	{"ms, CAS and modes", "ms a 1 C5\r\nx\r\nms a 1 MR C5\r\nx\r\nms a 1 MA C5\r\nx\r\nms a 1 ME C0\r\nx\r\n",
		`ms cas value "x" key "a" flags "C5" C 5|ms cas value "x" key "a" flags "MR C5" C 5|ms append value "x" key "a" flags "MA C5" C 5|ms add value "x" key "a" flags "ME C0" C 0`},
	{"ms, vivify", "ms a 1 MA N9 T5\r\nx\r\nms a 1 N9 T5\r\nx\r\n",
		`ms append value "x" key "a" flags "MA N9 T5" T 9 N 9, in the end 5|ms set value "x" key "a" flags "N9 T5" T 5 N 9, in the end 5`},
	{"ms, no length", "ms a\r\nms a x\r\nms a -1\r\nms a 1x\r\nms a 2147483646\r\n", "refused BF|refused BF|refused BF|refused BF|refused BF"},
	{"ms, bad flag swallows", "ms a 5 y\r\nms b \r\nms a 5 T\r\n12345\r\nms " + long + "k 3\r\nabc\r\nmn\r\n", mistake(InvalidFlag) + "|" + mistake(BadToken) + "|refused BF|mn"},
	{"ms, no letter does not swallow", "ms a 2 $\r\nmn\r\n", "refused BF|mn"},
	{"ms, opaque too long swallows", "ms a 2 q O" + strings.Repeat("x", 32) + "\r\nmn\r\nmn\r\n", mistake(OpaqueTooLong) + "|mn"},
	{"ms, too large", "ms a 5001 O" + strings.Repeat("x", 32) + "\r\n" + strings.Repeat("mn\r\n", 1250) + "x\r\nmn\r\n", `ms set value "" too large key "a" flags "O` + strings.Repeat("x", 32) + `"|mn`},
	{"ms, bad chunk", "ms a 1 q\r\nabc\r\nmn\r\n", "refused BC|refused BF|mn"},
	{"md", "md a\r\nmd a q x I T30 C5 E6 F7\r\n", `md key "a" flags ""|md key "a" flags "q x I T30 C5 E6 F7" q I x T 30 C 5 E 6 F 7`},
	{"ma", "ma a\r\nma a MD D5 J7 N9 T3 C1 E2 t c v q\r\nma a M-\r\nma a M+\r\nma a MI\r\n",
		`ma incr 1 initial 0 key "a" flags ""|ma decr 5 initial 7 key "a" flags "MD D5 J7 N9 T3 C1 E2 t c v q" q v c T 3 N 9, in the end 3 C 1 E 2|ma decr 1 initial 0 key "a" flags "M-"|ma incr 1 initial 0 key "a" flags "M+"|ma incr 1 initial 0 key "a" flags "MI"`},
	{"ma, wrong", "ma a Dx\r\nma a v v\r\nma a y\r\nma foo b\r\nma " + long + "k\r\nma a Mi\r\nma a M\r\n",
		strings.Repeat(mistake(BadFlags)+"|", 5) + mistake(BadDeltaMode) + "|" + mistake(BadDeltaMode)},
	{"me", "mg a q\r\nme a\r\nme Zm9v b\r\nme Zm9v b x\r\nme foo b x\r\nme\r\nme a $\r\nme " + long + "k\r\n", `mg key "a" flags "q" q|me "a" b false|me "Zm9v" b false|me "foo" b true|refused BF|refused BF|refused BF|refused BF`},
	{"no meta", "mz a\r\nmgx a\r\nMG a\r\n mg a\r\n", "refused E|refused E|refused E|refused E"},
	{"what meta leaves does not show", "ms a 1 q F5 C9\r\nx\r\nset a 0 0 1\r\nx\r\nincr a 1\r\n", `ms cas value "x" key "a" flags "q F5 C9" q C 9 F 5|set key "a" flags 0 exptime 0 value "x"|incr "a" 1`},
}

func TestMetaReplies(t *testing.T) {
	var p Parser
	ask := func(line string) *Request {
		if _, st := p.Parse([]byte(line)); st != Ready || p.Request.Verb == Refused {
			t.Fatalf("%q: not understood", line)
		}
		return &p.Request
	}
	it := MetaItem{Size: 3, Flags: 5, Unique: 99, TTL: 30, NewTTL: -1, VivifyTTL: 60, LastAccess: 7}
	binary := it
	binary.BinaryKey, binary.Fetched = true, true
	won, sent, created := it, it, it
	won.Stale, won.Won = true, true
	sent.Stale, sent.Sent = true, true
	created.Created, created.Won, created.TTL = true, true, -1
	for _, test := range []struct {
		line string
		f    func(r *Request) []byte
		want string
	}{
		{"mg a\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &it) }, "HD\r\n"},
		{"mg a v c s t f l h k Oxyz q\r\n", func(r *Request) []byte { return AppendMetaMiss(nil, r) }, ""},
		{"mg a v c s t f l h k Oxyz\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &it) }, "VA 3 c99 s3 t30 f5 l7 h0 ka Oxyz\r\n"},
		{"mg a v c s t f l h k Oxyz\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &binary) }, "VA 3 c99 s3 t30 f5 l7 h1 kYQ== b Oxyz\r\n"},
		{"mg a t T0 N5\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &it) }, "HD t30\r\n"},
		{"mg a T0 t N5\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &it) }, "HD t-1\r\n"},
		{"mg a t N5\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &created) }, "HD t-1 W\r\n"},
		{"mg a N5 t v\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &created) }, "VA 3 t60 W\r\n"},
		{"mg a k\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &won) }, "HD ka X W\r\n"},
		{"mg a k\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &sent) }, "HD ka Z X\r\n"},
		{"mg a v C99\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &it) }, "HD\r\n"},
		{"mg a v C98\r\n", func(r *Request) []byte { return AppendMetaItem(nil, r, &it) }, "VA 3\r\n"},
		{"mg YWI= k O1 b s\r\n", func(r *Request) []byte { return AppendMetaMiss(nil, r) }, "EN kYWI= b O1\r\n"},
		{"ms a 1 k c s O1 t\r\nx\r\n", func(r *Request) []byte { return AppendMetaStored(nil, r, MetaOK, 4, 9) }, "HD ka c9 s4 O1\r\n"},
		{"ms a 1 k q\r\nx\r\n", func(r *Request) []byte { return AppendMetaStored(nil, r, MetaOK, 4, 9) }, ""},
		{"ms YQ== 1 k q b\r\nx\r\n", func(r *Request) []byte { return AppendMetaStored(nil, r, MetaNotStored, 4, 9) }, "NS kYQ== b\r\n"},
		{"md a k c O1\r\n", func(r *Request) []byte { return AppendMetaDone(nil, r, MetaOK) }, "HD ka O1\r\n"},
		{"md a q\r\n", func(r *Request) []byte { return AppendMetaDone(nil, r, MetaOK) }, ""},
		{"md a q\r\n", func(r *Request) []byte { return AppendMetaDone(nil, r, MetaNotFound) }, "NF\r\n"},
		{"ma a v t T5 c k O1\r\n", func(r *Request) []byte { return AppendMetaNumber(nil, r, 12, &it) }, "VA 2 t30 c99 ka O1\r\n12\r\n"},
		{"ma a N1 t\r\n", func(r *Request) []byte { return AppendMetaNumber(nil, r, 12, &created) }, "HD t60\r\n"},
		{"ma a q v\r\n", func(r *Request) []byte { return AppendMetaNumber(nil, r, 12, &it) }, ""},
		{"me a\r\n", func(r *Request) []byte { return AppendMetaDebug(nil, r, &it) }, "ME a exp=30 la=7 cas=99 fetch=no cls=1 size=67\r\n"},
		{"me a\r\n", func(r *Request) []byte { return AppendMetaDebug(nil, r, &binary) }, "ME YQ== exp=30 la=7 cas=99 fetch=yes cls=1 size=67\r\n"},
	} {
		if got := string(test.f(ask(test.line))); got != test.want {
			t.Errorf("%q\ngot  %q\nwant %q", test.line, got, test.want)
		}
	}
}

// The longest answer stays below the bound that callers make room for.
func TestMaxMetaHeader(t *testing.T) {
	var p Parser
	if _, st := p.Parse([]byte("mg " + long + " k O" + strings.Repeat("x", 31) + " v c s t f l h\r\n")); st != Ready || p.Request.Verb != Get {
		t.Fatal("not understood")
	}
	it := MetaItem{Size: 1 << 30, Flags: 1<<32 - 1, Unique: 1<<64 - 1, TTL: 1 << 32, LastAccess: 1<<32 - 1, BinaryKey: true, Stale: true, Won: true, Sent: true}
	if n := len(AppendMetaItem(nil, &p.Request, &it)); n > MaxMetaHeader {
		t.Errorf("%d bytes", n)
	}
}

func TestDecodeKeyLikeBase64(t *testing.T) {
	for n := 1; n <= 187; n++ {
		key := make([]byte, n)
		for i := range key {
			key[i] = byte(i * 37)
		}
		text := base64.StdEncoding.EncodeToString(key)
		var room [MaxKey]byte
		got, ok := decodeKey(room[:0], []byte(text))
		if !ok || string(got) != string(key) {
			t.Fatalf("%s: got %x, want %x", text, got, key)
		}
	}
}

func TestMetaParseDoesNotAllocate(t *testing.T) {
	for _, in := range []string{"mg key v k t c Oabc\r\n", "mg Zm9v b\r\n", "ms key 5 T9 F1\r\nhello\r\n", "ma key D5\r\n", "md key q\r\n", "mn\r\n"} {
		p := Parser{TooLarge: func(k, n int) bool { return false }}
		buf := []byte(in)
		if n := testing.AllocsPerRun(100, func() {
			if _, st := p.Parse(buf); st != Ready || p.Request.Verb == Refused {
				t.Fatal("not ready")
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations", in, n)
		}
	}
}

// The short way for plain gets says what the long one says.
func TestPlainGetIsParsedAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 20_000 {
		line := "mg " + strings.Repeat("k", 1+rng.IntN(MaxKey+1))
		for range rng.IntN(12) {
			line += " " + string("vvkfstcqhlubxO5"[rng.IntN(15)])
		}
		if rng.IntN(8) == 0 {
			line += " "
		}
		var short, long Parser
		short.Request.Delta, short.Request.Vivify, short.Request.Quiet = 7, true, true // left by a command before
		if !short.parsePlainGet([]byte(line)) {
			continue
		}
		taken++
		n, st := long.parseMeta(Get, []byte(line), []byte(line+"\n"), len(line)+1)
		if n != len(line)+1 || st != Ready || !reflect.DeepEqual(short.Request, long.Request) {
			t.Fatalf("%q: short %+v, long %+v", line, short.Request, long.Request)
		}
	}
	if taken < 1000 {
		t.Errorf("only %d of the lines were plain", taken)
	}
}
