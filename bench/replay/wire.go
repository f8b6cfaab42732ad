package replay

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Wire replays against a server that speaks memcached's text protocol, over one connection, so that the server meets the
// requests in their order. Gets travel in windows. The sets of a window's misses go ahead of the next window's gets, and a
// window ends before a key that is in it already: so a key is always set before it is asked for again, and all that differs
// from one request at a time is that a set is up to a window late. A Wire is for one goroutine.
type Wire struct {
	conn   net.Conn
	in     *bufio.Reader
	window int
	sizes  []uint32 // bytes of each object's value
	size   int      // of every value, without sizes
	again  bool     // values differ each time they are set

	out    []byte
	want   []byte
	got    []byte
	puts   map[uint32]uint32 // with again: how often each object was set
	asked  []uint32          // the window
	last   []int             // by object, the number of the last window it was in, from 1 on
	number int
	unset  []uint32 // missed, not yet set
	err    error

	Refused int // sets that the server did not store
}

// wireKey is the length of keys, the median of published memcached clusters.
const wireKey = 36

// patience bounds the wait for the answer to one window.
const patience = 20 * time.Second

// WireOptions say how to replay. Values follow from the object's number alone, are all different and do not compress.
type WireOptions struct {
	Window  int      // gets that travel together
	Objects int      // ids are below
	Size    int      // bytes of a value
	Sizes   []uint32 // bytes of each object's value, in place of Size; those over 1 MB less 512 bytes are cut to that
	Fresh   bool     // each set of an object has another value than the one before
}

// wireMost keeps items below the servers' default limit.
const wireMost = 1<<20 - 512

// Dial connects.
func Dial(addr string, o WireOptions) (*Wire, error) {
	if o.Window < 1 || o.Objects < 1 || o.Sizes != nil && len(o.Sizes) < o.Objects {
		return nil, fmt.Errorf("replay: window %d, %d objects, %d sizes", o.Window, o.Objects, len(o.Sizes))
	}
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	w := &Wire{
		conn: conn, in: bufio.NewReaderSize(conn, 64<<10), window: o.Window, sizes: o.Sizes, size: o.Size, again: o.Fresh,
		last: make([]int, o.Objects), number: 1,
	}
	if o.Fresh {
		w.puts = map[uint32]uint32{}
	}
	return w, nil
}

// Close ends the connection. Sets that were not sent yet are not sent any more.
func (w *Wire) Close() error { return w.conn.Close() }

// Err is the first error; after it nothing is asked.
func (w *Wire) Err() error { return w.err }

// Replay asks for all ids in their order and returns how many were missed. progress is called after each window with the
// number of requests answered.
func (w *Wire) Replay(ids []uint32, progress func(done int)) (misses int, err error) {
	for done := 0; done < len(ids); {
		n := w.take(ids[done:])
		misses += w.turn()
		if w.err != nil {
			return misses, w.err
		}
		done += n
		progress(done)
	}
	if len(w.unset) > 0 { // the last sets
		w.turn()
	}
	return misses, w.err
}

// Ask makes a Wire a Model: one request, and where it missed its set.
func (w *Wire) Ask(id uint32) bool {
	if w.err != nil {
		return false
	}
	w.asked = append(w.asked[:0], id)
	missed := w.turn()
	if missed > 0 && w.err == nil {
		w.turn()
	}
	return missed == 0
}

// take makes the next window and returns its length.
func (w *Wire) take(ids []uint32) int {
	w.asked = w.asked[:0]
	w.number++
	for _, id := range ids {
		if len(w.asked) == w.window || w.last[id] == w.number {
			break
		}
		w.last[id] = w.number
		w.asked = append(w.asked, id)
	}
	return len(w.asked)
}

// turn sends the sets that are due and the window's gets, reads all answers, and returns how many gets missed; those are due
// to be set.
func (w *Wire) turn() (misses int) {
	w.out = w.out[:0]
	for _, id := range w.unset {
		w.out = w.appendSet(w.out, id)
	}
	for _, id := range w.asked {
		w.out = append(w.out, "get "...)
		w.out = appendWireKey(w.out, id)
		w.out = append(w.out, "\r\n"...)
	}
	sets := len(w.unset)
	w.unset = w.unset[:0]
	if w.err = w.conn.SetDeadline(time.Now().Add(patience)); w.err != nil {
		return 0
	}
	if _, w.err = w.conn.Write(w.out); w.err != nil {
		return 0
	}
	for range sets {
		var line []byte
		if line, w.err = w.in.ReadSlice('\n'); w.err != nil {
			return 0
		}
		if string(line) != "STORED\r\n" {
			w.Refused++
		}
	}
	for _, id := range w.asked {
		hit, err := w.answer(id)
		if err != nil {
			w.err = err
			return 0
		}
		if !hit {
			misses++
			w.unset = append(w.unset, id)
		}
	}
	w.asked = w.asked[:0]
	return misses
}

// answer reads the answer to the get of id and compares the value.
func (w *Wire) answer(id uint32) (hit bool, err error) {
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return false, fmt.Errorf("replay: %w", err)
	}
	if string(line) == "END\r\n" {
		return false, nil
	}
	w.want = append(w.want[:0], "VALUE "...)
	w.want = appendWireKey(w.want, id)
	w.want = append(w.want, " 0 "...)
	w.want = strconv.AppendInt(w.want, int64(w.sizeOf(id)), 10)
	w.want = append(w.want, "\r\n"...)
	if !bytes.Equal(line, w.want) {
		return false, fmt.Errorf("replay: asked for object %d, got %.80q", id, line)
	}
	w.want = append(w.appendValue(w.want[:0], id), "\r\nEND\r\n"...)
	w.got = append(w.got[:0], w.want...) // for the length
	if _, err := io.ReadFull(w.in, w.got); err != nil {
		return false, fmt.Errorf("replay: %w", err)
	}
	if !bytes.Equal(w.got, w.want) {
		return false, fmt.Errorf("replay: object %d has another value than it was given", id)
	}
	return true, nil
}

func (w *Wire) sizeOf(id uint32) int {
	if w.sizes != nil {
		return int(min(w.sizes[id], wireMost))
	}
	return w.size
}

func (w *Wire) appendSet(dst []byte, id uint32) []byte {
	if w.again {
		w.puts[id]++
	}
	dst = append(dst, "set "...)
	dst = appendWireKey(dst, id)
	dst = append(dst, " 0 0 "...)
	dst = strconv.AppendInt(dst, int64(w.sizeOf(id)), 10)
	dst = append(dst, "\r\n"...)
	dst = w.appendValue(dst, id)
	return append(dst, "\r\n"...)
}

// appendValue appends bytes as random as they come.
func (w *Wire) appendValue(dst []byte, id uint32) []byte {
	state := uint64(id)<<32 | uint64(w.puts[id])
	n := w.sizeOf(id)
	for ; n > 0; n -= 8 {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		dst = binary.LittleEndian.AppendUint64(dst, z^z>>31)
	}
	return dst[:len(dst)+n] // n is now how much the last word was too long, negated
}

func appendWireKey(dst []byte, id uint32) []byte {
	const zeros = "object:00000000000000000000000000000"
	dst = append(dst, zeros[:wireKey]...)
	for i := len(dst) - 1; id > 0; i-- {
		dst[i] += byte(id % 10)
		id /= 10
	}
	return dst
}
