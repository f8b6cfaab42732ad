package snapshot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"swordfish/internal/testenv"
)

// TestFullFileSystem writes to a file system that has no room for a second snapshot.
func TestFullFileSystem(t *testing.T) {
	dir := testenv.SmallDisk(t, "1m")
	x := furnished(t, 1000)
	path := filepath.Join(dir, "snapshot")
	x.save(path)
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1000; i < 6000; i++ {
		x.set(0, keyOf(i), valueOf(i))
	}
	if _, err := Write(context.Background(), x.Store, path, false); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
	now, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(was, now) {
		t.Errorf("the snapshot that was there has changed: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("on the file system: %v, %v", left, err)
	}
	y := open(t, 64)
	if got, err := y.load(path, nil); err != nil || !got.Whole {
		t.Errorf("%+v, %v", got, err)
	}
}
