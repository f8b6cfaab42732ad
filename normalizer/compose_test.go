package normalizer

import (
	"strings"
	"testing"
)

func TestComposeMakesAKeyOfItsParts(t *testing.T) {
	absent := Part{}
	of := func(s string) Part { return Part{Value: []byte(s), Present: true} }
	table, err := Compile([]Route{
		{ID: 1, Name: "named", Key: "chr|os={os}|country={country}|h={h:int?}", Lower: []string{"os"}},
		{ID: 2, Name: "placed", Key: "b:{geo}:top:{os}:{page:int?}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		id        uint16
		parts     []Part
		canonical string // empty: no key of the route
	}{
		"named, in the pattern's order":  {1, []Part{of("iOS"), of("IN"), of("7")}, "chr|country=IN|h=7|os=ios"},
		"an optional part is left out":   {1, []Part{of("ios"), of("IN"), absent}, "chr|country=IN|os=ios"},
		"a part that has to be there":    {1, []Part{of("ios"), absent, absent}, ""},
		"a separator in a value":         {1, []Part{of("i|os"), of("IN"), absent}, ""},
		"an equals sign in a value":      {1, []Part{of("i=os"), of("IN"), absent}, ""},
		"not a number":                   {1, []Part{of("ios"), of("IN"), of("x")}, ""},
		"too long a value":               {1, []Part{of(strings.Repeat("x", MaxPart+1)), of("IN"), absent}, ""},
		"by position, with text between": {2, []Part{of("IN"), of("ios"), of("3")}, "b:IN:top:ios:3"},
		"the last one by position":       {2, []Part{of("IN"), of("ios"), absent}, "b:IN:top:ios"},
		"too few parts":                  {2, []Part{of("IN")}, ""},
		"an unknown route":               {3, []Part{of("IN")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			key := table.Compose([]byte("before "), tt.id, tt.parts)
			rest, kept := strings.CutPrefix(string(key), "before ")
			if !kept {
				t.Fatalf("what stood before is gone: %q", key)
			}
			canonical, id := table.Append(nil, []byte(rest))
			if tt.canonical == "" {
				if id == tt.id && rest != "" {
					t.Errorf("%q is taken for a key of the route", rest)
				}
				return
			}
			if id != tt.id || string(canonical) != tt.canonical {
				t.Errorf("%q becomes %q of route %d, want %q", rest, canonical, id, tt.canonical)
			}
		})
	}
}
