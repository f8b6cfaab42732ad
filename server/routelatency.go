package server

import (
	"sync/atomic"
	"time"
)

// RouteLatency is Latency for the answers whose last key is of one route, in wider classes: bucket i holds answers shorter than
// RouteLatencyBound(i) and not shorter than the bound before it; the last has no bound. Every answer is counted for one route, or
// for none as id 0.
type RouteLatency struct {
	Buckets [routeBuckets]uint64
	Sum     time.Duration
}

const routeBuckets = latencyBuckets / 4

// RouteLatencyBound is the upper bound of bucket i: about a doubling each, from 4 microseconds.
func RouteLatencyBound(i int) time.Duration { return LatencyBound(4*i + 3) }

// routeLatency is a route's on one worker: the worker writes, anybody reads.
type routeLatency struct {
	buckets [routeBuckets]atomic.Uint64
	nanos   atomic.Uint64
}

func (l *routeLatency) addTo(sum *RouteLatency) {
	for i := range l.buckets {
		sum.Buckets[i] += l.buckets[i].Load()
	}
	sum.Sum += time.Duration(l.nanos.Load())
}

// time counts how long the answer took that has just been written to ss's client, if it answered a get. woke is when the wait
// ended that brought the get.
func (w *worker) time(ss *session, woke time.Time) {
	if !ss.counted {
		return
	}
	ss.counted = false
	d := max(time.Since(woke), 0)
	bucket := latencyBucket(d)
	w.latency[bucket].Add(1)
	l := &w.routeCounts[ss.answered].latency
	l.buckets[bucket/4].Add(1)
	l.nanos.Add(uint64(d))
}
