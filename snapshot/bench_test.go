package snapshot

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
)

// benchKeys is far more than caches hold.
const benchKeys = 500_000

func benchWorld(b *testing.B) (*world, string) {
	w := open(b, 256)
	for i := range benchKeys {
		if i%2 == 0 {
			w.set(0, keyOf(i), fmt.Sprintf("%x%080d", uint64(i)*0x9e3779b97f4a7c15, i))
		} else {
			w.set(0, keyOf(i), fmt.Sprintf("%0100d", i%1000))
		}
	}
	return w, filepath.Join(b.TempDir(), "snapshot")
}

func BenchmarkWrite(b *testing.B) {
	w, path := benchWorld(b)
	for b.Loop() {
		w.save(path)
	}
	b.ReportMetric(float64(b.N)*benchKeys/b.Elapsed().Seconds(), "keys/s")
}

func BenchmarkLoad(b *testing.B) {
	w, path := benchWorld(b)
	w.save(path)
	w = open(b, 256)
	for b.Loop() {
		w.FlushAll(w.Now(), 0)
		l := Begin(w.Store)
		if _, err := l.Run(context.Background(), path); err != nil {
			b.Fatal(err)
		}
		l.End()
	}
	b.ReportMetric(float64(b.N)*benchKeys/b.Elapsed().Seconds(), "keys/s")
}
