package server

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// explainText writes an explanation, a name and what is to be said of it a line.
func explainText(l *text, x *Explanation) {
	say := func(name, format string, args ...any) {
		l.line("%-10s %s", name, fmt.Sprintf(format, args...))
	}
	say("key", "%s", printable(x.Key))
	if x.Load == nil {
		say("route", "none, a plain key")
	} else {
		say("route", "%s", x.Route)
		say("canonical", "%s", printable(x.Canonical))
	}
	for _, p := range x.Parts {
		if p.Value == nil {
			say("part", "%s absent, NULL", p.Name)
		} else {
			say("part", "%s = %s", p.Name, printable(*p.Value))
		}
	}
	for _, why := range x.Why {
		say("why", "%s", printable(why))
	}
	say("state", "%s%s", x.State, stateNotes[x.State])
	say("get", "%s", x.Answer)
	switch {
	case x.Item == nil:
	case x.State == "flushed":
		say("item", "%s, and not removed yet", x.Item.Kind)
	default:
		explainItemText(say, x.Item)
	}
	if x.Load != nil {
		explainLoadText(say, x.Load)
	}
}

// stateNotes say more of the states whose names say little.
var stateNotes = map[string]string{
	"over": ": past its times, and served only while no source can be reached", "expired": ": past its times",
	"flushed": " by flush_all, invalidate or a change of its route",
}

func explainItemText(say func(name, format string, args ...any), it *ExplainedItem) {
	if it.InVain {
		say("item", "%s; %s ago the source had nothing to replace it by", it.Kind, seconds(it.Age))
	} else {
		say("item", "%s %s ago", it.Kind, seconds(it.Age))
	}
	for _, end := range []struct {
		name string
		left *int64
		note string
	}{
		{"fresh", it.Fresh, ""}, {"stale", it.Stale, ""}, {"kept", it.Keep, ", while no source can be reached"}, {"negative", it.Negative, ""},
		{"exptime", it.Exptime, map[bool]string{true: ", set by a client"}[it.Touched]},
	} {
		switch {
		case end.left == nil:
		case *end.left > 0:
			say(end.name, "for %s%s", seconds(*end.left), end.note)
		default:
			say(end.name, "over for %s%s", seconds(-*end.left), end.note)
		}
	}
	if it.Outdated {
		say("outdated", "stale whatever its age: a client, a reload or a change said so")
	}
	if it.Negative != nil {
		return // it has no value
	}
	say("flags", "%d", it.Flags)
	if it.CAS == 0 {
		say("cas", "none given out yet")
	} else {
		say("cas", "%d", it.CAS)
	}
	say("value", "%d bytes, digest %s", it.Size, it.Digest)
	switch {
	case !it.Shared:
		say("shared", "no, it is the item's own")
	case it.Keys == 1:
		say("shared", "no other item has it at the moment")
	default:
		say("shared", "%d items have it", it.Keys)
	}
}

func explainLoadText(say func(name, format string, args ...any), l *ExplainedLoad) {
	lease := l.Lease
	if l.LeaseFor != "" {
		lease += " for a " + l.LeaseFor
	}
	if l.Until != nil {
		lease += fmt.Sprintf(", for %s", time.Duration(*l.Until*float64(time.Second)).Round(time.Millisecond))
	}
	say("lease", "%s", lease)
	switch {
	case l.Off:
		say("loads", "off: route NAME on lets the route load")
	case l.Down:
		say("loads", "down: sources says since when")
	}
	if l.Refused {
		say("refused", "the query's parameter types refuse a part, so it is never asked for")
	}
	if f := l.Last; f == nil {
		say("load", "none is remembered")
	} else {
		say("load", "%s ago from %s: a batch of %d keys, %d rows, %gms; for this key %s", seconds(f.Ago), f.Source, f.Keys, f.Rows, f.Millis, f.Result)
		if f.Err != "" {
			say("error", "%s", printable(f.Err))
		}
	}
	say("source", "%s", strings.Join(l.Sources, ", "))
	if l.Query != "" {
		say("query", "%s", printable(strings.Join(strings.Fields(l.Query), " ")))
	}
}

// seconds writes a duration of whole seconds.
func seconds(n int64) string { return (time.Duration(n) * time.Second).String() }

// printable returns s, in quotes where it has what a terminal might obey or could not show.
func printable(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	return strconv.QuoteToASCII(s)
}
