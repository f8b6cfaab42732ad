package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swordfish/warm"
)

// TestWarmupThatFailsHoldsUpNoOther: it is tried again behind the others, and neither the log nor the list of warm-ups grows with it.
func TestWarmupThatFailsHoldsUpNoOther(t *testing.T) {
	port := closedPort(t)
	list := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(list, []byte("user:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startApp(t, fmt.Sprintf("sources:\n  main: {kind: sqlite, path: %s}\nroutes:\n%swarm:\n  - {from: memcached 127.0.0.1:%s, wait: 1h}\n  - {route: user, from: keys %s, wait: 1h}\n",
		sqliteFile(t, "a"), userRoute("main", "user:{id:int}"), port, list))
	began := time.Now()
	r.startWarm(r.config.Load())
	jobs := func() (failed, done *warm.Progress) {
		all := r.warmer.Jobs()
		for i := range all {
			switch {
			case all[i].From == warm.Memcached:
				failed = &all[i]
			case all[i].State == warm.Done:
				done = &all[i]
			}
		}
		if len(all) > 2 {
			t.Fatalf("%d warm-ups are told of: %+v", len(all), all)
		}
		return failed, done
	}
	for failed, done := jobs(); done == nil || failed == nil || failed.ID < 4 || failed.State != warm.GivenUp; failed, done = jobs() {
		if time.Since(began) > time.Minute {
			t.Fatalf("%+v, %+v; log: %q", failed, done, r.log.take(t))
		}
		r.ask("version") // which takes a moment
	}
	if why := r.startup.waiting(); len(why) != 1 || !strings.Contains(why[0], "from memcached, which failed and is tried again") {
		t.Errorf("waiting for %q", why)
	}
	lines := r.log.take(t)
	for _, what := range []string{"warm-up began", "warm-up ended", "warm-up failed"} {
		said := 0
		for _, line := range lines {
			if strings.Contains(line, what) && strings.Contains(line, port) && !strings.HasPrefix(line, "level=debug") {
				said++
			}
		}
		if said != 1 {
			t.Errorf("%s is logged %d times: %q", what, said, lines)
		}
	}
}
