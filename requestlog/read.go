package requestlog

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"
)

// Entry is a key with how often it was asked for. Older requests count less: half after each HalfLife before the last block.
type Entry struct {
	Route string // as it was called then; empty: none
	Key   string
	Count float64
}

// HalfLife is the time after which requests count half.
const HalfLife = 24 * time.Hour

// entriesMost bounds what is held in memory. Where a log has more keys, those of the newest blocks are read.
const entriesMost = 2_000_000

// Read reads the log at path with the file before it, whether or not somebody writes it, and returns its keys, those that were
// asked for most first.
func Read(path string) ([]Entry, error) { return read(path, entriesMost) }

func read(path string, most int) ([]Entry, error) {
	files := make([]*os.File, 0, 2)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	type of struct {
		f *os.File
		block
	}
	var all []of
	for _, name := range []string{path + ".1", path} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && name != path {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("requestlog: %w", err)
		}
		files = append(files, f)
		blocks, _, err := scan(f)
		if err != nil {
			return nil, fmt.Errorf("requestlog: %s: %w", name, err)
		}
		for _, b := range blocks {
			all = append(all, of{f, b})
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	type at struct{ route, key string }
	sums := make(map[at]float64)
	last := slices.MaxFunc(all, func(a, b of) int { return cmp.Compare(a.time, b.time) }).time
	var buf []byte
	for _, b := range slices.Backward(all) {
		fade := math.Exp2(-float64(last-b.time) / HalfLife.Seconds())
		_, packed, err := readBlock(b.f, b.at, &buf)
		if err != nil {
			continue // it was sound a moment ago: somebody has cut the file off
		}
		err = eachKey(packed, func(route string, key []byte, n uint64) {
			place := at{route, string(key)}
			if _, known := sums[place]; known || len(sums) < most {
				sums[place] += float64(n) * fade
			}
		})
		if err != nil {
			return nil, fmt.Errorf("requestlog: %s: %w", path, err)
		}
	}
	entries := make([]Entry, 0, len(sums))
	for place, n := range sums {
		entries = append(entries, Entry{place.route, place.key, n})
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Route, b.Route))
	})
	return entries, nil
}

var errBody = errors.New("a block's sum is right and its content is not")

// eachKey unpacks a block. key is valid during the call only.
func eachKey(packed []byte, visit func(route string, key []byte, n uint64)) error {
	body, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), bodyMost+1))
	if err != nil || len(body) > bodyMost {
		return errBody
	}
	ok := true
	number := func() uint64 {
		n, size := binary.Uvarint(body)
		if size <= 0 {
			ok, body = false, nil
			return 0
		}
		body = body[size:]
		return n
	}
	text := func() []byte {
		n := number()
		if n > uint64(len(body)) {
			ok = false
			return nil
		}
		b := body[:n]
		body = body[n:]
		return b
	}
	for len(body) > 0 && ok {
		route := string(text())
		var key []byte
		for n := number(); n > 0 && ok; n-- {
			shared := number()
			rest := text()
			count := number()
			if !ok || shared > uint64(len(key)) || shared+uint64(len(rest)) > maxKey {
				return errBody
			}
			key = append(key[:shared], rest...)
			visit(route, key, count)
		}
	}
	if !ok {
		return errBody
	}
	return nil
}
