//go:build linux

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// asRoot is a program to be run as root: by sudo, where the tests are not root's themselves. setting is NAME=VALUE for its
// environment.
func asRoot(t testing.TB, setting, path string, args ...string) *exec.Cmd {
	t.Helper()
	if os.Getuid() == 0 {
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), setting)
		return cmd
	}
	if exec.Command("sudo", "-n", "true").Run() != nil {
		testenv.Missing(t, "root", "run the tests as root, or as somebody who may sudo without a password")
	}
	return exec.Command("sudo", append([]string{"-n", setting, path}, args...)...)
}

// rootCommand is command, run as root.
func rootCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return asRoot(t, "GORACE=halt_on_error=1 atexit_sleep_ms=0", command(t).Path, args...)
}

// unprivileged is a user whom root can become.
func unprivileged(t testing.TB) *user.User {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// runs is what a program that ends by itself has written and its exit code.
func runs(t testing.TB, cmd *exec.Cmd) (output string, code int) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// daemon is a server in the background that swordfishd -d has left.
type daemon struct {
	t    testing.TB
	pid  int
	file string // of -P
	sock string // of -s
}

// startDaemon runs swordfishd -d on a UNIX socket, in a directory where everybody may write, and wants it to return without a
// complaint. The end of the test stops it.
func startDaemon(t testing.TB, cmd func(testing.TB, ...string) *exec.Cmd, args ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "fish")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, file: filepath.Join(dir, "pid"), sock: filepath.Join(dir, "socket")}
	c := cmd(t, append([]string{"-d", "-P", d.file, "-s", d.sock, "-a", "777"}, args...)...)
	began := time.Now()
	out, code := runs(t, c)
	if code != 0 {
		t.Fatalf("exit code %d after %v: %s", code, time.Since(began), out)
	}
	d.pid = readPID(t, d.file) // it is there once the command has returned
	t.Cleanup(func() { d.stop() })
	return d
}

func readPID(t testing.TB, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// stop ends the daemon by SIGTERM and waits until it is gone.
func (d *daemon) stop() {
	d.t.Helper()
	if d.pid == 0 {
		return
	}
	if err := syscall.Kill(d.pid, syscall.SIGTERM); errors.Is(err, syscall.EPERM) {
		err = exec.Command("sudo", "-n", "kill", strconv.Itoa(d.pid)).Run()
		if err != nil {
			d.t.Fatal(err)
		}
	}
	eventually(d.t, "the daemon is gone", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/exe", d.pid))
		return errors.Is(err, fs.ErrNotExist)
	})
	d.pid = 0
}

func (d *daemon) ask(command string) string {
	d.t.Helper()
	return askAt(d.t, "unix", d.sock, command)
}

// askAt sends a line and returns the first line of the answer.
func askAt(t testing.TB, network, addr, command string) string {
	t.Helper()
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "%s\r\n", command)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// status returns a line of each thread's /proc/PID/status, without repetitions.
func (d *daemon) status(field string) map[string]int {
	d.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.pid))
	if err != nil || len(files) == 0 {
		d.t.Fatalf("no threads: %v", err)
	}
	found := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			d.t.Fatal(err)
		}
		_, line, _ := strings.Cut(string(text), "\n"+field+":")
		line, _, _ = strings.Cut(line, "\n")
		found[strings.Join(strings.Fields(line), " ")]++
	}
	return found
}

func TestDaemon(t *testing.T) {
	d := startDaemon(t, command)
	if got := d.ask("version"); got != "VERSION 1.6.45" {
		t.Errorf("got %q", got)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(after); fields[3] != strconv.Itoa(d.pid) || fields[4] != "0" {
		t.Errorf("session %s, terminal %s; want a session of its own without one", fields[3], fields[4])
	}
	for fd := range 3 {
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", d.pid, fd)); err != nil || to != os.DevNull {
			t.Errorf("descriptor %d is %s, %v", fd, to, err)
		}
	}
	d.stop()
	for _, file := range []string{d.file, d.sock} {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", file, err)
		}
	}
}

// With -v it goes on writing where the command has written, as memcached does.
func TestDaemonThatIsVerbose(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	cmd := command(t, "-d", "-v", "-p", "-1", "-P", pid)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, pid: readPID(t, pid)}
	d.stop()
	if text := tail(log.Name()); !strings.Contains(text, `"message":"stopped"`) {
		t.Errorf("logged %s", text)
	}
}

// What stops a daemon from listening is said by the command, with the server's own exit code.
func TestDaemonThatCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, test := range []struct {
		name, args, want string
		code             int
	}{
		{"port taken", "-p " + port, "address already in use; another program has the port: choose one with -p", 71},
		{"wrong option", "-p " + port + " -c 0", "-c: Maximum connections must be greater than 0", 64},
		{"socket's path taken", "-s /dev/null", "there is a file that is no socket; remove it, or choose another path", 71},
	} {
		t.Run(test.name, func(t *testing.T) {
			pid := filepath.Join(t.TempDir(), "pid")
			out, code := runs(t, command(t, append([]string{"-d", "-P", pid}, strings.Fields(test.args)...)...))
			if code != test.code || !strings.Contains(out, test.want) {
				t.Errorf("exit code %d: %s", code, out)
			}
			if _, err := os.Lstat(pid); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the pid file is there: %v", err)
			}
		})
	}
}

// A pid file is replaced in one step; one that cannot be written is no reason not to serve; one that has become another
// process's is left alone.
func TestPIDFile(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, dir, "pid", strconv.Itoa(os.Getpid())+"\n")
	s := serve(t, "", "-P", file)
	if text, err := os.ReadFile(file); err != nil || string(text) != fmt.Sprintf("%d\n", s.cmd.Process.Pid) {
		t.Errorf("got %q, %v", text, err)
	}
	if want := fmt.Sprintf(`"pid":%d,`, os.Getpid()); !strings.Contains(tail(s.log), want) {
		t.Errorf("no %s in %s", want, tail(s.log))
	}
	writeFile(t, dir, "pid", "1\n")
	s.end(syscall.SIGTERM)
	if text, err := os.ReadFile(file); err != nil || string(text) != "1\n" {
		t.Errorf("got %q, %v", text, err)
	}

	s = serve(t, "", "-P", filepath.Join(dir, "nowhere", "pid"))
	if text := tail(s.log); !strings.Contains(text, "the pid file cannot be written") {
		t.Errorf("logged %s", text)
	}
}

// A server goes on when nobody reads its log any more.
func TestLogIsClosed(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "socket")
	cmd := command(t, "-vv", "-s", sock)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), `"message":"listening"`) {
	}
	log.Close()
	for range 10 {
		if got := askAt(t, "unix", sock, "version"); got != "VERSION 1.6.45" {
			t.Errorf("got %q", got)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended: %v", err)
	}
}

// -u gives root up in all threads, for good and before anything is opened.
func TestPrivilegesAreDropped(t *testing.T) {
	u := unprivileged(t)
	d := startDaemon(t, rootCommand, "-u", u.Username)
	if got := d.ask("version"); got != "VERSION 1.6.45" {
		t.Errorf("got %q", got)
	}
	four := func(id string) string { return strings.Join([]string{id, id, id, id}, " ") }
	for field, want := range map[string]string{"Uid": four(u.Uid), "Gid": four(u.Gid), "Groups": "", "CapEff": "0000000000000000", "CapPrm": "0000000000000000"} {
		if got := d.status(field); len(got) != 1 || got[want] == 0 {
			t.Errorf("%s of the threads: %v, want %q for all", field, got, want)
		}
	}
	for _, file := range []string{d.file, d.sock} {
		info, err := os.Lstat(file)
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; strconv.Itoa(int(owner)) != u.Uid {
			t.Errorf("%s belongs to %d", file, owner)
		}
	}
	d.stop()
	mine := t.TempDir() // nobody else may go there
	if out, code := runs(t, rootCommand(t, "-u", u.Username, "-s", filepath.Join(mine, "socket"))); code != 71 || !strings.Contains(out, "the user that the server runs as may not do that") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := runs(t, rootCommand(t, "-u", "nosuchuser", "-p", "-1")); code != 67 || !strings.Contains(out, "can't find the user nosuchuser to switch to") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// -r lifts the limit on core files, -k locks what is used.
func TestCoresAndLockedMemory(t *testing.T) {
	d := startDaemon(t, rootCommand, "-r", "-k")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, cores, _ := strings.Cut(string(limits), "Max core file size")
	if fields := strings.Fields(cores); fields[0] == "0" || fields[0] != fields[1] {
		t.Errorf("limit on core files: %s of %s", fields[0], fields[1])
	}
	for locked := range d.status("VmLck") {
		if kib, _, _ := strings.Cut(locked, " "); kib == "0" || kib == "" {
			t.Errorf("%q is locked", locked)
		}
	}
	if got := d.ask("set a 0 0 1\r\nx"); got != "STORED" {
		t.Errorf("got %q", got)
	}
}

// Debian's start script turns memcached.conf into options; our binary stands where theirs stood. The configuration is the
// package's own but for the port and the pid file, so that it meets no server of the machine.
func TestDebianWrapper(t *testing.T) {
	const shared = "/usr/share/memcached/"
	script, scriptErr := os.ReadFile(shared + "scripts/systemd-memcached-wrapper")
	conf, confErr := os.ReadFile(shared + "memcached.conf.default")
	if err := errors.Join(scriptErr, confErr); err != nil {
		testenv.Missing(t, "Debian's start script", "apt-get install memcached")
	}
	if out, code := runs(t, command(t, "check", "--memcached-conf="+shared+"memcached.conf.default")); code != 0 {
		t.Errorf("the configuration as it is: exit code %d: %s", code, out)
	}

	dir, err := os.MkdirTemp("", "fish")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	ports, pid := filepath.Join(dir, "ports"), filepath.Join(dir, "pid")
	changed := strings.NewReplacer("-p 11211", "-p -1", "/var/run/memcached/memcached.pid", pid).Replace(string(conf))
	perl := strings.ReplaceAll(string(script), "/usr/bin/memcached", command(t).Path)
	cmd := asRoot(t, "MEMCACHED_PORT_FILENAME="+ports, "perl", writeFile(t, dir, "wrapper", perl), writeFile(t, dir, "memcached.conf", changed))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	eventually(t, "the server listens", func() bool {
		select {
		case err := <-exited:
			t.Fatalf("it ended: %v:\n%s", err, tail(log.Name()))
		default:
		}
		_, err := os.Stat(ports)
		return err == nil
	})
	d := &daemon{t: t, pid: readPID(t, pid)}
	defer func() {
		d.stop()
		if err := <-exited; err != nil {
			t.Errorf("it ended: %v:\n%s", err, tail(log.Name()))
		}
	}()
	port, err := os.ReadFile(ports)
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + strings.TrimSpace(strings.TrimPrefix(string(port), "TCP INET:"))
	if got := askAt(t, "tcp", addr, "stats fish"); !strings.HasPrefix(got, "STAT used_bytes ") {
		t.Errorf("it is not ours: %q", got)
	}
	u, err := user.Lookup("memcache")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{u.Uid, u.Uid, u.Uid, u.Uid}, " ")
	if got := d.status("Uid"); len(got) != 1 || got[want] == 0 {
		t.Errorf("Uid of the threads: %v, want %q for all", got, want)
	}
}
