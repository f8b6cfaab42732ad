// Package load is a memcached client that does nothing but ask: it keeps many connections busy from one thread, so that the
// server is what a benchmark measures. It builds requests from ids and knows from the id what every answer must be; it
// counts answers, checks the key and length of each and the bytes of one in 64, so that a wrong server cannot look fast.
//
// It speaks the text, meta and binary protocols and knows nothing of the servers. Over TLS each connection has a goroutine, for
// which crypto/tls is made; that client costs more, so there only the server's own CPU time says something.
package load

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Load describes what clients ask. Counts are per connection, unless they say otherwise.
type Load struct {
	Protocol Protocol
	Keys     Keys
	Values   Values
	Objects  int     // ids 0 to Objects-1 are asked for
	Offset   uint32  // added to every id: with Offset at least the number of loaded keys, every get misses
	Conns    int     // in all, divided over the threads
	Pipeline int     // requests sent together in a closed loop; 1 is plain request and answer
	Multiget int     // keys a get names
	Sets     float64 // share of requests that are sets, 0 to 1
	Fill     bool    // set what a get did not find, as an application would
	Rate     float64 // requests a second of all connections, sent at random moments whatever the answers do; 0: closed loop

	// TLS encrypts all connections; it names who is asked, or that nobody's name matters. In the clear: nil.
	TLS *tls.Config
	// Reconnect makes a connection for each request and closes it after the answer, so that an operation is a connection. With
	// TLS.ClientSessionCache set each resumes the session of the one that it follows (in a cache of their own), and a run in which
	// the server does not is an error.
	Reconnect bool

	// Sequence makes the ids for one thread; different seeds make different ones.
	Sequence func(seed uint64) Sequence
}

// Check says what is wrong with the load.
func (l *Load) Check() error {
	if err := l.Keys.Check(); err != nil {
		return err
	}
	switch {
	case l.Objects < 1 || l.Conns < 1 || l.Pipeline < 1 || l.Multiget < 1:
		return fmt.Errorf("load: objects, connections, pipeline and multiget must be at least 1")
	case l.Protocol == Binary && (l.Sets > 0 || l.Fill):
		return fmt.Errorf("load: a binary load has no sets")
	case l.Protocol == Meta && l.Multiget > 1:
		return fmt.Errorf("load: a meta get names one key")
	case l.Sets < 0 || l.Sets > 1:
		return fmt.Errorf("load: set share %v: want 0 to 1", l.Sets)
	case l.Rate < 0 || l.Rate > 0 && l.Pipeline > 1:
		return fmt.Errorf("load: a rate must be positive and goes with pipeline 1: requests are sent when they are due")
	case l.TLS != nil && l.Rate > 0:
		return fmt.Errorf("load: a load over TLS has no rate")
	case l.Reconnect && (l.TLS == nil || l.Pipeline > 1 || l.Multiget > 1):
		return fmt.Errorf("load: a connection for each request goes with TLS, pipeline 1 and multiget 1")
	case l.Values.Distinct < 0:
		return fmt.Errorf("load: distinct values must not be negative")
	}
	return nil
}

// Result counts the answers that arrived in the measured part of a run.
type Result struct {
	Operations uint64 // keys asked for and sets
	Hits       uint64
	Misses     uint64
	Sets       uint64
	Checked    uint64 // values compared byte by byte
	Elapsed    time.Duration
	ClientCPU  time.Duration
	// ClientWaited is how long client threads were ready to run while others had their CPU.
	ClientWaited time.Duration
	// Latency in nanoseconds of each request: from its sending in a closed loop, from the moment it was due with a rate.
	Latency *hdrhistogram.Histogram
}

// stallAfter is how long no answer may come before a run gives up.
const stallAfter = 10 * time.Second

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1000, int64(time.Minute), 2) }

// Run asks the server at addr: for warm without counting, then for window. begin and end are called at the window's edges.
// cpus are where the client's threads run, one on each, -1 is anywhere; none: one thread anywhere. Over TLS they run where this
// process may. It fails on the first wrong answer.
func Run(l *Load, addr string, cpus []int, warm, window time.Duration, begin, end func()) (*Result, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	if l.TLS != nil {
		return runTLS(l, addr, warm, window, begin, end)
	}
	if len(cpus) == 0 {
		cpus = []int{-1}
	}
	if len(cpus) > l.Conns {
		cpus = cpus[:l.Conns]
	}
	loops := make([]*loop, len(cpus))
	defer func() {
		for _, lp := range loops {
			if lp != nil {
				lp.close()
			}
		}
	}()
	for i := range loops {
		conns := l.Conns / len(cpus)
		if i < l.Conns%len(cpus) {
			conns++
		}
		lp, err := newLoop(l, addr, conns, l.Rate/float64(len(cpus)), uint64(i+1))
		if err != nil {
			return nil, err
		}
		loops[i] = lp
	}

	// Every loop looks at the clock itself; the edges of the window are theirs to within one wake-up.
	start := time.Now()
	from, to := start.Add(warm), start.Add(warm+window)
	var wg sync.WaitGroup
	errs := make([]error, len(loops))
	for i, lp := range loops {
		wg.Go(func() {
			runtime.LockOSThread() // not unlocked: the thread's affinity must not serve others
			if cpus[i] >= 0 {
				var set unix.CPUSet
				set.Set(cpus[i])
				if errs[i] = unix.SchedSetaffinity(0, &set); errs[i] != nil {
					return
				}
			}
			errs[i] = lp.run(from, to)
		})
	}
	sleepUntil(from)
	began := time.Now()
	begin()
	sleepUntil(to)
	end()
	elapsed := time.Since(began)
	wg.Wait()
	r := &Result{Elapsed: elapsed, Latency: newHistogram()}
	for i, lp := range loops {
		if errs[i] != nil {
			return nil, errs[i]
		}
		r.add(&lp.result)
	}
	return r, nil
}

func (r *Result) add(o *Result) {
	r.Operations += o.Operations
	r.Hits += o.Hits
	r.Misses += o.Misses
	r.Sets += o.Sets
	r.Checked += o.Checked
	r.ClientCPU += o.ClientCPU
	r.ClientWaited += o.ClientWaited
	r.Latency.Merge(o.Latency)
}

func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

// dial opens a connected, non-blocking socket without Nagle's delay.
func dial(addr string) (int, error) {
	tcp, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	to := &unix.SockaddrInet4{Port: tcp.Port}
	copy(to.Addr[:], tcp.IP.To4())
	if err = unix.Connect(fd, to); err == nil {
		if err = unix.SetNonblock(fd, true); err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("load: connect to %s: %w", addr, err)
	}
	return fd, nil
}
