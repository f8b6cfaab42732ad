package server

import (
	"os"
	"strings"
	"testing"
)

// TestClientsWithPasswords runs the libraries that can show who they are, with right and wrong passwords, on memcached and on
// ours. Each has to say the same of both.
func TestClientsWithPasswords(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	rightOracle(t)
	theirs := saslMemcached(t, host)
	const hashed = ":$2y$05$N1tQJ4f4Ni1yESPjLqkDA.wJ.yF08qx/WZwVaNl/n1ZCMqgdVBxR2"
	_, ours := startServer(t, Options{FailDelay: soon, Users: usersOf(t, SASLUsers, "other"+hashed, "testuser@"+host+":testpass")})
	for _, c := range []struct {
		name string
		run  func(t *testing.T) clientRun
	}{
		{"php-memcached", func(t *testing.T) clientRun { return php(t, "auth.php") }},
		{"pylibmc", func(t *testing.T) clientRun {
			return program(python(t, "pylibmc", "python3-pylibmc"), "auth.py", "pylibmc")
		}},
		{"python-binary-memcached", func(t *testing.T) clientRun {
			return program(python(t, "bmemcached", "python3-binary-memcached"), "auth.py", "bmemcached")
		}},
		{"dalli", func(t *testing.T) clientRun {
			return program(interpreter(t, "apt-get install ruby ruby-dalli", []string{"-e", "require 'dalli'"}, "/usr/bin/ruby", "ruby"), "auth.rb")
		}},
		{"memjs", func(t *testing.T) clientRun {
			return program(interpreter(t, "internal/testenv/install.sh", []string{"-e", "require('memjs')"}, "node"), "auth.js")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := c.run(t)
			var said [2]string
			for i, addr := range []string{ours, theirs} {
				out, err := run("steps", addr)
				if err != nil {
					t.Fatal(err)
				}
				said[i] = strings.ReplaceAll(out, addr, "SERVER")
			}
			if !strings.HasSuffix(said[1], "done\n") || !strings.Contains(said[1], "value") {
				t.Fatalf("of memcached it says\n%s", said[1])
			}
			compareLines(t, strings.Split(said[0], "\n"), strings.Split(said[1], "\n"))
			t.Logf("%s", said[0])
		})
	}
}
