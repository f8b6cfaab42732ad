//go:build linux

// Package e2e tests the whole program on real input: the binary as a process, clients over sockets, a real PostgreSQL with
// the devices, countries and characteristics of testdata, PHP, and memcached to compare with.
//
// Some tests measure as well: with E2E_RECORD=FILE in the environment they take longer and write their figures to FILE as
// Markdown tables.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// patience bounds every wait. Generous, because CI machines stall; what passes comes nowhere near it.
const patience = 60 * time.Second

func TestMain(m *testing.M) { testenv.Main(m) }

// binary builds swordfishd once for all tests, with the race detector if they have it.
var binary = sync.OnceValues(func() (string, error) { return build(raceEnabled) })

// build builds swordfishd beside the test binary, in the directory that the go command removes.
func build(race bool) (path string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path = self + ".swordfishd"
	args := []string{"build", "-buildvcs=false"}
	if race {
		path += ".race"
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "-o", path, "swordfish/cmd/swordfishd")...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, err
}

// command is swordfishd with arguments. A data race ends it at once with exit code 66.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	return cmd
}

// process is a running swordfishd.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	log    string        // file with its standard error
	out    string        // file with its standard output
	exited chan struct{} // closed once it was waited for
}

// start runs swordfishd. The end of the test stops it by SIGTERM, if the test has not, and wants exit code 0.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	return startCommand(t, env, command(t, args...))
}

// startCommand is start for a command that ends up as swordfishd.
func startCommand(t testing.TB, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, exited: make(chan struct{})}
	dir := t.TempDir()
	p.log, p.out = filepath.Join(dir, "stderr"), filepath.Join(dir, "stdout")
	stderr, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	stdout, err := os.Create(p.out)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	cmd.Stderr, cmd.Stdout = stderr, stdout
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // it may not outlive us; our Ctrl-C is not for it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.exited)
	}()
	t.Cleanup(func() {
		if p.running() {
			p.end(syscall.SIGTERM)
		}
		if t.Failed() {
			t.Logf("standard error of the server:\n%s", tail(p.log))
		}
	})
	return p
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

// end sends s and wants the process to leave by itself with exit code 0.
func (p *process) end(s syscall.Signal) {
	p.t.Helper()
	p.signal(s)
	p.wait(0)
}

// wait wants the process to leave by itself with a code.
func (p *process) wait(code int) {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.signal(syscall.SIGQUIT) // prints its goroutines
		<-p.exited
		p.t.Fatalf("the server did not end within %v:\n%s", patience, tail(p.log))
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("the server ended as %v, want exit code %d:\n%s", p.cmd.ProcessState, code, tail(p.log))
	}
}

// peak returns the most memory, in bytes, that the process has had resident since it started.
func (p *process) peak() int64 {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	line, _, _ := strings.Cut(rest, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return kib << 10
}

// server is a process that serves on addr.
type server struct {
	*process
	addr string
}

// serve starts swordfishd with a configuration, on a free port, and returns when it listens. Without yaml it has no routes.
func serve(t testing.TB, yaml string, args ...string) *server {
	t.Helper()
	return serveEnv(t, nil, yaml, args...)
}

func serveEnv(t testing.TB, env []string, yaml string, args ...string) *server {
	t.Helper()
	return serveCommand(t, env, yaml, command, args...)
}

// serveCommand is serveEnv for a command that ends up as swordfishd with its arguments.
func serveCommand(t testing.TB, env []string, yaml string, command func(testing.TB, ...string) *exec.Cmd, args ...string) *server {
	t.Helper()
	dir := t.TempDir()
	ports := filepath.Join(dir, "ports") // memcached's own test-suite learns the port in this way
	args = append([]string{"-p", "-1", "-l", "127.0.0.1"}, args...)
	if yaml != "" {
		args = append(args, "--config="+writeFile(t, dir, "swordfish.yaml", yaml))
	}
	p := startCommand(t, append(env, "MEMCACHED_PORT_FILENAME="+ports), command(t, args...))
	s := &server{process: p}
	eventually(t, "the server listens", func() bool {
		if !p.running() {
			t.Fatalf("the server ended at its start:\n%s", tail(p.log))
		}
		b, err := os.ReadFile(ports)
		if err != nil {
			return false
		}
		first, _, _ := strings.Cut(string(b), "\n")
		s.addr = "127.0.0.1:" + strings.TrimSpace(strings.TrimPrefix(first, "TCP INET:"))
		return true
	})
	return s
}

// eventually asks done every few milliseconds until it says yes, and fails the test if it does not.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// tail returns the end of a file, for messages.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}
