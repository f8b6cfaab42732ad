package server

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"swordfish/internal/testenv"
)

// TestPHP runs PHP's clients, sessions among them, against our server and the real one. What they say is kept in
// testdata/*.out, which -update rewrites from the real one.
func TestPHP(t *testing.T) {
	php := testenv.PHP(t)
	for _, script := range []struct {
		name string
		args []string
	}{
		{"memcached-binary", []string{"memcached.php", "binary"}},
		{"memcached-text", []string{"memcached.php", "text"}},
		{"session-memcached-binary", []string{"session.php", "memcached", "binary"}},
		{"session-memcached-text", []string{"session.php", "memcached", "text"}},
		{"session-memcache", []string{"session.php", "memcache", "text"}},
	} {
		t.Run(script.name, func(t *testing.T) {
			golden := filepath.Join("testdata", script.name+".out")
			onBoth(t, func(t *testing.T, addr string) {
				host, port, err := net.SplitHostPort(addr)
				if err != nil {
					t.Fatal(err)
				}
				args := append([]string{"-d", "display_errors=stderr", filepath.Join("testdata", script.args[0]), host, port}, script.args[1:]...)
				got, err := exec.Command(php, args...).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, got)
				}
				if *update && filepath.Base(t.Name()) == "memcached" {
					if err := os.WriteFile(golden, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != string(want) {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}

// TestMemcapable runs libmemcached's own test of servers. What the real server passes, ours has to pass.
func TestMemcapable(t *testing.T) {
	tool := ""
	for _, name := range []string{"memccapable", "memcapable"} {
		if path, err := exec.LookPath(name); err == nil {
			tool = path
		}
	}
	if tool == "" {
		testenv.Missing(t, "memccapable", "apt-get install libmemcached-tools")
	}
	_, addr := startServer(t, Options{})
	memcached := testenv.Memcached(t)
	passed := func(addr, flag string) map[string]bool {
		host, port, _ := net.SplitHostPort(addr)
		out, _ := exec.Command(tool, "-h", host, "-p", port, flag).CombinedOutput() // fails where one test does
		lines := make(map[string]bool)
		for line := range strings.Lines(string(out)) {
			if strings.HasSuffix(line, "[pass]\n") {
				lines[line] = true
			}
		}
		return lines
	}
	for _, flag := range []string{"-b", "-a"} {
		var ours, theirs map[string]bool
		var both sync.WaitGroup // a test that fails takes its time
		both.Go(func() { ours = passed(addr, flag) })
		both.Go(func() { theirs = passed(memcached, flag) })
		both.Wait()
		if len(theirs) < 20 {
			t.Fatalf("%s: only %d tests pass on memcached", flag, len(theirs))
		}
		for line := range theirs {
			if !ours[line] {
				t.Errorf("%s: does not pass here: %s", flag, line)
			}
		}
	}
}
