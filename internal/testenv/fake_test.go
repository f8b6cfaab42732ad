package testenv

import (
	"fmt"
	"os"
	"runtime"
	"testing"
)

// fakeTB notes how a helper ended its test.
type fakeTB struct {
	testing.TB
	ended, text string
}

func (f *fakeTB) Helper()      {}
func (f *fakeTB) Name() string { return "fake" }

func (f *fakeTB) Skipf(format string, args ...any) { f.end("skip", fmt.Sprintf(format, args...)) }

func (f *fakeTB) Fatalf(format string, args ...any) { f.end("fatal", fmt.Sprintf(format, args...)) }

func (f *fakeTB) Fatal(args ...any) { f.end("fatal", fmt.Sprint(args...)) }

func (f *fakeTB) end(how, text string) {
	f.ended, f.text = how, text
	fmt.Fprintln(os.Stderr, how, text)
	runtime.Goexit()
}
