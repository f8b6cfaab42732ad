//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

// peers names ours and the real memcached, in the order in which every test here has their addresses.
var peers = [2]string{"ours", "memcached"}

// serveBoth starts ours and memcached and gives both the same traffic. memcached's options come from the caller: what shows
// items wants it without its LRU maintainer, which keeps the crawler busy now and then, and newer items from cachedump.
func serveBoth(t *testing.T, options ...string) (addrs [2]string) {
	t.Helper()
	addrs = [2]string{serve(t, "").addr, testenv.Memcached(t, append([]string{"-t", "4"}, options...)...)}
	for _, addr := range addrs {
		c := dial(t, addr)
		for _, step := range [][2]string{
			{"set text 0 0 5\r\nhello", "STORED"}, {"set flags 4294967295 0 1\r\nx", "STORED"}, {"set bytes 7 0 12\r\n\x00\r\nEND\r\n\xff\xfe\r\n", "STORED"},
			{"set ends 0 5000 4\r\nsoon", "STORED"}, {"set 100%_schlüssel\"'& 1 0 3\r\nodd", "STORED"}, {"set empty 0 0 0\r\n", "STORED"},
			{"set large 2 0 100000\r\n" + strings.Repeat("large ", 16_666) + "four", "STORED"}, {"set gone 0 0 1\r\nx", "STORED"}, {"delete gone", "DELETED"},
			{"delete gone", "NOT_FOUND"}, {"set n 0 0 2\r\n99", "STORED"}, {"incr n 1", "100"}, {"append text 0 0 1\r\n!", "STORED"}, {"touch text 0", "TOUCHED"},
			{"add text 0 0 1\r\nx", "NOT_STORED"}, {"cas text 0 0 1 1000000\r\nx", "EXISTS"}, {"incr none 1", "NOT_FOUND"},
			{"set " + strings.Repeat("k", 250) + " 0 0 4\r\nlong", "STORED"},
		} {
			c.want(step[1], "%s", step[0])
		}
		for key, found := range map[string]bool{"text": true, "flags": true, "gone": false, "none": false} {
			if c.hits(key) != found {
				t.Fatalf("%s: found %t", key, !found)
			}
		}
	}
	return addrs
}

// tool returns the first of the paths that is there.
func tool(t *testing.T, remedy string, paths ...string) string {
	t.Helper()
	for _, path := range paths {
		if path, err := exec.LookPath(path); err == nil {
			return path
		}
		if _, err := os.Stat(path); err == nil { // a script that its interpreter is given
			return path
		}
	}
	testenv.Missing(t, paths[0], remedy)
	return ""
}

// run runs a tool in a directory and returns all that it wrote, and with what it ended if that is not 0. The server's address
// in words stands for SERVER, and in what comes back SERVER, HOST and PORT for the address.
func run(t *testing.T, dir, addr string, words ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "SERVER", addr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PERL_HASH_SEED=0", "host="+host, "port="+port) // munin's way to tell
	out, err := cmd.CombinedOutput()
	text := strings.ReplaceAll(strings.ReplaceAll(string(out), addr, "SERVER"), port, "PORT")
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		text += fmt.Sprintf("exit %d\n", exit.ExitCode())
	} else if err != nil {
		t.Fatal(err)
	}
	return text
}

func sortedLines(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

// TestE2ELibmemcachedTools runs the command-line tools of libmemcached, one after the other on the same items.
func TestE2ELibmemcachedTools(t *testing.T) {
	dir := filepath.Dir(tool(t, "apt-get install libmemcached-tools", "/usr/bin/memcstat", "memcstat"))
	addrs := serveBoth(t, "-o", "no_lru_maintainer")
	own := regexp.MustCompile(`[0-9.]+ (seconds|bytes)`) // times, and what an item costs
	for _, line := range []string{
		"memcping", "memccp first second", "memccp --set --flag=7 --expire=1000 first", "memccp --add first", "memccp --add third", "memccp --replace third",
		"memccp --binary second", "memccp --binary --add second", "memccat first second text bytes large none", "memccat --flags first flags", "memccat --binary second",
		"memccat --file=back second", "memcexist first", "memcexist none", "memcexist --binary first", "memcexist --binary none", "memctouch --expire=2000 first", "memctouch none",
		"memctouch --binary --expire=2000 first", "memcdump", "memcrm text none", "memcrm --binary flags", "memccat text",
		"memcstat --server-version", "memcstat --analyze", "memcslap --test=get --execute-number=200 --concurrency=2", "memcslap --binary --test=mget --execute-number=200 --concurrency=2",
		"memcslap --test=set --non-blocking --execute-number=200 --concurrency=2", "memcflush", "memccat none", // a dump now still lists in memcached what came within the second
	} {
		t.Run(line, func(t *testing.T) {
			var said [2]string
			for i, addr := range addrs {
				work := filepath.Join(t.TempDir(), peers[i])
				if err := os.Mkdir(work, 0o700); err != nil {
					t.Fatal(err)
				}
				for name, text := range map[string]string{"first": "one\n", "second": "two\r\nlines\x00", "third": ""} {
					writeFile(t, work, name, text)
				}
				words := strings.Fields(line)
				words = slices.Concat([]string{filepath.Join(dir, words[0]), "--servers=SERVER"}, words[1:])
				said[i] = own.ReplaceAllString(run(t, work, addr, words...), "N $1")
				if strings.HasPrefix(line, "memcdump") {
					said[i] = sortedLines(said[i])
				}
				if back, err := os.ReadFile(filepath.Join(work, "back")); err == nil {
					said[i] += string(back)
				}
			}
			if said[0] != said[1] {
				t.Errorf("ours:\n%.2000q\nmemcached:\n%.2000q", said[0], said[1])
			}
			t.Logf("%.300q", said[1])
		})
	}
}

// TestE2EMemcaslap lets libmemcached's load generator check every value that it gets back.
func TestE2EMemcaslap(t *testing.T) {
	program := tool(t, "apt-get install libmemcached-tools", "memcaslap", "memaslap")
	counted := regexp.MustCompile(`(?m)^(cmd_get|cmd_set|get_misses|verify_misses|verify_failed): (\d+)$`)
	addr := serve(t, "").addr
	for name, words := range map[string][]string{
		"text": nil, "binary": {"--binary"}, "multi-get": {"--division=20"}, "binary multi-get": {"--binary", "--division=20"},
		"large": {"--fixed_size=20000", "--win_size=1k"},
	} {
		t.Run(name, func(t *testing.T) {
			said := run(t, "", addr, slices.Concat([]string{program, "--servers=SERVER", "--execute_number=2000", "--concurrency=4", "--threads=1", "--verify=1"}, words)...)
			n := map[string]int{}
			for _, m := range counted.FindAllStringSubmatch(said, -1) {
				n[m[1]], _ = strconv.Atoi(m[2]) // digits
			}
			if len(n) != 5 || n["cmd_get"] == 0 || n["cmd_set"] == 0 || n["get_misses"]+n["verify_misses"]+n["verify_failed"] > 0 || strings.Contains(said, "exit") {
				t.Errorf("%v:\n%s", n, said)
			}
		})
	}
}

// Names in statistics whose numbers are a server's own, and those of ours that memcached has not.
var (
	ownStats = []string{
		"pid", "uptime", "time", "libevent", "rusage_user", "rusage_system", "bytes", "bytes_read", "bytes_written", "conn_yields",
		"curr_connections", "total_connections", "connection_structures", "reserved_fds", "hash_power_level", "hash_bytes",
		"read_buf_bytes", "read_buf_bytes_free", "read_buf_count", "response_obj_bytes", "response_obj_count", "lru_crawler_running", "lru_crawler_starts", "lru_maintainer_juggles",
		"moves_to_cold", "moves_to_warm", "moves_within_lru", "crawler_items_checked", "crawler_reclaimed", "lrutail_reflocked", "slab_global_page_pool",
	}
	ownSettings = []string{
		"tcpport", "oldest", "hash_algorithm", "lru_maintainer_thread", "lru_segmented", "num_threads_per_udp", "slab_automove", "slab_reassign",
	}
	addedSettings = []string{"pass_background", "pass_inline"}
)

// compareStats wants the same names, and the same values but for those in own. A name in added is ours alone.
func compareStats(t *testing.T, tables [2]map[string]string, own, added []string) {
	t.Helper()
	if len(tables[1]) < 20 {
		t.Fatalf("memcached shows only %v", tables[1])
	}
	for _, name := range added {
		delete(tables[0], name)
	}
	if got, want := slices.Sorted(maps.Keys(tables[0])), slices.Sorted(maps.Keys(tables[1])); !slices.Equal(got, want) {
		t.Errorf("names: got %v, want %v", got, want)
	}
	for name, want := range tables[1] {
		if got := tables[0][name]; got != want && !slices.Contains(own, name) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// statTable reads lines that end in a name and a value.
func statTable(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if f := strings.Fields(strings.Replace(line, ": ", " ", 1)); len(f) == 2 {
			m[f[0]] = f[1]
		}
	}
	return m
}

// TestE2EMonitors compares what monitors show: memcached-tool, memcstat, munin's plugin and collectd's.
func TestE2EMonitors(t *testing.T) {
	memcachedTool := tool(t, "apt-get install memcached", "/usr/share/memcached/scripts/memcached-tool")
	memcstat := tool(t, "apt-get install libmemcached-tools", "memcstat")
	plugin := tool(t, "apt-get install munin-plugins-extra", "/usr/share/munin/plugins/memcached_")
	addrs := serveBoth(t)
	both := func(t *testing.T, words ...string) (said [2]string) {
		t.Helper()
		for i, addr := range addrs {
			said[i] = run(t, "", addr, slices.Clone(words)...)
		}
		t.Logf("%.200q", said[1])
		return said
	}
	tables := func(said [2]string) [2]map[string]string {
		return [2]map[string]string{statTable(said[0]), statTable(said[1])}
	}

	t.Run("memcached-tool stats", func(t *testing.T) {
		compareStats(t, tables(both(t, "perl", memcachedTool, "SERVER", "stats")), ownStats, nil)
	})
	t.Run("memcached-tool settings", func(t *testing.T) {
		compareStats(t, tables(both(t, "perl", memcachedTool, "SERVER", "settings")), ownSettings, addedSettings)
	})
	t.Run("memcached-tool sizes", func(t *testing.T) {
		if said := both(t, "perl", memcachedTool, "SERVER", "sizes"); said[0] != said[1] {
			t.Errorf("got %q, want %q", said[0], said[1])
		}
	})
	t.Run("memcached-tool display", func(t *testing.T) {
		said := both(t, "perl", memcachedTool, "SERVER", "display")
		var heads [2]string
		var counts [2]int
		for i, text := range said {
			head, rows, _ := strings.Cut(text, "\n")
			heads[i] = head
			for row := range strings.Lines(rows) {
				f := strings.Fields(row) // class, size, age, pages, count, full, evicted, time, out of memory
				if len(f) != 9 || f[5] != "no" || f[6] != "0" || f[8] != "0" {
					t.Errorf("%s: row %q", peers[i], row)
					continue
				}
				n, err := strconv.Atoi(f[4])
				if err != nil {
					t.Error(err)
				}
				counts[i] += n
			}
		}
		if heads[0] != heads[1] || counts[0] != counts[1] || counts[1] == 0 {
			t.Errorf("got %q and %d items, want %q and %d", heads[0], counts[0], heads[1], counts[1])
		}
	})
	t.Run("memcstat", func(t *testing.T) {
		compareStats(t, tables(both(t, memcstat, "--servers=SERVER")), ownStats, nil)
		compareStats(t, tables(both(t, memcstat, "--servers=SERVER", "--args=settings")), ownSettings, addedSettings)
	})
	t.Run("munin", func(t *testing.T) {
		// What follows the underscore in the plugin's name is what it shows.
		dir := t.TempDir()
		for _, what := range []string{"rates", "bytes", "counters"} {
			link := filepath.Join(dir, "memcached_"+what)
			if err := os.Symlink(plugin, link); err != nil {
				t.Fatal(err)
			}
			if said := both(t, link, "config"); said[0] != said[1] || !strings.Contains(said[1], "graph_title") {
				t.Errorf("%s: got %q, want %q", what, said[0], said[1])
			}
			if said := both(t, link); fieldNames(said[0]) != fieldNames(said[1]) || !strings.Contains(said[1], ".value ") {
				t.Errorf("%s: got %q, want %q", what, said[0], said[1])
			}
		}
		if said := both(t, plugin, "autoconf"); said[0] != said[1] || said[1] != "yes\n" {
			t.Errorf("autoconf: got %q, want %q", said[0], said[1])
		}
	})
	t.Run("collectd", func(t *testing.T) { collectd(t, addrs) })
}

// fieldNames are the first words of lines.
func fieldNames(text string) string {
	var names []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 {
			names = append(names, f[0])
		}
	}
	return strings.Join(names, "\n")
}

// collectd lets the daemon read both servers and write what it reads to files, until it has written as much of one as of
// the other.
func collectd(t *testing.T, addrs [2]string) {
	program := tool(t, "apt-get install collectd-core", "/usr/sbin/collectd", "collectd")
	dir := t.TempDir()
	var conf strings.Builder
	fmt.Fprintf(&conf, "Interval 1\nBaseDir %q\nPIDFile \"%s/pid\"\nLoadPlugin memcached\nLoadPlugin csv\n<Plugin csv>\nDataDir \"%s/out\"\nStoreRates false\n</Plugin>\n<Plugin memcached>\n", dir, dir, dir)
	for i, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&conf, "<Instance %q>\nHost \"localhost\"\nAddress %q\nPort %q\n</Instance>\n", peers[i], host, port)
	}
	conf.WriteString("</Plugin>\n")
	cmd := exec.Command(program, "-f", "-C", writeFile(t, dir, "collectd.conf", conf.String()))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var names [2][]string
	look := func() bool {
		for i := range peers {
			names[i] = nil
			files, _ := filepath.Glob(filepath.Join(dir, "out", "*", "memcached-"+peers[i], "*")) // a name is followed by the day
			for _, file := range files {
				name := filepath.Base(file)
				names[i] = append(names[i], name[:len(name)-len("-2006-01-02")])
			}
		}
		return len(names[1]) >= 20 && slices.Equal(names[0], names[1])
	}
	t.Cleanup(func() { t.Logf("of ours %v, of memcached %v", names[0], names[1]) })
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("collectd: %v\n%s", err, log.String())
		}
	}()
	eventually(t, "collectd has of both servers the same", look)
}
