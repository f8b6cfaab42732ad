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
		c = tls.Client(c, l.TLS)
	}
	buf := make([]byte, 0, fillBuffer+maxValue)
	for id := from; id < to; id++ {
		buf = appendSet(buf, l, uint32(id), " noreply\r\n")
		if len(buf) >= fillBuffer {
			if _, err := c.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	// The answer to version comes after all sets were done.
	if _, err := c.Write(append(buf, "version\r\n"...)); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "VERSION ") {
		return fmt.Errorf("got %q after the sets", line)
	}
	return nil
}
