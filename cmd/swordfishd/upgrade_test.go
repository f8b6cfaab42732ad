package main

import (
	"errors"
	"fmt"
	"testing"
)

// TestNoUpgradeBeforeItIsWarm: the process that goes on would not do what is left of the configured warm-ups, and say that it is
// ready.
func TestNoUpgradeBeforeItIsWarm(t *testing.T) {
	r := startApp(t, fmt.Sprintf("warm: [{from: memcached 127.0.0.1:%s, wait: 1h}]\n", closedPort(t)))
	if err := r.busy(); err != nil {
		t.Errorf("without a warm-up: %v", err)
	}
	r.startWarm(r.config.Load())
	if err := r.busy(); !errors.Is(err, errWarming) {
		t.Errorf("while one is tried again and again: %v", err)
	}
}
