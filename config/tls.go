package config

import (
	"crypto/tls"
	"slices"
	"strconv"
)

// TLSOptions are -Z and the names under -o that begin with ssl_.
type TLSOptions struct {
	On           bool   // -Z
	Chain        string // ssl_chain_cert: a PEM file, the server's certificate first, then those of its issuers
	Key          string // ssl_key: the file with its key; empty: it is in Chain
	KeyFormat    int    // ssl_keyformat: KeyPEM or KeyDER
	CA           string // ssl_ca_cert: a PEM file with who signs certificates of clients; empty: nobody does
	Verify       int    // ssl_verify_mode: whether clients show certificates: 0 no, 1 if they have one, 2 and 3 they must
	Ciphers      string // ssl_ciphers, see Suites
	MinVersion   uint16 // ssl_min_version, as crypto/tls numbers them
	WriteBuffer  int64  // ssl_wbuf_size in bytes, for stats settings only
	SessionCache bool   // ssl_session_cache: new sessions are counted
	Kernel       bool   // ssl_kernel_tls, for stats settings only
}

// Formats of a key file, numbered as in OpenSSL.
const (
	KeyPEM = 1
	KeyDER = 2
)

func defaultTLS() TLSOptions {
	return TLSOptions{KeyFormat: KeyPEM, MinVersion: tls.VersionTLS12, WriteBuffer: 16 << 10}
}

// tlsVersions are the values of ssl_min_version.
var tlsVersions = [...]uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}

var tlsTable = []*extended{
	{name: "ssl_chain_cert", arg: "FILE", help: "with -Z: the server's certificate, then its issuers', in PEM form", check: notEmpty, set: func(o *Options, v string) { o.TLS.Chain = v }},
	{name: "ssl_key", arg: "FILE", help: "its private key (default: in the file of ssl_chain_cert)", check: notEmpty, set: func(o *Options, v string) { o.TLS.Key = v }},
	{name: "ssl_keyformat", arg: "NUM", help: "form of the key's file: 1 is PEM (default), 2 is DER", check: between(KeyPEM, KeyDER, "bad ssl filetype"), set: func(o *Options, v string) { o.TLS.KeyFormat = atoi(v) }},
	{name: "ssl_verify_mode", arg: "NUM", help: "certificates of clients: 0 none (default), 1 checked where shown, 2 or 3 needed", check: between(0, 3, "Invalid ssl_verify_mode. Use help to see valid options."), set: func(o *Options, v string) { o.TLS.Verify = atoi(v) }},
	{name: "ssl_ca_cert", arg: "FILE", help: "who signs the certificates of clients, in PEM form", check: notEmpty, set: func(o *Options, v string) { o.TLS.CA = v }},
	{name: "ssl_ciphers", arg: "LIST", help: "OpenSSL's names of ciphers for TLS 1.2 and older, with colons between", check: checkCiphers, set: func(o *Options, v string) { o.TLS.Ciphers = v }},
	{name: "ssl_min_version", arg: "NUM", help: "oldest TLS: 0 is 1.0, 1 is 1.1, 2 is 1.2 (default), 3 is 1.3", check: between(0, 3, "Invalid ssl_min_version. Use help to see valid options."), set: func(o *Options, v string) { o.TLS.MinVersion = tlsVersions[atoi(v)] }},
	{name: "ssl_session_cache", help: "count new sessions in stats; sessions are resumed with and without", set: func(o *Options, _ string) { o.TLS.SessionCache = true }},
	{name: "ssl_wbuf_size", arg: "KIB", check: between(0, 1<<22-1, "could not parse argument to ssl_wbuf_size"), set: func(o *Options, v string) { o.TLS.WriteBuffer = int64(atoi(v)) << 10 }},
	{name: "ssl_kernel_tls", set: func(o *Options, _ string) { o.TLS.Kernel = true }},
}

func notEmpty(value string) string {
	if value == "" {
		return "its value is empty; write the name of a file"
	}
	return ""
}

// finishTLS checks what the options of TLS and the addresses of -l are worth together.
func (l *loader) finishTLS() {
	t, base := &l.c.TLS, defaultTLS()
	if !t.On {
		if *t != base {
			l.note("the names under -o that begin with ssl_ have no effect without -Z")
		}
		return
	}
	if l.c.Socket != "" {
		l.note("-Z has no effect on a UNIX socket: what goes through it is not encrypted")
	}
	if len(l.c.UDP) > 0 {
		l.note("-Z has no effect on UDP: datagrams are not encrypted")
	}
	if l.c.Port == 0 {
		l.fail(place{}, "-Z: ERROR: You cannot enable SSL without a TCP port. Write one with -p")
	}
	if t.Chain == "" {
		l.fail(place{}, "-Z: Error loading the certificate chain: no file is named; write -o ssl_chain_cert=FILE, and ssl_key=FILE where the key is not in it")
	}
	strict := t.Verify >= 2 || slices.ContainsFunc(l.c.Listen, func(a Listen) bool { return a.TLS == "mtls" })
	if strict && t.CA == "" { // memcached starts like this, too
		l.note("clients need certificates, but nobody is named who signs them, so none is admitted: write -o ssl_ca_cert=FILE")
	}
	if t.WriteBuffer != base.WriteBuffer {
		l.note("-o ssl_wbuf_size has no effect: the records of a reply are as large as TLS admits")
	}
	if t.Kernel {
		l.note("-o ssl_kernel_tls has no effect: the server encrypts by itself")
	}
}

// Suites are the cipher suites that Ciphers names, for TLS 1.2 and older; nil stands for the choice of crypto/tls.
func (t *TLSOptions) Suites() []uint16 {
	suites, _ := cipherSuites(t.Ciphers)
	return suites
}

// VersionWord is a version of TLS as stats settings names it.
func (t *TLSOptions) VersionWord() string {
	if i := slices.Index(tlsVersions[:], t.MinVersion); i >= 0 {
		return "tlsv1." + strconv.Itoa(i)
	}
	return "unknown"
}
