package server

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"swordfish/protocol"
	"swordfish/store"
)

// A server can go over to another process while clients use it. Hold makes it stand still: no command runs, none is half done,
// nothing is lost. What another process needs to go on is then plain values and descriptors: listening sockets, which are never
// closed, so that nobody is refused, and connections with the bytes that belong to no command yet. Then either Resume makes
// this server go on as if nothing had been, or Leave lets go of everything without a word to the clients that went along.
// Connections that cannot go along, which are those with TLS, have the reply to what they have sent and are closed by Leave.

// Socket is a listening socket on its way to another process.
type Socket struct {
	Network string // tcp, unix or udp
	Address string // as in Options.Listen or Options.UDP
	Of      int    // which of those it was; several sockets may be of one
	File    *os.File
}

// Conn is a connection on its way to another process.
type Conn struct {
	FD    int // its descriptor, not blocking
	State ConnState
}

// ConnState is what is known of a connection: plain values, for any encoding.
type ConnState struct {
	ID            uint64
	Remote, Local string // as stats conns shows them
	Unix          bool   // it came over a UNIX socket
	Tag           string // of its listener
	LastInput     uint32 // second of the item clock

	Only   protocol.Only
	SASL   bool
	Parser protocol.State
	Input  []byte // has arrived and was not run
	Output []byte // was not taken by the client
	Ending bool   // to be closed once that is taken

	SASLStarted, SASLOver bool
	Trying                bool // to authenticate, with this user and password
	User, Password        string
	Watching              bool
	Streams               protocol.Streams
	Dump                  *DumpState // under way
}

// DumpState is how far a dump has come.
type DumpState struct {
	Kind        uint8
	Place       [3]uint64 // of its cursor
	Left, Bytes int
	Over        bool
}

// Held is a server that stands still. Either Resume or Leave has to follow, once.
type Held struct {
	s *Server

	Sockets []Socket // their files are the caller's to close
	Conns   []Conn   // their descriptors stay the server's
	Closing int      // connections that cannot go along; Leave closes them
}

// ErrNotRunning is returned by Hold.
var ErrNotRunning = errors.New("server: not running")

// holdTime bounds how long a server waits for connections that cannot go along to take their replies, and for operators' words
// to be answered, before it stands still without.
const (
	holdTime = 500 * time.Millisecond
	wordTime = 50 * time.Millisecond
)

// Hold makes the server stand still. After an error it goes on. Neither Start nor Shutdown may be called until Resume or Leave.
func (s *Server) Hold() (*Held, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != running {
		return nil, ErrNotRunning
	}
	h := &Held{s: s}
	if err := h.files(); err != nil {
		closeFiles(h.Sockets)
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), holdTime)
	defer cancel()
	for _, viaNet := range []bool{true, false} { // those that wait for clients first, while the others are still served
		for _, g := range s.groups {
			if g.viaNet == viaNet {
				conns, closing := g.loop.hold(ctx)
				h.Conns = append(h.Conns, conns...)
				h.Closing += closing
			}
		}
		if s.udp != nil && viaNet {
			s.udp.hold()
		}
	}
	return h, nil
}

// files makes the descriptors of the listening sockets that go over. The caller holds s.mu.
func (h *Held) files() error {
	add := func(network, address string, of int, at interface{ File() (*os.File, error) }) error {
		f, err := at.File()
		if err == nil {
			h.Sockets = append(h.Sockets, Socket{network, address, of, f})
		}
		return err
	}
	for _, at := range h.s.sockets {
		network := "tcp"
		if at.of.Network == "unix" {
			network = "unix"
		}
		of := 0
		for &h.s.o.Listen[of] != at.of {
			of++
		}
		if err := add(network, at.of.Address, of, at.Listener.(interface{ File() (*os.File, error) })); err != nil {
			return err
		}
	}
	if h.s.udp == nil {
		return nil
	}
	for i, at := range h.s.udp.sockets {
		if err := add("udp", h.s.udp.addresses[i], 0, at); err != nil {
			return err
		}
	}
	return nil
}

func closeFiles(sockets []Socket) {
	for _, s := range sockets {
		s.File.Close()
	}
}

// Resume makes the server go on.
func (h *Held) Resume() {
	for _, g := range h.s.groups {
		g.loop.resume()
	}
	if h.s.udp != nil {
		h.s.udp.resume()
	}
}

// Leave closes what is left of the server in this process: its own descriptors of what went over, and the connections that
// could not. When ctx ends it cuts those off that have not taken their replies. The server has stopped then.
func (h *Held) Leave(ctx context.Context) {
	s := h.s
	s.mu.Lock()
	s.state = stopped
	s.mu.Unlock()
	s.gate.stop()
	close(s.watch.stop)
	if s.udp != nil {
		s.udp.leave()
	}
	for _, g := range s.groups {
		g.loop.leave(ctx)
	}
	s.errandsEnd(ctx) // some may wait for the store, which is not ours any more
	s.gate.work.Wait()
	for _, w := range s.workers {
		w.close()
	}
}

// state tells what another process has to know of a session.
func (ss *session) state() ConnState {
	st := ConnState{
		ID: ss.id, Only: ss.parser.Only, SASL: ss.parser.SASL, Parser: ss.parser.State(),
		SASLStarted: ss.sasl.started, SASLOver: ss.sasl.over,
	}
	if a := ss.attempt; a != nil {
		st.Trying, st.User, st.Password = true, a.user, a.password
	}
	if w := ss.watching; w != nil {
		st.Watching, st.Streams = true, w.streams
	}
	if d := ss.dump; d != nil {
		st.Dump = &DumpState{uint8(d.kind), d.cursor.Place(), d.left, d.bytes, d.over}
	}
	return st
}

// resume makes ss, which is new, the session that st tells of. Where that one was about to log in, it leaves the errand to wait
// for the answer, if there is any need to.
func (ss *session) resume(w *worker, st *ConnState) {
	users := w.srv.gate.users.Load()
	ss.id = st.ID
	ss.parser.Only, ss.parser.SASL = st.Only, st.SASL
	ss.parser.Resume(st.Parser)
	ss.sasl = saslState{st.SASLStarted, st.SASLOver}
	switch {
	case users == nil:
		ss.parser.Locked = false // nobody has to show who he is any more
	case st.Trying:
		if ss.attempt = w.srv.gate.try([]byte(st.User), []byte(st.Password)); ss.attempt != nil {
			ss.errand = w.srv.gate.errand(ss.attempt)
		} else {
			ss.attempt = &attempt{ok: true}
		}
	}
	if st.Watching && !w.srv.o.NoWatch {
		ss.watching = w.srv.watch.add(st.Streams)
	}
	if d := st.Dump; d != nil && d.Kind <= uint8(cachedump) && !w.srv.o.NoDump {
		ss.dump = newDump(dumpKind(d.Kind), d.Over)
		ss.dump.cursor, ss.dump.left, ss.dump.bytes = store.CursorAt(d.Place), d.Left, d.Bytes
	}
}

// adopt serves the connections that another process has handed over. They count as any others, also where there are more than
// may be.
func (s *Server) adopt() {
	if len(s.o.Conns) == 0 {
		return
	}
	l := s.group(s.o.Net).loop
	for i := range s.o.Conns {
		s.conns.open.Add(1)
		s.conns.total.Add(1)
		l.adopt(&s.o.Conns[i])
	}
	s.o.Conns = nil
}

// restore enters a connection that has come from another process, under its old number.
func (r *registry) restore(st *ConnState) *connInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[uint64]*connInfo)
	}
	if r.m[st.ID] != nil || st.ID == 0 {
		r.next++
		st.ID = r.next
	}
	r.next = max(r.next, st.ID)
	c := &connInfo{id: st.ID, remote: st.Remote, local: st.Local}
	c.last.Store(st.LastInput)
	r.m[c.id] = c
	return c
}

// inherited takes the sockets of one address out of Options.Sockets: those that were of the first listener there with that
// address.
func (s *Server) inherited(network, address string) (files []*os.File) {
	of, found := 0, false
	s.o.Sockets = slices.DeleteFunc(s.o.Sockets, func(at Socket) bool {
		if at.Network != network || at.Address != address || found && at.Of != of {
			return false
		}
		of, found = at.Of, true
		files = append(files, at.File)
		return true
	})
	return files
}

// rebind makes the sockets of l of those that another process has handed over; none: there are none.
func (s *Server) rebind(l *Listener) (all []*socket, err error) {
	network := "tcp"
	if l.Network == "unix" {
		network = "unix"
	}
	for _, f := range s.inherited(network, l.Address) {
		bound, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return all, err
		}
		name := addrName(bound.Addr())
		if unix, ok := bound.(*net.UnixListener); ok {
			unix.SetUnlinkOnClose(false)
			name = "unix:" + l.Address
		}
		at, err := newSocket(l, bound, name)
		if err != nil {
			return all, err
		}
		all = append(all, at)
	}
	return all, nil
}

// ownFiles makes the files of the UNIX sockets that were handed over ours. Until now they were the other process's, which may
// have gone on by itself.
func (s *Server) ownFiles() {
	for _, at := range s.sockets {
		if at.of.Network != "unix" || at.file != nil {
			continue
		}
		if err := at.ownFile(unixPath(at.of)); err != nil {
			s.o.Logger.Warn().Err(err).Str("address", at.of.Address).Msg("the socket's file")
		}
	}
}

// dropSockets closes the sockets that were handed over and that nobody listens on any more.
func (s *Server) dropSockets() {
	for _, at := range s.o.Sockets {
		s.o.Logger.Info().Str("network", at.Network).Str("address", at.Address).Msg("no longer listening there")
		if at.Network == "unix" {
			_ = os.Remove(at.Address) // or whoever comes next would take it for another program's
		}
		at.File.Close()
	}
	s.o.Sockets = nil
}
