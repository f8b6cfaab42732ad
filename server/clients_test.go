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

// compareClients runs a script that prints what a client library says of a server. What it says of the real one is kept in
// testdata/*.out, which -update rewrites, and ours has to make it say the same.
func compareClients(t *testing.T, name, program string, args func(host, port string) []string) {
	t.Run(name, func(t *testing.T) {
		golden := filepath.Join("testdata", name+".out")
		onBoth(t, func(t *testing.T, addr string) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				t.Fatal(err)
			}
			got, err := exec.Command(program, args(host, port)...).CombinedOutput()
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

// TestPHP runs PHP's clients, sessions among them.
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
		compareClients(t, script.name, php, func(host, port string) []string {
			return append([]string{"-d", "display_errors=stderr", filepath.Join("testdata", script.args[0]), host, port}, script.args[1:]...)
		})
	}
}

// TestPython runs pylibmc, in binary and text, and pymemcache.
func TestPython(t *testing.T) {
	python := ""
	for _, path := range []string{"/usr/bin/python3", "python3"} { // apt's modules are not in every python3 that PATH finds
		if python == "" && exec.Command(path, "-c", "import pylibmc, pymemcache").Run() == nil {
			python = path
		}
	}
	if python == "" {
		testenv.Missing(t, "python3 with pylibmc and pymemcache", "apt-get install python3-pylibmc python3-pymemcache")
	}
	compareClients(t, "python", python, func(host, port string) []string { return []string{filepath.Join("testdata", "clients.py"), host, port} })
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
