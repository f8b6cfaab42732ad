package server

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"swordfish/filler"
	"swordfish/protocol"
	"swordfish/store"
)

// Operator is what an operator's words on telnet need of the program around the server.
type Operator struct {
	// Reload reads the configuration again and takes it over, or returns what is wrong with it. It may take its time and is
	// never called on a worker. Nil: refused.
	Reload func() error

	// Snapshot begins to write a snapshot, or returns why it cannot. Nil: refused. SnapshotState tells about it, a line each.
	Snapshot      func() error
	SnapshotState func() []string

	// Pattern returns the key pattern of a route. Nil: it is not shown.
	Pattern func(route string) string

	// Warm tells how far the warm-ups are, a line each. Nil: there are none.
	Warm func() []string
}

// AdminWords says who may send an operator's words.
type AdminWords uint8

const (
	WordsLocal AdminWords = iota // clients on this machine: over loopback or a unix socket
	WordsAny
	WordsNone
)

// wordsRefused is the answer to a word from a client that may not send any.
var wordsRefused = [...]string{
	WordsLocal: "an operator's words are for clients on this machine; -o admin_words=any lets others send them",
	WordsNone:  "an operator's words are off; -o admin_words=local lets clients on this machine send them",
}

// certsWord is memcached's own, and so for all clients.
const certsWord = "refresh_certs"

// mayAdmin tells whether a client may send r, as far as r is for operators only.
func (s *Server) mayAdmin(r *protocol.Request, local bool) bool {
	if r.Verb != protocol.Admin || string(r.Word) == certsWord {
		return true
	}
	return s.o.AdminWords == WordsAny || s.o.AdminWords == WordsLocal && local
}

// wordOf returns an operator's word and what stands behind it, the first three of that at most. n is how many there are.
func wordOf(r *protocol.Request) (name string, args []string, n int) {
	n = r.NArgs
	if r.NoReply {
		n--
	}
	for _, a := range r.Args[:min(n, len(r.Args))] {
		args = append(args, string(a))
	}
	return string(r.Word), args, n
}

// admin answers an operator's word, but for those that may take their time: see errand. Words that come with others than
// their own are not understood.
func (s *Server) admin(r *protocol.Request, out []byte) []byte {
	name, args, n := wordOf(r)
	l := text{out}
	switch {
	case name == "route" && n == 2 && (args[1] == "on" || args[1] == "off"):
		return done(out, s.SwitchRoute(args[0], args[1] == "off"))
	case name == "invalidate" && n == 1:
		return done(out, s.Invalidate(args[0]))
	case name == "log_level" && n == 1:
		return done(out, s.setLogLevel(args[0]))
	case name == "routes" && n == 1 && args[0] == "unmatched":
		for _, shape := range s.Unmatched() {
			l.line("%d %s", shape.Count, printable(shape.Text))
		}
	case name == "help" && n == 1:
		if !helpText(&l, args[0]) {
			return protocol.AppendClientError(out, fmt.Sprintf("there is no word %q; help lists them", args[0]))
		}
	case n > 0 || !isAlone(name):
		return usage(out, name)
	case name == "help":
		helpText(&l, "")
	case name == "routes":
		s.routesText(&l)
	case name == "queue":
		s.queueText(&l)
	case name == "sources":
		s.sourcesText(&l)
	case name == "warm" && s.o.Operator.Warm != nil:
		for _, line := range s.o.Operator.Warm() {
			l.line("%s", line)
		}
	}
	return protocol.AppendReply(l.out, protocol.End)
}

// isAlone tells whether admin answers the word without anything behind it.
func isAlone(name string) bool {
	return name == "help" || name == "routes" || name == "queue" || name == "sources" || name == "warm"
}

// errand returns what r has to do off the worker, because it takes its time: nil for all other commands, and for words that are
// used wrongly.
func (s *Server) errand(r *protocol.Request) func(out []byte) []byte {
	if r.Verb != protocol.Admin {
		return nil
	}
	name, args, n := wordOf(r)
	if name == certsWord {
		return s.refreshCerts
	}
	var answer func(out []byte) []byte
	switch {
	case name == "reload" && n == 0:
		answer = s.reload
	case name == "explain" && n == 1:
		answer = list(func(l *text) {
			x := s.Explain(args[0], false)
			explainText(l, &x)
		})
	case name == "top" && n <= 1:
		shown := topShown
		if n == 1 {
			var err error
			if shown, err = strconv.Atoi(args[0]); err != nil || shown < 1 || shown > topMost {
				return nil
			}
		}
		answer = list(func(l *text) { s.topText(l, shown) })
	case name == "dedup" && n == 0:
		answer = list(s.dedupText)
	case name == "snapshot" && n == 0:
		answer = s.snapshot
	case name == "snapshot" && n == 1 && args[0] == "status":
		answer = list(s.snapshotText)
	case name == "refresh" && n == 1:
		answer = func(out []byte) []byte { return done(out, s.Refresh(args[0])) }
	default:
		return nil
	}
	if r.NoReply {
		return func(out []byte) []byte {
			answer(nil)
			return out
		}
	}
	return answer
}

// list makes an answer of lines.
func list(write func(l *text)) func(out []byte) []byte {
	return func(out []byte) []byte {
		l := text{out}
		write(&l)
		return protocol.AppendReply(l.out, protocol.End)
	}
}

// text collects the lines of an answer.
type text struct{ out []byte }

func (l *text) line(format string, args ...any) {
	l.out = protocol.AppendText(l.out, fmt.Sprintf(format, args...))
}

// routeID finds a live route by name; 0: there is none.
func (s *Server) routeID(name string) store.RouteID {
	if s.o.Filler == nil {
		return 0
	}
	all := s.o.Filler.Stats()
	i := slices.IndexFunc(all, func(r filler.RouteStats) bool { return r.Name == name })
	if i < 0 {
		return 0
	}
	return store.RouteID(all[i].ID)
}

func noRoute(name string) error {
	return fmt.Errorf("there is no route %q; routes lists them", name)
}

func (s *Server) setLogLevel(level string) error {
	if s.o.SetLogLevel == nil {
		return errors.New("log_level is not available")
	}
	if err := s.o.SetLogLevel(level); err != nil {
		return err
	}
	s.o.Logger.Info().Str("log_level", level).Msg("log level changed by a client")
	return nil
}

// SwitchRoute stops loading for a route, or begins again. An error is for the one who asked.
func (s *Server) SwitchRoute(name string, off bool) error {
	if s.o.Filler == nil || !s.o.Filler.SetOff(name, off) {
		return noRoute(name)
	}
	s.o.Logger.Warn().Str("route", name).Bool("off", off).Msg("route switched by an operator")
	return nil
}

// Invalidate forgets all items of the route of that name, or of the keys that begin with what stands before a closing *, or the
// item of that key of a route. It is a flush_all or a delete of an operator, so what refuses the first refuses it. An error is for the one who asked.
func (s *Server) Invalidate(what string) error {
	if s.o.NoFlush {
		return ErrNotAllowed
	}
	if id := s.routeID(what); id != 0 {
		s.o.Store.Invalidate(id)
		s.o.Logger.Warn().Str("route", what).Msg("route invalidated by an operator")
		return nil
	}
	if prefix, ok := strings.CutSuffix(what, "*"); ok && prefix != "" {
		if err := s.o.Store.InvalidatePrefix(prefix); err != nil {
			return err
		}
		s.o.Logger.Warn().Str("prefix", prefix).Msg("prefix invalidated by an operator")
		return nil
	}
	canonical, id := s.resolve(what)
	switch {
	case what == "*":
		return errors.New("a prefix has something before the *; flush_all forgets everything")
	case id == 0:
		return fmt.Errorf("%q is neither a route nor a key of one: routes lists them, and delete removes a plain key", what)
	}
	s.o.Store.Delete(canonical, s.o.Seed.Key(canonical), id, s.o.Store.Now(), 0)
	s.o.Logger.Info().Str("key", what).Msg("key invalidated by an operator")
	return nil
}

func (s *Server) routesText(l *text) {
	for _, r := range s.Routes() {
		state := "on"
		switch {
		case r.Fills.Off:
			state = "off"
		case r.Fills.Down:
			state = "down"
		}
		key := ""
		if s.o.Operator.Pattern != nil {
			key = " key=" + s.o.Operator.Pattern(r.Fills.Name)
		}
		c := &r.Client
		l.line("%s %s items=%d client=%d negative=%d gets=%d hits=%d stale=%d misses=%d known_absent=%d loaded=%d absent=%d failed=%d%s",
			r.Fills.Name, state, r.Items.Items, r.Items.Client, r.Items.Negative, c.Hits+c.Stale+c.Misses, c.Hits, c.Stale, c.Misses,
			c.Negative, r.Fills.Stored+r.Fills.Same, r.Fills.Absent, r.Fills.Failed, key)
	}
}

// queueText shows what waits in each route's lanes, what came into them since the start, what moved up to them, and what was
// dropped and why.
func (s *Server) queueText(l *text) {
	for _, r := range s.Routes() {
		f := &r.Fills
		l.line("%s queued=%d batches_in_flight=%d", f.Name, f.Queued, f.InFlight)
		for lane := range f.Leased {
			var dropped strings.Builder
			for reason := range f.Dropped {
				if n := f.Dropped[reason][lane]; n > 0 {
					fmt.Fprintf(&dropped, " dropped_%s=%d", filler.DropReason(reason), n)
				}
			}
			l.line("%s %s queued=%d came=%d moved_up=%d%s",
				f.Name, filler.Lane(lane), f.QueuedByLane[lane], f.Leased[lane], f.Promoted[lane], dropped.String())
		}
	}
}

func (s *Server) sourcesText(l *text) {
	if s.o.Filler == nil {
		return
	}
	for _, src := range s.o.Filler.Sources() {
		state := "up"
		switch {
		case src.Probing:
			state = "probe"
		case src.Down:
			state = "down"
		}
		last := ""
		if src.LastErr != "" {
			last = " last_error=" + strconv.Quote(src.LastErr)
		}
		l.line("%s %s since=%s went_down=%d probes=%d loads=%d keys=%d%s",
			src.Name, state, src.Since.UTC().Format(time.RFC3339), src.Opened, src.Probes, src.Loads, src.Asked, last)
	}
}

func (s *Server) snapshot(out []byte) []byte {
	if s.o.Operator.Snapshot == nil {
		return protocol.AppendClientError(out, "snapshot is not available")
	}
	return done(out, s.o.Operator.Snapshot())
}

func (s *Server) snapshotText(l *text) {
	if s.o.Operator.SnapshotState == nil {
		return
	}
	for _, line := range s.o.Operator.SnapshotState() {
		l.line("%s", line)
	}
}

func (s *Server) reload(out []byte) []byte {
	if s.o.Operator.Reload == nil {
		return protocol.AppendClientError(out, "reload is not available")
	}
	if err := s.o.Operator.Reload(); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return protocol.AppendClientError(out, first)
	}
	return protocol.AppendReply(out, protocol.OK)
}
