package main

import (
	"fmt"

	"swordfish/bench/replay"
	"swordfish/bench/target"
)

// scanLength is the scan's size, as a share of what the cache holds.
const scanLength = 3

// scan lets keys that are asked for once pass by working sets: in the store and the models, and in both servers.
func scan(o *options, r *report) error {
	p, err := newPair(o)
	if err != nil {
		return err
	}
	r.addf(`A working set is asked for again and again, evenly at random, while a tenth of the requests are for keys that are asked for
once. Then a scan of such keys, %d times what the cache holds, passes: at once, or with one or four of its requests for each of
the working set's. "Lost" is the share of the working set's hits that is missing then and in the round of requests after it;
in brackets its hit ratio before.

`, scanLength)
	if err := scanStores(o, r); err != nil {
		return err
	}
	return scanServers(o, r, p)
}

// eachScan calls do for the scans of a cache.
func eachScan(capacity int, seed uint64, do func(s replay.Scan, what string) error) error {
	for _, working := range []float64{0.5, 0.8} {
		for _, rate := range []int{0, 1, 4} {
			s := replay.Scan{Capacity: capacity, Working: working, Length: scanLength, Rate: rate, Seed: seed}
			how := fmt.Sprintf("%d to 1", rate)
			if rate == 0 {
				how = "at once"
			}
			if err := do(s, fmt.Sprintf("%.0f %% | %s", working*100, how)); err != nil {
				return err
			}
		}
	}
	return nil
}

func lost(s replay.ScanResult) string {
	return fmt.Sprintf("%.1f %% (%.3f)", 100*max(s.Lost(), 0), s.Before.Ratio())
}

// strangers are ids that are each asked for once.
func strangers(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(i)
	}
	return ids
}

func scanStores(o *options, r *report) error {
	r.addf("The store itself, and models that hold as many:\n\n")
	r.addf("| holds | working set | scan | **ours** | segmented LRU | LRU | S3-FIFO |\n|---|---|---|---|---|---|---|\n")
	for _, e := range []replay.Equal{
		{Memory: replay.MemoryLeast, Value: replay.ValueMost}, {Memory: 8 << 20, Value: 80}, {Memory: 64 << 20, Value: 80},
	} {
		e.Seed = o.seed
		full, err := e.Replay(strangers(int(e.Memory) / 100))
		if err != nil {
			return err
		}
		err = eachScan(full.Held, o.seed, func(s replay.Scan, what string) error {
			if r.late() {
				return errLimit
			}
			store, err := e.Open()
			if err != nil {
				return err
			}
			defer store.Close()
			ours := s.Run(store)
			if store.Err() != nil {
				return store.Err()
			}
			n := s.Objects()
			r.progressf("store of %d, %s: lost %s", full.Held, what, lost(ours))
			r.addf("| %d | %s | **%s** | %s | %s | %s |\n", full.Held, what, lost(ours), lost(s.Run(replay.NewSegmented(n, full.Held))),
				lost(s.Run(replay.NewLRU(n, full.Held))), lost(s.Run(replay.NewGated(replay.S3FIFO, n, full.Held))))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// scanMemory is the servers' -m.
const scanMemory = 8

func scanServers(o *options, r *report, p pair) error {
	r.addf("\nBoth servers at -m %d, 36-byte keys, 100-byte values, the sets and scans in relation to what each holds:\n\n", scanMemory)
	r.addf("| server | holds | working set | scan | lost |\n|---|---|---|---|---|\n")
	for _, spec := range []target.Spec{p.ours, p.peer} {
		w := replay.WireOptions{Window: 64, Objects: scanMemory << 14, Size: 100}
		full, err := play(spec, scanMemory, strangers(w.Objects), w, r)
		if err != nil {
			return err
		}
		err = eachScan(full.held, o.seed, func(s replay.Scan, what string) error {
			if r.late() {
				return errLimit
			}
			spec := spec
			spec.Memory = scanMemory
			server, err := target.Start(spec)
			if err != nil {
				return err
			}
			defer server.Stop()
			wire, err := replay.Dial(server.Addr, replay.WireOptions{Window: 1, Objects: s.Objects(), Size: w.Size})
			if err != nil {
				return err
			}
			defer wire.Close()
			got := s.Run(wire)
			if wire.Err() != nil {
				return wire.Err()
			}
			r.progressf("%s, %s: lost %s", spec.Name, what, lost(got))
			r.addf("| %s | %d | %s | %s |\n", spec.Name, full.held, what, lost(got))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
