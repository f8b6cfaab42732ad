package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"swordfish/bench/load"
)

// writeLoading writes a configuration with a route for all plain keys that loads from the memcached at addr.
func writeLoading(file, addr string) error {
	return os.WriteFile(file, fmt.Appendf(nil, `admin: {listen: off}
sources:
  peer: {kind: memcache, url: "%s"}
routes:
  - {name: everything, key: "key:{id}", source: peer, fresh: 12h, keep: 24h}
`, addr), 0o644)
}

// writeRoute writes a configuration with one route, the one that keys with parts belong to. Its database takes connections and
// never answers, until this program ends: what a miss leased stays leased.
func writeRoute(file string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(io.Discard, c) // until the server goes
			}()
		}
	}()
	return os.WriteFile(file, fmt.Appendf(nil, `admin: {listen: off}
sources:
  main: {kind: postgres, dsn: "postgres://bench@%s/bench?sslmode=disable"}
routes:
  - name: characteristics
    key: "%s"
    source: main
    query: |
      SELECT k.ord, 'x' AS value FROM unnest(@country::text[], @os::text[], @browser::text[], @cat::text[], @dev::text[], @h::int[], @w::int[])
           WITH ORDINALITY AS k(country, os, browser, cat, dev, h, w, ord)
    fresh: 12h
    keep: 24h
`, l.Addr(), load.PartsTemplate), 0o644)
}
