// Package requestlog writes down what a server is asked for, so that it, or another one, can be warmed up with that: keys in
// their canonical spelling with how often they were asked for, by route. It takes samples that somebody else has drawn; it knows no
// server.
//
// A log is a file and the one before it, FILE.1, bounded together. A file is the eight bytes of magic and then blocks, each of which
// stands for itself (little-endian):
//
//	length     4   of body
//	sum        4   CRC-32C of all behind it
//	time       8   seconds of the Unix epoch at which the block was written
//	body           deflate of groups, one a route:
//	               uvarint length and name of the route, empty for keys without one; uvarint number of keys; and for each,
//	               in order: uvarint bytes that it shares with the key before, uvarint length and bytes of the rest,
//	               uvarint count
//
// A block has the keys that were asked for most, as many as there is room for. What a crash leaves of the last block is cut off when
// the file is opened again, and passed over by whoever reads it.
package requestlog

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	magic    = "SWREQL1\n"
	headSize = 16
	bodyMost = 64 << 20 // of a block, compressed or not
	maxKey   = 250
)

// keysMost is how many keys are gathered at most before a block is written.
const keysMost = 65_536

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Options configure a Log.
type Options struct {
	Path    string
	MaxSize int64            // bytes of the file and the one before it together
	Now     func() time.Time // default time.Now
}

// Log is a log that is being written. It is safe for concurrent use.
type Log struct {
	o Options

	mu      sync.Mutex // guards the rest
	f       *os.File   // nil: closed
	size    int64
	keys    int
	counts  map[string]map[string]uint64 // by route and key
	written Stats
}

// Stats are figures of a Log since it was opened.
type Stats struct {
	Blocks, Keys uint64 // written
	Left         uint64 // keys that were left out, those asked for least: a block is to fit in half of MaxSize
	Failed       uint64 // blocks that could not be written, and are lost
	Size         int64  // bytes of the file, without the one before it
}

// ErrForeign is a file that is no log of requests.
var ErrForeign = errors.New("the file is no log of requests: name another one, or remove it")

// Open opens the log at o.Path, with permissions for its owner alone, and cuts off what a crash has left of its last block.
func Open(o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Log{o: o, counts: make(map[string]map[string]uint64)}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("requestlog: %w", err)
	}
	return l, nil
}

func (l *Log) open() (err error) {
	f, err := openFile(l.o.Path, os.O_CREATE)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	blocks, end, err := scan(f)
	if err != nil {
		return fmt.Errorf("%s: %w", l.o.Path, err)
	}
	if len(blocks) == 0 { // new, or not even the magic was written
		if _, err := f.WriteAt([]byte(magic), 0); err != nil {
			return err
		}
		end = int64(len(magic))
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	l.f, l.size = f, end
	return nil
}

// Check tells why the log at path could not be opened. It changes nothing: somebody may be writing it.
func Check(path string) error {
	f, err := openFile(path, 0)
	if errors.Is(err, fs.ErrNotExist) { // is there room for one beside it?
		if f, err = os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"); err == nil {
			err = os.Remove(f.Name())
			f.Close()
		}
	} else if err == nil {
		_, _, err = scan(f)
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("requestlog: %s: %w", path, err)
	}
	return nil
}

// Add counts a key that was asked for n times. It is copied. Once many keys have come they are written; an error of that is
// returned, and what could not be written is lost.
func (l *Log) Add(route string, key []byte, n uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil || len(key) == 0 || len(key) > maxKey {
		return nil
	}
	group := l.counts[route]
	if group == nil {
		group = make(map[string]uint64)
		l.counts[route] = group
	}
	before := len(group)
	group[string(key)] += n
	l.keys += len(group) - before
	if l.keys < keysMost {
		return nil
	}
	return l.flush()
}

// Flush writes what was added since the last block.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flush()
}

func (l *Log) flush() error {
	if l.keys == 0 || l.f == nil {
		return nil
	}
	now := l.o.Now()
	block := appendBlock(nil, l.counts, now)
	keys := l.keys
	for room := l.o.MaxSize/2 - int64(len(magic)); int64(len(block)) > room && keys > 1; {
		keep := max(int(int64(keys)*room/int64(len(block)))*9/10, 1)
		leaveOut(l.counts, keep)
		l.written.Left += uint64(keys - keep)
		keys, block = keep, appendBlock(block[:0], l.counts, now)
	}
	clear(l.counts)
	l.keys = 0
	if err := l.write(block); err != nil {
		l.written.Failed++
		return fmt.Errorf("requestlog: %w", err)
	}
	l.written.Blocks++
	l.written.Keys += uint64(keys)
	return nil
}

// write appends a block, in a new file where the one at hand would be over half of what both may have.
func (l *Log) write(block []byte) error {
	half := l.o.MaxSize / 2
	if int64(len(block)+len(magic)) > half {
		return fmt.Errorf("a block of %d bytes does not fit in half of max_size", len(block))
	}
	if l.size+int64(len(block)) > half {
		if err := l.turn(); err != nil {
			return err
		}
	}
	n, err := l.f.WriteAt(block, l.size)
	if err != nil {
		if n > 0 {
			_ = l.f.Truncate(l.size) // else the next block is written over it
		}
		return err
	}
	l.size += int64(len(block))
	return nil
}

// turn begins a new file, and the one at hand becomes the one before it. Where there is no room for a new one, as on a full disk, the one
// at hand stays.
func (l *Log) turn() error {
	before := l.o.Path + ".1"
	if err := os.Rename(l.o.Path, before); err != nil {
		return err
	}
	old := l.f
	if err := l.open(); err != nil {
		return errors.Join(err, os.Rename(before, l.o.Path))
	}
	old.Close()
	return nil
}

// Stats returns the figures.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.written
	s.Size = l.size
	return s
}

// Close writes what is left. Nothing is added after it.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.flush()
	closed := l.f.Close()
	l.f = nil
	return errors.Join(err, closed)
}

// leaveOut keeps so many keys of counts, those that were asked for most.
func leaveOut(counts map[string]map[string]uint64, keep int) {
	type asked struct {
		route, key string
		n          uint64
	}
	var all []asked
	for route, group := range counts {
		for key, n := range group {
			all = append(all, asked{route, key, n})
		}
	}
	slices.SortFunc(all, func(a, b asked) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.key, b.key)) })
	for _, a := range all[keep:] {
		delete(counts[a.route], a.key)
	}
}

// appendBlock writes a block of counts.
func appendBlock(dst []byte, counts map[string]map[string]uint64, now time.Time) []byte {
	var body []byte
	for _, route := range slices.Sorted(maps.Keys(counts)) {
		group := counts[route]
		body = binary.AppendUvarint(body, uint64(len(route)))
		body = append(body, route...)
		body = binary.AppendUvarint(body, uint64(len(group)))
		before := ""
		for _, key := range slices.Sorted(maps.Keys(group)) {
			shared := 0
			for shared < len(before) && shared < len(key) && before[shared] == key[shared] {
				shared++
			}
			body = binary.AppendUvarint(body, uint64(shared))
			body = binary.AppendUvarint(body, uint64(len(key)-shared))
			body = append(body, key[shared:]...)
			body = binary.AppendUvarint(body, group[key])
			before = key
		}
	}
	start := len(dst)
	dst = append(dst, make([]byte, headSize)...)
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestSpeed) // a level that there is
	_, _ = w.Write(body)                              // memory takes everything
	_ = w.Close()
	dst = append(dst, packed.Bytes()...)
	head := dst[start:]
	binary.LittleEndian.PutUint32(head, uint32(packed.Len()))
	binary.LittleEndian.PutUint64(head[8:], uint64(now.Unix()))
	binary.LittleEndian.PutUint32(head[4:], crc32.Checksum(head[8:], castagnoli))
	return dst
}

// block is where a block lies in its file.
type block struct {
	at   int64 // of its head
	size int   // of its body
	time int64 // seconds of the Unix epoch
}

// scan finds the sound blocks of a file, and where the last of them ends. A file that does not begin with the magic is
// ErrForeign, unless it is empty or holds a part of it.
func scan(f io.ReaderAt) (blocks []block, end int64, err error) {
	head := make([]byte, len(magic))
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if string(head[:n]) != magic[:n] {
		return nil, 0, ErrForeign
	}
	end = int64(n)
	if n < len(magic) {
		return nil, end, nil
	}
	var buf []byte
	for {
		b, _, err := readBlock(f, end, &buf)
		if err != nil {
			return blocks, end, nil // a torn tail
		}
		blocks = append(blocks, b)
		end += headSize + int64(b.size)
	}
}

var errTorn = errors.New("requestlog: the block is not sound")

// readBlock reads the block at at into buf and returns its body, still packed.
func readBlock(f io.ReaderAt, at int64, buf *[]byte) (b block, packed []byte, err error) {
	var head [headSize]byte
	if _, err := f.ReadAt(head[:], at); err != nil {
		return b, nil, errTorn
	}
	b = block{at: at, size: int(binary.LittleEndian.Uint32(head[:])), time: int64(binary.LittleEndian.Uint64(head[8:]))}
	if b.size > bodyMost {
		return b, nil, errTorn
	}
	if cap(*buf) < b.size+8 {
		*buf = make([]byte, b.size+8)
	}
	all := (*buf)[:b.size+8]
	copy(all, head[8:])
	if _, err := f.ReadAt(all[8:], at+headSize); err != nil && b.size > 0 {
		return b, nil, errTorn
	}
	if crc32.Checksum(all, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return b, nil, errTorn
	}
	return b, all[8:], nil
}

// openFile opens or makes a file that nobody else may read, and follows no link.
func openFile(path string, create int) (*os.File, error) {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("it is no regular file")}
	}
	return os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|create, 0o600)
}
