package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const canMap = true

// mapMemory reserves size bytes of address space outside the Go heap: as a file without a name, which can be handed to another
// process, or as anonymous memory where a file would be slower or is not allowed.
func mapMemory(size uint64) (*arena, error) {
	if sharedIsFast() {
		if a, err := mapUnnamed(size); err == nil {
			return a, nil
		}
	}
	mem, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("store: reserve %d MiB of address space: %w", size>>20, err)
	}
	return &arena{mem: unsafe.Slice((*byte)(mem), size), mapped: true}, nil
}

// mapUnnamed maps a new file of size bytes without a name. A sandbox may refuse that, and a limit on the size of files
// (RLIMIT_FSIZE) holds for it.
func mapUnnamed(size uint64) (*arena, error) {
	fd, err := unix.MemfdCreate("swordfish", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3; later ones can be told to want it
		fd, err = unix.MemfdCreate("swordfish", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	if err := f.Truncate(int64(size)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	a, err := mapShared(f, size)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
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
	return mapShared(f, size)
}

// mapShared maps the first size bytes of f, which becomes the arena's, where a huge page may begin.
func mapShared(f *os.File, size uint64) (*arena, error) {
	space, err := unix.MmapPtr(-1, 0, nil, uintptr(size+hugePage), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("store: reserve %d MiB of address space: %w", size>>20, err)
	}
	before := -uint64(uintptr(space)) % hugePage
	mem := unsafe.Add(space, before)
	_, err = unix.MmapPtr(int(f.Fd()), 0, mem, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE|unix.MAP_FIXED)
	if err != nil {
		_ = unix.MunmapPtr(space, uintptr(size+hugePage))
		return nil, fmt.Errorf("store: map %d MiB of memory file %s: %w", size>>20, f.Name(), err)
	}
	if before > 0 {
		_ = unix.MunmapPtr(space, uintptr(before))
	}
	end := alignUp(before+size, pageSize)
	_ = unix.MunmapPtr(unsafe.Add(space, end), uintptr(alignUp(size+hugePage, pageSize)-end)) // nothing was there yet
	return &arena{mem: unsafe.Slice((*byte)(mem), size), mapped: true, file: f}, nil
}

// monotonic reads this machine's monotonic clock, in nanoseconds: the same in all processes.
func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it is always there
	return t.Nano()
}

// sync has a file's bytes written.
func (a *arena) sync() error { return unix.Msync(a.mem, unix.MS_SYNC) }

func (a *arena) close() error {
	var err error
	if a.mapped {
		err = unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(a.mem)), uintptr(len(a.mem)))
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
		// The second is for locked memory; where it fails as well, the file system cannot make holes.
		if unix.Madvise(a.mem[off:off+n], unix.MADV_REMOVE) != nil &&
			unix.Fallocate(int(a.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n)) != nil {
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
	if a.mapped {
		_ = unix.Madvise(a.mem[off:off+n], unix.MADV_HUGEPAGE)
	}
}

// makeHuge makes a range of hugePage bytes one page, filled with zeros where nothing was. It may take milliseconds, and whoever
// uses the range meanwhile waits. False: this system does not do that, is told not to, or has no such page left.
func (a *arena) makeHuge(off uint64) bool {
	if noHugePages() { // which Linux does not ask here
		return false
	}
	touched.Store(uint32(a.mem[off])) // Linux refuses where there is nothing at all
	return unix.Madvise(a.mem[off:off+hugePage], madvCollapse) == nil
}

// touched keeps the compiler from leaving out a read.
var touched atomic.Uint32

const madvCollapse = 25 // MADV_COLLAPSE, Linux 6.1

// sharedIsFast tells whether memory that can be handed to another process has huge pages as anonymous memory has them: look-ups
// among millions of items take half as long again without. By itself Linux gives a file in memory none, but it can be told to,
// range by range.
var sharedIsFast = sync.OnceValue(func() bool {
	if noHugePages() { // for anonymous memory either
		return true
	}
	a, err := mapUnnamed(hugePage)
	if err != nil {
		return false
	}
	defer a.close()
	return a.makeHuge(0)
})

// noHugePages tells whether the operator of this system wants none, or it knows none.
var noHugePages = sync.OnceValue(func() bool {
	set, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return err != nil || strings.Contains(string(set), "[never]")
})
