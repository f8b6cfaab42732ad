//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

const (
	suiteList  = "testdata/memcached-suite/list.txt"
	suiteAtOne = 8               // tests at a time: they sleep more than they work
	suiteLong  = 3 * time.Minute // what a test may take
	suitePorts = 14000           // the first that tests may listen on; the last is below those that the system deals out
	suiteRange = 500             // ports of one of the tests that run at a time
)

// listed is what suiteList says of a test.
type listed struct {
	name  string // without .t, and with + and a variant for one
	state string // one of suiteStates
	fails []int  // numbers of the subtests that fail, exactly; with wavers, that may
}

var suiteStates = []string{"holds", "fails", "wavers", "breaks", "skips", "out"}

func subset(some, all []int) bool {
	return !slices.ContainsFunc(some, func(n int) bool { return !slices.Contains(all, n) })
}

// String writes a line of the list.
func (l *listed) String() string {
	line := l.name + " " + l.state
	for i := 0; i < len(l.fails); {
		last := i
		for last+1 < len(l.fails) && l.fails[last+1] == l.fails[last]+1 {
			last++
		}
		line += " " + strconv.Itoa(l.fails[i])
		if last > i {
			line += "-" + strconv.Itoa(l.fails[last])
		}
		i = last + 1
	}
	return line
}

// outcome is what a test printed, in the Test Anything Protocol, and how it ended.
type outcome struct {
	plan, ran int // plan is -1 if there was none
	failed    []int
	skips     bool
	exit      error
	out, err  []byte
	took      time.Duration
}

// TestMemcachedSuite runs memcached's own tests against swordfishd. The list says of each what becomes of it, and both must
// agree: what holds has to go on to, and what has come to hold has to be written down.
func TestMemcachedSuite(t *testing.T) {
	suite := testenv.MemcachedSuite(t)
	if len(suiteFiles(t, suite)) == 0 {
		t.Fatalf("no tests in %s", suite)
	}
	all := readSuiteList(t)
	dir := layOut(t, suite)
	all = slices.DeleteFunc(all, func(l listed) bool { return l.state == "out" })
	results := make([]chan outcome, len(all))
	for i := range all {
		results[i] = make(chan outcome, 1)
	}
	first := suitePortsFree(t)
	next := make(chan int, len(all))
	for i := range all {
		next <- i
	}
	close(next)
	for n := range suiteAtOne {
		go func() {
			for i := range next {
				results[i] <- runSuiteTest(dir, first+n*suiteRange, &all[i])
			}
		}()
	}
	hold := 0
	for i, test := range all {
		t.Run(test.name, func(t *testing.T) {
			got := <-results[i]
			t.Logf("%d of %d subtests ran, in %v", got.ran, got.plan, got.took.Round(time.Millisecond))
			seen := listed{test.name, got.state(), got.failed}
			if test.state == "wavers" && (seen.state == "holds" || seen.state == "fails") && subset(got.failed, test.fails) {
				seen = test
			}
			if seen.String() != test.String() {
				t.Errorf("got  %v\nwant %v\n%v; its standard error: %s", &seen, &test, got.exit, shortened(got.err))
			} else if seen.state == "holds" {
				hold++
			}
		})
	}
	t.Logf("%d of %d hold", hold, len(all))
}

// suitePortsFree returns the first of the ports that this process may use: another may be running the suite too. Whoever
// listens on that port has those up to the next such.
func suitePortsFree(t *testing.T) int {
	t.Helper()
	const ports = 1 + suiteAtOne*suiteRange
	for first := suitePorts; first+ports <= 32768; first += ports {
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", first)); err == nil {
			t.Cleanup(func() { l.Close() })
			return first + 1
		}
	}
	t.Fatal("others run the suite, or something like it, on all the ports that there are for it")
	return 0
}

// TestMemcachedSuiteIsListed wants each test of the suite in the list, and those that do not hold in docs/PROTOCOL.md.
func TestMemcachedSuiteIsListed(t *testing.T) {
	suite := testenv.MemcachedSuite(t)
	page, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## memcached's own test-suite\n")
	if !ok {
		t.Fatal("docs/PROTOCOL.md has no section about the suite")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var said []string // names in the first column; a * at the end stands for any ending
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			said = append(said, strings.Fields(strings.ReplaceAll(cells[1], ",", " "))...)
		}
	}
	in := map[string]bool{}
	for _, test := range readSuiteList(t) {
		if in[test.name] {
			t.Errorf("%s is listed twice", test.name)
		}
		in[test.name] = true
		explained := slices.ContainsFunc(said, func(word string) bool {
			prefix, any := strings.CutSuffix(word, "*")
			return word == test.name || any && strings.HasPrefix(test.name, prefix)
		})
		if explained == (test.state == "holds") {
			t.Errorf("%s %s; does docs/PROTOCOL.md say why it does not: %v", test.name, test.state, explained)
		}
	}
	for _, name := range suiteFiles(t, suite) {
		if !in[name] {
			t.Errorf("%s is not listed", name)
		}
	}
}

func suiteFiles(t *testing.T, suite string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(suite, "t", "*.t"))
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(path), ".t")
	}
	return names
}

// readSuiteList reads lines such as "issue_22 fails 43 84".
func readSuiteList(t *testing.T) (all []listed) {
	t.Helper()
	text, err := os.ReadFile(suiteList)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(words) < 2 || !slices.Contains(suiteStates, words[1]) {
			t.Fatalf("%s:%d: write NAME, one of %v, and the numbers of subtests that fail", suiteList, i+1, suiteStates)
		}
		test := listed{name: words[0], state: words[1]}
		for _, word := range words[2:] {
			first, last, isRange := strings.Cut(word, "-")
			from, err := strconv.Atoi(first)
			to := from
			if err == nil && isRange {
				to, err = strconv.Atoi(last)
			}
			if err != nil {
				t.Fatalf("%s:%d: %v", suiteList, i+1, err)
			}
			for n := from; n <= to; n++ {
				test.fails = append(test.fails, n)
			}
		}
		all = append(all, test)
	}
	return all
}

// suiteVariants are the endings of names in the list: arguments that every server of such a test gets besides. One more, tls,
// has the test run over TLS, as memcached's make test_basic_tls does with a few; for cut see cutWatcher.
var suiteVariants = map[string]string{"": "", "unshared": "-o no_sharing", "cut": ""}

// cutWatcher takes the wait for an eviction out of watcher.t, which otherwise hangs there and leaves the rest untried.
func cutWatcher(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), "# test combined logs\n")
	waits, tail, found := strings.Cut(rest, "# test cas command logs\n")
	if !ok || !found || !strings.Contains(head, "plan tests => 43;") || strings.Count(waits, "    is(") != 4 {
		t.Fatalf("%s has changed", path)
	}
	writeFile(t, filepath.Dir(path), filepath.Base(path), strings.Replace(head, "plan tests => 43;", "plan tests => 39;", 1)+tail)
}

// layOut makes a directory for each variant in which memcached's tests find what they expect in memcached's source. The end of
// the test ends every server that one of them may have left behind.
func layOut(t *testing.T, suite string) string {
	t.Helper()
	built, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "suite")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ours := filepath.Join(dir, "swordfishd")
	if err := os.Link(built, ours); err != nil {
		binary, err := os.ReadFile(built) // on another file system
		if err != nil {
			t.Fatal(err)
		}
		writeProgram(t, ours, string(binary))
	}
	t.Cleanup(func() { killAll(ours) })
	// binary-sasl makes a user in Cyrus SASL's database; ours is in a file of lines from the start.
	writeProgram(t, filepath.Join(dir, "saslpasswd2"), "#!/bin/sh\nexec cat >/dev/null\n")
	writeFile(t, dir, "passwords", "testuser@memcached.realm:testpass\n")
	for name, args := range suiteVariants {
		at := filepath.Join(dir, "variant"+name)
		if err := os.CopyFS(filepath.Join(at, "t"), os.DirFS(filepath.Join(suite, "t"))); err != nil {
			t.Fatal(err)
		}
		if name == "cut" {
			cutWatcher(t, filepath.Join(at, "t", "watcher.t"))
		}
		if err := os.Symlink(filepath.Join(suite, "doc"), filepath.Join(at, "doc")); err != nil {
			t.Fatal(err)
		}
		writeProgram(t, filepath.Join(at, "memcached-debug"), "#!/bin/sh\n[ \"$1\" = -h ] && exec "+ours+" -h\nexec "+ours+" \"$@\" -o admin=off "+args+"\n")
		// Signals go to the server itself, which does not outlive its test.
		writeProgram(t, filepath.Join(at, "timedrun"), "#!/bin/sh\nshift\nexec setpriv --pdeathsig KILL \"$@\"\n")
	}
	return dir
}

// writeProgram puts a program at path as a package manager does: beside it, and renamed. No other test may fork meanwhile: its child
// would have the file open for writing for a moment, and then it cannot be run.
func writeProgram(t *testing.T, path, content string) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(path+".new", []byte(content), 0o755)
	syscall.ForkLock.RUnlock()
	if err = errors.Join(err, os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// killAll ends what runs the program exe: a daemon has left the process group of the test that started it.
func killAll(exe string) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.TrimSuffix(to, " (deleted)") == exe {
			if pid, err := strconv.Atoi(strings.Split(link, "/")[2]); err == nil {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// runSuiteTest runs a test. Its servers listen on the given port and those after it.
func runSuiteTest(dir string, port int, test *listed) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), suiteLong)
	defer cancel()
	name, variant, _ := strings.Cut(test.name, "+")
	tls := variant == "tls" || strings.HasPrefix(name, "ssl_")
	if variant == "tls" {
		variant = ""
	}
	adapted, err := filepath.Abs(filepath.Dir(suiteList))
	if err != nil {
		return outcome{exit: err}
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/perl", "-It/lib", "-I"+adapted, "-MAdapted", "t/"+name+".t")
	cmd.Dir = filepath.Join(dir, "variant"+variant)
	cmd.Env = append(os.Environ(), fmt.Sprint("SUITE_PORTS=", port), "LC_ALL=C")
	if name == "binary-sasl" {
		cmd.Env = append(cmd.Env, "RUN_SASL_TESTS=1", "PATH="+dir+":"+os.Getenv("PATH"), "MEMCACHED_SASL_PWDB="+filepath.Join(dir, "passwords"))
	}
	if tls {
		cmd.Env = append(cmd.Env, "SSL_TEST=1")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second // for a daemon that holds the output open
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	var o outcome
	o.exit = cmd.Run()
	if errors.Is(o.exit, exec.ErrWaitDelay) {
		o.exit = nil
	}
	o.took = time.Since(began)
	o.out, o.err = stdout.Bytes(), stderr.Bytes()
	o.read()
	return o
}

// read counts what the test printed.
func (o *outcome) read() {
	o.plan = -1
	for line := range strings.Lines(string(o.out)) {
		rest, bad := strings.CutPrefix(line, "not ")
		if number, ok := strings.CutPrefix(rest, "ok "); ok {
			n, _, _ := strings.Cut(strings.TrimSpace(number), " ")
			if _, err := strconv.Atoi(n); err != nil {
				continue // what a test printed for itself
			}
			o.ran++
			if bad && !strings.Contains(line, "# TODO") {
				o.failed = append(o.failed, o.ran)
			}
		} else if plan, ok := strings.CutPrefix(line, "1.."); ok {
			n, why, _ := strings.Cut(strings.TrimSpace(plan), " ")
			o.plan, _ = strconv.Atoi(n)
			o.skips = o.plan == 0 && strings.Contains(strings.ToUpper(why), "SKIP")
		}
	}
}

// state is the outcome in the words of the list.
func (o *outcome) state() string {
	switch {
	case o.skips && o.exit == nil:
		return "skips"
	case o.plan < 0 || o.ran != o.plan:
		return "breaks"
	case o.exit == nil && len(o.failed) == 0:
		return "holds"
	}
	return "fails"
}

func shortened(b []byte) []byte {
	if len(b) > 6000 {
		b = slices.Concat(b[:2000], []byte("\n...\n"), b[len(b)-4000:])
	}
	return b
}

// plainBinary builds swordfishd without the race detector.
var plainBinary = sync.OnceValues(func() (string, error) { return build(false) })
