package store

import "math/bits"

// Stats sums the shards; each is locked for a moment. The sums are not of one instant.
func (s *Store) Stats() Stats {
	st := Stats{
		LimitBytes: s.p.limit.Load(), UsedBytes: s.p.used(), ReserveBytes: s.reserve.Load(), NoMemory: s.noMemory.Load(),
		Passes: s.passes.Load(), PassRecords: s.passRecords.Load(),
	}
	slots := int64(0)
	st.Crawls = s.crawls.Load()
	st.Crawling = s.crawled.Load() < st.Crawls
	for i := range s.shards {
		sh := &s.shards[i]
		now := s.Now()
		sh.lock(now)
		for log := range sh.st.logs {
			if head := sh.st.logs[log].head; head != noSegment {
				written := sh.st.logs[log].ages.at(s.p.meta[head].start)
				st.Age = max(st.Age, int64(now.Second())-int64(written))
			}
		}
		t := sh.st
		st.Items += t.items
		st.NegativeItems += t.negative
		st.TotalItems += t.total
		st.Bytes += t.bytes
		st.Evictions += t.evictions
		st.EvictedUnfetched += t.evictedUnfetched
		st.ExpiredUnfetched += t.expiredUnfetched
		st.Reclaimed += t.reclaimed
		st.Reaped += t.reaped
		st.ReapLooks += t.reapLooks
		st.LeasesFull += t.leasesFull
		st.LeasesKilled += t.leasesKilled
		st.Leases += int64(t.leases)
		st.HashBytes += sh.idx.bytes()
		slots += sh.idx.slots()
		sh.mu.Unlock()
	}
	for i := range s.data {
		ds := &s.data[i]
		ds.mu.Lock()
		t := ds.st
		st.Data += t.count
		st.DataBytes += t.bytes
		st.References += t.refs
		st.Bytes += t.live + t.pages*pageSize
		st.HashBytes += ds.idx.bytes()
		ds.mu.Unlock()
	}
	for k := range st.Holds {
		st.Holds[k] = s.holds.read(HoldKind(k))
	}
	st.HashPower = bits.Len64(uint64(slots)) - 1
	return st
}

// RouteStats tells what a route holds.
func (s *Store) RouteStats(id RouteID) (rs RouteStats) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		c := &sh.st.routes[id]
		rs.Items += int64(c.items)
		rs.Client += int64(c.client)
		rs.Negative += int64(c.neg)
		rs.Bytes += c.bytes
		sh.mu.Unlock()
	}
	return rs
}

// Settings returns the derived sizes.
func (s *Store) Settings() Settings {
	return Settings{
		MaxItem: s.opt.MaxItem, Shards: s.z.shards, Segment: int(s.z.segment), LeaseSlots: s.z.shards * s.z.leaseBuckets * 8,
		PassInline: s.passInline(), PassBackground: s.passBackground(),
	}
}
