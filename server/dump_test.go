package server

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
	"swordfish/store"
)

// dumped sends a command and returns the lines of its answer up to the ending, sorted: each server has an order of its own.
func dumped(c *conversation, command, ending string) []string {
	c.t.Helper()
	text := strings.TrimSuffix(c.ask(command+"\r\n", ending), ending+"\r\n")
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return lines
}

var dumpNumbers = regexp.MustCompile(`(la|cas|cls)=\d+|exp=\d+|; [1-9]\d* s`)

func TestDumpsLikeMemcached(t *testing.T) {
	memcached := testenv.Memcached(t, "-o", "no_lru_maintainer") // which sends the crawler on its way, and then a dump is refused
	_, addr := startServer(t, Options{})
	crawler := talk(t, memcached)
	fill := "set plain 0 0 1\r\nx\r\nset flags 7 0 100\r\n" + strings.Repeat("x", 100) + "\r\nset end 0 1000 2\r\nxx\r\nset odd/key%\x01\xff 0 0 0\r\n\r\n" +
		"ms AAH/ 3 b F5\r\nabc\r\nget flags\r\nset gone 0 -1 1\r\nx\r\n"
	ask := func(addr, command, ending string) string {
		// memcached takes no command for a dump that comes behind others.
		lines := dumped(talk(t, addr), command, ending)
		return dumpNumbers.ReplaceAllString(strings.Join(lines, ""), "$1=N")
	}
	for _, step := range []struct{ command, ending string }{
		{"lru_crawler metadump all", "END"}, {"lru_crawler metadump hash", "END"}, {"lru_crawler metadump 1,2,3,4", "END"}, {"lru_crawler metadump 60", "END"},
		{"lru_crawler mgdump all", "EN"}, {"lru_crawler metadump 64", "BADCLASS"}, {"lru_crawler mgdump x", "BADCLASS"},
		{"stats cachedump 60 0", "END"},
	} {
		for _, in := range []string{"flush_all\r\n", fill} {
			for _, addr := range []string{addr, memcached} {
				playSocket(t, addr, []byte(in), len(in))
			}
			for end := time.Now().Add(time.Minute); crawler.stat("lru_crawler_running") != "0"; { // still busy with the dump before
				if time.Now().After(end) {
					t.Fatal("memcached's crawler runs for a minute")
				}
			}
			if got, want := ask(addr, step.command, step.ending), ask(memcached, step.command, step.ending); got != want {
				t.Errorf("%s\ngot\n%s\nwant\n%s", step.command, got, want)
			}
		}
	}
}

// memcached answers the same, but stops its crawler some time after it has said OK.
func TestCrawlerOnAndOff(t *testing.T) {
	c := newClient(t, newServer(t, Options{}))
	for _, step := range []struct{ ask, want string }{
		{"lru_crawler enable\r\n", "ERROR failed to start lru crawler thread\r\n"},
		{"lru_crawler crawl 0\r\n", "BADCLASS invalid class id\r\n"},
		{"lru_crawler disable\r\n", "OK\r\n"},
		{"lru_crawler crawl 1\r\n", "CLIENT_ERROR lru crawler disabled\r\n"},
		{"lru_crawler metadump all\r\n", "CLIENT_ERROR lru crawler disabled\r\n"},
		{"lru_crawler mgdump all\r\n", "CLIENT_ERROR lru crawler disabled\r\n"},
		{"lru_crawler disable\r\n", "OK\r\n"},
		{"lru_crawler enable\r\n", "OK\r\n"},
		{"lru_crawler crawl 1\r\n", "OK\r\n"},
	} {
		if got := c.ask(step.ask); got != step.want {
			t.Fatalf("%q: got %q, want %q", step.ask, got, step.want)
		}
	}
}

// What names nothing that could be crawled is refused in memcached's words. A dump of no class at all leaves memcached's crawler
// stuck, so each of them has one of its own.
func TestNothingToCrawl(t *testing.T) {
	_, addr := startServer(t, Options{})
	for _, list := range [][]string{
		{"crawl hash", "crawl ,", "crawl ,,", "crawl 0", "crawl 64", "crawl x", "crawl 1,x", "crawl 1,64", "metadump 0", "mgdump 2,x", "metadump ,"},
		{"mgdump ,,"},
	} {
		memcached := testenv.Memcached(t, "-o", "no_lru_maintainer")
		for _, words := range list {
			in := []byte("lru_crawler " + words + "\r\nquit\r\n")
			if got, want := playSocket(t, addr, in, len(in)), playSocket(t, memcached, in, len(in)); !bytes.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", words, got, want)
			}
		}
	}
}

func TestCrawlerOffFromTheStart(t *testing.T) {
	c := newClient(t, newServer(t, Options{NoCrawler: true}))
	for _, step := range []struct{ ask, want string }{
		{"lru_crawler mgdump all\r\n", "CLIENT_ERROR lru crawler disabled\r\n"},
		{"lru_crawler enable\r\n", "OK\r\n"},
		{"lru_crawler mgdump all\r\n", "OK\r\nEN\r\n"},
	} {
		if got := c.ask(step.ask); got != step.want {
			t.Fatalf("%q: got %q, want %q", step.ask, got, step.want)
		}
	}
}

// Asked to crawl, the server takes out what is over, and tells when it has done so.
func TestCrawl(t *testing.T) {
	clock := &testClock{now: 10_000}
	c := newClient(t, newServer(t, Options{Store: newStore(t, store.Options{Clock: clock.read})}))
	for i := range 60 {
		c.ask(fmt.Sprintf("set long%d 0 3600 2\r\nok\r\nset short%d 0 100 2\r\nok\r\n", i, i))
	}
	clock.advance(101_000)
	if got := c.ask("lru_crawler crawl all\r\n"); got != "OK\r\n" {
		t.Fatalf("crawl: %q", got)
	}
	stats := c.ask("stats\r\n")
	for end := time.Now().Add(time.Minute); strings.Contains(stats, "STAT lru_crawler_running 1\r\n"); stats = c.ask("stats\r\n") {
		if time.Now().After(end) {
			t.Fatal("the crawler runs for a minute")
		}
	}
	for _, line := range []string{"lru_crawler_running 0", "lru_crawler_starts 1", "crawler_reclaimed 60", "curr_items 60"} {
		if !strings.Contains(stats, "STAT "+line+"\r\n") {
			t.Errorf("no %q in %q", line, stats)
		}
	}
}

// What takes a connection for itself is refused behind other commands of the same read, unless mn has them answered first.
func TestNothingBeforeDumpsAndWatch(t *testing.T) {
	const refused = "ERROR cannot pipeline other commands before "
	ours := newServer(t, Options{})
	for _, test := range []struct{ in, want string }{
		{"get a\r\nlru_crawler metadump all\r\n", "END\r\n" + refused + "metadump\r\n"},
		{"get a\r\nlru_crawler mgdump all\r\n", "END\r\n" + refused + "mgdump\r\n"},
		{"lru_crawler crawl all\r\nlru_crawler mgdump 70\r\n", "OK\r\n" + refused + "mgdump\r\n"},
		{"delete b noreply\r\nwatch fetchers\r\n", refused + "watch\r\n"},
		{"mg b q\r\nwatch foo\r\n", refused + "watch\r\n"},
		{"foo\r\nwatch\r\nget a\r\n", "ERROR\r\n" + refused + "watch\r\nEND\r\n"},
		{"mn\r\nwatch foo\r\n", "MN\r\nERROR\r\n"},
		{"mn\r\nlru_crawler mgdump all\r\n", "MN\r\nOK\r\nEN\r\n"},
		{"get a\r\nmn\r\nlru_crawler mgdump all\r\n", "END\r\nMN\r\nOK\r\nEN\r\n"},
	} {
		if got := newClient(t, ours).ask(test.in); got != test.want {
			t.Errorf("%q: got %q, want %q", test.in, got, test.want)
		}
		c := dial(t, testenv.Memcached(t, "-o", "no_lru_maintainer")) // another each time: one whose crawler still runs says BUSY
		if _, err := c.Write([]byte(test.in)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(test.want)) // it does not close behind a dump
		if n, err := io.ReadFull(c, got); err != nil || string(got) != test.want {
			t.Errorf("%q: memcached answers %q, %v", test.in, got[:n], err)
		}
		c.Close()
	}
}

func TestDumpsNotAllowed(t *testing.T) {
	c := newClient(t, newServer(t, Options{NoDump: true}))
	want := "CLIENT_ERROR stats detail not allowed\r\nCLIENT_ERROR stats cachedump not allowed\r\nERROR metadump not allowed\r\nERROR key dump not allowed\r\n"
	if got := c.ask("stats detail on\r\nstats cachedump 1 0\r\nlru_crawler metadump all\r\nlru_crawler mgdump all\r\n"); got != want {
		t.Errorf("got %q", got)
	}
	c = newClient(t, newServer(t, Options{NoDump: true}))
	c.send(packets(t, []byte(`stat key=detail\x20on`)))
	if got := string(spellAnswers(c.out)); got != "stat status=0x1 value=Not\\x20found\n" {
		t.Errorf("got %q", got)
	}
}

// A dump holds little at a time, whatever there is to tell, and the commands behind it wait for their turn.
func TestLargeDumps(t *testing.T) {
	const items = 20_000
	twins(t, func(t *testing.T, o Options) {
		s, addr := startServer(t, o)
		var sets bytes.Buffer
		for i := range items {
			fmt.Fprintf(&sets, "set key-%05d 0 0 1 noreply\r\nx\r\n", i)
		}
		playSocket(t, addr, sets.Bytes(), sets.Len())
		seen := func(lines, pattern string) int {
			keys := make(map[string]bool)
			for _, m := range regexp.MustCompile(`(?m)^`+pattern).FindAllStringSubmatch(lines, -1) {
				keys[m[1]] = true
			}
			return len(keys)
		}
		c := talk(t, addr)
		for _, step := range []struct{ command, pattern, ending string }{
			{"lru_crawler metadump all", `key=(key-\d{5}) exp=-1 la=\d+ cas=\d+ fetch=no cls=1 size=69 flags=0 \n`, "END"},
			{"lru_crawler mgdump all", `mg (key-\d{5})\r\n`, "EN"},
			{"stats cachedump 1 0", `ITEM (key-\d{5}) \[1 b; 0 s\]\r\n`, "END"},
		} {
			if _, err := c.Write([]byte(step.command + "\r\nversion\r\n")); err != nil {
				t.Fatal(err)
			}
			got := c.ask("", step.ending)
			if n := seen(got, step.pattern); n != items {
				t.Errorf("%s: %d items", step.command, n)
			}
			if got := c.ask("", "VERSION"); got != "VERSION 1.6.45\r\n" {
				t.Errorf("%s: then %q", step.command, got)
			}
		}
		if got := len(dumped(c, "stats cachedump 1 100", "END")); got != 100+1 {
			t.Errorf("a limit of 100: %d lines", got)
		}
		n := newClient(t, newServer(t, Options{Store: s.o.Store})) // its workers are nobody else's
		n.ask("lru_crawler metadump all\r\n")
		if n.maxOut > highWater+dumpStep*400 {
			t.Errorf("held %d bytes of output", n.maxOut)
		}
	})
}

func TestCachedumpIsBounded(t *testing.T) {
	s := newServer(t, Options{})
	c := newClient(t, s)
	var sets bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&sets, "set %0250d 0 0 1 noreply\r\nx\r\n", i)
	}
	c.send(sets.Bytes())
	if got := len(c.ask("stats cachedump 1 0\r\n")); got > cacheDump || got < cacheDump-1000 {
		t.Errorf("%d bytes", got)
	}
}

// An arena of items that nobody may see is walked without an answer; that must end all the same.
func TestDumpOfNothing(t *testing.T) {
	clock := &testClock{now: 10_000}
	c := newClient(t, newServer(t, Options{Store: newStore(t, store.Options{Clock: clock.read})}))
	var sets bytes.Buffer
	for i := range 50_000 {
		fmt.Fprintf(&sets, "set key-%05d 0 1 1 noreply\r\nx\r\n", i)
	}
	c.send(sets.Bytes())
	clock.advance(5000)
	if got := c.ask("lru_crawler metadump all\r\n"); got != "OK\r\nEND\r\n" {
		t.Errorf("got %.100q", got)
	}
}

// Others have their turn while a dump goes through what it does not show.
func TestDumpThatShowsNothingYields(t *testing.T) {
	c := newClient(t, newServer(t, Options{}))
	const items = 40_000
	var sets bytes.Buffer
	for i := range items {
		fmt.Fprintf(&sets, "ms %s 1 b q\r\nx\r\n", base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(i))))
	}
	c.send(sets.Bytes())
	if got := c.ask("stats cachedump 1 0\r\n"); got != "END\r\n" {
		t.Errorf("got %.100q", got)
	}
	if want := items / (dumpTurn * dumpStep); c.yielded < want {
		t.Errorf("%d times, want %d", c.yielded, want)
	}
}

func TestCacheMemlimit(t *testing.T) {
	s := newServer(t, Options{Store: usualStore(t)})
	c := newClient(t, s)
	if got := c.ask("cache_memlimit 32\r\ncache_memlimit 999999999\r\n"); got != "OK\r\nMEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n" {
		t.Errorf("got %q", got)
	}
	_, values := statNames(t, c.ask("stats settings\r\n"))
	if values["maxbytes"] != "33554432" {
		t.Errorf("maxbytes is %s", values["maxbytes"])
	}
}

func TestDetailFromTheStart(t *testing.T) {
	c := newClient(t, newServer(t, Options{Detail: true, Delimiter: '/'}))
	if got := c.ask("set a/b 0 0 1\r\nx\r\nget a/c a:b\r\nstats detail dump\r\n"); !strings.Contains(got, "PREFIX a get 1 hit 0 set 1 del 0\r\nEND\r\n") {
		t.Errorf("got %q", got)
	}
}
