package config

import (
	"strings"
	"time"
)

// Snapshot is where the items are kept in a form that outlives versions and sizes, and when that is written and loaded.
type Snapshot struct {
	Path   string        // empty: nowhere
	Every  time.Duration // between two of them; 0: only when asked
	OnStop bool          // write one at the end
	Load   bool          // load it at the start, while clients are served
	Wait   bool          // /readyz waits for that
}

const snapshotRemedy = "write the name of a file, such as /var/lib/swordfish/snapshot"

// checkSnapshot returns what is wrong with a file's name.
func checkSnapshot(s string) string {
	if s == "" || strings.HasSuffix(s, "/") {
		return "it names no file; " + snapshotRemedy
	}
	return ""
}

var snapshotTable = []*extended{
	{name: "snapshot", arg: "FILE", help: "where snapshots of the items are written to and loaded from", check: checkSnapshot, set: func(o *Options, v string) { o.Snapshot.Path = v }},
	{name: "snapshot_every", arg: "SECONDS", help: "write one so often (default 0: when asked)", check: between(0, int(longest/time.Second), ""), set: func(o *Options, v string) { o.Snapshot.Every = seconds(atoi(v)) }},
	{name: "snapshot_on_stop", help: "write one when the server stops", set: func(o *Options, _ string) { o.Snapshot.OnStop = true }},
	{name: "snapshot_load", help: "load it at the start, while clients are served", set: func(o *Options, _ string) { o.Snapshot.Load = true }},
	{name: "snapshot_wait", help: "with snapshot_load: /readyz waits for that", set: func(o *Options, _ string) { o.Snapshot.Wait = true }},
}

// readSnapshot reads the file's part. What the command line says as well, it says last.
func (d *document) readSnapshot(v value) {
	s, given := &d.l.c.Snapshot, d.l.given
	d.l.snapshotAt = place{d.file, v.line}
	flag := func(f field, name string, into *bool) {
		if on := false; f.boolean(&on) && !given[name] {
			*into = on
		}
	}
	for _, f := range v.fields("path", "every", "on_stop", "load", "wait") {
		switch f.name {
		case "path":
			path, ok := f.str(snapshotRemedy)
			if !ok || given["snapshot"] {
				continue
			}
			if fault := checkSnapshot(path); fault != "" {
				f.fail("%s", fault)
			}
			s.Path = path
		case "every":
			var every time.Duration
			if f.duration(&every, 0, time.Second); !given["snapshot_every"] {
				s.Every = every
			}
		case "on_stop":
			flag(f, "snapshot_on_stop", &s.OnStop)
		case "load":
			flag(f, "snapshot_load", &s.Load)
		case "wait":
			flag(f, "snapshot_wait", &s.Wait)
		}
	}
}

// finishSnapshot wants a file where there is anything to do with one.
func (l *loader) finishSnapshot() {
	s := &l.c.Snapshot
	switch {
	case s.Path == "" && *s != Snapshot{} && len(l.problems) == 0:
		l.fail(l.snapshotAt, "snapshot: there is no path; %s", snapshotRemedy)
	case s.Path != "" && s.Path == l.c.MemoryFile:
		l.fail(l.snapshotAt, "snapshot: %s is the memory file of -e; choose another name", s.Path)
	case s.Wait && !s.Load:
		l.note("snapshot: wait has no effect without load")
	}
}
