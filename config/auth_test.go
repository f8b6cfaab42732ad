package config

import (
	"slices"
	"strings"
	"testing"
)

// Both ways to authenticate keep connections to the protocol they are for.
func TestAuthOptions(t *testing.T) {
	env := map[string]string{"MEMCACHED_SASL_PWDB": "/etc/pwdb"}
	for _, tt := range []struct {
		args, protocol, sasl, text string
		notes                      []string
	}{
		{"-B auto", "auto", "", "", nil},
		{"-S", "binary", "/etc/pwdb", "", nil},
		{"--enable-sasl -B binary", "binary", "/etc/pwdb", "", nil},
		{"-S --sasl-pwdb=/etc/mine", "binary", "/etc/mine", "", nil},
		{"-S -l proto[binary]:127.0.0.1", "binary", "/etc/pwdb", "", nil},
		{"-Y /etc/users", "ascii", "", "/etc/users", nil},
		{"-B ascii --auth-file=/etc/users", "ascii", "", "/etc/users", nil},
		{"-S -Y /etc/users", "ascii", "", "/etc/users", []string{"-S has no effect: -Y comes before it"}},
		{"-Y /etc/users -l proto[negotiating]:127.0.0.1", "ascii", "", "/etc/users", []string{"negotiating ports are ascii only when ascii authentication enabled"}},
		{"--sasl-pwdb=/etc/mine", "auto", "/etc/mine", "", []string{"--sasl-pwdb has no effect without -S"}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			c := mustLoad(t, input(nil, env, strings.Fields(tt.args)...))
			if c.Protocol != tt.protocol || c.SASLFile != tt.sasl || c.AuthFile != tt.text || !slices.Equal(c.Notes, tt.notes) {
				t.Errorf("got %+v", c)
			}
			for _, l := range c.Listen {
				if l.Proto != "" && l.Proto != tt.protocol {
					t.Errorf("listens for %q", l.Proto)
				}
			}
		})
	}
}

func TestAuthOptionErrors(t *testing.T) {
	env := map[string]string{"MEMCACHED_SASL_PWDB": "/etc/pwdb"}
	for _, tt := range []struct {
		name, args string
		env        map[string]string
		want       string
	}{
		{"nobody", "-S", nil, "-S: nobody has a password; write --sasl-pwdb=FILE or set MEMCACHED_SASL_PWDB=FILE, a file of user:password lines (the database of saslpasswd2 is not read)"},
		{"nobody in the environment", "-S", map[string]string{"MEMCACHED_SASL_PWDB": ""}, "-S: nobody has a password; write --sasl-pwdb=FILE or set MEMCACHED_SASL_PWDB=FILE, a file of user:password lines (the database of saslpasswd2 is not read)"},
		{"SASL, auto", "-S -B auto", env, "-S: You cannot allow the ASCII protocol while using SASL. Take -B auto out, or write -B binary"},
		{"SASL, ascii", "-B binary -B ascii -S", env, "-S: You cannot allow the ASCII protocol while using SASL. Take -B ascii out, or write -B binary"},
		{"SASL, UDP", "-S -U 11211", env, "-S: Cannot enable UDP while using binary SASL authentication. Take -U 11211 out"},
		{"SASL, one port without", "-S -l proto[ascii]:127.0.0.1", env, "-l: -S needs the binary protocol; take proto[ascii] out"},
		{"SASL, one port with both", "-S -l proto[negotiating]:127.0.0.1", env, "-l: -S needs the binary protocol; take proto[negotiating] out"},
		{"text, auto", "-Y /etc/users -B auto", env, "-Y: You cannot allow the BINARY protocol while using ascii authentication tokens. Take -B auto out, or write -B ascii"},
		{"text, binary", "-Y /etc/users -B binary", env, "-Y: You cannot allow the BINARY protocol while using ascii authentication tokens. Take -B binary out, or write -B ascii"},
		{"text, UDP", "-Y /etc/users -U 11211", env, "-Y: Cannot use UDP with ascii authentication enabled (-U 0 to disable)"},
		{"text, binary port", "-Y /etc/users -l proto[binary]:127.0.0.1", env, "-l: Cannot use binary protocol when ascii authentication enabled; take proto[binary] out"},
		{"no file", "--auth-file=", env, "-Y: its value is empty; write -Y FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, input(nil, tt.env, strings.Fields(tt.args)...), tt.want)
		})
	}
}
