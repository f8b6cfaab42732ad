package server

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// opcodes are the names that transcripts of the binary protocol use.
var opcodes = []string{
	"get", "set", "add", "replace", "delete", "incr", "decr", "quit", "flush", "getq", "noop", "version", "getk", "getkq", "append",
	"prepend", "stat", "setq", "addq", "replaceq", "deleteq", "incrq", "decrq", "quitq", "flushq", "appendq", "prependq", "0x1b",
	"touch", "gat", "gatq", "0x1f", "saslmechs", "saslauth", "saslstep", "gatk", "gatkq",
}

// packets reads requests of the binary protocol from a transcript, one a line: the opcode, then name=value in any order.
// key and value may have escapes; extras are hex or the numbers flags, delta, initial and exptime; opaque, cas, magic and
// type fill the header; keylen, extlen and bodylen make it wrong. A line "raw" has bytes of whatever kind.
func packets(t testing.TB, text []byte) []byte {
	t.Helper()
	var out []byte
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "raw" {
			out = append(out, unescape(t, []byte(words[1]))...)
			continue
		}
		out = append(out, packet(t, words[0], words[1:])...)
	}
	return out
}

func packet(t testing.TB, name string, words []string) []byte {
	t.Helper()
	opcode := slices.Index(opcodes, name)
	if opcode < 0 {
		opcode = number(t, name, 8)
	}
	field := map[string]int{"magic": 0x80, "type": 0, "opaque": 0, "cas": 0, "keylen": -1, "extlen": -1, "bodylen": -1}
	var extras, key, value []byte
	for _, word := range words {
		name, text, _ := strings.Cut(word, "=")
		switch name {
		case "key":
			key = unescape(t, []byte(text))
		case "value":
			value = unescape(t, []byte(text))
		case "extras":
			b, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			extras = append(extras, b...)
		case "flags", "exptime":
			extras = binary.BigEndian.AppendUint32(extras, uint32(number(t, text, 33)))
		case "delta", "initial":
			n, err := strconv.ParseUint(text, 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			extras = binary.BigEndian.AppendUint64(extras, n)
		default:
			if _, ok := field[name]; !ok {
				t.Fatalf("unknown field %q", name)
			}
			field[name] = number(t, text, 63)
		}
	}
	length := func(name string, n int) int {
		if field[name] >= 0 {
			return field[name]
		}
		return n
	}
	out := []byte{byte(field["magic"]), byte(opcode)}
	out = binary.BigEndian.AppendUint16(out, uint16(length("keylen", len(key))))
	out = append(out, byte(length("extlen", len(extras))), byte(field["type"]), 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(length("bodylen", len(extras)+len(key)+len(value))))
	out = binary.BigEndian.AppendUint32(out, uint32(field["opaque"]))
	out = binary.BigEndian.AppendUint64(out, uint64(field["cas"]))
	return slices.Concat(out, extras, key, value)
}

func number(t testing.TB, text string, bits int) int {
	t.Helper()
	n, err := strconv.ParseInt(text, 0, bits+1)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// answer is one answer of the binary protocol.
type answer struct {
	opcode             byte
	status             uint16
	opaque             uint32
	cas                uint64
	extras, key, value []byte
}

// cutAnswer takes the first answer off data; ok is false where there is no whole one.
func cutAnswer(data []byte) (a answer, rest []byte, ok bool) {
	if len(data) < 24 || data[0] != 0x81 {
		return a, data, false
	}
	key, extras := int(binary.BigEndian.Uint16(data[2:])), int(data[4])
	body := int(binary.BigEndian.Uint32(data[8:]))
	if len(data) < 24+body || key+extras > body {
		return a, data, false
	}
	a = answer{opcode: data[1], status: binary.BigEndian.Uint16(data[6:]), opaque: binary.BigEndian.Uint32(data[12:]), cas: binary.BigEndian.Uint64(data[16:])}
	b := data[24 : 24+body]
	a.extras, a.key, a.value = b[:extras], b[extras:extras+key], b[extras+key:]
	return a, data[24+body:], true
}

// spell writes the answer as transcripts have it. A CAS differs from run to run, so it is only told from none.
func (a *answer) spell() string {
	var s strings.Builder
	if int(a.opcode) < len(opcodes) {
		s.WriteString(opcodes[a.opcode])
	} else {
		fmt.Fprintf(&s, "%#02x", a.opcode)
	}
	fmt.Fprintf(&s, " status=%#x", a.status)
	if a.opaque != 0 {
		fmt.Fprintf(&s, " opaque=%d", a.opaque)
	}
	if a.cas != 0 {
		s.WriteString(" cas=CAS")
	}
	if len(a.extras) > 0 {
		fmt.Fprintf(&s, " extras=%x", a.extras)
	}
	if len(a.key) > 0 {
		fmt.Fprintf(&s, " key=%s", spellBytes(a.key))
	}
	if len(a.value) > 0 {
		fmt.Fprintf(&s, " value=%s", spellBytes(a.value))
	}
	return s.String()
}

// spellBytes is escape on one line and without blanks.
func spellBytes(b []byte) string {
	return strings.ReplaceAll(strings.ReplaceAll(string(escape(b)), "\n", ""), " ", `\x20`)
}

// spellAnswers writes answers as transcripts have them, a line each.
func spellAnswers(data []byte) []byte {
	var out []byte
	for len(data) > 0 {
		a, rest, ok := cutAnswer(data)
		if !ok {
			out = append(out, "raw "+spellBytes(data)+"\n"...)
			break
		}
		out = append(out, a.spell()+"\n"...)
		data = rest
	}
	return out
}
