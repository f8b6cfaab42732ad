package load

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
)

// fillBuffer is how much is written at once. Large, because each write costs the server a wake-up.
const fillBuffer = 256 << 10

// tlsFill, the same over TLS, leaves room for a value of some KiB in a record, which has 16 KiB.
const tlsFill = 8 << 10

// Fill stores the ids 0 to n-1 by sets without replies over a few connections, and returns when the server has worked them
// all off. It does not say how many the server kept. within bounds it in time.
func Fill(l *Load, addr string, n int, within time.Duration) error {
	const conns = 4
	errs := make(chan error, conns)
	for i := range conns {
		go func() { errs <- fillPart(l, addr, n*i/conns, n*(i+1)/conns, time.Now().Add(within)) }()
	}
	var first error
	for range conns {
		if err := <-errs; err != nil && first == nil {
			first = fmt.Errorf("load: fill: %w", err)
		}
	}
	return first
}

// demandChunk is how many ids a connection of Demand asks for again and again until all are there: with four connections fewer
// than a route's queue takes.
const demandChunk = 8192

// Demand asks for the ids 0 to n-1 over a few connections until each was answered with a value, for a server that loads what it
// misses. within bounds it in time.
func Demand(l *Load, addr string, n int, within time.Duration) error {
	const conns = 4
	errs := make(chan error, conns)
	deadline := time.Now().Add(within)
	for i := range conns {
		go func() {
			c, err := net.DialTimeout("tcp", addr, 10*time.Second)
			if err == nil {
				defer c.Close()
				err = c.SetDeadline(deadline)
			}
			r := bufio.NewReaderSize(c, fillBuffer)
			for from, to := n*i/conns, n*(i+1)/conns; err == nil && from < to; from += demandChunk {
				end := min(from+demandChunk, to)
				for hits := 0; err == nil && hits < end-from; {
					if hits, err = demand(l, c, r, from, end); hits < end-from {
						time.Sleep(time.Millisecond) // it is loading them
					}
				}
			}
			errs <- err
		}()
	}
	var first error
	for range conns {
		if err := <-errs; err != nil && first == nil {
			first = fmt.Errorf("load: demand: %w", err)
		}
	}
	return first
}

// demand asks for the ids from one to another once and counts the values that come.
func demand(l *Load, c net.Conn, r *bufio.Reader, from, to int) (hits int, err error) {
	const together = 64
	var ask []byte
	for ; from < to; from += together {
		ask = append(ask[:0], "get"...)
		for id := from; id < min(from+together, to); id++ {
			ask = l.Keys.Append(append(ask, ' '), uint32(id))
		}
		if _, err := c.Write(append(ask, "\r\n"...)); err != nil {
			return hits, err
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return hits, err
			}
			if line == "END\r\n" {
				break
			}
			var key string
			var flags, size int
			if _, err := fmt.Sscanf(line, "VALUE %s %d %d", &key, &flags, &size); err != nil {
				return hits, fmt.Errorf("got %q in answer to a get", line)
			}
			if _, err := r.Discard(size + 2); err != nil {
				return hits, err
			}
			hits++
		}
	}
	return hits, nil
}

func fillPart(l *Load, addr string, from, to int, deadline time.Time) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if l.TLS != nil {
		oneRecord := l.TLS.Clone()
		oneRecord.DynamicRecordSizingDisabled = true
		c = tls.Client(c, oneRecord)
	}
	// memcached does not look again for records that have come together with one that ends within a command. So each write
	// over TLS is whole commands in one record, and waits until they were done.
	r, most := bufio.NewReader(c), fillBuffer
	if l.TLS != nil {
		most = tlsFill
	}
	buf := make([]byte, 0, fillBuffer+maxValue)
	for id := from; id < to; id++ {
		buf = appendSet(buf, l, uint32(id), " noreply\r\n")
		if len(buf) < most {
			continue
		}
		if l.TLS != nil {
			err = confirm(c, r, buf)
		} else {
			_, err = c.Write(buf)
		}
		if err != nil {
			return err
		}
		buf = buf[:0]
	}
	return confirm(c, r, buf)
}

// confirm writes sets and waits until they were done: the answer to version comes after that.
func confirm(c net.Conn, r *bufio.Reader, sets []byte) error {
	if _, err := c.Write(append(sets, "version\r\n"...)); err != nil {
		return err
	}
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "VERSION ") {
		return fmt.Errorf("got %q after the sets", line)
	}
	return nil
}
