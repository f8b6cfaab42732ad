package config

// envSASL names memcached's variable with the password file of -S.
const envSASL = "MEMCACHED_SASL_PWDB"

func setSASL(l *loader, g given) { l.c.SASL, l.saslAt = true, g.at }

func setAuthFile(l *loader, g given) {
	stringOption(func(o *Options) *string { return &o.AuthFile })(l, g)
	l.authAt = g.at
}

// finishAuth checks -S and -Y against the other options. Each keeps all listeners to the protocol in which clients can show
// who they are. With both, -Y holds, as in memcached.
func (l *loader) finishAuth() {
	c := l.c
	if c.SASL && l.protocolSeen && c.Protocol != "binary" {
		l.fail(l.saslAt, "-S: You cannot allow the ASCII protocol while using SASL. Take -B %s out, or write -B binary", c.Protocol)
	}
	if c.AuthFile != "" && l.protocolSeen && c.Protocol != "ascii" {
		l.fail(l.authAt, "-Y: You cannot allow the BINARY protocol while using ascii authentication tokens. Take -B %s out, or write -B ascii", c.Protocol)
	}
	switch {
	case c.AuthFile != "":
		if c.SASL {
			l.note("-S has no effect: -Y comes before it")
		}
		l.keepTo("ascii", "Cannot use binary protocol when ascii authentication enabled")
		if c.UDPPort != 0 {
			l.fail(l.authAt, "-Y: Cannot use UDP with ascii authentication enabled (-U 0 to disable)")
		}
	case c.SASL:
		l.keepTo("binary", "-S needs the binary protocol")
		if c.UDPPort != 0 {
			l.fail(l.saslAt, "-S: Cannot enable UDP while using binary SASL authentication. Take -U %d out", c.UDPPort)
		}
		if file, ok := l.in.Env(envSASL); ok && c.SASLFile == "" {
			c.SASLFile = file
		}
		if c.SASLFile == "" {
			l.fail(l.saslAt, "-S: nobody has a password; write --sasl-pwdb=FILE or set %s=FILE, a file of user:password lines (the database of saslpasswd2 is not read)", envSASL)
		}
	case c.SASLFile != "":
		l.note("--sasl-pwdb has no effect without -S")
	}
}

// keepTo has all listeners speak one protocol. words is what is wrong with one that was told to speak another.
func (l *loader) keepTo(protocol, words string) {
	l.c.Protocol = protocol
	for i := range l.c.Listen {
		switch a := &l.c.Listen[i]; {
		case a.Proto == "negotiating" && protocol == "ascii":
			l.note("negotiating ports are ascii only when ascii authentication enabled")
			a.Proto = protocol
		case a.Proto != "" && a.Proto != protocol:
			l.fail(l.listenAt, "-l: %s; take proto[%s] out", words, a.Proto)
		}
	}
}
