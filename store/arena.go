package store

import "unsafe"

// arena is one reserved range of address space, of which only touched pages are memory. Everything the store keeps lies in
// it, pointer-free and addressed by byte offset, so that the garbage collector never sees an item and a file can hold the
// same bytes. The twins newArena, discard and advise differ by platform and build: see arena_mmap.go and arena_heap.go.
type arena struct {
	mem []byte
}

const pageSize = 4096

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

// sizeOf returns the bytes of one T.
func sizeOf[T any]() uint64 {
	var v T
	return uint64(unsafe.Sizeof(v))
}

func alignUp(n, to uint64) uint64 { return (n + to - 1) &^ (to - 1) }
