// Package upgrade starts a newer binary of the running program and holds the conversation between the two processes: messages
// with descriptors over a socket that nobody else has. What they say to each other is the program's business.
package upgrade

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// env names the socket's descriptor in the new process.
const env = "SWORDFISHD_UPGRADE_FD"

const (
	maxMessage = 1 << 30 // bytes; what is longer is no message of ours

	// MaxFiles is how many descriptors go with one message at most.
	MaxFiles = 200
)

// Link is one end of the conversation. One goroutine at a time uses it.
type Link struct{ conn *net.UnixConn }

// Successor is a newer binary that was started.
type Successor struct {
	Link
	cmd    *exec.Cmd
	exited chan struct{} // closed once it was waited for
}

// Start runs the binary at path with arguments, the name first, in this process's environment, working directory and output.
func Start(path string, args []string) (*Successor, error) {
	syscall.ForkLock.RLock() // not every system makes sockets that close on exec
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), env)
	defer theirs.Close()
	link, err := newLink(pair[0])
	if err != nil {
		return nil, err
	}
	s := &Successor{Link: *link, cmd: exec.Command(path), exited: make(chan struct{})}
	s.cmd.Args = args
	s.cmd.Env = append(os.Environ(), env+"=3")
	s.cmd.ExtraFiles = []*os.File{theirs} // its descriptor 3
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, link.conn.Close())
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in ProcessState
		close(s.exited)
	}()
	return s, nil
}

// PID is the number of its process.
func (s *Successor) PID() int { return s.cmd.Process.Pid }

// Kill ends the process, if it has not ended, and waits for that. It returns how it ended.
func (s *Successor) Kill() string {
	select {
	case <-s.exited:
	default:
		_ = s.cmd.Process.Kill() // an error says that it has ended
		<-s.exited
	}
	_ = s.conn.Close()
	return s.cmd.ProcessState.String()
}

// Ended tells whether the process ends by itself within a moment that bounds how long that may take to be seen.
func (s *Successor) Ended(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-s.exited:
		return true
	case <-timer.C:
		return false
	}
}

// Inherited is the end of the process that Start has started, nil in any other. It is there once.
func Inherited() (*Link, error) {
	value := os.Getenv(env)
	if value == "" {
		return nil, nil
	}
	os.Unsetenv(env) // it is not for a process that this one starts
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("upgrade: %s=%q is no descriptor", env, value)
	}
	unix.CloseOnExec(fd)
	return newLink(fd)
}

func newLink(fd int) (*Link, error) {
	f := os.NewFile(uintptr(fd), env)
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("upgrade: descriptor %d is no socket of ours", fd), c.Close())
	}
	return &Link{u}, nil
}

// Within bounds all that follows.
func (l *Link) Within(d time.Duration) { _ = l.conn.SetDeadline(time.Now().Add(d)) } // it fails on a closed link, as all that follows

// Close ends the conversation.
func (l *Link) Close() error { return l.conn.Close() }

// A message is its length and the number of its descriptors, four bytes each, and then itself. The descriptors come with the
// first byte.
const headSize = 8

// Send sends v, which encoding/gob can encode, and copies of descriptors, at most MaxFiles.
func (l *Link) Send(v any, fds ...int) error {
	if len(fds) > MaxFiles {
		return fmt.Errorf("upgrade: %d descriptors in a message, at most %d", len(fds), MaxFiles)
	}
	var body bytes.Buffer
	body.Write(make([]byte, headSize))
	if err := gob.NewEncoder(&body).Encode(v); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	message := body.Bytes()
	if len(message) > maxMessage {
		return fmt.Errorf("upgrade: a message of %d bytes", len(message))
	}
	binary.LittleEndian.PutUint32(message, uint32(len(message)-headSize))
	binary.LittleEndian.PutUint32(message[4:], uint32(len(fds)))
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := l.conn.WriteMsgUnix(message[:headSize], rights, nil); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	if _, err := l.conn.Write(message[headSize:]); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	return nil
}

// Receive receives into v, a pointer. The descriptors are the caller's. At the other side's end the error wraps io.EOF.
func (l *Link) Receive(v any) (fds []int, err error) {
	var head [headSize]byte
	rights := make([]byte, unix.CmsgSpace(4*MaxFiles))
	n, nRights, _, _, err := l.conn.ReadMsgUnix(head[:], rights)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	if fds, err = descriptors(rights[:nRights]); err == nil {
		_, err = io.ReadFull(l.conn, head[n:])
	}
	length, files := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
	if err == nil && (length > maxMessage || int(files) != len(fds)) {
		err = fmt.Errorf("a message of %d bytes with %d of %d descriptors", length, len(fds), files)
	}
	var body []byte
	if err == nil {
		body = make([]byte, length)
		_, err = io.ReadFull(l.conn, body)
	}
	if err == nil {
		err = gob.NewDecoder(bytes.NewReader(body)).Decode(v)
	}
	if err != nil {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	return fds, nil
}

// descriptors reads what came beside a message.
func descriptors(rights []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		more, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, err
		}
		fds = append(fds, more...)
	}
	return fds, nil
}
