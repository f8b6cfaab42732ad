package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// release is the version of the next or current release; CHANGELOG.md tells what is in it.
const release = "0.1.0"

func versionLine() string {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = ", commit " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("swordfishd %s (%s %s/%s%s; speaks as memcached %s)",
		release, runtime.Version(), runtime.GOOS, runtime.GOARCH, commit, protocolVersion)
}

// askedVersion answers -V. Its first line is memcached's, because scripts read the version there.
func askedVersion(out io.Writer) error {
	_, err := fmt.Fprintf(out, "memcached %s\n%s\n", protocolVersion, versionLine())
	return err
}

func version(_ []string, out, _ io.Writer) error {
	_, err := fmt.Fprintln(out, versionLine())
	return err
}
