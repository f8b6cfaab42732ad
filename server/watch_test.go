package server

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"swordfish/protocol"
	"swordfish/store"
)

var logNumbers = regexp.MustCompile(`ts=\d+\.\d+ gid=\d+ | cfd=-?\d+| rport=\d+`)

// watchLines reads lines of a watcher up to one that has last in it, without what differs from run to run.
func watchLines(c *conversation, last string) []string {
	c.t.Helper()
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%v after %q", err, lines)
		}
		lines = append(lines, logNumbers.ReplaceAllString(strings.TrimSuffix(line, "\n"), ""))
		if strings.Contains(line, last) {
			return lines
		}
	}
}

func TestWatch(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		_, addr := startServer(t, o)
		watcher := talk(t, addr)
		if got := watcher.ask("watch fetchers mutations deletions connevents\r\n", "OK"); got != "OK\r\n" {
			t.Fatalf("got %q", got)
		}
		c := talk(t, addr)
		c.ask("set a/b 5 100 3\r\nabc\r\nget a/b none\r\nadd a/b 0 0 1\r\nx\r\nappend a/b 0 0 1\r\nd\r\nset old 0 -1 1\r\nx\r\ndelete a/b\r\ndelete a/b\r\n"+
			"set big 0 0 2000000\r\n"+strings.Repeat("x", 2_000_000)+"\r\nget last\r\n", "END")
		c.ask("get last\r\n", "END")
		c.Close()
		want := []string{
			"type=conn_new rip=127.0.0.1 transport=tcp",
			"type=item_get key=a%2Fb status=not_found clsid=0 size=0",
			"type=item_store key=a%2Fb status=stored cmd=set ttl=100 clsid=1 size=3",
			"type=item_get key=a%2Fb status=found clsid=1 size=3",
			"type=item_get key=none status=not_found clsid=0 size=0",
			"type=item_get key=a%2Fb status=found clsid=1 size=3",
			"type=item_store key=a%2Fb status=not_stored cmd=add ttl=0 clsid=1 size=1",
			"type=item_get key=a%2Fb status=found clsid=1 size=3",
			"type=item_store key=a%2Fb status=stored cmd=append ttl=0 clsid=1 size=4",
			"type=item_get key=old status=not_found clsid=0 size=0",
			"type=item_store key=old status=stored cmd=set ttl=0 clsid=1 size=1",
			"type=item_get key=a%2Fb status=found clsid=1 size=4",
			"type=deleted key=a%2Fb cmd=delete clsid=1 size=4",
			"type=item_get key=a%2Fb status=not_found clsid=0 size=0",
			"type=item_store key=big status=too_large cmd=set ttl=0 clsid=1 size=0",
			"type=item_get key=big status=not_found clsid=0 size=0",
			"type=item_get key=last status=not_found clsid=0 size=0",
			"type=item_get key=last status=not_found clsid=0 size=0",
			"type=conn_close rip=127.0.0.1 transport=tcp reason=normal",
		}
		got := watchLines(watcher, "conn_close")
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		web := talk(t, addr)
		fmt.Fprint(web, "GET / HTTP/1.1\r\n\r\n")
		if got := watchLines(watcher, "conn_close"); got[len(got)-1] != "type=conn_close rip=127.0.0.1 transport=tcp reason=error" {
			t.Errorf("got %q", got)
		}
	})
}

// watched are commands that memcached shows to watchers as we do.
var watched = []string{
	"set a 5 0 3\r\nabc\r\n", "set a 5 100 3\r\nabc\r\n", "get a\r\n", "get a none\r\n", "gets a\r\n", "gat 10 a\r\n", "gat 10 none\r\n", "gats 10 a\r\n",
	"touch a 100\r\n", "touch none 1\r\n", "add a 0 0 1\r\nx\r\n", "add new 0 0 1\r\nx\r\n", "replace new 0 0 2\r\nxy\r\n", "replace none 0 0 2\r\nxy\r\n",
	"append new 0 0 2\r\nxy\r\n", "append none 0 0 2\r\nxy\r\n", "prepend new 0 0 2\r\nxy\r\n", "prepend new 0 0 2 noreply\r\nxy\r\n", "cas new 0 0 1 1\r\nx\r\n", "cas none 0 0 1 1\r\nx\r\n",
	"set n 0 0 1\r\n5\r\n", "incr n 1\r\n", "incr n 10\r\n", "incr n 99999\r\n", "decr n 1\r\n", "incr none 1\r\n", "incr a 1\r\n", "incr a x\r\n",
	"delete a\r\n", "delete a\r\n", "delete n noreply\r\n", "set big 0 0 2\r\nxx\r\n", "set big 0 0 2000000\r\n" + strings.Repeat("x", 2_000_000) + "\r\n",
	"add big 0 0 2000000\r\n" + strings.Repeat("x", 2_000_000) + "\r\n", "append new 0 0 2000000\r\n" + strings.Repeat("x", 2_000_000) + "\r\n",
	"set k 0 0 3\r\nabcd\r\n", "set k 0 0 3\r\nabc\r\n", "set k x 0 3\r\nabc\r\n", "get\r\n", "nonsense\r\n",
	"set half 0 0 600000\r\n" + strings.Repeat("x", 600_000) + "\r\n", "append half 0 0 600000\r\n" + strings.Repeat("x", 600_000) + "\r\n",
	"mg k v\r\n", "mg none v\r\n", "mg viv N30 v\r\n", "mg viv N30 v\r\n", "mg k T30\r\n", "mg none q\r\n", "me k\r\n", "me none\r\n", "ms m 1\r\nx\r\n", "ms m 1 ME\r\nx\r\n",
	"ms m 1 MA\r\ny\r\n", "ms m 1 MP\r\ny\r\n", "ms m 1 MR\r\ny\r\n", "ms none 1 MR\r\ny\r\n", "ms made 1 MA N10\r\ny\r\n", "ms m 1 T30\r\ny\r\n", "ms m 1 C999999999\r\ny\r\n",
	"ms none 1 C999\r\ny\r\n", "ms k%\x01 1\r\nx\r\n", "ms Zm9v 1 b\r\nx\r\n", "mg Zm9v b v\r\n", "ms forever 0\r\n\r\n", "ma none\r\n", "ma num N30 J5\r\n", "ma num\r\n", "ma m\r\n",
	"md m I\r\n", "md m x\r\n", "md m\r\n", "md m\r\n", "md num C4\r\n", "md num q\r\n", "md none q\r\n", "mn\r\n", "flush_all\r\n", "version\r\n", "delete " + strings.Repeat("#", 250) + "\r\n",
}

// watchedPackets are such requests of the binary protocol.
var watchedPackets = []string{
	"set key=b value=abc flags=0 exptime=0", "get key=b", "getq key=none", "getk key=b", "touch key=b exptime=100", "gat key=b exptime=100", "gat key=none exptime=100",
	"add key=b value=abc flags=0 exptime=0", "replace key=b value=abc flags=0 exptime=0", "set key=b value=abc flags=0 exptime=0 cas=9999999", "append key=b value=abc",
	"append key=none value=abc", "incr key=b delta=1 initial=0 exptime=0", "incr key=bn delta=1 initial=10 exptime=0", "incr key=bn delta=1 initial=10 exptime=0",
	"incr key=none delta=1 initial=10 exptime=0xffffffff", "delete key=bn cas=9999999", "delete key=b", "delete key=b", "deleteq key=bn", "noop",
}

// What memcached says of the same commands is the same: nothing more, nothing less, in its order.
func TestWatchLikeMemcached(t *testing.T) {
	classes := regexp.MustCompile(`clsid=[1-9]\d*`)
	say := func(addr string) []string {
		var lines []string
		watcher := talk(t, addr)
		watcher.ask("watch mutations fetchers deletions rawcmds\r\n", "OK") // rawcmds are told of by neither
		c := talk(t, addr)
		hear := func(command string) {
			c.ask("get mark\r\n", "END") // a command of its own: what is read together is not always told in order
			lines = append(lines, command)
			for _, line := range watchLines(watcher, "key=mark") {
				lines = append(lines, classes.ReplaceAllString(line, "clsid=1"))
			}
		}
		for _, command := range watched {
			if _, err := c.Write([]byte(command + "mn\r\n")); err != nil {
				t.Fatal(err)
			}
			c.ask("", "MN")
			if command == "mn\r\n" {
				c.ask("", "MN")
			}
			hear(shortenLine(command))
		}
		b := talkBinary(t, addr)
		for _, line := range watchedPackets {
			b.ask("%s\nnoop", line)
			if line != "noop" && !strings.Contains(strings.Fields(line)[0], "q") {
				b.read()
			}
			hear(line)
		}
		return lines
	}
	_, addr := startServer(t, Options{Workers: 1})
	compareLines(t, say(addr), say(oracle(t, quietOracle)))
}

func shortenLine(s string) string { return s[:min(len(s), 40)] }

// Evictions are told with what is known of the item, and only while somebody watches them.
func TestWatchEvictions(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.Store = newStore(t, store.Options{Memory: 1 << 20, MaxItem: 1 << 12})
		s, addr := startServer(t, o)
		c := talk(t, addr)
		value := strings.Repeat("x", 300)
		next := 0
		fill := func(until func() bool) {
			for !until() {
				var sets strings.Builder
				for range 100 {
					fmt.Fprintf(&sets, "set key%d 0 %d 309 noreply\r\n%09d%s\r\n", next, next%2*1000, next, value) // equal values would be held once
					next++
				}
				c.ask(sets.String()+"version\r\n", "VERSION")
			}
		}
		evictions := func() uint64 { return s.Stats().Store.Evictions }
		fill(func() bool { return evictions() > 0 })
		watcher := talk(t, addr)
		watcher.ask("watch evictions\r\n", "OK")
		before := evictions()
		fill(func() bool { return evictions() > before+50 })
		line := regexp.MustCompile(`^type=eviction key=key\d+ fetch=(yes|no) ttl=(-1|9\d\d|1000) la=\d+ clsid=1 size=309$`)
		for range 50 {
			if got := watchLines(watcher, ""); !line.MatchString(got[0]) {
				t.Fatalf("got %q", got)
			}
		}
		watcher.Close()
		for s.watch.wants(protocol.WatchEvictions) { // it is noticed when there is something to tell
			fill(func() bool { return true })
			before := evictions()
			fill(func() bool { return evictions() > before })
		}
	})
}

// A watcher that does not read misses lines and is told so; the others do not wait for it.
func TestSlowWatcher(t *testing.T) {
	s, addr := startServer(t, Options{})
	watcher := talk(t, addr)
	watcher.ask("watch\r\n", "OK")
	c := talk(t, addr)
	burst := strings.Repeat("get "+strings.Repeat("k", 200)+"\r\n", 200)
	skipped := func() uint64 {
		s.watch.mu.Lock()
		defer s.watch.mu.Unlock()
		return s.watch.n.skipped
	}
	for skipped() == 0 {
		c.ask(burst+"version\r\n", "VERSION")
	}
	// Once it reads there is room again, and the next line tells how many are missing.
	done := make(chan struct{})
	defer close(done)
	go func() {
		other := bufio.NewReader(c)
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := c.Write([]byte("get more\r\n")); err != nil {
				return
			}
			if _, err := other.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	lines := watchLines(watcher, "skipped=")
	if len(lines) < 100 || !regexp.MustCompile(`^skipped=\d+$`).MatchString(lines[len(lines)-1]) {
		t.Errorf("%d lines, the last one %q", len(lines), lines[len(lines)-1])
	}
}

func TestWatchers(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := startServer(t, o)
		var all []*conversation
		for range maxWatchers {
			c := talk(t, addr)
			c.ask("watch\r\n", "OK")
			all = append(all, c)
		}
		if got := talk(t, addr).ask("watch\r\n", "WATCHER"); got != "WATCHER_TOO_MANY log watcher limit reached\r\n" {
			t.Errorf("got %q", got)
		}
		_, values := statNames(t, talk(t, addr).ask("stats\r\n", "END"))
		if values["log_watchers"] != fmt.Sprint(maxWatchers) {
			t.Errorf("log_watchers is %s", values["log_watchers"])
		}
		for _, c := range all {
			c.Close()
		}
		waitUnwatched(t, s, talk(t, addr))
	})
}

// waitUnwatched waits until nobody watches s.
func waitUnwatched(t *testing.T, s *Server, other interface {
	ask(command, last string) string
}) {
	t.Helper()
	for tries := 0; ; tries++ {
		s.watch.mu.Lock()
		left := len(s.watch.all)
		s.watch.mu.Unlock()
		if left == 0 {
			return
		}
		if other.ask("version\r\n", "VERSION"); tries == 20_000 {
			t.Fatalf("%d watchers have gone and are still there", left)
		}
	}
}

// A client that watched and has gone leaves its place to others, also where nothing happens that it could be told. What it
// said meanwhile is not looked at.
func TestWatcherThatHasGone(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := startServer(t, o)
		other := talk(t, addr)
		for n := range maxWatchers + 5 {
			c := talk(t, addr)
			if got := c.ask("watch evictions\r\n", "OK"); got != "OK\r\n" {
				t.Fatalf("got %q", got)
			}
			if n%2 == 1 {
				if _, err := c.Write([]byte("quit\r\nset a 0 0 1\r\nx\r\n")); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
			waitUnwatched(t, s, other)
		}
		if got := other.ask("get a\r\n", "END"); got != "END\r\n" {
			t.Errorf("a command of a watcher was run: %q", got)
		}
	})
}

func TestShutdownEndsWatchers(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		s, addr := startServer(t, o)
		watcher := talk(t, addr)
		watcher.ask("watch\r\n", "OK")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if _, err := watcher.r.ReadString('\n'); err == nil {
			t.Error("the watcher lives on")
		}
	})
}
