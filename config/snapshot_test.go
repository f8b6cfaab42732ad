package config

import (
	"strings"
	"testing"
	"time"
)

func TestSnapshot(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string // parted at blanks
		yaml string
		want Snapshot
	}{
		{"default", "", "", Snapshot{}},
		{"nothing in it", "", "snapshot:", Snapshot{}},
		{"a path", "", "snapshot: {path: /var/lib/s}", Snapshot{Path: "/var/lib/s"}},
		{"all", "", "snapshot: {path: /s, every: 10m, on_stop: true, load: true, wait: true}", Snapshot{"/s", 10 * time.Minute, true, true, true}},
		{"never", "", "snapshot: {path: /s, every: 0s}", Snapshot{Path: "/s"}},
		{"command line", "-o snapshot=/s,snapshot_every=60,snapshot_on_stop,snapshot_load,snapshot_wait", "", Snapshot{"/s", time.Minute, true, true, true}},
		{"the command line wins", "-o snapshot=/a,snapshot_every=0,snapshot_load", "snapshot: {path: /b, every: 1m, load: false, on_stop: true}", Snapshot{Path: "/a", Load: true, OnStop: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Fields(tt.args)
			if tt.yaml != "" {
				args = append(args, "--config=f.yaml")
			}
			c := mustLoad(t, input(map[string]string{"f.yaml": tt.yaml}, nil, args...))
			if c.Snapshot != tt.want {
				t.Errorf("got  %+v\nwant %+v", c.Snapshot, tt.want)
			}
			if len(c.Notes) > 0 {
				t.Errorf("notes %q", c.Notes)
			}
		})
	}
	if c := mustLoad(t, input(nil, nil, "-o", "snapshot=/s,snapshot_wait")); len(c.Notes) != 1 {
		t.Errorf("wait without load: notes %q", c.Notes)
	}
}

func TestSnapshotErrors(t *testing.T) {
	for _, tt := range []struct{ name, args, yaml, want string }{
		{"no path", "", "snapshot: {every: 10m}", "f.yaml:1: snapshot: there is no path; write the name of a file, such as /var/lib/swordfish/snapshot"},
		{"no path on the command line", "-o snapshot_load", "", "snapshot: there is no path; write the name of a file, such as /var/lib/swordfish/snapshot"},
		{"a directory", "-o snapshot=/var/", "", "-o snapshot: it names no file; write the name of a file, such as /var/lib/swordfish/snapshot"},
		{"a directory in the file", "", "snapshot: {path: /var/}", "f.yaml:1: snapshot: path: it names no file; write the name of a file, such as /var/lib/swordfish/snapshot"},
		{"the memory file", "-e /s -o snapshot=/s", "", "snapshot: /s is the memory file of -e; choose another name"},
		{"no unit", "", "snapshot: {path: /s, every: 60}", "f.yaml:1: snapshot: every: 60 has no unit; write 60s for seconds"},
		{"half a second", "", "snapshot: {path: /s, every: 500ms}", "f.yaml:1: snapshot: every: 500ms is no whole number of seconds; round it"},
		{"no bool", "", "snapshot: {path: /s, load: yes}", "f.yaml:1: snapshot: load: \"yes\" is neither true nor false"},
		{"unknown", "", "snapshot: {file: /s}", "f.yaml:1: snapshot: unknown field \"file\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Fields(tt.args)
			if tt.yaml != "" {
				args = append(args, "--config=f.yaml")
			}
			_, err := Load(input(map[string]string{"f.yaml": tt.yaml}, nil, args...))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
