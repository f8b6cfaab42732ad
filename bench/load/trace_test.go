package load

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseTrace(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		ids      []uint32
		objects  int
		sizes    []uint32
		wrong    string // part of the error
	}{
		{name: "single requests", in: "0\n1\n0\n", ids: []uint32{0, 1, 0}, objects: 2},
		{name: "a run", in: "0\n1+4\n2\n", ids: []uint32{0, 1, 2, 3, 4, 2}, objects: 5},
		{name: "sizes", in: "0,512\n1,4096\n0,512\n", ids: []uint32{0, 1, 0}, objects: 2, sizes: []uint32{512, 4096}},
		{name: "the first size counts", in: "0,1\n0,2\n", ids: []uint32{0, 0}, objects: 1, sizes: []uint32{1}},
		{name: "no newline at the end", in: "7", ids: []uint32{7}, objects: 8},
		{name: "empty", in: "", wrong: "no requests"},
		{name: "word", in: "0\nx\n", wrong: "line 2"},
		{name: "half a run", in: "1+\n", wrong: "line 1"},
		{name: "endless run", in: "0+4000000000\n", wrong: "more than"},
		{name: "endless id", in: "2000000000,5\n", wrong: "objects"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseTrace(strings.NewReader(tc.in))
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) {
					t.Fatalf("got error %v, want one with %q", err, tc.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.IDs, tc.ids) || got.Objects != tc.objects || !slices.Equal(got.Sizes, tc.sizes) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestReadTraceGzipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	z.Write([]byte("5\n0+3\n"))
	z.Close()
	f.Close()
	got, err := ReadTrace(path)
	if err != nil || !slices.Equal(got.IDs, []uint32{5, 0, 1, 2}) {
		t.Errorf("got %+v, %v", got, err)
	}
}
