// Package target starts the servers that a benchmark compares, and reads from /proc what they use. It works on Linux only.
package target

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec is how to start a server that takes memcached's options.
type Spec struct {
	Name    string   // for the report
	Path    string   // the program
	Args    []string // come last on its command line
	Memory  int      // megabytes, -m
	Threads int      // -t
	Conns   int      // -c
	CPUs    []int    // where all its threads run; none: anywhere
	// TLS is how to talk to a server that Args make encrypt; nil: in the clear.
	TLS *tls.Config
}

// Server is a started server. Its methods are not for use by several goroutines at once.
type Server struct {
	Spec    Spec
	Addr    string
	Version string // as the server names it

	cmd    *exec.Cmd
	exited chan struct{}
	log    *os.File
}

// patience bounds the waits for a server's start and for its answers.
const patience = 20 * time.Second

// Start starts a server on a free loopback port and returns when it answers. The caller stops it. The kernel kills it if
// this process dies first.
func Start(spec Spec) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()

	args := []string{
		"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-m", strconv.Itoa(spec.Memory), "-t", strconv.Itoa(spec.Threads),
		"-c", strconv.Itoa(spec.Conns),
	}
	if strings.HasPrefix(filepath.Base(spec.Path), "memcached") {
		args = append(args, "-U", "0")
		if os.Geteuid() == 0 {
			args = append(args, "-u", "nobody") // it refuses to run as root
		}
	}
	s := &Server{Spec: spec, Addr: addr, exited: make(chan struct{})}
	if s.log, err = os.CreateTemp("", "fishbench"); err != nil {
		return nil, err
	}
	os.Remove(s.log.Name()) // it lives as long as it is open
	s.cmd = exec.Command(spec.Path, append(args, spec.Args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go s.start(started)
	if err := <-started; err != nil {
		s.log.Close()
		return nil, fmt.Errorf("target: %w", err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if s.Version, err = s.version(); err == nil {
			return s, nil
		}
		if !s.running() || time.Now().After(end) {
			said := s.output()
			s.Stop()
			return nil, fmt.Errorf("target: %s did not start: %w\n%s", strings.Join(s.cmd.Args, " "), err, said)
		}
	}
}

// Bind restricts this process, all its threads, to some CPUs, so that it leaves those of the servers alone. Threads that
// are made later inherit that; servers are bound to their own. None means no restriction.
func Bind(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	set := cpuSet(cpus)
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			return fmt.Errorf("target: binding to CPUs %v: %w", cpus, err)
		}
	}
	return nil
}

func cpuSet(cpus []int) unix.CPUSet {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	return set
}

// start runs the server from a thread of its own, bound to the server's CPUs, because a child inherits the thread's
// affinity. The thread stays until the server's end: the kernel takes its death for the parent's.
func (s *Server) start(started chan<- error) {
	runtime.LockOSThread()
	defer close(s.exited)
	if len(s.Spec.CPUs) > 0 {
		set := cpuSet(s.Spec.CPUs)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			started <- fmt.Errorf("binding to CPUs %v: %w", s.Spec.CPUs, err)
			return
		}
	}
	err := s.cmd.Start()
	started <- err
	if err == nil {
		_ = s.cmd.Wait()
	}
}

// Pid is the server's process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

func (s *Server) running() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Stop ends the server at once.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill() // already gone is as good
	<-s.exited
	s.log.Close()
}

// output is the end of what the server printed.
func (s *Server) output() string {
	b := make([]byte, 4096)
	info, err := s.log.Stat()
	if err != nil {
		return ""
	}
	n, _ := s.log.ReadAt(b, max(0, info.Size()-int64(len(b))))
	return string(b[:n])
}

// Usage is what the server's threads have had of the CPUs so far, to the nanosecond where the kernel has schedstat.
type Usage struct {
	Ran    time.Duration
	Waited time.Duration // ready to run, but another thread had the CPU
}

// Sub returns the usage since before.
func (u Usage) Sub(before Usage) Usage { return Usage{u.Ran - before.Ran, u.Waited - before.Waited} }

// Usage adds up all threads.
func (s *Server) Usage() (Usage, error) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid)) // the pattern is well-formed
	var total Usage
	for _, file := range files {
		u, err := schedstat(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return Usage{}, err
		}
		total.Ran += u.Ran
		total.Waited += u.Waited
	}
	if total.Ran == 0 {
		return Usage{}, fmt.Errorf("target: no CPU time of pid %d: ended, or a kernel without schedstat\n%s", s.cmd.Process.Pid, s.output())
	}
	return total, nil
}

func schedstat(file string) (Usage, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Usage{}, err
	}
	var ran, waited int64
	if _, err := fmt.Sscan(string(b), &ran, &waited); err != nil {
		return Usage{}, fmt.Errorf("target: %s: %q: %w", file, b, err)
	}
	return Usage{time.Duration(ran), time.Duration(waited)}, nil
}

// RSS is the memory in bytes that the server holds resident.
func (s *Server) RSS() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("target: %w", err)
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0, fmt.Errorf("target: statm %q", b)
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// Stats asks for the server's statistics.
func (s *Server) Stats() (map[string]string, error) {
	stats := map[string]string{}
	err := s.talk("stats\r\n", func(line string) (done bool) {
		if f := strings.SplitN(line, " ", 3); len(f) == 3 && f[0] == "STAT" {
			stats[f[1]] = f[2]
		}
		return line == "END"
	})
	return stats, err
}

func (s *Server) version() (string, error) {
	var v string
	err := s.talk("version\r\n", func(line string) bool {
		v = strings.TrimPrefix(line, "VERSION ")
		return true
	})
	return v, err
}

// talk sends a command on a connection of its own and hands over the lines of the answer until take says that was all.
func (s *Server) talk(command string, take func(line string) (done bool)) error {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if s.Spec.TLS != nil {
		c = tls.Client(c, s.Spec.TLS)
	}
	if _, err := c.Write([]byte(command)); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if take(lines.Text()) {
			return nil
		}
	}
	return fmt.Errorf("target: %s cut the answer to %q short: %v", s.Spec.Name, command, lines.Err())
}
