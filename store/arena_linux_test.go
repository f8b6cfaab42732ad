package store

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestMemoryWithoutFiles: where the memory cannot be a file, here for a limit on the size of files, it is anonymous.
func TestMemoryWithoutFiles(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	fast := sharedIsFast
	sharedIsFast = func() bool { return true }
	low := limit
	low.Cur = 1 << 20
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sharedIsFast = fast
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Error(err)
		}
	})
	for name, test := range map[string]struct {
		size uint64
		file bool
	}{"beyond the limit": {64 << 20, false}, "within it": {1 << 20, true}} {
		t.Run(name, func(t *testing.T) {
			a, err := mapMemory(test.size)
			if err != nil {
				t.Fatal(err)
			}
			defer a.close()
			if file := a.file != nil; file != test.file {
				t.Errorf("a file: %v", file)
			}
			if a.mem[test.size-1] = 1; a.mem[0] != 0 {
				t.Error("the memory is not all zero")
			}
		})
	}
}
