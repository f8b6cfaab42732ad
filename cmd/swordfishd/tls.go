package main

import (
	"cmp"
	"errors"
	"strconv"
	"syscall"

	"swordfish/config"
	"swordfish/server"
)

// hangUp is what SIGHUP asks for: certificates and configuration are read again, each for itself. What cannot be used is
// logged and changes nothing. Where another process has gone on meanwhile it does so: it may have read them too early.
func (a *app) hangUp() {
	_ = a.server.RefreshCertificates()
	if err := a.reload(); !errors.Is(err, errStopping) {
		return
	}
	a.mu.Lock()
	next := a.next
	a.mu.Unlock()
	if next != 0 {
		_ = syscall.Kill(next, syscall.SIGHUP) // an error says that it has ended
	}
}

// tlsMode tells whether an address is encrypted that has word, if any, before it.
func tlsMode(c *config.Config, word string) server.TLSMode {
	if !c.TLS.On {
		return server.NoTLS
	}
	return map[string]server.TLSMode{"": server.TLS, "notls": server.NoTLS, "btls": server.TLSNoPeer, "mtls": server.TLSPeer}[word]
}

// readCertificates reads the files that t names, if TLS is on.
func readCertificates(t *config.TLSOptions) (*server.Certificates, error) {
	if !t.On {
		return nil, nil
	}
	verify := [...]server.Verify{server.VerifyNone, server.VerifyGiven, server.VerifyRequire, server.VerifyRequire}
	c, err := server.LoadTLS(server.TLSOptions{
		Chain: t.Chain, Key: t.Key, DER: t.KeyFormat == config.KeyDER, CA: t.CA, CountSessions: t.SessionCache,
		Verify: verify[t.Verify], Suites: t.Suites(), MinVersion: t.MinVersion,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// tlsSettings are the lines of `stats settings` about TLS. memcached shows the mode as OpenSSL's flags for it.
func tlsSettings(t *config.TLSOptions) []server.Setting {
	word := map[bool]string{true: "yes", false: "no"}
	flags := [...]string{"0", "1", "3", "7"}
	return []server.Setting{
		{Name: "ssl_enabled", Value: word[t.On]},
		{Name: "ssl_chain_cert", Value: cmp.Or(t.Chain, "(null)")},
		{Name: "ssl_key", Value: cmp.Or(t.Key, "(null)")},
		{Name: "ssl_verify_mode", Value: flags[t.Verify]},
		{Name: "ssl_keyformat", Value: strconv.Itoa(t.KeyFormat)},
		{Name: "ssl_ciphers", Value: cmp.Or(t.Ciphers, "NULL")},
		{Name: "ssl_ca_cert", Value: cmp.Or(t.CA, "NULL")},
		{Name: "ssl_wbuf_size", Value: strconv.FormatInt(t.WriteBuffer, 10)},
		{Name: "ssl_session_cache", Value: word[t.SessionCache]},
		{Name: "ssl_kernel_tls", Value: word[t.Kernel]},
		{Name: "ssl_min_version", Value: t.VersionWord()},
	}
}
