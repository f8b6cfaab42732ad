package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime/debug"
	"strconv"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"swordfish/config"
)

// ownFiles is room for the descriptors that are no client's: listeners, epoll sets, sources, files.
const ownFiles = 100

// prepare gives the process the limits and the identity that c asks for, in memcached's order: nothing is opened before. So
// the UNIX socket, the pid file and the memory file belong to the user that -u names, and ports below 1024 need a
// capability.
func prepare(c *config.Config, log zerolog.Logger) error {
	if c.CoreDumps {
		if err := allowCores(); err != nil {
			return err
		}
	}
	if err := allowFiles(c.MaxConns, ownFiles+4*c.Threads, log); err != nil {
		return err
	}
	if c.LockMemory {
		allowLocking()
	}
	if err := dropRoot(c.User, log); err != nil {
		return err
	}
	if c.CoreDumps {
		debug.SetTraceback("crash") // a panic ends in a core file
		makeDumpable()
	}
	if c.LockMemory {
		if err := lockMemory(); err != nil {
			log.Error().Msgf("-k has no effect, mlockall() failed: %v; raise the limit (ulimit -l unlimited, LimitMEMLOCK=infinity)", err)
		}
	}
	return nil
}

// allowCores raises the limit on core files as far as it goes.
func allowCores() error {
	var limit unix.Rlimit
	if unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}) != nil {
		if unix.Getrlimit(unix.RLIMIT_CORE, &limit) == nil {
			limit.Cur = limit.Max
			_ = unix.Setrlimit(unix.RLIMIT_CORE, &limit) // what it has come to shows next
		}
	}
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Cur == 0 {
		return systemError{errors.New("-r: failed to ensure corefile creation; raise the hard limit (ulimit -Hc unlimited, LimitCORE=infinity)")}
	}
	return nil
}

// allowFiles raises the limit on open files to what clients and the process itself may need.
func allowFiles(clients, own int, log zerolog.Logger) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return systemError{fmt.Errorf("failed to getrlimit number of files: %w", err)}
	}
	want := uint64(clients) + uint64(own)
	if uint64(limit.Cur) >= want {
		return nil
	}
	raised := limit
	atLeast(&raised.Cur, want)
	atLeast(&raised.Max, want)
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return nil
	}
	if uint64(limit.Max) < uint64(clients) {
		return systemError{fmt.Errorf("-c %d: failed to set rlimit for open files. Try starting as root or requesting smaller maxconns value. "+
			"The hard limit is %d (ulimit -Hn, LimitNOFILE)", clients, limit.Max)}
	}
	raised = limit
	raised.Cur = limit.Max
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &raised)
	log.Warn().Uint64("limit", uint64(limit.Max)).Uint64("wanted", want).Msg("the limit on open files is low: the last connections of -c may have to wait")
	return nil
}

// atLeast raises a limit, whose type differs by platform.
func atLeast[T int64 | uint64](limit *T, n uint64) { *limit = max(*limit, T(n)) }

func isRoot() bool { return os.Getuid() == 0 || os.Geteuid() == 0 }

// dropRoot takes on the identity of a user, in all threads, where the process is root's. Without a name it stays root's: a
// container has no other user, and memcached, which refuses that, is given -u root there.
func dropRoot(name string, log zerolog.Logger) error {
	if name == "" || !isRoot() {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return noUserError{fmt.Errorf("-u: can't find the user %s to switch to: %w", name, err)}
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return noUserError{fmt.Errorf("-u: user %s: %w", name, err)}
	}
	switch err := syscall.Setgroups(nil); {
	case errors.Is(err, syscall.EPERM): // as in memcached: there is nothing more to give up
		log.Warn().Err(err).Msg("failed to drop supplementary groups")
	case err != nil:
		return systemError{fmt.Errorf("-u: failed to drop supplementary groups: %w", err)}
	}
	if err := syscall.Setgid(gid); err != nil {
		return systemError{fmt.Errorf("-u: failed to assume identity of user %s: setgid: %w", name, err)}
	}
	if err := syscall.Setuid(uid); err != nil {
		return systemError{fmt.Errorf("-u: failed to assume identity of user %s: setuid: %w", name, err)}
	}
	return nil
}
