package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"swordfish/filler"
	"swordfish/server"
	"swordfish/store"
	"swordfish/upgrade"
	"swordfish/warm"
)

// An upgrade, which SIGUSR2 asks for, goes like this. The server starts its binary once more, from the path that it was started
// from, and serves on while the new process reads the configuration and says that it can take over (answer to offer). Then it
// stands still, and sends what it has: descriptors of the listening sockets, of the memory and of the connections, with
// what belongs to them (estate, clients). The new process builds everything on that without changing any of it, and says that it is
// ready. With the word to go, the memory is the new one's. Until then the old one takes all back and serves on, whatever happens.

// The messages, in order.
type (
	offer struct {
		Form       int    // upgradeForm
		Memory     int64  // -m
		MemoryFile string // -e
	} // with the memory's descriptor

	answer struct{ Refusal string } // empty: yes

	estate struct {
		State   store.Handed
		Sockets []socket
		Admin   string // where HTTP listens; empty: nowhere
		Clients int    // how many come
		Left    int    // connections that cannot come
	} // with descriptors of the sockets, and that of HTTP's

	socket struct { // as in server.Socket
		Network, Address string
		Of               int
	}

	clients struct{ States []server.ConnState } // with a descriptor each

	goAhead struct{}
)

// upgradeForm is the form of the messages, and of what they mean.
const upgradeForm = 1

const (
	prepareTime = 30 * time.Second // for the new process to start and to read its configuration
	readyTime   = 5 * time.Second  // to take over, while everybody waits
	partTime    = 5 * time.Second  // for what stays behind to end in order
	httpTime    = 200 * time.Millisecond
)

// errNoUpgrade are the reasons that lie with this process.
var (
	errFirstProcess = errors.New("this is the first process of its container, which would end with it: start a new container with the new image instead")
	errNotShared    = errors.New("this system keeps the memory from being handed over, which needs Linux 6.1 or later or a memory file: stop with SIGUSR1 and start again with -e FILE")
	errWarming      = errors.New("a warm-up is under way, which would be lost: wait until it has ended, or stop it")
	errSnapshot     = errors.New("a snapshot is being written or loaded: wait until it has ended, as /api/snapshot tells")
	errNotHere      = errors.New("the demo's database would not go over: stop it and start it again")
)

// upgrade hands over to the binary at path, started with arguments args. After an error everything is as it was; without one, this process serves
// nobody any more and has to end. ctx ends the time in which the new process prepares.
func (a *app) upgrade(ctx context.Context, path string, args []string) error {
	switch {
	case os.Getpid() == 1:
		return errFirstProcess
	case a.demo:
		return errNotHere
	case a.store.File() == nil:
		return errNotShared
	}
	a.mu.Lock() // a reload under way ends first, and no other begins
	defer a.mu.Unlock()
	if a.closed {
		return errStopping
	}
	if err := a.busy(); err != nil {
		return err
	}
	next, err := upgrade.Start(path, args)
	if err != nil {
		return fmt.Errorf("%s cannot be started: %w", path, err)
	}
	stop := context.AfterFunc(ctx, func() { next.Within(0) })
	err = a.prepareHeir(next)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = a.busy() // by now
	}
	if err == nil && !a.snapshots.Hold() {
		err = errSnapshot
	}
	if err == nil && a.requests != nil {
		a.requests.flush() // most of it, while clients are served
	}
	if err == nil {
		err = a.handOver(next)
	}
	if err != nil {
		a.snapshots.Resume()
		if how := ""; next.Ended(100 * time.Millisecond) { // it has said why
			how = next.Kill()
			return fmt.Errorf("the new process did not take over (%s): %w", how, err)
		}
		next.Kill()
		return fmt.Errorf("the new process did not take over and was ended: %w", err)
	}
	a.closed, a.next = true, next.PID()
	if a.requests != nil {
		close(a.requests.stop) // the file is the other process's
	}
	a.notifyManager(fmt.Sprintf("MAINPID=%d", next.PID()))
	a.log.Info().Int("pid", next.PID()).Msg("another process goes on from here")
	return nil
}

// busy tells what goes on in the store that would be lost.
func (a *app) busy() error {
	st := a.snapshots.Status()
	switch {
	case slices.ContainsFunc(a.warmer.Jobs(), func(p warm.Progress) bool { return p.State == warm.Running }):
		return errWarming
	case len(a.startup.waiting()) > 0: // one of those that begin with the server is still to come
		return errWarming
	case st.Saving, st.Loading:
		return errSnapshot
	}
	return nil
}

// prepareHeir has the new process say that it can take over.
func (a *app) prepareHeir(next *upgrade.Successor) error {
	c := a.config.Load()
	next.Within(prepareTime)
	memory, err := descriptor(a.store.File())
	if err != nil {
		return err
	}
	if err := next.Send(offer{upgradeForm, c.Memory, c.MemoryFile}, memory); err != nil {
		return err
	}
	return awaitYes(next)
}

func awaitYes(next *upgrade.Successor) error {
	var said answer
	_, err := next.Receive(&said)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("it did not answer in time")
	case err != nil:
		return err
	case said.Refusal != "":
		return errors.New(said.Refusal)
	}
	return nil
}

// handOver stands still, hands everything over and lets go of it. After an error everything goes on here; the new process is
// ended before it does.
func (a *app) handOver(next *upgrade.Successor) (err error) {
	began := time.Now()
	var e estate
	var http *os.File
	if a.admin != nil {
		if http, err = a.admin.Hold(); err != nil {
			return err
		}
		defer http.Close()
		e.Admin = a.adminAt
	}
	held, err := a.server.Hold()
	if err != nil {
		if a.admin != nil {
			a.admin.Resume()
		}
		return err
	}
	stood := time.Now()
	if a.requests != nil {
		a.requests.flush() // what came since: nothing more will
	}
	a.fills.mu.Lock()
	e.State = a.store.HandOver()
	defer func() {
		if err == nil {
			return
		}
		next.Kill()
		a.store.TakeBack()
		a.fills.mu.Unlock()
		held.Resume()
		if a.admin != nil {
			a.admin.Resume()
		}
	}()
	next.Within(readyTime)
	var fds []int
	for _, s := range held.Sockets {
		defer s.File.Close()
		fd, err := descriptor(s.File)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
		e.Sockets = append(e.Sockets, socket{s.Network, s.Address, s.Of})
	}
	if http != nil {
		fd, err := descriptor(http)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	e.Clients, e.Left = len(held.Conns), held.Closing
	if err := next.Send(e, fds...); err != nil {
		return err
	}
	for conns := held.Conns; len(conns) > 0; {
		n := min(len(conns), upgrade.MaxFiles)
		var batch clients
		fds = fds[:0]
		for _, c := range conns[:n] {
			batch.States = append(batch.States, c.State)
			fds = append(fds, c.FD)
		}
		if err := next.Send(batch, fds...); err != nil {
			return err
		}
		conns = conns[n:]
	}
	if err := awaitYes(next); err != nil {
		return err
	}
	if err := next.Send(goAhead{}); err != nil {
		return err
	}
	// The memory is not ours any more. Whoever has not heard of it waits for a lock until this process ends.
	a.fills.gone = true
	a.fills.mu.Unlock()
	a.left = held
	a.log.Info().Dur("stood_still", time.Since(stood)).Dur("took", time.Since(began)).Int("connections", e.Clients).Int("closed", e.Left).
		Msg("handed over")
	return nil
}

// depart ends what is left of this process after an upgrade. Whoever still asks the store for something waits for ever, so nobody
// is waited for longer than that.
func (a *app) depart() {
	ctx, cancel := context.WithTimeout(context.Background(), partTime)
	defer cancel()
	var clients, http, loads sync.WaitGroup
	clients.Go(func() { a.left.Leave(ctx) })
	if a.admin != nil {
		http.Go(func() { _ = a.admin.Shutdown(ctx) }) // whoever waits for an answer asks about what is the other process's now
	}
	loads.Go(func() {
		if err := errors.Join(a.filler.Shutdown(ctx), a.sources.close()); err != nil {
			a.log.Warn().Err(err).Msg("loads or sources that were left behind")
		}
	})
	waitFor(ctx, &clients)
	waitFor(ctx, &loads)
	part, cancelPart := context.WithTimeout(ctx, httpTime)
	defer cancelPart()
	waitFor(part, &http)
}

// passOn gives what asked this process to read its configuration again, since the other one has, to that one. hangUps are those that
// are on their way.
func (a *app) passOn(signals chan os.Signal, hangUps *sync.WaitGroup) {
	signal.Stop(signals)
	for len(signals) > 0 {
		if <-signals == syscall.SIGHUP {
			hangUps.Go(a.hangUp)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), partTime)
	defer cancel()
	waitFor(ctx, hangUps)
}

// waitFor waits for wg until ctx ends.
func waitFor(ctx context.Context, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// fillGate is between the filler and the store. Whoever holds mu keeps fills from the store.
type fillGate struct {
	mu   sync.RWMutex
	gone bool // the store is another process's; guarded by mu
}

// do runs f unless the store is gone.
func (g *fillGate) do(f func()) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.gone {
		return false
	}
	f()
	return true
}

// hooks keeps h from a store that is another process's: there every lease has ended.
func (g *fillGate) hooks(h filler.Hooks) filler.Hooks {
	put := func(f func() filler.PutStatus) filler.PutStatus {
		st := filler.Killed
		g.do(func() { st = f() })
		return st
	}
	return filler.Hooks{
		Put: func(l filler.Lease, route uint16, key, value []byte, flags uint32) filler.PutStatus {
			return put(func() filler.PutStatus { return h.Put(l, route, key, value, flags) })
		},
		PutTTL: func(l filler.Lease, route uint16, key, value []byte, flags uint32, ttl time.Duration) filler.PutStatus {
			return put(func() filler.PutStatus { return h.PutTTL(l, route, key, value, flags, ttl) })
		},
		PutMany: func(route uint16, puts []filler.BulkPut) {
			if !g.do(func() { h.PutMany(route, puts) }) {
				for i := range puts {
					puts[i].Status = filler.Killed
				}
			}
		},
		Absent: func(l filler.Lease, route uint16, key []byte) filler.PutStatus {
			return put(func() filler.PutStatus { return h.Absent(l, route, key) })
		},
		Failed: func(l filler.Lease, route uint16, key []byte) filler.PutStatus {
			return put(func() filler.PutStatus { return h.Failed(l, route, key) })
		},
		End:        func(l filler.Lease) (ok bool) { g.do(func() { ok = h.End(l) }); return ok },
		Alive:      func(l filler.Lease) (ok bool) { g.do(func() { ok = h.Alive(l) }); return ok },
		Sent:       func(l filler.Lease, within time.Duration) { g.do(func() { h.Sent(l, within) }) },
		SourceDown: func(route uint16, down bool) { g.do(func() { h.SourceDown(route, down) }) },
	}
}

// descriptor is the number of an open file's descriptor, which stays as it is and the file's.
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlErr := raw.Control(func(n uintptr) { fd = int(n) })
	return fd, errors.Join(controlErr, err)
}
