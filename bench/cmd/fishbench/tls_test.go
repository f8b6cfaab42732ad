package main

import (
	"path/filepath"
	"strings"
	"testing"

	"swordfish/internal/testenv"
)

// A real server takes the certificate, and says what it agreed on.
func TestEncryptAndNegotiate(t *testing.T) {
	b := &bench{dir: t.TempDir()}
	b.peer.Args = []string{"-v"}
	if err := b.encrypt(); err != nil {
		t.Fatal(err)
	}
	cert, key := filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	if got, want := strings.Join(b.peer.Args, " "), "-Z -o ssl_chain_cert="+cert+",ssl_key="+key+" -v"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	addr := testenv.Memcached(t, b.peer.Args...)
	got, err := negotiated(addr, b.peer.TLS)
	if err != nil || !strings.HasPrefix(got, "TLS 1.3, TLS_") || !strings.Contains(got, ", X25519,") {
		t.Errorf("got %q, %v", got, err)
	}
}
