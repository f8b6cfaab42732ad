package memcache

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// keyFile is a list of keys in a temporary file without a name: it may be longer than memory allows. Where there is no place for such
// a file, as in a container of one binary, the list is in memory, and bounded.
type keyFile struct {
	f  *os.File // nil: in memory
	to io.ReadWriter
	w  *bufio.Writer
}

// memoryMost is how many bytes a list has in memory at most: a million keys and more.
const memoryMost = 64 << 20

var errListTooLong = fmt.Errorf("there is no directory for temporary files, and the list is longer than %d MiB: have TMPDIR name a directory with room for it", memoryMost>>20)

func newKeyFile() (*keyFile, error) {
	f, err := os.CreateTemp("", "swordfish-keys-")
	if err != nil { // no such directory, none that may be written to, or a full one
		return newKeyMemory(memoryMost), nil
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("memcache: the list of keys: %w", err), f.Close())
	}
	return &keyFile{f, f, bufio.NewWriterSize(f, keyBuffer)}, nil
}

// keyBuffer is how many bytes are written and read in one go.
const keyBuffer = 64 << 10

func newKeyMemory(most int) *keyFile {
	m := &pieces{most: most}
	return &keyFile{nil, m, bufio.NewWriterSize(m, keyBuffer)}
}

func (k *keyFile) close() {
	if k.f != nil {
		_ = k.f.Close()
	}
}

// failed says where the list is that err is about.
func (k *keyFile) failed(err error) error {
	if k.f == nil {
		return fmt.Errorf("memcache: the list of keys: %w", err)
	}
	return fmt.Errorf("memcache: the list of keys, in a temporary file: %w; TMPDIR names another directory for it", err)
}

// add appends a key, which is copied.
func (k *keyFile) add(key []byte) error {
	var size [2]byte
	binary.BigEndian.PutUint16(size[:], uint16(len(key))) // a line has fewer bytes
	_, err := k.w.Write(size[:])
	if err == nil {
		_, err = k.w.Write(key)
	}
	if err != nil {
		return k.failed(err)
	}
	return nil
}

// each calls visit for each key that was added; key is valid during the call only. An error of visit ends it.
func (k *keyFile) each(visit func(key []byte) error) error {
	err := k.w.Flush()
	if err == nil && k.f != nil {
		_, err = k.f.Seek(0, io.SeekStart)
	}
	var size [2]byte
	var key []byte
	for r := bufio.NewReaderSize(k.to, keyBuffer); err == nil; {
		if _, err = io.ReadFull(r, size[:]); errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			break
		}
		key = append(key[:0], make([]byte, binary.BigEndian.Uint16(size[:]))...)
		if _, err = io.ReadFull(r, key); err != nil {
			break
		}
		if err := visit(key); err != nil {
			return err
		}
	}
	return k.failed(err)
}

// pieces are what was written, each a write's, and not read yet.
type pieces struct {
	all  [][]byte
	size int // of what was written
	most int
}

func (p *pieces) Write(b []byte) (int, error) {
	if len(b) > p.most-p.size {
		return 0, errListTooLong
	}
	p.all = append(p.all, append([]byte{}, b...))
	p.size += len(b)
	return len(b), nil
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.all) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.all[0])
	if p.all[0] = p.all[0][n:]; len(p.all[0]) == 0 {
		p.all[0] = nil
		p.all = p.all[1:]
	}
	return n, nil
}
