package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const canMap = true

// mapMemory reserves size bytes of address space outside the Go heap.
func mapMemory(size uint64) (*arena, error) {
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("store: reserve %d MiB of address space: %w", size>>20, err)
	}
	return &arena{mem: mem, mapped: true}, nil
}

// openFile opens the file of an arena, made if it is not there, for this process alone.
func openFile(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: open memory file: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	switch err := unix.Fstat(fd, &st); {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("store: memory file %s: %w", path, err), f.Close())
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, errors.Join(fmt.Errorf("store: memory file %s is no regular file", path), f.Close())
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("store: memory file %s is in use by another process: %w", path, err), f.Close())
	}
	return f, nil
}

// roomFor tells whether most bytes of f may come to be used: a file system without room for that would end the process in the
// middle of a write.
func roomFor(f *os.File, most uint64) error {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(int(f.Fd()), &fs) == nil && unix.Fstat(int(f.Fd()), &st) == nil {
		if room := fs.Bavail*uint64(fs.Bsize) + uint64(st.Blocks)*512; fs.Blocks > 0 && room < most {
			return fmt.Errorf("store: memory file %s: its file system has %d MiB left, and -m asks for %d", f.Name(), room>>20, most>>20)
		}
	}
	return nil
}

// mapFile maps size bytes of f, which becomes the arena's, if there is roomFor most. The file is made longer where it is shorter.
func mapFile(f *os.File, size, most uint64) (*arena, error) {
	if err := roomFor(f, most); err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(size)); err != nil {
		return nil, fmt.Errorf("store: memory file %s: make it %d MiB long: %w", f.Name(), size>>20, err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("store: map %d MiB of memory file %s: %w", size>>20, f.Name(), err)
	}
	return &arena{mem: mem, mapped: true, file: f}, nil
}

// sync has a file's bytes written.
func (a *arena) sync() error { return unix.Msync(a.mem, unix.MS_SYNC) }

func (a *arena) close() error {
	var err error
	if a.mapped {
		err = unix.Munmap(a.mem)
	}
	a.mem = nil
	if a.file != nil {
		err = errors.Join(err, a.file.Close())
	}
	return err
}

// discard gives the pages of a range back to the system; they read as zero afterwards. The range is page-aligned.
func (a *arena) discard(off, n uint64) {
	switch {
	case a.file != nil:
		if unix.Madvise(a.mem[off:off+n], unix.MADV_REMOVE) != nil { // the file system cannot make holes
			clear(a.mem[off : off+n])
		}
	case a.mapped:
		mem := a.mem[off : off+n] // the second is for locked memory, from Linux 5.18 on
		if unix.Madvise(mem, unix.MADV_DONTNEED) != nil && unix.Madvise(mem, unix.MADV_DONTNEED_LOCKED) != nil {
			clear(mem)
		}
	default:
		clear(a.mem[off : off+n])
	}
}

// hugePages asks for huge pages in a page-aligned range: a look-up then misses the TLB less.
func (a *arena) hugePages(off, n uint64) {
	if a.mapped && a.file == nil {
		_ = unix.Madvise(a.mem[off:off+n], unix.MADV_HUGEPAGE)
	}
}
