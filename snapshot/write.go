package snapshot

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"swordfish/store"
)

// ErrBusy says that another snapshot of the store is being written.
var ErrBusy = errors.New("snapshot: one is being written already")

// pace is how long a gentle save works, and then rests: clients have the processors for half of the time.
const pace = time.Millisecond

// counts are Written as it grows, for those who watch.
type counts struct{ items, payloads, bytes atomic.Int64 }

func (c *counts) read() Written {
	return Written{Items: c.items.Load(), Payloads: c.payloads.Load(), Bytes: c.bytes.Load()}
}

// partSuffix is what the file is called while it is written.
const partSuffix = ".part"

// Write writes a snapshot of s to path: beside it first, then, when all of it is on the disk, in its place. After an error, or
// when ctx ends, what was at path is untouched and nothing lies beside it. gently leaves half of the time to others.
func Write(ctx context.Context, s *store.Store, path string, gently bool) (Written, error) {
	var c counts
	err := write(ctx, s, path, gently, &c)
	return c.read(), err
}

func write(ctx context.Context, s *store.Store, path string, gently bool, c *counts) (err error) {
	if err := replaceable(path); err != nil {
		return err
	}
	sv := s.BeginSaving()
	if sv == nil {
		return ErrBusy
	}
	defer sv.End()
	part := path + partSuffix
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return fmt.Errorf("snapshot: %w", err)
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	err = fill(ctx, f, sv, gently, c)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("snapshot: write %s: %w", path, err), ignoreAbsent(os.Remove(part)))
	}
	return syncDir(filepath.Dir(path))
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncDir puts the new name on the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // some file systems cannot
		return fmt.Errorf("snapshot: sync %s: %w", dir, err)
	}
	return nil
}

// replaceable tells why what lies at path must not be replaced: it may have got there by a slip of the pen.
func replaceable(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("snapshot: %w", err)
	case !st.Mode().IsRegular():
		return fmt.Errorf("snapshot: %s is no regular file; remove it or choose another path", path)
	case st.Size() == 0:
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer f.Close()
	first := make([]byte, 64<<10) // both of the first blocks, of which one may be damaged
	n, err := io.ReadFull(f, first)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("snapshot: %w", err)
	}
	if !bytes.Contains(first[:n], []byte(magic)) {
		return fmt.Errorf("snapshot: %s is there and is no snapshot; remove it or choose another path", path)
	}
	return nil
}

// fill writes all of a snapshot to w. Blocks are compressed and written while the next one is gathered.
func fill(ctx context.Context, w io.Writer, sv *store.Saving, gently bool, c *counts) error {
	var id [8]byte
	rand.Read(id[:]) // never fails
	p, err := newPacker(w, binary.LittleEndian.Uint64(id[:]))
	if err != nil {
		return err
	}
	put := func(kind byte, content []byte) error {
		n, err := p.write(kind, content)
		c.bytes.Add(int64(n))
		return err
	}
	origin := sv.Origin()
	for range 2 {
		if err := put(kindOrigin, appendOrigin(nil, &origin)); err != nil {
			return err
		}
	}
	full, empty, failed := make(chan []byte), make(chan []byte, 2), make(chan error, 1)
	empty <- nil
	empty <- nil
	go func() {
		var err error
		for b := range full {
			if err == nil {
				err = put(kindItems, b)
			}
			if cap(b) > 4*blockSize { // a large value's
				b = nil
			}
			empty <- b[:0]
			if err != nil && len(failed) == 0 {
				failed <- err
			}
		}
		if err == nil {
			failed <- nil
		}
	}()
	err = gather(ctx, sv, gently, c, full, empty, failed)
	close(full)
	if err = errors.Join(err, <-failed); err != nil {
		return err
	}
	end := binary.LittleEndian.AppendUint64(nil, uint64(c.items.Load()))
	return put(kindEnd, end)
}

// gather fills blocks with the items that sv shows. It ends when the writer has failed, whose error stays in failed.
func gather(ctx context.Context, sv *store.Saving, gently bool, c *counts, full chan<- []byte, empty <-chan []byte, failed chan error) error {
	b := <-empty
	flush := func() {
		if len(b) > 0 {
			full <- b
			b = <-empty
		}
	}
	began := time.Now()
	for more := true; more; {
		more = sv.Next(func(k *store.Kept) {
			if len(k.Value) > blockSize {
				flush()
			}
			b = appendItem(b, k)
			c.items.Add(1)
			if k.New {
				c.payloads.Add(1)
			}
			if len(k.Value) > blockSize {
				flush()
			}
		})
		if len(b) >= blockSize {
			flush()
		}
		switch {
		case len(failed) > 0:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if gently && time.Since(began) > pace {
			time.Sleep(pace)
			began = time.Now()
		}
	}
	flush()
	return nil
}
