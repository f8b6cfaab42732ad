package protocol

import (
	"strings"
	"testing"
)

// What a client that has not shown who it is may say, and how much of it is looked at. Whole connections are compared with
// memcached in package server.
func TestParseLogin(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"login", "set k 1 2 7\r\nfoo bar\r\n", "login \"foo\" \"bar\"\n"},
		{"blanks in the password", "set k 1 2 9\r\nfoo  b ar\r\n", "login \"foo\" \" b ar\"\n"},
		{"nothing in it", "set k 1 2 1\r\n \r\n", "login \"\" \"\"\n"},
		{"another command", "get k\r\n", "refused \"CLIENT_ERROR unauthenticated\\r\\n\"\n"},
		{"too long", "set k 0 0 16385\r\n", "refused \"CLIENT_ERROR auth token too long\\r\\n\"\n"},
		{"longest", "set k 0 0 16384\r\n" + strings.Repeat("x", 16384) + "\r\n", "refused \"CLIENT_ERROR bad authentication token format\\r\\n\"\n"},
		{"bad end", "set k 0 0 7\r\nfoo barxx", "refused \"CLIENT_ERROR bad command line termination\\r\\n\"\n"},
		{"unfinished", "set k 0 0 7\r\nfoo bar\r", ""},
		{"too short", "quit\r\n", "hangup\n"},
		{"two bytes", "\r\n", ""},
		{"no end", strings.Repeat("x", MaxLine+1), "hangup\n"},
		{"binary", "\x80set k 1 2 7\r\n", "refused \"CLIENT_ERROR unauthenticated\\r\\n\"\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{len(test.in), 1, 7} {
				p := Parser{Locked: true, Only: OnlyText}
				var s say
				if !eachRequest(t, &p, []byte(test.in), s.request, size) {
					s.WriteString("hangup\n")
				}
				if got := s.String(); got != test.want {
					t.Errorf("in pieces of %d: got %q, want %q", size, got, test.want)
				}
			}
		})
	}
}

func TestParseLongLogin(t *testing.T) {
	in := []byte("set k 1 2" + strings.Repeat(" ", MaxLine) + "7\r\nfoo bar\r\n")
	for name, test := range map[string]struct {
		sizes []int
		want  string
	}{
		"line at once": {[]int{MaxLine, 12, 1}, "login \"foo\" \"bar\"\n"},
		"line cut":     {[]int{MaxLine + 1, len(in)}, "hangup\n"},
	} {
		var s say
		if !eachRequest(t, &Parser{Locked: true, Only: OnlyText}, in, s.request, test.sizes...) {
			s.WriteString("hangup\n")
		}
		if got := s.String(); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestSplitPlain(t *testing.T) {
	for _, test := range []struct {
		in, actAs, user, password string
		ok                        bool
	}{
		{"\x00u\x00p", "", "u", "p", true},
		{"z\x00u\x00p", "z", "u", "p", true},
		{"\x00\x00", "", "", "", true},
		{"", "", "", "", false},
		{"u", "u", "", "", false},
		{"\x00u", "", "u", "", false},
		{"\x00u\x00p\x00", "", "u", "p\x00", false},
	} {
		actAs, user, password, ok := SplitPlain([]byte(test.in))
		if string(actAs) != test.actAs || string(user) != test.user || string(password) != test.password || ok != test.ok {
			t.Errorf("%q: got %q, %q, %q, %v", test.in, actAs, user, password, ok)
		}
	}
}
