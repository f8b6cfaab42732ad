//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

// rowsRoute answers with several columns of many types as one PHP array.
const rowsRoute = `sources:
  main: {kind: postgres, dsn: %q}
routes:
  - name: characteristics
    key: "row:{id:int}"
    source: main
    encode: php
%s    query: |
      SELECT k.ord, r.id, r.name, r.big, r.price, r.ok, r.nothing, r.tags, r.doc
      FROM unnest(@id::int[]) WITH ORDINALITY AS k(id, ord) JOIN things r USING (id)
`

// TestE2EPHPRows: 1,000 generated rows reach either of PHP's extensions as what PHP itself would have stored.
func TestE2EPHPRows(t *testing.T) {
	php := testenv.PHP(t)
	pg := testenv.Postgres(t)
	s := openSession(t, pg.DSN)
	s.rows(`CREATE TABLE things (id int PRIMARY KEY, name text, big bigint, price float8, ok bool, nothing text, tags text[], doc jsonb)`)
	const rows = 1000
	rng := rand.New(rand.NewPCG(11, 11))
	for id := range rows {
		s.rows(fmt.Sprintf(`INSERT INTO things VALUES (%d, %s, %d, %v, %v, NULL, ARRAY[%s, %s], %s)`, id, quote(word(rng)),
			int64(rng.Uint64()), float64(rng.IntN(1_000_000))/8+0.0625, rng.IntN(2) == 0, quote(word(rng)), quote(word(rng)), quote(document(rng, 3))))
	}
	var lines strings.Builder
	for _, row := range s.rows(`SELECT id, json_build_object('id', id, 'name', name, 'big', big, 'price', price, 'ok', ok, 'nothing', nothing,
		'tags', tags, 'doc', doc)::text FROM things ORDER BY id`) {
		fmt.Fprintf(&lines, "%s\t%s\n", row[0], row[1])
	}
	for library, flags := range map[string]string{"memcached": "", "memcache": "    flags: 1\n"} {
		t.Run(library, func(t *testing.T) {
			server := serve(t, fmt.Sprintf(rowsRoute, pg.DSN, flags))
			c := dial(t, server.addr)
			host, port, err := net.SplitHostPort(server.addr)
			if err != nil {
				t.Fatal(err)
			}
			run := func(step string) string {
				t.Helper()
				cmd := exec.Command(php, "-d", "display_errors=stderr", "testdata/rows.php", library, host, port, step)
				cmd.Stdin = strings.NewReader(lines.String())
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("rows.php: %v\n%s", err, out)
				}
				return string(out)
			}
			run("ask")
			c.routeReaches("loaded", rows)
			if got := run("compare"); got != strconv.Itoa(rows)+"\n" {
				t.Error(got)
			}
		})
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// word is a text with what texts have: quotes, backslashes, other scripts, line ends, or nothing.
func word(rng *rand.Rand) string {
	parts := []string{"", "a", "Banner 12", `"`, "'", `\`, "é", "日本", "\n", "\t", "{}", "0", "12", "1.5", "true", "😀"}
	var b strings.Builder
	for range rng.IntN(6) {
		b.WriteString(parts[rng.IntN(len(parts))])
	}
	return b.String()
}

// document is a JSON object with lists and objects in it.
func document(rng *rand.Rand, depth int) string {
	value := func() string {
		n := 9
		if depth == 0 {
			n = 6
		}
		switch rng.IntN(n) {
		case 0:
			return "null"
		case 1:
			return strconv.FormatBool(rng.IntN(2) == 0)
		case 2:
			return strconv.FormatInt(int64(rng.Uint64())>>uint(rng.IntN(60)), 10)
		case 3:
			return strconv.FormatFloat(float64(rng.IntN(1_000_000))/16+0.03125, 'f', -1, 64)
		case 6:
			items := make([]string, rng.IntN(4))
			for i := range items {
				items[i] = document(rng, depth-1)
			}
			return "[" + strings.Join(items, ", ") + "]"
		case 7, 8:
			return document(rng, depth-1)
		}
		return jsonString(word(rng))
	}
	members := make([]string, rng.IntN(6))
	for i := range members {
		members[i] = jsonString([]string{"id", "name", "a b", "5", "é"}[i%5]+strings.Repeat("x", i/5)) + ": " + value()
	}
	return "{" + strings.Join(members, ", ") + "}"
}

func jsonString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}
