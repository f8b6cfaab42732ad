package store

import (
	"errors"
	"fmt"
	"testing"
)

func TestInvalidatePrefix(t *testing.T) {
	x := newTester(t, Options{Memory: 16 << 20})
	id := x.routes(testRoute)[0]
	fill := func(key string) {
		t.Helper()
		checkStatus(t, "put", x.put(x.get(id, key).leased, id, key, "v"), PutStored)
	}
	for i := range 3000 {
		x.write(Set, 0, fmt.Sprint("a:", i), long, 0)
		x.write(Set, 0, fmt.Sprint("b:", i), long, 0)
		fill(fmt.Sprint("r|x=", i))
	}
	pending := x.get(id, "r|x=new").leased
	if err := x.InvalidatePrefix("a:"); err != nil {
		t.Fatal(err)
	}
	if err := x.InvalidatePrefix("r|x=1"); err != nil {
		t.Fatal(err)
	}
	x.wantMiss(0, "a:1", Flushed)
	x.want(0, "b:1", long)
	x.wantMiss(id, "r|x=17", Flushed)
	x.want(id, "r|x=27", "v")
	checkStatus(t, "put by a lease from before", x.put(pending, id, "r|x=new", "old"), PutKilled)
	x.write(Set, 0, "a:2", "new", 0)
	fill("r|x=18")
	x.want(0, "a:2", "new")
	x.want(id, "r|x=18", "v")
	checkStatus(t, "add over an absent item", x.write(Add, 0, "a:3", "added", 0), Stored)
	if err := x.InvalidatePrefix("a:"); err != nil { // once more: what came since goes too
		t.Fatal(err)
	}
	x.wantMiss(0, "a:3", Flushed)
	x.write(Set, 0, "a:2", "newer", 0)
	x.reapAll()
	if n := len(x.epochs.prefixes); n != 0 {
		t.Errorf("%d prefixes are remembered after the sweep", n)
	}
	for i := range x.shards {
		if n := len(x.shards[i].prefixes); n != 0 {
			t.Errorf("shard %d remembers %d prefixes", i, n)
		}
	}
	x.want(0, "a:2", "newer")
	x.want(id, "r|x=18", "v")
	x.wantMiss(0, "a:4", Absent) // its memory came back
	if st := x.Stats(); st.Items != 3000+1+3000-1111+1 {
		t.Errorf("%d items are left", st.Items)
	}
	for i := range prefixMost {
		if err := x.InvalidatePrefix(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.InvalidatePrefix("one more"); !errors.Is(err, ErrPrefixes) {
		t.Errorf("got %v", err)
	}
	if err := x.InvalidatePrefix("7"); err != nil {
		t.Errorf("one that is there already: %v", err)
	}
	x.reapAll()
	if err := x.InvalidatePrefix("one more"); err != nil {
		t.Error(err)
	}
	verify(t, x.Store)
}
