package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is a pseudo terminal, of 60 columns and 10 rows, and what was written to it.
type terminal struct {
	user, program *os.File
	mu            sync.Mutex
	shown         bytes.Buffer
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 60})
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	tm := &terminal{user: user, program: program}
	go func() { _, _ = io.Copy(tm, user) }() // ends with an error once both ends are closed
	return tm
}

func (tm *terminal) Write(p []byte) (int, error) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.shown.Write(p)
}

func (tm *terminal) text() string {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.shown.String()
}

func (tm *terminal) shows(t *testing.T, what string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(tm.text(), what); {
		if time.Now().After(end) {
			t.Fatalf("the terminal does not show %q but %q", what, tm.text())
		}
	}
}

// Top leaves the terminal as it found it, however it ends.
func TestTopOnTerminal(t *testing.T) {
	r := topped(t)
	for name, key := range map[string]string{"q": "q", "Ctrl-C": "\x03"} {
		t.Run(name, func(t *testing.T) {
			tm := openTerminal(t)
			before, err := term.GetState(int(tm.program.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			from := askHTTP(r.admin.Addr().String(), "", 10)
			first, err := from.ask(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				ended <- topOnTerminal(t.Context(), &topOptions{every: topLeast}, from, first, tm.program, tm.program)
			}()
			tm.shows(t, "sharing ")
			if _, err := tm.user.WriteString("x" + key); err != nil { // other keys mean nothing
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			tm.shows(t, leaveScreen)
			after, err := term.GetState(int(tm.program.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			if *after != *before {
				t.Errorf("the terminal is left as %+v, it was %+v", after, before)
			}
			text := tm.text()
			if !strings.HasPrefix(text, enterScreen) || !strings.HasSuffix(text, leaveScreen) || strings.Contains(text, "x") && strings.Contains(text, "xq") {
				t.Errorf("shown %q", text)
			}
			for frame := range strings.SplitSeq(text, "\x1b[H") {
				if strings.Count(frame, "\r\n") > 9 {
					t.Errorf("a frame is higher than the terminal: %q", frame)
				}
				for line := range strings.SplitSeq(strings.NewReplacer(enterScreen, "", leaveScreen, "", "\x1b[K", "", "\x1b[J", "", boldText, "", plainText, "").Replace(frame), "\r\n") {
					if len(line) > 60 {
						t.Errorf("a line is wider than the terminal: %q", line)
					}
				}
			}
		})
	}
}
