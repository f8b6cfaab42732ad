//go:build !linux

package store

import (
	"errors"
	"os"
)

const canMap = false

var errNoFile = errors.New("store: a memory file needs Linux")

func mapMemory(uint64) (*arena, error)                 { panic("store: not reached") }
func openFile(string) (*os.File, error)                { return nil, errNoFile }
func mapFile(*os.File, uint64, uint64) (*arena, error) { return nil, errNoFile }
func (a *arena) sync() error                           { return nil }
func (a *arena) close() error                          { a.mem = nil; return nil }
func (a *arena) discard(off, n uint64)                 { clear(a.mem[off : off+n]) }
func (a *arena) hugePages(off, n uint64)               {}
func (a *arena) makeHuge(uint64) bool                  { return false }

func mapShared(*os.File, uint64) (*arena, error) { return nil, errNoFile }
func monotonic() int64                           { return 0 }

func roomFor(*os.File, uint64) error { return nil }
