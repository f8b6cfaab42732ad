//go:build amd64 || arm64

package store

import "unsafe"

// prefetch asks the processor for the n bytes, at least one, from at on, and does not wait for them as a load would. They need
// not be there.
//
//go:noescape
func prefetch(at unsafe.Pointer, n uintptr)
