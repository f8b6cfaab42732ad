package main

import (
	"cmp"
	"slices"

	"swordfish/bench/replay"
)

// equal replays each trace into the store, several times, and into the models.
func equal(o *options, r *report) error {
	r.addf(`Miss ratios of the store itself, driven in one process with equal objects, beside models that hold as many. "Held" is how
many objects the store held on average from its first eviction on, and the least and most; the models hold exactly the
average. Of %d replays with different hash seeds the one with the median ratio stands here, with the range of the ratios.
"Cold" is what any cache misses: each object's first request. "Ideal" is our policy without segments, shards and prints.

| trace | cache | held | limit, value, shards | cold | ours | segmented LRU | **ours / segmented LRU** | range | LRU | S3-FIFO | ideal |
|---|---|---|---|---|---|---|---|---|---|---|---|
`, o.runs)
	var ours, lru, s3, ideal, notCold ratios
	err := o.eachPoint(r, "0.01,0.1", 500, func(p *point) error {
		t := p.trace
		e, err := replay.Fit(t.IDs, p.objects, o.seed, func(e replay.Equal, out replay.Outcome) {
			r.progressf("%s: %.2f MiB hold %d of %d", p, mib(e.Memory), out.Held, p.objects)
		})
		if err != nil {
			return err
		}
		var runs []replay.Compared
		for i := range o.runs {
			e.Seed = o.seed + uint64(i)
			c, err := replay.Compare(e, t.IDs, t.Objects)
			if err != nil {
				return err
			}
			r.progressf("%s: held %d, missed %d, segmented LRU %d: %.3f", p, c.Held, c.Misses, c.Segmented, share(c.Misses, c.Segmented))
			runs = append(runs, c)
			if r.late() {
				return errLimit
			}
		}
		slices.SortFunc(runs, func(a, b replay.Compared) int {
			return cmp.Compare(share(a.Misses, a.Segmented), share(b.Misses, b.Segmented))
		})
		c, first, last := runs[len(runs)/2], runs[0], runs[len(runs)-1]
		n := len(t.IDs)
		r.addf("| %s | %g %% | %d (%d-%d) | %.2f MiB, %d, %d | %.3f | %.4f | %.4f | **%.3f** | %.3f-%.3f | %.4f | %.4f | %.4f |\n",
			p.name, p.share*100, c.Held, c.Least, c.Most, mib(e.Memory), e.Value, c.Shards, share(p.cold, n),
			share(c.Misses, n), share(c.Segmented, n), share(c.Misses, c.Segmented), share(first.Misses, first.Segmented),
			share(last.Misses, last.Segmented), share(c.LRU, n), share(c.S3FIFO, n), share(c.Ideal, n))
		ours = append(ours, share(c.Misses, c.Segmented))
		lru = append(lru, share(c.LRU, c.Segmented))
		s3 = append(s3, share(c.S3FIFO, c.Segmented))
		ideal = append(ideal, share(c.Ideal, c.Segmented))
		if c.Segmented > p.cold {
			notCold = append(notCold, share(c.Misses, c.Segmented))
		}
		return nil
	})
	r.addf("\nMisses in relation to memcached's segmented LRU, %d points:\n\n", len(ours))
	r.addf("- **ours: %s**\n- LRU: %s\n- S3-FIFO: %s\n- ideal: %s\n", ours, lru, s3, ideal)
	if len(notCold) < len(ours) {
		r.addf("- ours, the %d points at which segmented LRU misses more than the first requests: %s\n", len(notCold), notCold)
	}
	return err
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
