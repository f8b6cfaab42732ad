package server

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

var logNumbers = regexp.MustCompile(`ts=\d+\.\d+ gid=\d+ | cfd=\d+| rport=\d+`)

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
		c.ask("set a/b 5 100 3\r\nabc\r\nget a/b none\r\nadd a/b 0 0 1\r\nx\r\nappend a/b 0 0 1\r\nd\r\ncas a/b 0 0 1 1\r\nx\r\nset old 0 -1 1\r\nx\r\ndelete a/b\r\ndelete a/b\r\n"+
			"ms m 1\r\nx\r\nmg m v\r\nmg m2 q\r\nmd m\r\nset big 0 0 2000000\r\n"+strings.Repeat("x", 2_000_000)+"\r\nget last\r\n", "END")
		c.ask("get last\r\n", "END")
		c.Close()
		want := []string{
			"type=conn_new rip=127.0.0.1 transport=tcp",
			"type=item_store key=a%2Fb status=stored cmd=set ttl=100 clsid=1 size=3",
			"type=item_get key=a%2Fb status=found clsid=1 size=3",
			"type=item_get key=none status=not_found clsid=0 size=0",
			"type=item_store key=a%2Fb status=not_stored cmd=add ttl=0 clsid=1 size=1",
			"type=item_store key=a%2Fb status=stored cmd=append ttl=0 clsid=1 size=4",
			"type=item_store key=a%2Fb status=exists cmd=cas ttl=0 clsid=1 size=1",
			"type=item_store key=old status=stored cmd=set ttl=0 clsid=1 size=1",
			"type=deleted key=a%2Fb cmd=delete clsid=1 size=0",
			"type=item_store key=m status=stored cmd=set ttl=0 clsid=1 size=1",
			"type=item_get key=m status=found clsid=1 size=1",
			"type=item_get key=m2 status=not_found clsid=0 size=0",
			"type=deleted key=m cmd=md clsid=1 size=0",
			"type=item_store key=big status=too_large cmd=set ttl=0 clsid=1 size=0",
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

// What memcached says of the same commands is the same, beside the look-ups that other commands make there.
func TestWatchLikeMemcached(t *testing.T) {
	say := func(addr string) []string {
		watcher := talk(t, addr)
		watcher.ask("watch mutations fetchers deletions\r\n", "OK")
		c := talk(t, addr)
		for _, command := range []string{
			"set watched 5 0 3\r\nabc\r\n", "get watched\r\n", "gets none\r\n", "add watched 0 0 1\r\nx\r\n", "replace none 0 0 1\r\nx\r\n", "append watched 0 0 2\r\nyz\r\n",
			"prepend watched 0 0 2\r\nyz\r\n", "cas watched 0 0 1 1\r\nx\r\n", "cas none 0 0 1 1\r\nx\r\n", "ms k%\x01 1\r\nx\r\n", "set forever 0 0 0\r\n\r\n", "get last\r\n",
		} {
			if _, err := c.Write([]byte(command + "mn\r\n")); err != nil {
				t.Fatal(err)
			}
			c.ask("", "MN")
		}
		var lines []string
		stores := regexp.MustCompile(`type=item_store`)
		all := watchLines(watcher, "key=last")
		for i, line := range all {
			// A look-up before a store is the store's own.
			if strings.Contains(line, "type=item_get") && i+1 < len(all) && stores.MatchString(all[i+1]) {
				continue
			}
			lines = append(lines, strings.ReplaceAll(line, "clsid=0", "clsid=1"))
		}
		return lines
	}
	_, addr := startServer(t, Options{})
	got, want := say(addr), say(testenv.Memcached(t))
	drop := regexp.MustCompile(`type=item_get key=none .*`) // there it belongs to the command after it
	if g, w := drop.ReplaceAllString(strings.Join(got, "\n"), ""), drop.ReplaceAllString(strings.Join(want, "\n"), ""); strings.ReplaceAll(g, "\n", "") != strings.ReplaceAll(w, "\n", "") {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
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
		for _, c := range all[1:] {
			c.Close()
		}
		// Those that have gone are noticed when they are to be told something.
		c := talk(t, addr)
		for {
			c.ask("get a\r\n", "END")
			s.watch.mu.Lock()
			left := len(s.watch.all)
			s.watch.mu.Unlock()
			if left == 1 {
				break
			}
		}
		all[0].Close()
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
