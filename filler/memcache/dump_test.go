package memcache

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// tell sends commands to a memcached and wants so many lines in answer.
func tell(t *testing.T, addr string, lines int, commands string) string {
	t.Helper()
	c, err := source(t, Options{Addr: addr}).connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	go func() { _, _ = c.nc.Write([]byte(commands)) }() // an error shows in what is read
	last := ""
	for range lines {
		if last, err = c.text(); err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// dumpAll reads all items, in questions for so many at a time, by key.
func dumpAll(t *testing.T, s *Source, together int) map[string]Dumped {
	t.Helper()
	d, _, err := s.Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := map[string]Dumped{}
	var keys [][]byte
	ask := func() error {
		err := d.Items(t.Context(), keys, func(i int, it *Dumped) error {
			if string(it.Key) != string(keys[i]) {
				t.Errorf("item %d is %q, asked for %q", i, it.Key, keys[i])
			}
			kept := *it
			kept.Value = append([]byte{}, it.Value...)
			got[string(it.Key)] = kept
			return nil
		})
		keys = nil
		return err
	}
	err = d.Keys(t.Context(), func(key []byte) error {
		if keys = append(keys, append([]byte{}, key...)); len(keys) < together {
			return nil
		}
		return ask()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestDumpReadsEveryItem(t *testing.T) {
	addr := testenv.Memcached(t)
	type item struct {
		value string
		flags uint32
		ttl   int
	}
	odd := "odd\x00 \r\n\xff"
	items := map[string]item{
		"empty": {"", 0, 0}, "flags": {"x", 1<<32 - 1, 0}, "ends": {"soon", 7, 5000}, "lines": {"a\r\nEND\r\nMN\r\n", 0, 0},
		"100%_schlüssel\"'&": {"odd", 1, 0}, strings.Repeat("k", 250): {"long", 0, 100}, "large": {strings.Repeat("large", 20_000), 2, 0},
		"too large": {strings.Repeat("v", 300_000), 0, 0}, odd: {"coded", 3, 60},
	}
	for i := range 1000 {
		items[fmt.Sprint("many-", i)] = item{fmt.Sprint("value ", i), uint32(i), i}
	}
	var b strings.Builder
	for key, it := range items {
		word, coded := key, ""
		if !plain([]byte(key)) {
			word, coded = base64.StdEncoding.EncodeToString([]byte(key)), "b "
		}
		fmt.Fprintf(&b, "ms %s %d %sF%d T%d\r\n%s\r\n", word, len(it.value), coded, it.flags, it.ttl, it.value)
	}
	if last := tell(t, addr, len(items), b.String()); last != "HD" {
		t.Fatalf("set: %q", last)
	}
	got := dumpAll(t, source(t, Options{Addr: addr, MaxValue: 200_000}), 100)
	if len(got) != len(items) {
		t.Errorf("%d items, want %d", len(got), len(items))
	}
	for key, want := range items {
		it := got[key]
		ttl := time.Duration(want.ttl) * time.Second
		if key == "too large" {
			if !it.TooLarge || len(it.Value) > 0 {
				t.Errorf("%.20q: %d bytes, want to hear that it is too large", key, len(it.Value))
			}
			continue
		}
		if string(it.Value) != want.value || it.Flags != want.flags || it.TTL > ttl || it.TTL < ttl-5*time.Second || it.BinaryKey != (key == odd) {
			t.Errorf("%.20q: got %d bytes, flags %d, ttl %v, coded %v; want %d, %d, %v", key, len(it.Value), it.Flags, it.TTL, it.BinaryKey, len(want.value), want.flags, ttl)
		}
	}
}

func TestDumpSaysWhyItCannot(t *testing.T) {
	plainServer := testenv.Memcached(t)
	busy := fake(t, "BUSY currently processing crawler request\r\n")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	for name, tt := range map[string]struct {
		addr string
		want error
		text string
	}{
		"no dumps":         {testenv.Memcached(t, "-X"), ErrNoDump, ""},
		"no meta commands": {newRelay(t, plainServer, true).addr, ErrNoMeta, ""},
		"busy":             {busy, ErrBusy, ""},
		"nobody there":     {free.Addr().String(), nil, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			d, _, err := source(t, Options{Addr: tt.addr}).Dump(t.Context())
			if err == nil {
				defer d.Close()
				err = d.Keys(t.Context(), func([]byte) error { return nil })
			}
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v %s", err, tt.want, tt.text)
			}
		})
	}
}

// TestDumpWaitsForAGrowingTable: the server lists no keys while its hash table grows.
func TestDumpWaitsForAGrowingTable(t *testing.T) {
	d, _, err := source(t, Options{Addr: fake(t, "OK\r\nERROR locked try again later\r\n", "OK\r\nkey=a exp=-1 \r\nEND\r\n")}).Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var keys []string
	err = d.Keys(t.Context(), func(key []byte) error {
		keys = append(keys, string(key))
		return nil
	})
	if err != nil || len(keys) != 1 || keys[0] != "a" {
		t.Errorf("%q, %v", keys, err)
	}
}

// TestDumpReadsTheListFirst: a server answers for no item before its list has been read, as memcached 1.6.18 does not for those whose
// locks its list holds. It knows no walk by the hash table.
func TestDumpReadsTheListFirst(t *testing.T) {
	const keys, together = 200_000, 100 // more than sockets hold
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	read := make(chan struct{})
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				for lines := bufio.NewScanner(nc); lines.Scan(); {
					answer := map[string]string{"mn": "MN\r\n", "stats": "END\r\n", "lru_crawler metadump hash": "BADCLASS invalid class id\r\n"}[lines.Text()]
					word, rest, _ := strings.Cut(lines.Text(), " ")
					switch {
					case word == "mg":
						<-read
						_, index, _ := strings.Cut(rest, " O")
						answer = "VA 1 f0 l0 t-1 O" + index + "\r\nv\r\n"
					case lines.Text() == "lru_crawler metadump all":
						w := bufio.NewWriter(nc)
						for i := range keys {
							fmt.Fprintf(w, "key=k%%20%d exp=-1 la=1 cas=%d fetch=no cls=1 size=%d %s\n", i, i, 100, strings.Repeat("x", 60))
						}
						if w.Flush() != nil {
							return
						}
						close(read)
						answer = "END\r\n"
					}
					if _, err := nc.Write([]byte(answer)); err != nil {
						return
					}
				}
			}()
		}
	}()
	// A container of one binary has no directory for temporary files.
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "absent")} {
		t.Setenv("TMPDIR", dir)
		read = make(chan struct{})
		got := dumpAll(t, source(t, Options{Addr: ln.Addr().String()}), together)
		if len(got) != keys || string(got["k 7"].Value) != "v" {
			t.Errorf("TMPDIR=%s: %d items, want %d", dir, len(got), keys)
		}
	}
}

// TestKeysInMemory: what is read is what was written, and no more is held than may be.
func TestKeysInMemory(t *testing.T) {
	const keys = 10_000
	keyOf := func(i int) string { return strings.Repeat("k", i%300) + fmt.Sprint(i) }
	k := newKeyMemory(memoryMost)
	for i := range keys {
		if err := k.add([]byte(keyOf(i))); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := k.each(func(key []byte) error {
		if string(key) != keyOf(n) {
			t.Fatalf("key %d is %q", n, key)
		}
		n++
		return nil
	})
	if err != nil || n != keys {
		t.Errorf("%d keys, %v", n, err)
	}

	k, err, n = newKeyMemory(1<<20), nil, 0
	for ; err == nil && n < keys; n++ {
		err = k.add(make([]byte, 1000))
	}
	if !errors.Is(err, errListTooLong) || n < 900 || n > 1200 {
		t.Errorf("after %d keys of 1000 bytes: %v", n, err)
	}
}

// fake answers the dumps of a connection with one line each, and from the last on with that.
func fake(t *testing.T, lines ...string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				buf, lines := make([]byte, 1000), lines
				for {
					n, err := nc.Read(buf)
					if err != nil {
						return
					}
					answer := map[string]string{"mn\r\n": "MN\r\n", "stats\r\n": "END\r\n"}[string(buf[:n])]
					if answer == "" {
						if answer = lines[0]; len(lines) > 1 {
							lines = lines[1:]
						}
					}
					if _, err := nc.Write([]byte(answer)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func TestDumpEndsWithItsContext(t *testing.T) {
	addr := testenv.Memcached(t)
	tell(t, addr, 1, "set k 0 0 1\r\nv\r\n")
	d, _, err := source(t, Options{Addr: addr}).Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	err = d.Keys(ctx, func([]byte) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
