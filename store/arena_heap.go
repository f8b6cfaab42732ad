//go:build !linux || race

package store

// growth is how many times the limit is reserved as address space, for a limit that is raised later.
const growth = 2

// newArena takes the arena from the Go heap: the race detector is blind to mapped memory, and other platforms need no
// special case.
func newArena(size uint64) (*arena, error) {
	mem := make([]byte, size+pageSize)
	return &arena{mem: mem[:size:size]}, nil
}

func (a *arena) close() error { a.mem = nil; return nil }

func (a *arena) discard(off, n uint64) { clear(a.mem[off : off+n]) }

func (a *arena) hugePages(off, n uint64) {}
