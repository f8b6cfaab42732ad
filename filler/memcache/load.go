package memcache

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"swordfish/filler"
)

// loadMeta asks for keys with one mg each and an mn at the end. The peer says nothing of keys that it has not.
func (s *Source) loadMeta(c *conn, b *filler.Batch, keys [][]byte) error {
	var out []byte
	for i, key := range keys {
		if key == nil {
			continue
		}
		out = append(out, "mg "...)
		if plain(key) {
			out = append(out, key...)
			out = append(out, " f t v q O"...)
		} else {
			out = base64.StdEncoding.AppendEncode(out, key)
			out = append(out, " b f t v q O"...)
		}
		out = strconv.AppendInt(out, int64(i+1), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "mn\r\n"...)

	// Written beside the reading: a peer whose answers nobody takes stops to take questions.
	written := make(chan error, 1)
	go func() {
		_, err := c.nc.Write(out)
		written <- err
	}()
	err := s.readMeta(c, b)
	if err != nil {
		c.nc.Close()
	}
	if werr := <-written; err == nil {
		err = werr
	}
	return err
}

// readMeta reads answers up to that of mn.
func (s *Source) readMeta(c *conn, b *filler.Batch) error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if string(line) == "MN" {
			return nil
		}
		it, ok := parseVA(line)
		if !ok {
			return refusal(line)
		}
		if it.size > int64(s.o.MaxValue) {
			if err := c.skip(it.size + 2); err != nil {
				return err
			}
			b.TooLarge(it.ord)
			continue
		}
		value, err := c.data(int(it.size))
		if err != nil {
			return err
		}
		b.Item(it.ord, value, it.flags, it.ttl)
	}
}

// answer is the head of a value.
type answer struct {
	ord   int64
	size  int64
	flags uint32
	ttl   time.Duration // 0: for ever
}

// parseVA reads VA <size> f<flags> t<ttl> O<ord>, flags in any order. An item that its peer calls stale is good for a second: long
// enough to answer with, too short to pass for fresh.
func parseVA(line []byte) (it answer, ok bool) {
	rest, found := bytes.CutPrefix(line, []byte("VA "))
	if !found {
		return it, false
	}
	size, rest, _ := bytes.Cut(rest, []byte(" "))
	var err error
	if it.size, err = strconv.ParseInt(string(size), 10, 32); err != nil || it.size < 0 {
		return it, false
	}
	stale := false
	for flag := range bytes.FieldsSeq(rest) {
		v := string(flag[1:])
		switch flag[0] {
		case 'f':
			n, e := strconv.ParseUint(v, 10, 32)
			it.flags, err = uint32(n), errors.Join(err, e)
		case 'O':
			n, e := strconv.ParseInt(v, 10, 32)
			it.ord, err = n, errors.Join(err, e)
		case 't':
			n, e := strconv.ParseInt(v, 10, 32)
			if err = errors.Join(err, e); n >= 0 {
				it.ttl = time.Duration(max(n, 1)) * time.Second
			}
		case 'X':
			stale = true
		}
	}
	if stale {
		it.ttl = time.Second
	}
	return it, err == nil && it.ord > 0
}

// data reads a value and its line end. The value is valid until the next read.
func (c *conn) data(size int) ([]byte, error) {
	if size+2 <= c.r.Size() {
		block, err := c.r.Peek(size + 2)
		if err != nil {
			return nil, err
		}
		_, _ = c.r.Discard(size + 2) // it is all in the buffer
		return trimEnd(block)
	}
	block := make([]byte, size+2)
	if _, err := io.ReadFull(c.r, block); err != nil {
		return nil, err
	}
	return trimEnd(block)
}

func trimEnd(block []byte) ([]byte, error) {
	value, ok := bytes.CutSuffix(block, []byte("\r\n"))
	if !ok {
		return nil, errors.New("a value does not end where it should")
	}
	return value, nil
}

// skip reads n bytes that nobody wants.
func (c *conn) skip(n int64) error {
	_, err := io.CopyN(io.Discard, c.r, n)
	return err
}

// plain tells whether a key can stand in a line as it is.
func plain(key []byte) bool {
	for _, c := range key {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return len(key) > 0
}

// classicKeys is how many keys one gets asks for. Their values are in memory at the same time.
const classicKeys = 32

// loadClassic asks with gets, through gomemcache on our own connection, which obeys ctx. A key that cannot stand in a line is not
// there: nobody can have stored it this way.
func (s *Source) loadClassic(c *conn, b *filler.Batch, keys [][]byte) error {
	lent := &lent{Conn: c.nc}
	client := memcache.NewFromSelector(lent)
	client.DialContext = func(context.Context, string, string) (net.Conn, error) { return lent, nil }
	ask := func(ords map[string][]int64, names []string) error {
		got, err := client.GetMulti(names)
		if err == nil && lent.closed {
			err = net.ErrClosed
		}
		if err != nil {
			return err
		}
		for name, it := range got {
			for _, ord := range ords[name] {
				b.Item(ord, it.Value, it.Flags, 0)
			}
		}
		return nil
	}
	ords := make(map[string][]int64)
	var names []string
	for i, key := range keys {
		if !plain(key) {
			continue
		}
		name := string(key)
		if ords[name] == nil {
			names = append(names, name)
		}
		ords[name] = append(ords[name], int64(i+1))
		if len(names) == classicKeys {
			if err := ask(ords, names); err != nil {
				return err
			}
			clear(ords)
			names = names[:0]
		}
	}
	if len(names) == 0 {
		return nil
	}
	return ask(ords, names)
}

// lent is a connection in gomemcache's hands, and its choice of servers. Deadlines stay ours.
type lent struct {
	net.Conn
	closed bool
}

func (l *lent) Close() error {
	l.closed = true
	return l.Conn.Close()
}

func (l *lent) SetDeadline(time.Time) error { return nil }

// PickServer implements memcache.ServerSelector.
func (l *lent) PickServer(string) (net.Addr, error) { return l.RemoteAddr(), nil }

// Each implements memcache.ServerSelector.
func (l *lent) Each(f func(net.Addr) error) error { return f(l.RemoteAddr()) }
