package protocol

import "bytes"

// Bounds of an attempt to authenticate.
const (
	maxLogin     = 16384   // bytes of "user password" in text
	maxMechanism = 32      // bytes in the name of a SASL mechanism
	maxMessage   = 16384   // bytes of a SASL message that are looked at
	saslCost     = 59      // what memcached adds to mechanism and message to hold them
	saslMost     = 1 << 19 // bytes it holds at most
)

// parseLogin reads a set whose value is "user password"; key, flags and exptime are ignored. Until the client has shown who
// it is, every other line is refused, and one too short to be a set ends the connection.
func (p *Parser) parseLogin(buf []byte) (int, Status) {
	if len(buf) < max(p.Need, 3) {
		return 0, NeedMore
	}
	p.Need = 0
	r := &p.Request
	r.Form, r.NoReply, r.More, r.TooLarge = Classic, false, false, false
	newline := bytes.IndexByte(buf[:min(len(buf), maxLine)], '\n')
	switch {
	case newline < 0 && len(buf) <= MaxLine:
		return 0, NeedMore
	case newline < 6:
		return 0, Hangup
	}
	// memcached takes the last byte before the newline for the \r, whatever it is.
	line := buf[:newline-1]
	if line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	p.split(line)
	if p.nwords < 5 || !bytes.HasPrefix(line, []byte("set")) {
		return newline + 1, p.refuse(Unauthenticated)
	}
	length, ok := strictUint32(p.word(line, 4))
	switch {
	case !ok:
		return newline + 1, p.refuse(Unauthenticated)
	case length > maxLogin:
		return newline + 1, p.refuse(LoginTooLong)
	}
	whole := newline + 1 + int(length) + 2
	if len(buf) < whole {
		p.Need = whole
		return 0, NeedMore
	}
	value := buf[newline+1 : whole]
	if !bytes.HasSuffix(value, []byte("\r\n")) {
		return whole, p.refuse(LoginTermination)
	}
	user, password, found := bytes.Cut(value[:length], []byte(" "))
	if !found {
		return whole, p.refuse(LoginFormat)
	}
	r.Verb, r.User, r.Password = Login, user, password
	return whole, Ready
}

// beforeAuth tells whether a binary command may be run by a client that has not shown who it is.
func beforeAuth(v Verb) bool { return v == Version || isSASL(v) }

func isSASL(v Verb) bool { return v == SASLList || v == SASLAuth || v == SASLStep }

// Authenticates tells whether a client shows who it is by this command, or asks how to.
func (v Verb) Authenticates() bool { return v == Login || isSASL(v) }

// saslMessage takes the n bytes behind the mechanism, which ends at head. A message that no password has is thrown away
// and answered as memcached answers it; Value is nil then and TooLarge set.
func (p *Parser) saslMessage(buf []byte, head, n int) (int, Status) {
	r := &p.Request
	switch {
	case len(r.Key) > maxMechanism:
		return head, p.passOver(int64(n), CodeInvalid)
	case len(r.Key)+n+saslCost > saslMost:
		return head, p.passOver(int64(n), CodeNoMemory)
	case n > maxMessage:
		r.TooLarge = true
		p.swallow = int64(n)
		return head, Ready
	}
	whole := head + n
	if len(buf) < whole {
		p.Need = whole
		return 0, NeedMore
	}
	r.Value = buf[head:whole:whole]
	return whole, Ready
}

// SplitPlain reads a message of the SASL mechanism PLAIN (RFC 4616): whom to act as, who it is, password, with NULs
// between them. The parts alias message.
func SplitPlain(message []byte) (actAs, user, password []byte, ok bool) {
	actAs, rest, first := bytes.Cut(message, []byte{0})
	user, password, second := bytes.Cut(rest, []byte{0})
	return actAs, user, password, first && second && bytes.IndexByte(password, 0) < 0
}

// AppendSASLContinue appends that the client has to say more.
func AppendSASLContinue(dst []byte, r *Request) []byte {
	return appendBinaryHead(dst, r, CodeContinue, 0, 0, 0, 0)
}
