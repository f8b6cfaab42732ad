package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// A clientRun tries a client library on servers and returns what it says of them, line by line, the last one "done". With
// mode steps it does all that the library can do with one server, with mode spread it shares keys out over two. Then
// the part of a key up to its first colon or comma names the way in which it was shared out.
type clientRun func(mode string, servers ...string) (string, error)

// program runs a program of testdata/clients.
func program(words ...string) clientRun {
	return func(mode string, servers ...string) (string, error) {
		dir := filepath.Join("testdata", "clients")
		if _, err := os.ReadDir(dir); err != nil { // go test notes that a result depends on the scripts
			return "", err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, words[0], slices.Concat(words[1:], []string{mode}, servers)...)
		cmd.Dir = dir
		cmd.Env = clientEnv()
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return string(out), err
	}
}

// clientEnv is what scripts run in: a hash in the same order each time, and the modules that install.sh put into the cache.
func clientEnv() []string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/tmp/.cache" // as install.sh has it
	}
	return append(os.Environ(), "LC_ALL=C.UTF-8", "PERL_HASH_SEED=0", "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1",
		"NODE_PATH="+filepath.Join(cache, "swordfish", "node", "node_modules"))
}

// interpreter returns the first of programs that runs a line of code, which needs the library.
func interpreter(t *testing.T, remedy string, line []string, programs ...string) string {
	t.Helper()
	for _, program := range programs {
		cmd := exec.Command(program, line...)
		cmd.Env = clientEnv()
		if cmd.Run() == nil {
			return program
		}
	}
	testenv.Missing(t, fmt.Sprintf("%s that knows %s", programs[0], line[len(line)-1]), remedy)
	return ""
}

func python(t *testing.T, module, apt string) string {
	return interpreter(t, "apt-get install "+apt, []string{"-c", "import " + module}, "/usr/bin/python3", "python3") // apt's modules are not in every python3
}

func perl(t *testing.T, module, apt string) string {
	return interpreter(t, "apt-get install "+apt, []string{"-e", "require " + module}, "/usr/bin/perl", "perl")
}

// php is the start of a command line. What goes wrong is told on standard error.
func php(t *testing.T, words ...string) clientRun {
	return program(append([]string{testenv.PHP(t), "-d", "display_errors=stderr"}, words...)...)
}

// clients are the libraries that are tried. What a library needs is looked for when its test runs.
var clients = []struct {
	name string
	run  func(t *testing.T) clientRun
}{
	{"php-memcached-text", func(t *testing.T) clientRun { return php(t, "memcached.php", "text") }},
	{"php-memcached-binary", func(t *testing.T) clientRun { return php(t, "memcached.php", "binary") }},
	{"php-memcached-session-text", func(t *testing.T) clientRun { return php(t, "session.php", "memcached", "text") }},
	{"php-memcached-session-binary", func(t *testing.T) clientRun { return php(t, "session.php", "memcached", "binary") }},
	{"php-memcache-text", func(t *testing.T) clientRun { return php(t, "-d", "memcache.protocol=ascii", "memcache.php") }},
	{"php-memcache-binary", func(t *testing.T) clientRun { return php(t, "-d", "memcache.protocol=binary", "memcache.php") }},
	{"php-memcache-session-text", func(t *testing.T) clientRun { return php(t, "session.php", "memcache", "text") }},
	{"php-memcache-session-binary", func(t *testing.T) clientRun { return php(t, "session.php", "memcache", "binary") }},
	{"pylibmc-text", func(t *testing.T) clientRun {
		return program(python(t, "pylibmc", "python3-pylibmc"), "libmc.py", "text")
	}},
	{"pylibmc-binary", func(t *testing.T) clientRun {
		return program(python(t, "pylibmc", "python3-pylibmc"), "libmc.py", "binary")
	}},
	{"pymemcache", func(t *testing.T) clientRun { return program(python(t, "pymemcache", "python3-pymemcache"), "pymc.py") }},
	{"python-binary-memcached", func(t *testing.T) clientRun {
		return program(python(t, "bmemcached", "python3-binary-memcached"), "bmc.py")
	}},
	{"dalli", func(t *testing.T) clientRun {
		return program(interpreter(t, "apt-get install ruby ruby-dalli", []string{"-e", "require 'dalli'"}, "/usr/bin/ruby", "ruby"), "dalli.rb")
	}},
	{"Cache::Memcached::Fast", func(t *testing.T) clientRun {
		return program(perl(t, "Cache::Memcached::Fast", "libcache-memcached-fast-perl"), "perl.pl", "fast")
	}},
	{"Cache::Memcached", func(t *testing.T) clientRun {
		return program(perl(t, "Cache::Memcached", "libcache-memcached-perl"), "perl.pl", "pure")
	}},
	{"memjs", func(t *testing.T) clientRun {
		return program(interpreter(t, "internal/testenv/install.sh", []string{"-e", "require('memjs')"}, "node"), "memjs.js")
	}},
	{"gomemcache", func(t *testing.T) clientRun { return gomemcache }},
}

// TestClients runs every library on memcached and on ours. It has to say the same of both and to leave the same behind.
func TestClients(t *testing.T) {
	_, ours := startServer(t, Options{Store: usualStore(t)})
	addrs := [2]string{ours, oracle(t, "-o", quietOracle)} // a script begins with a flush
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			run := c.run(t)
			var said [2]string
			var errs [2]error
			var both sync.WaitGroup
			for i, addr := range addrs {
				both.Go(func() { said[i], errs[i] = run("steps", addr) })
			}
			both.Wait()
			if err := errors.Join(errs[:]...); err != nil {
				t.Fatalf("%v", err)
			}
			for i, addr := range addrs {
				said[i] = lruStats.ReplaceAllString(strings.ReplaceAll(said[i], addr, "SERVER"), "")
				if !strings.HasSuffix(said[i], "done\n") {
					t.Fatalf("of %s it says\n%s", addr, said[i])
				}
			}
			compareLines(t, strings.Split(said[0], "\n"), strings.Split(said[1], "\n"))
			compareHeld(t, held(t, addrs[0]), held(t, addrs[1]))
		})
	}
}

// lruStats are the names in stats that memcached has only with its LRU maintainer, which the oracle is without.
var lruStats = regexp.MustCompile(`(b?["'])?\b(direct_reclaims|evicted_active|lru_bumps_dropped|lru_maintainer_juggles|lrutail_reflocked|moves_(to_cold|to_warm|within_lru))\b(["'])?,? ?`)

// compareLines shows the lines in which what is said of ours differs from what is said of memcached.
func compareLines(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d lines, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("got  %s\nwant %s", shorten([]byte(got[i])), shorten([]byte(want[i])))
		}
	}
}

// heldItem is an item as a server has it.
type heldItem struct {
	flags uint32
	value [sha256.Size]byte
	size  int
	ttl   int // seconds, -1 for no end
}

// held returns all that a server has.
func held(t *testing.T, addr string) map[string]heldItem {
	t.Helper()
	c := talk(t, addr)
	items := make(map[string]heldItem)
	for line := range strings.Lines(c.ask("lru_crawler metadump all\r\n", "END")) {
		coded, ok := strings.CutPrefix(strings.Fields(line)[0], "key=")
		if !ok {
			continue
		}
		key, err := url.PathUnescape(coded)
		if err != nil {
			t.Fatal(err)
		}
		asked := key + " "
		if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' }) {
			asked = base64.StdEncoding.EncodeToString([]byte(key)) + " b "
		}
		if _, err := fmt.Fprintf(c, "mg %ss f t v\r\n", asked); err != nil {
			t.Fatal(err)
		}
		answer, err := c.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var item heldItem
		if n, _ := fmt.Sscanf(answer, "VA %d s%d f%d t%d", &item.size, &item.size, &item.flags, &item.ttl); n != 4 {
			if answer == "EN\r\n" {
				continue // over
			}
			t.Fatalf("%s: got %q", key, answer)
		}
		value := make([]byte, item.size+len("\r\n"))
		if _, err := io.ReadFull(c.r, value); err != nil {
			t.Fatal(err)
		}
		item.value = sha256.Sum256(value)
		items[key] = item
	}
	return items
}

// compareHeld wants ours to hold what memcached holds. What was stored a moment later may live a moment longer.
func compareHeld(t *testing.T, got, want map[string]heldItem) {
	t.Helper()
	if len(want) == 0 {
		t.Error("memcached holds nothing in the end: the comparison says nothing")
	}
	keys := maps.Clone(want)
	maps.Copy(keys, got)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		g, inOurs := got[key]
		w, inTheirs := want[key]
		const moment = 30
		if near := g.ttl - w.ttl; (g.ttl < 0) == (w.ttl < 0) && -moment < near && near < moment {
			g.ttl = w.ttl
		}
		if inOurs != inTheirs || g != w {
			t.Errorf("%q: ours has %t %+v, memcached %t %+v", key, inOurs, g, inTheirs, w)
		}
	}
}

// TestClientsSpread runs every library on two servers. It has to say the same of both kinds, and every key has to lie on the
// same one of the two: a library hashes the addresses, so both kinds are behind the same ones.
func TestClientsSpread(t *testing.T) {
	fronts := [2]*front{newFront(t), newFront(t)}
	var kinds [2][2]string // ours and memcached, two of each
	for i := range fronts {
		_, kinds[0][i] = startServer(t, Options{})
		kinds[1][i] = oracle(t, "-o", quietOracle)
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			run := c.run(t)
			var said [2]string
			var where [2]map[string]string // by key, of each kind
			for kind, servers := range kinds {
				for i, f := range fronts {
					f.backend.Store(&servers[i])
					talk(t, servers[i]).ask("flush_all\r\n", "OK")
				}
				out, err := run("spread", fronts[0].addr, fronts[1].addr)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasSuffix(out, "done\n") {
					t.Fatalf("it says\n%s", out)
				}
				said[kind] = out
				where[kind] = make(map[string]string)
				for i, server := range servers {
					for key := range held(t, server) {
						where[kind][key] += strconv.Itoa(i)
					}
				}
			}
			compareLines(t, strings.Split(said[0], "\n"), strings.Split(said[1], "\n"))
			if !maps.Equal(where[0], where[1]) {
				t.Errorf("on ours and on memcached keys lie elsewhere:\n%v\n%v", where[0], where[1])
			}
			shares := make(map[string]map[string]int)
			for key, servers := range where[1] {
				way := key[:strings.IndexAny(key+":", ":,")]
				if shares[way] == nil {
					shares[way] = make(map[string]int)
				}
				shares[way][servers]++
			}
			t.Logf("%v", shares)
			for way, share := range shares {
				if len(share) < 2 && share["01"] == 0 {
					t.Errorf("%s: all keys are on one server: %v", way, share)
				}
			}
			if len(shares) == 0 {
				t.Error("no keys")
			}
		})
	}
}

// front is an address with a server behind it that may be changed, for connections that come later.
type front struct {
	addr    string
	backend atomic.Pointer[string]
}

// newFront listens until the end of the test and then waits for its connections to end.
func newFront(t *testing.T) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{addr: l.Addr().String()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.relay(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return f
}

func (f *front) relay(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", *f.backend.Load())
	if err != nil {
		return // the client sees its connection end
	}
	defer s.Close()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(c, s)
		c.Close()
	})
	_, _ = io.Copy(s, c)
	s.Close()
	back.Wait()
}

// TestMemcapable runs libmemcached's own test of servers. What the real server passes, ours has to pass.
func TestMemcapable(t *testing.T) {
	tool := ""
	for _, name := range []string{"memccapable", "memcapable"} {
		if path, err := exec.LookPath(name); err == nil {
			tool = cmp.Or(tool, path)
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
