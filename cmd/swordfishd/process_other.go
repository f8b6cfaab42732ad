//go:build !linux

package main

import "golang.org/x/sys/unix"

func allowLocking() {}

func lockMemory() error { return unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE) }

func makeDumpable() {}
