package server

import (
	"strings"

	"swordfish/protocol"
)

// word is an operator's word on telnet.
type word struct {
	name  string
	args  string
	about string
	more  []string // for help WORD
}

// words are all of them, in the order of help.
var words = []word{
	{"explain", "KEY", "what a GET of the key gets, and why", []string{
		"As asked, canonical, route and parts; its state, ages and ends; its value's size, digest and how many items share it;",
		"whether it is being loaded, how its last load went, and by which query. Nothing is counted or loaded by asking.",
	}},
	{"top", "[N]", "the routes and keys that are asked for most", []string{
		"Rates fade with a half-life of 30 seconds. N keys are shown, 20 without a number, 128 at most. \"-\" is no route.",
	}},
	{"dedup", "", "what is saved by holding equal values once", []string{
		"By route: items, how many share their value, bytes of values with and without sharing. Then the values whose sharing",
		"saves most. It walks through the items, a million at most; the answer may be 10 seconds old.",
	}},
	{"routes", "", "routes with their state and what became of their keys", nil},
	{"routes unmatched", "", "what keys look like that missed and match no route, most frequent first", nil},
	{"route", "NAME on|off", "load for a route, or stop loading for it", []string{
		"Off: its items are served on, what waits to be loaded is dropped, nothing is asked of its sources. A restart ends it.",
	}},
	{"invalidate", "NAME|PREFIX*|KEY", "forget all items of a route or of a prefix, or one key of a route", []string{
		"The next GET loads anew, and what is being loaded is thrown away. Refused where flush_all is (-F).",
	}},
	{"refresh", "KEY", "load a key of a route anew", []string{
		"What is held is served until then. It waits its turn as any miss does, and OK does not wait for it: explain tells.",
	}},
	{"queue", "", "keys that wait to be loaded", nil},
	{"sources", "", "sources and whether they can be reached", nil},
	{"warm", "", "warm-ups: how far they are, and how the last ones ended", []string{
		"swordfishd warm begins one; warm: in the configuration those that begin with the server.",
	}},
	{"reload", "", "read the configuration again", []string{
		"A mistake in it changes nothing: the first problem is answered, and the log has all of them.",
	}},
	{"snapshot", "", "begin to write a snapshot of the items", []string{
		"It is written to the configured file while clients go on. OK does not wait for it: snapshot status tells how it goes.",
	}},
	{"snapshot status", "", "the snapshot being written or loaded, or the last one", nil},
	{"log_level", "LEVEL", "how much is logged: trace, debug, info, warn or error", nil},
	{"help", "[WORD]", "this, or more on one word", nil},
}

func (w *word) usage() string { return strings.TrimSpace(w.name + " " + w.args) }

// usage is the answer to a word that is used wrongly.
func usage(out []byte, name string) []byte {
	var forms []string
	for i := range words {
		if first, _, _ := strings.Cut(words[i].name, " "); first == name {
			forms = append(forms, words[i].usage())
		}
	}
	return protocol.AppendClientError(out, "usage: "+strings.Join(forms, ", or "))
}

// helpText writes all words, or what there is to say about one. False: there is no such word.
func helpText(l *text, name string) bool {
	if name == "" {
		for i := range words {
			l.line("%-27s %s", words[i].usage(), words[i].about)
		}
		l.line("stats, stats routes, stats fish, stats settings, stats conns, stats reset")
		return true
	}
	found := false
	for i := range words {
		w := &words[i]
		if first, _, _ := strings.Cut(w.name, " "); first != name {
			continue
		}
		found = true
		l.line("%s: %s", w.usage(), w.about)
		for _, more := range w.more {
			l.line("%s", more)
		}
	}
	return found
}
