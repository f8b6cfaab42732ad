//go:build !linux

package main

import (
	"time"

	"golang.org/x/sys/unix"
)

func allowLocking() {}

func lockMemory() error { return unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE) }

func makeDumpable() {}

func trim() {}

// monotonic is for a service manager that other systems do not have.
func monotonic() time.Duration { return 0 }
