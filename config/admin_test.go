package config

import (
	"fmt"
	"strings"
	"testing"
)

const goodToken = "0123456789abcdef"

func TestAdmin(t *testing.T) {
	local := Admin{Listen: DefaultAdmin, Words: "local"}
	with := func(change func(a *Admin)) Admin {
		a := local
		change(&a)
		return a
	}
	at := func(addr string) Admin {
		return with(func(a *Admin) { a.Listen, a.Explicit = addr, true })
	}
	for _, tt := range []struct {
		name string
		args string // parted at blanks
		yaml string
		want Admin
	}{
		{"default", "", "", local},
		{"off", "-o admin=off", "", at("")},
		{"a port", "-o admin=9000", "", at("127.0.0.1:9000")},
		{"any free port", "-o admin=0", "", at("127.0.0.1:0")},
		{"an address", "-o admin=127.0.0.2:9000", "", at("127.0.0.2:9000")},
		{"IPv6", "-o admin=[::1]:9000", "", at("[::1]:9000")},
		{"a name", "-o admin=localhost:9000", "", at("localhost:9000")},
		{"words and profiles", "-o admin_words=any,admin_pprof", "", with(func(a *Admin) { a.Words, a.Pprof = "any", true })},
		{"file", "", "admin:\n  listen: 127.0.0.1:9000\n  hosts: [cache, cache.example.net]\n  pprof: true\n  words: off", Admin{
			Listen: "127.0.0.1:9000", Explicit: true, Hosts: []string{"cache", "cache.example.net"}, Pprof: true, Words: "off",
		}},
		{"file, one host", "", "admin: {hosts: cache}", with(func(a *Admin) { a.Hosts = []string{"cache"} })},
		{"file, off", "", "admin: {listen: off}", at("")},
		{"everywhere with a token", "", "admin: {listen: \":9696\", token: \"${TOKEN}\"}", Admin{
			Listen: "0.0.0.0:9696", Explicit: true, Token: goodToken, Words: "local",
		}},
		{"the command line wins", "-o admin=9000,admin_words=any,admin_pprof", "admin: {listen: 10.0.0.1:9001, words: local, pprof: false, hosts: [a]}", Admin{
			Listen: "127.0.0.1:9000", Explicit: true, Hosts: []string{"a"}, Pprof: true, Words: "any",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Fields(tt.args)
			if tt.yaml != "" {
				args = append(args, "--config=f.yaml")
			}
			c := mustLoad(t, input(map[string]string{"f.yaml": tt.yaml}, map[string]string{"TOKEN": goodToken}, args...))
			if got, want := fmt.Sprintf("%+v %s", c.Admin, c.Admin.Token.Reveal()), fmt.Sprintf("%+v %s", tt.want, tt.want.Token.Reveal()); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestAdminErrors(t *testing.T) {
	const remote = `can be reached from other machines, so it needs a token; write admin: {token: "${ADMIN_TOKEN}"} in the file of --config, or listen on 127.0.0.1`
	for _, tt := range []struct {
		name string
		args string // parted at blanks
		yaml string
		want string
	}{
		{"no address", "-o admin=host", "", `-o admin: "host" is no address; write an address such as 127.0.0.1:9696, a port, or off`},
		{"no port", "-o admin=host:x", "", `-o admin: "host:x" is no address; write an address such as 127.0.0.1:9696, a port, or off`},
		{"no value", "-o admin", "", `-o: Missing admin argument; write admin=ADDR`},
		{"words", "-o admin_words=me", "", `-o admin_words: it is none of local, any, off`},
		{"everywhere", "-o admin=:9696", "", "admin: 0.0.0.0:9696 " + remote},
		{"a name that may be anything", "-o admin=cache:9696", "", "admin: cache:9696 " + remote},
		{"everywhere in the file", "", "admin:\n  listen: \"[::]:9696\"\n", "f.yaml:2: admin: [::]:9696 " + remote},
		{"short token", "", "admin: {token: secret}", "f.yaml:1: admin: token: it is short enough to be guessed; write 16 characters or more, such as openssl rand -hex 16 makes"},
		{"no token in the environment", "", "admin: {listen: 10.0.0.1:1, token: \"${NONE}\"}", "f.yaml:1: admin: token: the environment has no NONE; set it, or write the value in place of ${NONE}"},
		{"host with a port", "", "admin: {hosts: [\"a:1\"]}", `f.yaml:1: admin: hosts: "a:1" is no name of a host; write it in small letters, without a port`},
		{"neither", "", "admin: {pprof: perhaps}", `f.yaml:1: admin: pprof: "perhaps" is neither true nor false`},
		{"unknown", "", "admin: {lisen: off}", `f.yaml:1: admin: unknown field "lisen"; did you mean listen?`},
		{"listen", "", "admin: {listen: nowhere}", `f.yaml:1: admin: listen: "nowhere" is no address; write an address such as 127.0.0.1:9696, a port, or off`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Fields(tt.args)
			if tt.yaml != "" {
				args = append(args, "--config=f.yaml")
			}
			wantError(t, input(map[string]string{"f.yaml": tt.yaml}, nil, args...), tt.want)
		})
	}
}

// Whoever asks a server that runs needs to know where it is, and nothing of what it needs itself.
func TestAskingReadsAdminAlone(t *testing.T) {
	const file = `
admin: {listen: "10.0.0.1:9000", token: "${TOKEN}"}
sources: {main: {kind: postgres, dsn: "${DATABASE_URL}"}}
routes: [{name: half, key: written}]
warm: {route: gone, from: table}
`
	for env, want := range map[string]string{"TOKEN": goodToken, "OTHER": ""} {
		in := input(map[string]string{"f.yaml": file}, map[string]string{env: goodToken}, "--config=f.yaml")
		in.Asking = true
		c := mustLoad(t, in)
		if c.Admin.Listen != "10.0.0.1:9000" || c.Admin.Token.Reveal() != want || len(c.Sources)+len(c.Routes)+len(c.Warm) > 0 {
			t.Errorf("with %s: %+v, token %q", env, c, c.Admin.Token.Reveal())
		}
	}
	in := input(map[string]string{"f.yaml": "admin: {listen: nowhere}\n"}, nil, "--config=f.yaml")
	in.Asking = true
	if _, err := Load(in); err == nil || !strings.Contains(err.Error(), `"nowhere" is no address`) {
		t.Errorf("a wrong address: %v", err)
	}
}
