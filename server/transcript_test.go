package server

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/tools/txtar"

	"swordfish/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the transcripts with what memcached answers")

// transcripts are what every implementation has to answer. The data lines of a transcript are joined without their line
// ends; \r \n \t \0 \\ and \xHH stand for bytes, \{N*text} for N times the text. Each client section is a connection of its
// own and is followed by what the server answers; the items of the sections before it are flushed. A number that differs
// from run to run, the last word of a gets, is written CAS. Files whose name begins with binary are written as packets and
// spellAnswers have it.
const transcripts = "../testdata/protocol/*.txtar"

// differs marks a transcript, in its first line, that the real memcached does not follow; it says why.
const differs = "memcached: differs."

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

// unescape reads the data of a section.
func unescape(t testing.TB, text []byte) []byte {
	t.Helper()
	var out []byte
	line := strings.ReplaceAll(string(text), "\n", "")
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' || i+1 == len(line) {
			out = append(out, line[i])
			continue
		}
		i++
		switch line[i] {
		case 'r':
			out = append(out, '\r')
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case '0':
			out = append(out, 0)
		case '\\':
			out = append(out, '\\')
		case 'x':
			b, err := strconv.ParseUint(line[i+1:i+3], 16, 8)
			if err != nil {
				t.Fatalf("bad escape in %q", line)
			}
			out = append(out, byte(b))
			i += 2
		case '{':
			count, rest, _ := strings.Cut(line[i+1:], "*")
			n, err := strconv.Atoi(count)
			end := strings.IndexByte(rest, '}')
			if err != nil || end < 0 {
				t.Fatalf("bad repetition in %q", line)
			}
			out = append(out, bytes.Repeat(unescape(t, []byte(rest[:end])), n)...)
			i += len(count) + 1 + end + 1
		default:
			t.Fatalf("unknown escape \\%c", line[i])
		}
	}
	return out
}

// escape writes data as a section, a line for each of its lines, long runs of a byte as repetitions.
func escape(data []byte) []byte {
	var out bytes.Buffer
	for i := 0; i < len(data); i++ {
		run := 1
		for i+run < len(data) && data[i+run] == data[i] {
			run++
		}
		var b string
		switch c := data[i]; {
		case c == '\r':
			b = `\r`
		case c == '\n':
			b = `\n`
		case c == '\t':
			b = `\t`
		case c == 0:
			b = `\0`
		case c == '\\':
			b = `\\`
		case c < ' ' || c >= 0x7f:
			b = fmt.Sprintf(`\x%02x`, c)
		default:
			b = string(c)
		}
		if run > 20 {
			fmt.Fprintf(&out, `\{%d*%s}`, run, b)
			i += run - 1
			continue
		}
		out.WriteString(b)
		if data[i] == '\n' {
			out.WriteByte('\n')
		}
	}
	if out.Len() > 0 && !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// exchange is one connection of a transcript.
type exchange struct {
	name   string
	binary bool
	in     []byte
	want   []byte // as shown has it
}

// shown is what the server answered in the form that a transcript is compared with.
func (x *exchange) shown(answer []byte) []byte {
	if x.binary {
		return spellAnswers(answer)
	}
	return maskUniques(answer)
}

// readTranscript returns the exchanges of a file and whether the real memcached follows it.
func readTranscript(t testing.TB, path string) (all []exchange, real bool) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		if name, ok := strings.CutPrefix(f.Name, "client: "); ok {
			x := exchange{name: name, binary: strings.HasPrefix(filepath.Base(path), "binary")}
			if x.binary {
				x.in = packets(t, f.Data)
			} else {
				x.in = unescape(t, f.Data)
			}
			all = append(all, x)
		} else if f.Name == "server" && len(all) > 0 {
			x := &all[len(all)-1]
			if x.want = f.Data; !x.binary {
				x.want = unescape(t, f.Data)
			}
		} else {
			t.Fatalf("%s: unknown section %q", path, f.Name)
		}
	}
	return all, !bytes.HasPrefix(archive.Comment, []byte(differs))
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

func compare(t *testing.T, how string, x *exchange, answer []byte) {
	t.Helper()
	got, want := x.shown(answer), x.want
	if bytes.Equal(got, want) {
		return
	}
	if !x.binary {
		got, want = escape(got), escape(want)
	}
	t.Errorf("%s\ngot:\n%s\nwant:\n%s", how, shorten(got), shorten(want))
}

func TestTranscriptsOverSockets(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		_, addr := startServer(t, o)
		eachTranscript(t, func(t *testing.T, path string) {
			all, _ := readTranscript(t, path)
			for _, x := range all {
				for _, size := range []int{len(x.in), 1} {
					if size == 1 && len(x.in) > 20_000 {
						size = 1000
					}
					playSocket(t, addr, []byte("flush_all\r\nverbosity 0\r\n"), 100)
					compare(t, fmt.Sprintf("%s, in pieces of %d", x.name, size), &x, playSocket(t, addr, x.in, size))
				}
			}
		})
	})
}

func TestTranscriptsCutAnywhere(t *testing.T) {
	s := newServer(t, Options{})
	eachTranscript(t, func(t *testing.T, path string) {
		all, _ := readTranscript(t, path)
		for _, x := range all {
			step := 1 + len(x.in)/400 // long ones are long by repetition
			if len(x.in) > 100_000 {
				step = len(x.in) / 20
			}
			for cut := 0; cut <= len(x.in) && !t.Failed(); cut += step {
				playSession(t, s, []byte("flush_all\r\n"), 100)
				compare(t, fmt.Sprintf("%s, cut after %d bytes", x.name, cut), &x, playSession(t, s, x.in, cut, len(x.in)))
			}
		}
	})
}

// TestTranscriptsOnMemcached asks the real server the same questions, and writes down its answers with -update.
func TestTranscriptsOnMemcached(t *testing.T) {
	addr := testenv.Memcached(t, "-o", "no_lru_crawler")
	if version := string(playSocket(t, addr, []byte("version\r\n"), 100)); version != "VERSION "+DefaultVersion+"\r\n" {
		testenv.Missing(t, "memcached "+DefaultVersion, fmt.Sprintf("this one answers %q; make oracle builds a newer one", version))
	}
	eachTranscript(t, func(t *testing.T, path string) {
		all, real := readTranscript(t, path)
		if !real {
			return
		}
		for i, x := range all {
			playSocket(t, addr, []byte("flush_all\r\nverbosity 0\r\n"), 100)
			got := playSocket(t, addr, x.in, len(x.in))
			if *update {
				all[i].want = x.shown(got)
				continue
			}
			compare(t, x.name, &x, got)
		}
		if *update {
			rewrite(t, path, all)
		}
	})
}

// rewrite puts the answers into a transcript and leaves the rest as it is.
func rewrite(t *testing.T, path string, all []exchange) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var files []txtar.File
	next := 0
	for _, f := range archive.Files {
		if f.Name == "server" {
			continue
		}
		want := all[next].want
		if !all[next].binary {
			want = escape(want)
		}
		files = append(files, f, txtar.File{Name: "server", Data: want})
		next++
	}
	archive.Files = files
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}
