package load

import (
	"bytes"
	"math"
	"testing"
)

func TestKeysAppend(t *testing.T) {
	for _, tc := range []struct {
		name string
		size int
		id   uint32
		want string
	}{
		{"zero", 14, 0, "key:0000000000"},
		{"padded", 24, 1234567890, "key:00000000001234567890"},
		{"largest", 14, math.MaxUint32, "key:4294967295"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(Keys{Size: tc.size}.Append([]byte("x"), tc.id)); got != "x"+tc.want {
				t.Errorf("got %q, want %q behind the x", got, tc.want)
			}
		})
	}
	if (Keys{Size: 13}).Check() == nil || (Keys{Size: 251}).Check() == nil || (Keys{Size: 250}).Check() != nil {
		t.Error("Check: want 14 to 250 bytes")
	}
}

func TestUniformIsEven(t *testing.T) {
	const n, draws = 100, 1_000_000
	var count [n]int
	for next, i := Uniform(n, 1), 0; i < draws; i++ {
		count[next()]++
	}
	for id, c := range count {
		if math.Abs(float64(c)-draws/n) > 6*math.Sqrt(draws/n) {
			t.Errorf("id %d: %d of %d draws", id, c, draws)
		}
	}
}

func TestSequencesDifferBySeed(t *testing.T) {
	for name, make := range map[string]func(seed uint64) Sequence{
		"uniform": func(seed uint64) Sequence { return Uniform(1<<30, seed) },
		"zipf":    func(seed uint64) Sequence { return Zipf(1<<16, 0.5, seed) },
	} {
		a, b, same := make(1), make(2), 0
		for range 1000 {
			if a() == b() {
				same++
			}
		}
		if same > 100 {
			t.Errorf("%s: %d of 1000 ids agree", name, same)
		}
	}
}

// TestZipfFollowsItsLaw counts how often the most popular ids come up: rank r in proportion to 1/r^s.
func TestZipfFollowsItsLaw(t *testing.T) {
	const n, s = 1000, 0.99
	count := make([]float64, n)
	for next, i := Zipf(n, s, 1), 0; i < zipfLength; i++ {
		count[next()]++
	}
	total := 0.0
	for r := 1; r <= n; r++ {
		total += math.Pow(float64(r), -s)
	}
	stride := strideOf(n)
	for _, rank := range []uint64{1, 2, 10, 100} {
		id := (rank - 1) * stride % n
		want := math.Pow(float64(rank), -s) / total * zipfLength
		if math.Abs(count[id]-want) > 0.05*want {
			t.Errorf("rank %d: %v draws, want about %.0f", rank, count[id], want)
		}
	}
}

func TestStrideOfPermutes(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 1000, 65536} {
		seen := make([]bool, n)
		for r := range n {
			seen[uint64(r)*strideOf(n)%uint64(n)] = true
		}
		for id, ok := range seen {
			if !ok {
				t.Fatalf("n %d: id %d is never drawn", n, id)
			}
		}
	}
}

func TestParseSizes(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     map[int]float64 // share of each size; nil: refused
	}{
		{"one", "100", map[int]float64{100: 1}},
		{"range", "5-8", map[int]float64{5: 0.25, 6: 0.25, 7: 0.25, 8: 0.25}},
		{"weights", "64*3,1024", map[int]float64{64: 0.75, 1024: 0.25}},
		{"nothing", "", nil},
		{"backwards", "8-5", nil},
		{"too large", "9999999", nil},
		{"no weight", "5*0", nil},
		{"words", "many", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := ParseSizes(tc.in)
			if (err == nil) != (tc.want != nil) {
				t.Fatalf("got error %v", err)
			}
			if err != nil {
				return
			}
			const n = 100_000
			got := map[int]float64{}
			for id := range uint32(n) {
				got[v.Size(id)] += 1.0 / n
			}
			for size, share := range tc.want {
				if math.Abs(got[size]-share) > 0.01 {
					t.Errorf("size %d: share %.3f, want %.2f", size, got[size], share)
				}
			}
			if len(got) != len(tc.want) {
				t.Errorf("got sizes %v", got)
			}
		})
	}
}

func TestValuesFollowFromID(t *testing.T) {
	v, err := ParseSizes("0-40")
	if err != nil {
		t.Fatal(err)
	}
	v.Distinct = 1000
	for id := range uint32(1000) {
		a := v.Append([]byte("x"), id)
		if len(a) != 1+v.Size(id) || a[0] != 'x' {
			t.Fatalf("id %d: %q, want %d bytes behind the x", id, a, v.Size(id))
		}
		if b := v.Append(nil, id+1000); !bytes.Equal(a[1:], b) || v.Flags(id) != v.Flags(id+1000) {
			t.Fatalf("id %d and %d: want one payload", id, id+1000)
		}
		if bytes.ContainsAny(a, "\r\n") {
			t.Fatalf("id %d: %q is not printable", id, a)
		}
	}
	v, _ = ParseSizes("100")
	seen := map[string]bool{}
	for id := range uint32(100_000) {
		seen[string(v.Append(nil, id)[:8])] = true
	}
	if len(seen) != 100_000 {
		t.Errorf("%d different beginnings of 100000 values", len(seen))
	}
}
