package main

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// allowLocking lifts the limit on locked memory, while that is allowed.
func allowLocking() {
	// An error shows when memory is locked.
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}

// lockMemory keeps what memory is used, now or later, from being swapped out. Pages that were never touched take none: the
// process reserves much more than it uses. Under a limit it refuses: what was reserved later would fail and end the process.
func lockMemory() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return err
	}
	if limit.Cur != unix.RLIM_INFINITY && !mayLock() {
		return errors.New("the limit on locked memory is too low")
	}
	return unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
}

// mayLock tells whether the limit on locked memory does not hold for this process.
func mayLock() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	return unix.Capget(&head, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}

// monotonic is CLOCK_MONOTONIC, as a service manager on the same machine reads it.
func monotonic() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// makeDumpable lets the kernel write a core file also after a change of the user.
func makeDumpable() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }
