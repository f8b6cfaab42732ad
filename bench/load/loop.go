package load

import (
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxBehind bounds the requests without an answer of one loop with a rate: past it the server cannot keep up, and the
// figures would say nothing.
const maxBehind = 100_000

// loop drives some connections from one thread.
type loop struct {
	load   *Load
	epoll  int
	conns  []*conn
	next   Sequence
	rng    *rand.Rand
	rate   float64 // requests a second; 0: closed loop
	result Result

	behind   int  // requests without an answer
	counting bool // inside the window
	values   uint // seen so far; one in 64 is compared
	key      []byte
	value    []byte
}

func newLoop(l *Load, addr string, conns int, rate float64, seed uint64) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	lp := &loop{load: l, epoll: epoll, next: l.Sequence(seed), rng: rand.New(rand.NewPCG(seed, 2)), rate: rate}
	lp.result.Latency = newHistogram()
	for i := range conns {
		fd, err := dial(addr)
		if err != nil {
			lp.close()
			return nil, err
		}
		lp.conns = append(lp.conns, &conn{fd: fd, loop: lp, in: make([]byte, 0, 4096)})
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)} // an index, not a descriptor
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			lp.close()
			return nil, err
		}
	}
	return lp, nil
}

func (lp *loop) close() {
	for _, c := range lp.conns {
		unix.Close(c.fd)
	}
	unix.Close(lp.epoll)
}

// run asks until to, counting what is answered from from on.
func (lp *loop) run(from, to time.Time) error {
	var ran, waited time.Duration
	events := make([]unix.EpollEvent, 256)
	now := time.Now()
	heard := now
	due := now
	turn := 0
	if lp.rate == 0 {
		for i := range lp.conns {
			if err := lp.ask(i, now); err != nil {
				return err
			}
		}
	}
	for now.Before(to) {
		if !lp.counting && !now.Before(from) {
			lp.counting = true
			ran, waited = threadUsage()
		}
		wait := 100 // milliseconds
		if lp.rate > 0 {
			for ; !due.After(now); due = due.Add(lp.gap()) {
				lp.conns[turn].request(due)
				turn = (turn + 1) % len(lp.conns)
			}
			if lp.behind > maxBehind {
				return fmt.Errorf("load: the server is %d requests behind: it cannot keep %.0f a second", lp.behind, lp.rate)
			}
			for i, c := range lp.conns {
				if len(c.out) > 0 && !c.blocked {
					if err := lp.flush(i); err != nil {
						return err
					}
				}
			}
			// epoll counts in milliseconds: below one the loop spins, on a CPU that it has for itself.
			wait = min(wait, int(due.Sub(now)/time.Millisecond))
		}
		n, err := unix.EpollWait(lp.epoll, events, wait)
		if err != nil && err != unix.EINTR {
			return err
		}
		now = time.Now()
		if n > 0 {
			heard = now
		} else if lp.behind > 0 && now.Sub(heard) > stallAfter {
			return fmt.Errorf("load: no answer for %v", stallAfter)
		}
		for _, e := range events[:max(n, 0)] {
			if err := lp.ready(int(e.Fd), e.Events, now); err != nil {
				return err
			}
		}
	}
	ranAfter, waitedAfter := threadUsage()
	lp.result.ClientCPU, lp.result.ClientWaited = ranAfter-ran, waitedAfter-waited
	return nil
}

// gap is the time to the next request: exponential, as independent clients make it.
func (lp *loop) gap() time.Duration {
	return time.Duration(lp.rng.ExpFloat64() / lp.rate * float64(time.Second))
}

// ready handles one connection's events.
func (lp *loop) ready(i int, events uint32, now time.Time) error {
	c := lp.conns[i]
	if events&unix.EPOLLOUT != 0 {
		if err := lp.flush(i); err != nil {
			return err
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		if err := c.read(now); err != nil {
			return err
		}
		if lp.rate == 0 && c.idle() {
			return lp.ask(i, now)
		}
	}
	return nil
}

// ask sends the next batch of a closed loop.
func (lp *loop) ask(i int, now time.Time) error {
	for range lp.load.Pipeline {
		lp.conns[i].request(now)
	}
	return lp.flush(i)
}

// flush writes what connection i has to send, and asks to be told when the socket takes the rest.
func (lp *loop) flush(i int) error {
	c := lp.conns[i]
	n, err := unix.Write(c.fd, c.out)
	if err != nil && err != unix.EAGAIN {
		return fmt.Errorf("load: write: %w", err)
	}
	c.out = c.out[:copy(c.out, c.out[max(n, 0):])]
	if blocked := len(c.out) > 0; blocked != c.blocked {
		c.blocked = blocked
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if blocked {
			event.Events |= unix.EPOLLOUT
		}
		return unix.EpollCtl(lp.epoll, unix.EPOLL_CTL_MOD, c.fd, &event)
	}
	return nil
}

// threadUsage is how long the calling thread has run so far, and how long it was ready but had to wait. Zero where the
// kernel has no schedstat.
func threadUsage() (ran, waited time.Duration) {
	b, err := os.ReadFile("/proc/thread-self/schedstat")
	if err != nil {
		return 0, 0
	}
	var r, w int64
	if _, err := fmt.Sscan(string(b), &r, &w); err != nil {
		return 0, 0
	}
	return time.Duration(r), time.Duration(w)
}
