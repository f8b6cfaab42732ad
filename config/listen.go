package config

import (
	"io/fs"
	"net"
	"strconv"
	"strings"
)

// Listen is one address to listen on. With Path the other fields are empty.
type Listen struct {
	Path  string // of a UNIX socket; empty: TCP
	Host  string // name or address; empty: every one
	Port  int    // 0: any free one
	Proto string // ascii, binary or negotiating; empty: as -B says
	Tag   string // at most 8 bytes; empty: none
	TLS   string // with -Z: notls, btls (no certificates of clients), mtls (with them); empty: as ssl_verify_mode says
}

// Address is the host and port as net.Listen wants them.
func (a Listen) Address() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// maxSocketPath is the most bytes in the path of a UNIX socket: what Linux has room for, without the byte that ends it.
const maxSocketPath = 107

func setSocket(l *loader, g given) {
	if len(g.value) > maxSocketPath {
		l.fail(g.at, "-s: the path of a UNIX socket has at most %d bytes, and this one has %d; choose a shorter one", maxSocketPath, len(g.value))
		return
	}
	stringOption(func(o *Options) *string { return &o.Socket })(l, g)
}

func setAccess(l *loader, g given) {
	n, err := strconv.ParseUint(g.value, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		l.fail(g.at, "-a: %q is no access mask that lets somebody in; write three octal digits such as 0770", g.value)
		return
	}
	l.c.Access = fs.FileMode(n)
}

// finishListen turns -l with -p, or -s alone, into Options.Listen, and -l with -U into Options.UDP.
func (l *loader) finishListen() {
	l.c.Interfaces = strings.Join(l.interfaces, ",")
	if l.c.Socket != "" { // as memcached has it: no network then, whatever else was given
		l.c.Listen = []Listen{{Path: l.c.Socket}}
		if l.listen != nil {
			l.note("-l has no effect: -s turns the network off")
		}
		if l.c.UDPPort != 0 {
			l.note("-U has no effect: -s turns the network off")
		}
		return
	}
	if l.listen == nil && !l.listenSeen {
		l.listen = []string{"127.0.0.1"}
	}
	if l.c.Port == 0 && l.c.UDPPort == 0 {
		l.note("-p 0 turns TCP off, and nothing else is there to listen on; write a port, or -1 for any free one")
	}
	for _, spec := range l.listen {
		a, fault := parseListen(spec, max(l.c.Port, 0), l.c.TLS.On)
		if fault != "" {
			l.fail(l.listenAt, "-l: %s", fault)
			continue
		}
		if l.c.Port != 0 {
			l.c.Listen = append(l.c.Listen, a)
		}
		if l.c.UDPPort != 0 { // an address with a port of its own has it in both
			a, _ = parseListen(spec, max(l.c.UDPPort, 0), l.c.TLS.On)
			l.c.UDP = append(l.c.UDP, Listen{Host: a.Host, Port: a.Port})
		}
	}
}

// parseListen reads one address of -l: [notls|btls|mtls]: proto[NAME]: tag[NAME]: HOST :PORT, all but HOST optional.
func parseListen(spec string, port int, withTLS bool) (Listen, string) {
	a := Listen{Port: port}
	s := spec
	for _, tls := range []string{"notls", "btls", "mtls"} {
		rest, ok := strings.CutPrefix(s, tls+":")
		if ok && !withTLS {
			return a, "'" + tls + "' option is valid only when SSL is enabled; write -Z, or take it out of " + strconv.Quote(spec)
		}
		if ok {
			a.TLS, s = tls, rest
			break
		}
	}
	if rest, ok := strings.CutPrefix(s, "proto["); ok {
		proto, after, closed := strings.Cut(rest, "]:")
		if !closed || proto != "ascii" && proto != "binary" && proto != "negotiating" {
			return a, "Invalid protocol spec: " + strconv.Quote(spec) + "; write proto[ascii]:ADDR, proto[binary]:ADDR or proto[negotiating]:ADDR"
		}
		a.Proto, s = proto, after
	}
	for _, form := range [][2]string{{"tag[", "]:"}, {"tag_", "_:"}} {
		rest, ok := strings.CutPrefix(s, form[0])
		if !ok {
			continue
		}
		tag, after, closed := strings.Cut(rest, form[1])
		if !closed {
			return a, "Invalid tag in socket config: " + strconv.Quote(spec) + "; write tag[NAME]:ADDR"
		}
		if len(tag) < 1 || len(tag) > 8 {
			return a, "Listener tags must be between 1 and 8 characters: " + strconv.Quote(tag)
		}
		a.Tag, s = tag, after
		break
	}
	host, number, hasPort := s, "", false
	if rest, ok := strings.CutPrefix(s, "["); ok {
		inside, after, closed := strings.Cut(rest, "]")
		if !closed || after != "" && after[0] != ':' {
			return a, "Invalid IPV6 address: " + strconv.Quote(spec) + "; write [ADDR] or [ADDR]:PORT"
		}
		host = inside
		if after != "" {
			number, hasPort = after[1:], true
		}
	} else if strings.Count(s, ":") == 1 { // more than one: an IPv6 address without a port
		host, number, hasPort = strings.Cut(s, ":")
	}
	if hasPort {
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 65535 {
			return a, "Invalid port number: " + strconv.Quote(number) + "; write one from 1 to 65535"
		}
		a.Port = n
	}
	if host == "" || strings.ContainsAny(host, " []/") {
		return a, strconv.Quote(spec) + " holds no address; write one such as 127.0.0.1"
	}
	if host != "*" {
		a.Host = host
	}
	return a, ""
}
