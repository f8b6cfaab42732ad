package filler

import "testing"

func TestKeyOfPutsColumnsInThePlacesOfParts(t *testing.T) {
	of := func(s string) Part { return Part{Value: []byte(s), Present: true} }
	r := &Route{
		Name: "placed", Parts: []PartSpec{{Name: "geo"}, {Name: "os"}, {Name: "page", Int: true, Optional: true}},
		Compose: func(dst []byte, parts []Part) []byte {
			for _, p := range parts {
				if p.Present {
					dst = append(append(dst, ':'), p.Value...)
				}
			}
			return dst
		},
	}
	own := &Route{Name: "own", Parts: []PartSpec{{Name: WholeKey}}, Compose: r.Compose}
	for name, tt := range map[string]struct {
		route *Route
		names []string
		rows  [][]Part // one after the other, so that nothing of one is left in the next
		want  []string
	}{
		"in another order":           {r, []string{"os", "page", "geo"}, [][]Part{{of("ios"), of("3"), of("IN")}, {of("web"), {}, of("DE")}}, []string{":IN:ios:3", ":DE:web"}},
		"without the optional one":   {r, []string{"geo", "os"}, [][]Part{{of("IN"), of("ios")}}, []string{":IN:ios"}},
		"whole keys":                 {r, []string{WholeKey}, [][]Part{{of("b:IN:ios")}, {of("")}}, []string{"b:IN:ios", ""}},
		"a part of whole keys' name": {own, []string{WholeKey}, [][]Part{{of("IN")}}, []string{":IN"}},
	} {
		t.Run(name, func(t *testing.T) {
			columns, err := tt.route.KeyColumns(tt.names)
			if err != nil {
				t.Fatal(err)
			}
			keyOf := tt.route.KeyOf(columns)
			for i, row := range tt.rows {
				if got := string(keyOf([]byte("before "), row)); got != "before "+tt.want[i] {
					t.Errorf("row %d: got %q, want %q behind what was there", i, got, tt.want[i])
				}
			}
		})
	}
}
