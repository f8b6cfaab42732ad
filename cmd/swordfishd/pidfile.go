package main

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// writePID writes the process id to the file of -P, renamed into place so that nobody finds it empty. What goes wrong is
// logged and no reason to stop, as in memcached.
func (a *app) writePID(name string) {
	if pid := readPID(name); pid > 0 && pid != os.Getpid() && a.heir == nil {
		if err := syscall.Kill(pid, 0); err == nil || errors.Is(err, syscall.EPERM) {
			a.log.Warn().Str("file", name).Int("pid", pid).Msg("the pid file contained the pid of a running process")
		}
	}
	err := os.WriteFile(name+".tmp", []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644)
	if err == nil {
		err = os.Rename(name+".tmp", name)
	}
	if err != nil {
		a.log.Error().Err(err).Msg("-P: the pid file cannot be written; it needs a directory where the user of -u may write")
	}
}

// removePID removes it again, unless another process has it by now.
func (a *app) removePID(name string) {
	if readPID(name) != os.Getpid() {
		return
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn().Err(err).Msg("-P: the pid file stays")
	}
}

// readPID returns the process id in a pid file; 0 if there is none.
func readPID(name string) int {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}
