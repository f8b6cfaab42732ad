package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"swordfish/config"
	"swordfish/filler/sqlite"
	"swordfish/testdata"
)

// demoDevice is the device that the demo asks for: a common phone.
const demoDevice = 1

// demo serves the real devices and countries from a database in memory.
func demo(args []string, out, errOut io.Writer) error {
	const file = "demo.yaml"
	in := config.Input{
		Args: append([]string{"--config=" + file}, args...),
		ReadFile: func(name string) ([]byte, error) {
			if name == file {
				return []byte(demoConfig()), nil
			}
			return os.ReadFile(name)
		},
	}
	c, err := load(in, out)
	if err != nil || c == nil {
		return err
	}
	if c.Daemon {
		return usageError{errors.New("-d: the demo stays in the foreground; leave it out")}
	}
	if len(c.Listen) == 0 {
		return usageError{errors.New("-p 0: the demo is tried by telnet; leave it out")}
	}
	began := time.Now()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // a database in memory lives in its connection
	if err := testdata.LoadSQLite(context.Background(), db); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	fmt.Fprintf(out, "Loaded %d devices, %d countries and %d characteristics into an embedded database in %d ms.\n",
		len(testdata.Devices()), len(testdata.Countries()), len(testdata.Characteristics()), time.Since(began).Milliseconds())
	return serveConfig(nil, in, c, sources{"demo": {Source: sqlite.New(db)}}, errOut, func(a *app) error {
		printDemo(out, a)
		return nil
	})
}

func demoConfig() string {
	return fmt.Sprintf(`sources:
  demo: {kind: sqlite, path: ":memory:", max_conns: 1}
routes:
  - name: characteristics
    key: %q
    normalize: {lower: [os, browser, cat]}
    source: demo
    query: |
%s
    keys: |
%s
    fresh: 60s
    stale: 10m
    negative: 20s
    limits: {concurrency: 1}
`, testdata.RouteKey, inYAML(testdata.SQLiteQuery), inYAML(testdata.KeysQuery))
}

// inYAML indents a query for a block.
func inYAML(query string) string { return "      " + strings.ReplaceAll(query, "\n", "\n      ") }

// printDemo says what to type. The second key is the first with its parts in another order.
func printDemo(out io.Writer, a *app) {
	device := &testdata.Devices()[demoDevice-1]
	key := string(testdata.AppendKey(nil, testdata.ColdCountry, device))
	shuffled := key
	for seed := uint64(1); shuffled == key; seed++ {
		shuffled = string(testdata.AppendShuffledKey(nil, rand.New(rand.NewPCG(seed, 0)), testdata.ColdCountry, device))
	}
	dashboard := ""
	if a.admin != nil {
		dashboard = fmt.Sprintf("\nThe dashboard: http://%s/\n", a.admin.Addr())
	}
	addr := a.server.Addrs()[0].String()
	client := "nc -U " + addr
	if host, port, err := net.SplitHostPort(addr); err == nil {
		client = "telnet " + host + " " + port
	}
	fmt.Fprintf(out, `
Listening on %s. Open another terminal, type this and paste a line at a time:

    %s

A key that nobody has asked for yet. The answer is an immediate END; the row is loaded meanwhile:

get %s

The same key with its parts in another order. It hits:

get %s

What happened, as memcached counts it and as we do:

stats
stats routes

Why a key is answered as it is:

explain %s
quit
%s
Ctrl-C stops the server.
`, addr, client, key, shuffled, shuffled, dashboard)
}
