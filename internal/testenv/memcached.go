package testenv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// MemcachedPath returns the memcached that tests are checked against: $MEMCACHED_BIN, else the one in PATH.
func MemcachedPath(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("MEMCACHED_BIN"); path != "" {
		if !executable(path) {
			t.Fatalf("MEMCACHED_BIN=%s is not an executable file: unset it, or set it to what make oracle prints", path)
		}
		return path
	}
	path, err := exec.LookPath("memcached")
	if err != nil {
		Missing(t, "memcached", "apt-get install memcached, or set MEMCACHED_BIN to what make oracle prints")
	}
	return path
}

// Memcached starts a memcached on a free loopback port and returns its address, host:port. It has one thread, 64 MB and no
// UDP unless args, which come last on its command line, say otherwise. The end of the test stops it.
func Memcached(t testing.TB, args ...string) (addr string) {
	t.Helper()
	err := retryPort(func(port int) error {
		addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		return startMemcached(t, append([]string{"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0", "-t", "1"}, args...), "tcp", addr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// MemcachedUnix starts a memcached on a UNIX socket that everybody may use, and returns its path.
func MemcachedUnix(t testing.TB, args ...string) (path string) {
	t.Helper()
	acct, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := privateDir(acct)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "socket")
	if err := startMemcached(t, append([]string{"-s", path, "-a", "777", "-t", "1"}, args...), "unix", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// startMemcached starts one that is to answer at addr.
func startMemcached(t testing.TB, line []string, network, addr string) error {
	t.Helper()
	path := MemcachedPath(t)
	acct, err := serverAccount()
	if err != nil {
		return err
	}
	if acct.cred != nil {
		line = append([]string{"-u", acct.name}, line...) // it gives up root by itself, after the binary was opened
	}
	log := filepath.Join(t.TempDir(), "memcached.log")
	p, err := start(exec.Command(path, line...), "KILL", "", log)
	if err != nil {
		return err
	}
	if !poll(func() bool { return !p.running() || answers(network, addr) }) || !p.running() {
		p.end(syscall.SIGKILL)
		return fmt.Errorf("testenv: %s did not start: %s", path, tail(log))
	}
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return nil
}

// answers tells whether something accepts connections at addr.
func answers(network, addr string) bool {
	c, err := net.DialTimeout(network, addr, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
