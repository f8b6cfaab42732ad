package normalizer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const chrPattern = "chr|country={country}|dev={dev:int}|os={os}|browser={browser}|cat={cat}|w={w:int}|h={h:int?}"

// chr is the route of the documentation's example.
func chr() Route {
	return Route{
		ID: 1, Name: "characteristics", Key: chrPattern,
		Lower: []string{"os", "browser"}, Drop: []string{"utm"}, Alias: map[string]string{"platform": "os"},
	}
}

func mustCompile(t testing.TB, routes ...Route) *Table {
	t.Helper()
	table, err := Compile(routes)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestAppend(t *testing.T) {
	v64, v65 := strings.Repeat("v", 64), strings.Repeat("v", 65)
	for _, group := range []struct {
		name   string
		routes []Route
		keys   []struct {
			name, key, want string
			id              uint16
		}
	}{
		{"named", []Route{chr()}, []struct {
			name, key, want string
			id              uint16
		}{
			{"sorted", "chr|browser=ff|cat=a|country=IN|dev=12|h=9|os=linux|w=800", "chr|browser=ff|cat=a|country=IN|dev=12|h=9|os=linux|w=800", 1},
			{"unsorted", "chr|w=800|os=linux|dev=12|country=IN|cat=a|browser=ff|h=9", "chr|browser=ff|cat=a|country=IN|dev=12|h=9|os=linux|w=800", 1},
			{"optional absent", "chr|country=IN|dev=12|os=l|browser=ff|cat=a|w=1", "chr|browser=ff|cat=a|country=IN|dev=12|os=l|w=1", 1},
			{"folded", "chr|country=IN|dev=12|os=LinuX|browser=FF|cat=A|w=1", "chr|browser=ff|cat=A|country=IN|dev=12|os=linux|w=1", 1},
			{"folds only ASCII", "chr|country=IN|dev=12|os=Ä|browser=ff|cat=a|w=1", "chr|browser=ff|cat=a|country=IN|dev=12|os=Ä|w=1", 1},
			{"alias", "chr|country=IN|dev=12|platform=L|browser=ff|cat=a|w=1", "chr|browser=ff|cat=a|country=IN|dev=12|os=l|w=1", 1},
			{"dropped", "chr|utm=x|country=IN|dev=12|os=l|browser=ff|utm=|cat=a|w=1|utm=a=b", "chr|browser=ff|cat=a|country=IN|dev=12|os=l|w=1", 1},
			{"duplicate, the last wins", "chr|cat=x|country=IN|dev=12|os=l|browser=ff|cat=a|w=1", "chr|browser=ff|cat=a|country=IN|dev=12|os=l|w=1", 1},
			{"duplicate by alias, the last wins", "chr|platform=z|country=IN|dev=12|os=l|browser=ff|cat=a|w=1", "chr|browser=ff|cat=a|country=IN|dev=12|os=l|w=1", 1},
			{"int is not rewritten", "chr|country=IN|dev=-007|os=l|browser=ff|cat=a|w=0", "chr|browser=ff|cat=a|country=IN|dev=-007|os=l|w=0", 1},
			{"int of 19 digits", "chr|country=IN|dev=-9999999999999999999|os=l|browser=ff|cat=a|w=0", "chr|browser=ff|cat=a|country=IN|dev=-9999999999999999999|os=l|w=0", 1},
			{"int of 20 digits", "chr|country=IN|dev=99999999999999999999|os=l|browser=ff|cat=a|w=0", "", 0},
			{"no int", "chr|country=IN|dev=12x|os=l|browser=ff|cat=a|w=1", "", 0},
			{"plus sign", "chr|country=IN|dev=+12|os=l|browser=ff|cat=a|w=1", "", 0},
			{"minus alone", "chr|country=IN|dev=-|os=l|browser=ff|cat=a|w=1", "", 0},
			{"missing part", "chr|country=IN|os=l|browser=ff|cat=a|w=1", "", 0},
			{"empty part", "chr|country=|dev=12|os=l|browser=ff|cat=a|w=1", "", 0},
			{"empty optional part", "chr|country=IN|dev=12|os=l|browser=ff|cat=a|w=1|h=", "", 0},
			{"part of 64 bytes", "chr|country=" + v64 + "|dev=12|os=l|browser=ff|cat=a|w=1", "chr|browser=ff|cat=a|country=" + v64 + "|dev=12|os=l|w=1", 1},
			{"part of 65 bytes", "chr|country=" + v65 + "|dev=12|os=l|browser=ff|cat=a|w=1", "", 0},
			{"= in a part", "chr|country=I=N|dev=12|os=l|browser=ff|cat=a|w=1", "", 0},
			{"unknown part", "chr|country=IN|dev=12|os=l|browser=ff|cat=a|w=1|x=1", "", 0},
			{"bare segment", "chr|country=IN|dev=12|os=l|browser=ff|cat=a|w=1|x", "", 0},
			{"separator at the end", "chr|country=IN|dev=12|os=l|browser=ff|cat=a|w=1|", "", 0},
			{"two separators", "chr||country=IN|dev=12|os=l|browser=ff|cat=a|w=1", "", 0},
			{"another separator in a part", "chr|country=a:b/c|dev=12|os=l|browser=ff|cat=a|w=1", "chr|browser=ff|cat=a|country=a:b/c|dev=12|os=l|w=1", 1},
			{"another separator", "chr:country=IN:dev=12:os=l:browser=ff:cat=a:w=1", "", 0},
			{"literal prefix alone", "chr", "", 0},
			{"longer literal prefix", "chrx|country=IN|dev=12|os=l|browser=ff|cat=a|w=1", "", 0},
			{"capital literal prefix", "CHR|country=IN|dev=12|os=l|browser=ff|cat=a|w=1", "", 0},
			{"empty key", "", "", 0},
			{"key over 250 bytes", "chr|country=IN|dev=12|os=l|browser=ff|cat=a|w=1|utm=" + strings.Repeat("u", 250), "", 0},
			{"session", "sess:8f3a", "", 0},
		}},
		{"by position", []Route{{ID: 7, Name: "banner", Key: "b:{geo}:{os}", Lower: []string{"os"}, Drop: []string{"v"}}}, []struct {
			name, key, want string
			id              uint16
		}{
			{"as it is", "b:IN:linux", "b:IN:linux", 7},
			{"folded", "b:IN:Linux", "b:IN:linux", 7},
			{"order stays", "b:linux:IN", "b:linux:in", 7},
			{"another separator in a part", "b:IN|DE:linux", "b:IN|DE:linux", 7},
			{"dropped", "b:IN:linux:v=3", "b:IN:linux", 7},
			{"dropped before", "b:v=3:IN:linux", "", 0},
			{"too few", "b:IN", "", 0},
			{"too many", "b:IN:linux:x", "", 0},
			{"empty", "b::linux", "", 0},
			{"=", "b:a=b:linux", "", 0},
		}},
		{"text segments and optional ends", []Route{{ID: 3, Name: "user", Key: "user/profile/{id:int}/{tab?}/{page:int?}"}}, []struct {
			name, key, want string
			id              uint16
		}{
			{"all", "user/profile/5/photos/2", "user/profile/5/photos/2", 3},
			{"one absent", "user/profile/5/photos", "user/profile/5/photos", 3},
			{"both absent", "user/profile/5", "user/profile/5", 3},
			{"other text", "user/settings/5", "", 0},
			{"ends before the part", "user/profile", "", 0},
			{"ends before the text", "user", "", 0},
			{"no int", "user/profile/x", "", 0},
		}},
		{"first by position, then named", []Route{{ID: 5, Name: "slot", Key: "slot;{site};os={o};w={w?}"}}, []struct {
			name, key, want string
			id              uint16
		}{
			{"in order", "slot;a.de;os=l;w=3", "slot;a.de;os=l;w=3", 5},
			{"named in any order", "slot;a.de;w=3;os=l", "slot;a.de;os=l;w=3", 5},
			{"position after named", "slot;os=l;a.de", "", 0},
		}},
		{"all optional", []Route{{ID: 4, Name: "o", Key: "o|a={a?}|b={b?}", Drop: []string{"x"}}}, []struct {
			name, key, want string
			id              uint16
		}{
			{"none", "o", "o", 4},
			{"dropped to none", "o|x=1", "o", 4},
			{"separator only", "o|", "", 0},
			{"last only", "o|b=1", "o|b=1", 4},
		}},
		{"file order", []Route{
			{ID: 1, Name: "int", Key: "p:{id:int}"},
			{ID: 2, Name: "any", Key: "p:{id}"},
			{ID: 3, Name: "other separator", Key: "p|{id}"},
		}, []struct {
			name, key, want string
			id              uint16
		}{
			{"first", "p:5", "p:5", 1},
			{"second", "p:five", "p:five", 2},
			{"third", "p|5", "p|5", 3},
		}},
		{"client prefix", []Route{
			{ID: 1, Name: "a", Key: "a|x={x}|y={y}", Prefix: "shop:"},
			{ID: 2, Name: "b", Key: "b:{x}", Prefix: "shop:"},
			{ID: 3, Name: "c", Key: "c:{x}"},
			{ID: 4, Name: "shop", Key: "shop:{x}:{y}"},
			{ID: 5, Name: "d", Key: "de:{x}", Prefix: "d"},
		}, []struct {
			name, key, want string
			id              uint16
		}{
			{"stripped", "shop:a|y=2|x=1", "a|x=1|y=2", 1},
			{"without it", "a|y=2|x=1", "a|x=1|y=2", 1},
			{"same separator", "shop:b:1", "b:1", 2},
			{"twice", "shop:shop:b:1", "", 0},
			{"not this route's", "shop:c:1", "shop:c:1", 4},
			{"alone", "shop:", "", 0},
			{"literal begins with it", "de:1", "de:1", 5},
			{"literal begins with it, stripped", "dde:1", "de:1", 5},
		}},
		{"canonical key of an earlier route", []Route{
			{ID: 1, Name: "exact", Key: "k:top:{x}"},
			{ID: 2, Name: "folded", Key: "k:{y}:{x}", Lower: []string{"y"}},
		}, []struct {
			name, key, want string
			id              uint16
		}{
			{"folding leads to it", "k:TOP:1", "k:top:1", 1},
			{"not to it", "k:Tip:1", "k:tip:1", 2},
		}},
	} {
		t.Run(group.name, func(t *testing.T) {
			table := mustCompile(t, group.routes...)
			for _, tt := range group.keys {
				t.Run(tt.name, func(t *testing.T) {
					got, id := table.Append([]byte("kept "), []byte(tt.key))
					if string(got) != "kept "+tt.want || id != tt.id {
						t.Fatalf("Append(%q) = %q, %d, want %q, %d\n%s", tt.key, got[5:], id, tt.want, tt.id, table.Explain(tt.key))
					}
					if id == 0 {
						return
					}
					again, id := table.Append(nil, []byte(tt.want))
					if string(again) != tt.want || id != tt.id {
						t.Errorf("Append(%q) = %q, %d, want itself and %d", tt.want, again, id, tt.id)
					}
				})
			}
		})
	}
}

func TestAppendAtMost250Bytes(t *testing.T) {
	table := mustCompile(t, Route{ID: 1, Name: "l", Key: "l|long_name={a}|b={b}|c={c}|d={d}", Alias: map[string]string{"a": "a"}})
	key := func(n int) string { // whose canonical key has n bytes
		v := strings.Repeat("v", 64)
		k := "l|a=" + v + "|b=" + v + "|c=" + v + "|d="
		return k + strings.Repeat("d", n-len(k)-len("long_name")+len("a"))
	}
	if got, id := table.Append(nil, []byte(key(250))); len(got) != 250 || id != 1 {
		t.Errorf("got %d bytes, route %d, want 250 bytes, route 1", len(got), id)
	}
	if got, id := table.Append(nil, []byte(key(251))); len(got) != 0 || id != 0 {
		t.Errorf("got %q, route %d, want a plain key", got, id)
	}
}

func TestNilTable(t *testing.T) {
	var table *Table
	if got, id := table.Append([]byte("x"), []byte("k:1")); string(got) != "x" || id != 0 {
		t.Errorf("Append = %q, %d, want nothing appended", got, id)
	}
	if got := table.Parts(nil, 1, []byte("k:1")); got != nil {
		t.Errorf("Parts = %v, want none", got)
	}
	if table.PartNames(1) != nil || table.PartSpecs(1) != nil || table.Overlaps() != nil {
		t.Error("a nil table knows parts or overlaps")
	}
	if e := table.Explain("k:1"); e.Route != 0 || len(e.Why) != 1 {
		t.Errorf("Explain = %+v", e)
	}
}

func TestParts(t *testing.T) {
	table := mustCompile(t, chr(), Route{ID: 9, Name: "mix", Key: "m:x:{z}:os={o}:b={b:int?}"})
	show := func(parts []Part) string {
		var out []string
		for _, p := range parts {
			if !p.Present {
				out = append(out, "-")
				continue
			}
			out = append(out, string(p.Value))
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		name string
		id   uint16
		key  string
		want string
	}{
		{"pattern's order", 1, "chr|browser=ff|cat=a|country=IN|dev=12|h=9|os=l|w=8", "IN 12 l ff a 8 9"},
		{"absent", 1, "chr|browser=ff|cat=a|country=IN|dev=12|os=l|w=8", "IN 12 l ff a 8 -"},
		{"mixed", 9, "m:x:zz:b=3:os=l", "zz l 3"},
		{"mixed, absent", 9, "m:x:zz:os=l", "zz l -"},
		{"another route's key", 9, "chr|browser=ff", ""},
		{"no key of the route", 9, "m:x", ""},
		{"unknown route", 5, "m:x", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := show(table.Parts(nil, tt.id, []byte(tt.key))); got != tt.want {
				t.Errorf("Parts = %q, want %q", got, tt.want)
			}
		})
	}
	if got, want := table.PartNames(9), []string{"z", "o", "b"}; !slices.Equal(got, want) {
		t.Errorf("PartNames = %v, want %v", got, want)
	}
	if got, want := fmt.Sprint(table.PartSpecs(9)), "[{z false false} {o false false} {b true true}]"; got != want {
		t.Errorf("PartSpecs = %v, want %v", got, want)
	}
	key := []byte("m:x:zz:os=l")
	parts := table.Parts(nil, 9, key)
	_ = append(parts[0].Value, '!')
	if string(key) != "m:x:zz:os=l" {
		t.Error("appending to a part's value wrote into the key")
	}
}

func TestCompileErrors(t *testing.T) {
	with := func(key string) Route { return Route{ID: 1, Name: "r", Key: key} }
	for _, tt := range []struct {
		name  string
		route Route
		want  string // behind `normalizer: route "r": `
	}{
		{"empty", with(""), "the key pattern is empty; write one such as user:{id}"},
		{"no separator", with("user"), `the key pattern "user" has no separator; write one of | : / , ; & after the literal prefix, as in user:{id}`},
		{"part first", with("{id}:user"), `the key pattern "{id}:user" has an empty literal prefix; begin with a text that no other kind of key begins with, as in user:{id}`},
		{"part glued to the prefix", with("user{id:int}"), `the key pattern "user{id:int}" has a part before its first separator; write one of | : / , ; & between the literal prefix and the first part`},
		{"empty prefix", with(":{id}"), `the key pattern ":{id}" has an empty literal prefix; begin with a text that no other kind of key begins with, as in user:{id}`},
		{"mixed separators", with("chr|a={a}:b={b}"), `the key pattern mixes the separators '|' and ':'; use one separator throughout`},
		{"mixed separators in text", with("chr|x:y|{b}"), `the key pattern mixes the separators '|' and ':'; use one separator throughout`},
		{"two separators", with("chr||{a}"), `two '|' stand in a row or one ends the key pattern; take out the extra one`},
		{"separator at the end", with("chr|{a}|"), `two '|' stand in a row or one ends the key pattern; take out the extra one`},
		{"no part", with("chr|top"), `the key pattern "chr|top" has no part; name at least one, as in user:{id}`},
		{"text beside a part", with("chr|x{a}"), `segment "x{a}" is not one whole part; write {part} or name={part} between two separators`},
		{"text behind a part", with("chr|{a}x"), `segment "{a}x" is not one whole part; write {part} or name={part} between two separators`},
		{"open brace", with("chr|{a"), `segment "{a" is not one whole part; write {part} or name={part} between two separators`},
		{"closing brace", with("chr|a}"), `segment "a}" holds '}'; take it out`},
		{"nested", with("chr|{{a}}"), `segment "{{a}}" is not one whole part; write {part} or name={part} between two separators`},
		{"no name left of =", with("chr|={a}"), `segment "={a}" has no name left of "="; write name={part}, or {part} for one by position`},
		{"no part right of =", with("chr|a=b|{c}"), `segment "a=b" names no part; write name={part}`},
		{"space", with("c r|{a}"), `literal prefix "c r" holds a space or control character; take it out: memcached keys cannot hold it`},
		{"nameless part", with("chr|{}"), `part {} has no usable name; use letters, digits and _, first a letter, since the query says @name`},
		{"unusable name", with("chr|{a-b}"), `part {a-b} has no usable name; use letters, digits and _, first a letter, since the query says @name`},
		{"keys", with("chr|{keys}"), `a part is named keys; rename it: in a query @keys are whole keys`},
		{"unknown class", with("chr|{a:uint}"), `part {a:uint} has the unknown class "uint"; the only class is :int`},
		{"? before the class", with("chr|{a?:int}"), `part {a?:int} has its ? before the class; write {a:int?}`},
		{"two parts of one name", with("chr|a={x}|b={x}"), `two parts are named x; give each part its own name`},
		{"two names left of =", with("chr|a={x}|a={y}"), `two parts have the name a left of "="; give each its own name`},
		{"position after named", with("chr|a={x}|{y}"), `segment {y} stands after the named part a; put segments by position first, named parts after them`},
		{"text after named", with("chr|a={x}|y"), `segment y stands after the named part a; put segments by position first, named parts after them`},
		{"required after optional", with("chr|{x?}|{y}"), `segment {y} stands after the optional part x; by position only the last parts may be optional`},
		{"text after optional", with("chr|{x?}|y"), `segment y stands after the optional part x; by position only the last parts may be optional`},
		{"too many parts", with("chr" + manyParts(33)), `the key pattern has 33 parts; at most 32 are possible`},
		{"too long", with("chr|" + strings.Repeat("a", 64) + "={a}|" + strings.Repeat("b", 64) + "={b}|" + strings.Repeat("c", 64) + "={c}|" + strings.Repeat("d", 64) + "={d}"), `every key of the pattern is over 250 bytes; shorten its names`},
		{"long prefix", with(strings.Repeat("c", 65) + "|{a}"), `literal prefix "` + strings.Repeat("c", 65) + `" has 65 bytes; shorten it to 64`},
		{"no id", Route{Name: "r", Key: "a:{b}"}, "its id is 0, which means no route; give it another id"},
		{"lower", Route{ID: 1, Name: "r", Key: "a:{b}:{c}", Lower: []string{"d"}}, `lower names "d", which is no part; the parts are b, c`},
		{"alias to nothing", Route{ID: 1, Name: "r", Key: "a:b={b}", Alias: map[string]string{"x": "y"}}, `alias x leads to "y", which is no part; the parts are b`},
		{"alias by position", Route{ID: 1, Name: "r", Key: "a:{b}", Alias: map[string]string{"x": "b"}}, `alias x leads to {b}, a part by position; only named parts have aliases`},
		{"alias is a part", Route{ID: 1, Name: "r", Key: "a:b={b}:c={c}", Alias: map[string]string{"c": "b"}}, `alias names c, which already has a meaning in this route; take one of them out`},
		{"alias cannot be", Route{ID: 1, Name: "r", Key: "a:b={b}", Alias: map[string]string{"x:y": "b"}}, `alias names "x:y", which no key can hold; write a name as it stands left of "=" in a key`},
		{"drop is a part", Route{ID: 1, Name: "r", Key: "a:b={b}", Drop: []string{"b"}}, `drop names b, which already has a meaning in this route; take one of them out`},
		{"drop twice", Route{ID: 1, Name: "r", Key: "a:b={b}", Drop: []string{"x", "x"}}, `drop names x, which already has a meaning in this route; take one of them out`},
		{"drop is empty", Route{ID: 1, Name: "r", Key: "a:b={b}", Drop: []string{""}}, `drop names "", which no key can hold; write a name as it stands left of "=" in a key`},
		{"client prefix", Route{ID: 1, Name: "r", Key: "a:{b}", Prefix: "a:"}, `a key cannot be told from one with the client prefix "a:", which begins as the key pattern does; choose another literal prefix`},
		{"long client prefix", Route{ID: 1, Name: "r", Key: "a:{b}", Prefix: strings.Repeat("p", 250)}, `the client prefix has 250 bytes, and a key at most 250; shorten it`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile([]Route{tt.route})
			var e *Error
			if !errors.As(err, &e) || e.Route != "r" {
				t.Fatalf("got %v, want an *Error about route r", err)
			}
			if got, want := err.Error(), `normalizer: route "r": `+tt.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
	for _, tt := range []struct {
		name   string
		second Route
		want   string
	}{
		{"same name", Route{ID: 2, Name: "a", Key: "b:{x}"}, `normalizer: route "a": two routes have this name; rename one of them`},
		{"same id", Route{ID: 1, Name: "b", Key: "b:{x}"}, `normalizer: route "b": its id 1 is the id of route "a"; give it another id`},
		{"no name", Route{ID: 2, Key: "b:{x}"}, `normalizer: route "": it has no name; give it one`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Compile([]Route{{ID: 1, Name: "a", Key: "a:{x}"}, tt.second}); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func manyParts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "|{p%d}", i)
	}
	return b.String()
}

func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		name   string
		routes []Route
		want   string // a key in the one sentence; empty: no sentence
	}{
		{"other literal prefix", []Route{{Key: "a:{x}"}, {Key: "b:{x}"}}, ""},
		{"other separator", []Route{{Key: "a:{x}"}, {Key: "a|{x}"}}, ""},
		{"int inside any", []Route{{Key: "a:{x:int}"}, {Key: "a:{x}"}}, "a:1"},
		{"other length", []Route{{Key: "a:{x}"}, {Key: "a:{x}:{y}"}}, ""},
		{"optional makes it the same length", []Route{{Key: "a:{x}:{z?}"}, {Key: "a:{x}:{y}"}}, "a:1:1"},
		{"other text", []Route{{Key: "a:t:{x}"}, {Key: "a:u:{x}"}}, ""},
		{"text inside a part", []Route{{Key: "a:t:{x}"}, {Key: "a:{y}:{x}"}}, "a:t:1"},
		{"text is no int", []Route{{Key: "a:t:{x}"}, {Key: "a:{y:int}:{x}"}}, ""},
		{"other named parts", []Route{{Key: "a:x={x}"}, {Key: "a:y={y}"}}, ""},
		{"same named part", []Route{{Key: "a:x={x}:y={y?}"}, {Key: "a:x={x}:z={z?}"}}, "a:x=1"},
		{"dropped", []Route{{Key: "a:x={x}", Drop: []string{"y"}}, {Key: "a:y={y}:x={x?}"}}, "a:x=1:y=1"},
		{"alias", []Route{{Key: "a:x={x}"}, {Key: "a:y={y}", Alias: map[string]string{"x": "y"}}}, "a:x=1"},
		{"client prefix", []Route{{Key: "shop:{x}:{y}"}, {Key: "b:{x}", Prefix: "shop:"}}, "shop:b:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range tt.routes {
				tt.routes[i].ID, tt.routes[i].Name = uint16(i+1), string(rune('p'+i))
			}
			var want []string
			if tt.want != "" {
				want = []string{fmt.Sprintf(`routes "p" and "q" both match keys such as %q; "p" stands first in the file and takes them`, tt.want)}
			}
			if got := mustCompile(t, tt.routes...).Overlaps(); !slices.Equal(got, want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	mix := Route{ID: 2, Name: "banner", Key: "b:top:{geo}", Lower: []string{"geo"}, Prefix: "shop."}
	later := Route{ID: 3, Name: "later", Key: "chr|{any}"}
	table := mustCompile(t, chr(), mix, later)
	for _, tt := range []struct {
		name string
		key  string
		want string
	}{
		{"canonical", "chr|browser=ff|cat=a|country=IN|dev=12|os=l|w=8", `"chr|browser=ff|cat=a|country=IN|dev=12|os=l|w=8" matches route "characteristics".
canonical key: chr|browser=ff|cat=a|country=IN|dev=12|os=l|w=8
  country = IN
  dev = 12
  os = l
  browser = ff
  cat = a
  w = 8
  h is absent: NULL in the query
- The key is canonical already.
`},
		{"changed", "chr|w=8|utm=1|w=9|platform=L|browser=ff|cat=a|country=IN|dev=12|h=1", `"chr|w=8|utm=1|w=9|platform=L|browser=ff|cat=a|country=IN|dev=12|h=1" matches route "characteristics".
canonical key: chr|browser=ff|cat=a|country=IN|dev=12|h=1|os=l|w=9
  country = IN
  dev = 12
  os = l
  browser = ff
  cat = a
  w = 9
  h = 1
- utm is dropped.
- w comes more than once; the last one counts.
- platform is another name for os.
- os is folded to lower case.
- The named parts are sorted by name.
`},
		{"stripped and folded", "shop.b:top:IN", `"shop.b:top:IN" matches route "banner".
canonical key: b:top:in
  geo = in
- The client's prefix "shop." is stripped.
`},
		{"folded", "b:top:IN", `"b:top:IN" matches route "banner".
canonical key: b:top:in
  geo = in
- Parts by position are folded to lower case.
`},
		{"refused before", "chr|x", `"chr|x" matches route "later".
canonical key: chr|x
  any = x
- The key is canonical already.
- Route "characteristics" refuses it: segment "x" has no place in the pattern.
`},
		{"no candidate", "sess:1", `"sess:1" is a plain key: no route loads it.
- No route has the key's literal prefix; there are chr|  b:.
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := table.Explain(tt.key).String(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
	long := strings.Repeat("l", 65)
	for _, tt := range []struct {
		name, key, want string
	}{
		{"separator", "chr:x", `Route "characteristics" refuses it: its separator is '|', and the key has ":" after the literal prefix.`},
		{"text", "b:bottom:IN", `Route "banner" refuses it: the key has "bottom" where the pattern has "top".`},
		{"missing text", "b", `Route "banner" refuses it: the key ends before "top".`},
		{"missing part by position", "b:top", `Route "banner" refuses it: part geo is missing and not optional.`},
		{"empty segment", "b:top:IN:", `Route "banner" refuses it: the key has an empty segment, or ends with the separator.`},
		{"late segment", "chr|w=1|x", `Route "characteristics" refuses it: segment "x" has no "=" but stands after a named part.`},
		{"unknown", "chr|w=1|x=2", `Route "characteristics" refuses it: "x" is not a part, an alias or under drop.`},
		{"size", "chr|os=" + long, `Route "characteristics" refuses it: part os has 65 bytes, and 1 to 64 are allowed.`},
		{"equals", "chr|os=a=b", `Route "characteristics" refuses it: part os is "a=b", and a part cannot hold "=".`},
		{"int", "chr|w=x", `Route "characteristics" refuses it: part w is "x", which is no :int: an optional minus and 1 to 19 digits.`},
		{"missing", "chr|w=1", `Route "characteristics" refuses it: part browser is missing and not optional.`},
		{"long key", strings.Repeat("k", 251), `The key has 251 bytes; a key has at most 250.`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := table.Explain(tt.key)
			if e.Route != 0 || !slices.Contains(e.Why, tt.want) {
				t.Errorf("got %q\nwant %q among them", e.Why, tt.want)
			}
		})
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	var key strings.Builder
	key.WriteString("k")
	pattern := "k"
	for i := range 16 {
		pattern += fmt.Sprintf("|p%c={p%c}", 'a'+i, 'a'+i)
		fmt.Fprintf(&key, "|p%c=V%d", 'p'-i, i)
	}
	routes := []Route{{ID: 2, Name: "first", Key: "k|pa={pa}"}, {ID: 1, Name: "wide", Key: pattern, Lower: []string{"pb"}, Prefix: "x"}}
	table := mustCompile(t, routes...)
	dst, parts := make([]byte, 0, MaxKey), make([]Part, 0, MaxParts)
	for _, k := range []string{key.String(), "x" + key.String(), "plain:key", "k|nothing=1"} {
		b := []byte(k)
		if n := testing.AllocsPerRun(100, func() {
			out, id := table.Append(dst[:0], b)
			parts = table.Parts(parts[:0], id, out)
		}); n != 0 {
			t.Errorf("Append(%q) and Parts: %v allocations, want 0", k, n)
		}
	}
	if out, id := table.Append(nil, []byte(key.String())); id != 1 || len(table.Parts(nil, id, out)) != 16 {
		t.Errorf("the key of 16 parts gave %q, route %d", out, id)
	}
}

func BenchmarkAppend(b *testing.B) {
	routes := []Route{chr()}
	for i := range 20 {
		routes = append(routes, Route{ID: uint16(i + 2), Name: fmt.Sprint("r", i), Key: fmt.Sprintf("r%d:{x}", i)})
	}
	table := mustCompile(b, routes...)
	for _, bb := range []struct{ name, key string }{
		{"parts=7/unsorted", "chr|w=1920|os=Android 14|dev=48211|country=IN|cat=news|browser=Chrome|h=1080"},
		{"parts=7/sorted", "chr|browser=chrome|cat=news|country=IN|dev=48211|h=1080|os=android|w=1920"},
		{"parts=1", "r7:48211"},
		{"plain", "session:8f3a9c0b2d"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			dst, key := make([]byte, 0, MaxKey), []byte(bb.key)
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = table.Append(dst[:0], key)
			}
		})
	}
}
