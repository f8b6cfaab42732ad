// Package deploy has no code, only tests of the files that docker-compose.yml mounts and builds from.
package deploy

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/jackc/pgx/v5"

	"swordfish/config"
	"swordfish/internal/testenv"
	"swordfish/testdata"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestComposeNamesWhatExists: there may be no Docker where tests run, so this at least keeps the paths right.
func TestComposeNamesWhatExists(t *testing.T) {
	b, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Build    any
			Volumes  []string
			Ports    []string
			ReadOnly bool `yaml:"read_only"`
			Tmpfs    []string
		}
	}
	if err := yaml.Unmarshal(b, &compose); err != nil {
		t.Fatal(err)
	}
	if len(compose.Services) != 5 {
		t.Fatalf("got %d services, want 5", len(compose.Services))
	}
	for name, service := range compose.Services {
		var paths []string
		switch build := service.Build.(type) {
		case string:
			paths = append(paths, build+"/Dockerfile")
		case map[string]any:
			paths = append(paths, fmt.Sprintf("%v/%v", build["context"], build["dockerfile"]))
		}
		for _, volume := range service.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			paths = append(paths, from)
		}
		for _, path := range paths {
			if _, err := os.Stat(filepath.Join("..", path)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if service.ReadOnly && !slices.Contains(service.Tmpfs, "/tmp") {
			t.Errorf("%s has no place for temporary files", name)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s to the world", name, port)
			}
		}
	}
}

func TestConfigurationIsValid(t *testing.T) {
	c, err := config.Load(config.Input{
		Args: []string{"-l", "0.0.0.0", "-m", "64", "--config", "swordfish.yaml"},
		Env: func(name string) (string, bool) {
			return map[string]string{"DATABASE_URL": "postgres://u:p@localhost/demo", "ADMIN_TOKEN": adminToken(t)}[name], true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Routes) != 1 || c.Routes[0].Key != testdata.RouteKey {
		t.Errorf("got routes %+v, want the one of testdata", c.Routes)
	}
}

// TestDemoSQLMakesTheTables runs the script and compares with the rows that the other demo and the tests use.
func TestDemoSQLMakesTheTables(t *testing.T) {
	pg := testenv.Postgres(t)
	b, err := os.ReadFile("postgres/demo.sql")
	if err != nil {
		t.Fatal(err)
	}
	// The server runs as another user, who may not be able to enter our directory.
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"countries.csv", "devices.csv.gz"} {
		data, err := os.ReadFile("../testdata/" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pg.Exec(strings.ReplaceAll(string(b), "/testdata/", dir+"/"))
	t.Cleanup(func() { pg.Exec("DROP OWNED BY swordfish; DROP ROLE swordfish") })

	conn, err := pgx.Connect(t.Context(), pg.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for table, want := range map[string]int{"countries": len(testdata.Countries()), "devices": len(testdata.Devices())} {
		var got int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %d rows, %v, want %d", table, got, err, want)
		}
	}
	want := map[[4]string]string{}
	for _, c := range testdata.Characteristics() {
		want[[4]string{c.Country, c.OS, c.Browser, c.Category}] = c.Payload
	}
	rows, err := conn.Query(t.Context(), "SELECT country, os, browser, cat, payload::text FROM characteristics")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; rows.Next(); n++ {
		var key [4]string
		var payload string
		if err := rows.Scan(&key[0], &key[1], &key[2], &key[3], &payload); err != nil {
			t.Fatal(err)
		}
		if payload != want[key] {
			t.Errorf("%v: got %s, want %s", key, payload, want[key])
		}
	}
	if err := rows.Err(); err != nil || n != len(want) {
		t.Errorf("got %d characteristics, %v, want %d", n, err, len(want))
	}
}

// TestPage runs the page against a plain memcached: first nothing is known; then, under whatever order of parts it sends,
// the array is shown that another PHP program stored.
func TestPage(t *testing.T) {
	php := testenv.PHP(t)
	host, port, err := net.SplitHostPort(testenv.Memcached(t))
	if err != nil {
		t.Fatal(err)
	}
	run := func(code string) string {
		t.Helper()
		cmd := exec.Command(php, "-d", "display_errors=1", "-r", code)
		cmd.Env = append(os.Environ(), "CACHE_HOST="+host, "CACHE_PORT="+port)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	// The seed fixes the order that shuffle makes.
	const page = `mt_srand(7); include "php/index.php";`
	first := run(page)
	if !strings.Contains(first, "Not yet known") || strings.Contains(first, "Warning") {
		t.Fatalf("got %s", first)
	}
	_, rest, _ := strings.Cut(first, "<code>get ")
	key, _, _ := strings.Cut(rest, "</code>")
	row := map[string]any{"size": "small", "formats": []any{"320x50", "hls"}, "currency": "INR", "languages": []any{"en", "hi"}}
	b, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	run(fmt.Sprintf(`$m = new Memcached(); $m->addServer(getenv("CACHE_HOST"), getenv("CACHE_PORT")); $m->set(%q, json_decode('%s', true)) or exit(1);`, key, b))
	second := run(page)
	for _, want := range []string{"Found", "size: small", "formats: 320x50, hls", "currency: INR", "languages: en, hi"} {
		if !strings.Contains(second, want) {
			t.Errorf("no %q in %s", want, second)
		}
	}
	if parts := strings.Split(key, "|"); len(parts) != 8 || parts[0] != "chr" || !reflect.DeepEqual(names(parts[1:]), names(strings.Split(testdata.RouteKey, "|")[1:])) {
		t.Errorf("the page asks %s, the route is %s", key, testdata.RouteKey)
	}
}

// names is the set of the names in name=value parts.
func names(parts []string) map[string]bool {
	set := map[string]bool{}
	for _, part := range parts {
		name, _, _ := strings.Cut(part, "=")
		set[name] = true
	}
	return set
}
