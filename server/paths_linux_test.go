package server

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time that this thread has used, which other programs on the machine do not lengthen.
func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// BenchmarkSession takes the common ways: bytes in, bytes out, without a socket. cpu-ns/op is the time of one run of the
// session, cpu-ns/each that of one key or command where a run has several.
func BenchmarkSession(b *testing.B) {
	c, all := paths(b)
	out := make([]byte, 0, highWater)
	for _, p := range all {
		b.Run(p.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			c := c.other()
			c.w.begin()
			b.ReportAllocs()
			n := 0
			before := threadTime(b)
			for b.Loop() {
				if n++; !p.take(c, out, n) {
					b.Fatal("not run")
				}
			}
			took := float64(threadTime(b) - before)
			b.ReportMetric(took/float64(b.N), "cpu-ns/op")
			if p.ops > 1 {
				b.ReportMetric(took/float64(b.N*p.ops), "cpu-ns/each")
			}
		})
	}
}
