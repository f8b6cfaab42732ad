package memcache

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// keyFile is a list of keys in a temporary file without a name: it may be longer than memory allows.
type keyFile struct {
	f *os.File
	w *bufio.Writer
}

func newKeyFile() (*keyFile, error) {
	f, err := os.CreateTemp("", "swordfish-keys-")
	if err != nil {
		return nil, fmt.Errorf("memcache: the list of keys needs a temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("memcache: the list of keys: %w", err), f.Close())
	}
	return &keyFile{f, bufio.NewWriterSize(f, 64<<10)}, nil
}

func (k *keyFile) close() { _ = k.f.Close() }

// add appends a key, which is copied.
func (k *keyFile) add(key []byte) error {
	var size [2]byte
	binary.BigEndian.PutUint16(size[:], uint16(len(key))) // a line has fewer bytes
	_, err := k.w.Write(size[:])
	if err == nil {
		_, err = k.w.Write(key)
	}
	if err != nil {
		return fmt.Errorf("memcache: the list of keys, in a temporary file: %w", err)
	}
	return nil
}

// each calls visit for each key that was added; key is valid during the call only. An error of visit ends it.
func (k *keyFile) each(visit func(key []byte) error) error {
	err := k.w.Flush()
	if err == nil {
		_, err = k.f.Seek(0, io.SeekStart)
	}
	var size [2]byte
	var key []byte
	for r := bufio.NewReaderSize(k.f, 64<<10); err == nil; {
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
	return fmt.Errorf("memcache: the list of keys, in a temporary file: %w", err)
}
