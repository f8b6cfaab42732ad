package server

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"swordfish/internal/transcript"
)

// packets and packet are those of transcripts.
func packets(t testing.TB, text []byte) []byte { return transcript.Packets(t, text) }

func packet(t testing.TB, name string, words []string) []byte {
	return transcript.Packet(t, name, words)
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
	if int(a.opcode) < len(transcript.Opcodes) {
		s.WriteString(transcript.Opcodes[a.opcode])
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
	return strings.ReplaceAll(strings.ReplaceAll(string(transcript.Escape(b)), "\n", ""), " ", `\x20`)
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
