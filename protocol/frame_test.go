package protocol

import (
	"bytes"
	"testing"
)

func TestReadFrame(t *testing.T) {
	for _, tt := range []struct {
		name, datagram string
		id             uint16
		want           string // empty: refused
	}{
		{"command", "\x12\x34\x00\x00\x00\x01\x00\x00get a\r\n", 0x1234, "get a\r\n"},
		{"place and reserved numbers mean nothing", "\xff\xff\x00\x07\x00\x01\x09\x09x", 0xffff, "x"},
		{"first of two", "\x00\x01\x00\x00\x00\x02\x00\x00get a\r\n", 0, ""},
		{"of 257", "\x00\x01\x00\x00\x01\x01\x00\x00get a\r\n", 0, ""},
		{"of none", "\x00\x01\x00\x00\x00\x00\x00\x00get a\r\n", 0, ""},
		{"header alone", "\x00\x01\x00\x00\x00\x01\x00\x00", 0, ""},
		{"cut header", "\x00\x01\x00", 0, ""},
		{"nothing", "", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, commands, ok := ReadFrame([]byte(tt.datagram))
			if ok != (tt.want != "") || ok && (id != tt.id || string(commands) != tt.want) {
				t.Errorf("got %x, %q, %v", id, commands, ok)
			}
		})
	}
}

func TestFrames(t *testing.T) {
	for n, want := range map[int]int{1: 1, FrameData - 1: 1, FrameData: 1, FrameData + 1: 2, 2 * FrameData: 2, MaxFrames * FrameData: MaxFrames} {
		if got := Frames(n); got != want {
			t.Errorf("%d bytes take %d datagrams, want %d", n, got, want)
		}
	}
	message := bytes.Repeat([]byte("0123456789"), 300)
	var all []byte
	for seq := range Frames(len(message)) {
		frame := AppendFrame([]byte("kept"), 0xabcd, seq, message)
		if head := []byte{'k', 'e', 'p', 't', 0xab, 0xcd, 0, byte(seq), 0, 3, 0, 0}; !bytes.HasPrefix(frame, head) || len(frame) > 4+FrameHeader+FrameData {
			t.Errorf("frame %d is %d bytes and begins with %x", seq, len(frame), frame[:12])
		}
		all = append(all, frame[4+FrameHeader:]...)
	}
	if !bytes.Equal(all, message) {
		t.Error("the frames are not the message")
	}
}
