package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"
)

const (
	magic    = "SWFSNAP"
	headSize = 48

	// blockSize is how large a block's content gets before it is written. An item that is larger has a block for itself.
	blockSize = 256 << 10

	// beginning is how far the first block is looked for.
	beginning = 1 << 20
)

// Kinds of a block.
const (
	kindOrigin = 1 + iota
	kindItems
	kindEnd
)

// head is what stands before a block's stored bytes.
type head struct {
	version byte
	id      uint64
	seq     uint32
	kind    byte
	size    uint32 // of the content
	stored  uint32
	sum     uint64
}

func (h *head) appendTo(dst []byte) []byte {
	from := len(dst)
	dst = append(dst, magic...)
	dst = append(dst, h.version)
	dst = binary.LittleEndian.AppendUint64(dst, h.id)
	dst = binary.LittleEndian.AppendUint32(dst, h.seq)
	dst = append(dst, h.kind, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, h.size)
	dst = binary.LittleEndian.AppendUint32(dst, h.stored)
	dst = binary.LittleEndian.AppendUint64(dst, h.sum)
	return binary.LittleEndian.AppendUint64(dst, xxh3.HashSeed(dst[from:], h.id))
}

// parse reads a head from the first headSize bytes of b; false: that is none.
func (h *head) parse(b []byte) bool {
	if string(b[:len(magic)]) != magic {
		return false
	}
	le := binary.LittleEndian
	*h = head{
		version: b[7], id: le.Uint64(b[8:]), seq: le.Uint32(b[16:]), kind: b[20], size: le.Uint32(b[24:]), stored: le.Uint32(b[28:]),
		sum: le.Uint64(b[32:]),
	}
	return le.Uint64(b[40:]) == xxh3.HashSeed(b[:40], h.id)
}

// packer writes blocks.
type packer struct {
	w    io.Writer
	zstd *zstd.Encoder
	id   uint64
	seq  uint32
	buf  []byte
}

func newPacker(w io.Writer, id uint64) (*packer, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return &packer{w: w, zstd: z, id: id}, nil
}

// write writes one block and returns how many bytes that took.
func (p *packer) write(kind byte, content []byte) (int, error) {
	if cap(p.buf) < headSize {
		p.buf = make([]byte, headSize, headSize+blockSize)
	}
	b := p.zstd.EncodeAll(content, p.buf[:headSize])
	stored := b[headSize:]
	h := head{
		version: version, id: p.id, seq: p.seq, kind: kind, size: uint32(len(content)), stored: uint32(len(stored)),
		sum: xxh3.HashSeed(stored, p.id),
	}
	h.appendTo(b[:0])
	p.seq++
	if p.buf = b; cap(b) > 4*blockSize { // a large value's
		p.buf = nil
	}
	return p.w.Write(b)
}

// unpacker reads blocks, from the first sound one to the next, whatever lies between.
type unpacker struct {
	r       io.ReaderAt
	at      int64
	size    int64
	most    int // longest content that is of use
	id      uint64
	known   bool // id is
	zstd    *zstd.Decoder
	buf     []byte
	damaged int64
}

// close ends what runs in the background.
func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
}

// next appends the content of the next sound block to dst. io.EOF: there is none.
func (u *unpacker) next(dst []byte) (h head, content []byte, err error) {
	if u.zstd == nil {
		// A block's head says how long it is; the bound here is for what was made to look like one.
		if u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(u.most)+blockSize)); err != nil {
			return h, dst, fmt.Errorf("snapshot: %w", err)
		}
	}
	var raw [headSize]byte
	for {
		if u.size-u.at < headSize {
			if u.at < u.size {
				u.damaged++
				u.at = u.size
			}
			return h, dst, io.EOF
		}
		if _, err := u.r.ReadAt(raw[:], u.at); err != nil {
			return h, dst, u.failed(err)
		}
		if !h.parse(raw[:]) || u.known && h.id != u.id {
			u.damaged++
			if err := u.search(); err != nil {
				return h, dst, err
			}
			continue
		}
		if !u.known {
			if h.version != version {
				return h, dst, ErrVersion
			}
			u.id, u.known = h.id, true
		}
		if int64(h.stored) > u.size-u.at-headSize { // cut off
			u.damaged++
			u.at = u.size
			return h, dst, io.EOF
		}
		body := u.at + headSize
		u.at = body + int64(h.stored)
		if int64(h.size) > int64(u.most) || int64(h.stored) > int64(u.most)+blockSize {
			u.damaged++ // an item over today's -I
			continue
		}
		if cap(u.buf) < int(h.stored) {
			u.buf = make([]byte, h.stored, max(int(h.stored), blockSize))
		}
		u.buf = u.buf[:h.stored]
		if _, err := u.r.ReadAt(u.buf, body); err != nil {
			return h, dst, u.failed(err)
		}
		if xxh3.HashSeed(u.buf, h.id) == h.sum {
			content, err = u.zstd.DecodeAll(u.buf, dst)
			if err == nil && len(content)-len(dst) == int(h.size) {
				return h, content, nil
			}
		}
		u.damaged++
	}
}

// failed makes an error of reading one that says where.
func (u *unpacker) failed(err error) error {
	if err == io.EOF { // it has become shorter
		return err
	}
	return fmt.Errorf("snapshot: read at byte %d: %w", u.at, err)
}

// search moves to the next thing behind at that looks like a block. The first block of a file is looked for near its beginning
// only.
func (u *unpacker) search() error {
	window := make([]byte, 64<<10)
	for from := u.at + 1; ; {
		if from >= u.size || !u.known && from > beginning {
			u.at = u.size
			return io.EOF
		}
		n, err := u.r.ReadAt(window, from)
		if err != nil && err != io.EOF {
			return u.failed(err)
		}
		if i := bytes.Index(window[:n], []byte(magic)); i >= 0 {
			u.at = from + int64(i)
			return nil
		}
		if n < len(window) {
			u.at = u.size
			return io.EOF
		}
		from += int64(n - len(magic) + 1)
	}
}
