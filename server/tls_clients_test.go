package server

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// openssl runs `openssl s_client` to addr, says the commands of said one after the other, each once the answer of the one
// before has come, and returns all that s_client prints. The last command ends the connection.
func openssl(t *testing.T, addr string, said []string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		testenv.Missing(t, "openssl", "apt-get install openssl")
	}
	cmd := exec.Command(path, append([]string{"s_client", "-connect", addr, "-no_ign_eof"}, args...)...)
	var all bytes.Buffer
	cmd.Stderr = &all
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	var printed bytes.Buffer
	buf := make([]byte, 64<<10)
	for _, command := range said {
		if _, err := io.WriteString(in, command); err != nil {
			break // it has ended, which what it printed shows
		}
		answers := printed.Len()
		for !strings.HasPrefix(command, "quit") {
			n, err := out.Read(buf)
			printed.Write(buf[:n])
			if err != nil || bytes.Contains(printed.Bytes()[answers:], []byte("END\r\n")) {
				break
			}
		}
	}
	io.Copy(&printed, out)
	in.Close()
	err = cmd.Wait()
	return printed.String() + all.String(), err
}

func TestTLSOpenSSL(t *testing.T) {
	p := newPKI(t)
	p.server = p.authority.IssueRSA(t, "server")
	client, stranger := p.authority.Issue(t, "client", nil), testenv.NewAuthority(t, "stranger")
	strict := []string{"-CAfile", p.authority.File, "-verify_return_error", "-verify_hostname", "localhost"}
	shown := append([]string{"-cert", client.File, "-key", client.KeyFile}, strict...)
	foreign := stranger.Issue(t, "client", nil)
	talkSome := []string{"set a 0 0 5\r\nhello\r\nget a\r\n", "gets a\r\n", "quit\r\n"}
	oldAndNew := func(o *TLSOptions) { o.MinVersion = tls.VersionTLS10 }
	for _, tt := range []struct {
		name   string
		change func(*TLSOptions)
		args   []string
		want   string // in what it prints; with "!" before it the client is refused
	}{
		{"TLS 1.3", nil, append([]string{"-tls1_3"}, strict...), "TLSv1.3"},
		{"TLS 1.2", nil, append([]string{"-tls1_2"}, strict...), "TLSv1.2"},
		{"TLS 1.1 is too old", nil, []string{"-tls1_1", "-cipher", "ALL@SECLEVEL=0"}, "!alert protocol version"},
		{"TLS 1.1 where it is admitted", oldAndNew, []string{"-tls1_1", "-cipher", "ALL@SECLEVEL=0"}, "TLSv1.1"},
		{"TLS 1.2 is too old", func(o *TLSOptions) { o.MinVersion = tls.VersionTLS13 }, []string{"-tls1_2"}, "!alert protocol version"},
		{"cipher", func(o *TLSOptions) { o.Suites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384} }, []string{"-tls1_2"}, "Cipher is ECDHE-RSA-AES256-GCM-SHA384"},
		{"no cipher in common", func(o *TLSOptions) { o.Suites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384} }, []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}, "!handshake failure"},
		{"another host", nil, []string{"-CAfile", p.authority.File, "-verify_return_error", "-verify_hostname", "example.com"}, "!hostname mismatch"},
		{"another authority", nil, []string{"-CAfile", stranger.File, "-verify_return_error"}, "!verify error"},
		{"certificate shown", func(o *TLSOptions) { o.Verify = VerifyRequire }, shown, "Verify return code: 0 (ok)"},
		{"no certificate shown", func(o *TLSOptions) { o.Verify = VerifyRequire }, append([]string{"-tls1_2"}, strict...), "!handshake failure"},
		{"another's certificate", func(o *TLSOptions) { o.Verify = VerifyGiven }, []string{"-tls1_2", "-cert", foreign.File, "-key", foreign.KeyFile}, "!alert"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := startServer(t, p.options(t, tt.change))
			got, err := openssl(t, addr, talkSome, tt.args...)
			want, refused := strings.CutPrefix(tt.want, "!")
			const answer = "STORED\r\nVALUE a 0 5\r\nhello\r\nEND\r\n"
			if strings.Contains(got, answer) == refused || !refused && (err != nil || !strings.Contains(got, "VALUE a 0 5 ")) || !strings.Contains(got, want) {
				t.Errorf("want %q, got %v and\n%s", tt.want, err, got)
			}
		})
	}
}

const pythonTLS = `
import socket, ssl, sys
port, ca, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
c = ssl.create_default_context(cafile=ca)
c.minimum_version = c.maximum_version = ssl.TLSVersion[version]
if len(sys.argv) > 4:
    c.load_cert_chain(sys.argv[4], sys.argv[5])
session = None
for i in range(3):
    with c.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost", session=session) as s:
        f = s.makefile("rwb")
        value = b"v" * 1000000
        f.write(b"set k 0 0 %d\r\n%s\r\nget k\r\n" % (len(value), value))
        f.flush()
        assert f.readline() == b"STORED\r\n"
        assert f.readline() == b"VALUE k 0 1000000\r\n"
        assert f.read(len(value) + 7) == value + b"\r\nEND\r\n"
        print(s.version(), s.session_reused)
        session = s.session
        f.write(b"quit\r\n")
        f.flush()
        assert f.read() == b""
`

func TestTLSPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		testenv.Missing(t, "python3", "apt-get install python3")
	}
	p := newPKI(t)
	client := p.authority.Issue(t, "client", nil)
	_, addr := startServer(t, p.options(t, func(o *TLSOptions) { o.Verify = VerifyRequire }))
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	for version, want := range map[string]string{
		"TLSv1_2": "TLSv1.2 False\nTLSv1.2 True\nTLSv1.2 True\n",
		"TLSv1_3": "TLSv1.3 False\nTLSv1.3 True\nTLSv1.3 True\n",
	} {
		got, err := exec.Command(python, "-c", pythonTLS, port, p.authority.File, version, client.File, client.KeyFile).CombinedOutput()
		if err != nil || string(got) != want {
			t.Errorf("%s: %v, %s", version, err, got)
		}
		got, err = exec.Command(python, "-c", pythonTLS, port, p.authority.File, version).CombinedOutput()
		if err == nil || !strings.Contains(string(got), "ssl.SSLError") && !strings.Contains(string(got), "Error") {
			t.Errorf("%s without a certificate: %v, %s", version, err, got)
		}
	}
}

// What stats tells of TLS is what memcached tells.
func TestTLSStatsLikeMemcached(t *testing.T) {
	p := newPKI(t)
	for _, cache := range []string{"", ",ssl_session_cache"} {
		oracle(t) // of the right version, which -Z keeps from being asked in the clear
		memcached := testenv.Memcached(t, "-Z", "-o", fmt.Sprintf("ssl_chain_cert=%s,ssl_key=%s%s", p.server.File, p.server.KeyFile, cache))
		_, addr := startServer(t, p.options(t, func(o *TLSOptions) { o.CountSessions = cache != "" }))
		ours, theirs := p.secretly(t, addr, nil), p.secretly(t, memcached, nil)
		for _, word := range []string{"stats\r\n", "stats settings\r\n"} {
			got, _ := statNames(t, ours.ask(word, "END"))
			want, _ := statNames(t, theirs.ask(word, "END"))
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%q\ngot  %s\nwant %s", word, got, want)
			}
		}
	}
}

func TestRefreshCertsLikeMemcached(t *testing.T) {
	_, addr := startServer(t, Options{})
	ours, theirs := talk(t, addr), talk(t, oracle(t))
	for _, said := range []string{"refresh_certs\r\n", "refresh_certs noreply\r\n", "refresh_certs a b c\r\n", " refresh_certs\r\n", "REFRESH_CERTS\r\n"} {
		if got, want := ours.ask(said, ""), theirs.ask(said, ""); got != want {
			t.Errorf("%q: got %q, want %q", said, got, want)
		}
	}
	p := newPKI(t)
	_, addr = startServer(t, p.options(t, nil))
	c := p.secretly(t, addr, nil)
	for _, said := range []string{"refresh_certs\r\n", "refresh_certs noreply\r\n", "refresh_certs a b c\r\n"} {
		if got := c.ask(said, ""); got != "OK\r\n" {
			t.Errorf("%q: got %q", said, got)
		}
	}
}

// Who watches connections learns why one was refused.
func TestTLSFaultsAreWatched(t *testing.T) {
	p := newPKI(t)
	o := p.options(t, nil)
	o.Listen = append(o.Listen, Listener{Address: "127.0.0.1:0"})
	s, addr := startServer(t, o)
	watcher := talk(t, s.Addrs()[1].String())
	watcher.ask("watch connevents\r\n", "OK")
	c := dial(t, addr)
	c.Write([]byte("version\r\n"))
	io.ReadAll(c)
	for {
		line, err := watcher.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, " type=conntlserr fd=") {
			if !strings.Contains(line, " msg=tls: first record does not look like a TLS handshake\n") {
				t.Errorf("got %q", line)
			}
			return
		}
	}
}
