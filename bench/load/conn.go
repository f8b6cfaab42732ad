package load

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// conn is one connection with the requests that wait for their answers, oldest first.
type conn struct {
	fd      int
	loop    *loop
	out     []byte // built, not yet written
	blocked bool   // the socket took no more of out
	in      []byte // read, not yet understood: an answer's beginning
	need    int    // size of the answer that in begins with, if known

	waiting []request
	done    int      // waiting[:done] are answered
	ids     []uint32 // keys of all waiting requests, in order
	seen    int      // ids[:seen] are answered, as hit or miss
	fill    []uint32 // ids to set, because a get missed them
}

type request struct {
	due time.Time
	end int // its keys end here in ids
	set bool
}

func (c *conn) idle() bool { return c.done == len(c.waiting) }

// request appends one request to out.
func (c *conn) request(due time.Time) {
	if c.idle() { // begin the queues anew
		c.waiting, c.ids, c.done, c.seen = c.waiting[:0], c.ids[:0], 0, 0
	}
	l, lp := c.loop.load, c.loop
	switch {
	case len(c.fill) > 0:
		id := c.fill[len(c.fill)-1]
		c.fill = c.fill[:len(c.fill)-1]
		c.set(id, due)
	case l.Sets > 0 && lp.rng.Float64() < l.Sets:
		c.set(lp.next()+l.Offset, due)
	default:
		c.out = append(c.out, "get"...)
		for range l.Multiget {
			id := lp.next() + l.Offset
			c.ids = append(c.ids, id)
			c.out = append(c.out, ' ')
			c.out = l.Keys.Append(c.out, id)
		}
		c.out = append(c.out, "\r\n"...)
		c.wait(request{due: due})
	}
}

func (c *conn) set(id uint32, due time.Time) {
	c.out = appendSet(c.out, c.loop.load, id, "\r\n")
	c.ids = append(c.ids, id)
	c.wait(request{due: due, set: true})
}

func (c *conn) wait(r request) {
	r.end = len(c.ids)
	c.waiting = append(c.waiting, r)
	c.loop.behind++
}

// appendSet appends the set of id; lineEnd may hold noreply.
func appendSet(dst []byte, l *Load, id uint32, lineEnd string) []byte {
	dst = append(dst, "set "...)
	dst = l.Keys.Append(dst, id)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(l.Values.Flags(id)), 10)
	dst = append(dst, " 0 "...)
	dst = strconv.AppendInt(dst, int64(l.Values.Size(id)), 10)
	dst = append(dst, lineEnd...)
	dst = l.Values.Append(dst, id)
	return append(dst, "\r\n"...)
}

// read takes what the socket has, once, and understands all complete answers.
func (c *conn) read(now time.Time) error {
	if len(c.in) == cap(c.in) || c.need > cap(c.in) {
		c.in = append(make([]byte, 0, max(2*cap(c.in), c.need+4096)), c.in...)
	}
	n, err := unix.Read(c.fd, c.in[len(c.in):cap(c.in)])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return fmt.Errorf("load: read: %w", err)
	case n == 0:
		return fmt.Errorf("load: the server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	c.in = c.in[:len(c.in)+n]
	used := 0
	for used < len(c.in) {
		n, err := c.answer(c.in[used:], now)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		used += n
	}
	c.in = c.in[:copy(c.in, c.in[used:])]
	return nil
}

// answer understands one line, with its data block after VALUE, and returns its length; 0 if it is not complete yet.
func (c *conn) answer(b []byte, now time.Time) (int, error) {
	if c.idle() {
		return 0, fmt.Errorf("load: an answer to no request: %.80q", b)
	}
	nl := bytes.IndexByte(b, '\n')
	if nl < 0 {
		return 0, nil
	}
	r := &c.waiting[c.done]
	switch line := b[:nl+1]; {
	case r.set && string(line) == "STORED\r\n":
		c.seen++
		c.finish(r, 0, now)
	case !r.set && string(line) == "END\r\n":
		missed := r.end - c.seen
		if c.loop.load.Fill {
			c.fill = append(c.fill, c.ids[c.seen:r.end]...)
		}
		c.seen = r.end
		c.finish(r, missed, now)
	case !r.set && bytes.HasPrefix(line, []byte("VALUE ")):
		n, err := c.hit(r, line, b)
		if n == 0 || err != nil {
			return 0, err
		}
		return n, nil
	default:
		return 0, fmt.Errorf("load: got %.80q", line)
	}
	return nl + 1, nil
}

// hit understands a VALUE line and the data block behind it.
func (c *conn) hit(r *request, line, b []byte) (int, error) {
	l, lp := c.loop.load, c.loop
	wrong := func(what string) (int, error) {
		return 0, fmt.Errorf("load: wrong answer, %s: %.80q", what, line)
	}
	key, rest, _ := bytes.Cut(line[len("VALUE "):], []byte(" "))
	flags, rest, _ := bytes.Cut(rest, []byte(" "))
	length, ok := number(rest[:max(len(rest)-2, 0)])
	if !ok {
		return wrong("its length")
	}
	total := len(line) + length + 2
	if total > len(b) {
		c.need = total
		return 0, nil
	}
	if b[total-2] != '\r' || b[total-1] != '\n' {
		return wrong("the end of its data block")
	}
	// Hits come in the order of the request; those in between were missed.
	at := c.seen
	for ; at < r.end; at++ {
		lp.key = l.Keys.Append(lp.key[:0], c.ids[at])
		if bytes.Equal(key, lp.key) {
			break
		}
	}
	if at == r.end {
		return wrong("a key that was not asked for")
	}
	id := c.ids[at]
	if lp.load.Fill {
		c.fill = append(c.fill, c.ids[c.seen:at]...)
	}
	if lp.counting {
		lp.result.Operations += uint64(at - c.seen + 1)
		lp.result.Misses += uint64(at - c.seen)
		lp.result.Hits++
	}
	c.seen = at + 1
	if length != l.Values.Size(id) {
		return wrong("its length")
	}
	if f, ok := number(flags); !ok || uint32(f) != l.Values.Flags(id) {
		return wrong("its flags")
	}
	if lp.values++; lp.values%64 == 0 {
		lp.value = l.Values.Append(lp.value[:0], id)
		if !bytes.Equal(lp.value, b[len(line):total-2]) {
			return wrong("its value")
		}
		if lp.counting {
			lp.result.Checked++
		}
	}
	return total, nil
}

// finish counts the oldest request as answered.
func (c *conn) finish(r *request, missed int, now time.Time) {
	lp := c.loop
	c.done++
	lp.behind--
	if !lp.counting {
		return
	}
	if r.set {
		lp.result.Sets++
		lp.result.Operations++
	}
	lp.result.Misses += uint64(missed)
	lp.result.Operations += uint64(missed)
	_ = lp.result.Latency.RecordValue(int64(now.Sub(r.due))) // over a minute cannot be: the run would have stalled
}

// number reads a decimal of 1 to 9 digits.
func number(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
