//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// dumped is an item as memcached-tool writes it: a command that adds it again.
type dumped struct {
	flags   uint32
	exptime int64
	value   string
}

// dump runs memcached-tool and reads what it writes to standard output; what else it says goes to standard error.
func dump(t *testing.T, addr string) (commands []byte, items map[string]dumped) {
	t.Helper()
	cmd := exec.Command("perl", tool(t, "apt-get install memcached", "/usr/share/memcached/scripts/memcached-tool"), addr, "dump")
	var errors strings.Builder
	cmd.Stderr = &errors
	commands, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errors.String())
	}
	items = make(map[string]dumped)
	in := bufio.NewReader(bytes.NewReader(commands))
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return commands, items
		}
		var key string
		var item dumped
		var size int
		if n, _ := fmt.Sscanf(line, "add %s %d %d %d", &key, &item.flags, &item.exptime, &size); n != 4 {
			t.Fatalf("line %q, %v", line, err)
		}
		value := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(in, value); err != nil {
			t.Fatal(err)
		}
		item.value = string(value)
		items[key] = item
	}
}

// sameItems compares dumps. Where the item was stored at another moment, it may end a moment later.
func sameItems(t *testing.T, what string, got, want map[string]dumped) {
	t.Helper()
	if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) || len(w) == 0 {
		t.Errorf("%s: got keys %q, want %q", what, g, w)
	}
	for key, w := range want {
		g := got[key]
		if late := g.exptime - w.exptime; (g.exptime == 0) == (w.exptime == 0) && -30 < late && late < 30 {
			g.exptime = w.exptime
		}
		if g != w {
			t.Errorf("%s: %s: got %.100q, want %.100q", what, key, fmt.Sprint(g), fmt.Sprint(w))
		}
	}
}

// TestE2EDumpMovesOver: memcached-tool dumps of ours what it dumps of memcached, and what it dumps of the one fills the other.
func TestE2EDumpMovesOver(t *testing.T) {
	addrs := serveBoth(t, "-o", "no_lru_maintainer")
	var commands [2][]byte
	var items [2]map[string]dumped
	for i, addr := range addrs {
		commands[i], items[i] = dump(t, addr)
	}
	sameItems(t, "dump", items[0], items[1])
	for i, addr := range addrs {
		c := dial(t, addr)
		c.want("OK", "flush_all")
		if _, err := c.Write(commands[1-i]); err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		for range items[1-i] {
			if line := c.line(); line != "STORED" {
				t.Fatalf("add to %s: got %q", peers[i], line)
			}
		}
		_, loaded := dump(t, addr)
		sameItems(t, "loaded into "+peers[i], loaded, items[1-i])
	}
}

// TestE2EMemcachedToolKeys compares the fields of the lines that it shows of each key, and those that are an item's own.
func TestE2EMemcachedToolKeys(t *testing.T) {
	program := tool(t, "apt-get install memcached", "/usr/share/memcached/scripts/memcached-tool")
	// When it ends, was read and was changed, its slab class and what it takes up differ.
	own := regexp.MustCompile(`exp=[1-9]\d*|\bla=\d+|cas=\d+|cls=\d+|size=\d+`)
	var said [2]string
	for i, addr := range serveBoth(t, "-o", "no_lru_maintainer") {
		text := run(t, "", addr, "perl", program, "SERVER", "keys")
		said[i] = sortedLines(own.ReplaceAllStringFunc(text, func(field string) string { return field[:strings.IndexByte(field, '=')] + "=N" }))
	}
	if said[0] != said[1] || !strings.Contains(said[1], "key=text ") {
		t.Errorf("got\n%s\nwant\n%s", said[0], said[1])
	}
	t.Logf("%.300q", said[1])
}
