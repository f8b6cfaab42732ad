package stat

import (
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	for _, tc := range []struct {
		name             string
		xs               []float64
		min, median, max float64
	}{
		{"one", []float64{3}, 3, 3, 3},
		{"odd", []float64{9, 1, 5}, 1, 5, 9},
		{"even", []float64{4, 1, 2, 100}, 1, 3, 100},
		{"none", nil, 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := slices.Clone(tc.xs)
			s := Of(tc.xs)
			if s.N != len(tc.xs) || s.Min != tc.min || s.Median != tc.median || s.Max != tc.max {
				t.Errorf("got %+v", s)
			}
			if s.Low < s.Min || s.Low > s.Median || s.High < s.Median || s.High > s.Max {
				t.Errorf("interval of %+v does not hold its median", s)
			}
			if !slices.Equal(tc.xs, before) {
				t.Errorf("Of reordered its argument")
			}
			if again := Of(tc.xs); again != s {
				t.Errorf("got %+v, then %+v", s, again)
			}
		})
	}
}

// TestOfInterval knows the exact bootstrap: for 1..9 the median of a resample is at most 2 with probability 0.03 and at
// most 3 with 0.14, so 2.5 % lies at 2 and, by symmetry, 97.5 % at 8.
func TestOfInterval(t *testing.T) {
	s := Of([]float64{5, 3, 9, 1, 7, 2, 8, 4, 6})
	if s.Low != 2 || s.High != 8 {
		t.Errorf("got %v to %v, want 2 to 8", s.Low, s.High)
	}
}

func TestRatiosPairFigures(t *testing.T) {
	if got, want := Ratios([]float64{1, 9}, []float64{2, 3}), []float64{0.5, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
