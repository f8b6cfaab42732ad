package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// TestLogLinesAreJSON makes the program log whatever a client can make it log, at each verbosity. Every line must be one JSON
// object without a name that comes twice: collectors drop or mangle others.
func TestLogLinesAreJSON(t *testing.T) {
	path := sqliteFile(t, "a")
	yaml := fmt.Sprintf("sources:\n  main: {kind: sqlite, path: %s}\n  gone: {kind: postgres, dsn: \"host=127.0.0.1 port=1\"}\nroutes:\n", path) +
		userRoute("main", "user:{id:int}") + "  - {name: gone, key: \"gone:{id:int}\", source: gone, query: \"SELECT @id\"}\n"
	t.Cleanup(func() { zerolog.SetGlobalLevel(zerolog.InfoLevel) })
	for _, verbosity := range []string{"0", "1", "2"} {
		t.Run("verbosity="+verbosity, func(t *testing.T) {
			r := startApp(t, yaml)
			r.ask("verbosity " + verbosity)
			for _, command := range []string{
				"log_level debug", "log_level \"quoted\\", "log_level trace", "route user off", "route user on", "invalidate user",
				"invalidate \"x\"", "get user:1 gone:1", "set a 0 0 2000000\r\n" + strings.Repeat("x", 2_000_000), "reload",
			} {
				r.ask(command)
			}
			r.files.write("swordfish.yaml", "routes: [\"\\x01")
			r.ask("reload")
			r.files.write("swordfish.yaml", "")
			r.ask("reload")
			r.conn.Close()
			r.dial()
			r.ask("version")
			logged := r.log.take(t) // which checks each line
			if len(logged) < 8 || !slices.ContainsFunc(logged, func(line string) bool { return strings.HasPrefix(line, "level=info log_level=debug ") }) {
				t.Errorf("logged\n%s", strings.Join(logged, "\n"))
			}
		})
	}
}
