package filler

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

func TestEncodeOneColumn(t *testing.T) {
	type out struct {
		text  string
		flags uint32
	}
	tests := map[string]struct {
		v                    Value
		raw, json, php, own9 out // own9: php with the route's own flags 9
	}{
		"text":        {Value{Text, []byte("a\"b\\é\n\x01")}, out{"a\"b\\é\n\x01", 0}, out{`"a\"b\\é\n\u0001"`, 0}, out{"a\"b\\é\n\x01", 0}, out{"s:8:\"a\"b\\é\n\x01\";", 9}},
		"empty":       {Value{Text, nil}, out{"", 0}, out{`""`, 0}, out{"", 0}, out{`s:0:"";`, 9}},
		"int":         {Value{Int, []byte("-42")}, out{"-42", 0}, out{"-42", 0}, out{"-42", 1}, out{"i:-42;", 9}},
		"float":       {Value{Float, []byte("1e+25")}, out{"1e+25", 0}, out{"1e+25", 0}, out{"1e+25", 2}, out{"d:1.0E+25;", 9}},
		"infinity":    {Value{Float, []byte("-Infinity")}, out{"-Infinity", 0}, out{"null", 0}, out{"-Infinity", 2}, out{"d:-INF;", 9}},
		"nan":         {Value{Float, []byte("NaN")}, out{"NaN", 0}, out{"null", 0}, out{"NaN", 2}, out{"d:NAN;", 9}},
		"numeric":     {Value{Numeric, []byte("1.50")}, out{"1.50", 0}, out{"1.50", 0}, out{"1.50", 0}, out{`s:4:"1.50";`, 9}},
		"true":        {Value{Bool, []byte("t")}, out{"t", 0}, out{"true", 0}, out{"1", 3}, out{"b:1;", 9}},
		"false":       {Value{Bool, []byte("f")}, out{"f", 0}, out{"false", 0}, out{"", 3}, out{"b:0;", 9}},
		"bytes":       {Value{Bytes, []byte("\x00\xff")}, out{"\x00\xff", 0}, out{`"\\x00ff"`, 0}, out{"\x00\xff", 0}, out{"s:2:\"\x00\xff\";", 9}},
		"object":      {Value{JSON, []byte(`{"b": 1, "a": [true, null]}`)}, out{`{"b": 1, "a": [true, null]}`, 0}, out{`{"b": 1, "a": [true, null]}`, 0}, out{`a:2:{s:1:"b";i:1;s:1:"a";a:2:{i:0;b:1;i:1;N;}}`, 4}, out{`a:2:{s:1:"b";i:1;s:1:"a";a:2:{i:0;b:1;i:1;N;}}`, 9}},
		"json string": {Value{JSON, []byte(`"a\u00e9\ud83d\ude00"`)}, out{`"a\u00e9\ud83d\ude00"`, 0}, out{`"a\u00e9\ud83d\ude00"`, 0}, out{"aé😀", 0}, out{`s:7:"aé😀";`, 9}},
		"json int":    {Value{JSON, []byte(" 7 ")}, out{" 7 ", 0}, out{" 7 ", 0}, out{"7", 1}, out{"i:7;", 9}},
		"json float":  {Value{JSON, []byte("0.5")}, out{"0.5", 0}, out{"0.5", 0}, out{".5", 2}, out{"d:0.5;", 9}},
		"json true":   {Value{JSON, []byte("true")}, out{"true", 0}, out{"true", 0}, out{"1", 3}, out{"b:1;", 9}},
		"json false":  {Value{JSON, []byte("false")}, out{"false", 0}, out{"false", 0}, out{"", 3}, out{"b:0;", 9}},
		"json null":   {Value{JSON, []byte("null")}, out{"null", 0}, out{"null", 0}, out{"N;", 4}, out{"N;", 9}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for kind, want := range map[string]out{"raw": tt.raw, "json": tt.json, "php": tt.php, "own": tt.own9} {
				r := Route{Encode: map[string]Encoding{"raw": EncodeRaw, "json": EncodeJSON, "php": EncodePHP, "own": EncodePHP}[kind]}
				if kind == "own" {
					r.SetFlags, r.Flags = true, 9
				}
				got, flags, err := r.appendRow([]byte("head"), []string{"value"}, []Value{tt.v}, false)
				if err != nil || string(got) != "head"+want.text || flags != want.flags {
					t.Errorf("%s: got %q flags %d, %v, want %q flags %d", kind, got, flags, err, want.text, want.flags)
				}
			}
		})
	}
}

func TestEncodeSeveralColumns(t *testing.T) {
	names := []string{"name", "7", "ok", "none"}
	vals := []Value{{Text, []byte("x")}, {Int, []byte("1")}, {Bool, []byte("t")}, {Kind: Null}}
	for enc, want := range map[Encoding]string{
		EncodeJSON: `{"name":"x","7":1,"ok":true,"none":null}`,
		EncodePHP:  `a:4:{s:4:"name";s:1:"x";i:7;i:1;s:2:"ok";b:1;s:4:"none";N;}`,
	} {
		r := Route{Encode: enc}
		got, _, err := r.appendRow(nil, names, vals, false)
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}

func TestBrokenJSONFails(t *testing.T) {
	deep := strings.Repeat("[", jsonDepth+1) + strings.Repeat("]", jsonDepth+1)
	for _, in := range []string{"", " ", "{", "[1,", "[1 2]", `{"a"}`, `{"a":}`, `{a:1}`, "nul", "01", "1.", "-", `"a`, `"\x"`, "[1]]", "tru", deep, "[1,]", "\"\n\""} {
		r := Route{Encode: EncodePHP}
		if out, _, err := r.appendRow(nil, []string{"value"}, []Value{{JSON, []byte(in)}}, false); err == nil {
			t.Errorf("%.40q became %.60q", in, out)
		}
	}
}

// FuzzJSONToPHP: whatever encoding/json takes as valid is converted, whatever it refuses is not, and nothing panics.
func FuzzJSONToPHP(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x",null,true],"b":{}}`, `[]`, `"\u00e9"`, `-0`, `1e400`, `{"1":1,"01":2}`, "[[[[]]]]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := jsonScanner{in: in}
		out, err := s.document(nil)
		if valid := json.Valid(in); valid != (err == nil) && strings.Count(string(in), "[")+strings.Count(string(in), "{") < jsonDepth {
			t.Errorf("%q: valid JSON %v, converted %q, %v", in, valid, out, err)
		}
	})
}

// TestPHPReadsWhatWeWrite has PHP decode 1,000 random JSON documents and compares its serialize with ours, byte by byte.
func TestPHPReadsWhatWeWrite(t *testing.T) {
	php := testenv.PHP(t)
	r := rand.New(rand.NewPCG(5, 6))
	var docs, ours []string
	for len(docs) < 1000 {
		doc := randomJSON(r, 4)
		out, err := appendPHP(nil, Value{JSON, []byte(doc)})
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		docs, ours = append(docs, doc), append(ours, string(out))
	}
	dir := t.TempDir()
	in := filepath.Join(dir, "docs")
	if err := os.WriteFile(in, []byte(strings.Join(docs, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	script := `ini_set('serialize_precision', -1);
foreach (explode("\n", file_get_contents($argv[1])) as $doc) echo bin2hex(serialize(json_decode($doc, true))), "\n";`
	out, err := exec.Command(php, "-r", script, "--", in).CombinedOutput()
	if err != nil {
		t.Fatalf("php: %v: %s", err, out)
	}
	theirs := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(theirs) != len(docs) {
		t.Fatalf("php answered %d lines: %.300s", len(theirs), out)
	}
	for i := range docs {
		if got := fmt.Sprintf("%x", ours[i]); got != theirs[i] {
			t.Errorf("%s: got %s, php has %s", docs[i], ours[i], theirs[i])
		}
	}
}

func randomJSON(r *rand.Rand, depth int) string {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch r.IntN(kinds) {
	case 0:
		return fmt.Sprint(r.Int64() >> r.IntN(63))
	case 1:
		f := (r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(50)-25))
		b, _ := json.Marshal(f)
		return string(b)
	case 2:
		return []string{"true", "false", "null", "12345678901234567890", "1.0", "1e2"}[r.IntN(6)]
	case 3, 4, 5:
		b, _ := json.Marshal(randomString(r))
		return string(b)
	case 6:
		var parts []string
		for range r.IntN(5) {
			parts = append(parts, randomJSON(r, depth-1))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		var parts []string
		seen := map[string]bool{}
		for range r.IntN(6) {
			k := randomString(r)
			if r.IntN(3) == 0 {
				k = []string{"0", "7", "-3", "007", "9223372036854775807", "9223372036854775808", "1.5", ""}[r.IntN(8)]
			}
			if seen[k] {
				continue
			}
			seen[k] = true
			b, _ := json.Marshal(k)
			parts = append(parts, string(b)+": "+randomJSON(r, depth-1))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
}

func randomString(r *rand.Rand) string {
	letters := []rune("abcXYZ019 \"\\/<>&\t\né漢😀\u2028")
	var s strings.Builder
	for range r.IntN(12) {
		s.WriteRune(letters[r.IntN(len(letters))])
	}
	return s.String()
}
