package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"swordfish/filler"
	"swordfish/filler/fillertest"
	"swordfish/internal/testenv"
)

// cell is one column's value: as SQL and as the PHP expression that an application would hold after it read the row.
type cell struct{ sql, php string }

func phpString(s string) string { return "hex2bin('" + hex.EncodeToString([]byte(s)) + "')" }

func sqlString(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

// columns of the generated rows, in the table's order, each with its type and a generator.
var generated = []struct {
	name, sqlType string
	make          func(r *rand.Rand) cell
}{
	{"i", "int8", func(r *rand.Rand) cell {
		n := r.Int64() >> r.IntN(64)
		if r.IntN(2) == 0 {
			n = -n
		}
		return cell{strconv.FormatInt(n, 10), "(int)" + phpString(strconv.FormatInt(n, 10))}
	}},
	{"f", "float8", func(r *rand.Rand) cell {
		f := []func() float64{
			func() float64 { return math.Float64frombits(r.Uint64()) },
			func() float64 { return r.NormFloat64() },
			func() float64 { return float64(r.Int64() >> r.IntN(64)) },
			func() float64 { return math.Round(r.Float64()*1e6) / 1e4 },
			func() float64 {
				return []float64{0, math.Copysign(0, -1), 1e15, 1e16, 1e17, 1e-4, 1e-5, 0.1, math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, 5e-324}[r.IntN(13)]
			},
		}[r.IntN(5)]()
		if math.IsNaN(f) {
			return cell{"'NaN'", "NAN"}
		}
		bits := binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))
		text := strconv.FormatFloat(f, 'g', -1, 64)
		return cell{"'" + strings.Replace(text, "Inf", "Infinity", 1) + "'::float8", fmt.Sprintf("unpack('e', hex2bin('%x'))[1]", bits)}
	}},
	{"n", "numeric", func(r *rand.Rand) cell {
		s := fmt.Sprintf("%d.%0*d", r.Int64()>>r.IntN(64), 1+r.IntN(30), r.IntN(100000))
		return cell{s, phpString(s)}
	}},
	{"b", "bool", func(r *rand.Rand) cell {
		s := []string{"true", "false"}[r.IntN(2)]
		return cell{s, s}
	}},
	{"s", "text", func(r *rand.Rand) cell {
		s := randomText(r)
		return cell{sqlString(s), phpString(s)}
	}},
	{"by", "bytea", func(r *rand.Rand) cell {
		s := make([]byte, r.IntN(20))
		for i := range s {
			s[i] = byte(r.Uint32())
		}
		return cell{fmt.Sprintf(`'\x%x'::bytea`, s), phpString(string(s))}
	}},
	{"j", "json", func(r *rand.Rand) cell {
		doc := randomDocument(r, 3)
		return cell{sqlString(doc), "json_decode(" + phpString(doc) + ", true)"}
	}},
	{"a", "int[]", func(r *rand.Rand) cell {
		var sql, php []string
		for range r.IntN(6) {
			n := strconv.Itoa(int(int32(r.Uint32())))
			if r.IntN(5) == 0 {
				n = "null"
			}
			sql, php = append(sql, n), append(php, n)
		}
		return cell{"ARRAY[" + strings.Join(sql, ",") + "]::int[]", "[" + strings.Join(php, ",") + "]"}
	}},
	{"ta", "text[]", func(r *rand.Rand) cell {
		var sql, php []string
		for range r.IntN(5) {
			s := randomText(r)
			sql, php = append(sql, sqlString(s)), append(php, phpString(s))
		}
		return cell{"ARRAY[" + strings.Join(sql, ",") + "]::text[]", "[" + strings.Join(php, ",") + "]"}
	}},
	{"ts", "timestamptz", func(r *rand.Rand) cell {
		at := time.UnixMilli(r.Int64N(4e12)).UTC()
		return cell{"'" + at.Format(time.RFC3339Nano) + "'", phpString(at.Format("2006-01-02 15:04:05.999") + "+00")}
	}},
}

func randomText(r *rand.Rand) string {
	letters := []rune("abcXYZ019 \"\\'/<>&{},\t\r\né漢😀\u2028;:")
	var s strings.Builder
	for range r.IntN(15) {
		s.WriteRune(letters[r.IntN(len(letters))])
	}
	return s.String()
}

func randomDocument(r *rand.Rand, depth int) string {
	quoted := func() string {
		b, _ := json.Marshal(randomText(r))
		return string(b)
	}
	kind := r.IntN(7)
	if depth == 0 {
		kind = r.IntN(5)
	}
	switch kind {
	case 0:
		return strconv.FormatInt(r.Int64()>>r.IntN(64), 10)
	case 1:
		return strconv.FormatFloat(r.NormFloat64()*math.Pow(10, float64(r.IntN(40)-20)), 'g', -1, 64)
	case 2:
		return []string{"true", "false", "null"}[r.IntN(3)]
	case 3, 4:
		return quoted()
	case 5:
		var parts []string
		for range r.IntN(4) {
			parts = append(parts, randomDocument(r, depth-1))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		var parts []string
		seen := map[string]bool{}
		for range r.IntN(5) {
			key := quoted()
			if r.IntN(4) == 0 {
				key = strconv.Quote(strconv.Itoa(r.IntN(20)))
			}
			if !seen[key] {
				seen[key] = true
				parts = append(parts, key+" : "+randomDocument(r, depth-1))
			}
		}
		return "{" + strings.Join(parts, " , ") + "}"
	}
}

// phpStore stores what the expressions in a file are worth, as an application does, with both extensions; phpRead reads what
// was filled and prints what is another value. (php-memcache reads a null as false, which we cannot help, and cuts the floats
// that it stores itself to 14 digits, which we do not.)
const (
	phpHead = `ini_set('memory_limit', -1);
[$host, $port] = explode(':', $argv[1]);
$d = new Memcached(); $d->addServer($host, (int)$port);
$d->setOption(Memcached::OPT_COMPRESSION, false);
$d->setOption(Memcached::OPT_SERIALIZER, Memcached::SERIALIZER_PHP);
$e = new Memcache(); $e->addServer($host, (int)$port);
foreach (explode("\n", file_get_contents($argv[2])) as $line) {
  [$key, $expr] = explode("\t", $line);
  $v = eval("return $expr;");
`
	phpStore = phpHead + `  if (!$d->set("d:$key", $v) || !$e->set("e:$key", $v, 0, 0)) { echo "cannot store $key\n"; exit(1); }
}`
	phpRead = phpHead + `  foreach ([[$d->get("rd:$key"), $d->get("d:$key")], [$e->get("re:$key"), $e->get("e:$key")]] as $by => [$got, $want])
    if (serialize($got) !== serialize($v) && ($by == 0 || serialize($got) !== serialize($want)))
      echo "$by:$key: got ", serialize($got), ", want ", serialize($want), "\n";
}`
)

// TestPHPStoresTheSame generates 1,000 rows and has PHP store them, by row, by column and as lists, with php-memcached and with
// php-memcache. Items filled from the same rows have the same bytes and flags, and PHP reads the same from them.
func TestPHPStoresTheSame(t *testing.T) {
	php := testenv.PHP(t)
	addr := testenv.Memcached(t)
	pg := testenv.Postgres(t)
	rnd := rand.New(rand.NewPCG(11, 12))
	const rows, group = 1000, 4

	create, names := "CREATE TABLE t (id int PRIMARY KEY", ""
	for _, c := range generated {
		create += ", " + c.name + " " + c.sqlType
		names += ", t." + c.name
	}
	var insert strings.Builder
	exprs := map[string]string{} // by key; a key without one is absent
	lists := map[string][]string{}
	for id := range rows {
		sql, php := []string{strconv.Itoa(id)}, []string{}
		for _, c := range generated {
			v := cell{"NULL", "null"}
			if rnd.IntN(8) > 0 {
				v = c.make(rnd)
				exprs[fmt.Sprintf("%s|id=%d", c.name, id)] = v.php
			}
			sql = append(sql, v.sql)
			php = append(php, "'"+c.name+"' => "+v.php)
		}
		row := "[" + strings.Join(php, ", ") + "]"
		exprs[fmt.Sprintf("row|id=%d", id)] = row
		list := fmt.Sprintf("list|id=%d", id/group)
		lists[list] = append(lists[list], row)
		fmt.Fprintf(&insert, "INSERT INTO t VALUES (%s);\n", strings.Join(sql, ", "))
	}
	for k, l := range lists {
		exprs[k] = "[" + strings.Join(l, ", ") + "]"
	}
	pg.Exec(create + "); BEGIN;" + insert.String() + "COMMIT")

	var file strings.Builder
	for k, e := range exprs {
		if file.Len() > 0 {
			file.WriteByte('\n')
		}
		file.WriteString(k + "\t" + e)
	}
	path := filepath.Join(t.TempDir(), "values")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(script string) string {
		out, err := exec.Command(php, "-d", "serialize_precision=-1", "-r", script, "--", addr, path).CombinedOutput()
		if err != nil {
			t.Fatalf("php: %v: %.500s", err, out)
		}
		return string(out)
	}
	run(phpStore)

	mc := memcache.New(addr)
	defer mc.Close()
	src := source(t, Options{DSNs: []string{pg.DSN}})
	compared, absent := 0, 0
	fill := func(kind, columns string, n int, list bool) {
		query := "SELECT k.ord" + columns + " FROM unnest(@id::int[]) WITH ORDINALITY k(id, ord) JOIN t USING (id)"
		route := filler.Route{Encode: filler.EncodePHP, Parts: fillertest.Parts([]string{"id"}, "id"), Split: fillertest.Split([]string{"id"})}
		if list {
			route.Rows = filler.RowsList
			query = fmt.Sprintf("SELECT k.ord%s FROM unnest(@id::int[]) WITH ORDINALITY k(id, ord) JOIN t ON t.id / %d = k.id ORDER BY k.ord, t.id", columns, group)
		}
		route.Query = query
		var keys []string
		for id := range n {
			keys = append(keys, fmt.Sprintf("%s|id=%d", kind, id))
		}
		ours, _ := fillertest.Load(t, src, route, 10*time.Second, keys...)
		route.SetFlags, route.Flags = true, 1 // php-memcache's
		serialized, _ := fillertest.Load(t, src, route, 10*time.Second, keys...)
		for _, k := range keys {
			if exprs[k] == "" {
				absent++
				if !ours.Absent[k] || !serialized.Absent[k] {
					t.Errorf("%s is NULL and not absent", k)
				}
				continue
			}
			theirs, err := mc.Get("d:" + k)
			if err != nil {
				t.Fatal(err)
			}
			if ours.Values[k] != string(theirs.Value) || ours.Flags[k] != theirs.Flags {
				t.Errorf("%s: got %q flags %d, php-memcached has %q flags %d", k, ours.Values[k], ours.Flags[k], theirs.Value, theirs.Flags)
			}
			if theirs, err = mc.Get("e:" + k); err != nil {
				t.Fatal(err)
			}
			if theirs.Flags == 1 && serialized.Values[k] != string(theirs.Value) {
				t.Errorf("%s: got %q, php-memcache has %q", k, serialized.Values[k], theirs.Value)
			}
			for key, item := range map[string]memcache.Item{
				"rd:": {Value: []byte(ours.Values[k]), Flags: ours.Flags[k]},
				"re:": {Value: []byte(serialized.Values[k]), Flags: serialized.Flags[k]},
			} {
				item.Key = key + k
				if err := mc.Set(&item); err != nil {
					t.Fatal(err)
				}
			}
			compared++
		}
	}
	fill("row", names, rows, false)
	for _, c := range generated {
		fill(c.name, ", t."+c.name, rows, false)
	}
	fill("list", names, rows/group, true)
	if out := run(phpRead); out != "" {
		t.Errorf("PHP reads something else:\n%.2000s", out)
	}
	if compared != len(exprs) || compared < rows*8 || absent < rows {
		t.Errorf("compared %d of %d values, %d absent", compared, len(exprs), absent)
	}
}
