// Package transcript reads what a client says to a server and what it answers, from the files in testdata/protocol. Only tests
// use it.
//
// The data lines of a transcript are joined without their line ends; \r \n \t \0 \\ and \xHH stand for bytes, \{N*text} for
// N times the text. Each client section is a connection of its own and is followed by what the server answers. In files whose
// name begins with binary a client's lines are requests of the binary protocol, as Packets reads them.
package transcript

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// differs marks a transcript, in its first line, that the real memcached does not follow; it says why.
const differs = "memcached: differs."

// Exchange is one connection of a transcript.
type Exchange struct {
	Name   string
	Binary bool
	In     []byte
	Want   []byte // as the file has it: bytes, or lines about binary answers
}

// Read returns the exchanges of a file and whether the real memcached follows it.
func Read(t testing.TB, path string) (all []Exchange, real bool) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		if name, ok := strings.CutPrefix(f.Name, "client: "); ok {
			x := Exchange{Name: name, Binary: strings.HasPrefix(filepath.Base(path), "binary")}
			if x.Binary {
				x.In = Packets(t, f.Data)
			} else {
				x.In = Unescape(t, f.Data)
			}
			all = append(all, x)
		} else if f.Name == "server" && len(all) > 0 {
			x := &all[len(all)-1]
			if x.Want = f.Data; !x.Binary {
				x.Want = Unescape(t, f.Data)
			}
		} else {
			t.Fatalf("%s: unknown section %q", path, f.Name)
		}
	}
	return all, !bytes.HasPrefix(archive.Comment, []byte(differs))
}

// Rewrite puts the answers of all, which Read has read, into a transcript and leaves the rest as it is.
func Rewrite(t testing.TB, path string, all []Exchange) {
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
		want := all[next].Want
		if !all[next].Binary {
			want = Escape(want)
		}
		files = append(files, f, txtar.File{Name: "server", Data: want})
		next++
	}
	archive.Files = files
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Unescape reads the data of a section.
func Unescape(t testing.TB, text []byte) []byte {
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
			out = append(out, bytes.Repeat(Unescape(t, []byte(rest[:end])), n)...)
			i += len(count) + 1 + end + 1
		default:
			t.Fatalf("unknown escape \\%c", line[i])
		}
	}
	return out
}

// Escape writes data as a section, a line for each of its lines, long runs of a byte as repetitions.
func Escape(data []byte) []byte {
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
