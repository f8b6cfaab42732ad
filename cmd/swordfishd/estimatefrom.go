package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"swordfish/config"
	"swordfish/filler/postgres"
)

// maxDumpLine bounds a line of a dump, in bytes.
const maxDumpLine = 64 << 20

// readDump reads lines key<TAB>value. add's slices die with its return.
func readDump(ctx context.Context, in io.Reader, name string, add func(key, value []byte)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxDumpLine)
	for n := 1; lines.Scan(); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line := lines.Bytes()
		if len(line) == 0 || string(line) == `\.` {
			continue
		}
		key, value, ok := bytes.Cut(line, []byte{'\t'})
		if !ok || len(key) == 0 {
			return fmt.Errorf("%s:%d: not a line key<TAB>value, as psql's COPY (SELECT key, value ...) TO STDOUT writes them", name, n)
		}
		add(unescapeCopy(key), unescapeCopy(value))
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%s: a line of more than %d MiB", name, maxDumpLine>>20)
	} else if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// unescapeCopy undoes in place what PostgreSQL's COPY does to a text: \t, \n, \r, \b, \f, \v and \\.
func unescapeCopy(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	plain := b[:0]
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '\\' && i+1 < len(b) {
			i++
			c = b[i]
			if at := strings.IndexByte("tnrbfv", c); at >= 0 {
				c = "\t\n\r\b\f\v"[at]
			}
		}
		plain = append(plain, c)
	}
	return plain
}

// readSQL reads the rows of --query, or without it what the routes have.
func (o *estimateOptions) readSQL(ctx context.Context, c *config.Config, errOut io.Writer, add func(key, value []byte)) error {
	if o.query == "" && o.dsn != "" {
		return usageError{errors.New("--from=sql --dsn: --query=SQL says what the items are, as SELECT key, value FROM items does; without --dsn they are those of the routes of --config")}
	}
	if o.query == "" {
		return o.readRoutes(ctx, c, errOut, add)
	}
	dsns := []string{o.dsn}
	if o.dsn == "" {
		dsns = nil
		var names []string
		for i := range c.Sources {
			s := &c.Sources[i]
			if s.Kind != config.Postgres {
				continue
			}
			names = append(names, s.Name)
			if o.source == "" && dsns == nil || s.Name == o.source {
				dsns = dsns[:0]
				for _, dsn := range s.DSN {
					dsns = append(dsns, dsn.Reveal())
				}
			}
		}
		if o.source != "" && !slices.Contains(names, o.source) {
			return usageError{fmt.Errorf("--source: there is no source %q of kind postgres; there are %q", o.source, names)}
		}
	}
	if len(dsns) == 0 {
		return usageError{errors.New("--from=sql: --dsn=DSN, or --config with a source of kind postgres, says where the database is")}
	}
	return postgres.Rows(ctx, dsns, o.query, 2, func(row [][]byte) {
		if row[0] != nil && row[1] != nil {
			add(row[0], row[1])
		}
	})
}

// Items of a memcached are asked for so many at a time.
const mostAsked = 100

// readMemcached walks through the items of a memcached, on one connection by lru_crawler metadump, and asks for their values on
// another, so many a second at most. What goes away meanwhile is left out, and so may be what memcached moves within its lists.
func readMemcached(ctx context.Context, addr string, rate int, add func(key, value []byte)) error {
	list, err := dialMemcached(ctx, addr)
	if err != nil {
		return err
	}
	defer list.Close()
	gets, err := dialMemcached(ctx, addr)
	if err != nil {
		return err
	}
	defer gets.Close()
	if _, err := io.WriteString(list, "lru_crawler metadump all\r\n"); err != nil {
		return fmt.Errorf("%s: %w", addr, err)
	}
	dumped, answers := bufio.NewReader(list), bufio.NewReaderSize(gets, 64<<10)
	begin, asked := time.Now(), 0
	var keys []string
	for {
		line, err := dumped.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%s: lru_crawler metadump: %w", addr, err)
		}
		line = strings.TrimRight(line, "\r\n")
		ended := line == "END"
		if line == "OK" && asked == 0 && len(keys) == 0 { // as newer ones begin
			continue
		}
		if !ended {
			key, ok := strings.CutPrefix(line, "key=")
			if !ok {
				return fmt.Errorf("%s: it answers %q to lru_crawler metadump", addr, line)
			}
			key, _, _ = strings.Cut(key, " ")
			if key, err = url.PathUnescape(key); err != nil {
				return fmt.Errorf("%s: lru_crawler metadump: %w", addr, err)
			}
			keys = append(keys, key)
		}
		if len(keys) == mostAsked || ended && len(keys) > 0 {
			if err := waitUntil(ctx, begin.Add(time.Duration(asked)*time.Second/time.Duration(rate))); err != nil {
				return err
			}
			if err := getValues(gets, answers, keys, add); err != nil {
				return fmt.Errorf("%s: %w", addr, err)
			}
			asked += len(keys)
			keys = keys[:0]
		}
		if ended {
			return nil
		}
	}
}

func waitUntil(ctx context.Context, at time.Time) error {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// dialMemcached connects to host:port or to the path of a UNIX socket; ctx's end cuts the connection.
func dialMemcached(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	if strings.Contains(addr, "/") {
		network = "unix"
	}
	d := net.Dialer{Timeout: askTime}
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	context.AfterFunc(ctx, func() { c.Close() })
	return c, nil
}

// getValues asks for keys at once and adds those that are there.
func getValues(c net.Conn, in *bufio.Reader, keys []string, add func(key, value []byte)) error {
	if err := c.SetDeadline(time.Now().Add(askTime)); err != nil {
		return err
	}
	var ask bytes.Buffer
	for _, key := range keys {
		if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			fmt.Fprintf(&ask, "mg %s b v\r\n", base64.StdEncoding.EncodeToString([]byte(key)))
		} else {
			fmt.Fprintf(&ask, "mg %s v\r\n", key)
		}
	}
	ask.WriteString("mn\r\n")
	if _, err := c.Write(ask.Bytes()); err != nil {
		return err
	}
	var value []byte
	for i := 0; ; i++ {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		head, rest, _ := strings.Cut(line, " ")
		switch {
		case head == "MN" && i == len(keys):
			return nil
		case i >= len(keys), head != "EN" && head != "VA":
			return fmt.Errorf("it answers %q to mg", line)
		case head == "EN":
			continue
		}
		digits, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(digits)
		if err != nil || n < 0 || n > 1<<30 {
			return fmt.Errorf("it answers %q to mg", line)
		}
		value = slices.Grow(value[:0], n+2)[:n+2]
		if _, err := io.ReadFull(in, value); err != nil {
			return err
		}
		add([]byte(keys[i]), value[:n])
	}
}
