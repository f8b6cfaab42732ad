package protocol

// State is what a Parser remembers between two calls of Parse: plain values, so that another process can go on with a
// connection where this one has stopped. Only, SASL and TooLarge are no part of it; whoever resumes sets them.
type State struct {
	Locked, Begun, Binary, Ended bool

	Swallow int64
	Where   uint8
	HasKey  bool // in a list of keys: at least one was seen

	// Of the last request, as far as the answer to it may still be owed or its list of keys goes on.
	Form    Form
	Verb    Verb
	Exptime int64
	Quiet   bool
	Opcode  byte
	Opaque  uint32
}

// State returns what p remembers. The unconsumed bytes are the caller's to keep.
func (p *Parser) State() State {
	r := &p.Request
	return State{
		Locked: p.Locked, Begun: p.begun, Binary: p.binary, Ended: p.ended, Swallow: p.swallow, Where: uint8(p.where), HasKey: p.key,
		Form: r.Form, Verb: r.Verb, Exptime: r.Exptime, Quiet: r.Quiet, Opcode: r.Opcode, Opaque: r.Opaque,
	}
}

// Resume makes p, which has parsed nothing yet, one that has come as far as st says. The next Parse gets the bytes that were
// unconsumed.
func (p *Parser) Resume(st State) {
	p.Locked, p.begun, p.binary, p.ended = st.Locked, st.Begun, st.Binary, st.Ended
	p.swallow, p.where, p.key = max(st.Swallow, 0), where(min(st.Where, uint8(atSkip))), st.HasKey
	r := &p.Request
	r.Form, r.Verb, r.Exptime, r.Quiet, r.Opcode, r.Opaque = st.Form, st.Verb, st.Exptime, st.Quiet, st.Opcode, st.Opaque
}
