//go:build linux && !race

package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// growth is how many times the limit is reserved as address space, for a limit that is raised later.
const growth = 4

// newArena reserves size bytes of address space outside the Go heap.
func newArena(size uint64) (*arena, error) {
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("store: reserve %d MiB of address space: %w", size>>20, err)
	}
	return &arena{mem: mem}, nil
}

func (a *arena) close() error { return unix.Munmap(a.mem) }

// discard gives the pages of a range back to the system; they read as zero afterwards. The range is page-aligned.
func (a *arena) discard(off, n uint64) {
	// An error would only mean that the memory comes back later.
	_ = unix.Madvise(a.mem[off:off+n], unix.MADV_DONTNEED)
}

// hugePages asks for huge pages in a page-aligned range: a look-up then misses the TLB less.
func (a *arena) hugePages(off, n uint64) { _ = unix.Madvise(a.mem[off:off+n], unix.MADV_HUGEPAGE) }
