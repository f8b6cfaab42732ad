package server

import (
	"bytes"
	"strings"

	"swordfish/protocol"
)

// saslState is how far a connection's SASL exchange has come. memcached takes one success a connection: whatever is tried
// after it fails, and even asking for the mechanisms shuts the client out again.
type saslState struct {
	started bool // a mechanism was chosen, so that the client may go on with a step
	over    bool // a password was right
}

// lock keeps a new connection to the protocol in which it can show who it is, and to nothing but that.
func (u *Users) lock(p *protocol.Parser) {
	p.Locked, p.SASL, p.Only = true, u.kind == SASLUsers, protocol.OnlyText
	if p.SASL {
		p.Only = protocol.OnlyBinary
	}
}

// authenticate runs a login or a command of SASL. Where the answer takes time it leaves ss.attempt and the errand to wait
// for it.
func (ss *session) authenticate(w *worker, r *protocol.Request, out []byte) []byte {
	if r.Verb == protocol.Login {
		return ss.tryPassword(w, r.User, r.Password, out)
	}
	ss.parser.Locked = true
	if r.Verb == protocol.SASLList {
		return protocol.AppendBinaryText(out, r, "PLAIN")
	}
	begins := r.Verb == protocol.SASLAuth
	started := ss.sasl.started
	if begins {
		ss.sasl.started = false
	}
	switch {
	case begins && !strings.EqualFold(string(r.Key), "PLAIN"), !begins && !started:
	case begins && len(r.Value) == 0 && !r.TooLarge:
		ss.sasl.started = true
		return protocol.AppendSASLContinue(out, r)
	case !ss.sasl.over:
		actAs, user, password, ok := protocol.SplitPlain(r.Value)
		if user = trimSpaces(user); !ok || len(user) == 0 || len(password) == 0 || !mayActAs(w, trimSpaces(actAs), user) {
			break
		}
		return ss.tryPassword(w, user, password, out)
	}
	w.srv.gate.refuse()
	return protocol.AppendBinaryError(out, r, protocol.CodeRefused)
}

// trimSpaces cuts what C takes for white space off both ends, as SASL does with names.
func trimSpaces(name []byte) []byte { return bytes.Trim(name, " \t\n\v\f\r") }

// mayActAs tells whether a user asks to be nobody else. Names without a host are of this one.
func mayActAs(w *worker, actAs, user []byte) bool {
	full := func(name []byte) string {
		if bytes.IndexByte(name, '@') >= 0 {
			return string(name)
		}
		return string(name) + "@" + w.srv.gate.users.Load().host
	}
	return len(actAs) == 0 || full(actAs) == full(user)
}

// tryPassword answers at once where that can be, else leaves ss.attempt and the errand.
func (ss *session) tryPassword(w *worker, user, password, out []byte) []byte {
	g := &w.srv.gate
	if ss.attempt = g.try(user, password); ss.attempt == nil {
		return ss.answerAttempt(w, true, out)
	}
	ss.errand = g.errand(ss.attempt)
	return out
}

// errand waits for the answer to a.
func (g *gate) errand(a *attempt) func(out []byte) []byte {
	return func(out []byte) []byte {
		told := make(chan struct{})
		g.wait(a, func() { close(told) })
		<-told
		return out
	}
}

// endAttempt answers the request whose attempt has been waited for, which the parser still holds.
func (ss *session) endAttempt(w *worker, out []byte) []byte {
	ok := ss.attempt.ok
	ss.attempt = nil
	if !ok {
		w.srv.logRefused(ss.id)
	}
	return ss.answerAttempt(w, ok, out)
}

func (ss *session) answerAttempt(w *worker, ok bool, out []byte) []byte {
	r := &ss.parser.Request
	ss.parser.Locked = !ok
	switch {
	case r.Form != protocol.Binary && ok:
		return protocol.AppendReply(out, protocol.Stored)
	case r.Form != protocol.Binary:
		return protocol.AppendReply(out, protocol.LoginFailed)
	case !ok:
		return protocol.AppendBinaryError(out, r, protocol.CodeRefused)
	}
	ss.sasl = saslState{started: true, over: true}
	return protocol.AppendBinaryText(out, r, "Authenticated")
}

// logRefused tells the log where a wrong password came from.
func (s *Server) logRefused(id uint64) {
	e := s.gate.log.Warn().Uint64("connection", id)
	if c := s.conns.find(id); c != nil {
		e = e.Str("client", c.remote)
	}
	e.Msg("authentication failed")
}
