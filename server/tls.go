package server

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// TLSOptions are what connections of listeners with TLS are encrypted with. Files are read by LoadTLS and again by each
// Refresh.
type TLSOptions struct {
	Chain string // PEM file: the server's certificate, then those of its issuers
	Key   string // file of its private key; default Chain
	DER   bool   // Key is in DER form
	CA    string // PEM file: who signs certificates of clients; empty: nobody, so all that clients show are refused

	CountSessions bool // stats tell of new sessions

	Verify     Verify   // certificates of clients, for listeners of mode TLS
	Suites     []uint16 // ciphers of TLS 1.2 and older; nil: the choice of crypto/tls
	MinVersion uint16   // default TLS 1.2
}

// Verify is what is asked of clients about certificates.
type Verify uint8

const (
	VerifyNone    Verify = iota // nothing
	VerifyGiven                 // one that is shown must be good
	VerifyRequire               // a good one must be shown
)

// Certificates holds what is in the files of TLSOptions. Its methods are safe for concurrent use.
type Certificates struct {
	o  TLSOptions
	mu sync.Mutex // one load at a time
	at atomic.Pointer[loaded]
}

// loaded is what one reading of the files brought. New connections take the newest; older ones keep theirs. Each of the
// configurations has keys of its own for session tickets, so a session is resumed only under the certificates, the issuers
// and the mode under which it began.
type loaded struct {
	when    time.Time
	leaf    *x509.Certificate
	configs [TLSPeer + 1]*tls.Config // by TLSMode; none for NoTLS
}

// LoadTLS reads the files of o. An error names the file at fault in memcached's words.
func LoadTLS(o TLSOptions) (*Certificates, error) {
	if o.Key == "" {
		o.Key = o.Chain
	}
	if o.MinVersion == 0 {
		o.MinVersion = tls.VersionTLS12
	}
	c := &Certificates{o: o}
	for _, file := range []*string{&c.o.Chain, &c.o.Key, &c.o.CA} { // a later Refresh finds them from any directory
		if *file == "" {
			continue
		}
		abs, err := filepath.Abs(*file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", *file, err)
		}
		*file = abs
	}
	return c, c.Refresh()
}

// Refresh reads the files again. Connections that begin from then on get what is in them; after an error nothing has changed.
func (c *Certificates) Refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, err := c.load()
	if err == nil {
		c.at.Store(l)
	}
	return err
}

// Age is the time since the files were last read without an error.
func (c *Certificates) Age() time.Duration { return time.Since(c.at.Load().when) }

// Leaf is the server's certificate. It must not be changed.
func (c *Certificates) Leaf() *x509.Certificate { return c.at.Load().leaf }

// config returns what a connection that begins now is encrypted with.
func (c *Certificates) config(mode TLSMode) *tls.Config { return c.at.Load().configs[mode] }

func (c *Certificates) load() (*loaded, error) {
	chain, err := readCertificates(c.o.Chain)
	if err != nil {
		return nil, &certError{"certificate chain", c.o.Chain, err}
	}
	key, err := c.readKey()
	if err != nil {
		return nil, &certError{"key", c.o.Key, err}
	}
	if public, ok := chain[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return nil, &certError{"key", c.o.Key, errors.New("it is not the key of the first certificate in " + c.o.Chain)}
	}
	issuers := x509.NewCertPool() // never nil: that would stand for all that the system trusts
	if c.o.CA != "" {
		found, err := readCertificates(c.o.CA)
		if err != nil {
			return nil, &certError{"CA certificate", c.o.CA, err}
		}
		for _, issuer := range found {
			issuers.AddCert(issuer)
		}
	}
	own := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, cert := range chain {
		own.Certificate = append(own.Certificate, cert.Raw)
	}
	l := &loaded{when: time.Now(), leaf: chain[0]}
	for mode, verify := range map[TLSMode]Verify{TLS: c.o.Verify, TLSNoPeer: VerifyNone, TLSPeer: VerifyRequire} {
		l.configs[mode] = &tls.Config{
			Certificates: []tls.Certificate{own}, MinVersion: c.o.MinVersion, CipherSuites: c.o.Suites, ClientCAs: issuers,
			ClientAuth: map[Verify]tls.ClientAuthType{
				VerifyNone: tls.NoClientCert, VerifyGiven: tls.VerifyClientCertIfGiven, VerifyRequire: tls.RequireAndVerifyClientCert,
			}[verify],
		}
	}
	return l, nil
}

// certError tells in memcached's words which file is at fault.
type certError struct {
	what, file string
	err        error
}

func (e *certError) Error() string {
	return "Error loading the " + e.what + ": " + e.file + " : " + e.err.Error()
}
func (e *certError) Unwrap() error { return e.err }

// reason leaves the operation and the file out of an error of package os: the sentence around it has them.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// readCertificates reads all certificates of a PEM file; there is at least one.
func readCertificates(file string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, reason(err)
	}
	var found []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, cert)
	}
	if len(found) == 0 {
		return nil, errors.New("no certificate in PEM form is in it")
	}
	return found, nil
}

// readKey reads the private key.
func (c *Certificates) readKey() (crypto.Signer, error) {
	text, err := os.ReadFile(c.o.Key)
	if err != nil {
		return nil, reason(err)
	}
	if c.o.DER {
		return parseKey(text)
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errors.New("no private key in PEM form is in it; name its file with ssl_key, or its form with ssl_keyformat")
		}
		switch {
		case !bytes.HasSuffix([]byte(block.Type), []byte("PRIVATE KEY")):
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, errors.New("it is encrypted, and nobody is there to be asked for the password; decrypt it with openssl pkey")
		default:
			return parseKey(block.Bytes)
		}
	}
}

// parseKey reads a key in one of the forms in which they are kept.
func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}
