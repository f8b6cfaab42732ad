package testenv

import (
	"bytes"
	"io"
	"os/exec"
	"testing"
)

const prometheusRemedy = "apt-get install prometheus"

// Promtool runs promtool with arguments and an input, and fails the test with what it says if it is not content.
func Promtool(t testing.TB, in io.Reader, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		Missing(t, "promtool", prometheusRemedy)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out.Bytes())
	}
}
