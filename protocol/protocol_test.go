package protocol

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var names = [...]string{
	Get: "get", Gets: "gets", Gat: "gat", Gats: "gats", Set: "set", Add: "add", Replace: "replace", Append: "append", Prepend: "prepend",
	CAS: "cas", Incr: "incr", Decr: "decr", Version: "version", Stats: "stats", Shutdown: "shutdown", Quit: "quit",
}

// say writes a request as one line, the pieces of a list of keys joined as they come.
type say struct {
	strings.Builder
	inKeys bool
}

func (s *say) request(r *Request) {
	switch r.Form {
	case Binary:
		s.binary(r)
		return
	case Meta:
		s.meta(r)
		return
	}
	switch r.Verb {
	case Get, Gets, Gat, Gats:
		if !s.inKeys {
			fmt.Fprintf(s, "%s exptime %d keys", names[r.Verb], map[bool]int64{true: r.Exptime}[r.Verb >= Gat])
		}
		for key, left := NextKey(r.Keys); len(key) > 0; key, left = NextKey(left) {
			fmt.Fprintf(s, " %q", key)
		}
		s.inKeys = r.More
		if !r.More {
			s.WriteString("\n")
		}
		return
	case Refused:
		fmt.Fprintf(s, "refused %q", replies[r.Reply])
	case Set, Add, Replace, Append, Prepend, CAS:
		fmt.Fprintf(s, "%s key %q flags %d exptime %d value %q", names[r.Verb], r.Key, r.Flags, r.Exptime, r.Value)
		if r.Verb == CAS {
			fmt.Fprintf(s, " unique %d", r.Unique)
		}
		if r.TooLarge {
			s.WriteString(" too large")
		}
	case Delete:
		fmt.Fprintf(s, "delete %q", r.Key)
	case Touch:
		fmt.Fprintf(s, "touch %q %d", r.Key, r.Exptime)
	case Incr, Decr:
		fmt.Fprintf(s, "%s %q %d", names[r.Verb], r.Key, r.Delta)
	case FlushAll:
		fmt.Fprintf(s, "flush_all %d", r.Exptime)
	case Verbosity:
		fmt.Fprintf(s, "verbosity %d", r.Level)
	case MemLimit:
		fmt.Fprintf(s, "cache_memlimit %d", r.Level)
	case Watch:
		fmt.Fprintf(s, "watch %b", r.Streams)
	case Crawler:
		fmt.Fprintf(s, "crawler %d classes %d", r.Crawl, r.Classes)
	case Admin:
		fmt.Fprintf(s, "admin %q args %q", r.Word, r.Args[:min(r.NArgs, 3)])
	case Login:
		fmt.Fprintf(s, "login %q %q", r.User, r.Password)
	case Version, Quit, Stats, Shutdown:
		fmt.Fprintf(s, "%s args %q", names[r.Verb], r.Args[:min(r.NArgs, 3)])
	}
	s.inKeys = false
	if r.NoReply {
		s.WriteString(" noreply")
	}
	s.WriteString("\n")
}

// limit is the largest value the tests' parsers take.
const limit = 5000

// parseCut gives input to a parser in pieces of the given sizes, the last one repeated, and returns what it understood.
func parseCut(t testing.TB, input []byte, sizes ...int) string {
	t.Helper()
	p := Parser{TooLarge: func(k, n int) bool { return n > limit }}
	var s say
	if !eachRequest(t, &p, input, s.request, sizes...) {
		s.WriteString("hangup\n")
	}
	return s.String()
}

// eachRequest gives input to a parser in pieces and calls f with each request; false: the parser hung up. It fails where the
// parser changes its input, reads past it, promises what it does not keep, or lets more bytes wait than a command may need.
func eachRequest(t testing.TB, p *Parser, input []byte, f func(*Request), sizes ...int) bool {
	t.Helper()
	var held []byte
	for len(input) > 0 {
		size := min(max(sizes[0], 1), len(input))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		held = append(held, input[:size]...)
		input = input[size:]
		for {
			buf := slices.Clip(bytes.Clone(held)) // whoever reads past its end panics
			n, st := p.Parse(buf)
			if n < 0 || n > len(buf) {
				t.Fatalf("consumed %d of %d bytes", n, len(buf))
			}
			if !bytes.Equal(buf, held) {
				t.Fatalf("changed %q to %q", held, buf)
			}
			if st == Ready {
				bounded(t, p)
				f(&p.Request)
			}
			held = held[n:]
			if st == Hangup {
				return false
			}
			if st == NeedMore {
				break
			}
		}
		if p.Need > 0 && p.Need <= len(held) {
			t.Fatalf("asks for %d bytes but has %d", p.Need, len(held))
		}
		most := maxLine + binaryHead + limit
		if p.Locked || p.SASL {
			most = maxLine + binaryHead + max(maxLogin, maxMessage)
		}
		if p.Need > most {
			t.Fatalf("asks for %d bytes, but no command takes more than %d", p.Need, most)
		}
		if most := max(p.Need, MaxLine+2); len(held) > most {
			t.Fatalf("holds %d bytes, at most %d make sense", len(held), most)
		}
	}
	if p.Idle() != (p.swallow == 0 && p.where == atLine) {
		t.Fatal("Idle disagrees with the state")
	}
	return true
}

// bounded fails where a request is or holds what it may not.
func bounded(t testing.TB, p *Parser) {
	t.Helper()
	r := &p.Request
	if r.Verb == Refused {
		return
	}
	if p.Locked && r.Verb != Login && (r.Form != Binary || !beforeAuth(r.Verb)) {
		t.Fatalf("verb %d before authentication", r.Verb)
	}
	if r.Verb == Login || isSASL(r.Verb) {
		if most := max(maxLogin, maxMessage); len(r.User)+len(r.Password) > most || len(r.Value) > most || r.Verb != Login && len(r.Key) > maxMechanism && !r.TooLarge {
			t.Fatalf("verb %d with user %q, password %q, mechanism %q, message %q", r.Verb, r.User, r.Password, r.Key, r.Value)
		}
		return
	}
	oneKey := r.Form == Meta && r.Verb != Noop || r.Verb >= Set && r.Verb <= Touch || r.Form == Binary && (r.Verb == Get || r.Verb == Gat)
	if oneKey && (len(r.Key) == 0 || len(r.Key) > MaxKey) {
		t.Fatalf("verb %d has a key of %d bytes", r.Verb, len(r.Key))
	}
	if len(r.Value) > limit || r.TooLarge && r.Value != nil {
		t.Fatalf("a value of %d bytes", len(r.Value))
	}
	for key, left := NextKey(r.Keys); len(key) > 0; key, left = NextKey(left) {
		if len(key) > MaxKey || bytes.ContainsAny(key, " \n") {
			t.Fatalf("key %q", key)
		}
	}
}

var long = strings.Repeat("k", MaxKey)

var parseTests = []struct{ name, in, want string }{
	{"get", "get a\r\n", `get exptime 0 keys "a"`},
	{"get, bare newline", "get a\n", `get exptime 0 keys "a"`},
	{"get, blanks", "get  a   b  \r\n", `get exptime 0 keys "a" "b"`},
	{"get, odd bytes", "get a\x00b\tc\x7f\xff d\r\r\n", `get exptime 0 keys "a\x00b\tc\x7f\xff" "d\r"`},
	{"get, no key", "get\r\nget \r\nget   \n", "refused BF|refused BF|refused BF"},
	{"get, longest key", "get " + long + "\r\n", `get exptime 0 keys "` + long + `"`},
	{"get, key too long", "get a " + long + "k\r\nget b\r\n", `refused BF|get exptime 0 keys "b"`},
	{"get, key too long, silent", "get " + long + "k noreply\r\n", "refused BF noreply"},
	{"gets", "gets a b\r\n", `gets exptime 0 keys "a" "b"`},
	{"gat", "gat 10 a b\r\ngats -1 c\n", `gat exptime 10 keys "a" "b"|gats exptime -1 keys "c"`},
	{"gat, wrong", "gat\r\ngat 0\r\ngat x a\r\ngat 2147483648 a\r\n", "refused BF|refused BF|refused BE|refused BE"},
	{"set", "set a 1 2 3\r\nabc\r\nget a\r\n", `set key "a" flags 1 exptime 2 value "abc"|get exptime 0 keys "a"`},
	{"set, empty value", "set a 1 2 0\r\n\r\n", `set key "a" flags 1 exptime 2 value ""`},
	{"set, value with line ends", "set a 0 0 4\n\r\n\r\n\r\n", `set key "a" flags 0 exptime 0 value "\r\n\r\n"`},
	{"set, more words", "set a 0 0 1 what ever noreply\r\nx\r\n", `set key "a" flags 0 exptime 0 value "x" noreply`},
	{"set, key noreply", "set noreply 0 0 1\r\nx\r\n", `set key "noreply" flags 0 exptime 0 value "x"`},
	{"set, loose numbers", "set a \t+5\tx -1\t 1\r\nx\r\n", `set key "a" flags 5 exptime -1 value "x"`},
	{"set, cut numbers", "set a 4294967297 4294967295 1\r\nx\r\n", `set key "a" flags 1 exptime -1 value "x"`},
	{"set, numbers of 64 bits", "set a 18446744073709551615 -9223372036854775808 1\r\nx\r\n", `set key "a" flags 4294967295 exptime 0 value "x"`},
	{"set, wrong numbers", "set a -1 0 1\r\nx\r\nset a 0 9223372036854775808 1\r\nx\r\nset a 18446744073709551616 0 1\r\nx\r\nset a 1x 0 1\r\nx\r\n", "refused BF|refused BF|refused BF|refused BF"},
	{"set, wrong number, silent", "set a x 0 1 noreply\r\nx\r\n", "refused BF noreply"},
	{"set, wrong length", "set a 0 0 1x\r\nabc\r\n", "refused BF|refused E"},
	{"set, wrong length, not silent", "set a 0 0 x noreply\r\n", "refused BF"},
	{"set, signed length", "set a 0 0 +1\r\nset a 0 0 -1\r\nset a 0 0 2147483646\r\n", "refused BF|refused BF|refused BF"},
	{"set, odd lengths", "set a 0 0 00001\r\nx\r\nset a 0 0 -\r\n\r\n", `set key "a" flags 0 exptime 0 value "x"|set key "a" flags 0 exptime 0 value ""`},
	{"set, too few words", "set a 0 0\r\nset a 0 0 noreply\r\n", "refused BF|refused BF"},
	{"set, key too long", "set " + long + "k 0 0 1\r\nx\r\n", "refused BF"},
	{"set, bad chunk", "set a 0 0 1\r\nabc\r\nget a\r\n", `refused BC|refused BF|get exptime 0 keys "a"`},
	{"set, bad chunk, bare newline", "set a 0 0 1\r\na\nget a\r\n", `refused BC|refused E`},
	{"set, too large", "set a 0 0 5001\r\n" + strings.Repeat("get\n", 1250) + "x\r\nversion\r\n", `set key "a" flags 0 exptime 0 value "" too large|version args []`},
	{"the other storage commands", "add a 0 0 1\r\nx\r\nreplace a 0 0 1\r\nx\r\nappend a 0 0 1\r\nx\r\nprepend a 0 0 1\r\nx\r\n",
		`add key "a" flags 0 exptime 0 value "x"|replace key "a" flags 0 exptime 0 value "x"|append key "a" flags 0 exptime 0 value "x"|prepend key "a" flags 0 exptime 0 value "x"`},
	{"cas", "cas a 0 0 1 9\r\nx\r\ncas a 0 0 1 9 noreply\r\nx\r\n", `cas key "a" flags 0 exptime 0 value "x" unique 9|cas key "a" flags 0 exptime 0 value "x" unique 9 noreply`},
	{"cas, wrong", "cas a 0 0 1\r\nx\r\ncas a 0 0 1 x\r\nx\r\ncas a 0 0 1 noreply\r\nx\r\ncas a 0 0 1 18446744073709551616\r\nx\r\n", "refused BF|refused BF|refused BF noreply|refused BF"},
	{"delete", "delete a\r\ndelete a 0\r\ndelete a 5 6 noreply\r\ndelete noreply\r\ndelete\r\n", `delete "a"|delete "a"|delete "a" noreply|delete "noreply" noreply|refused BF`},
	{"incr", "incr a 18446744073709551615\r\nincr a 1 x\r\ndecr a 007 noreply\r\n", `incr "a" 18446744073709551615|incr "a" 1|decr "a" 7 noreply`},
	{"incr, wrong", "incr a\r\nincr a 18446744073709551616\r\nincr a +1\r\nincr a -1\r\nincr a noreply\r\n", `refused BF|refused BD|refused BD|refused BD|refused BD noreply`},
	{"touch", "touch a 2147483647\r\ntouch a -2147483648 noreply\r\n", `touch "a" 2147483647|touch "a" -2147483648 noreply`},
	{"touch, wrong", "touch a\r\ntouch a 2147483648\r\ntouch a x\r\ntouch " + long + "k 0\r\n", `refused BF|refused BE|refused BE|refused BF`},
	{"flush_all", "flush_all\r\nflush_all \r\nflush_all 5\r\nflush_all noreply\r\nflush_all 5 noreply\r\n  flush_all\r\n",
		"flush_all 0|flush_all 0|flush_all 5|flush_all 0 noreply|flush_all 5 noreply|flush_all 0"},
	{"flush_all, wrong", "flush_all x\r\nflush_all x noreply\r\n", "refused BE|refused BE noreply"},
	{"verbosity", "verbosity 1\r\nverbosity 1 noreply\r\nverbosity\r\nverbosity noreply\r\nverbosity -1\r\nverbosity 4294967296\r\n",
		"verbosity 1|verbosity 1 noreply|refused BF|refused BF noreply|refused BF|refused BF"},
	{"plain words", "stats\r\nstats \r\nstats a b c d\r\nversion x\r\nversion noreply\r\nquit noreply\r\n",
		`stats args []|stats args []|stats args ["a" "b" "c"]|version args ["x"]|version args ["noreply"]|quit args ["noreply"]`},
	{"own words", "log_level debug\r\nlog_level\r\nshutdown\r\nshutdown graceful\r\nwatch\r\nwatch f mut e c d\r\nwatch proxyreqs s r\r\nwatch x\r\nwatch fetchers x\r\n", `admin "log_level" args ["debug"]|admin "log_level" args []|shutdown args []|shutdown args ["graceful"]|watch 1|watch 11111|watch 100000|watch 0|watch 0`},
	{"operator's words", "help\r\n routes unmatched\r\nroute a off noreply\nrouting\nqueue a b c d\n", `admin "help" args []|admin "routes" args ["unmatched"]|admin "route" args ["a" "off" "noreply"] noreply|refused E|admin "queue" args ["a" "b" "c"]`},
	{"cache_memlimit", "cache_memlimit 64\r\ncache_memlimit 1000000000 noreply\r\ncache_memlimit\r\n", "cache_memlimit 64|cache_memlimit 1000000000 noreply|refused E"},
	{"lru_crawler", "lru_crawler e\r\nlru_crawler disable\r\nlru_crawler crawl all\r\nlru_crawler crawl ,\r\nlru_crawler m hash\r\nlru_crawler mg 2,1\r\nlru_crawler mg 2,3\r\nlru_crawler mg 1,64\r\nlru_crawler mg 0\r\n",
		"crawler 0 classes 0|crawler 1 classes 0|crawler 2 classes 0|crawler 2 classes 2|crawler 3 classes 4|crawler 4 classes 0|crawler 4 classes 1|crawler 4 classes 3|crawler 4 classes 3"},
	{"unknown", "GET a\r\nfoo\r\nfoo noreply\r\n get a\r\n quit\r\ngetx a\r\n", "refused E|refused E|refused E noreply|refused E|refused E|refused E"},
	{"too short", "\r\n\na\nab\nabc\n", "refused BF|refused BF|refused BF|refused BF|refused E"},
	{"web request", "get HTTP/1.1\nGET / HTTP/1.1\r\nget a\r\n", `get exptime 0 keys "HTTP/1.1"|hangup`},
	{"binary, no whole header", "\x80\x00\x00", ""},
	{"binary byte later", "get a\r\n\x80\x00\x00\n", `get exptime 0 keys "a"|refused E`},
	{"longest line", "delete a" + strings.Repeat(" ", MaxLine-8) + "\n", `delete "a"`},
	{"line without end", strings.Repeat("x", 100_000), `hangup`},
	{"set line too long", "set a" + strings.Repeat("x", MaxLine), `hangup`},
	{"get without end of nothing", "get" + strings.Repeat(" ", 10_000) + "\r\n", `refused BF`},
	{"long get, long word first", "get " + strings.Repeat("x", 10_000) + " a b c\r\nversion\r\n", `refused BF|version args []`},
	{"long gat, wrong exptime", "gat x " + strings.Repeat("a ", 10_000) + "\r\nversion\r\n", `refused BE|version args []`},
	{"long get, blanks at the end", "get " + strings.Repeat("x", 250) + strings.Repeat(" ", 10_000) + "\r\n", `get exptime 0 keys "` + strings.Repeat("x", 250) + `"`},
	{"long get, last key longest", "get " + strings.Repeat(" ", 5000) + long + "\r\n", `get exptime 0 keys "` + long + `"`},
	{"long get, last key too long", "get " + strings.Repeat(" ", 5000) + long + "k\r\nversion\r\n", `refused BF|version args []`},
}

// shorten replaces the error texts by their initials.
var shorten = strings.NewReplacer(
	fmt.Sprintf("%q", replies[BadFormat]), "BF", fmt.Sprintf("%q", replies[BadExptime]), "BE", fmt.Sprintf("%q", replies[Error]), "E",
	fmt.Sprintf("%q", replies[BadChunk]), "BC", fmt.Sprintf("%q", replies[BadDelta]), "BD", fmt.Sprintf("%q", replies[WatchNotAllowed]), "WN",
	"\n", "|")

func TestParse(t *testing.T) {
	for _, test := range slices.Concat(parseTests, metaTests, binaryTests) {
		t.Run(test.name, func(t *testing.T) {
			in := []byte(test.in)
			whole := parseCut(t, in, len(in))
			if got := strings.TrimSuffix(shorten.Replace(whole), "|"); got != test.want {
				t.Fatalf("got  %s\nwant %s", got, test.want)
			}
			for _, size := range []int{1, 2, 7, 1000} {
				if got := parseCut(t, in, size); got != whole {
					t.Fatalf("in pieces of %d\ngot  %swant %s", size, got, whole)
				}
			}
			if len(in) > 300 {
				return
			}
			for cut := 1; cut < len(in); cut++ {
				if got := parseCut(t, in, cut, len(in)); got != whole {
					t.Fatalf("cut after %d\ngot  %swant %s", cut, got, whole)
				}
			}
		})
	}
}

func TestParseThousandsOfKeys(t *testing.T) {
	var in, want strings.Builder
	in.WriteString("gat 5")
	want.WriteString("gat exptime 5 keys")
	for i := range 10_000 {
		fmt.Fprintf(&in, " key-%d", i)
		fmt.Fprintf(&want, ` "key-%d"`, i)
	}
	in.WriteString("\r\n")
	want.WriteString("\n")
	for _, size := range []int{1, 333, 4096, in.Len()} {
		if got := parseCut(t, []byte(in.String()), size); got != want.String() {
			t.Fatalf("in pieces of %d: got %.200s", size, got)
		}
	}
}

func TestParseLongGetStopsAtLongKey(t *testing.T) {
	in := "get " + strings.Repeat("a ", 2000) + strings.Repeat("x", 251) + " b c\r\nversion\r\n"
	want := "get exptime 0 keys" + strings.Repeat(` "a"`, 2000) + fmt.Sprintf("refused %q\nversion args []\n", replies[BadFormat])
	for _, size := range []int{1, 300, len(in)} {
		if got := parseCut(t, []byte(in), size); got != want {
			t.Fatalf("in pieces of %d: got %.200q", size, got[max(0, len(got)-200):])
		}
	}
}

// A line of more than MaxLine bytes is a line where all of it has arrived together. The rest of it, ended at another moment, is not.
func TestParseLongLine(t *testing.T) {
	blanks := func(n int) string { return strings.Repeat(" ", n) }
	for _, test := range []struct{ name, in, want string }{
		{"delete", "delete a" + blanks(MaxLine) + "\r\n", `delete "a"`},
		{"longest", "delete a" + blanks(maxLine-9) + "\n", `delete "a"`},
		{"longer", "delete a" + blanks(maxLine-8) + "\n", `hangup`},
		{"set, noreply", "set a 1 2 3" + blanks(5000) + "noreply\r\nabc\r\n", `set key "a" flags 1 exptime 2 value "abc" noreply`},
		{"set, key too long", "set " + strings.Repeat("k", 5000) + " 1 2 3\r\nabc\r\n", `refused BF`},
		{"unknown", strings.Repeat("x", 5000) + "\n", `refused E`},
		{"web request", "GET /" + strings.Repeat("x", 5000) + " HTTP/1.1\r\n", `hangup`},
		{"gat", "gat" + blanks(5000) + "7 a b\r\n", `gat exptime 7 keys "a" "b"`},
		{"gat, exptime too long", "gat " + strings.Repeat("1", 5000) + " a\r\n", `refused BE`},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := []byte("touch b 9\r\n" + test.in)
			first := len("touch b 9\r\n")
			for _, sizes := range [][]int{{len(in)}, {first, len(in)}, {first + MaxLine, len(in)}} {
				got := strings.TrimSuffix(shorten.Replace(parseCut(t, in, sizes...)), "|")
				if want := `touch "b" 9|` + test.want; got != want {
					t.Errorf("in pieces of %d: got %s, want %s", sizes, got, want)
				}
			}
			got := strings.TrimSuffix(shorten.Replace(parseCut(t, in, first+MaxLine+1, len(in))), "|")
			if want := `touch "b" 9|hangup`; got != want {
				t.Errorf("of which %d bytes came alone: got %s, want %s", MaxLine+1, got, want)
			}
		})
	}
}

func TestUnreadGivesKeysBack(t *testing.T) {
	for _, end := range []string{"\r\n", "\n", "  \r\n"} {
		in := []byte("gets a bb ccc" + end + "version\r\n")
		var p Parser
		var got []string
		at := 0
		for range 3 { // one key at a time
			n, st := p.Parse(in[at:])
			if st != Ready || p.Request.Verb != Gets {
				t.Fatalf("status %d verb %d", st, p.Request.Verb)
			}
			key, left := NextKey(p.Request.Keys)
			got = append(got, string(key))
			at += n - p.Unread(left)
		}
		n, st := p.Parse(in[at:])
		if st != Ready || len(p.Request.Keys) != 0 || p.Request.More {
			t.Fatalf("the list should have ended: %d %q", st, p.Request.Keys)
		}
		if n, st = p.Parse(in[at+n:]); st != Ready || p.Request.Verb != Version {
			t.Fatalf("status %d after %d bytes, verb %d", st, n, p.Request.Verb)
		}
		if strings.Join(got, " ") != "a bb ccc" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	for _, in := range []string{"get key\r\n", "gets a b c d\r\n", "set key 1 2 3\r\nabc\r\n", "delete key\r\n", "incr key 5 noreply\r\n", "touch k 5\r\n", "foo\r\n"} {
		p := Parser{TooLarge: func(k, n int) bool { return false }}
		buf := []byte(in)
		if n := testing.AllocsPerRun(100, func() {
			if _, st := p.Parse(buf); st != Ready {
				t.Fatal("not ready")
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations", in, n)
		}
	}
}

func TestReplies(t *testing.T) {
	for r, text := range replies {
		if !strings.HasSuffix(text, "\r\n") || len(text) < 4 {
			t.Errorf("reply %d is %q", r, text)
		}
	}
	got := AppendReply(nil, Stored)
	got = AppendValue(got, []byte("k"), 0, 3)
	got = AppendValueUnique(got, []byte("k"), 1<<32-1, 3, 7)
	got = AppendLineEnd(got)
	got = AppendNumber(got, 12)
	got = AppendVersion(got, "1.2.3")
	got = AppendClientError(got, "a\nb")
	got = AppendStat(got, "n", "v")
	want := "STORED\r\nVALUE k 0 3\r\nVALUE k 4294967295 3 7\r\n\r\n12\r\nVERSION 1.2.3\r\nCLIENT_ERROR a b\r\nSTAT n v\r\n"
	if !bytes.Equal(got, []byte(want)) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkParse(b *testing.B) {
	for name, in := range map[string]string{"get": "get key:1234567890123456\r\n", "set": "set key:1234567890123456 0 0 5\r\nhello\r\n"} {
		b.Run(name, func(b *testing.B) {
			var p Parser
			buf := []byte(in)
			b.ReportAllocs()
			for b.Loop() {
				p.Parse(buf)
			}
		})
	}
}
