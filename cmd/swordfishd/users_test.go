package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
