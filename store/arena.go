package store

import (
	"os"
	"unsafe"
)

// arena is one reserved range of address space, of which only touched pages are memory. Everything the store keeps lies in
// it, pointer-free and addressed by byte offset, so that the garbage collector never sees an item and a file can hold the
// same bytes. It is a file without a name, a file (Options.File), anonymous memory, or, where none of them is to be had, Go
// memory: race builds take that, as the race detector is blind to mapped memory.
type arena struct {
	mem    []byte
	mapped bool
	file   *os.File // nil: none
}

const (
	pageSize = 4096
	hugePage = 2 << 20
)

// newArena reserves size bytes, all zero.
func newArena(size uint64) (*arena, error) {
	if !canMap || raceBuild {
		mem := make([]byte, size+pageSize)
		return &arena{mem: mem[:size:size]}, nil
	}
	return mapMemory(size)
}

// growth is how many times the limit is reserved as address space, for a limit that is raised later.
func growth() uint64 {
	if !canMap || raceBuild {
		return 2
	}
	return 4
}

// at views the arena at off as a *T. T holds no pointers and off is aligned for it.
func at[T any](a *arena, off uint64) *T {
	return (*T)(unsafe.Pointer(&a.mem[off]))
}

// sliceAt views n values of T from off on.
func sliceAt[T any](a *arena, off uint64, n int) []T {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&a.mem[off])), n)
}

// bytesOf views words as bytes.
func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}

// sizeOf returns the bytes of one T.
func sizeOf[T any]() uint64 {
	var v T
	return uint64(unsafe.Sizeof(v))
}

func alignUp(n, to uint64) uint64 { return (n + to - 1) &^ (to - 1) }
