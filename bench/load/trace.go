package load

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Trace is a recorded series of requests.
type Trace struct {
	IDs     []uint32 // in the order they were made
	Objects int      // 1 + the largest id
	Sizes   []uint32 // by id, as first seen, if the trace has sizes; else nil
}

// maxRequests bounds the memory of a trace, runs expanded.
const maxRequests = 1 << 28

// ReadTrace reads a trace file of text, gzipped if its name ends in .gz.
func ReadTrace(path string) (*Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("load: %s: %w", path, err)
		}
	}
	t, err := parseTrace(r)
	if err != nil {
		return nil, fmt.Errorf("load: %s: %w", path, err)
	}
	return t, nil
}

// parseTrace reads lines of one of three forms: "ID" is one request, "ID+N" are N requests for ID, ID+1 and so on, and
// "ID,SIZE" is one request for an object of SIZE bytes.
func parseTrace(r io.Reader) (*Trace, error) {
	t := &Trace{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		first, run, size := line, uint64(1), uint64(0)
		var err error
		if a, b, ok := strings.Cut(line, "+"); ok {
			first = a
			run, err = strconv.ParseUint(b, 10, 32)
		} else if a, b, ok := strings.Cut(line, ","); ok {
			first = a
			if size, err = strconv.ParseUint(b, 10, 32); err == nil && t.Sizes == nil {
				t.Sizes = []uint32{}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", n, line, err)
		}
		id, err := strconv.ParseUint(first, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", n, line, err)
		}
		if uint64(len(t.IDs))+run > maxRequests {
			return nil, fmt.Errorf("line %d: more than %d requests", n, maxRequests)
		}
		for i := range run {
			t.IDs = append(t.IDs, uint32(id+i))
		}
		t.Objects = max(t.Objects, int(id+run))
		if t.Sizes != nil {
			if t.Objects > maxRequests {
				return nil, fmt.Errorf("line %d: object %d: more than %d objects", n, id, maxRequests)
			}
			for len(t.Sizes) < t.Objects {
				t.Sizes = append(t.Sizes, uint32(size))
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(t.IDs) == 0 {
		return nil, fmt.Errorf("no requests")
	}
	return t, nil
}
