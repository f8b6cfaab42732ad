package fillertest

import (
	"slices"
	"strings"
	"testing"

	"swordfish/filler"
)

// Keys lists all rows of a route's query for keys in pages of so many, and once more from the end of each page on, and wants Count to agree. A row is its values with blanks
// between, NULL as a dash.
func Keys(t testing.TB, src filler.Lister, r *filler.Route, page int) []string {
	t.Helper()
	var rows []string
	var cursors []filler.Cursor // where each page ended, and how many rows there were by then
	var counts []int
	list := func(after filler.Cursor) error {
		before := len(rows)
		return src.List(t.Context(), r, after, filler.Pages{
			Most: func() (int, error) { return page, nil },
			Row: func(vals []filler.Part) {
				var words []string
				for _, v := range vals {
					if v.Present {
						words = append(words, string(v.Value))
					} else {
						words = append(words, "-")
					}
				}
				rows = append(rows, strings.Join(words, " "))
			},
			End: func(next filler.Cursor) error {
				if got := len(rows) - before; got > page || next != nil && got != page {
					t.Errorf("a page of %d has %d rows", page, got)
				}
				before = len(rows)
				cursors, counts = append(cursors, next), append(counts, before)
				return nil
			},
		})
	}
	if err := list(nil); err != nil {
		t.Fatal(err)
	}
	if len(cursors) == 0 || cursors[len(cursors)-1] != nil {
		t.Fatal("there was no last page")
	}
	all := slices.Clone(rows)
	for i, after := range cursors[:len(cursors)-1] {
		if rows = rows[:counts[i]]; after == nil {
			t.Fatal("a page after the last")
		}
		if err := list(after); err != nil || !slices.Equal(rows, all) {
			t.Fatalf("list behind %v: %v, %q, want %q", after, err, rows, all)
		}
	}
	n, err := src.Count(t.Context(), r)
	if err != nil || n != int64(len(rows)) {
		t.Errorf("count: got %d, %v; want %d", n, err, len(rows))
	}
	return rows
}

// ListedKeys is what ListSchema's rows are by ListQuery: in order, in pages of whatever size.
var ListedKeys = []string{"a - 7", "a 1 1", "a 10 2", "a 2 3", "b - 4", "b 1 5", "ü 1 6"}

// ListSchema is a table with an optional part that is NULL in places, and a row that has no key at all.
const ListSchema = `CREATE TABLE pages (os text, h int, id int);
INSERT INTO pages VALUES ('a', 1, 1), ('a', 10, 2), ('a', 2, 3), ('b', NULL, 4), ('b', 1, 5), ('ü', 1, 6), ('a', NULL, 7), (NULL, 3, 8)`

// ListRoute is a route of its keys; ListQuery enumerates them.
func ListRoute(keys string) *filler.Route {
	return &filler.Route{
		Name: "r", Keys: keys,
		Parts: []filler.PartSpec{{Name: "os"}, {Name: "id", Int: true}, {Name: "h", Int: true, Optional: true}},
	}
}

// ListQuery returns the optional part before one that is not.
const ListQuery = "SELECT os, h, id FROM pages;\n"

// Listing puts the questions to a Lister that has ListSchema's table.
func Listing(t *testing.T, src filler.Lister) {
	for page := 1; page <= len(ListedKeys)+1; page++ {
		if got := Keys(t, src, ListRoute(ListQuery), page); !slices.Equal(got, ListedKeys) {
			t.Errorf("in pages of %d: got %q, want %q", page, got, ListedKeys)
		}
	}
	whole := ListRoute("SELECT 'pg|os=' || os || '|id=' || id AS key FROM pages")
	if got := Keys(t, src, whole, 3); len(got) != len(ListedKeys) || got[0] != "pg|os=a|id=1" {
		t.Errorf("whole keys: %q", got)
	}
	for name, tt := range map[string]struct{ query, problem string }{
		"a part that every key has": {"SELECT os, h FROM pages", `no column named "id"`},
		"a column that is no part":  {"SELECT os, id, h AS height FROM pages", `a column "height"`},
		"a column twice":            {"SELECT os, id, os FROM pages", "os"},
		"no such table":             {"SELECT os, id FROM page", "page"},
		"a parameter":               {"SELECT os, id FROM pages WHERE h = $1", ""},
	} {
		_, err := src.KeyColumns(t.Context(), ListRoute(tt.query))
		if name == "a parameter" {
			if err == nil {
				err = src.List(t.Context(), ListRoute(tt.query), nil, filler.Pages{
					Most: func() (int, error) { return 1, nil }, Row: func([]filler.Part) {}, End: func(filler.Cursor) error { return nil },
				})
			}
		}
		if err == nil || !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("%s: got %v, want one with %q", name, err, tt.problem)
		}
	}
}
