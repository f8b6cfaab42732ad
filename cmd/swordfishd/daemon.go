package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// readyEnv names the descriptor on which a process in the background says that it listens.
const readyEnv = "SWORDFISHD_READY_FD"

// backgroundError is the exit code of a process in the background that did not come to listen. It has said why.
type backgroundError int

func (e backgroundError) Error() string {
	return "the server in the background ended with exit code " + strconv.Itoa(int(e))
}

// daemonize starts this program once more with the same arguments, in a session of its own, and returns when that process
// listens. What it has to say before goes where our own words go. The working directory stays what it is, so that relative
// file names mean what they meant.
func daemonize() error {
	self, err := os.Executable()
	if err != nil {
		return systemError{fmt.Errorf("-d: %w", err)}
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return systemError{fmt.Errorf("-d: %w", err)}
	}
	defer ready.Close()
	cmd := exec.Command(self)
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.ExtraFiles = []*os.File{tell} // its descriptor 3
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return systemError{fmt.Errorf("-d: %w", err)}
	}
	if n, _ := ready.Read(make([]byte, 1)); n == 1 {
		return cmd.Process.Release()
	}
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return backgroundError(exit.ExitCode())
	case err != nil:
		return fmt.Errorf("-d: the server in the background: %w", err)
	}
	return errors.New("-d: the server in the background has ended before it listened")
}

// background is this process where daemonize has started it; nil in any other.
type background struct{ tell *os.File }

func inBackground() *background {
	fd, err := strconv.Atoi(os.Getenv(readyEnv))
	if err != nil {
		return nil
	}
	os.Unsetenv(readyEnv) // it is not for a process that this one starts
	unix.CloseOnExec(fd)
	return &background{os.NewFile(uintptr(fd), readyEnv)}
}

// listens tells the process that waits in the foreground to return. Unless quiet is false, nothing is written to the
// terminal from then on.
func (b *background) listens(quiet bool) error {
	defer b.tell.Close()
	if quiet {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		for fd := range 3 {
			if err := unix.Dup2(int(null.Fd()), fd); err != nil {
				return os.NewSyscallError("dup2", err)
			}
		}
	}
	_, err := b.tell.Write([]byte{1})
	return err
}
