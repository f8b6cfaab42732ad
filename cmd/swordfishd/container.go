package main

import (
	"io/fs"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
)

// groupLimit returns how many bytes of memory the control groups of this process allow it, as their files under root say; 0:
// they do not limit it.
func groupLimit(root fs.FS) int64 {
	const none = 1 << 60 // version 1 writes a number near the largest for no limit
	least := int64(none)
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		dir, file := "sys/fs/cgroup", "memory.max"
		if fields[1] != "" {
			if dir, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"; !slices.Contains(strings.Split(fields[1], ","), "memory") {
				continue
			}
		}
		// Those above hold as well. In a container the path may be one of the machine's; then the files at the top are its own.
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			text, _ := fs.ReadFile(root, path.Join(dir, group, file))
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				least = min(least, n)
			}
			if group == "/" {
				break
			}
		}
	}
	if least == none {
		return 0
	}
	return least
}

// besideStore is what of a limit on the whole process is left to all that is not the store.
func besideStore(limit int64) int64 { return min(max(limit/16, 64<<20), limit/2) }

// fitMemory returns how much of the memory asked for the store may have, and how much at most later, 0 without a bound, so that the
// whole process stays within what its control groups allow. The rest is the collector's limit, unless the environment has one.
func fitMemory(asked, limit int64, log zerolog.Logger) (memory, most int64) {
	if limit <= 0 {
		return asked, 0
	}
	most = limit - besideStore(limit)
	memory = min(asked, most)
	if memory < asked {
		log.Warn().Int64("asked_mib", asked>>20).Int64("memory_mib", memory>>20).Int64("limit_mib", limit>>20).
			Msg("-m is lowered, as the container's limit of memory would end the process: lower -m or raise that limit")
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit - memory)
	}
	return memory, most
}
