package server

import (
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

	// Pattern returns the key pattern of a route. Nil: it is not shown.
	Pattern func(route string) string
}

var helpText = []string{
	"routes                routes with their state and what became of their keys",
	"routes unmatched      what keys look like that missed and match no route, most frequent first",
	"route NAME on|off     load for a route, or stop loading for it",
	"invalidate NAME       forget all items of a route",
	"queue                 keys that wait to be loaded",
	"sources               sources and whether they can be reached",
	"reload                read the configuration again",
	"log_level LEVEL       trace, debug, info, warn, error",
	"stats, stats routes, stats fish, stats settings, stats conns, stats reset",
}

// admin answers an operator's word, but for reload, which may wait. Words that come with others than their own are not
// understood.
func (s *Server) admin(r *protocol.Request, out []byte) []byte {
	args := make([]string, 0, len(r.Args))
	for _, a := range r.Args[:min(r.NArgs, len(r.Args))] {
		args = append(args, string(a))
	}
	if r.NoReply && r.NArgs <= len(r.Args) {
		args = args[:len(args)-1]
	}
	l := text{out}
	switch word := string(r.Word); {
	case word == "route" && len(args) == 2 && (args[1] == "on" || args[1] == "off"):
		return s.switchRoute(out, args[0], args[1] == "off")
	case word == "route":
		return protocol.AppendClientError(out, "usage: route NAME on|off")
	case word == "invalidate" && len(args) == 1:
		return s.invalidate(out, args[0])
	case word == "invalidate":
		return protocol.AppendClientError(out, "usage: invalidate NAME")
	case word == "routes" && len(args) == 1 && args[0] == "unmatched":
		for _, shape := range s.Unmatched() {
			l.line("%d %s", shape.Count, shape.Text)
		}
	case word == "routes" && len(args) > 0:
		return protocol.AppendClientError(out, "usage: routes, or routes unmatched")
	case len(args) > 0:
		return protocol.AppendClientError(out, "usage: "+word+" and nothing behind it")
	case word == "help":
		for _, line := range helpText {
			l.line("%s", line)
		}
	case word == "routes":
		s.routesText(&l)
	case word == "queue":
		s.queueText(&l)
	case word == "sources":
		s.sourcesText(&l)
	}
	return protocol.AppendReply(l.out, protocol.End)
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

func noRoute(out []byte, name string) []byte {
	return protocol.AppendClientError(out, fmt.Sprintf("there is no route %q; routes lists them", name))
}

func (s *Server) switchRoute(out []byte, name string, off bool) []byte {
	if s.o.Filler == nil || !s.o.Filler.SetOff(name, off) {
		return noRoute(out, name)
	}
	s.o.Logger.Warn().Str("route", name).Bool("off", off).Msg("route switched by a client")
	return protocol.AppendReply(out, protocol.OK)
}

// invalidate is a flush_all of one route, so what refuses one refuses the other.
func (s *Server) invalidate(out []byte, name string) []byte {
	if s.o.NoFlush {
		return protocol.AppendReply(out, protocol.DropNotAllowed)
	}
	id := s.routeID(name)
	if id == 0 {
		return noRoute(out, name)
	}
	s.o.Store.Invalidate(id)
	s.o.Logger.Warn().Str("route", name).Msg("route invalidated by a client")
	return protocol.AppendReply(out, protocol.OK)
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

// errand returns what r has to do off the worker, because it may wait: nil for all commands but reload and refresh_certs.
func (s *Server) errand(r *protocol.Request) func(out []byte) []byte {
	if r.Verb == protocol.Admin && string(r.Word) == "refresh_certs" {
		return s.refreshCerts
	}
	if r.Verb != protocol.Admin || string(r.Word) != "reload" || r.NArgs > 1 || r.NArgs == 1 && !r.NoReply {
		return nil
	}
	silent := r.NoReply
	return func(out []byte) []byte {
		reply := s.reload(out)
		if silent {
			return out
		}
		return reply
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
