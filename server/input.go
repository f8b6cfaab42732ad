package server

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"swordfish/protocol"
	"swordfish/store"
)

// A command that has not arrived whole is held by its connection. Up to keepInput bytes a connection may always hold. What is
// larger lies in a buffer of its worker's, of which there is a bounded number of bytes: when they are used up, connections
// that need more are not read from until others have finished, and meanwhile those that send too slowly are closed.
const (
	keepInput = 4 << 10                // bytes that any connection may hold
	idleInput = 512                    // bytes of buffer that stay with a connection that holds nothing
	growth    = 16                     // a buffer has room for so many times what has arrived, until it fits the command
	leastRead = 2 << 10                // room for fewer bytes is not worth a read while more may come
	spareAge  = 5 * time.Second        // a buffer that nobody wanted for so long is given back
	lagAfter  = store.Time(1000)       // milliseconds; from then on a connection with a large buffer has to send
	lagTick   = 250 * time.Millisecond // distance of the looks at slow connections while others wait for memory
	lagRate   = 64                     // bytes a millisecond, or is closed when others wait for memory
)

// buffers are the large input buffers of a worker's connections. With epoll only the worker's thread uses them; with package
// net connections read by themselves.
type buffers struct {
	limit int         // bytes
	tight atomic.Bool // there is less than a read's worth left

	mu     sync.Mutex  // guards the rest
	used   int         // bytes dealt out
	extra  bool        // one of them is dealt out beyond the limit
	queue  []*waiter   // connections of package net, in the order in which they came
	last   bool        // the last one of them whose turn it was had waited longest
	spare  [][]byte    // to be dealt out again
	kept   int         // bytes of spare
	wanted bool        // since the timer was set
	timer  *time.Timer // nil: nothing is spare
}

// count changes the bytes dealt out. The caller holds mu.
func (b *buffers) count(n int) {
	b.used += n
	b.tight.Store(b.used+readBuffer > b.limit)
}

// bytes returns how many are dealt out, and how many are kept for the next.
func (b *buffers) bytes() (used, kept int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(b.used), int64(b.kept)
}

// has tells whether a buffer of n bytes would be dealt out.
func (b *buffers) has(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fits(n)
}

// fits is has for a caller that holds mu.
func (b *buffers) fits(n int) bool { return b.used+n <= b.limit || !b.extra }

// take deals out a buffer of at least n bytes, or nil. One of them may go beyond the limit, so that there is always a command
// that can be finished; extra says that it is this one. has says that the caller holds that one already.
func (b *buffers) take(n int, has bool) (buf []byte, extra bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !has && !b.fits(n) {
		return nil, false
	}
	extra = has || b.used+n > b.limit
	b.extra = b.extra || extra
	return b.deal(n), extra
}

// force is take without a limit, for what was read already.
func (b *buffers) force(n int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.deal(n)
}

// deal finds a buffer. The caller holds mu.
func (b *buffers) deal(n int) (buf []byte) {
	best := -1
	for i := range b.spare {
		if c := cap(b.spare[i]); c >= n && c <= 2*n && (best < 0 || c < cap(b.spare[best])) {
			best = i
		}
	}
	if best >= 0 {
		buf = b.spare[best]
		b.spare[best] = b.spare[len(b.spare)-1]
		b.spare[len(b.spare)-1] = nil
		b.spare = b.spare[:len(b.spare)-1]
		b.kept -= cap(buf)
	} else {
		const unit = 16 << 10
		buf = make([]byte, 0, (n+unit-1)/unit*unit)
	}
	b.wanted = true
	b.count(cap(buf))
	return buf[:0]
}

// give takes a buffer back.
func (b *buffers) give(buf []byte, extra bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count(-cap(buf))
	if extra {
		b.extra = false
	}
	b.wake()
	if b.used+b.kept+cap(buf) > b.limit {
		return
	}
	b.spare = append(b.spare, buf)
	b.kept += cap(buf)
	switch {
	case b.timer == nil:
		b.timer = time.AfterFunc(spareAge, b.expire)
	case len(b.spare) == 1:
		b.timer.Reset(spareAge)
	}
}

// expire lets go of the spare buffers when nobody has wanted one for spareAge.
func (b *buffers) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.wanted {
		b.spare, b.kept = nil, 0
		return
	}
	b.wanted = false
	b.timer.Reset(spareAge)
}

// waiter is a connection of package net that waits for a buffer.
type waiter struct {
	need int
	turn chan struct{}
}

// wait waits for its turn to take n bytes, or for the server to stop. Somebody else may have them before the caller does.
func (b *buffers) wait(n int, stopping <-chan struct{}) {
	b.mu.Lock()
	if b.fits(n) {
		b.mu.Unlock()
		return
	}
	w := &waiter{n, make(chan struct{})}
	b.queue = append(b.queue, w)
	b.mu.Unlock()
	select {
	case <-w.turn:
	case <-stopping:
	}
}

// wake gives one of those who wait their turn, if there is memory: by turns the one that has waited longest and the one that
// came last, so that many that hardly send anything do not hold up those that come after them. The caller holds mu.
func (b *buffers) wake() {
	if len(b.queue) == 0 {
		return
	}
	at := 0
	if b.last {
		at = len(b.queue) - 1
	}
	if w := b.queue[at]; b.fits(w.need) {
		b.last = !b.last
		b.queue = slices.Delete(b.queue, at, at+1)
		close(w.turn)
	}
}

// wanting tells whether somebody waits.
func (b *buffers) wanting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) > 0
}

// close ends the timer.
func (b *buffers) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
	}
}

// input holds the bytes of a connection that wait for the rest of their command.
type input struct {
	held   []byte
	joined bool       // for the read under way, held was copied to the front of the shared buffer
	extra  bool       // the buffer of held is the one beyond the limit
	base   int        // bytes that were held when the buffer was got
	since  store.Time // when that was
}

// large tells whether held lies in one of the worker's buffers.
func (in *input) large() bool { return cap(in.held) > keepInput }

// grown is how large a buffer has to be for what is held and more of the command, which takes need bytes in all, 0 if unknown.
func (in *input) grown(need int) int {
	n := len(in.held)
	return min(max(need, protocol.MaxLine+2, n+1), growth*n)
}

// space returns where to read to: shared, which belongs to nobody between two reads, or behind what is held. The command in
// hand takes need bytes in all, 0 if unknown. Nil: there is no memory for more of it at the moment.
func (in *input) space(b *buffers, shared []byte, need int, now store.Time) []byte {
	n := len(in.held)
	in.joined = false
	end := len(shared)
	if b.tight.Load() {
		end = keepInput
	}
	if !in.large() && n <= min(keepInput, len(shared)/2) && (n == 0 || end > keepInput || need <= end) {
		copy(shared, in.held)
		in.joined = true
		return shared[n:end]
	}
	if size := in.grown(need); cap(in.held) < size {
		buf, extra := b.take(size, in.extra)
		if buf == nil {
			return nil
		}
		in.move(b, buf, extra, in.held)
		in.base, in.since = n, now
	}
	end = cap(in.held)
	if need > n {
		end = min(end, need) // what comes after the command need not be moved then
	}
	return in.held[n:end]
}

// move goes over to another buffer with data in it.
func (in *input) move(b *buffers, buf []byte, extra bool, data []byte) {
	buf = append(buf[:0], data...)
	if in.large() {
		b.give(in.held, in.extra && !extra)
	}
	in.held, in.extra = buf, extra
}

// add takes n bytes up that were read to space and returns all that waits to be run.
func (in *input) add(shared []byte, n int) []byte {
	if in.joined {
		return shared[:len(in.held)+n]
	}
	in.held = in.held[:len(in.held)+n]
	return in.held
}

// hold keeps data, what is left of what add returned. The command in hand takes need bytes in all, 0 if unknown.
func (in *input) hold(b *buffers, data []byte, need int, now store.Time) {
	switch n := len(data); {
	case n == 0 && cap(in.held) > idleInput:
		in.drop(b)
	case n <= keepInput && (in.large() || n > cap(in.held)):
		small := append(make([]byte, 0, min(n+n/2+16, keepInput)), data...)
		in.drop(b)
		in.held = small
	case n <= cap(in.held):
		in.held = append(in.held[:0], data...)
	default: // from the shared buffer
		var buf []byte
		extra := false
		if need > n {
			buf, extra = b.take(min(need, growth*n), false)
		}
		if buf == nil {
			buf = b.force(n)
		}
		in.move(b, buf, extra, data)
		in.base, in.since = n, now
	}
}

// drop gives up what is held.
func (in *input) drop(b *buffers) {
	if in.large() {
		b.give(in.held, in.extra)
	}
	*in = input{}
}

// lags tells whether the client has sent too slowly since it got its large buffer.
func (in *input) lags(now store.Time) bool {
	t := now - in.since
	return in.large() && t >= lagAfter && store.Time(len(in.held)-in.base) < t*lagRate
}
