//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	"swordfish/internal/testenv"
	"swordfish/testdata"
)

// TestE2EPHP runs a legacy page against a route that answers with PHP arrays, with either of PHP's extensions.
func TestE2EPHP(t *testing.T) {
	php := testenv.PHP(t)
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	for _, tc := range []struct {
		library string
		route   []string
	}{
		{"memcached", []string{"encode: php"}},
		{"memcache", []string{"encode: php", "flags: 1"}}, // its flag for what has to be unserialized
	} {
		t.Run(tc.library, func(t *testing.T) {
			s := serve(t, config{dsn: pg.DSN, route: tc.route}.String())
			c := dial(t, s.addr)
			host, port, err := net.SplitHostPort(s.addr)
			if err != nil {
				t.Fatal(err)
			}
			page := func(block, country string, d *testdata.Device) string {
				t.Helper()
				out, err := exec.Command(php, "-d", "display_errors=stderr", "testdata/page.php", tc.library, host, port, block, country,
					strconv.Itoa(d.ID), d.OS, d.Browser, d.Category, strconv.Itoa(d.Width), strconv.Itoa(d.Height)).CombinedOutput()
				if err != nil {
					t.Fatalf("page.php: %v\n%s", err, out)
				}
				return string(out)
			}
			loaded := 0
			for _, visit := range []struct {
				country string
				device  *testdata.Device
			}{{"IN", &testdata.Devices()[0]}, {"BR", &testdata.Devices()[99]}} {
				if got := page("header", visit.country, visit.device); got != "nothing\n" {
					t.Errorf("%s, first: got %q, want nothing", visit.country, got)
				}
				loaded++
				c.routeReaches("loaded", loaded)
				want := pageLine(t, characteristic(t, visit.country, visit.device))
				for _, block := range []string{"sidebar", "footer", "header"} {
					if got := page(block, visit.country, visit.device); got != want {
						t.Errorf("%s, %s: got %q, want %q", visit.country, block, got, want)
					}
				}
			}
			if n := c.route("asked"); n != loaded {
				t.Errorf("%d rows were asked for, want %d", n, loaded)
			}
			if got, _, _ := c.get("visits"); got != "8" {
				t.Errorf("the page's counter: got %q, want 8", got)
			}
		})
	}
}

// pageLine is what the page prints for a payload.
func pageLine(t testing.TB, payload string) string {
	t.Helper()
	var row struct {
		Size, Currency     string
		Formats, Languages []string
	}
	if err := json.Unmarshal([]byte(payload), &row); err != nil {
		t.Fatal(err)
	}
	return row.Size + " " + strings.Join(row.Formats, ",") + " " + row.Currency + " " + strings.Join(row.Languages, ",") + "\n"
}

// TestE2EGomemcache asks from Go for what the database's own text of the row is.
func TestE2EGomemcache(t *testing.T) {
	pg := testenv.Postgres(t)
	loadTables(t, pg.DSN)
	s := serve(t, config{dsn: pg.DSN}.String())
	c := dial(t, s.addr)
	cache := memcache.New(s.addr)
	defer cache.Close()
	r := rand.New(rand.NewPCG(1, 1))

	var keys []string // a page of requests, each key in an order of its own
	want := map[string]string{}
	for i := range 50 {
		d := &testdata.Devices()[i*30]
		key := string(testdata.AppendShuffledKey(nil, r, testdata.ColdCountry, d))
		keys = append(keys, key)
		want[key] = characteristic(t, testdata.ColdCountry, d)
	}
	if _, err := cache.Get(keys[0]); !errors.Is(err, memcache.ErrCacheMiss) {
		t.Errorf("first get: got %v, want a miss", err)
	}
	if items, err := cache.GetMulti(keys[1:]); err != nil || len(items) > 0 {
		t.Errorf("first multi-get: got %d items, %v", len(items), err)
	}
	c.routeReaches("loaded", len(keys))
	items, err := cache.GetMulti(keys)
	if err != nil {
		t.Fatal(err)
	}
	for key, payload := range want {
		if items[key] == nil || string(items[key].Value) != payload || items[key].Flags != 0 {
			t.Errorf("%s: got %+v, want %q", key, items[key], payload)
		}
	}
	slices.Reverse(keys)
	for _, key := range keys[:10] { // yet another spelling
		item, err := cache.Get(shuffled(key))
		if err != nil || string(item.Value) != want[key] {
			t.Errorf("%s: got %v, %v", shuffled(key), item, err)
		}
	}
	if err := cache.Set(&memcache.Item{Key: keys[0], Value: []byte("mine"), Flags: 3}); err != nil {
		t.Fatal(err)
	}
	item, err := cache.Get(shuffled(keys[0]))
	if err != nil || string(item.Value) != "mine" || item.Flags != 3 {
		t.Errorf("what the client set: got %+v, %v", item, err)
	}
	item.Value = []byte("more")
	if err := cache.CompareAndSwap(item); err != nil {
		t.Errorf("cas: %v", err)
	}
	if err := cache.CompareAndSwap(item); !errors.Is(err, memcache.ErrCASConflict) {
		t.Errorf("cas again: got %v, want a conflict", err)
	}
	if n := c.route("asked"); n != len(keys) {
		t.Errorf("%d rows were asked for, want %d", n, len(keys))
	}

	// A key whose row does not exist is asked once, too.
	nowhere := strings.Replace(keys[0], "country=IN", "country=QQ", 1)
	if _, err := cache.Get(nowhere); !errors.Is(err, memcache.ErrCacheMiss) {
		t.Errorf("no row: got %v, want a miss", err)
	}
	c.routeReaches("absent", 1)
	for range 100 {
		if _, err := cache.Get(nowhere); !errors.Is(err, memcache.ErrCacheMiss) {
			t.Fatalf("no row: got %v, want a miss", err)
		}
	}
	if n := c.route("asked"); n != len(keys)+1 {
		t.Errorf("an absent key asked 101 times: %d rows were asked for, want 1", n-len(keys))
	}
}
