package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// runTLS is Run over TLS: a goroutine for each connection, which writes a batch and waits for its answers. The client's usage
// is the process's, without how long it waited.
func runTLS(l *Load, addr string, warm, window time.Duration, begin, end func()) (*Result, error) {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	var counting atomic.Bool
	var wg, ready sync.WaitGroup
	users := make([]*user, l.Conns)
	for i := range users {
		u := newUser(l, addr, uint64(i+1), &counting)
		users[i] = u
		ready.Add(1)
		wg.Go(func() {
			if err := u.connect(ctx); err != nil {
				stop(err)
			}
			ready.Done()
			if err := u.run(ctx); err != nil && ctx.Err() == nil {
				stop(err) // the first one is what went wrong
			}
			u.close()
		})
	}
	ready.Wait()
	pause := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	pause(warm)
	began := time.Now()
	ran := processRan()
	begin()
	counting.Store(true)
	pause(window)
	counting.Store(false)
	end()
	r := &Result{Elapsed: time.Since(began), ClientCPU: processRan() - ran, Latency: newHistogram()}
	failed := context.Cause(ctx)
	stop(nil)
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	for _, u := range users {
		r.add(&u.loop.result)
	}
	return r, nil
}

// user is one connection over TLS, or one after the other.
type user struct {
	loop     loop // of this connection alone
	conn     conn
	addr     string
	conf     *tls.Config
	tls      *tls.Conn
	before   bool         // there was an answer, and with it what it takes to resume the session
	counting *atomic.Bool // whether the window is open
}

func newUser(l *Load, addr string, seed uint64, counting *atomic.Bool) *user {
	u := &user{addr: addr, conf: l.TLS, counting: counting}
	u.loop = loop{load: l, next: l.Sequence(seed), rng: rand.New(rand.NewPCG(seed, 2))}
	u.loop.result.Latency = newHistogram()
	u.conn = conn{loop: &u.loop, in: make([]byte, 0, 4096)}
	if l.TLS.ClientSessionCache != nil {
		u.conf = l.TLS.Clone()
		u.conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return u
}

func (u *user) close() {
	if u.tls != nil {
		u.tls.Close()
	}
}

// connect makes a connection and its handshake.
func (u *user) connect(ctx context.Context) error {
	dialer := net.Dialer{Timeout: stallAfter}
	c, err := dialer.DialContext(ctx, "tcp", u.addr)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	u.tls = tls.Client(c, u.conf)
	if err := u.tls.SetDeadline(time.Now().Add(stallAfter)); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := u.tls.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("load: handshake: %w", err)
	}
	if u.before && u.conf.ClientSessionCache != nil && !u.tls.ConnectionState().DidResume {
		return errors.New("load: the server resumed no session")
	}
	return nil
}

// run asks until ctx ends. What begins in the window is counted, with Reconnect from the dialling on. The connection that is there
// at first has its round, too: a session's ticket comes with the answer.
func (u *user) run(ctx context.Context) error {
	for ctx.Err() == nil {
		began := time.Now()
		u.loop.counting = u.counting.Load()
		if u.loop.load.Reconnect && u.before {
			u.close()
			if err := u.connect(ctx); err != nil {
				return err
			}
		}
		if err := u.tls.SetDeadline(began.Add(stallAfter)); err != nil {
			return fmt.Errorf("load: %w", err)
		}
		if err := u.round(began); err != nil {
			return err
		}
		u.before = true
	}
	return nil
}

// round sends one batch and reads its answers.
func (u *user) round(began time.Time) error {
	c := &u.conn
	for range u.loop.load.Pipeline {
		c.request(began)
	}
	if _, err := u.tls.Write(c.out); err != nil {
		return fmt.Errorf("load: write: %w", err)
	}
	c.out = c.out[:0]
	for !c.idle() {
		n, err := u.tls.Read(c.room())
		if err != nil {
			return fmt.Errorf("load: read: %w", err)
		}
		if err := c.took(n, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// processRan is the CPU time that this process has used.
func processRan() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}
