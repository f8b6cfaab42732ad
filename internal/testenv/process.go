package testenv

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience bounds every wait for a server: to start, to stop, to freeze. Generous, because CI machines stall.
const patience = 60 * time.Second

// poll asks done every few milliseconds until it says yes; false after patience.
func poll(done func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}

// process is a started server with its guard: a shell that waits for the test binary's end on a pipe and then ends the
// server and removes its directory. So nothing is left after a panic, a timeout or a SIGKILL of the test binary either.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the server was waited for
	guard  *exec.Cmd
	pipe   io.WriteCloser // the guard's standard input; open as long as we live
}

// guardScript: $1 pid of the server, $2 the signal that asks it to end, $3 directory to remove or empty. A line on the
// pipe means that the server was ended in order. Children are listed before their parent goes: a stopped orphan would stay.
const guardScript = `
if read -r _; then exit 0; fi
kids=$(cat "/proc/$1/task/$1/children")
kill -CONT "$1" $kids
kill "-$2" "$1"
n=0
while kill -0 "$1" && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
kill -KILL "$1" $kids
[ -z "$3" ] || rm -rf "$3"
`

// start runs a server under a guard. polite is the name of the signal that ends it without leftovers; dir is what the guard
// removes, if not empty. The server's output goes to the file log.
func start(cmd *exec.Cmd, polite, dir, log string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is for the test binary; the guard does the rest in order
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended shows in its log
		close(p.exited)
	}()
	p.guard = exec.Command("/bin/sh", "-c", guardScript, "guard", strconv.Itoa(cmd.Process.Pid), polite, dir)
	p.guard.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	p.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.pipe, err = p.guard.StdinPipe(); err == nil {
		err = p.guard.Start()
	}
	if err != nil {
		p.signal(syscall.SIGKILL)
		<-p.exited
		return nil, fmt.Errorf("testenv: guard: %w", err)
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(s os.Signal) {
	_ = p.cmd.Process.Signal(s) // an error says it has ended, which callers see in exited
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// end sends s, waits, kills what does not listen, and dismisses the guard.
func (p *process) end(s os.Signal) {
	p.signal(s)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.signal(syscall.SIGKILL)
		<-p.exited
	}
	_, _ = io.WriteString(p.pipe, "done\n")
	p.pipe.Close()
	_ = p.guard.Wait()
}

// children returns the pids of the direct children of pid; none if it has ended.
func children(pid int) []int {
	s := strconv.Itoa(pid)
	b, err := os.ReadFile(filepath.Join("/proc", s, "task", s, "children"))
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// state returns the letter of a process's state in /proc/PID/stat (T is stopped, Z a zombie), or 0 if it is gone.
func state(pid int) byte {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything: the state follows the last one.
	if i := strings.LastIndexByte(string(b), ')'); i >= 0 && i+2 < len(b) {
		return b[i+2]
	}
	return 0
}

// freePort returns a loopback port that nobody listened on a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// retryPort calls try with free ports until it works. Another process may take the port between our look and the
// server's bind, so a server that ends at once gets two more tries.
func retryPort(try func(port int) error) error {
	var errs []error
	for range 3 {
		port, err := freePort()
		if err != nil {
			return err
		}
		if err = try(port); err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tail returns the last lines of a log file, for failure messages.
func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}
