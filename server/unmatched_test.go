package server

import (
	"fmt"
	"strings"
	"testing"

	"swordfish/normalizer"
)

func TestShape(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, test := range []struct{ key, want string }{
		{"chr|country=IN|foo=1", "chr|country=*|foo=*"},
		{"chr|foo=1|country=IN", "chr|country=*|foo=*"},
		{"chr|foo=1|foo=2", "chr|foo=*"},
		{"chr|foo=", "chr|foo=*"},
		{"chr|a=b=c", "chr|a=*"},
		{"chr", "chr"},
		{"chr|", "chr|*"},
		{"b:IN:ios", "b:*:*"},
		{"user:profile:12", "user:*:*"},
		{"b|IN|os=ios|late", "b|*|*|os=*"},
		{"path/a=1;b=2", "path/a=*"},
		{"user42", "user*"},
		{"user42:name", "user*:*"},
		{"42", "*"},
		{"", ""},
		{"|a=1", "|a=*"},
		{long, long[:normalizer.MaxPart] + "*"},
		{long + ":1", long[:normalizer.MaxPart] + "*:*"},
	} {
		if got := string(appendShape(make([]byte, 0, normalizer.MaxKey), []byte(test.key))); got != test.want {
			t.Errorf("%.30s: got %s, want %s", test.key, got, test.want)
		}
	}
}

func FuzzShape(f *testing.F) {
	f.Add([]byte("chr|country=IN|foo=1"))
	f.Add([]byte(strings.Repeat(":", normalizer.MaxKey)))
	f.Add([]byte(strings.Repeat("|ab=", normalizer.MaxKey/4)))
	f.Add([]byte(strings.Repeat("|=", normalizer.MaxKey/2)))
	f.Add([]byte("|" + strings.Repeat("k", normalizer.MaxKey-2) + "="))
	f.Fuzz(func(t *testing.T, key []byte) {
		key = key[:min(len(key), normalizer.MaxKey)]
		dst := make([]byte, 0, normalizer.MaxKey)
		shape := appendShape(dst, key)
		if len(shape) > normalizer.MaxKey || cap(shape) != cap(dst) {
			t.Errorf("%q has a shape of %d bytes, capacity %d", key, len(shape), cap(shape))
		}
	})
}

func TestShapesKeepTheFrequent(t *testing.T) {
	seed := testSeed
	var s shapes
	for i := range 10_000 { // every tenth miss on a forgotten route, one in a hundred on another, the rest on whatever
		switch {
		case i%10 == 0:
			s.count(&seed, fmt.Appendf(nil, "chr|country=%d|foo=%d", i, i))
		case i%100 == 1:
			s.count(&seed, fmt.Appendf(nil, "user:%d", i))
		default:
			s.count(&seed, []byte("random"+strings.NewReplacer("0", "a", "1", "b", "2", "c", "3", "d", "4", "e", "5", "f",
				"6", "g", "7", "h", "8", "i", "9", "j").Replace(fmt.Sprint(i))))
		}
	}
	sum := make(map[string]uint64)
	s.addTo(sum)
	if len(sum) != shapeSlots {
		t.Errorf("%d shapes, want %d", len(sum), shapeSlots)
	}
	rarest := uint64(1 << 62)
	total := uint64(0)
	for _, n := range sum {
		rarest = min(rarest, n)
		total += n
	}
	if n := sum["chr|country=*|foo=*"]; n < 1000 || n > 1000+rarest {
		t.Errorf("counted %d, want 1000 to %d", n, 1000+rarest)
	}
	if total != 10_000 {
		t.Errorf("%d in all, want 10000", total)
	}
}

func TestUnmatched(t *testing.T) {
	s := routed(t, Options{})
	c := newClient(t, s)
	c.ask("set plain:1 0 0 1\r\nx\r\n")
	c.ask("get plain:1 chr|a=1|b=2 chr|a=1|c=2\r\n") // a hit, a route's key, a miss on none
	c.ask("get chr|c=1|a=1 sess|id=7\r\ngat 0 sess|id=7\r\n")
	c = newClientOf(t, s.workers[1])
	c.ask("gets chr|c=1|a=1 sess|id=8\r\n")
	if got, want := c.ask("routes unmatched\r\n"), "3 chr|a=*|c=*\r\n2 sess|id=*\r\nEND\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Where nothing has routes, keys have no shapes worth a look.
func TestUnmatchedWithoutRoutes(t *testing.T) {
	s := newServer(t, Options{})
	newClient(t, s).ask("get a:1\r\n")
	if got := s.Unmatched(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestCountingShapesAllocatesNothing(t *testing.T) {
	seed := testSeed
	var s shapes
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "chr|x%d=1|country=IN|dev=812|os=ios|browser=safari|w=414|h=896", i)
	}
	i := 0
	if n := testing.AllocsPerRun(2000, func() {
		s.count(&seed, keys[i%len(keys)])
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUnmatched(b *testing.B) {
	for _, shapesMet := range []int{1, shapeSlots, 10 * shapeSlots} {
		b.Run(fmt.Sprintf("shapes=%d", shapesMet), func(b *testing.B) {
			seed := testSeed
			var s shapes
			keys := make([][]byte, shapesMet)
			for i := range keys {
				keys[i] = fmt.Appendf(nil, "chr|x%d=1|country=IN|dev=812|os=ios|browser=safari|w=414|h=896", i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.count(&seed, keys[i%len(keys)])
			}
		})
	}
}
