package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Admin is how the server is watched and steered: over HTTP, and by an operator's words on telnet.
type Admin struct {
	Listen   string   // host:port of HTTP, port 0 for any free one; empty: off
	Explicit bool     // Listen was written somewhere: it is an error if it cannot be had
	Token    Secret   // what every request for more than health has to show; empty: nothing
	Hosts    []string // names, beside localhost, under which HTTP may be asked, without a port
	Pprof    bool     // profiles over HTTP
	Words    string   // who may send an operator's words: local, any or off
}

// DefaultAdmin is where HTTP listens unless it is told otherwise.
const DefaultAdmin = "127.0.0.1:9696"

const (
	adminRemedy = "write an address such as 127.0.0.1:9696, a port, or off"
	minToken    = 16
)

// adminAddress reads host:port, a port alone, or off, which is empty.
func adminAddress(s string) (addr, fault string) {
	if s == "off" {
		return "", ""
	}
	host, port := "127.0.0.1", s
	if strings.Contains(s, ":") {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", strconv.Quote(s) + " is no address; " + adminRemedy
		}
		if host == "" || host == "*" {
			host = "0.0.0.0"
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 || strings.ContainsAny(host, " /") {
		return "", strconv.Quote(s) + " is no address; " + adminRemedy
	}
	return net.JoinHostPort(host, port), ""
}

func checkAdminAddress(s string) string {
	_, fault := adminAddress(s)
	return fault
}

func setAdmin(o *Options, s string) {
	o.Admin.Listen, _ = adminAddress(s)
	o.Admin.Explicit = true
}

// readAdmin reads the file's part. What the command line says as well, it says last.
func (d *document) readAdmin(v value) {
	a, given := &d.l.c.Admin, d.l.given
	for _, f := range v.fields("listen", "token", "hosts", "pprof", "words") {
		switch f.name {
		case "listen":
			s, ok := f.str(adminRemedy)
			if !ok || given["admin"] {
				continue
			}
			addr, fault := adminAddress(s)
			if fault != "" {
				f.fail("%s", fault)
			}
			a.Listen, a.Explicit = addr, true
			d.l.adminAt = place{d.file, f.line}
		case "token":
			d.l.noteGiven("token")
			if a.Token, _ = f.secret(); a.Token != "" && len(a.Token) < minToken {
				f.fail("it is short enough to be guessed; write %d characters or more, such as openssl rand -hex 16 makes", minToken)
			}
		case "hosts":
			for _, name := range f.strings("write a name such as cache-1.example.net") {
				if name != strings.ToLower(name) || strings.ContainsAny(name, " :/*") {
					f.fail("%q is no name of a host; write it in small letters, without a port", name)
					continue
				}
				a.Hosts = append(a.Hosts, name)
			}
		case "pprof":
			if on := false; f.boolean(&on) && !given["admin_pprof"] {
				a.Pprof = on
			}
		case "words":
			if words := ""; !given["admin_words"] {
				if choice(f.value, &words, adminWords...); words != "" {
					a.Words = words
				}
			}
		}
	}
}

var adminWords = []string{"local", "any", "off"}

// finishAdmin wants a token where others than this machine can connect.
func (l *loader) finishAdmin() {
	a := &l.c.Admin
	if a.Listen == "" || l.given["token"] { // a token that is no good is a problem already
		return
	}
	host, _, err := net.SplitHostPort(a.Listen)
	if err != nil || host == "localhost" { // an error is a problem already
		return
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return
	}
	l.fail(l.adminAt, "admin: %s can be reached from other machines, so it needs a token; write admin: {token: \"${ADMIN_TOKEN}\"} in the file of --config, or listen on 127.0.0.1", a.Listen)
}

// noteGiven remembers that a setting was given: those of the command line by their name under -o, since the file is read after
// it, and the file's token.
func (l *loader) noteGiven(name string) {
	if l.given == nil {
		l.given = map[string]bool{}
	}
	l.given[name] = true
}
