package normalizer

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// FuzzAppend asks any key of a table with every feature in it, its routes overlapping on purpose.
func FuzzAppend(f *testing.F) {
	example := chr()
	example.Prefix = "shop:"
	table := mustCompile(f, example,
		Route{ID: 2, Name: "exact", Key: "k:top:{x}"},
		Route{ID: 3, Name: "int", Key: "k:{n:int}:{x?}"},
		Route{ID: 4, Name: "folded", Key: "k:{y}:{x}", Lower: []string{"y", "x"}, Prefix: "shop:"},
		Route{ID: 5, Name: "shop", Key: "shop:{x}:{y?}", Lower: []string{"x"}},
		Route{ID: 6, Name: "mix", Key: "k:{y}:b={b?}:a={a?}", Drop: []string{"z"}, Alias: map[string]string{"c": "a"}},
		Route{ID: 7, Name: "glued", Key: "op:{x}", Prefix: "sh", Lower: []string{"x"}},
	)
	for _, key := range []string{
		"chr|w=800|os=linux|dev=12|country=IN|cat=a|browser=ff|h=9", "shop:k:A:b", "k:TOP:1", "k:-5", "k:a:c=1:z=2:b=3", "shop:op:x",
		"shop:chr|w=1", "k:5:", "k", "shop:", "|", "=", "k:=:=",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) { checkAppend(t, table, key) })
}

// FuzzCompile makes up to two patterns and asks a key of them.
func FuzzCompile(f *testing.F) {
	f.Add(chrPattern, "os", "utm", "platform", "shop:", "chr|{x}", "chr|a=1")
	f.Add("k:top:{x}", "", "", "", "", "k:{y}:{x?}", "k:TOP:1")
	f.Add("b:{geo:int}:{os?}", "geo", "", "", "b", "b:x={geo}", "bb:x=1")
	f.Add("{", "", "", "", "", "a|{b", "a|b")
	f.Fuzz(func(t *testing.T, pattern, lower, drop, alias, prefix, second, key string) {
		a, b := Route{ID: 1, Name: "a", Key: pattern, Prefix: prefix}, Route{ID: 2, Name: "b", Key: second}
		if lower != "" {
			a.Lower, b.Lower = []string{lower}, []string{lower}
		}
		if drop != "" {
			a.Drop, b.Drop = []string{drop}, []string{drop}
		}
		if alias != "" {
			a.Alias = map[string]string{alias: lower}
		}
		for _, routes := range [][]Route{{a, b}, {b, a}, {a}, {b}} {
			table, err := Compile(routes)
			if err != nil {
				if !strings.HasPrefix(err.Error(), "normalizer: route ") {
					t.Errorf("the error names no route: %v", err)
				}
				continue
			}
			checkAppend(t, table, key)
			for _, sentence := range table.Overlaps() {
				if sentence == "" {
					t.Error("an overlap without words")
				}
			}
			for _, r := range routes {
				if len(table.PartNames(r.ID)) == 0 {
					t.Errorf("route %q has no parts", r.Key)
				}
			}
		}
	})
}

// checkAppend holds Append to what it promises for any table and key.
func checkAppend(t *testing.T, table *Table, key string) {
	t.Helper()
	in := []byte(key)
	out, id := table.Append([]byte("x"), in)
	if string(in) != key {
		t.Fatalf("Append changed the key %q", key)
	}
	if out[0] != 'x' {
		t.Fatal("Append changed what stood in dst")
	}
	canonical := out[1:]
	e := table.Explain(key)
	if e.Route != id || e.Canonical != string(canonical) || len(e.Why) == 0 {
		t.Fatalf("Append(%q) = %q, %d, but Explain says %+v", key, canonical, id, e)
	}
	if id == 0 {
		if len(canonical) != 0 {
			t.Fatalf("plain key %q, but %q was appended", key, canonical)
		}
		return
	}
	if len(canonical) > MaxKey {
		t.Fatalf("Append(%q): %d bytes", key, len(canonical))
	}
	again, sameID := table.Append(nil, canonical)
	if !bytes.Equal(again, canonical) || sameID != id {
		t.Fatalf("Append(%q) = %q, %d, and of that %q, %d", key, canonical, id, again, sameID)
	}
	parts := table.Parts(nil, id, canonical)
	specs := table.PartSpecs(id)
	if len(parts) != len(specs) {
		t.Fatalf("%d parts, want %d", len(parts), len(specs))
	}
	for i, p := range parts {
		if p.Present && (len(p.Value) < 1 || len(p.Value) > MaxPart || slices.Contains(p.Value, '=')) || !p.Present && !specs[i].Optional {
			t.Fatalf("key %q: part %s is %q, present %v", canonical, specs[i].Name, p.Value, p.Present)
		}
	}
}
