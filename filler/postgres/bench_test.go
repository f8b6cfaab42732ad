package postgres

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// BenchmarkFill measures keys through the whole fill engine and a local PostgreSQL, in batches and one key a statement.
func BenchmarkFill(b *testing.B) {
	for _, batch := range []int{1, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			pg := testenv.Postgres(b)
			demo(b, pg)
			route := demoRoute()
			route.Limits = filler.Limits{Batch: batch, Queue: 1 << 20}
			src := source(b, Options{DSNs: []string{pg.SocketDSN}})
			r := fillertest.New(b, filler.SourceSpec{Source: src, Timeout: 10 * time.Second}, route)
			rnd := rand.New(rand.NewPCG(1, 2))
			n := 0
			for b.Loop() {
				r.Ask(string(testdata.AppendKey(nil, testdata.HomeCountries[n%6], testdata.DrawDevice(rnd))))
				if n++; n%4096 == 0 {
					r.Wait()
				}
			}
			r.Wait()
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "keys/s")
			b.ReportMetric(float64(n)/float64(r.Stats().Batches), "keys/statement")
		})
	}
}
