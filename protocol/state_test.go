package protocol

import (
	"bytes"
	"testing"
)

// TestParserResume cuts what clients say anywhere, lets another parser go on there, and hears the same.
func TestParserResume(t *testing.T) {
	heard(t, func(in []byte, _ bool) {
		want := parseCut(t, in, len(in)+1)
		step := max(len(in)/64, 1)
		for cut := 0; cut <= len(in); cut += step {
			if got := parseOver(t, in, cut); got != want {
				t.Fatalf("handed over after %d of %q\ngot  %swant %s", cut, in, got, want)
			}
		}
	})
}

// TestParserResumeLocked is about what no transcript shows: a client that has not shown who it is stays locked, and a stream
// that has ended stays so.
func TestParserResumeLocked(t *testing.T) {
	tests := map[string]struct {
		in   string
		want Status
	}{
		"locked": {"get a\r\n", Ready},
		"ended":  {"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", Hangup},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := Parser{Locked: name == "locked"}
			p.Parse([]byte(test.in))
			var q Parser
			q.Resume(p.State())
			if q.Locked != p.Locked {
				t.Errorf("locked is %v, want %v", q.Locked, p.Locked)
			}
			if _, st := q.Parse([]byte(test.in)); st != test.want || st == Ready && q.Request.Reply != Unauthenticated {
				t.Errorf("status %d and reply %d, want status %d", st, q.Request.Reply, test.want)
			}
		})
	}
}

// parseOver is parseCut for two parsers, the second of which takes over after cut bytes.
func parseOver(t *testing.T, in []byte, cut int) string {
	t.Helper()
	fresh := func() *Parser { return &Parser{TooLarge: func(k, n int) bool { return n > limit }} }
	p := fresh()
	var s say
	var held []byte
	for _, part := range [][]byte{in[:cut], in[cut:]} {
		held = append(bytes.Clone(held), part...)
		for more := len(held) > 0; more; {
			n, st := p.Parse(held)
			held = held[n:]
			switch st {
			case Ready:
				s.request(&p.Request)
			case Hangup:
				s.WriteString("hangup\n")
				return s.String()
			}
			more = st == Ready
		}
		next := fresh()
		next.Resume(p.State())
		p = next
	}
	return s.String()
}
