package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// asInFile tells whether this binary's code and constants are in memory as they are in its file: no linker has put addresses in.
func asInFile() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	set := make(map[string]string)
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	return set["-buildmode"] == "exe" && set["CGO_ENABLED"] == "0"
}

// trim gives back what only the start needed: garbage, and the pages of the binary that were read then. Those that are needed again
// come from the system's cache of files, some at a time. It is for a process that does not lock its memory.
func trim() {
	debug.FreeOSMemory()
	if !asInFile() {
		return
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return // so it stays as it is
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		var access string
		line := lines.Text()
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); n != 3 || !strings.HasSuffix(line, " "+exe) {
			continue
		}
		if access == "r-xp" || access == "r--p" { // what is never written is the file's
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
