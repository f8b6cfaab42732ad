package load

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// pretend is a connection without a socket that waits for one get of the ids 1, 2 and 3 and then one set of 4. Values have
// 20 bytes; every value is compared.
func pretend(t *testing.T) *conn {
	t.Helper()
	v, err := ParseSizes("20")
	if err != nil {
		t.Fatal(err)
	}
	l := &Load{
		Keys: Keys{Size: 14}, Values: v, Objects: 10, Conns: 1, Pipeline: 1, Multiget: 3, Fill: true,
		Sequence: func(uint64) Sequence { return Repeat([]uint32{1, 2, 3}, 0) },
	}
	lp := &loop{load: l, next: l.Sequence(1), counting: true, values: 63}
	lp.result.Latency = newHistogram()
	c := &conn{loop: lp}
	now := time.Now()
	c.request(now)
	c.set(4, now)
	return c
}

// value is the answer's part for one id.
func value(l *Load, id uint32) string {
	return fmt.Sprintf("VALUE %s %d %d\r\n%s\r\n", l.Keys.Append(nil, id), l.Values.Flags(id), l.Values.Size(id), l.Values.Append(nil, id))
}

// feed gives b to c as understood so far, as read does, and returns what is left.
func feed(c *conn, b []byte) ([]byte, error) {
	for len(b) > 0 {
		n, err := c.answer(b, time.Now())
		if n == 0 || err != nil {
			return b, err
		}
		b = b[n:]
	}
	return b, nil
}

func TestConnRequests(t *testing.T) {
	c := pretend(t)
	want := "get key:0000000001 key:0000000002 key:0000000003\r\n" +
		"set key:0000000004 0 0 20\r\n" + string(c.loop.load.Values.Append(nil, 4)) + "\r\n"
	if string(c.out) != want {
		t.Errorf("got %q, want %q", c.out, want)
	}
}

func TestConnCountsAnswers(t *testing.T) {
	for _, tc := range []struct {
		name         string
		held         []uint32
		hits, misses uint64
	}{
		{"all", []uint32{1, 2, 3}, 3, 0},
		{"first missing", []uint32{2, 3}, 2, 1},
		{"middle missing", []uint32{1, 3}, 2, 1},
		{"last missing", []uint32{1, 2}, 2, 1},
		{"none", nil, 0, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answer := ""
			for _, id := range tc.held {
				answer += value(pretend(t).loop.load, id)
			}
			answer += "END\r\nSTORED\r\n"
			for cut := range len(answer) {
				c := pretend(t)
				left, err := feed(c, []byte(answer[:cut]))
				if err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				left = append(bytes.Clone(left), answer[cut:]...)
				if left, err = feed(c, left); err != nil || len(left) > 0 {
					t.Fatalf("cut at %d: %q left, %v", cut, left, err)
				}
				r := c.loop.result
				if !c.idle() || r.Hits != tc.hits || r.Misses != tc.misses || r.Sets != 1 || r.Operations != 4 || r.Checked == 0 && tc.hits > 1 {
					t.Fatalf("cut at %d: idle %v, %+v", cut, c.idle(), r)
				}
				if got := uint64(len(c.fill)); got != tc.misses {
					t.Fatalf("cut at %d: %d ids to set, want %d", cut, got, tc.misses)
				}
			}
		})
	}
}

func TestConnRefusesWrongAnswers(t *testing.T) {
	l := pretend(t).loop.load
	right := value(l, 1)
	for _, tc := range []struct{ name, answer string }{
		{"error", "SERVER_ERROR out of memory\r\n"},
		{"stored for a get", "STORED\r\n"},
		{"another key", value(l, 7)},
		{"keys out of order", value(l, 2) + value(l, 1)},
		{"a key twice", value(l, 1) + value(l, 1)},
		{"flags", strings.Replace(right, " 1 20", " 2 20", 1)},
		{"shorter", "VALUE key:0000000001 1 3\r\nabc\r\n"},
		{"another value", right[:len(right)-4] + "!!\r\n"},
		{"data block too long", right[:len(right)-2] + "!!"},
		{"no length", "VALUE key:0000000001 1\r\n"},
		{"more than asked", value(l, 1) + value(l, 2) + value(l, 3) + "END\r\nSTORED\r\nSTORED\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := pretend(t)
			if left, err := feed(c, []byte(tc.answer)); err == nil {
				t.Errorf("took %q, %q left", tc.answer, left)
			}
		})
	}
}
