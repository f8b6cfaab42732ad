package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// MemcachedSuite returns the directory with memcached's own test-suite, t, and what that reads of doc: where make oracle
// keeps it, beside the memcached of $MEMCACHED_BIN. Perl, which it is written in, is there too, with its modules for TLS.
func MemcachedSuite(t testing.TB) string {
	t.Helper()
	dir := filepath.Dir(MemcachedPath(t))
	for _, name := range []string{"t/lib/MemcachedTest.pm", "doc/protocol.txt"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			Missing(t, "memcached's test-suite", "set MEMCACHED_BIN to what make oracle prints; if "+dir+" is its cache, remove that first")
		}
	}
	if out, err := exec.Command("/usr/bin/perl", "-MTest::More", "-MIO::Socket::SSL", "-e", "1").CombinedOutput(); err != nil {
		t.Logf("perl: %v\n%s", err, out)
		Missing(t, "perl with Test::More and IO::Socket::SSL", "apt-get install perl libio-socket-ssl-perl")
	}
	return dir
}
