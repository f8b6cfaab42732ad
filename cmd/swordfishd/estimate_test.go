package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

// estimates runs estimate and returns its answer.
func estimates(t *testing.T, args ...string) (e estimated) {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := run(append([]string{"estimate", "--json"}, args...), &out, &errOut); code != exitOK {
		t.Fatalf("estimate %v: exit code %d: %s", args, code, errOut.String())
	}
	if err := json.Unmarshal(out.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// sample is what the tests count: item i has key(i) and value(i), of which there are sampleValues, and a hundred short ones.
const (
	sampleItems  = 120_000
	sampleValues = 500
	sampleShort  = 100
)

func sampleKey(i int) string { return fmt.Sprintf("chr|country=IN|dev=%d|os=android", i) }

func sampleValue(i int) string {
	if i < sampleShort {
		return "short " + strconv.Itoa(i)
	}
	n := i % sampleValues
	return fmt.Sprintf("%d\t{\"size\": \"small\"}\n\\", n) + strings.Repeat(string(rune('a'+n%26)), 100+n)
}

// load stores the sample by memcached's protocol.
func loadSample(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := bufio.NewWriterSize(c, 1<<20)
	for i := range sampleItems {
		v := sampleValue(i)
		fmt.Fprintf(w, "set %s 0 0 %d noreply\r\n%s\r\n", sampleKey(i), len(v), v)
	}
	fmt.Fprint(w, "mn\r\n")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(c).ReadString('\n'); got != "MN\r\n" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// statOf asks for one figure.
func statOf(t *testing.T, addr, command, name string) int64 {
	t.Helper()
	a := askText(addr, 0).(*textAsker)
	defer a.close()
	if _, err := a.ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, _, refusal, err := a.stats(command)
	if err != nil || refusal != "" || m[name] == "" {
		t.Fatalf("%s: no %s: %v %s", command, name, err, refusal)
	}
	n, err := strconv.ParseInt(m[name], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// near wants got within a share of want.
func near(t *testing.T, what string, got, want int64, share float64) {
	t.Helper()
	if math.Abs(float64(got-want)) > share*float64(want) {
		t.Errorf("%s: estimated %d, it is %d", what, got, want)
	}
}

// The same items are counted alike from a dump, from a memcached, from a database and from ourselves. The memory that is
// estimated is what the two servers take: to one part in ten for memcached, whose pages can be counted, and to 15 in 100 for us, who
// take segments before they are full.
func TestEstimateAgreesWithServers(t *testing.T) {
	theirs := testenv.Memcached(t, "-m", "128")
	loadSample(t, theirs)
	r := startApp(t, "", "-m", "16")
	ours := r.server.Addrs()[0].String()
	before := statOf(t, ours, "stats fish", "used_bytes")
	loadSample(t, ours)

	escape := strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`)
	var dump strings.Builder
	for i := range sampleItems {
		fmt.Fprintf(&dump, "%s\t%s\n", sampleKey(i), escape.Replace(sampleValue(i)))
	}
	file := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(file, []byte(dump.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	want := estimates(t, "--from="+file)
	if want.Items != sampleItems || want.Short != sampleShort || want.Distinct != sampleValues || want.Shared != sampleValues || want.Sampled != 1 {
		t.Errorf("from a dump: %+v", want)
	}
	pg := testenv.Postgres(t)
	pg.Exec(fmt.Sprintf(`CREATE TABLE items AS SELECT 'chr|country=IN|dev=' || i || '|os=android' AS key,
		CASE WHEN i < %[2]d THEN 'short ' || i ELSE (i %% %[3]d) || E'\t{"size": "small"}\n\\' || repeat(chr(97 + i %% %[3]d %% 26), 100 + i %% %[3]d) END AS value
		FROM generate_series(0, %[1]d - 1) AS i; INSERT INTO items VALUES ('nothing', NULL)`, sampleItems, sampleShort, sampleValues))
	config := filepath.Join(t.TempDir(), "swordfish.yaml")
	if err := os.WriteFile(config, []byte("sources:\n  shop: {kind: postgres, dsn: \"${SHOP}\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SHOP", pg.DSN)
	for name, args := range map[string][]string{
		"memcached": {"--from=memcached", "--server=" + theirs, "--rate=10000000"},
		"ourselves": {"--from=memcached", "--server=" + ours, "--rate=10000000"},
		"a DSN":     {"--from=sql", "--dsn=" + pg.DSN, "--query=SELECT key, value FROM items"},
		"a source":  {"--from=sql", "--config=" + config, "--source=shop", "--query=SELECT key, value FROM items"},
	} {
		got := estimates(t, args...)
		if name == "memcached" { // its walk misses items that it moves meanwhile
			near(t, "items of memcached", got.Items, want.Items, 0.001)
			near(t, "bytes of memcached's values", got.ValueBytes, want.ValueBytes, 0.001)
			near(t, "our memory for memcached's items", got.OursItems, want.OursItems, 0.001)
			near(t, "values of memcached", got.Distinct, want.Distinct, 0)
		} else if got != want {
			t.Errorf("from %s:\n%+v, from a dump\n%+v", name, got, want)
		}
	}
	near(t, "values held once", want.Shared, statOf(t, ours, "stats fish", "data"), 0.02)
	near(t, "their bytes", want.DistinctBytes, statOf(t, ours, "stats fish", "data_bytes"), 0.02)
	near(t, "our memory", want.OursItems, statOf(t, ours, "stats fish", "used_bytes")-before, 0.15)
	near(t, "memcached's memory", want.TheirsItems, statOf(t, theirs, "stats slabs", "total_malloced")+statOf(t, theirs, "stats", "hash_bytes"), 0.1)
	r.dial() // the first connection has been open for long
	if dedup := r.ask("dedup"); !strings.Contains(dedup, fmt.Sprintf("value_bytes=%d ", want.ValueBytes)) {
		t.Errorf("%d bytes of values are estimated; dedup says %s", want.ValueBytes, dedup)
	}
}

// The memory for hashes is bounded, and what is estimated from a part of the values is near the whole.
func TestEstimateSamples(t *testing.T) {
	c := newTally()
	c.most = 2000
	const distinct = 50_000
	for i := range 2 * distinct {
		c.add(20, fmt.Appendf(nil, "a value that is longer than short ones: %d", i%distinct))
	}
	if len(c.seen) > c.most {
		t.Errorf("%d hashes are kept", len(c.seen))
	}
	e := c.estimate()
	near(t, "distinct values", e.Distinct, distinct, 0.15) // 1,500 hashes: a standard deviation of 2.6 %
	if e.Items != 2*distinct || e.Sampled < 16 || e.Shared != e.Distinct {
		t.Errorf("got %+v", e)
	}
}

func TestEstimateText(t *testing.T) {
	e := estimated{Items: 10, KeyBytes: 100, ValueBytes: 2048, Short: 2, Distinct: 4, DistinctBytes: 1024, Shared: 3, Sampled: 2, Ours: 50 << 20, OursItems: 30 << 20, Theirs: 100 << 20, TheirsItems: 97 << 20}
	const want = `items              10, keys of 100 B, values of 2.0 KiB
short values       2 of 32 bytes and less, which stay with their keys
distinct values    4 of the other 8, 1.0 KiB (from one value in 2); 3 of them belong to several items
items in memory    swordfishd 30.0 MiB, memcached 97.0 MiB
resident           swordfishd 50.0 MiB, memcached 100.0 MiB: 50% less, connections not counted
`
	if got := e.text(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestEstimateRefusals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(file, []byte("a\tb\nno tab\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := closedPort(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":      {nil, exitUsage, "--from: write a FILE, - for standard input, sql or memcached"},
		"no file":      {[]string{"--from=" + file + "x"}, exitUsage, "no such file"},
		"no dump":      {[]string{"--from=" + file}, exitFailed, file + ":2: not a line key<TAB>value"},
		"no query":     {[]string{"--from=sql", "--dsn=postgres://x"}, exitUsage, "--query=SQL says what the items are"},
		"no routes":    {[]string{"--from=sql"}, exitUsage, "no route of the configuration can list its keys; give one keys:"},
		"no database":  {[]string{"--from=sql", "--query=SELECT"}, exitUsage, "--dsn=DSN, or --config"},
		"no source":    {[]string{"--from=sql", "--query=SELECT", "--source=x"}, exitUsage, `there is no source "x"`},
		"down":         {[]string{"--from=sql", "--query=SELECT", "--dsn=postgres://u:s3cret@127.0.0.1:" + port + "/x"}, exitFailed, "connection refused"},
		"no server":    {[]string{"--from=memcached"}, exitUsage, "--server=HOST:PORT says where it is"},
		"server down":  {[]string{"--from=memcached", "--server=127.0.0.1:" + port}, exitFailed, "connection refused"},
		"rate of none": {[]string{"--from=" + file, "--rate=0"}, exitUsage, "--rate"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code := run(append([]string{"estimate"}, tc.args...), &out, &errOut)
			if code != tc.code || !strings.Contains(errOut.String(), tc.want) || strings.Contains(errOut.String(), "s3cret") {
				t.Errorf("exit code %d, %s; want %d, %s", code, errOut.String(), tc.code, tc.want)
			}
		})
	}
}

// TestEstimateRoutes: without a query it is what the routes hold once they are warm, in whatever way their keys are listed; a route
// that cannot list its keys is named.
func TestEstimateRoutes(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec("CREATE TABLE users AS SELECT i AS id, repeat(chr((97 + i % 5)::int), 100) AS value FROM generate_series(1, 9000) AS i")
	t.Setenv("SHOP", pg.DSN)
	query := "SELECT k.ord, u.value FROM unnest(@id::bigint[]) WITH ORDINALITY AS k(id, ord) JOIN users u USING (id)"
	yaml := fmt.Sprintf(`sources:
  shop: {kind: postgres, dsn: "${SHOP}", max_conns: 2}
routes:
  - {name: user, key: "user:{id:int}", source: shop, keys: SELECT id FROM users, query: %[1]q}
  - {name: whole, key: "w:{id:int}", source: shop, keys: "SELECT 'w:' || id AS key FROM generate_series(8001, 9500) AS id", query: %[1]q}
  - {name: other, key: "other:{id:int}", source: shop, query: %[1]q}
`, query)
	file := filepath.Join(t.TempDir(), "swordfish.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	e := estimates(t, "--from=sql", "--config="+file)
	if e.Items != 10_000 || e.ValueBytes != 1_000_000 || e.Distinct != 5 || e.Shared != 5 {
		t.Errorf("%+v", e)
	}
	var out, errOut bytes.Buffer
	if code := run([]string{"estimate", "--from=sql", "--config=" + file}, &out, &errOut); code != exitOK ||
		!strings.Contains(errOut.String(), "the items of the routes user, whole\n") || !strings.Contains(errOut.String(), "(keys:): other\n") {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
	pg.Exec("ALTER TABLE users RENAME COLUMN value TO gone")
	errOut.Reset()
	if code := run([]string{"estimate", "--from=sql", "--config=" + file}, &out, &errOut); code != exitFailed || !strings.Contains(errOut.String(), "keys could not be loaded") {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
}

// The query may only read, and has to have the two columns.
func TestEstimateBadQueries(t *testing.T) {
	pg := testenv.Postgres(t)
	pg.Exec("CREATE TABLE t (key text)")
	for query, want := range map[string]string{
		"SELECT 1":                         "the query has 1 columns; write one with 2",
		"DELETE FROM t RETURNING key, key": "read-only transaction",
		"SELECT key, nothing FROM t":       `column "nothing" does not exist`,
		"SELECT key, 1/(length(key)-1) FROM (VALUES ('aa'), ('b')) AS v(key)": "division by zero",
	} {
		var out, errOut bytes.Buffer
		if code := run([]string{"estimate", "--from=sql", "--dsn=" + pg.DSN, "--query=" + query}, &out, &errOut); code != exitFailed || !strings.Contains(errOut.String(), want) {
			t.Errorf("%s: exit code %d, %s; want %s", query, code, errOut.String(), want)
		}
	}
}
