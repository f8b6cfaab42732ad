package server

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
	"swordfish/store"
)

// statNames returns the names of a stats answer in order, and its values.
func statNames(t testing.TB, reply string) (names []string, values map[string]string) {
	t.Helper()
	values = make(map[string]string)
	for line := range strings.SplitSeq(strings.TrimSuffix(reply, "END\r\n"), "\r\n") {
		if line == "" {
			continue
		}
		words := strings.SplitN(line, " ", 3)
		if len(words) != 3 || words[0] != "STAT" {
			t.Fatalf("line %q", line)
		}
		names = append(names, words[1])
		values[words[1]] = words[2]
	}
	return names, values
}

// script touches every counter that a client can see.
var script = strings.ReplaceAll(`set a 0 0 1|1|add a 0 0 1|1|replace a 0 0 1|1|append a 0 0 1|2|prepend a 0 0 1|3|set b 0 -1 1|x|get a b c|gets a|get c|
gat 0 a c|touch a 0|touch c 0|incr a 1|decr a 1|incr c 1|decr c 1|incr a x|cas a 0 0 1 1|x|cas c 0 0 1 1|x|delete a|delete a|set d 0 0 1|xyz|
set big 0 0 2000000|`+strings.Repeat("x", 2_000_000)+`|set e 0 0 1|x|flush_all|get e|flush_all|set g x 0 1|y|
set f 0 -1 1|x|gat 0 f|set h 0 0 1|x|`, "|", "\r\n")

func TestStatsLikeMemcached(t *testing.T) {
	for _, test := range []struct {
		name      string
		ours      Options
		memcached []string
	}{
		{"default", Options{}, nil},
		{"no crawler", Options{NoCrawler: true}, []string{"-o", "no_lru_crawler"}},
		{"no maintainer", Options{NoMaintainer: true}, []string{"-o", "no_lru_maintainer"}},
		{"no reassign", Options{NoReassign: true}, []string{"-o", "no_slab_reassign"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.ours.Workers, test.ours.Store = 1, usualStore(t)
			_, addr := startServer(t, test.ours)
			statsLike(t, addr, oracle(t, test.memcached...))
		})
	}
}

func statsLike(t *testing.T, addr, memcached string) {
	t.Helper()
	in := strings.ReplaceAll(script, "\n\n", "\n")
	if got, want := playSocket(t, addr, []byte(in), len(in)), playSocket(t, memcached, []byte(in), len(in)); string(maskUniques(got)) != string(maskUniques(want)) {
		t.Fatalf("the script itself: got %s, want %s", got, want)
	}
	ours, theirs := talk(t, addr), talk(t, memcached)
	for _, word := range []string{"stats\r\n", "stats settings\r\n", "stats s\r\n", "stats sizes\r\n", "stats items\r\n"} {
		got, _ := statNames(t, ours.ask(word, "END"))
		want, _ := statNames(t, theirs.ask(word, "END"))
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%q\ngot  %s\nwant %s", word, got, want)
		}
	}
	_, got := statNames(t, ours.ask("stats\r\n", "END"))
	_, want := statNames(t, theirs.ask("stats\r\n", "END"))
	for _, name := range strings.Fields(`cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses delete_hits delete_misses
		get_expired incr_hits incr_misses decr_hits decr_misses cas_hits cas_misses cas_badval touch_hits touch_misses store_too_large store_no_memory
		max_connections rejected_connections curr_items limit_maxbytes version pointer_size accepting_conns evictions`) {
		if got[name] != want[name] {
			t.Errorf("%s is %s, want %s", name, got[name], want[name])
		}
	}
}

func TestStatsItemsAndSlabsLikeMemcached(t *testing.T) {
	_, addr := startServer(t, Options{})
	memcached := testenv.Memcached(t)
	for _, word := range []string{"stats items\r\n", "stats slabs\r\n"} {
		in := []byte("set a 0 0 1\r\nx\r\n")
		playSocket(t, addr, in, len(in))
		playSocket(t, memcached, in, len(in))
		got, _ := statNames(t, talk(t, addr).ask(word, "END"))
		want, _ := statNames(t, talk(t, memcached).ask(word, "END"))
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%q\ngot  %s\nwant %s", word, got, want)
		}
	}
}

// A slab class does not go with its last item.
func TestStatsSlabsOfNothing(t *testing.T) {
	c := newClient(t, newServer(t, Options{}))
	if names, _ := statNames(t, c.ask("stats slabs\r\n")); strings.Join(names, " ") != "active_slabs total_malloced" {
		t.Errorf("of a new server: %v", names)
	}
	c.ask("set a 0 0 1\r\nx\r\nstats reset\r\ndelete a\r\n")
	_, slabs := statNames(t, c.ask("stats slabs\r\n"))
	if slabs["active_slabs"] != "1" || slabs["1:used_chunks"] != "0" || slabs["1:free_chunks"] != slabs["1:total_chunks"] {
		t.Errorf("after the last item: %v", slabs)
	}
}

// Monitors read from them how old the oldest item is and whether memory is full.
func TestStatsOfAgeAndRoom(t *testing.T) {
	clock := &testClock{now: 10_000}
	c := newClient(t, newServer(t, Options{Store: newStore(t, store.Options{Memory: 8 << 20, Clock: clock.read})}))
	look := func() (age, free int) {
		t.Helper()
		_, items := statNames(t, c.ask("stats items\r\n"))
		_, slabs := statNames(t, c.ask("stats slabs\r\n"))
		var n [4]int
		for i, text := range []string{items["items:1:age"], slabs["1:free_chunks"], slabs["1:used_chunks"], slabs["1:total_chunks"]} {
			var err error
			if n[i], err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
		if n[1]+n[2] != n[3] {
			t.Errorf("of %d chunks %d are used and %d free", n[3], n[2], n[1])
		}
		return n[0], n[1]
	}
	c.ask("set a 0 0 1\r\nx\r\n")
	clock.advance(15_000)
	c.ask("set b 0 0 1\r\nx\r\n")
	if age, free := look(); age != 15 || free < 1000 {
		t.Errorf("two small items: age %d, %d chunks free", age, free)
	}
	noise := rand.New(rand.NewPCG(1, 1))
	for i := range 3000 {
		c.ask(fmt.Sprintf("set fill-%d 0 0 8000\r\n%08000x\r\n", i, noise.Uint64()))
	}
	if _, free := look(); free != 0 {
		t.Errorf("after three times as much as memory holds %d chunks are free", free)
	}
}

func TestStatsReset(t *testing.T) {
	s := newServer(t, Options{})
	c := newClient(t, s)
	c.ask("set a 0 0 1\r\nx\r\nget a b\r\n")
	if got := c.ask("stats reset\r\n"); got != "RESET\r\n" {
		t.Fatalf("got %q", got)
	}
	c.ask("get a\r\n")
	_, values := statNames(t, c.ask("stats\r\n"))
	if values["get_hits"] != "1" || values["get_misses"] != "0" || values["cmd_set"] != "0" || values["total_items"] != "0" || values["curr_items"] != "1" {
		t.Errorf("after a reset: %v", values)
	}
	if n := s.Stats().Counters; n.GetHits != 2 {
		t.Errorf("Stats went back: %+v", n)
	}
}

func TestStatsOfOurs(t *testing.T) {
	_, addr := startServer(t, Options{Settings: []Setting{{"item_size_max", "12345"}, {"routes", "7"}}})
	c := talk(t, addr)
	c.ask("set a 0 0 1\r\nx\r\nget a\r\n", "END")
	names, values := statNames(t, c.ask("stats fish\r\n", "END"))
	if values["data"] == "" || values["get_us_p99"] == "" || values["shards"] == "0" {
		t.Errorf("fish: %v", names)
	}
	if values["get_answers"] != "1" {
		t.Errorf("%s answers measured", values["get_answers"])
	}
	_, values = statNames(t, c.ask("stats settings\r\n", "END"))
	if values["item_size_max"] != "12345" || values["routes"] != "7" || values["num_threads"] != "2" {
		t.Errorf("settings: %v", values)
	}
	names, values = statNames(t, c.ask("stats conns\r\n", "END"))
	if len(names) != 7 || values["1:addr"] != "tcp:"+addr || values["1:state"] != "conn_listening" || values["2:addr"] != "tcp:"+c.LocalAddr().String() || values["2:state"] != "conn_parse_cmd" {
		t.Errorf("conns: %v", values)
	}
	if got := c.ask("stats routes\r\n", "END"); got != "END\r\n" {
		t.Errorf("routes: %q", got)
	}
}

func TestLatencyBuckets(t *testing.T) {
	for _, d := range []time.Duration{0, 1, time.Microsecond, 3 * time.Microsecond, 4 * time.Microsecond, 17 * time.Microsecond, time.Millisecond,
		123456 * time.Microsecond, 5 * time.Second, 16 * time.Second} {
		i := latencyBucket(d)
		if d >= LatencyBound(i) || i > 0 && d < LatencyBound(i-1) {
			t.Errorf("%v is in bucket %d, below %v", d, i, LatencyBound(i))
		}
	}
	for i := 1; i < latencyBuckets; i++ {
		if LatencyBound(i) <= LatencyBound(i-1) || latencyBucket(LatencyBound(i)-1) != i {
			t.Errorf("bucket %d ends at %v", i, LatencyBound(i))
		}
	}
	if latencyBucket(time.Hour) != latencyBuckets-1 || latencyBucket(-time.Second) != 0 {
		t.Error("out of range")
	}
	var l Latency
	l[latencyBucket(10*time.Microsecond)] = 99
	l[latencyBucket(time.Millisecond)] = 1
	if p50, p99 := l.Quantile(.5), l.Quantile(.995); p50 > 15*time.Microsecond || p99 < time.Millisecond || p99 > 2*time.Millisecond {
		t.Errorf("p50 %v, p99.5 %v", p50, p99)
	}
}

func TestOwnWords(t *testing.T) {
	var level, verbose, stop string
	s := newServer(t, Options{
		SetLogLevel: func(l string) error {
			if l != "debug" {
				return fmt.Errorf("unknown level %q", l)
			}
			level = l
			return nil
		},
		SetVerbose: func(n int) { verbose = fmt.Sprint(n) },
		OnShutdown: func(graceful bool) { stop = fmt.Sprint(graceful) },
		NoFlush:    true,
		NoWatch:    true,
	})
	c := newClient(t, s)
	for _, step := range []struct{ ask, want string }{
		{"log_level debug\r\n", "OK\r\n"},
		{"log_level loud\r\n", "CLIENT_ERROR unknown level \"loud\"\r\n"},
		{"verbosity 7\r\n", "OK\r\n"},
		{"flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n"},
		{"shutdown now\r\n", "CLIENT_ERROR invalid shutdown mode\r\n"},
		{"watch\r\n", "CLIENT_ERROR watch commands not allowed\r\n"},
		{"shutdown graceful\r\nversion\r\n", ""},
	} {
		if got := c.ask(step.ask); got != step.want {
			t.Errorf("%q: got %q, want %q", step.ask, got, step.want)
		}
	}
	if level != "debug" || verbose != "2" || stop != "true" || !c.ended {
		t.Errorf("told: level %q, verbosity %q, shutdown %q, ended %v", level, verbose, stop, c.ended)
	}
	plain := newClient(t, newServer(t, Options{}))
	if got := plain.ask("log_level debug\r\nshutdown\r\n"); got != "CLIENT_ERROR log_level is not available\r\nSERVER_ERROR: shutdown not enabled\r\n" {
		t.Errorf("got %q", got)
	}
}
