package main

import (
	"bytes"
	"strings"
	"testing"

	"swordfish/warm"
)

// TestBarFits: however few columns a terminal has, the line fits, and says how much is there and, from 40 on, how long the rest takes.
func TestBarFits(t *testing.T) {
	for name, p := range map[string]warm.Progress{
		"a route":    {Route: "characteristics", From: warm.Table, Total: 464_184, Seen: 19_520, Share: 0.042, Rate: 3839, Slower: 1.3},
		"all keys":   {From: warm.Memcached, Total: 1_000_000, Seen: 999, Share: 0.001, Rate: 201_207},
		"a long one": {Route: strings.Repeat("r", 64), From: warm.Log, Total: 50, Seen: 10, Share: 0.2, Rate: 1},
		"no total":   {Route: "r", From: warm.Keys, Seen: 10, Rate: 1, Slower: 2},
	} {
		for columns := 20; columns <= 200; columns++ {
			before := barTitle(&p, columns)
			behind := barText(&p, columns-len(before))
			if len(before)+len(behind) > columns || !strings.Contains(behind, "%") {
				t.Errorf("%s, %d columns: %q and %q", name, columns, before, behind)
			}
			if left := leftText(&p); columns >= 40 && left != "" && (!strings.Contains(behind, left+" left") || !strings.Contains(behind, "/s")) {
				t.Errorf("%s, %d columns: %q does not say how long it takes", name, columns, behind)
			}
			if columns >= 160 && (!strings.Contains(behind, "keys") || (p.Slower > 0) != strings.Contains(behind, "slower")) {
				t.Errorf("%s, %d columns: %q", name, columns, behind)
			}
		}
	}
}

// TestLinesWithoutATerminal: what is written to a pipe or a file.
func TestLinesWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	d := newDisplay(&out)
	p := warm.Progress{Route: "chr", From: warm.Table, State: warm.Running, Total: 200, Seen: 50, Loaded: 50, Share: 0.25, Rate: 10}
	d.tell(&p)
	d.tell(&p) // too soon for another line
	p.Seconds = 5
	d.end(&p) // we have left; the server has not told that it stopped
	want := "chr from table 25.0% of 200 keys there, 50 looked at, 10/s, 15s left\n" +
		"chr from table stopped after 5.0s: 50 looked at, 50 loaded, 0 were there, 0 have no row\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if got := progressText(&warm.Progress{From: warm.Keys, Seen: 7, Rate: 3}); got != "all keys of a list 7 keys looked at, 3/s" {
		t.Errorf("without a total: %q", got)
	}
}
