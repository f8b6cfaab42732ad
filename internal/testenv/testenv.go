// Package testenv gives tests the real programs they are checked against: memcached, PostgreSQL and PHP. It starts them on
// free loopback ports in private directories, and ends them with the test that asked, or at the latest with the test
// binary, however that ends. It never touches a server that it did not start.
//
// A program that is not installed makes the test skip, loudly; with SWORDFISH_CI=1 in the environment it fails instead.
package testenv

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Main runs the tests of a binary, ends what they left running, and exits. Use it as the body of TestMain where a package
// shares a Postgres, so that the run ends only after the cluster did. Without it the cluster ends just after the binary.
func Main(m *testing.M) {
	code := m.Run()
	endShared()
	os.Exit(code)
}

// Missing skips the test because what is not to be had on this machine; remedy is the command or the setting that helps.
// With SWORDFISH_CI=1 it fails the test. go test hides the output of packages that pass, so the sentence also goes to the
// go command's own standard error, where there is one.
func Missing(t testing.TB, what, remedy string) {
	t.Helper()
	w := goCommandStderr()
	defer w.Close()
	missing(t, w, what, remedy)
}

func missing(t testing.TB, w io.Writer, what, remedy string) {
	t.Helper()
	if os.Getenv("SWORDFISH_CI") == "1" {
		t.Fatalf("%s is missing, and with SWORDFISH_CI=1 that is a failure: %s", what, remedy)
	}
	pkg := strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
	fmt.Fprintf(w, "SKIPPED %s %s: %s is missing: %s\n", pkg, t.Name(), what, remedy)
	t.Skipf("%s is missing: %s", what, remedy)
}

// goCommandStderr opens the standard error of the go command that runs this test binary. It opens the null device instead
// if the parent is something else (the output is then visible anyway) or if its standard error is a file, which two writers
// would garble.
func goCommandStderr() *os.File {
	parent := filepath.Join("/proc", strconv.Itoa(os.Getppid()))
	comm, _ := os.ReadFile(filepath.Join(parent, "comm")) // no such file, no go command
	path := filepath.Join(parent, "fd", "2")
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && strings.TrimSpace(string(comm)) == "go" {
		if f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOCTTY, 0); err == nil {
			return f
		}
	}
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		panic("testenv: " + err.Error())
	}
	return f
}

// account is whom servers run as. initdb refuses root and memcached wants a name from it.
type account struct {
	name     string
	uid, gid int
	cred     *syscall.Credential // nil: as ourselves
}

// serverAccount returns ourselves, or for root the user postgres, or nobody where that does not exist.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Getuid(), gid: os.Getgid()}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return account{}, fmt.Errorf("testenv: as root, no user to run servers as: %w", err)
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, fmt.Errorf("testenv: user %s: %w", u.Username, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return account{}, fmt.Errorf("testenv: user %s: %w", u.Username, err)
	}
	return account{u.Username, uid, gid, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// privateDir makes a directory that belongs to a. It is not under t.TempDir, whose parent only its owner may enter, and its
// path is short, because a unix socket's path has at most 107 bytes.
func privateDir(a account) (string, error) {
	parent := os.TempDir()
	if len(parent) > 40 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "fish")
	if err != nil {
		return "", err
	}
	if a.cred != nil {
		if err := os.Chown(dir, a.uid, a.gid); err != nil {
			os.RemoveAll(dir)
			return "", err
		}
	}
	return dir, nil
}

// PHP returns the path of a php command line that has both the memcached and the memcache extension.
func PHP(t testing.TB) string {
	t.Helper()
	const remedy = "apt-get install php-cli php-memcached php-memcache"
	path, err := exec.LookPath("php")
	if err != nil {
		Missing(t, "php", remedy)
	}
	out, err := exec.Command(path, "-m").Output()
	if err != nil {
		t.Fatalf("%s -m: %v", path, err)
	}
	has := map[string]bool{}
	for _, line := range strings.Split(string(out), "\n") {
		has[strings.TrimSpace(line)] = true
	}
	for _, extension := range []string{"memcached", "memcache"} {
		if !has[extension] {
			Missing(t, "php's extension "+extension, remedy)
		}
	}
	return path
}

// executable tells whether path is a file that somebody may run.
func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&fs.FileMode(0o111) != 0
}
