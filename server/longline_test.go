package server

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// A line that is too long to be waited for is answered where one read brings all of it.
func TestLongLinesLikeMemcached(t *testing.T) {
	memcached := oracle(t)
	twins(t, func(t *testing.T, o Options) {
		_, addr := startServer(t, o)
		sizes := []int{2048, 2049, 2050, 2051, keepInput - 100, 10_000, 16_383, 16_384, 16_385, 20_000}
		if o.Net { // which reads so much at once
			sizes = sizes[:5]
		}
		for _, size := range sizes {
			line := func(format string) []byte {
				format += "\r\n"
				pad := size - len(format) + len("%s")
				if strings.Contains(format, "k%s") {
					return fmt.Appendf(nil, format, strings.Repeat("k", pad))
				}
				return fmt.Appendf(nil, format, strings.Repeat(" ", pad))
			}
			for _, in := range [][]byte{
				append(line("set a 7 0 1%snoreply"), "x\r\nget a\r\n"...), append(line("set a 0 0%s1"), "y\r\nget a\r\n"...),
				append(line("cas a 0 0 1%s1"), "y\r\n"...),
				append(line("ms a%s1"), "z\r\nmg a v\r\n"...), append(line("set k%s 0 0 1"), "x\r\n"...), append(line("ms k%s 1"), "x\r\n"...),
				line("mg a k%s"), line("mg a v%sk"), line("mg a v Ok%s"),
				line("delete nothing%s"), line("incr nothing%s1"), line("touch nothing%s 0"), line("ma nothing%s"), line("md nothing%s"), line("mn%s"), line("k%s"),
				line("version%s"), line("verbosity%s0"), line("%sversion"), line("GET k%s HTTP/1.1"), line("lru_crawler crawl k%s"), line("stats cachedump%s63 0"),
			} {
				got, want := playSocket(t, addr, in, len(in)), playSocket(t, memcached, in, len(in))
				if !bytes.Equal(got, want) {
					t.Errorf("%d bytes, %.30q: got %q, want %q", size, in, got, want)
				}
			}
		}
	})
}
