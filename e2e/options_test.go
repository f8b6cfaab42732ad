//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// optionCases are command lines for every option that memcached -h knows, by the name there. Both servers are started with
// each, and what stats settings tells has to change in the same way. A case without arguments has a test of its own.
var optionCases = map[string][]string{
	"-p": {}, "-U": {}, "-s": {}, "-a": {}, "-d": {}, "-r": {}, "-u": {}, "-P": {}, "-h": {}, "-i": {}, "-V": {}, "-k": {},
	"-S": {}, "-Y": {}, "-e": {}, "-Z": {},
	"ssl_chain_cert": {}, "ssl_key": {}, "ssl_keyformat": {}, "ssl_verify_mode": {}, "ssl_ciphers": {}, "ssl_ca_cert": {},
	"ssl_wbuf_size": {}, "ssl_session_cache": {}, "ssl_kernel_tls": {}, "ssl_min_version": {},

	"-A":                  {"-A", "--enable-shutdown"},
	"-l":                  {"-l 127.0.0.2", "--listen=127.0.0.2,127.0.0.3", "-l 127.0.0.2;127.0.0.3", "-l proto[ascii]:tag[a]:127.0.0.2,tag_b_:127.0.0.3"},
	"-m":                  {"-m 100", "--memory-limit=100"},
	"-M":                  {"-M", "--disable-evictions"},
	"-c":                  {"-c 200", "--conn-limit 200"},
	"-v":                  {"-v", "--verbose"},
	"-vv":                 {"-vv"},
	"-vvv":                {"-vvv"},
	"-f":                  {"-f 1.5", "--slab-growth-factor=2"},
	"-n":                  {"-n 96", "--slab-min-size=64"},
	"-L":                  {"-L", "--enable-largepages"},
	"-D":                  {"-D _", "-D::"},
	"-t":                  {"-t 3", "--threads=2"},
	"-R":                  {"-R 7", "--max-reqs-per-event=9"},
	"-C":                  {"-C", "--disable-cas"},
	"-b":                  {"-b 333", "--listen-backlog=333"},
	"-B":                  {"-B ascii", "--protocol=auto"},
	"-I":                  {"-I 2m", "-I 512k", "--max-item-size=4m"},
	"-F":                  {"-F", "--disable-flush-all"},
	"-X":                  {"-X", "--disable-dumping"},
	"-W":                  {"-W", "--disable-watch"},
	"-N":                  {"-N 1"},
	"-o":                  {"-o idle_timeout=7,no_maxconns_fast", "--extended=idle_timeout=7", "-o idle_timeout=5 -o track_sizes"},
	"maxconns_fast":       {"-o maxconns_fast", "-o no_maxconns_fast"},
	"hashpower":           {"-o hashpower=17"},
	"tail_repair_time":    {"-o tail_repair_time=10"},
	"hash_algorithm":      {"-o hash_algorithm=jenkins", "-o hash_algorithm=murmur3"},
	"no_lru_crawler":      {"-o no_lru_crawler", "-o lru_crawler"},
	"lru_crawler_sleep":   {"-o lru_crawler_sleep=200"},
	"lru_crawler_tocrawl": {"-o lru_crawler_tocrawl=500"},
	"read_buf_mem_limit":  {"-o read_buf_mem_limit=64"},
	"no_lru_maintainer":   {"-o no_lru_maintainer", "-o lru_maintainer"},
	"hot_lru_pct":         {"-o hot_lru_pct=30"},
	"warm_lru_pct":        {"-o warm_lru_pct=30"},
	"hot_max_factor":      {"-o hot_max_factor=0.5"},
	"warm_max_factor":     {"-o warm_max_factor=3"},
	"temporary_ttl":       {"-o temporary_ttl=30"},
	"idle_timeout":        {"-o idle_timeout=60"},
	"slab_chunk_max":      {"-o slab_chunk_max=256"},
	"watcher_logbuf_size": {"-o watcher_logbuf_size=128"},
	"worker_logbuf_size":  {"-o worker_logbuf_size=128"},
	"track_sizes":         {"-o track_sizes"},
	"no_hashexpand":       {"-o no_hashexpand"},
	"modern":              {"-o modern"},
	"no_modern":           {"-o no_modern"},
	"sock_cookie_id":      {"-o sock_cookie_id=0"},

	// Not in its help, but taken.
	"further": {
		"-o slab_reassign,slab_automove,slab_automove_ratio=0.5,slab_automove_window=20", "-o no_slab_reassign,no_slab_automove", "-o slab_automove=2",
		"-o slab_sizes=100-200-400", "-o no_chunked_items", "-o drop_privileges -o no_drop_privileges", "-o inline_ascii_resp,no_inline_ascii_resp", "-o resp_obj_mem_limit",
	},
}

// settled are the lines of stats settings that say the same here whatever is asked for: there are no slabs, no threads for the
// LRU, no choice of hash functions, and no threads for UDP.
var settled = []string{
	"slab_reassign", "slab_chunk_max", "lru_crawler", "lru_maintainer_thread", "lru_segmented", "temp_lru", "hash_algorithm",
	"track_sizes", "num_threads_per_udp",
}

// settings are the lines of stats settings.
func settings(t testing.TB, addr string) map[string]string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(c, "stats settings\r\n")
	all := map[string]string{}
	in := bufio.NewScanner(c)
	for in.Scan() && in.Text() != "END" {
		words := strings.SplitN(in.Text(), " ", 3)
		if len(words) != 3 || words[0] != "STAT" {
			t.Fatalf("%q among the settings", in.Text())
		}
		all[words[1]] = words[2]
	}
	delete(all, "tcpport") // each has a free one
	if err := in.Err(); err != nil || len(all) == 0 {
		t.Fatalf("%d settings: %v", len(all), err)
	}
	return all
}

// TestOptions starts both servers with every option of memcached -h.
func TestOptions(t *testing.T) {
	help, err := exec.Command(testenv.MemcachedPath(t), "-h").Output()
	if err != nil {
		t.Fatal(err)
	}
	ourHelp, _ := runs(t, command(t, "-h"))
	for _, m := range regexp.MustCompile(`(?m)^(-\w+)(?:,? +(--[\w-]+))?|^   - (\w+):`).FindAllStringSubmatch(string(help), -1) {
		name := m[1] + m[3]
		if _, ok := optionCases[name]; !ok {
			t.Errorf("%s of memcached -h has no case", name)
		}
		if long := strings.Replace(m[2], "napi_ids", "napi-ids", 1); !strings.Contains(ourHelp, long) {
			t.Errorf("our help lacks %s", long)
		}
	}
	theirBase, ourBase := settings(t, testenv.Memcached(t, "-t", "4")), settings(t, serve(t, "").addr)
	for name := range theirBase {
		if _, ok := ourBase[name]; !ok {
			t.Errorf("stats settings lacks %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(optionCases)) {
		for _, args := range optionCases[name] {
			t.Run(strings.ReplaceAll(args, "/", "|"), func(t *testing.T) {
				words := strings.Fields(args)
				theirs := settings(t, testenv.Memcached(t, append([]string{"-t", "4"}, words...)...))
				ours := settings(t, serve(t, "", words...).addr)
				for name, value := range theirs {
					if value == theirBase[name] && ours[name] == ourBase[name] || value == ours[name] {
						continue
					}
					if slices.Contains(settled, name) && ours[name] == ourBase[name] {
						continue
					}
					t.Errorf("%s: theirs %s, was %s; ours %s, was %s", name, value, theirBase[name], ours[name], ourBase[name])
				}
			})
		}
	}
}

// TestWrongOptions gives both servers what memcached refuses. Ours refuses it as well, and says what theirs says first.
func TestWrongOptions(t *testing.T) {
	asUser := []string{}
	if u, err := user.Current(); err != nil {
		t.Fatal(err)
	} else if u.Uid == "0" {
		asUser = []string{"-u", "root"}
	}
	dir := t.TempDir()
	for _, args := range []string{
		"-Q", "--nonesuch", "--lis", "--disable-cas=1", "-m", "--port",
		"-c 0", "-c -1", "-R 0", "-f 1", "-n 0", "-t 0", "-N 0", "-p 70000", "-B http",
		"-I 1000", "-I 2000m -m 8000", "-m 1 -I 1m",
		"-o nonesuch", "-o hashpower", "-o hashpower=5", "-o hashpower=50", "-o slab_automove=3", "-o slab_automove_ratio", "-o slab_automove_ratio=2",
		"-o slab_automove_window=2", "-o slab_automove_window", "-o tail_repair_time", "-o tail_repair_time=5", "-o hash_algorithm", "-o hash_algorithm=md5",
		"-o lru_crawler_sleep", "-o lru_crawler_sleep=2000000", "-o lru_crawler_tocrawl", "-o lru_crawler_tocrawl=x", "-o hot_lru_pct", "-o hot_lru_pct=80",
		"-o warm_lru_pct", "-o warm_lru_pct=0", "-o hot_max_factor", "-o hot_max_factor=0", "-o warm_max_factor", "-o warm_max_factor=-1", "-o temporary_ttl",
		"-o idle_timeout", "-o watcher_logbuf_size", "-o watcher_logbuf_size=x", "-o worker_logbuf_size", "-o worker_logbuf_size=x", "-o slab_chunk_max",
		"-o slab_chunk_max=x", "-o slab_chunk_max=0", "-o slab_chunk_max=2000", "-o read_buf_mem_limit", "-o read_buf_mem_limit=x",
		"-l tag[]:127.0.0.1", "-l tag[123456789]:127.0.0.1", "-l tag[a:127.0.0.1", "-l proto[ascii:127.0.0.1", "-l 127.0.0.1:x", "-l [::1", "-l notls:127.0.0.1",
		"-l fooble.invalid",
	} {
		t.Run(args, func(t *testing.T) {
			words := strings.Fields(args)
			socket := []string{"-s", filepath.Join(dir, "socket")} // none of them is to listen, but if one does, then nowhere else
			if words[0] == "-l" || words[0] == "-p" {
				socket = nil
			}
			theirs, theirCode := runs(t, bounded(t, exec.Command(testenv.MemcachedPath(t), slices.Concat(asUser, socket, words)...)))
			ours, ourCode := runs(t, bounded(t, command(t, slices.Concat(asUser, socket, words)...)))
			said := strings.TrimPrefix(strings.Split(theirs, "\n")[0], testenv.MemcachedPath(t)+": ")
			said = strings.TrimSuffix(strings.TrimPrefix(said, "ERROR: "), ".")
			switch {
			case words[0] == "-l" && strings.Contains(said, `"`): // they quote what is left, we all
				said, _, _ = strings.Cut(said, `"`)
			case strings.HasPrefix(said, "getaddrinfo"): // the resolver's words
				said = words[1]
			}
			if theirCode == 0 || ourCode != 64 && ourCode != 71 || said == "" || !strings.Contains(ours, said) {
				t.Errorf("theirs %d: %s\nours %d: %s", theirCode, theirs, ourCode, ours)
			}
		})
	}
}

// bounded ends a command that does not end by itself.
func bounded(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("timeout")
	if err != nil {
		testenv.Missing(t, "timeout", "apt-get install coreutils")
	}
	cmd.Args = slices.Concat([]string{"timeout", "20", cmd.Path}, cmd.Args[1:])
	cmd.Path = path
	return cmd
}
