package server

import (
	"testing"
	"time"

	"swordfish/store"
)

// An answer is counted once: for the route of its last key, and in the whole.
func TestRouteLatency(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.Store = newStore(t, store.Options{})
		s := routed(t, o)
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		defer s.Shutdown(t.Context())
		c := talk(t, s.Addrs()[0].String())
		c.ask("get plain\r\n", "END")
		c.ask("get plain chr|a=1|b=2\r\n", "END")
		c.ask("mg chr|a=1|b=2\r\n", "EN")
		c.ask("set plain 0 0 1\r\nx\r\nversion\r\n", "VERSION")
		c.ask("version\r\n", "VERSION") // written after the answer before was counted
		for id, want := range []uint64{1, 2} {
			var n uint64
			l := s.RouteCounters(uint16(id)).Latency
			for _, k := range l.Buckets {
				n += k
			}
			if n != want || l.Sum <= 0 || l.Sum > time.Minute {
				t.Errorf("route %d: got %d answers in %v, want %d", id, n, l.Sum, want)
			}
		}
		all := s.Stats().Latency
		if n := all.Count(); n != 3 {
			t.Errorf("got %d answers in all, want 3", n)
		}
	})
	for i := range routeBuckets - 1 {
		if got := latencyBucket(RouteLatencyBound(i)-1) / 4; got != i {
			t.Errorf("just below %v: bucket %d, want %d", RouteLatencyBound(i), got, i)
		}
		if got := latencyBucket(RouteLatencyBound(i)) / 4; got != i+1 {
			t.Errorf("at %v: bucket %d, want %d", RouteLatencyBound(i), got, i+1)
		}
	}
}
