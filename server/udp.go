package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"swordfish/protocol"
)

// udpLoop serves datagrams. Each has its commands complete, so there are no connections: what is not complete at the end of
// a datagram is dropped. Each command's reply is a message of its own, of one or more datagrams.
type udpLoop struct {
	s         *Server
	workers   []*worker
	borrow    []sync.Mutex // one for each worker
	sockets   []*net.UDPConn
	addresses []string // of Options, for which the sockets are
	readers   []*udpReader
	held      pause
	stopping  chan struct{}
	wg        sync.WaitGroup // readers
}

// maxReplies bounds what one datagram is answered with, in bytes: once there is so much, the rest of its commands, or of a
// command's keys, is dropped. One value may go past it.
const maxReplies = 1 << 20

// udpThreads is how many datagrams of one address are served at a time, as in memcached.
func (o *Options) udpThreads() int {
	if len(o.UDP) > 1 || len(o.Listen) > 1 {
		return 1
	}
	return o.Workers
}

func newUDP(s *Server) *udpLoop {
	l := &udpLoop{s: s, borrow: make([]sync.Mutex, s.o.udpThreads()), stopping: make(chan struct{})}
	for i := range l.borrow {
		l.workers = append(l.workers, newWorker(s, len(s.workers)+i))
	}
	return l
}

// bind opens the sockets. After an error some may be open.
func (l *udpLoop) bind() error {
	if l.s.gate.users.Load() != nil {
		return errors.New("server: UDP and authentication exclude each other")
	}
	for _, address := range l.s.o.UDP {
		if err := l.bindOne(address); err != nil {
			return fmt.Errorf("server: listen on UDP %s: %w", address, err)
		}
	}
	l.number()
	return nil
}

// bindOne opens a socket for each address of a name; those in use, or of a family that this machine lacks, are left out where
// another can be had.
func (l *udpLoop) bindOne(address string) error {
	for _, f := range l.s.inherited("udp", address) {
		socket, err := net.FilePacketConn(f)
		f.Close()
		if err != nil {
			return err
		}
		l.add(address, socket)
	}
	if slices.Contains(l.addresses, address) {
		return nil
	}
	addrs, err := resolve(address)
	if err != nil {
		return err
	}
	bound := 0
	var left error
	for _, a := range addrs {
		socket, err := net.ListenPacket(strings.Replace(network(a), "tcp", "udp", 1), a)
		if err != nil {
			left = cmp.Or(left, err)
			continue
		}
		l.add(address, socket)
		bound++
	}
	if bound == 0 {
		return left
	}
	return nil
}

func (l *udpLoop) add(address string, socket net.PacketConn) {
	l.sockets = append(l.sockets, socket.(*net.UDPConn))
	l.addresses = append(l.addresses, address)
}

// number makes the readers, which have the first free numbers of the server's conns.
func (l *udpLoop) number() {
	for _, socket := range l.sockets {
		for i, w := range l.workers {
			r := &udpReader{
				l: l, socket: socket, write: socket.WriteToUDPAddrPort, port: socket.LocalAddr().(*net.UDPAddr).AddrPort().Port(), w: w, borrow: &l.borrow[i],
				name: strings.Replace(addrName(socket.LocalAddr()), "tcp", "udp", 1), fresh: newSession(w, &Listener{}),
				in: make([]byte, readBuffer), frame: make([]byte, 0, protocol.FrameHeader+protocol.FrameData),
			}
			l.s.conns.next++
			r.info = &connInfo{id: l.s.conns.next}
			r.info.last.Store(l.s.o.Store.Now().Second())
			r.fresh.id, r.fresh.datagram = r.info.id, true
			l.readers = append(l.readers, r)
		}
	}
}

// start serves the sockets.
func (l *udpLoop) start() {
	l.s.conns.udp.Store(int64(len(l.readers)))
	for _, r := range l.readers {
		l.wg.Go(r.serve)
	}
}

func (l *udpLoop) close() {
	for _, socket := range l.sockets {
		socket.Close()
	}
}

// stats shows the readers in stats conns. now is a second of the item clock.
func (l *udpLoop) stats(to *lines, now uint32) {
	for _, r := range l.readers {
		id := strconv.FormatUint(r.info.id, 10)
		to.text(id+":UDP", "UDP")
		to.text(id+":addr", r.name)
		to.text(id+":state", "conn_read")
		to.int(id+":secs_since_last_cmd", int64(now)-int64(r.info.last.Load()))
	}
}

func (l *udpLoop) stopped() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

// shutdown lets the datagrams in hand be answered. Those that wait in the sockets are lost, as datagrams may be.
func (l *udpLoop) shutdown(ctx context.Context) error {
	close(l.stopping)
	for _, socket := range l.sockets {
		_ = socket.SetReadDeadline(time.Unix(1, 0))
	}
	done := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.close()
	<-done
	l.s.conns.udp.Store(0)
	return err
}

// notOverUDP tells whether r is refused to datagrams: what goes on without end or over all items, and an operator's words, for
// anybody can write any sender on a datagram.
func notOverUDP(r *protocol.Request) bool {
	switch r.Verb {
	case protocol.Watch:
		return true
	case protocol.Crawler:
		return r.Crawl == protocol.Metadump || r.Crawl == protocol.Mgdump
	case protocol.Admin:
		return string(r.Word) != certsWord
	}
	return false
}

// udpReader answers datagrams of a socket, one at a time. One goroutine uses it.
type udpReader struct {
	l       *udpLoop
	socket  *net.UDPConn
	write   func(datagram []byte, to netip.AddrPort) (int, error) // to socket
	port    uint16                                                // of socket
	name    string                                                // for stats conns
	w       *worker
	borrow  *sync.Mutex
	info    *connInfo
	fresh   session // what each datagram begins with
	session session
	in      []byte
	out     []byte // what the last run answered
	message []byte // a reply that came in parts
	frame   []byte
}

func (r *udpReader) serve() {
	for {
		n, from, err := r.socket.ReadFromUDPAddrPort(r.in)
		switch {
		case r.l.stopped():
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !r.l.held.wait(r.l.stopping) {
				return
			}
		case err != nil:
			if errors.Is(err, net.ErrClosed) {
				return
			}
			r.l.s.log.Error().Err(err).Msg("read a datagram")
			select {
			case <-r.l.stopping:
			case <-time.After(acceptPause):
			}
		case n <= protocol.FrameHeader, r.quarrel(from.Port()):
			r.ignore()
		default:
			r.answer(r.in[:n], from)
		}
	}
}

// ignore counts a datagram that nobody answers.
func (r *udpReader) ignore() {
	r.borrow.Lock()
	defer r.borrow.Unlock()
	r.w.n.UDPReceived++
	r.w.n.UDPIgnored++
	r.w.publish()
}

// quarrel tells whether what comes from a port is the answer of a server to a request with a forged sender: another of our kind,
// or one of the old services that answer everything. To answer that would begin a quarrel without end.
func (r *udpReader) quarrel(port uint16) bool { return port == r.port || port < 1024 }

// answer runs the commands of a datagram and sends their replies.
func (r *udpReader) answer(datagram []byte, from netip.AddrPort) {
	r.borrow.Lock()
	defer r.borrow.Unlock()
	if r.l.held.left.Load() {
		return
	}
	r.w.begin()
	defer r.w.end()
	r.w.n.UDPReceived++
	r.w.n.BytesRead += uint64(len(datagram))
	r.info.last.Store(r.w.now.Second())
	id, commands, ok := protocol.ReadFrame(datagram)
	if !ok {
		r.w.n.UDPIgnored++
		return
	}
	r.session = r.fresh
	for sent := 0; sent < maxReplies; {
		used, out, did := r.session.run(r.w, commands, r.out[:0])
		commands = commands[used:]
		if did == parked {
			out = r.errand(out)
		}
		r.out = out
		reply, whole := out, did != full && did != yields || r.session.parser.Idle() && r.session.dump == nil
		if !whole || len(r.message) > 0 {
			r.message = append(r.message, out...)
			reply = r.message
		}
		if !whole {
			if sent+len(reply) < maxReplies {
				continue
			}
			reply, did = protocol.AppendReply(reply, protocol.End), ended
		}
		sent += len(reply)
		r.send(reply, id, from)
		r.message = r.message[:0]
		if did == starved || did == ended {
			break
		}
	}
	r.w.time(&r.session, r.w.woke)
	if cap(r.out) > 2*highWater {
		r.out = nil
	}
	if cap(r.message) > 2*highWater {
		r.message = nil
	}
}

// errand does what the session left, without the worker, and appends what it answers.
func (r *udpReader) errand(out []byte) []byte {
	r.w.end()
	r.borrow.Unlock()
	out = r.session.errand(out)
	r.borrow.Lock()
	r.w.begin()
	return out
}

// send sends a message. One that needs more datagrams than can be numbered is not sent; what the system does not take is lost.
func (r *udpReader) send(message []byte, id uint16, to netip.AddrPort) {
	if protocol.Frames(len(message)) > protocol.MaxFrames {
		r.w.n.UDPUnsent++
		return
	}
	for seq := range protocol.Frames(len(message)) {
		r.frame = protocol.AppendFrame(r.frame[:0], id, seq, message)
		n, err := r.write(r.frame, to)
		if err != nil {
			r.w.n.UDPUnsent++
			return
		}
		r.w.n.BytesWritten += uint64(n)
	}
}
