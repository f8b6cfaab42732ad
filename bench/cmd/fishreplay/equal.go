package main

import (
	"slices"

	"swordfish/bench/replay"
)

// apart is how far the limits of the replays at one point lie apart, as a share. Where a cache holds a few hundred objects,
// miss ratios jump from one size to the next; several sizes even that out.
const apart = 0.01

// equal replays each trace into the store, at several limits around the one that holds the wanted number, and into the models.
func equal(o *options, r *report) error {
	r.addf(`Miss ratios of the store itself, driven in one process with equal objects, beside models that hold as many. Each row is
%d replays with different hash seeds, at limits one percent apart around the one at which the store holds the stated share of the
trace's objects. "Held" is how many objects a replay found held on average from the first eviction on, at the lowest and the
highest limit; the models hold exactly as many. Ratios of misses are geometric means over the replays, in the next column their
range. "Cold" is what any cache misses: each object's first request. "Ideal" is our policy without segments, shards and prints.

| trace | cache | held | limit, value, shards | cold | ours | segmented LRU | **ours / segmented LRU** | range | LRU / seg. | S3-FIFO / seg. | ideal / seg. |
|---|---|---|---|---|---|---|---|---|---|---|---|
`, o.runs)
	var ours, lru, s3, ideal, notCold ratios
	err := o.eachPoint(r, "0.01,0.1", 500, func(p *point) error {
		t := p.trace
		fit, err := replay.Fit(t.IDs, p.objects, o.seed, func(e replay.Equal, out replay.Outcome) {
			r.progressf("%s: %.2f MiB hold %d of %d", p, mib(e.Memory), out.Held, p.objects)
		})
		if err != nil {
			return err
		}
		var a replay.Compared // sums
		var vsOurs, vsLRU, vsS3, vsIdeal ratios
		least, most := 0, 0
		for i := range o.runs {
			e := fit
			e.Seed = o.seed + uint64(i)
			e.Memory = max(int64(float64(fit.Memory)*(1+apart*(float64(i)-float64(o.runs-1)/2))), replay.MemoryLeast)
			c, err := replay.Compare(e, t.IDs, t.Objects)
			if err != nil {
				return err
			}
			r.progressf("%s: held %d, missed %d, segmented LRU %d: %.3f", p, c.Held, c.Misses, c.Segmented, share(c.Misses, c.Segmented))
			if i == 0 {
				least, most = c.Held, c.Held
			}
			least, most = min(least, c.Held), max(most, c.Held)
			a.Misses += c.Misses
			a.Segmented += c.Segmented
			a.Shards = c.Shards
			vsOurs = append(vsOurs, share(c.Misses, c.Segmented))
			vsLRU = append(vsLRU, share(c.LRU, c.Segmented))
			vsS3 = append(vsS3, share(c.S3FIFO, c.Segmented))
			vsIdeal = append(vsIdeal, share(c.Ideal, c.Segmented))
			if r.late() {
				return errLimit
			}
		}
		n := len(t.IDs) * o.runs
		r.addf("| %s | %g %% | %d-%d | %.2f MiB, %d, %d | %.3f | %.4f | %.4f | **%.3f** | %.3f-%.3f | %.3f | %.3f | %.3f |\n",
			p.name, p.share*100, least, most, mib(fit.Memory), fit.Value, a.Shards, share(p.cold, len(t.IDs)),
			share(a.Misses, n), share(a.Segmented, n), vsOurs.mean(), slices.Min(vsOurs), slices.Max(vsOurs),
			vsLRU.mean(), vsS3.mean(), vsIdeal.mean())
		ours = append(ours, vsOurs.mean())
		lru = append(lru, vsLRU.mean())
		s3 = append(s3, vsS3.mean())
		ideal = append(ideal, vsIdeal.mean())
		if a.Segmented > p.cold*o.runs {
			notCold = append(notCold, vsOurs.mean())
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
