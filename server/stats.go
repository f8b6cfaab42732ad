package server

import (
	"math/bits"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"swordfish/store"
)

// Counters are the server's own, since its start. Names follow memcached's statistics where it has them.
type Counters struct {
	CmdGet, CmdSet, CmdFlush, CmdTouch, CmdMeta uint64
	GetHits, GetMisses, GetExpired, GetFlushed  uint64
	DeleteHits, DeleteMisses                    uint64
	IncrHits, IncrMisses, DecrHits, DecrMisses  uint64
	CasHits, CasMisses, CasBadval               uint64
	TouchHits, TouchMisses                      uint64
	StoreTooLarge, StoreNoMemory                uint64
	BytesRead, BytesWritten                     uint64
	ConnYields                                  uint64 // a connection with much to answer let the others go first
	IdleKicks                                   uint64
	SlowPauses                                  uint64 // a connection did not take its output and was not read from until it did
	SlowDrops                                   uint64 // one did not take it for Options.SlowTimeout and was closed
	ReplyDrops                                  uint64 // one was closed because too much output waited, and it had taken nothing for longest
	RoomWaits                                   uint64 // a write was put off until there was room
	InputPauses                                 uint64 // a connection was not read from because the memory for input was used up
	InputDrops                                  uint64 // one that held such memory was closed because its client was slow while others waited
	AuthCmds, AuthErrors                        uint64
	AuthDrops                                   uint64 // errors because too many other passwords waited to be checked
	TLSHandshakeErrors, TLSProtoErrors          uint64 // connections that did not become encrypted, and encrypted ones that broke
	TLSNewSessions, TLSResumed                  uint64 // handshakes that resumed no session, and those that did
	UDPReceived                                 uint64 // datagrams that came
	UDPIgnored                                  uint64 // of those without a frame that can be read, or from another service's port
	UDPUnsent                                   uint64 // answers that were not sent whole
}

// pairs calls f with every counter of c and the same one of o.
func (c *Counters) pairs(o *Counters, f func(mine *uint64, other uint64)) {
	f(&c.CmdGet, o.CmdGet)
	f(&c.CmdSet, o.CmdSet)
	f(&c.CmdFlush, o.CmdFlush)
	f(&c.CmdTouch, o.CmdTouch)
	f(&c.CmdMeta, o.CmdMeta)
	f(&c.GetHits, o.GetHits)
	f(&c.GetMisses, o.GetMisses)
	f(&c.GetExpired, o.GetExpired)
	f(&c.GetFlushed, o.GetFlushed)
	f(&c.DeleteHits, o.DeleteHits)
	f(&c.DeleteMisses, o.DeleteMisses)
	f(&c.IncrHits, o.IncrHits)
	f(&c.IncrMisses, o.IncrMisses)
	f(&c.DecrHits, o.DecrHits)
	f(&c.DecrMisses, o.DecrMisses)
	f(&c.CasHits, o.CasHits)
	f(&c.CasMisses, o.CasMisses)
	f(&c.CasBadval, o.CasBadval)
	f(&c.TouchHits, o.TouchHits)
	f(&c.TouchMisses, o.TouchMisses)
	f(&c.StoreTooLarge, o.StoreTooLarge)
	f(&c.StoreNoMemory, o.StoreNoMemory)
	f(&c.BytesRead, o.BytesRead)
	f(&c.BytesWritten, o.BytesWritten)
	f(&c.ConnYields, o.ConnYields)
	f(&c.IdleKicks, o.IdleKicks)
	f(&c.SlowPauses, o.SlowPauses)
	f(&c.SlowDrops, o.SlowDrops)
	f(&c.ReplyDrops, o.ReplyDrops)
	f(&c.RoomWaits, o.RoomWaits)
	f(&c.InputPauses, o.InputPauses)
	f(&c.InputDrops, o.InputDrops)
	f(&c.AuthCmds, o.AuthCmds)
	f(&c.AuthErrors, o.AuthErrors)
	f(&c.AuthDrops, o.AuthDrops)
	f(&c.TLSHandshakeErrors, o.TLSHandshakeErrors)
	f(&c.TLSProtoErrors, o.TLSProtoErrors)
	f(&c.TLSNewSessions, o.TLSNewSessions)
	f(&c.TLSResumed, o.TLSResumed)
	f(&c.UDPReceived, o.UDPReceived)
	f(&c.UDPIgnored, o.UDPIgnored)
	f(&c.UDPUnsent, o.UDPUnsent)
}

func (c *Counters) add(o *Counters) { c.pairs(o, func(mine *uint64, other uint64) { *mine += other }) }
func (c *Counters) sub(o *Counters) { c.pairs(o, func(mine *uint64, other uint64) { *mine -= other }) }

// RouteCounters count what clients met under one route.
type RouteCounters struct {
	Hits, Stale, Misses, Negative uint64 // Stale are hits past their freshness; Negative are misses known to the source
	Leased, Coalesced             uint64 // fills handed to the filler; gets that found a fill under way
	RingDrops, NoRoom             uint64 // fills given up because the ring was full, or the lease table
	Ignored                       uint64 // clients' writes, where the route ignores them

	Latency RouteLatency
}

// Stats is a snapshot. Its parts are not of one instant.
type Stats struct {
	Uptime                                time.Duration
	Workers, MaxConnections, Connections  int64
	TotalConnections, RejectedConnections uint64
	Accepting                             bool   // new connections are accepted
	ListenDisabled                        uint64 // times when they were not for a while
	ListenDisabledTime                    time.Duration
	Counters                              Counters
	Latency                               Latency
	InputBytes, InputSpare, ReplyBytes    int64     // held: of commands that have not arrived whole, in buffers that wait for some, of replies not taken
	CertificateEnd                        time.Time // of the certificate that clients are shown; zero without TLS
	Watch                                 WatchStats
	Inherited, LeftBehind                 int64 // connections that the process before an upgrade has handed over, and those that it could not
	Store                                 store.Stats
}

// Stats sums the workers. Counters of a worker are as of the end of its last wake-up.
func (s *Server) Stats() Stats {
	st := Stats{
		Uptime:              time.Since(s.birth),
		Workers:             int64(s.o.Workers),
		MaxConnections:      int64(s.o.MaxConns),
		Connections:         s.conns.open.Load() + s.conns.udp.Load(),
		TotalConnections:    uint64(s.conns.total.Load() + s.conns.udp.Load()),
		RejectedConnections: uint64(s.conns.rejected.Load()),
		Store:               s.o.Store.Stats(),
	}
	n := &st.Counters
	n.AuthCmds, n.AuthErrors, n.AuthDrops = s.gate.cmds.Load(), s.gate.errors.Load(), s.gate.dropped.Load()
	s.doors.addTo(&st)
	st.Watch = s.watch.stats()
	st.Inherited, st.LeftBehind = s.inheritedConns, int64(s.o.ConnsLeft)
	if s.o.TLS != nil {
		st.CertificateEnd = s.o.TLS.Leaf().NotAfter
	}
	for _, w := range s.workers {
		w.mu.Lock()
		n := w.published
		w.mu.Unlock()
		st.Counters.add(&n)
		w.latency.addTo(&st.Latency)
		used, kept := w.buffers.bytes()
		st.InputBytes += used
		st.InputSpare += kept
		st.ReplyBytes += w.replies.waiting.Load()
	}
	return st
}

// RouteCounters sums what the workers counted for a route.
func (s *Server) RouteCounters(id uint16) (sum RouteCounters) {
	if int(id) > store.MaxRoutes {
		return sum
	}
	for _, w := range s.workers {
		c := &w.routeCounts[id]
		sum.Hits += c.hits.Load()
		sum.Stale += c.stale.Load()
		sum.Misses += c.misses.Load()
		sum.Negative += c.negative.Load()
		sum.Leased += c.leased.Load()
		sum.Coalesced += c.coalesced.Load()
		sum.RingDrops += c.ringDrops.Load()
		sum.NoRoom += c.noRoom.Load()
		sum.Ignored += c.ignored.Load()
		c.latency.addTo(&sum.Latency)
	}
	return sum
}

// baseline is what `stats reset` subtracts from then on. Stats itself never goes back.
type baseline struct {
	mu sync.Mutex
	st Stats
}

// Latency counts how long answers took: from the return of the worker's wait, with all that it woke up for, to the return
// of the write that carried the answer of at least one get. Bucket i holds answers shorter than LatencyBound(i) and not
// shorter than the bound before it.
type Latency [latencyBuckets]uint64

// Buckets divide each doubling in four, from 1 microsecond up to 17 seconds.
const (
	latencyBuckets = 24 * 4
	latencyUnit    = time.Microsecond
)

type latency [latencyBuckets]atomic.Uint64

func (l *latency) addTo(sum *Latency) {
	for i := range l {
		sum[i] += l[i].Load()
	}
}

func latencyBucket(d time.Duration) int {
	v := uint64(max(d, 0)/latencyUnit) + 4 // the first four are one unit apart
	top := bits.Len64(v) - 3
	return min(top*4+int(v>>top)-4, latencyBuckets-1)
}

// LatencyBound is the upper bound of bucket i.
func LatencyBound(i int) time.Duration {
	top, rest := uint(i/4), uint64(i%4)
	return time.Duration((rest+5)<<top-4) * latencyUnit
}

// Count is the number of answers.
func (l *Latency) Count() (n uint64) {
	for _, c := range l {
		n += c
	}
	return n
}

// Quantile returns a bound that a share q of all answers stayed below; 0 without answers.
func (l *Latency) Quantile(q float64) time.Duration {
	total := l.Count()
	if total == 0 {
		return 0
	}
	rank := uint64(q * float64(total))
	for i, c := range l {
		if rank < c {
			return LatencyBound(i)
		}
		rank -= c
	}
	return LatencyBound(latencyBuckets - 1)
}

// registry knows the open connections, for `stats conns` and the limit on them.
type registry struct {
	open, total, rejected atomic.Int64
	udp                   atomic.Int64 // readers of datagrams, which memcached counts as connections, too

	mu   sync.Mutex // guards the next two
	next uint64
	m    map[uint64]*connInfo
}

// connInfo is what is told about a connection. The atomics are written by the worker it belongs to.
type connInfo struct {
	id            uint64
	remote, local string
	last          atomic.Uint32 // second of the item clock with the last input
	waiting       atomic.Bool   // for the client to take its output
	rests         atomic.Uint32 // a connState
}

// connState is what a connection that is not at work waits for.
type connState uint32

const (
	fresh    connState = iota // its first command
	reading                   // another command
	inValue                   // the rest of a value
	watching                  // something to show
)

// rest notes what the connection waits for.
func (c *connInfo) rest(st connState) {
	if c.rests.Load() != uint32(st) {
		c.rests.Store(uint32(st))
	}
}

// state is how stats conns names what the connection does.
func (c *connInfo) state() string {
	if c.waiting.Load() {
		return "conn_mwrite"
	}
	return [...]string{fresh: "conn_new_cmd", reading: "conn_read", inValue: "conn_nread", watching: "conn_watch"}[c.rests.Load()]
}

// peer is what watch tells of the client.
func (c *connInfo) peer() (host, port, transport string) {
	kind, addr, _ := strings.Cut(c.remote, ":")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "unix", "0", "local"
	}
	return host, port, strings.TrimSuffix(kind, "6")
}

func (r *registry) add(remote, local string) *connInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[uint64]*connInfo)
	}
	r.next++
	c := &connInfo{id: r.next, remote: remote, local: local}
	r.m[c.id] = c
	return c
}

// find returns an open connection, or nil.
func (r *registry) find(id uint64) *connInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m[id]
}

// isLocal tells whether the client is on this machine, as far as its address tells: what a proxy here passes on is taken for local.
func (c *connInfo) isLocal(l *Listener) bool {
	if l.Network == "unix" {
		return true
	}
	_, addr, _ := strings.Cut(c.remote, ":")
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

func (r *registry) remove(c *connInfo) {
	r.mu.Lock()
	delete(r.m, c.id)
	r.mu.Unlock()
	r.open.Add(-1)
}

// all returns the open connections in no order.
func (r *registry) all() []*connInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*connInfo, 0, len(r.m))
	for _, c := range r.m {
		all = append(all, c)
	}
	return all
}
