package testenv

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

// superuser is the role that tests connect as. Authentication is trust: the cluster listens on loopback and lives minutes.
const superuser = "fish"

// settings of every cluster. Nothing is synced to disk, since the data is thrown away; commits reach the kernel before they
// are confirmed, so they survive Kill. Logical decoding and pg_stat_statements are on. Dynamic shared memory lives in the
// cluster's directory, so that a killed cluster leaves nothing in /dev/shm.
const settings = `
listen_addresses = '127.0.0.1'
max_connections = 100
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
fsync = off
full_page_writes = off
wal_level = logical
max_wal_senders = 10
max_replication_slots = 10
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = all
timezone = 'UTC'
log_min_messages = warning
`

// PG is a database of its own for one test, with the extension pg_stat_statements. Its methods are for the test's goroutine.
type PG struct {
	DSN       string // URL of the database over TCP, as superuser, without TLS
	SocketDSN string // the same over the unix socket
	Host      string // always 127.0.0.1
	Port      int
	Database  string
	User      string

	t testing.TB
	c *cluster
}

// Cluster is a Postgres that one test has for itself and may freeze, stop and kill; Database is a fresh one in it.
type Cluster struct{ PG }

// shared is the cluster of this test binary, started by the first call of Postgres.
var shared struct {
	sync.Mutex
	c *cluster
}

// Postgres returns a fresh, empty database in the test binary's shared cluster. The end of the test drops it, whoever is
// still connected. Safe for parallel tests.
func Postgres(t testing.TB) *PG {
	t.Helper()
	bin := postgresBin(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.c == nil {
		c, err := newCluster(bin)
		if err != nil {
			t.Fatal(err)
		}
		shared.c = c
	}
	p := freshDatabase(t, shared.c)
	t.Cleanup(func() {
		if err := shared.c.exec("postgres", "DROP DATABASE "+p.Database+" WITH (FORCE)"); err != nil {
			t.Errorf("testenv: %v", err)
		}
	})
	return p
}

// OwnPostgres starts a cluster for this test alone, for tests that make it fail. The end of the test removes it, frozen or not.
func OwnPostgres(t testing.TB) *Cluster {
	t.Helper()
	c, err := newCluster(postgresBin(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.remove)
	return &Cluster{*freshDatabase(t, c)}
}

// endShared stops the shared cluster, if there is one, and removes its directory.
func endShared() {
	shared.Lock()
	defer shared.Unlock()
	if shared.c != nil {
		shared.c.remove()
		shared.c = nil
	}
}

// Exec runs one or more statements, separated by semicolons, on a connection of their own; an error fails the test.
func (p *PG) Exec(sql string) {
	p.t.Helper()
	if err := p.c.exec(p.Database, sql); err != nil {
		p.t.Fatal(err)
	}
}

// Pids returns the postmaster's pid and then those of its children: all that there is of this cluster.
func (p *PG) Pids() []int {
	if p.c.proc == nil || !p.c.proc.running() {
		return nil
	}
	pid := p.c.proc.pid()
	return append([]int{pid}, children(pid)...)
}

// Stop shuts the cluster down in order, cutting connections, and waits for its end. A frozen cluster is thawed first.
func (c *Cluster) Stop() {
	c.t.Helper()
	c.up()
	c.Thaw()
	c.c.proc.end(syscall.SIGINT)
	c.c.proc = nil
}

// Start starts a stopped or killed cluster again, on the same port with the same data, and waits until it is ready.
func (c *Cluster) Start() {
	c.t.Helper()
	if c.c.proc != nil {
		c.t.Fatal("testenv: Start of a cluster that runs")
	}
	if err := c.c.start(c.Port); err != nil {
		c.t.Fatal(err)
	}
}

// Restart is Stop and Start.
func (c *Cluster) Restart() {
	c.t.Helper()
	c.Stop()
	c.Start()
}

// Kill ends every process of the cluster by SIGKILL, as a crash of the machine would, and returns when all are gone.
func (c *Cluster) Kill() {
	c.t.Helper()
	c.up()
	c.c.kill()
}

// Freeze stops every process of the cluster by SIGSTOP, the postmaster first so that it starts no more, and returns when all
// stand still. Connections stay open and the kernel goes on accepting new ones, but nobody answers.
func (c *Cluster) Freeze() {
	c.t.Helper()
	c.up()
	frozen := poll(func() bool {
		all := true
		for _, pid := range c.Pids() {
			if s := state(pid); s != 'T' && s != 'Z' && s != 0 {
				_ = syscall.Kill(pid, syscall.SIGSTOP) // gone meanwhile: the next look says so
				all = false
			}
		}
		return all
	})
	if !frozen {
		c.t.Fatalf("testenv: cluster of pid %d did not freeze", c.c.proc.pid())
	}
}

// Thaw lets a frozen cluster go on. It does nothing to one that runs.
func (c *Cluster) Thaw() {
	c.t.Helper()
	c.up()
	for _, pid := range c.Pids() {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

func (c *Cluster) up() {
	c.t.Helper()
	if c.c.proc == nil {
		c.t.Fatal("testenv: the cluster is down: Start it first")
	}
}

// cluster is a data directory with, while it runs, its postmaster.
type cluster struct {
	bin  string // directory of the programs
	dir  string // everything of this cluster; the socket lies here, the data in data
	acct account
	port int
	proc *process // nil: not running
	made atomic.Uint32
}

// postgresBin returns the directory of initdb and postgres: from PATH, else the newest of Debian's.
func postgresBin(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well-formed
	if len(found) == 0 {
		Missing(t, "PostgreSQL's server", "apt-get install postgresql (15 or newer; no need to start it)")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // not a number: oldest
		return n
	}
	sort.Slice(found, func(i, j int) bool { return version(found[i]) > version(found[j]) })
	return filepath.Dir(found[0])
}

// newCluster makes and starts a cluster. initdb takes 0.7 s, copying a prepared directory 0.2 s: not worth a cache.
func newCluster(bin string) (*cluster, error) {
	acct, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := privateDir(acct)
	if err != nil {
		return nil, err
	}
	c := &cluster{bin: bin, dir: dir, acct: acct}
	if err := c.init(); err != nil {
		c.remove()
		return nil, err
	}
	if err := retryPort(c.start); err != nil {
		c.remove()
		return nil, err
	}
	if err := c.exec("template1", "CREATE EXTENSION pg_stat_statements"); err != nil {
		c.remove()
		return nil, err
	}
	return c, nil
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }
func (c *cluster) log() string  { return filepath.Join(c.dir, "log") }

// command is one of PostgreSQL's programs, run as the account in the cluster's directory: it may not be able to enter ours.
func (c *cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.dir, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.acct.cred}
	return cmd
}

func (c *cluster) init() error {
	cmd := c.command("initdb", "--pgdata", c.data(), "--username", superuser, "--auth", "trust", "--encoding", "UTF8",
		"--locale", "C", "--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("testenv: initdb: %w\n%s", err, out)
	}
	f, err := os.OpenFile(filepath.Join(c.data(), "postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%sunix_socket_directories = '%s'\n", settings, c.dir)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// start starts the postmaster on port and returns when it takes connections.
func (c *cluster) start(port int) error {
	cmd := c.command("postgres", "-D", c.data(), "-p", strconv.Itoa(port))
	p, err := start(cmd, "QUIT", c.dir, c.log())
	if err != nil {
		return err
	}
	// The eighth line of the pid file turns to "ready" when recovery is over; an old file names another pid.
	ready := func() bool {
		b, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
		lines := strings.Split(string(b), "\n")
		return err == nil && len(lines) >= 8 && lines[0] == strconv.Itoa(p.pid()) && strings.TrimSpace(lines[7]) == "ready"
	}
	if !poll(func() bool { return !p.running() || ready() }) || !p.running() {
		p.end(syscall.SIGQUIT)
		return fmt.Errorf("testenv: postgres did not start on port %d: %s", port, tail(c.log()))
	}
	c.port, c.proc = port, p
	return nil
}

// kill ends all processes of the cluster without a chance to clean up.
func (c *cluster) kill() {
	pid := c.proc.pid()
	pids := children(pid)
	c.proc.end(syscall.SIGKILL)
	for _, child := range pids {
		_ = syscall.Kill(child, syscall.SIGKILL) // most went by themselves with the postmaster
	}
	poll(func() bool {
		for _, child := range pids {
			if s := state(child); s != 0 && s != 'Z' {
				return false
			}
		}
		return true
	})
	c.proc = nil
}

// remove ends the cluster at once, in whatever state, and removes its directory.
func (c *cluster) remove() {
	if c.proc != nil {
		pid := c.proc.pid()
		for _, child := range append(children(pid), pid) {
			_ = syscall.Kill(child, syscall.SIGCONT)
		}
		c.proc.end(syscall.SIGQUIT)
		c.proc = nil
	}
	c.dropSharedMemory()
	os.RemoveAll(c.dir)
}

// dropSharedMemory removes the System V segment that a killed postmaster leaves: its pid file, which an orderly end
// deletes, names it in line 7 as key and id.
func (c *cluster) dropSharedMemory() {
	b, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
	if err != nil {
		return
	}
	if lines := strings.Split(string(b), "\n"); len(lines) >= 7 {
		if f := strings.Fields(lines[6]); len(f) == 2 {
			if id, err := strconv.Atoi(f[1]); err == nil {
				_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
			}
		}
	}
}

// exec runs SQL in a database of the cluster over the unix socket.
func (c *cluster) exec(database, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, c.dsn(c.dir, database))
	if err != nil {
		return fmt.Errorf("testenv: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("testenv: %.200s: %w", sql, err)
	}
	return nil
}

// dsn is a URL for pgx and libpq alike; host is a name or a socket's directory.
func (c *cluster) dsn(host, database string) string {
	if strings.HasPrefix(host, "/") {
		return fmt.Sprintf("postgres:///%s?host=%s&port=%d&user=%s&sslmode=disable", database, host, c.port, superuser)
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", superuser, net.JoinHostPort(host, strconv.Itoa(c.port)), database)
}

func freshDatabase(t testing.TB, c *cluster) *PG {
	t.Helper()
	name := fmt.Sprintf("db%d", c.made.Add(1))
	if err := c.exec("postgres", "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return &PG{
		DSN: c.dsn("127.0.0.1", name), SocketDSN: c.dsn(c.dir, name), Host: "127.0.0.1", Port: c.port,
		Database: name, User: superuser, t: t, c: c,
	}
}
