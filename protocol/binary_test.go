package protocol

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// packet builds a binary request with opaque 7 and CAS 0.
func packet(opcode byte, extras, key, value string) string {
	return packetCAS(opcode, extras, key, value, 0)
}

func packetCAS(opcode byte, extras, key, value string, unique uint64) string {
	return head(opcode, len(extras), len(key), len(extras)+len(key)+len(value), unique) + extras + key + value
}

// head builds a header with whatever lengths.
func head(opcode byte, extras, key, body int, unique uint64) string {
	b := []byte{0x80, opcode}
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = append(b, byte(extras), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(body))
	b = binary.BigEndian.AppendUint32(b, 7)
	return string(binary.BigEndian.AppendUint64(b, unique))
}

func (s *say) binary(r *Request) {
	s.inKeys = false
	fmt.Fprintf(s, "%02x", r.Opcode)
	if r.Quiet {
		s.WriteString(" quiet")
	}
	switch r.Verb {
	case Refused:
		fmt.Fprintf(s, " refused %#x", uint16(r.Code))
	case Get, Delete, Stats:
		fmt.Fprintf(s, " key %q", r.Key)
	case Gat, Touch:
		fmt.Fprintf(s, " key %q exptime %d", r.Key, r.Exptime)
	case Set, Add, Replace, Append, Prepend:
		fmt.Fprintf(s, " key %q flags %d exptime %d value %q", r.Key, r.Flags, r.Exptime, r.Value)
		if r.TooLarge {
			s.WriteString(" too large")
		}
	case Incr, Decr:
		fmt.Fprintf(s, " key %q delta %d", r.Key, r.Delta)
		if r.Vivify {
			fmt.Fprintf(s, " initial %d exptime %d", r.Initial, r.Exptime)
		}
	case FlushAll:
		fmt.Fprintf(s, " exptime %d", r.Exptime)
	}
	if r.Unique != 0 {
		fmt.Fprintf(s, " unique %d", r.Unique)
	}
	if r.Opaque != 7 {
		fmt.Fprintf(s, " opaque %d", r.Opaque)
	}
	s.WriteString("\n")
}

const (
	eight  = "\x00\x00\x00\x05\x00\x00\x00\x09"
	twenty = "\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x04"
)

var binaryTests = []struct{ name, in, want string }{
	{"binary get", packet(0x00, "", "a", "") + packet(0x09, "", "b", "") + packet(0x0c, "", "c", "") + packet(0x0d, "", long, "") + packet(0x0a, "", "", ""),
		`00 key "a"|09 quiet key "b"|0c key "c"|0d quiet key "` + long + `"|0a`},
	{"binary get, key missing", packet(0x00, "", "", "") + packet(0x0a, "", "", ""), `00 refused 0x4|hangup`},
	{"binary get, extras", packet(0x00, "1234", "a", ""), `00 refused 0x4|hangup`},
	{"binary get, value", packet(0x00, "", "a", "v"), `00 refused 0x4|hangup`},
	{"binary, key too long", packet(0x00, "", long+"k", ""), `00 refused 0x4|hangup`},
	{"binary, key too long, not there", head(0x00, 0, 65535, 65535, 0), `00 refused 0x4|hangup`},
	{"binary, body shorter than key", head(0x00, 0, 5, 4, 0) + "abcde", `00 refused 0x81|hangup`},
	{"binary, body shorter than key and extras", head(0x01, 8, 5, 12, 0), `01 refused 0x81|hangup`},
	{"binary, body of 1 GiB", head(0x01, 8, 1, 1<<30, 0) + eight + "k", `01 key "k" flags 5 exptime 9 value "" too large`},
	{"binary, body over 1 GiB", head(0x01, 8, 1, 1<<30+1, 0) + eight + "k", `01 refused 0x4|hangup`},
	{"binary set", packet(0x01, eight, "a", "abc") + packet(0x11, eight, "a", "") + packetCAS(0x02, eight, "a", "x", 9) + packet(0x13, eight, "a", "\r\n"),
		`01 key "a" flags 5 exptime 9 value "abc"|11 quiet key "a" flags 5 exptime 9 value ""|02 key "a" flags 5 exptime 9 value "x" unique 9|13 quiet key "a" flags 5 exptime 9 value "\r\n"`},
	{"binary set, exptime is unsigned", packet(0x01, "\xff\xff\xff\xff\xff\xff\xff\xff", "a", ""), `01 key "a" flags 4294967295 exptime 4294967295 value ""`},
	{"binary set, no key", packet(0x01, eight, "", "abc"), `01 refused 0x4|hangup`},
	{"binary set, no extras", packet(0x01, "", "a", "abc"), `01 refused 0x4|hangup`},
	{"binary set, too large", packet(0x01, eight, "a", strings.Repeat("x", limit+1)) + packet(0x0b, "", "", ""), `01 key "a" flags 5 exptime 9 value "" too large|0b`},
	{"binary append", packet(0x0e, "", "a", "b") + packet(0x1a, "", "a", strings.Repeat("x", limit+1)) + packetCAS(0x0f, "", "a", "b", 1),
		`0e key "a" flags 0 exptime 0 value "b"|1a quiet key "a" flags 0 exptime 0 value "" too large|0f key "a" flags 0 exptime 0 value "b" unique 1`},
	{"binary append, extras", packet(0x0e, eight, "a", "b"), `0e refused 0x4|hangup`},
	{"binary delete", packet(0x04, "", "a", "") + packetCAS(0x14, "", "a", "", 3), `04 key "a"|14 quiet key "a" unique 3`},
	{"binary delete, value", packet(0x04, "", "a", "b"), `04 refused 0x4|hangup`},
	{"binary incr", packet(0x05, twenty, "a", "") + packet(0x16, twenty[:16]+"\xff\xff\xff\xff", "a", ""), `05 key "a" delta 2 initial 3 exptime 4|16 quiet key "a" delta 2`},
	{"binary incr, short extras", packet(0x05, twenty[:19], "a", ""), `05 refused 0x4|hangup`},
	{"binary touch", packet(0x1c, "\x00\x00\x00\x05", "a", "") + packet(0x24, "\x00\x00\x00\x00", "a", ""), `1c key "a" exptime 5|24 quiet key "a" exptime 0`},
	{"binary touch, no extras", packet(0x1c, "", "a", ""), `1c refused 0x4|hangup`},
	{"binary touch, more than its key", packet(0x1c, "\x00\x00\x00\x05", "a", "rest"), `1c key "a" exptime 5|hangup`},
	{"binary flush", packet(0x08, "", "", "") + packet(0x18, "\x00\x00\x00\x05", "", ""), `08 exptime 0|18 quiet exptime 5`},
	{"binary flush, key", packet(0x08, "", "a", ""), `08 refused 0x4|hangup`},
	{"binary stat", packet(0x10, "", "", "") + packet(0x10, "", "items", ""), `10 key ""|10 key "items"`},
	{"binary stat, extras", packet(0x10, "1", "", ""), `10 refused 0x4|hangup`},
	{"binary version, noop, quit", packet(0x0b, "", "", "") + packet(0x0a, "", "", "") + packet(0x07, "", "", "") + packet(0x17, "", "", ""), `0b|0a|07|17 quiet`},
	{"binary noop, key", packet(0x0a, "", "a", ""), `0a refused 0x4|hangup`},
	{"binary, unknown opcode", packet(0x1b, "1234", "a", "value") + packet(0xff, "", "", "") + packet(0x0a, "", "", ""), `1b refused 0x81|ff refused 0x81|0a`},
	{"binary, authentication", packet(0x20, "", "", "") + packet(0x21, "", "PLAIN", "\x00u\x00p") + packet(0x22, "", "PLAIN", "") + packet(0x0a, "", "", ""),
		`20 refused 0x81|21 refused 0x81|22 refused 0x81|0a`},
	{"binary, authentication, no mechanism", packet(0x21, "", "", "x"), `21 refused 0x4|hangup`},
	{"binary, wrong magic", packet(0x0a, "", "", "") + "get a\r\n", `0a|hangup`},
}

func TestBinaryReplies(t *testing.T) {
	request := func(opcode byte, quiet bool) *Request {
		return &Request{Form: Binary, Verb: operations[opcode].verb, Opcode: opcode, Quiet: quiet, Opaque: 0x01020304, Key: []byte("key")}
	}
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"ok", AppendBinaryOK(nil, request(1, false), 9), "8101000000000000 00000000 01020304 0000000000000009"},
		{"ok, quiet", AppendBinaryOK(nil, request(0x11, true), 9), ""},
		{"error", AppendBinaryError(nil, request(0x11, true), CodeTooLarge), "8111000000000003 0000000a 01020304 0000000000000000 546f6f206c617267652e"},
		{"number", AppendBinaryNumber(nil, request(5, false), 258, 2), "8105000000000000 00000008 01020304 0000000000000002 0000000000000102"},
		{"number, quiet", AppendBinaryNumber(nil, request(0x15, true), 258, 2), ""},
		{"get", AppendBinaryValue(nil, request(0, false), 5, 100, 2), "8100000004000000 00000068 01020304 0000000000000002 00000005"},
		{"getkq", AppendBinaryValue(nil, request(0x0d, true), 5, 1, 2), "810d000304000000 00000008 01020304 0000000000000002 00000005 6b6579"},
		{"touch", AppendBinaryValue(nil, request(0x1c, false), 5, 100, 2), "811c000004000000 00000004 01020304 0000000000000002 00000005"},
		{"get, miss", AppendBinaryMiss(nil, request(0, false)), "8100000000000001 00000009 01020304 0000000000000000 4e6f7420666f756e64"},
		{"getk, miss", AppendBinaryMiss(nil, request(0x0c, false)), "810c000300000001 00000003 01020304 0000000000000000 6b6579"},
		{"getkq, miss", AppendBinaryMiss(nil, request(0x0d, true)), ""},
		{"version", AppendBinaryText(nil, request(0x0b, false), "1"), "810b000000000000 00000001 01020304 0000000000000000 31"},
		{"stat", AppendBinaryStat(nil, request(0x10, false), "pid", "1"), "8110000300000000 00000004 01020304 0000000000000000 70696431"},
		{"stat, end", AppendBinaryStat(nil, request(0x10, false), "", ""), "8110000000000000 00000000 01020304 0000000000000000"},
	} {
		if got, want := hex.EncodeToString(test.got), strings.ReplaceAll(test.want, " ", ""); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", test.name, got, want)
		}
	}
	for c := range Code(0x100) {
		if (c.text() == "") != (c == CodeOK || c > CodeNonNumeric && c != CodeRefused && c != CodeUnknown && c != CodeNoMemory) {
			t.Errorf("code %#x: %q", uint16(c), c.text())
		}
	}
}

func TestBinaryParseDoesNotAllocate(t *testing.T) {
	for _, in := range []string{packet(0, "", "key", ""), packet(1, eight, "key", "value"), packet(5, twenty, "key", ""), packet(0x0a, "", "", "")} {
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

func TestOnly(t *testing.T) {
	for _, test := range []struct {
		only Only
		in   string
		form Form
		st   Status
	}{
		{Any, "mn\r\n", Meta, Ready},
		{Any, packet(0x0a, "", "", ""), Binary, Ready},
		{OnlyText, "mn\r\n", Meta, Ready},
		{OnlyText, "\x80\x0a\r\n", Classic, Ready}, // not understood
		{OnlyBinary, packet(0x0a, "", "", ""), Binary, Ready},
		{OnlyBinary, "mn\r\n", Binary, Hangup},
	} {
		p := Parser{Only: test.only}
		if _, st := p.Parse([]byte(test.in)); st != test.st || p.Request.Form != test.form {
			t.Errorf("%d %q: status %d, form %d", test.only, test.in, st, p.Request.Form)
		}
	}
}
