package transcript

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Opcodes are the names that transcripts of the binary protocol use, by number.
var Opcodes = []string{
	"get", "set", "add", "replace", "delete", "incr", "decr", "quit", "flush", "getq", "noop", "version", "getk", "getkq", "append",
	"prepend", "stat", "setq", "addq", "replaceq", "deleteq", "incrq", "decrq", "quitq", "flushq", "appendq", "prependq", "0x1b",
	"touch", "gat", "gatq", "0x1f", "saslmechs", "saslauth", "saslstep", "gatk", "gatkq",
}

// Packets reads requests of the binary protocol from a transcript, one a line: the opcode, then name=value in any order.
// key and value may have escapes; extras are hex or the numbers flags, delta, initial and exptime; opaque, cas, magic and
// type fill the header; keylen, extlen and bodylen make it wrong. A line "raw" has bytes of whatever kind.
func Packets(t testing.TB, text []byte) []byte {
	t.Helper()
	var out []byte
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "raw" {
			out = append(out, Unescape(t, []byte(words[1]))...)
			continue
		}
		out = append(out, Packet(t, words[0], words[1:])...)
	}
	return out
}

// Packet makes one request of an opcode and its name=value words.
func Packet(t testing.TB, name string, words []string) []byte {
	t.Helper()
	opcode := slices.Index(Opcodes, name)
	if opcode < 0 {
		opcode = number(t, name, 8)
	}
	field := map[string]int{"magic": 0x80, "type": 0, "opaque": 0, "cas": 0, "keylen": -1, "extlen": -1, "bodylen": -1}
	var extras, key, value []byte
	for _, word := range words {
		name, text, _ := strings.Cut(word, "=")
		switch name {
		case "key":
			key = Unescape(t, []byte(text))
		case "value":
			value = Unescape(t, []byte(text))
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
