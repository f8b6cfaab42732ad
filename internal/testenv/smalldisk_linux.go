package testenv

import (
	"syscall"
	"testing"
)

// SmallDisk mounts an empty file system of that size, as tmpfs's option has it, and returns its directory. It goes with the test,
// which has to have closed its files there.
func SmallDisk(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("swordfish-test", dir, "tmpfs", 0, "size="+size); err != nil {
		Missing(t, "a small file system: mount: "+err.Error(), "run the tests as root")
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}
