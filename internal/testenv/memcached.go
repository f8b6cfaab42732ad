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
	path := MemcachedPath(t)
	acct, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "memcached.log")
	err = retryPort(func(port int) error {
		line := []string{"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0", "-t", "1"}
		if acct.cred != nil {
			line = append(line, "-u", acct.name) // it gives up root by itself, after the binary was opened
		}
		p, err := start(exec.Command(path, append(line, args...)...), "KILL", "", log)
		if err != nil {
			return err
		}
		addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if !poll(func() bool { return !p.running() || answers(addr) }) || !p.running() {
			p.end(syscall.SIGKILL)
			return fmt.Errorf("testenv: %s did not start: %s", path, tail(log))
		}
		t.Cleanup(func() { p.end(syscall.SIGKILL) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// answers tells whether something accepts connections at addr.
func answers(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
