package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// passwordFile writes a password file; a second call for the same path replaces it.
func passwordFile(t *testing.T, path, text string) string {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "passwords")
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What is wrong with a password file ends the start, with its line and a remedy, and check says the same.
func TestBadPasswordFiles(t *testing.T) {
	t.Setenv("MEMCACHED_SASL_PWDB", "")
	bad := passwordFile(t, "", "foo:bar\nnobody\n")
	for _, test := range []struct{ name, args, want string }{
		{"-Y", "-Y " + bad, "password file " + bad + ":2: there is no colon in it; write user:password"},
		{"-S", "-S --sasl-pwdb=" + bad, "password file " + bad + ":2: there is no colon in it; write user:password"},
		{"no file", "-Y /nowhere", "password file: open /nowhere: no such file or directory; it has to be there and readable for the user that the server runs as"},
		{"a directory", "-Y /", "password file: read /: is a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, command := range []string{"serve", "check"} {
				var out, errOut bytes.Buffer
				args := append([]string{command, "-p", "-1"}, strings.Fields(test.args)...)
				if code := run(args, &out, &errOut); code != exitUsage || errOut.String() != "swordfishd: "+test.want+"\n" {
					t.Errorf("%s: exit code %d, %q; want %q", command, code, errOut.String(), test.want)
				}
			}
		})
	}
}

// A reload takes the password file over, for those who come from then on; a bad one changes nothing.
func TestReloadOfPasswords(t *testing.T) {
	path := passwordFile(t, "", "foo:bar\n")
	r := startApp(t, "", "-Y", path)
	login := func(userPassword, want string) {
		t.Helper()
		r.dial()
		if got := r.ask("set a 0 0 7\r\n" + userPassword); got != want {
			t.Errorf("%s: got %q, want %q", userPassword, got, want)
		}
	}
	const stored, refused = "STORED", "CLIENT_ERROR authentication failure"
	login("foo baz", refused)
	login("foo bar", stored)
	if settings := r.ask("stats settings"); !strings.Contains(settings, "STAT auth_enabled_ascii "+path+"\n") || !strings.Contains(settings, "STAT binding_protocol ascii\n") {
		t.Errorf("got\n%s", settings)
	}
	r.log.take(t)

	passwordFile(t, path, "foo:baz\n")
	if got := r.ask("reload"); got != "OK" {
		t.Fatalf("got %q", got)
	}
	if got := r.ask("version"); got != "VERSION 1.6.45" {
		t.Errorf("who was in is out: %q", got)
	}
	login("foo bar", refused)
	login("foo baz", stored)

	r.log.take(t)
	passwordFile(t, path, "foo:$1$x$y\n")
	want := "password file " + path + ":1: a hash of the kind $1$ is not taken; make it with htpasswd -nB USER, or openssl passwd -6"
	if got := r.ask("reload"); got != "CLIENT_ERROR "+want {
		t.Errorf("got %q", got)
	}
	if got := r.log.take(t); !slices.Contains(got, "level=error error="+want+" message=reload: nothing was changed") {
		t.Errorf("logged\n%s", strings.Join(got, "\n"))
	}
	login("foo baz", stored)

	passwordFile(t, path, "foo:baz\n"+strings.Repeat("foo:bar\n", 8))
	r.ask("reload")
	if got := r.log.take(t); !slices.Contains(got, "level=warn message=the password file has more than 8 users: as in memcached, line 9 and what follows it is left out") {
		t.Errorf("logged\n%s", strings.Join(got, "\n"))
	}
}

// TestSecretsOfSASL: neither a password or a hash in the file of -S nor one that a client tries is told by anything, also where the
// file has become one that cannot be read.
func TestSecretsOfSASL(t *testing.T) {
	const right, wrong, token = "s4sl-right-of-a-client", "s4sl-wr0ng-of-a-client", "t0ken-for-the-admin-port"
	const hash = "$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE" // of nothing
	level := zerolog.GlobalLevel()
	defer zerolog.SetGlobalLevel(level)
	zerolog.SetGlobalLevel(zerolog.TraceLevel)
	t.Setenv("ADMIN_TOKEN", token)
	file := passwordFile(t, "", "fish:"+right+"\nother:"+hash+"\n")
	r := startApp(t, "admin: {listen: \"127.0.0.1:0\", token: \"${ADMIN_TOKEN}\"}\n", "-S", "--sasl-pwdb="+file)
	if err := r.startAdmin(&r.config.Load().Admin); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", r.server.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	// ask sends a packet and returns the status of the answer and all of its bytes, up to an empty one for stats.
	ask := func(opcode byte, key, value string) (status uint16, all string) {
		packet := make([]byte, 24, 24+len(key)+len(value))
		packet[0], packet[1], packet[3] = 0x80, opcode, byte(len(key))
		binary.BigEndian.PutUint32(packet[8:], uint32(len(key)+len(value)))
		if _, err := c.Write(append(append(packet, key...), value...)); err != nil {
			t.Fatal(err)
		}
		for {
			head := make([]byte, 24)
			if _, err := io.ReadFull(c, head); err != nil {
				t.Fatal(err)
			}
			body := make([]byte, binary.BigEndian.Uint32(head[8:]))
			if _, err := io.ReadFull(c, body); err != nil {
				t.Fatal(err)
			}
			status = binary.BigEndian.Uint16(head[6:])
			all += string(body) + "\n"
			if opcode != 0x10 || len(body) == 0 || status != 0 {
				return status, all
			}
		}
	}
	told := map[string]string{}
	login := func(user, password string, want uint16) {
		t.Helper()
		status, said := ask(0x21, "PLAIN", "\x00"+user+"\x00"+password)
		if status != want {
			t.Errorf("%s: status %#x, want %#x", user, status, want)
		}
		told["login of "+user+" with "+password[:6]] = said
	}
	login("fish", wrong, 0x20)
	login("other", wrong, 0x20)
	login("fish", right, 0)
	for _, word := range []string{"settings", "fish", "conns"} {
		_, told["stats "+word] = ask(0x10, word, "")
	}
	for _, path := range []string{"/metrics", "/api/stats"} {
		_, told[path] = r.http("GET", path, token)
	}
	if err := os.WriteFile(file, []byte("fish "+right+" "+strings.Repeat("x", 300)+"\n"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.reload(); err == nil {
		t.Error("a file without users was taken")
	} else {
		told["reload"] = err.Error()
	}
	var out, errOut bytes.Buffer
	run([]string{"-S", "--sasl-pwdb=" + file, "-p", "-1", "-l", "127.0.0.1"}, &out, &errOut)
	told["a start"] = out.String() + errOut.String()
	r.log.mu.Lock()
	told["log"] = r.log.b.String()
	r.log.mu.Unlock()
	wantSilence(t, told, right, wrong, token, hash)
}
