package upgrade

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type message struct {
	Text  string
	Bytes []byte
}

// links are the two ends of a conversation.
func links(t *testing.T) (a, b *Link) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range []**Link{&a, &b} {
		if *l, err = newLink(pair[i]); err != nil {
			t.Fatal(err)
		}
		(*l).Within(time.Minute)
		t.Cleanup(func() { (*l).Close() })
	}
	return a, b
}

func TestLinkCarriesMessagesAndDescriptors(t *testing.T) {
	a, b := links(t)
	large := bytes.Repeat([]byte("large "), 1<<20) // more than the socket holds
	sent := make(chan error, 1)
	go func() {
		for files := range 4 {
			var fds []int
			for range []int{0, 1, MaxFiles, 2}[files] {
				r, w, err := os.Pipe()
				if err == nil {
					_, err = w.WriteString("through the pipe")
					w.Close()
				}
				if err != nil {
					sent <- err
					return
				}
				defer r.Close()
				fds = append(fds, int(r.Fd()))
			}
			if err := a.Send(message{"hello", large}, fds...); err != nil {
				sent <- err
				return
			}
		}
		sent <- a.Close()
	}()
	for _, want := range []int{0, 1, MaxFiles, 2} {
		var m message
		fds, err := b.Receive(&m)
		if err != nil {
			t.Fatal(err)
		}
		if m.Text != "hello" || !bytes.Equal(m.Bytes, large) || len(fds) != want {
			t.Errorf("got %q, %d bytes and %d descriptors, want %d", m.Text, len(m.Bytes), len(fds), want)
		}
		for _, fd := range fds {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("descriptor %d would be inherited: %v", fd, err)
			}
			f := os.NewFile(uintptr(fd), "pipe")
			if got, err := io.ReadAll(f); err != nil || string(got) != "through the pipe" {
				t.Errorf("descriptor %d: %q, %v", fd, got, err)
			}
			f.Close()
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if _, err := b.Receive(new(message)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestLinkRefuses(t *testing.T) {
	a, b := links(t)
	if err := a.Send(message{}, make([]int, MaxFiles+1)...); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too many descriptors: %v", err)
	}
	if _, err := a.conn.Write([]byte("\xff\xff\xff\xff\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Receive(new(message)); err == nil || !strings.Contains(err.Error(), "a message of 4294967295 bytes") {
		t.Errorf("a message of any length: %v", err)
	}
	b.Within(0)
	if _, err := b.Receive(new(message)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nobody says anything: %v", err)
	}
}

func TestInheritedRefuses(t *testing.T) {
	for _, value := range []string{"1", "x"} {
		t.Setenv(env, value)
		if l, err := Inherited(); err == nil {
			t.Errorf("%s=%s: %v", env, value, l)
		}
	}
	if l, err := Inherited(); l != nil || err != nil {
		t.Errorf("a second time: %v, %v", l, err)
	}
}
