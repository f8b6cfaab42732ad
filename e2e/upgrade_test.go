//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"swordfish/internal/testenv"
)

// lineage is a server that is upgraded: one process after the other.
type lineage struct {
	*server
	pidFile string
	pid     int
	log     string
	program string // where its binary lies, a copy of its own
}

// found starts a server with a pid file, a binary of its own and a memory that can be handed over.
func found(t *testing.T, args ...string) *lineage {
	t.Helper()
	// Whoever is left when its parent ends becomes our child, so that we see how it ends.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l := &lineage{pidFile: filepath.Join(dir, "pid"), program: filepath.Join(dir, "swordfishd")}
	l.install(t)
	if raceEnabled && !slices.Contains(args, "-e") {
		args = append(args, "-e", filepath.Join(dir, "memory"))
	}
	own := func(t testing.TB, args ...string) *exec.Cmd {
		cmd := command(t, args...)
		cmd.Path, cmd.Args[0] = l.program, l.program
		return cmd
	}
	args = append(args, "-P", l.pidFile)
	if slices.Contains(args, "-s") { // there is no port to wait for
		l.server = &server{process: startCommand(t, nil, own(t, args...))}
		eventually(t, "the server writes its pid", func() bool {
			_, err := os.Stat(l.pidFile)
			return err == nil || !l.running()
		})
	} else {
		l.server = serveCommand(t, nil, "", own, args...)
	}
	l.pid, l.log = l.cmd.Process.Pid, l.server.log
	t.Cleanup(func() {
		if l.pid != l.cmd.Process.Pid {
			if err := syscall.Kill(l.pid, syscall.SIGTERM); err != nil {
				t.Errorf("process %d: %v", l.pid, err)
			}
			l.gone(t, l.pid)
		}
		if t.Failed() {
			t.Logf("standard error of the servers:\n%s", tail(l.log))
		}
	})
	return l
}

// install puts the binary where the server's lies.
func (l *lineage) install(t *testing.T) {
	t.Helper()
	from, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeProgram(t, l.program, string(b))
}

// gone waits until a process of the lineage has ended and wants exit code 0.
func (l *lineage) gone(t *testing.T, pid int) {
	t.Helper()
	if pid == l.cmd.Process.Pid {
		l.wait(0)
		return
	}
	eventually(t, fmt.Sprintf("process %d ends", pid), func() bool {
		var status unix.WaitStatus
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		if err != nil {
			t.Fatalf("process %d: %v", pid, err)
		}
		if got == pid && status.ExitStatus() != 0 {
			t.Errorf("process %d ended with %v", pid, status)
		}
		return got == pid
	})
}

// upgrade has the next process go on and waits until the one before has ended.
func (l *lineage) upgrade(t *testing.T) {
	t.Helper()
	old := l.pid
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process writes the pid file", func() bool {
		b, err := os.ReadFile(l.pidFile)
		if err != nil {
			return false
		}
		if log, err := os.ReadFile(l.log); err == nil && bytes.Contains(log, []byte("no upgrade")) {
			t.Fatalf("no upgrade:\n%s", tail(l.log))
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err == nil && pid != old {
			l.pid = pid
		}
		return l.pid != old
	})
	l.gone(t, old)
}

// follow takes up the process that the pid file names.
func (l *lineage) follow(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(l.pidFile)
	if err == nil {
		l.pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fds counts the open descriptors of the process.
func (l *lineage) fds(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", l.pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// private returns the memory that the process shares with nobody, in bytes.
func (l *lineage) private(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	line, _, _ := strings.Cut(rest, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// load is what clients do during upgrades: ask for what is there, with every answer checked and timed.
type load struct {
	t       *testing.T
	stop    chan struct{}
	wg      sync.WaitGroup
	asked   atomic.Int64
	longest atomic.Int64 // nanoseconds
	fault   atomic.Pointer[error]
}

func (l *load) run(what string, once func(i int) error) {
	l.wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				return
			default:
			}
			began := time.Now()
			if err := once(i); err != nil {
				err = fmt.Errorf("%s, question %d: %w", what, i, err)
				l.fault.CompareAndSwap(nil, &err)
				return
			}
			took := int64(time.Since(began))
			l.asked.Add(1)
			for old := l.longest.Load(); took > old && !l.longest.CompareAndSwap(old, took); old = l.longest.Load() {
			}
		}
	})
}

// more waits until n more questions were answered.
func (l *load) more(n int64) {
	l.t.Helper()
	from := l.asked.Load()
	eventually(l.t, "clients go on", func() bool {
		if err := l.fault.Load(); err != nil {
			l.t.Fatal(*err)
		}
		return l.asked.Load() >= from+n
	})
}

const upgradeKeys = 5000

func upgradeKey(i int) string { return fmt.Sprint("key:", i*7919%upgradeKeys) }

// expect sends a request and wants an answer, byte by byte.
func expect(c *client, request, answer string) error {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		return err
	}
	got := make([]byte, len(answer))
	if _, err := io.ReadFull(c.in, got); err != nil {
		return fmt.Errorf("%w after %q", err, got)
	}
	if string(got) != answer {
		return fmt.Errorf("got %q, want %q", got, answer)
	}
	return nil
}

// TestE2EUpgradeUnderLoad upgrades a server several times in a row while clients of all kinds use it: no error, nothing missing,
// nobody refused. With E2E_RECORD it tells how long clients waited at most.
func TestE2EUpgradeUnderLoad(t *testing.T) {
	php := testenv.PHP(t)
	l := found(t, "-m", "256", "-U", "-1", "-t", "2", "-o", "admin=127.0.0.1:0")
	host, port, _ := net.SplitHostPort(l.addr)
	c := dial(t, l.addr)
	for i := range upgradeKeys {
		key := fmt.Sprint("key:", i)
		c.want("STORED", "set %s 0 0 %d\r\nvalue of %s", key, len("value of "+key), key)
	}
	c.want("STORED", "set counter 0 0 1\r\n0")
	c.want("STORED", "set once 0 0 1\r\nx")
	c.send("gets once\r\n")
	once := c.line()
	c.line()
	c.line()

	stop := filepath.Join(t.TempDir(), "stop")
	var pages []*exec.Cmd
	var said []*bytes.Buffer
	for i, mode := range []string{"text", "binary", "text"} {
		out := new(bytes.Buffer)
		cmd := exec.Command(php, "-d", "display_errors=stderr", "testdata/loop.php", host, port, fmt.Sprint("php", i), mode, stop)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pages, said = append(pages, cmd), append(said, out)
	}
	clients := &load{t: t, stop: make(chan struct{})}
	connected := func() *client {
		c, err := connect(l.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	text, pipeline, meta, binary, counter := connected(), connected(), connected(), connected(), connected()
	clients.run("text", func(i int) error {
		key := upgradeKey(i)
		return expect(text, "get "+key+"\r\n", fmt.Sprintf("VALUE %s 0 %d\r\nvalue of %s\r\nEND\r\n", key, len("value of "+key), key))
	})
	clients.run("pipeline", func(i int) error {
		big := strings.Repeat(fmt.Sprint(i%10), 20_000)
		set := fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(big), big)
		return expect(pipeline, strings.Repeat(set, 5)+"get big\r\n", strings.Repeat("STORED\r\n", 5)+"VALUE big 0 20000\r\n"+big+"\r\nEND\r\n")
	})
	clients.run("meta", func(i int) error {
		key := upgradeKey(i)
		return expect(meta, "mg "+key+" v\r\n", fmt.Sprintf("VA %d\r\nvalue of %s\r\n", len("value of "+key), key))
	})
	clients.run("binary", func(i int) error {
		noop := "\x80\x0a" + strings.Repeat("\x00", 10) + fmt.Sprintf("%04d", i%10_000) + strings.Repeat("\x00", 8)
		return expect(binary, noop, "\x81\x0a"+strings.Repeat("\x00", 10)+fmt.Sprintf("%04d", i%10_000)+strings.Repeat("\x00", 8))
	})
	clients.run("counter", func(i int) error { return expect(counter, "incr counter 1\r\n", fmt.Sprintf("%d\r\n", i+1)) })
	clients.run("newcomers", func(i int) error {
		c, err := connect(l.addr)
		if err != nil {
			return err
		}
		defer c.Close()
		return expect(c, "mn\r\n", "MN\r\n")
	})
	cut := dial(t, l.addr) // in the middle of a value all the time
	cut.send("set cut 0 0 %d\r\n", len("part0 ")*longer(6)+1)

	clients.more(500)
	var fds, private []int64
	for turn := range longer(6) {
		if turn%2 == 1 {
			l.install(t)
		}
		cut.send("part%d ", turn%10)
		l.upgrade(t)
		clients.more(500)
		fds, private = append(fds, int64(l.fds(t))), append(private, l.private(t))
	}
	cut.want("STORED", "x")
	close(clients.stop)
	clients.wg.Wait()
	if err := clients.fault.Load(); err != nil {
		t.Error(*err)
	}
	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	longest := time.Duration(clients.longest.Load())
	for i, cmd := range pages {
		err := cmd.Wait()
		var asked, errors, misses int
		var ms float64
		if n, scanErr := fmt.Sscanf(said[i].String(), "%d %d %d %f", &asked, &errors, &misses, &ms); err != nil || n != 4 || asked == 0 || errors+misses > 0 {
			t.Errorf("php: %v, %v: %s", err, scanErr, said[i])
		}
		longest = max(longest, time.Duration(ms*float64(time.Millisecond)))
	}
	for i := range upgradeKeys {
		if !c.hits(fmt.Sprint("key:", i)) {
			t.Fatalf("key:%d is missing", i)
		}
	}
	c.send("gets once\r\n")
	if got := c.line(); got != once {
		t.Errorf("got %q, was %q", got, once)
	}
	c.line()
	c.line()
	if n := c.stat("", "rejected_connections"); n != 0 {
		t.Errorf("%d connections were refused", n)
	}
	if n := c.stat("fish", "upgrade_kept"); n < 8 {
		t.Errorf("only %d connections went along", n)
	}
	// A newcomer may be there at one count and not at another.
	if first, last := fds[0], fds[len(fds)-1]; last > first+4 {
		t.Errorf("descriptors at the end of each upgrade: %v", fds)
	}
	if first, last := private[0], private[len(private)-1]; last > first+first/2+16<<20 {
		t.Errorf("private bytes at the end of each upgrade: %v", private)
	}
	text2 := fmt.Sprintf("%d upgrades in a row, 6 Go clients and 3 php-memcached clients; %d answers checked.", longer(6), clients.asked.Load())
	t.Logf("%s The longest wait of a client: %v", text2, longest)
	if recording() {
		tb := &table{head: []string{"upgrades", "answers", "longest wait of a client, ms", "stood still, ms"}}
		tb.row(longer(6), clients.asked.Load(), float64(longest.Microseconds())/1000, strings.Join(stoodStill(l.log), " "))
		record(t, "Upgrade under load", text2, tb)
	}
}

// stoodStill are the times for which servers stood still, as their log has them.
func stoodStill(log string) (all []string) {
	b, _ := os.ReadFile(log)
	for line := range strings.Lines(string(b)) {
		if _, rest, ok := strings.Cut(line, `"stood_still":`); ok {
			ms, _, _ := strings.Cut(rest, ",")
			all = append(all, ms)
		}
	}
	return all
}

// TestE2EUpgradeOfEverySocket keeps a UNIX socket, HTTP and UDP, closes TLS after its reply, and keeps the memory file.
func TestE2EUpgradeOfEverySocket(t *testing.T) {
	pair := testenv.NewAuthority(t, "authority").Issue(t, "server", nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "memory")
	l := found(t, "-l", "notls:127.0.0.2", "-U", "-1", "-m", "64", "-Z", "-o", "ssl_chain_cert="+pair.File+",ssl_key="+pair.KeyFile,
		"-e", file, "-o", "admin=127.0.0.1:0")
	at := func(what string) string {
		t.Helper()
		b, err := os.ReadFile(l.log)
		if err != nil {
			t.Fatal(err)
		}
		address := ""
		for line := range strings.Lines(string(b)) {
			if address == "" && strings.Contains(line, what) {
				_, rest, _ := strings.Cut(line, `"address":"`)
				address, _, _ = strings.Cut(rest, `"`)
			}
		}
		return address
	}
	eventually(t, "HTTP listens", func() bool { return at("admin listening") != "" })
	eventually(t, "UDP is answered", func() bool { return at("answering UDP") != "" })
	admin, secret, udp := at("admin listening"), l.addr, at("answering UDP")
	c := dial(t, at(`"address":"127.0.0.2:`)) // what answers UDP there comes later in the log
	c.want("STORED", "set a 0 0 1\r\nx")
	for turn := range 3 {
		s, err := tls.Dial("tcp", secret, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		s.SetDeadline(time.Now().Add(patience))
		in := bufio.NewReader(s)
		if err := expect(&client{t: t, Conn: s, in: in}, "mn\r\n", "MN\r\n"); err != nil {
			t.Fatal(err)
		}
		l.upgrade(t)
		if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
			t.Errorf("the connection with TLS ends with %q, %v", rest, err)
		}
		if n := c.stat("fish", "upgrade_closed"); n != 1 {
			t.Errorf("%d connections were closed, want the one with TLS", n)
		}
		d, err := net.Dial("udp", udp)
		if err != nil {
			t.Fatal(err)
		}
		d.SetDeadline(time.Now().Add(patience))
		head := "\x00\x07\x00\x00\x00\x01\x00\x00"
		io.WriteString(d, head+"get a\r\n")
		got := make([]byte, 100)
		if n, err := d.Read(got); string(got[:n]) != head+"VALUE a 0 1\r\nx\r\nEND\r\n" {
			t.Errorf("UDP: %q, %v", got[:n], err)
		}
		d.Close()
		resp, err := http.Get("http://" + admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := `swordfish_upgrade_connections{fate="closed"} 1`; err != nil || !strings.Contains(string(body), want) {
			t.Errorf("turn %d: the metrics do not have %s: %v", turn, want, err)
		}
	}
	// The memory file is the last one's, and kept by a stop.
	if err := syscall.Kill(l.pid, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	l.gone(t, l.pid)
	s := serve(t, "", "-m", "64", "-e", file, "-P", l.pidFile)
	l.pid = l.cmd.Process.Pid // it has ended as it should
	if c := dial(t, s.addr); !c.hits("a") {
		t.Error("the item is not in the memory file")
	}
}

// TestE2EUpgradeOfAUnixSocket is about the socket's file, which has to stay until the last process ends.
func TestE2EUpgradeOfAUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "sf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "socket")
	talk := func() *client {
		conn, err := net.DialTimeout("unix", path, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return &client{t: t, Conn: conn, in: bufio.NewReader(conn)}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	config := writeFile(t, dir, "swordfish.yaml", "admin: {listen: off}\n")
	l := found(t, "-s", path, "--config="+config)
	c := talk()
	c.want("STORED", "set a 0 0 1\r\nx")
	// The first try comes as far as listening.
	writeFile(t, dir, "swordfish.yaml", fmt.Sprintf("admin: {listen: %q}\n", taken.Addr()))
	l.signal(syscall.SIGUSR2)
	eventually(t, "there is no upgrade", func() bool { return strings.Contains(tail(l.log), "no upgrade: this process serves on") })
	if c := talk(); !c.hits("a") {
		t.Error("the item is missing")
	}
	writeFile(t, dir, "swordfish.yaml", "admin: {listen: off}\n")
	if err := os.Truncate(l.log, 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.upgrade(t)
		for _, c := range []*client{c, talk()} {
			if !c.hits("a") {
				t.Error("the item is missing")
			}
		}
	}
	if err := syscall.Kill(l.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	l.gone(t, l.pid)
	l.pid = l.cmd.Process.Pid
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's file is left: %v", err)
	}
}

// TestE2EUpgradeAndSnapshots leaves the snapshot at the stop to the process that goes on: the one before writes none.
func TestE2EUpgradeAndSnapshots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	args := []string{"-m", "64", "-o", "admin=127.0.0.1:0,snapshot_load,snapshot_on_stop,snapshot=" + path}
	l := found(t, args...)
	l.loaded() // there is none
	c := dial(t, l.addr)
	for turn := range 3 {
		c.want("STORED", "set turn 0 0 1\r\n%d", turn)
		l.upgrade(t)
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
			t.Errorf("turn %d: beside the snapshot that nobody asked for: %v, %v", turn, left, err)
		}
		if st := l.snapshotState(); st.Save.State != "none" || st.Loading.State != "none" {
			t.Errorf("turn %d: %+v", turn, st)
		}
	}
	c.want("OK", "snapshot") // it can begin
	eventually(t, "it is written", func() bool { return l.snapshotState().Save.Done == 1 })
	c.want("STORED", "set last 0 0 1\r\nx")
	if err := syscall.Kill(l.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	l.gone(t, l.pid)
	l.pid = l.cmd.Process.Pid // it has ended as it should
	s := serve(t, "", args...)
	s.loaded()
	if c := dial(t, s.addr); !c.hits("last") {
		t.Error("what was set after the upgrades is not in the snapshot of the stop")
	} else if got, _, _ := c.get("turn"); got != "2" {
		t.Errorf("got turn %q", got)
	}
}

// TestE2EUpgradeAndHangUp: who asks the old process during an upgrade to read its configuration again has the new one do it.
func TestE2EUpgradeAndHangUp(t *testing.T) {
	real, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	l := found(t, "-m", "64", "-o", "admin=127.0.0.1:0")
	begun, goOn := filepath.Join(t.TempDir(), "begun"), filepath.Join(t.TempDir(), "go")
	script := fmt.Sprintf("#!/bin/sh\n: > %s\nuntil [ -e %s ]; do sleep 0.01; done\nexec %s \"$@\"\n", begun, goOn, real)
	writeProgram(t, l.program, script)
	l.signal(syscall.SIGUSR2)
	eventually(t, "the new process begins", func() bool {
		_, err := os.Stat(begun)
		return err == nil
	})
	l.signal(syscall.SIGHUP) // the old one waits with it
	if err := os.WriteFile(goOn, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l.wait(0)
	l.follow(t)
	eventually(t, "the new one reads it again", func() bool { return strings.Contains(tail(l.log), "configuration reloaded") })
}

// TestE2EUpgradeKeepsTheLogOfRequests wants all that is asked for during an upgrade written down, also while the old process waits
// for a client with TLS that takes nothing.
func TestE2EUpgradeKeepsTheLogOfRequests(t *testing.T) {
	pair := testenv.NewAuthority(t, "authority").Issue(t, "server", nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "requests")
	yaml := writeFile(t, dir, "swordfish.yaml", fmt.Sprintf("admin: {listen: off}\nrequest_log: {path: %q, every: 1h}\n", file))
	l := found(t, "-l", "notls:127.0.0.2", "-m", "64", "-t", "1", "-Z", "-o", "ssl_chain_cert="+pair.File+",ssl_key="+pair.KeyFile, "--config="+yaml)
	plain := ""
	eventually(t, "it says where it listens", func() bool {
		for line := range strings.Lines(tail(l.log)) {
			if _, rest, found := strings.Cut(line, `"address":"127.0.0.2:`); found {
				port, _, _ := strings.Cut(rest, `"`)
				plain = "127.0.0.2:" + port
			}
		}
		return plain != ""
	})
	s, err := tls.Dial("tcp", l.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	secret := &client{t: t, Conn: s, in: bufio.NewReader(s)}
	big := strings.Repeat("x", 1_000_000)
	if err := expect(secret, fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(big), big), "STORED\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(s, strings.Repeat("get big\r\n", 20)); err != nil { // more than sockets hold
		t.Fatal(err)
	}
	c := dial(t, plain)
	asked, pace := 0, time.NewTicker(5*time.Millisecond) // so few that each is written down
	defer pace.Stop()
	more := func(n int) {
		for range n {
			<-pace.C
			c.get(fmt.Sprint("key:", asked))
			asked++
		}
	}
	more(20)
	old := l.pid
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process writes the pid file", func() bool {
		more(1)
		b, err := os.ReadFile(l.pidFile)
		if pid, wrong := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && wrong == nil {
			l.pid = pid
		}
		return l.pid != old
	})
	l.gone(t, old)
	more(20)
	if err := syscall.Kill(l.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	l.gone(t, l.pid)
	l.pid = l.cmd.Process.Pid                                                                // it has ended as it should
	reader := serve(t, config{dsn: "postgres://127.0.0.1:1/none"}.String(), "-o", "admin=0") // to which all of them are plain keys
	admin := adminOf(t, reader)
	runWarm(t, 0, "", "--admin="+admin, "--from", "log", file)
	missing := asked + 1 - lastWarm(t, admin).Passed // the one is "big"
	// A sample that would have to wait for whoever takes the others is left out.
	if missing < 0 || missing > 3 {
		t.Errorf("%d of %d keys that were asked for are not in the log", missing, asked+1)
	}
}

// TestE2EUpgradeToSomethingBroken leaves the old process serving, with the reason in its log and no error for any client, and lets
// the next try succeed.
func TestE2EUpgradeToSomethingBroken(t *testing.T) {
	real, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	takenUDP, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { takenUDP.Close() })
	_, portUDP, _ := net.SplitHostPort(takenUDP.LocalAddr().String())
	const (
		sound = "admin: {listen: 127.0.0.1:0}\n"
		down  = sound + "sources: {main: {kind: postgres, dsn: 'postgres://x@127.0.0.1:1/x'}}\n" + // no reason not to serve
			"routes: [{name: r, key: 'r:{id}', source: main, query: 'SELECT k.ord, k.id AS value FROM unnest(@id::text[]) WITH ORDINALITY AS k(id, ord)', fresh: 1m}]\n"
	)
	tests := map[string]struct {
		program    string // shell; empty: the real one
		yaml, conf string // what is in the files then; empty: as before
		want       string
	}{
		"ends":                                {program: "#!/bin/sh\nexit 1\n", want: "exit status 1"},
		"is no program":                       {program: "not a program", want: "cannot be started"},
		"hangs":                               {program: "#!/bin/sh\nexec sleep 1000\n", want: "it did not answer in time"},
		"is another kind":                     {program: "#!/bin/sh\nexec 3>&-\nexec sleep 1000\n", want: "the new process did not take over"},
		"cannot map the memory":               {program: "#!/bin/sh\nulimit -v 1000000\nexec " + real + " \"$@\"\n", want: "the new process did not take over"},
		"refuses its configuration":           {yaml: "nonsense: 1\n", want: "nonsense"},
		"has a route that is none":            {yaml: strings.Replace(down, "r:{id}", "r:{id}{id}", 1), want: "route"},
		"cannot make sense of a database":     {yaml: strings.Replace(down, "127.0.0.1:1", "127.0.0.1:many", 1), want: "many"},
		"cannot listen for operators":         {yaml: fmt.Sprintf("admin: {listen: %q}\n", taken.Addr()), want: "choose another address"},
		"cannot listen for clients":           {conf: "-U " + portUDP, want: "address already in use"},
		"cannot write down what is asked for": {yaml: sound + "request_log: {path: /nonexistent/requests}\n", want: "request_log"},
		"has no certificates":                 {conf: "-Z -o ssl_chain_cert=/nonexistent/cert,ssl_key=/nonexistent/key", want: "/nonexistent/cert"},
		"has no passwords":                    {conf: "-Y /nonexistent/users", want: "/nonexistent/users"},
		"has another memory":                  {conf: "-e /nonexistent/memory", want: "can only change with a stop and a start"},
		"is to be nobody's":                   {conf: "-u nobody-of-that-name", want: "nobody-of-that-name"},
	}
	if os.Getuid() != 0 {
		delete(tests, "is to be nobody's") // only root changes
	}
	if raceEnabled {
		delete(tests, "has another memory") // found has named one
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			yaml, conf := writeFile(t, dir, "swordfish.yaml", sound), writeFile(t, dir, "memcached.conf", "")
			l := found(t, "-m", "64", "--config="+yaml, "--memcached-conf="+conf)
			c := dial(t, l.addr)
			c.want("STORED", "set a 0 0 1\r\nx")
			clients := &load{t: t, stop: make(chan struct{})}
			old, err := connect(l.addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { old.Close() })
			clients.run("old", func(int) error { return expect(old, "get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n") })
			clients.run("newcomers", func(int) error {
				c, err := connect(l.addr)
				if err != nil {
					return err
				}
				defer c.Close()
				return expect(c, "get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")
			})
			clients.more(10)
			before := l.fds(t)
			if test.program != "" {
				writeProgram(t, l.program, test.program)
			}
			if test.yaml != "" {
				err = errors.Join(err, os.WriteFile(yaml, []byte(test.yaml), 0o644))
			}
			if test.conf != "" {
				err = errors.Join(err, os.WriteFile(conf, []byte(test.conf+"\n"), 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
			l.signal(syscall.SIGUSR2)
			eventually(t, "the log tells why", func() bool {
				b, err := os.ReadFile(l.log)
				return err == nil && bytes.Contains(b, []byte("no upgrade: this process serves on"))
			})
			b, err := os.ReadFile(l.log)
			if err != nil || !bytes.Contains(b, []byte(test.want)) {
				t.Errorf("the log does not have %q:\n%s", test.want, b)
			}
			clients.more(10)
			c.want("STORED", "set b 0 0 1\r\nx")
			// Clients come and go: two of their connections may be there, each with a descriptor of the socket.
			if after := l.fds(t); after > before+2 {
				t.Errorf("%d descriptors, were %d", after, before)
			}
			// Once it is put right it works.
			l.install(t)
			if err := errors.Join(os.WriteFile(yaml, []byte(down), 0o644), os.WriteFile(conf, nil, 0o644), os.Truncate(l.log, 0)); err != nil {
				t.Fatal(err)
			}
			l.upgrade(t)
			clients.more(10)
			close(clients.stop)
			clients.wg.Wait()
			if err := clients.fault.Load(); err != nil {
				t.Error(*err)
			}
			if !c.hits("a") || !c.hits("b") {
				t.Error("an item is missing")
			}
		})
	}
}

// TestE2EUpgradeShortOfDescriptors gives the new process more and more descriptors until it can go on, so that it lacks one wherever
// it takes one. As long as it does, the old process serves on.
func TestE2EUpgradeShortOfDescriptors(t *testing.T) {
	real, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// With few clients allowed it does not ask for more than it is given, whatever it inherits.
	conf := writeFile(t, dir, "memcached.conf", "-c 1000\n")
	l := found(t, "-m", "64", "-t", "2", "-o", "admin=127.0.0.1:0", "--memcached-conf="+conf)
	c := dial(t, l.addr)
	c.want("STORED", "set a 0 0 1\r\nx")
	var others []*client
	for range 110 {
		others = append(others, dial(t, l.addr))
	}
	if err := os.WriteFile(conf, []byte("-c 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for limit := 110; ; limit++ {
		script := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", limit, real)
		writeProgram(t, l.program, script)
		if err := os.Truncate(l.log, 0); err != nil {
			t.Fatal(err)
		}
		l.signal(syscall.SIGUSR2)
		said := ""
		eventually(t, "one of them goes on", func() bool {
			said = tail(l.log)
			return strings.Contains(said, "no upgrade: this process serves on") || strings.Contains(said, "going on where the old process has stopped")
		})
		for _, c := range append(others, c) {
			if !c.hits("a") {
				t.Fatalf("with %d descriptors: the item is missing", limit)
			}
		}
		if !strings.Contains(said, "no upgrade") {
			break
		}
		refused++
	}
	if refused < 10 {
		t.Errorf("it was refused %d times: it had too many descriptors from the beginning", refused)
	}
	l.wait(0)
	l.follow(t)
}
