package load

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// TestRunTLSAgainstMemcached asks a real server over TLS, on lasting connections and on new ones.
func TestRunTLSAgainstMemcached(t *testing.T) {
	server := testenv.NewAuthority(t, "bench").Issue(t, "localhost", nil)
	addr := testenv.Memcached(t, "-Z", "-o", "ssl_chain_cert="+server.File+",ssl_key="+server.KeyFile)
	const keys = 2000
	v, err := ParseSizes("10-5000")
	if err != nil {
		t.Fatal(err)
	}
	base := Load{
		Keys: Keys{Size: 24}, Values: v, Objects: keys, Conns: 3, Pipeline: 1, Multiget: 1,
		Sequence: func(seed uint64) Sequence { return Uniform(keys, seed) },
		TLS:      &tls.Config{InsecureSkipVerify: true},
	}
	if err := Fill(&base, addr, keys, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*Load)
		wrong  string // part of the error
	}{
		{name: "pipeline 16", change: func(l *Load) { l.Pipeline = 16 }},
		{name: "sets", change: func(l *Load) { l.Sets = 0.5 }},
		{name: "misses", change: func(l *Load) { l.Offset = keys }},
		{name: "new sessions", change: func(l *Load) { l.Reconnect = true }},
		{name: "resumed sessions", change: func(l *Load) {
			l.Reconnect = true
			l.TLS = &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		}},
		{name: "sessions that cannot be resumed", wrong: "resumed no session", change: func(l *Load) {
			l.Reconnect = true
			l.TLS = &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1), SessionTicketsDisabled: true}
		}},
		{name: "another name", wrong: "handshake", change: func(l *Load) { l.TLS = &tls.Config{ServerName: "example.net"} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := base
			tc.change(&l)
			edges := 0
			r, err := Run(&l, addr, nil, 50*time.Millisecond, 300*time.Millisecond, func() { edges++ }, func() { edges++ })
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) {
					t.Fatalf("got error %v, want one with %q", err, tc.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Operations == 0 || r.Operations != r.Hits+r.Misses+r.Sets || edges != 2 || r.Latency.TotalCount() == 0 || r.ClientCPU <= 0 {
				t.Errorf("got %+v", r)
			}
			if (r.Misses > 0) != (l.Offset > 0) || (r.Sets > 0) != (l.Sets > 0) {
				t.Errorf("got %d misses and %d sets of %d", r.Misses, r.Sets, r.Operations)
			}
		})
	}
}
