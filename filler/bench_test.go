package filler

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// BenchmarkQueue measures keys through ring, dispatcher, batch, a source that answers every key at once, and hooks that do
// nothing: what the fill engine itself can carry.
func BenchmarkQueue(b *testing.B) {
	row := []Value{{Text, []byte(`{"size": "small", "formats": ["320x50"], "currency": "INR"}`)}}
	var ended atomic.Int64
	put := func(Lease, uint16, []byte, []byte, uint32) PutStatus { ended.Add(1); return Stored }
	closed := func(Lease, uint16, []byte) PutStatus { ended.Add(1); return Negative }
	f, err := New(Options{
		Sources: []SourceSpec{{Name: "s", Source: SourceFunc(func(_ context.Context, b *Batch) error {
			for i := range b.Len() {
				b.Row(int64(i+1), row)
			}
			return nil
		})}},
		Routes: []Route{{ID: 1, Name: "r", Sources: []string{"s"}}},
		Hooks: Hooks{
			Put: put, Absent: closed, Failed: closed,
			End:        func(Lease) bool { ended.Add(1); return true },
			Alive:      func(Lease) bool { return true },
			Sent:       func(Lease, time.Duration) {},
			SourceDown: func(uint16, bool) {},
		},
		Logger: zerolog.Nop(),
	})
	if err != nil {
		b.Fatal(err)
	}
	ring := f.NewRing()
	keys := make([][]byte, 1024)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "chr|country=IN|dev=%d|os=ios|browser=safari|cat=mobile|w=414|h=896", i)
	}
	b.ReportAllocs()
	i := int64(0)
	for b.Loop() {
		for i-ended.Load() > 50_000 || !ring.Push(1, LaneMiss, Lease{1, uint64(i + 1)}, keys[i%1024]) {
			ring.Flush()
			time.Sleep(10 * time.Microsecond)
		}
		i++
		if i%50 == 0 {
			ring.Flush()
		}
	}
	ring.Flush()
	for ended.Load() < i {
		time.Sleep(10 * time.Microsecond)
	}
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "keys/s")
	b.StopTimer()
	f.Shutdown(context.Background())
	st := f.Stats()[0]
	b.ReportMetric(float64(st.Stored)/float64(st.Batches), "keys/batch")
	if st.Stored != uint64(i) {
		b.Errorf("stored %d of %d: %+v", st.Stored, i, st)
	}
}
