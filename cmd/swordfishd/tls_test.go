package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swordfish/config"
	"swordfish/internal/testenv"
)

func copyFile(t testing.TB, to, from string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// -Z arrives with its addresses, settings and files, and SIGHUP reads the files again.
func TestTLS(t *testing.T) {
	authority := testenv.NewAuthority(t, "authority")
	first, second := authority.Issue(t, "first", nil), authority.Issue(t, "second", nil)
	client := authority.Issue(t, "client", nil)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	copyFile(t, cert, first.File)
	copyFile(t, key, first.KeyFile)
	r := startApp(t, "", "-Z", "-o", "ssl_chain_cert="+cert+",ssl_key="+key+",ssl_ca_cert="+authority.File+",ssl_verify_mode=1",
		"-o", "ssl_ciphers=ECDHE-ECDSA-CHACHA20-POLY1305,ssl_session_cache,ssl_wbuf_size=64,ssl_min_version=1",
		"-l", "notls:127.0.0.1,127.0.0.1,mtls:127.0.0.1,btls:127.0.0.1")
	addrs := r.server.Addrs()
	pool := x509.NewCertPool()
	text, err := os.ReadFile(authority.File)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(client.File, client.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	// meet returns whom a client meets at an address with TLS.
	meet := func(i int, known bool) string {
		conf := &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12}
		if known {
			conf.Certificates = []tls.Certificate{pair}
		}
		c, err := tls.Dial("tcp", addrs[i].String(), conf)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		if suite := c.ConnectionState().CipherSuite; suite != tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 {
			t.Errorf("cipher %s", tls.CipherSuiteName(suite))
		}
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	for i := 1; i < 4; i++ {
		if got := meet(i, true); got != "first" {
			t.Errorf("address %d: met %s", i, got)
		}
		if got := meet(i, false); (got == "first") == (i == 2) {
			t.Errorf("address %d without a certificate: met %s", i, got)
		}
	}
	settings := r.ask("stats settings")
	for _, want := range []string{
		"ssl_enabled yes", "ssl_chain_cert " + cert, "ssl_key " + key, "ssl_verify_mode 1", "ssl_keyformat 1", "ssl_ca_cert " + authority.File,
		"ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305", "ssl_wbuf_size 65536", "ssl_session_cache yes", "ssl_kernel_tls no", "ssl_min_version tlsv1.1",
	} {
		if !strings.Contains(settings, "STAT "+want+"\n") {
			t.Errorf("settings lack %q", want)
		}
	}

	copyFile(t, cert, second.File)
	r.hangUp()
	if got := meet(1, false); got != "first" {
		t.Errorf("after a hang-up with a key that does not fit: met %s", got)
	}
	if got := strings.Join(r.log.take(t), "\n"); !strings.Contains(got, "Error loading the key: "+key) || !strings.Contains(got, "configuration reloaded") {
		t.Errorf("log: %s", got)
	}
	copyFile(t, key, second.KeyFile)
	r.files.write("swordfish.yaml", "nonsense: 1\n") // one does not hold up the other
	r.hangUp()
	if got := meet(1, false); got != "second" {
		t.Errorf("after a hang-up: met %s", got)
	}
}

// What stats settings tells of TLS without -Z is what memcached tells.
func TestTLSSettingsOff(t *testing.T) {
	c, err := config.Load(config.Input{})
	if err != nil {
		t.Fatal(err)
	}
	want := "ssl_enabled no ssl_chain_cert (null) ssl_key (null) ssl_verify_mode 0 ssl_keyformat 1 ssl_ciphers NULL ssl_ca_cert NULL ssl_wbuf_size 16384 " +
		"ssl_session_cache no ssl_kernel_tls no ssl_min_version tlsv1.2"
	var got []string
	for _, s := range tlsSettings(&c.TLS) {
		got = append(got, s.Name, s.Value)
	}
	if strings.Join(got, " ") != want {
		t.Errorf("got %s", got)
	}
}

func TestCheckLooksAtCertificates(t *testing.T) {
	authority := testenv.NewAuthority(t, "authority")
	over := authority.Issue(t, "over", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	good := authority.Issue(t, "good", nil)
	for _, tt := range []struct{ chain, key, want string }{
		{good.File, good.KeyFile, "certificate: CN=good, good from "},
		{over.File, over.KeyFile, "warning: today is not among the certificate's days, so clients that look will refuse\n"},
		{good.File, over.KeyFile, "Error loading the key: " + over.KeyFile + " : it is not the key of the first certificate in " + good.File},
	} {
		var out bytes.Buffer
		err := check([]string{"-Z", "-o", "ssl_chain_cert=" + tt.chain + ",ssl_key=" + tt.key}, &out, io.Discard)
		if err != nil {
			out.WriteString(err.Error())
		}
		if got := out.String(); !strings.Contains(got, tt.want) || strings.Contains(got, "warning") != strings.HasPrefix(tt.want, "warning") {
			t.Errorf("got %s, want %q", got, tt.want)
		}
	}
}

// Files that cannot be used are a fault of usage, as in memcached, and nothing is started.
func TestTLSWithoutFiles(t *testing.T) {
	in := config.Input{Args: []string{"-p", "-1", "-Z", "-o", "ssl_chain_cert=/nowhere/c.pem"}}
	c, err := config.Load(in)
	if err != nil {
		t.Fatal(err)
	}
	_, err = readCertificates(&c.TLS)
	var usage usageError
	if !errors.As(err, &usage) || err.Error() != "Error loading the certificate chain: /nowhere/c.pem : no such file or directory" {
		t.Errorf("got %v", err)
	}
}
