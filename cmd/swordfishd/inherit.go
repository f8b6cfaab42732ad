package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"swordfish/config"
	"swordfish/server"
	"swordfish/store"
	"swordfish/upgrade"
)

// heir is a process that an upgrade has started: see upgrade.go.
type heir struct {
	link   *upgrade.Link
	offer  offer
	estate estate

	memory  *os.File
	users   *server.Users // read ahead
	sockets []server.Socket
	admin   *os.File // nil: HTTP listened nowhere
	conns   []server.Conn
}

// newHeir returns nil where no upgrade has started this process.
func newHeir() (*heir, error) {
	link, err := upgrade.Inherited()
	if link == nil || err != nil {
		return nil, err
	}
	return &heir{link: link}, nil
}

// refuse tells the old process why this one ends.
func (h *heir) refuse(err error) {
	if h != nil && err != nil {
		h.link.Within(time.Second)
		_ = h.link.Send(answer{Refusal: err.Error()}) // it has gone, or sees our end
	}
}

// prepare does what takes time and may fail while the old process serves on, returns the open sources, and takes the estate when that process
// stands still.
func (h *heir) prepare(c *config.Config) (sources, error) {
	h.link.Within(prepareTime)
	fds, err := h.link.Receive(&h.offer)
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 || h.offer.Form != upgradeForm {
		return nil, systemError{fmt.Errorf("the running server hands over in another way than this version takes over: stop it (with SIGUSR1 where -e names a file) and start this one")}
	}
	h.memory = os.NewFile(uintptr(fds[0]), "inherited memory")
	if c.MemoryFile != h.offer.MemoryFile {
		return nil, usageError{fmt.Errorf("-e was %q and is %q: it can only change with a stop and a start", h.offer.MemoryFile, c.MemoryFile)}
	}
	if err := store.CheckInherit(h.memory); err != nil {
		return nil, systemError{fmt.Errorf("%w; stop the running server and start this one", err)}
	}
	if h.users, err = readUsers(&c.Options); err != nil {
		return nil, err
	}
	if _, err := compile(c, standIns(c)); err != nil {
		return nil, err
	}
	if err := checkRequests(&c.RequestLog); err != nil {
		return nil, err
	}
	opened, err := sources{}.update(c.Sources, c.MaxItem)
	if err != nil {
		return nil, err
	}
	if err := h.link.Send(answer{}); err != nil {
		return nil, err
	}
	return opened, h.take()
}

// take receives the estate.
func (h *heir) take() error {
	fds, err := h.link.Receive(&h.estate)
	if err != nil {
		return err
	}
	e := &h.estate
	want := len(e.Sockets)
	if e.Admin != "" {
		want++
	}
	if len(fds) != want {
		return fmt.Errorf("upgrade: %d descriptors of %d came", len(fds), want)
	}
	for i, s := range e.Sockets {
		h.sockets = append(h.sockets, server.Socket{Network: s.Network, Address: s.Address, Of: s.Of, File: os.NewFile(uintptr(fds[i]), s.Address)})
	}
	if e.Admin != "" {
		h.admin = os.NewFile(uintptr(fds[len(fds)-1]), e.Admin)
	}
	for len(h.conns) < e.Clients {
		var batch clients
		fds, err := h.link.Receive(&batch)
		if err != nil {
			return err
		}
		if len(fds) != len(batch.States) || len(fds) == 0 {
			return errors.New("upgrade: connections without descriptors")
		}
		for i, st := range batch.States {
			h.conns = append(h.conns, server.Conn{FD: fds[i], State: st})
		}
	}
	return nil
}

// ready says that this process can go on, and waits for the word.
func (h *heir) ready() error {
	h.link.Within(readyTime)
	if err := h.link.Send(answer{}); err != nil {
		return err
	}
	if _, err := h.link.Receive(new(goAhead)); err != nil {
		return fmt.Errorf("the old process goes on by itself: %w", err)
	}
	return h.link.Close()
}
