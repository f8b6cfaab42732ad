package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// clientTLS is how the client speaks TLS. It offers only what both servers know, so that they work at the same: TLS 1.3 and
// X25519. The cipher is the server's choice. Connections need no name to be vouched for: they are to a server of this run.
func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}
}

// encrypt makes both servers take TLS only, with a certificate of this run in its directory.
func (b *bench) encrypt() error {
	cert, key := filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	if err := writeCertificate(cert, key); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	b.ours.TLS, b.peer.TLS = clientTLS(), clientTLS()
	args := []string{"-Z", "-o", "ssl_chain_cert=" + cert + ",ssl_key=" + key}
	b.ours.Args = append(args, b.ours.Args...)
	b.peer.Args = append(args, b.peer.Args...)
	return nil
}

// writeCertificate writes a key on P-256 and a certificate for loopback that it signs itself, valid for a day.
func writeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, kind string
		der        []byte
	}{{certFile, "CERTIFICATE", cert}, {keyFile, "PRIVATE KEY", private}} {
		// Readable to the user that the peer becomes. The key guards nothing.
		if err := os.WriteFile(f.name, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// negotiated says what a server and the client agree on.
func negotiated(addr string, conf *tls.Config) (string, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, conf)
	if err != nil {
		return "", err
	}
	defer c.Close()
	s := c.ConnectionState()
	return fmt.Sprintf("%s, %s, %s, ECDSA P-256", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), s.CurveID), nil
}
