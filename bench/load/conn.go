package load

import (
	"bytes"
	"fmt"
	"io"
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
		first := len(c.ids)
		for range l.Multiget {
			c.ids = append(c.ids, lp.next()+l.Offset)
		}
		c.out = l.Protocol.appendGet(c.out, l.Keys, c.ids[first:])
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

// room is where the next bytes are read to.
func (c *conn) room() []byte {
	if len(c.in) == cap(c.in) || c.need > cap(c.in) {
		c.in = append(make([]byte, 0, max(2*cap(c.in), c.need+4096)), c.in...)
	}
	return c.in[len(c.in):cap(c.in)]
}

// read takes what the socket has, once, and understands all complete answers.
func (c *conn) read(now time.Time) error {
	n, err := unix.Read(c.fd, c.room())
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return fmt.Errorf("load: read: %w", err)
	case n == 0:
		return fmt.Errorf("load: the server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return c.took(n, now)
}

// took understands all complete answers, n bytes of which were just read.
func (c *conn) took(n int, now time.Time) error {
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

// answer understands one answer, or one part of it, and returns its length; 0 if it is not complete yet.
func (c *conn) answer(b []byte, now time.Time) (int, error) {
	if c.idle() {
		return 0, fmt.Errorf("load: an answer to no request: %.80q", b)
	}
	r := &c.waiting[c.done]
	a, n, err := c.loop.load.Protocol.parse(b, r.set)
	if n == 0 || err != nil {
		return 0, err
	}
	if n > len(b) {
		c.need = n
		return 0, nil
	}
	if a.hit {
		if err := c.hit(r, &a, b[n-a.tail-a.length:n-a.tail]); err != nil {
			return 0, err
		}
	}
	if !a.last {
		return n, nil
	}
	missed := r.end - c.seen
	if r.set {
		missed = 0
	}
	if c.loop.load.Fill && missed > 0 {
		c.fill = append(c.fill, c.ids[c.seen:r.end]...)
	}
	c.seen = r.end
	c.finish(r, missed, now)
	return n, nil
}

// hit checks a value that came for the oldest request, and counts it with the keys before it, which were missed.
func (c *conn) hit(r *request, a *answer, value []byte) error {
	l, lp := c.loop.load, c.loop
	wrong := func(what string) error { return fmt.Errorf("load: wrong answer, %s: key %.80q", what, a.key) }
	// Hits come in the order of the request; those in between were missed.
	at := c.seen
	for ; at < r.end; at++ {
		lp.key = l.Keys.Append(lp.key[:0], c.ids[at])
		if bytes.Equal(a.key, lp.key) {
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
	if a.length != l.Values.Size(id) {
		return wrong("its length")
	}
	if a.flags != l.Values.Flags(id) {
		return wrong("its flags")
	}
	if lp.values++; lp.values%64 == 0 {
		lp.value = l.Values.Append(lp.value[:0], id)
		if !bytes.Equal(lp.value, value) {
			return wrong("its value")
		}
		if lp.counting {
			lp.result.Checked++
		}
	}
	return nil
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
