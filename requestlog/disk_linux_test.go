package requestlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"swordfish/internal/testenv"
)

// TestLogOnAFullDisk: while there is no room for a new file, what comes is lost, and nothing of the file at hand. Afterwards it goes on.
func TestLogOnAFullDisk(t *testing.T) {
	dir := testenv.SmallDisk(t, "64k")
	path := filepath.Join(dir, "requests")
	l, _ := newLog(t, path, 16<<10)
	next := 0
	block := func() error { // each begins a new file
		for range 600 {
			next++
			add(t, l, "r", 1, fmt.Sprintf("r:%x", uint64(next)*0x9e3779b97f4a7c15))
		}
		return l.Flush()
	}
	for st, err := os.Stat(path + ".1"); err != nil || st.Size() == 0; st, err = os.Stat(path + ".1") {
		if err := block(); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.Open(path + ".1") // by somebody who reads it: its room does not come back
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the file system is not full: %v", err)
	}
	var failed error
	for range 20 {
		if err := block(); err != nil {
			failed = err
		}
		before, err := Read(path)
		if err != nil || len(before) < 600 {
			t.Fatalf("after %v there are %d keys left, %v", failed, len(before), err)
		}
	}
	if !errors.Is(failed, syscall.ENOSPC) {
		t.Errorf("got %v", failed)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := block(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("on the file system: %v, %v", left, err)
	}
}
