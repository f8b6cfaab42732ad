package server

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that do not wait go past the scheduler: the runtime's own way of calling tells it twice a call that the thread
// may be gone for long, which costs a twentieth of what a request does outside of the kernel, and more where nothing else is to
// do: then the runtime's monitor looks after the thread every 20 microseconds.

// readNow is read(2) on a socket that does not block.
func readNow(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// writeNow is write(2) on a socket that does not block.
func writeNow(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// briefly is how long at most, in milliseconds, a thread waits for events without telling the scheduler. Mostly it is less:
// a collection of garbage, or anything else that wants the thread, interrupts it by a signal, and so does the runtime's monitor
// after 10 milliseconds. The bound is for a program without those signals (GODEBUG=asyncpreemptoff=1). A much shorter one would
// cost each wait the setting of the CPU's timer, which in a virtual machine is dear.
const briefly = 100

// waitBriefly is epoll_wait for at most briefly.
func waitBriefly(ep int, events []unix.EpollEvent, timeout int) (int, error) {
	if timeout < 0 || timeout > briefly {
		timeout = briefly
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(timeout), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
