package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// pki is the certificates of a test.
type pki struct {
	authority *testenv.Authority
	pool      *x509.CertPool // with the authority alone
	server    testenv.Certificate
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	p := &pki{authority: testenv.NewAuthority(t, "authority")}
	p.pool, p.server = poolOf(t, p.authority.File), p.authority.Issue(t, "server", nil)
	return p
}

func poolOf(t testing.TB, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %s", file)
	}
	return pool
}

func pairOf(t testing.TB, c testenv.Certificate) []tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.File, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{pair}
}

// options are those of a server with one listener that is encrypted.
func (p *pki) options(t testing.TB, change func(*TLSOptions)) Options {
	t.Helper()
	o := TLSOptions{Chain: p.server.File, Key: p.server.KeyFile, CA: p.authority.File}
	if change != nil {
		change(&o)
	}
	c, err := LoadTLS(o)
	if err != nil {
		t.Fatal(err)
	}
	return Options{TLS: c, Listen: []Listener{{Address: "127.0.0.1:0", TLS: TLS}}}
}

// secrecy is a conversation over TLS.
type secrecy struct {
	t testing.TB
	*tls.Conn
	r *bufio.Reader
}

func (c *secrecy) ask(command, last string) string {
	c.t.Helper()
	return askOver(c.t, c, c.r, command, last)
}

// secretly connects with TLS, or fails the test.
func (p *pki) secretly(t testing.TB, addr string, conf *tls.Config) *secrecy {
	t.Helper()
	c, err := p.try(t, addr, conf)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// try connects with TLS and says version. With TLS 1.3 a client learns only from the answer that the server took its
// certificate.
func (p *pki) try(t testing.TB, addr string, conf *tls.Config) (*secrecy, error) {
	t.Helper()
	if conf == nil {
		conf = &tls.Config{}
	}
	conf = conf.Clone()
	conf.ServerName = "localhost"
	if conf.RootCAs == nil {
		conf.RootCAs = p.pool
	}
	c := tls.Client(dial(t, addr), conf)
	t.Cleanup(func() { c.Close() })
	s := &secrecy{t, c, bufio.NewReader(c)}
	if _, err := c.Write([]byte("version\r\n")); err != nil {
		return nil, err
	}
	line, err := s.r.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "VERSION") {
		err = fmt.Errorf("got %q", line)
	}
	return s, err
}

func TestTLSCarriesEverything(t *testing.T) {
	p := newPKI(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			_, addr := startServer(t, p.options(t, nil))
			c := p.secretly(t, addr, &tls.Config{MinVersion: version, MaxVersion: version})
			if got := c.ConnectionState().Version; got != version {
				t.Fatalf("version %x", got)
			}
			for _, size := range []int{0, 1, 16383, 16384, 16385, 100_000, 1_000_000} {
				value := strings.Repeat("v", size)
				if got := c.ask(fmt.Sprintf("set k%d 0 0 %d\r\n%s\r\n", size, size, value), ""); got != "STORED\r\n" {
					t.Fatalf("size %d: %q", size, got)
				}
				want := fmt.Sprintf("VALUE k%d 0 %d\r\n%s\r\nEND\r\n", size, size, value)
				if got := c.ask(fmt.Sprintf("get k%d\r\n", size), "END"); got != want {
					t.Errorf("size %d: got %s", size, shorten([]byte(got)))
				}
			}
			const gets = 100 // of a megabyte each, sent before the first answer is read
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write([]byte(strings.Repeat("get k1000000\r\n", gets) + "quit\r\n"))
				sent <- err
			}()
			n, err := io.Copy(io.Discard, c.r)
			if want := int64(gets * len("VALUE k1000000 0 1000000\r\n\r\nEND\r\n")); err != nil || n != want+gets*1_000_000 {
				t.Errorf("%d bytes, %v", n, err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTLSClientsThatAreRefused(t *testing.T) {
	p := newPKI(t)
	stranger := testenv.NewAuthority(t, "stranger")
	under := p.authority.Under(t, "under")
	good := p.authority.Issue(t, "client", nil)
	chained := under.Issue(t, "client", nil)
	chained.File = testenv.Chain(t, chained.File, under.File)
	expired := p.authority.Issue(t, "client", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := p.authority.Issue(t, "client", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	serverOnly := p.authority.Issue(t, "client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	foreign := stranger.Issue(t, "client", nil)
	impostor := p.authority.Issue(t, "impostor", nil)
	impostor.KeyFile = good.KeyFile // a certificate whose key it has not

	type client struct {
		name string
		cert testenv.Certificate
	}
	none := client{name: "no certificate"}
	bad := []client{
		{"expired", expired},
		{"not valid yet", early},
		{"for servers only", serverOnly},
		{"of another authority", foreign},
	}
	admitted := func(c client, mode TLSMode, verify Verify) bool {
		switch {
		case mode == TLSNoPeer || mode == TLS && verify == VerifyNone:
			return true // nobody is asked
		case c == none:
			return mode == TLS && verify == VerifyGiven
		}
		return c.cert == good || c.cert == chained
	}
	for _, verify := range []Verify{VerifyNone, VerifyGiven, VerifyRequire} {
		o := p.options(t, func(o *TLSOptions) { o.Verify = verify })
		o.Listen = []Listener{{Address: "127.0.0.1:0", TLS: TLS}, {Address: "127.0.0.1:0", TLS: TLSNoPeer}, {Address: "127.0.0.1:0", TLS: TLSPeer}}
		s, _ := startServer(t, o)
		refused := uint64(0)
		for i, mode := range []TLSMode{TLS, TLSNoPeer, TLSPeer} {
			for _, c := range append([]client{none, {"good", good}, {"good by another", chained}}, bad...) {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					t.Run(fmt.Sprintf("verify=%d/mode=%d/%s/%s", verify, mode, c.name, tls.VersionName(version)), func(t *testing.T) {
						conf := &tls.Config{MaxVersion: version}
						if c != none {
							pair := pairOf(t, c.cert) // shown also to a server that names another authority
							conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair[0], nil }
						}
						_, err := p.try(t, s.Addrs()[i].String(), conf)
						want := admitted(c, mode, verify)
						if (err == nil) != want {
							t.Errorf("admitted is %v, want %v: %v", err == nil, want, err)
						}
						if !want {
							refused++
						}
					})
				}
			}
		}
		untilTLS(t, s, func(n Counters) bool { return n.TLSHandshakeErrors == refused })
	}
	if _, err := tls.LoadX509KeyPair(impostor.File, impostor.KeyFile); err == nil {
		t.Error("the impostor has the key")
	}
}

// untilTLS waits until ok says yes of the counters.
func untilTLS(t testing.TB, s *Server, ok func(n Counters) bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok(s.Stats().Counters) {
		if time.Now().After(deadline) {
			t.Fatalf("counters: %+v", s.Stats().Counters)
		}
		<-time.After(time.Millisecond)
	}
}

// Clients that look at the server's certificate see whom they talk to.
func TestTLSServersThatAreRefused(t *testing.T) {
	p := newPKI(t)
	under := p.authority.Under(t, "under")
	chained := under.Issue(t, "server", nil)
	for _, tt := range []struct {
		name string
		cert testenv.Certificate
		want string // in the client's error; empty: it trusts the server
	}{
		{"good", p.server, ""},
		{"good by another", testenv.Certificate{File: testenv.Chain(t, chained.File, under.File), KeyFile: chained.KeyFile}, ""},
		{"issuer left out", chained, "unknown authority"},
		{"of another authority", testenv.NewAuthority(t, "stranger").Issue(t, "server", nil), "unknown authority"},
		{"expired", p.authority.Issue(t, "server", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "expired"},
		{"of another host", p.authority.Issue(t, "server", func(c *x509.Certificate) { c.DNSNames = []string{"example.com"} }), "localhost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := startServer(t, p.options(t, func(o *TLSOptions) { o.Chain, o.Key = tt.cert.File, tt.cert.KeyFile }))
			_, err := p.try(t, addr, nil)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Without ssl_ca_cert nobody vouches for clients: not even those whom the system trusts.
func TestTLSWithoutAuthorityTrustsNobody(t *testing.T) {
	p := newPKI(t)
	o := p.options(t, func(o *TLSOptions) { o.CA, o.Verify = "", VerifyGiven })
	for _, mode := range []TLSMode{TLS, TLSNoPeer, TLSPeer} {
		if pool := o.TLS.config(mode).ClientCAs; pool == nil || !pool.Equal(x509.NewCertPool()) {
			t.Errorf("mode %d trusts %v", mode, pool)
		}
	}
	_, addr := startServer(t, o)
	if _, err := p.try(t, addr, nil); err != nil {
		t.Errorf("without a certificate: %v", err)
	}
	pair := pairOf(t, p.authority.Issue(t, "client", nil))
	conf := &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair[0], nil }}
	if _, err := p.try(t, addr, conf); err == nil {
		t.Error("a certificate of nobody's was taken")
	}
}

func TestTLSBesidePlain(t *testing.T) {
	p := newPKI(t)
	o := p.options(t, nil)
	o.Listen = append([]Listener{{Address: "127.0.0.1:0"}}, o.Listen...)
	s, addr := startServer(t, o)
	plain, closed := talk(t, addr), s.Addrs()[1].String()
	plain.ask("set a 0 0 1\r\nx\r\n", "STORED")
	if got := p.secretly(t, closed, nil).ask("get a\r\n", "END"); !strings.Contains(got, "VALUE a") {
		t.Errorf("got %q", got)
	}
	// What is not encrypted gets no answer where all has to be.
	for _, said := range []string{"version\r\n", "GET / HTTP/1.1\r\n\r\n", "\x80\x0b" + strings.Repeat("\x00", 22), strings.Repeat("x", 5000)} {
		c := dial(t, closed)
		c.Write([]byte(said))
		got, err := io.ReadAll(c)
		if strings.Contains(string(got), "VERSION") || err != nil && !isReset(err) {
			t.Errorf("%q: got %q, %v", said, got, err)
		}
		c.Close()
	}
	untilTLS(t, s, func(n Counters) bool { return n.TLSHandshakeErrors == 4 })
	// Nor is anything encrypted where nothing is.
	if _, err := p.try(t, addr, nil); err == nil {
		t.Error("TLS on a plain address")
	}
	// One that leaves without a word is no error.
	dial(t, closed).Close()
	for s.Stats().Connections > 3 { // the plain one, the encrypted one, and the one that said TLS in the wrong place
		plain.ask("version\r\n", "VERSION")
	}
	if n := s.Stats().Counters.TLSHandshakeErrors; n != 4 {
		t.Errorf("%d handshake errors", n)
	}
}

// What breaks after the handshake is counted apart from what breaks in it.
func TestTLSBrokenRecord(t *testing.T) {
	p := newPKI(t)
	s, addr := startServer(t, p.options(t, nil))
	c := p.secretly(t, addr, nil)
	if _, err := c.NetConn().Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32))); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c.r); err == nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	untilTLS(t, s, func(n Counters) bool { return n.TLSProtoErrors == 1 && n.TLSHandshakeErrors == 0 })
	cut := p.secretly(t, addr, nil)
	cut.NetConn().Close() // without a word, which is no error
	other := p.secretly(t, addr, nil)
	for s.Stats().Connections > 1 {
		other.ask("version\r\n", "VERSION")
	}
	if n := s.Stats().Counters.TLSProtoErrors; n != 1 {
		t.Errorf("%d protocol errors", n)
	}
}

func TestTLSManyConnections(t *testing.T) {
	p := newPKI(t)
	s, addr := startServer(t, p.options(t, nil))
	const clients, rounds = 100, 20
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c, err := p.try(t, addr, nil)
			if err != nil {
				t.Error(err)
				return
			}
			for round := range rounds {
				want := fmt.Sprintf("STORED\r\nVALUE k%d 0 5\r\n%05d\r\nEND\r\n", i, round)
				got := make([]byte, len(want))
				if _, err := fmt.Fprintf(c, "set k%d 0 0 5\r\n%05d\r\nget k%d\r\n", i, round, i); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
					t.Errorf("client %d, round %d: %v, %q", i, round, err, got)
					return
				}
			}
		})
	}
	wg.Wait()
	untilTLS(t, s, func(n Counters) bool { return n.GetHits == clients*rounds && n.TLSNewSessions == clients })
}

// Clients that do not get on with their handshake hold up nobody, and are closed after a while.
func TestTLSSlowHandshakes(t *testing.T) {
	p := newPKI(t)
	o := p.options(t, nil)
	o.HandshakeTimeout, o.Workers = 1500*time.Millisecond, 1
	o.Listen = append(o.Listen, Listener{Address: "127.0.0.1:0"})
	s, addr := startServer(t, o)
	var slow []net.Conn
	for i := range 50 {
		c := dial(t, addr)
		defer c.Close()
		c.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")[:i%11]) // the beginning of a hello, or nothing
		slow = append(slow, c)
	}
	began := time.Now()
	secret, plain := p.secretly(t, addr, nil), talk(t, s.Addrs()[1].String())
	for range 20 {
		secret.ask("get a\r\n", "END")
		plain.ask("get a\r\n", "END")
	}
	if n := s.Stats(); time.Since(began) < o.HandshakeTimeout && n.Connections != 52 {
		t.Errorf("%d connections while handshakes are under way", n.Connections)
	}
	for _, c := range slow {
		if _, err := io.Copy(io.Discard, c); err != nil && !isReset(err) {
			t.Fatal(err)
		}
	}
	untilTLS(t, s, func(n Counters) bool { return n.TLSHandshakeErrors == 50 })
	secret.ask("get a\r\n", "END") // the limit is on the handshake alone
}

func TestTLSShutdownFinishesWhatHasArrived(t *testing.T) {
	p := newPKI(t)
	s, addr := startServer(t, p.options(t, nil))
	idle, busy, silent := p.secretly(t, addr, nil), p.secretly(t, addr, nil), dial(t, addr)
	defer silent.Close()
	value := strings.Repeat("v", 100_000)
	busy.ask("set big 0 0 100000\r\n"+value+"\r\n", "STORED")
	const gets = 300
	if _, err := busy.Write([]byte(strings.Repeat("get big\r\n", gets))); err != nil {
		t.Fatal(err)
	}
	if _, err := busy.r.ReadByte(); err != nil { // it is at work
		t.Fatal(err)
	}
	for s.Stats().Connections < 3 { // the silent one is in its handshake
		idle.ask("version\r\n", "VERSION")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(ctx) }()
	n, err := io.Copy(io.Discard, busy.r)
	if want := int64(gets*(len("VALUE big 0 100000\r\n")+len(value)+len("\r\nEND\r\n"))) - 1; err != nil || n != want {
		t.Errorf("read %d bytes, want %d: %v", n, want, err)
	}
	if _, err := idle.r.ReadByte(); err != io.EOF { // told that it is the end, not cut
		t.Errorf("idle connection: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := s.Stats().Counters; n.TLSHandshakeErrors+n.TLSProtoErrors > 0 {
		t.Errorf("errors counted: %+v", n)
	}
}

func TestTLSWatcherThatHasGone(t *testing.T) {
	p := newPKI(t)
	s, addr := startServer(t, p.options(t, nil))
	other := p.secretly(t, addr, nil)
	for range maxWatchers + 5 {
		c := p.secretly(t, addr, nil)
		if got := c.ask("watch evictions\r\n", "OK"); got != "OK\r\n" {
			t.Fatalf("got %q", got)
		}
		c.Close()
		waitUnwatched(t, s, other)
	}
}

func TestTLSShutdownDoesNotWaitForever(t *testing.T) {
	p := newPKI(t)
	s, addr := startServer(t, p.options(t, nil))
	c := p.secretly(t, addr, nil)
	c.ask("set big 0 0 100000\r\n"+strings.Repeat("v", 100_000)+"\r\n", "STORED")
	go c.Write([]byte(strings.Repeat("get big\r\n", 1000)))
	if _, err := c.r.ReadByte(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 4*time.Second { // crypto/tls gives a farewell 5 s
		t.Errorf("took %v", took)
	}
}

// replace puts the content of one file into another in one step.
func replace(t testing.TB, file, by string) {
	t.Helper()
	text, err := os.ReadFile(by)
	if err != nil {
		t.Fatal(err)
	}
	next := file + ".next"
	if err := os.WriteFile(next, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

func TestTLSRefreshUnderLoad(t *testing.T) {
	p := newPKI(t)
	second := p.authority.Issue(t, "second", nil)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	replace(t, cert, p.server.File)
	replace(t, key, p.server.KeyFile)
	s, addr := startServer(t, p.options(t, func(o *TLSOptions) { o.Chain, o.Key = cert, key }))
	who := func(c *secrecy) string { return c.ConnectionState().PeerCertificates[0].Subject.CommonName }

	old := p.secretly(t, addr, nil)
	var stop atomic.Bool
	var met [2]atomic.Int64 // by name
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for !stop.Load() {
				c, err := p.try(t, addr, nil)
				if err != nil {
					t.Error(err)
					return
				}
				switch who(c) {
				case "server":
					met[0].Add(1)
				case "second":
					met[1].Add(1)
				}
				c.ask(fmt.Sprintf("set k%d 0 0 1\r\nx\r\n", i), "STORED")
				c.Close()
			}
		})
	}
	for met[0].Load() == 0 {
		old.ask("version\r\n", "VERSION")
	}
	replace(t, cert, second.File)
	if got := old.ask("refresh_certs\r\n", ""); got != "Error loading the key: "+key+" : it is not the key of the first certificate in "+cert+"\r\n" {
		t.Errorf("got %q", got)
	}
	if got := who(p.secretly(t, addr, nil)); got != "server" {
		t.Errorf("after a refresh that failed clients see %s", got)
	}
	replace(t, key, second.KeyFile)
	if got := old.ask("refresh_certs\r\n", ""); got != "OK\r\n" {
		t.Errorf("got %q", got)
	}
	if got := who(p.secretly(t, addr, nil)); got != "second" {
		t.Errorf("new connections see %s", got)
	}
	for met[1].Load() == 0 {
		old.ask("get k0\r\n", "END")
	}
	stop.Store(true)
	wg.Wait()
	if got := who(old); got != "server" || old.ask("version\r\n", "VERSION") == "" {
		t.Errorf("the old connection sees %s", got)
	}
	if n := s.Stats().Counters; n.TLSHandshakeErrors+n.TLSProtoErrors > 0 {
		t.Errorf("errors counted: %+v", n)
	}
}

// A session is resumed where it began, and nowhere else.
func TestTLSResumption(t *testing.T) {
	p := newPKI(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			o := p.options(t, func(o *TLSOptions) { o.CountSessions = true })
			o.Listen = []Listener{{Address: "127.0.0.1:0", TLS: TLS}, {Address: "127.0.0.1:0", TLS: TLSPeer}}
			s, addr := startServer(t, o)
			conf := &tls.Config{MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(10)}
			resumed := func(addr string) bool { return p.secretly(t, addr, conf).ConnectionState().DidResume }
			if resumed(addr) || !resumed(addr) {
				t.Error("the second connection does not resume the first one's session")
			}
			if _, err := p.try(t, s.Addrs()[1].String(), conf); err == nil {
				t.Error("a session without a certificate goes on where one is needed")
			}
			if err := s.RefreshCertificates(); err != nil {
				t.Fatal(err)
			}
			if resumed(addr) {
				t.Error("a session outlives the certificates under which it began")
			}
			untilTLS(t, s, func(n Counters) bool { return n.TLSNewSessions == 2 && n.TLSResumed == 1 })
		})
	}
}

// A certificate that its authority no longer vouches for opens no session again.
func TestTLSResumptionAfterAuthorityChanged(t *testing.T) {
	p := newPKI(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	replace(t, ca, p.authority.File)
	s, addr := startServer(t, p.options(t, func(o *TLSOptions) { o.CA, o.Verify = ca, VerifyRequire }))
	pair := pairOf(t, p.authority.Issue(t, "client", nil))
	conf := &tls.Config{
		ClientSessionCache:   tls.NewLRUClientSessionCache(10),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair[0], nil },
	}
	p.secretly(t, addr, conf)
	if !p.secretly(t, addr, conf).ConnectionState().DidResume {
		t.Fatal("no session was resumed")
	}
	replace(t, ca, testenv.NewAuthority(t, "other").File)
	if err := s.RefreshCertificates(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.try(t, addr, conf); err == nil {
		t.Error("the old certificate still opens the door")
	}
}

func TestLoadTLSFaults(t *testing.T) {
	p := newPKI(t)
	write := func(name, text string) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	empty := write("empty.pem", "")
	damaged := write("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	locked := write("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	absent := filepath.Join(t.TempDir(), "absent.pem")
	other := p.authority.Issue(t, "other", nil)
	both := testenv.Chain(t, p.server.KeyFile, p.server.File)
	for _, tt := range []struct {
		name          string
		chain, key, a string
		der           bool
		want          string // empty: it loads
	}{
		{name: "good", chain: p.server.File, key: p.server.KeyFile, a: p.authority.File},
		{name: "key beside the certificate", chain: both},
		{name: "no certificate", chain: absent, key: p.server.KeyFile, want: "Error loading the certificate chain: " + absent + " : no such file or directory"},
		{name: "empty", chain: empty, key: p.server.KeyFile, want: "Error loading the certificate chain: " + empty + " : no certificate in PEM form is in it"},
		{name: "damaged", chain: damaged, key: p.server.KeyFile, want: "Error loading the certificate chain: " + damaged + " : x509: malformed"},
		{name: "key left out", chain: p.server.File, want: "Error loading the key: " + p.server.File + " : no private key in PEM form is in it; name its file with ssl_key"},
		{name: "no key", chain: p.server.File, key: absent, want: "Error loading the key: " + absent + " : no such file"},
		{name: "key of another", chain: p.server.File, key: other.KeyFile, want: "Error loading the key: " + other.KeyFile + " : it is not the key of the first certificate in " + p.server.File},
		{name: "locked", chain: p.server.File, key: locked, want: "Error loading the key: " + locked + " : it is encrypted, and nobody is there to be asked for the password; decrypt it with openssl pkey"},
		{name: "PEM as DER", chain: p.server.File, key: p.server.KeyFile, der: true, want: "Error loading the key: " + p.server.KeyFile + " : "},
		{name: "no authority", chain: both, a: absent, want: "Error loading the CA certificate: " + absent + " : no such file"},
		{name: "empty authority", chain: both, a: empty, want: "Error loading the CA certificate: " + empty + " : no certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadTLS(TLSOptions{Chain: tt.chain, Key: tt.key, DER: tt.der, CA: tt.a})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestTLSListenerWithoutCertificates(t *testing.T) {
	s := newServer(t, Options{Listen: []Listener{{Address: "127.0.0.1:0", TLS: TLS}}})
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "TLS without certificates") {
		t.Errorf("got %v", err)
	}
}
