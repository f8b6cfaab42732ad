package main

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"

	"github.com/rs/zerolog"
)

func TestGroupLimit(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no groups", nil, 0},
		{"no limit", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0},
		{"its own", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1048576\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 1 << 20},
		{"of a group above", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "4096\n"}, 4096},
		{"in a container", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "8192\n"}, 8192},
		{"with the machine's path", map[string]string{"proc/self/cgroup": "0::/docker/x\n", "sys/fs/cgroup/memory.max": "8192\n"}, 8192},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/a\n0::/\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes":  "12288\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":    "9223372036854771712\n",
			"sys/fs/cgroup/cpu,cpuacct/a/memory.max":        "1\n",
			"sys/fs/cgroup/cpu/a/memory.limit_in_bytes":     "1\n",
			"sys/fs/cgroup/cpuacct/a/memory.limit_in_bytes": "1\n",
		}, 12288},
		{"version 1, none", map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"odd lines", map[string]string{"proc/self/cgroup": "\n0\n0::\n", "sys/fs/cgroup/memory.max": "\n"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range tc.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := groupLimit(root); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestFitMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	const mib = 1 << 20
	for _, tc := range []struct {
		name                             string
		asked, limit, memory, most, heap int64
	}{
		{"no limit", 1024 * mib, 0, 1024 * mib, 0, math.MaxInt64},
		{"room enough", 64 * mib, 1024 * mib, 64 * mib, 960 * mib, 960 * mib},
		{"too much", 1024 * mib, 1024 * mib, 960 * mib, 960 * mib, 64 * mib},
		{"large", 16384 * mib, 16384 * mib, 15360 * mib, 15360 * mib, 1024 * mib},
		{"small", 64 * mib, 64 * mib, 32 * mib, 32 * mib, 32 * mib},
	} {
		t.Run(tc.name, func(t *testing.T) {
			debug.SetMemoryLimit(math.MaxInt64)
			memory, most := fitMemory(tc.asked, tc.limit, zerolog.Nop())
			if heap := debug.SetMemoryLimit(-1); memory != tc.memory || most != tc.most || heap != tc.heap {
				t.Errorf("got %d, at most %d, and %d for the heap", memory, most, heap)
			}
		})
	}
}
