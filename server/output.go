package server

import (
	"sync/atomic"
	"time"

	"swordfish/store"
)

// output is replies on their way to a client: bytes, and large values that are sent from where the store has them, each of
// which belongs before one of the bytes.
type output struct {
	bytes []byte
	pins  []pinned
	sent  int // of bytes
}

// pinned is a value in an output. It is released when it has been written, or the connection ends.
type pinned struct {
	at    int // index in output.bytes before which it belongs
	value []byte
	pin   store.Pin
}

// replies counts the output that clients of a worker have not taken.
type replies struct {
	limit   int          // bytes, beyond which whoever has taken nothing for longest is closed
	waiting atomic.Int64 // bytes
}

// readStall is how long a client may take nothing of its output while memory is short.
const readStall = time.Second

// leastPin is the smallest value that is worth more than to be copied.
const leastPin = 8 << 10

// size is how many bytes are still to be written.
func (o *output) size() int {
	n := len(o.bytes) - o.sent
	for i := range o.pins {
		n += len(o.pins[i].value)
	}
	return n
}

// pieces appends what is still to be written, in order.
func (o *output) pieces(to [][]byte) [][]byte {
	from := o.sent
	for i := range o.pins {
		if p := &o.pins[i]; p.at > from {
			to = append(to, o.bytes[from:p.at], p.value)
			from = p.at
		} else {
			to = append(to, p.value)
		}
	}
	if from < len(o.bytes) {
		to = append(to, o.bytes[from:])
	}
	return to
}

// skip notes that n more bytes have been written.
func (o *output) skip(n int) {
	done := 0
	for i := range o.pins {
		p := &o.pins[i]
		if p.at-o.sent > n {
			break
		}
		n -= p.at - o.sent
		o.sent = p.at
		if n < len(p.value) {
			p.value = p.value[n:]
			n = 0
			break
		}
		n -= len(p.value)
		p.pin.Release()
		done++
	}
	o.sent += n
	o.pins = o.pins[done:]
}

// keep returns what is still to be written in memory of its own. The pins go over to it.
func (o *output) keep() output {
	kept := output{bytes: append([]byte(nil), o.bytes[o.sent:]...), pins: append([]pinned(nil), o.pins...)}
	for i := range kept.pins {
		kept.pins[i].at -= o.sent
	}
	o.pins = nil
	return kept
}

// drop gives up what was not written.
func (o *output) drop() {
	for i := range o.pins {
		o.pins[i].pin.Release()
	}
	*o = output{}
}

// appendValue appends the value of w.item, which is locked, to out, or has it sent from where it lies.
func (w *worker) appendValue(out []byte) []byte {
	it := &w.item
	if w.pins != nil && len(it.Value) >= leastPin {
		if pin, ok := it.Pin(); ok {
			w.pins = append(w.pins, pinned{len(out), it.Value, pin})
			w.pinnedBytes += len(it.Value)
			return out
		}
	}
	return append(out, it.Value...)
}

// inOut is how many bytes of the output the value of w.item takes.
func (w *worker) inOut() int {
	it := &w.item
	if w.pins != nil && len(it.Value) >= leastPin && it.Pinnable() {
		return 0
	}
	return len(it.Value)
}

// enough tells whether so much output waits to be written that no more should be made.
func (w *worker) enough(out []byte) bool { return len(out)+w.pinnedBytes >= highWater }
