package memcache

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Dumped is an item of a memcached. Key and Value are valid during the call only.
type Dumped struct {
	Key       []byte
	BinaryKey bool // it cannot stand in a line, so it was stored under a base64-coded key
	Value     []byte
	Flags     uint32
	TTL       time.Duration // that remains; 0: for ever
	Age       time.Duration // since it was read last; of an item that a Swordfish has loaded, since its load
	Stale     bool          // its server calls it stale
	TooLarge  bool          // over Options.MaxValue: it has no value
}

// Dump reads all items of a memcached.
type Dump struct {
	s    *Source
	keys *conn // lists keys
	data *conn // answers them
}

// dumpPatience is how long a memcached may take for the next bytes of an answer.
const dumpPatience = 30 * time.Second

// Errors of Dump. Their texts name the remedy.
var (
	ErrNoMeta = errors.New("memcache: the server knows no meta commands, so it does not tell how long its items live: memcached 1.6 or later is needed")
	ErrNoDump = errors.New("memcache: the server does not list its keys: start it without -X, and without -o no_lru_crawler")
	ErrBusy   = errors.New("memcache: the server is busy listing its keys for somebody else: try again in a moment")
	ErrLocked = errors.New("memcache: the server is making its hash table larger, and lists no keys meanwhile: try again in a moment")
)

// Dump opens two connections for a dump, one that lists keys and one that asks for their items, and tells how many items there are
// about.
func (s *Source) Dump(ctx context.Context) (d *Dump, items int64, err error) {
	opened := &Dump{s: s}
	defer func() {
		if err != nil {
			opened.Close()
		}
	}()
	for _, c := range []**conn{&opened.keys, &opened.data} {
		if *c, err = s.connect(ctx); err != nil {
			return nil, 0, classify(ctx, err)
		}
		if !(*c).meta {
			return nil, 0, ErrNoMeta
		}
	}
	err = opened.data.run(ctx, func(c *conn) error {
		line, err := c.say("stats\r\n")
		for ; err == nil && line != "END"; line, err = c.text() {
			if n, ok := strings.CutPrefix(line, "STAT curr_items "); ok {
				items, _ = strconv.ParseInt(n, 10, 64) // its own number
			} else if !strings.HasPrefix(line, "STAT ") {
				return fmt.Errorf("it answers stats with %.50q", line)
			}
		}
		return err
	})
	if err != nil {
		return nil, 0, classify(ctx, err)
	}
	return opened, items, nil
}

// Close closes the connections.
func (d *Dump) Close() {
	for _, c := range []*conn{d.keys, d.data} {
		if c != nil {
			c.nc.Close()
		}
	}
}

func (c *conn) text() (string, error) {
	line, err := c.line()
	return string(line), err
}

// Keys lists all keys and then calls visit for each; key is valid during the call only. An error of visit ends it. Meanwhile the list is
// in a temporary file: memcached 1.6.18 for one holds locks of items while its list waits to be read, and who then asked for
// those items would wait forever.
func (d *Dump) Keys(ctx context.Context, visit func(key []byte) error) error {
	stop := context.AfterFunc(ctx, func() { d.keys.nc.Close() })
	defer stop()
	err := d.list(visit)
	for tries := 0; errors.Is(err, ErrLocked) && tries < lockedTries; tries++ {
		timer := time.NewTimer(lockedWait)
		select {
		case <-timer.C:
			err = d.list(visit)
		case <-ctx.Done():
			timer.Stop()
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// A server whose hash table grows, as that of one that was just filled may, is asked again: it takes a second or a few.
const (
	lockedTries = 50
	lockedWait  = 200 * time.Millisecond
)

func (d *Dump) list(visit func(key []byte) error) error {
	kept, err := newKeyFile()
	if err != nil {
		return err
	}
	defer kept.close()
	if err := d.lines(kept.add); err != nil {
		return err
	}
	return kept.each(visit)
}

// lines calls visit for each key as its line comes.
func (d *Dump) lines(visit func(key []byte) error) error {
	c := d.keys
	// By the hash table, where the server can: items move between its lists meanwhile, and a walk along those misses some.
	line, err := c.say("lru_crawler metadump hash\r\n")
	if err == nil && strings.HasPrefix(line, "BADCLASS") {
		line, err = c.say("lru_crawler metadump all\r\n")
	}
	var key []byte
	for first := true; err == nil; first = false {
		if line == "END" {
			return nil
		}
		coded, ok := strings.CutPrefix(line, "key=")
		switch {
		case ok:
			coded, _, _ = strings.Cut(coded, " ")
			if key, ok = appendKey(key[:0], coded); !ok {
				return fmt.Errorf("memcache: the server lists a key that cannot be read: %.100q", coded)
			}
			if err := visit(key); err != nil {
				return err
			}
		case !first || line != "OK": // newer ones begin with that
			return dumpRefused(line, first)
		}
		if err = c.nc.SetReadDeadline(time.Now().Add(dumpPatience)); err == nil {
			line, err = c.text()
		}
	}
	return fmt.Errorf("memcache: list of keys: %w", err)
}

// dumpRefused is what a line means that is no key.
func dumpRefused(line string, first bool) error {
	switch {
	case strings.HasPrefix(line, "BUSY"):
		return ErrBusy
	case line == "ERROR locked try again later": // in place of any keys
		return ErrLocked
	case first && (strings.HasPrefix(line, "ERROR") || strings.HasPrefix(line, "CLIENT_ERROR")):
		return ErrNoDump
	}
	return fmt.Errorf("memcache: the server answers %.100q to metadump", line)
}

// appendKey undoes the %XX of a listed key.
func appendKey(dst []byte, coded string) ([]byte, bool) {
	for i := 0; i < len(coded); i++ {
		if coded[i] != '%' {
			dst = append(dst, coded[i])
			continue
		}
		if i+2 >= len(coded) {
			return dst, false
		}
		c, err := strconv.ParseUint(coded[i+1:i+3], 16, 8)
		if err != nil {
			return dst, false
		}
		dst = append(dst, byte(c))
		i += 2
	}
	return dst, len(dst) > 0
}

// Items asks for the items of keys in one go and calls visit for each that is there, with its key's index. Only one item is in
// memory at a time, besides the questions. An error of visit is returned when all was read.
func (d *Dump) Items(ctx context.Context, keys [][]byte, visit func(i int, it *Dumped) error) error {
	c := d.data
	var out []byte
	for i, key := range keys {
		out = append(out, "mg "...)
		coded := !plain(key)
		if coded {
			out = base64.StdEncoding.AppendEncode(out, key)
			out = append(out, " b"...)
		} else {
			out = append(out, key...)
		}
		out = append(out, " f l t u v"...)
		out = append(out, " q O"...)
		out = strconv.AppendInt(out, int64(i), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "mn\r\n"...)
	stop := context.AfterFunc(ctx, func() { c.nc.Close() })
	defer stop()
	if err := c.nc.SetDeadline(time.Now().Add(dumpPatience)); err != nil {
		return fmt.Errorf("memcache: %w", err)
	}
	written := make(chan error, 1)
	go func() { // beside the reading: a server whose answers nobody takes stops to take questions
		_, err := c.nc.Write(out)
		written <- err
	}()
	visited, err := d.answers(keys, visit)
	if err != nil {
		c.nc.Close()
	}
	if werr := <-written; err == nil {
		err = werr
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("memcache: items: %w", err)
	}
	return visited
}

// answers reads up to the answer of mn. visited is the first error of visit.
func (d *Dump) answers(keys [][]byte, visit func(i int, it *Dumped) error) (visited, err error) {
	c := d.data
	for {
		line, err := c.line()
		if err != nil {
			return visited, err
		}
		if string(line) == "MN" {
			return visited, nil
		}
		at, size, it, ok := parseDumped(line)
		if !ok || at >= len(keys) {
			return visited, refusal(line)
		}
		it.Key, it.BinaryKey = keys[at], !plain(keys[at])
		if err := c.nc.SetReadDeadline(time.Now().Add(dumpPatience)); err != nil {
			return visited, err
		}
		if size > d.s.o.MaxValue {
			it.TooLarge = true
			err = c.skip(int64(size) + 2)
		} else {
			it.Value, err = c.data(size)
		}
		if err != nil {
			return visited, err
		}
		if visited == nil {
			visited = visit(at, &it)
		}
	}
}

// parseDumped reads VA <size> f<flags> l<age> t<ttl> O<index>, flags in any order.
func parseDumped(line []byte) (at, size int, it Dumped, ok bool) {
	rest, found := bytes.CutPrefix(line, []byte("VA "))
	if !found {
		return 0, 0, it, false
	}
	word, rest, _ := bytes.Cut(rest, []byte(" "))
	size, err := strconv.Atoi(string(word))
	if err != nil || size < 0 {
		return 0, 0, it, false
	}
	at = -1
	for flag := range bytes.FieldsSeq(rest) {
		v := string(flag[1:])
		var n int64
		switch flag[0] {
		case 'f', 'l', 't', 'O':
			var e error
			n, e = strconv.ParseInt(v, 10, 64)
			err = errors.Join(err, e)
		}
		switch flag[0] {
		case 'f':
			it.Flags = uint32(n)
		case 'l':
			it.Age = time.Duration(n) * time.Second
		case 't':
			if n >= 0 { // an item in its last second says 0
				it.TTL = time.Duration(max(n, 1)) * time.Second
			}
		case 'O':
			at = int(n)
		case 'X':
			it.Stale = true
		}
	}
	return at, size, it, err == nil && at >= 0
}
