//go:build linux

package deploy

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
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

const patience = time.Minute

// static builds swordfishd as the Dockerfile does.
var static = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := self + ".swordfishd" // in a directory that the go command removes
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", path, "swordfish/cmd/swordfishd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, err
})

func staticBinary(t *testing.T) string {
	t.Helper()
	path, err := static()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// unit reads the settings of the service, by name, in the order in which they come.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("systemd/swordfish.service")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			settings[name] = append(settings[name], value)
		}
	}
	return settings
}

func analyze(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		testenv.Missing(t, "systemd-analyze", "apt-get install systemd")
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// systemd knows every setting of the unit, and finds little that the service could do harm with.
func TestUnitIsGood(t *testing.T) {
	b, err := os.ReadFile("systemd/swordfish.service")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "swordfish.service") // with a binary that is there
	if err := os.WriteFile(file, bytes.ReplaceAll(b, []byte("/usr/local/bin/swordfishd"), []byte(staticBinary(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := analyze(t, "verify", "--man=no", file); strings.Contains(said, "swordfish.service") {
		t.Errorf("systemd-analyze verify says: %s", said)
	}
	analyze(t, "security", "--offline=yes", "--threshold=15", file) // 0 is no exposure, 100 all of it

	sysusers, err := os.ReadFile("systemd/swordfish.sysusers")
	if err != nil {
		t.Fatal(err)
	}
	if u := unit(t)["User"]; len(u) != 1 || !strings.Contains(string(sysusers), "\nu "+u[0]+" - ") {
		t.Errorf("the service runs as %v; the users made are %s", u, sysusers)
	}
}

// The binary is one file that needs no other.
func TestBinaryIsStatic(t *testing.T) {
	f, err := elf.Open(staticBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a segment %v: it needs libraries", p.Type)
		}
	}
}

// allowed are the system calls that the unit's SystemCallFilter lets pass.
func allowed(t *testing.T) map[string]bool {
	t.Helper()
	groups := map[string][]string{}
	var group string
	for line := range strings.Lines(analyze(t, "syscall-filter")) {
		name := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "@"):
			group = name
		case name != "" && !strings.HasPrefix(name, "#"):
			groups[group] = append(groups[group], name)
		}
	}
	set := map[string]bool{}
	var mark func(name string, on bool)
	mark = func(name string, on bool) {
		if !strings.HasPrefix(name, "@") {
			set[name] = on
			return
		}
		if len(groups[name]) == 0 {
			t.Errorf("there is no group %s", name)
		}
		for _, member := range groups[name] {
			mark(member, on)
		}
	}
	for _, filter := range unit(t)["SystemCallFilter"] {
		list, off := strings.CutPrefix(filter, "~")
		for name := range strings.FieldsSeq(list) {
			mark(name, !off)
		}
	}
	return set
}

// manager is the socket of a service manager.
type manager struct {
	t *testing.T
	c *net.UnixConn
}

func listenAsManager(t *testing.T, path string) *manager {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &manager{t, c}
}

// hears returns what comes next.
func (m *manager) hears() []string {
	m.t.Helper()
	b := make([]byte, 4096)
	if err := m.c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	n, err := m.c.Read(b)
	if err != nil {
		m.t.Fatalf("nothing is told: %v", err)
	}
	return strings.Split(string(b[:n]), "\n")
}

func (m *manager) wants(first string) []string {
	m.t.Helper()
	got := m.hears()
	if got[0] != first {
		m.t.Fatalf("told %q, want %s", got, first)
	}
	return got
}

// The service tells its manager when it serves, reloads, is upgraded and stops, and gets along with the system calls that the unit
// leaves it.
func TestServiceUnderManager(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		testenv.Missing(t, "strace", "apt-get install strace")
	}
	may := allowed(t)
	dir, err := os.MkdirTemp("", "fish") // a short name, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := listenAsManager(t, filepath.Join(dir, "notify"))
	config, socket, trace, memory := filepath.Join(dir, "swordfish.yaml"), filepath.Join(dir, "socket"), filepath.Join(dir, "trace"), filepath.Join(dir, "memory")
	if err := os.WriteFile(config, []byte("routes: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	line := strings.NewReplacer("/usr/local/bin/swordfishd", staticBinary(t), "/etc/swordfish/swordfish.yaml", config,
		"$SWORDFISHD_OPTIONS", "-m 64 -e "+memory+" -o admin=0 -s "+socket).Replace(unit(t)["ExecStart"][0])
	// -D: the server, not strace, is our child.
	cmd := exec.Command(strace, append([]string{"-D", "-f", "-qq", "-o", trace}, strings.Fields(line)...)...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := os.Create(filepath.Join(dir, "stderr")) // no pipe: the next process has it, too, and Wait would wait for that
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			_ = cmd.Process.Kill() // an error says that it has ended
			log, _ := os.ReadFile(said.Name())
			t.Logf("standard error:\n%s", log)
		}
	})

	m.wants("READY=1")
	ask := func(command, want string) {
		t.Helper()
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatalf("it said that it was ready: %v", err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, command) // an error shows in the answer
		if got, err := bufio.NewReader(c).ReadString('\n'); strings.TrimSpace(got) != want {
			t.Errorf("%q: got %q, %v", command, got, err)
		}
	}
	ask("set k 0 0 1\r\nx\r\n", "STORED")
	if err := os.WriteFile(config, []byte("nonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a configuration that cannot be used ends no service
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		got := m.wants("RELOADING=1")
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "MONOTONIC_USEC=") && s != "MONOTONIC_USEC=0" }) {
			t.Errorf("told %q, without the time", got)
		}
		m.wants("READY=1")
		ask("get k\r\n", "VALUE k 0 1")
	}

	if err := os.WriteFile(config, []byte("routes: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	told, _ := strings.CutPrefix(m.hears()[0], "MAINPID=")
	next, err := strconv.Atoi(told)
	if err != nil {
		t.Fatalf("told %q, want the process id of the next", told)
	}
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(next, syscall.SIGKILL) // an error says that it has ended
		}
	})
	m.wants("READY=1")
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not leave the service to the next")
	}
	ask("get k\r\n", "VALUE k 0 1")

	if err := syscall.Kill(next, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	m.wants("STOPPING=1")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C { // it is not our child
		if _, err := os.Stat(memory + ".meta"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not stop, or leaves no items")
		}
	}
	calls := traced(t, trace)
	if len(calls) < 20 {
		t.Errorf("only %d system calls are seen", len(calls))
	}
	for name, line := range calls {
		if !may[name] {
			t.Errorf("the unit forbids %s: %s", name, line)
		}
	}
}

// traced returns the system calls in a trace, each with a line that shows it.
func traced(t *testing.T, path string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]string{}
	for line := range strings.Lines(string(b)) {
		_, call, _ := strings.Cut(line, " ")
		name, _, ok := strings.Cut(strings.TrimSpace(call), "(")
		if ok && !strings.ContainsAny(name, " <+-") {
			calls[name] = strings.TrimSpace(line)
		}
	}
	return calls
}
