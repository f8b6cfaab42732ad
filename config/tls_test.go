package config

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
)

func TestTLSOptions(t *testing.T) {
	const files = "-Z -o ssl_chain_cert=c.pem,ssl_key=k.pem "
	const noCA = "clients need certificates, but nobody is named who signs them, so none is admitted: write -o ssl_ca_cert=FILE"
	base := defaultTLS()
	base.On, base.Chain, base.Key = true, "c.pem", "k.pem"
	with := func(change func(*TLSOptions)) TLSOptions {
		o := base
		change(&o)
		return o
	}
	for _, tt := range []struct {
		name  string
		args  string // parted at blanks
		want  TLSOptions
		notes string
	}{
		{"files", files, base, ""},
		{"long", "--enable-ssl -o ssl_chain_cert=c.pem -o ssl_key=k.pem", base, ""},
		{"key beside the certificate", "-Z -o ssl_chain_cert=c.pem", with(func(o *TLSOptions) { o.Key = "" }), ""},
		{"DER", files + "-o ssl_keyformat=2", with(func(o *TLSOptions) { o.KeyFormat = KeyDER }), ""},
		{"verify", files + "-o ssl_verify_mode=3,ssl_ca_cert=a.pem", with(func(o *TLSOptions) { o.Verify, o.CA = 3, "a.pem" }), ""},
		{"verify who likes", files + "-o ssl_verify_mode=1", with(func(o *TLSOptions) { o.Verify = 1 }), ""},
		{"oldest", files + "-o ssl_min_version=0", with(func(o *TLSOptions) { o.MinVersion = tls.VersionTLS10 }), ""},
		{"newest", files + "-o ssl_min_version=3", with(func(o *TLSOptions) { o.MinVersion = tls.VersionTLS13 }), ""},
		{"sessions", files + "-o ssl_session_cache", with(func(o *TLSOptions) { o.SessionCache = true }), ""},
		{"without effect", files + "-o ssl_wbuf_size=64,ssl_kernel_tls", with(func(o *TLSOptions) { o.WriteBuffer, o.Kernel = 64<<10, true }),
			"-o ssl_wbuf_size has no effect: the records of a reply are as large as TLS admits -o ssl_kernel_tls has no effect: the server encrypts by itself"},
		{"nobody who signs", files + "-o ssl_verify_mode=2", with(func(o *TLSOptions) { o.Verify = 2 }), noCA},
		{"nobody who signs for one address", files + "-l 127.0.0.1,mtls:127.0.0.1:1", base, noCA},
		{"UNIX socket", files + "-s /run/x", base, "-Z has no effect on a UNIX socket: what goes through it is not encrypted"},
		{"UDP", files + "-U 5", base, "-Z has no effect on UDP: datagrams are not encrypted"},
		{"off", "-o ssl_session_cache", TLSOptions{KeyFormat: KeyPEM, MinVersion: tls.VersionTLS12, WriteBuffer: 16 << 10, SessionCache: true},
			"the names under -o that begin with ssl_ have no effect without -Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, input(nil, nil, strings.Fields(tt.args)...))
			if c.TLS != tt.want || strings.Join(c.Notes, " ") != tt.notes {
				t.Errorf("got  %+v, notes %q\nwant %+v, notes %q", c.TLS, c.Notes, tt.want, tt.notes)
			}
		})
	}
}

func TestTLSOfAddresses(t *testing.T) {
	c := mustLoad(t, input(nil, nil, "-Z", "-o", "ssl_chain_cert=c.pem,ssl_ca_cert=a.pem", "-U", "12000",
		"-l", "notls:127.0.0.1:1,127.0.0.1:2,btls:[::1]:3,mtls:proto[ascii]:tag_tools_:127.0.0.1"))
	want := []Listen{
		{Host: "127.0.0.1", Port: 1, TLS: "notls"}, {Host: "127.0.0.1", Port: 2}, {Host: "::1", Port: 3, TLS: "btls"},
		{Host: "127.0.0.1", Port: 12000, TLS: "mtls", Proto: "ascii", Tag: "tools"},
	}
	if !slices.Equal(c.Listen, want) {
		t.Errorf("got %+v", c.Listen)
	}
	if len(c.UDP) != 4 || c.UDP[3].Address() != "127.0.0.1:12000" || c.UDP[0].Address() != "127.0.0.1:1" {
		t.Errorf("UDP: %+v", c.UDP)
	}
}

func TestTLSErrors(t *testing.T) {
	for _, tt := range []struct{ name, args, want string }{
		{"no certificate", "-Z", "-Z: Error loading the certificate chain: no file is named; write -o ssl_chain_cert=FILE, and ssl_key=FILE where the key is not in it"},
		{"no port", "-Z -o ssl_chain_cert=c -p 0 -U 1", "-Z: ERROR: You cannot enable SSL without a TCP port. Write one with -p"},
		{"verify mode", "-Z -o ssl_chain_cert=c,ssl_verify_mode=4", "-o ssl_verify_mode: Invalid ssl_verify_mode. Use help to see valid options.; write a whole number from 0 to 3"},
		{"version", "-Z -o ssl_chain_cert=c,ssl_min_version=x", "-o ssl_min_version: Invalid ssl_min_version. Use help to see valid options.; write a whole number from 0 to 3"},
		{"key format", "-Z -o ssl_chain_cert=c,ssl_keyformat=3", "-o ssl_keyformat: bad ssl filetype; write a whole number from 1 to 2"},
		{"empty name", "-Z -o ssl_chain_cert=", "-o ssl_chain_cert: its value is empty; write the name of a file\n" +
			"-Z: Error loading the certificate chain: no file is named; write -o ssl_chain_cert=FILE, and ssl_key=FILE where the key is not in it"},
		{"no value", "-Z -o ssl_chain_cert=c,ssl_key", "-o: Missing ssl_key argument; write ssl_key=FILE"},
		{"cipher", "-Z -o ssl_chain_cert=c,ssl_ciphers=ECDHE-RSA-AES128-GCM-SHA265", `-o ssl_ciphers: Error setting the provided cipher(s): unknown cipher "ECDHE-RSA-AES128-GCM-SHA265"; did you mean ECDHE-RSA-AES128-GCM-SHA256?`},
		{"cipher of TLS 1.3", "-Z -o ssl_chain_cert=c,ssl_ciphers=TLS_AES_128_GCM_SHA256", `-o ssl_ciphers: Error setting the provided cipher(s): "TLS_AES_128_GCM_SHA256" is none of TLS 1.2 or older, and those of TLS 1.3 are always on; leave it out`},
	} {
		t.Run(tt.name, func(t *testing.T) { wantError(t, input(nil, nil, strings.Fields(tt.args)...), tt.want) })
	}
}

func TestCipherSuites(t *testing.T) {
	names := func(suites []uint16) string {
		var all []string
		for i := range ciphers {
			if slices.Contains(suites, ciphers[i].id) {
				all = append(all, ciphers[i].name)
			}
		}
		return strings.Join(all, " ")
	}
	for _, tt := range []struct{ list, want string }{
		{"AES128-SHA", "AES128-SHA"},
		{"TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"},
		{"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-RSA-AES256-GCM-SHA384"},
		{"AES128-SHA AES128-SHA;AES256-SHA", "AES128-SHA AES256-SHA"},
		{"kRSA:!AES256:!SHA256:!AESGCM", "AES128-SHA"},
		{"ECDHE+AESGCM+aRSA", "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES256-GCM-SHA384"},
		{"CHACHA20:@STRENGTH:+RSA", "ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305"},
		{"!kRSA:HIGH:!aNULL:!MD5:!AES:!ECDSA", "ECDHE-RSA-CHACHA20-POLY1305"},
		{"kRSA+AES128:-AESGCM:AES128-GCM-SHA256:-SHA256", "AES128-GCM-SHA256 AES128-SHA"},
	} {
		got, fault := cipherSuites(tt.list)
		if fault != "" || names(got) != tt.want {
			t.Errorf("%s: got %s, %s", tt.list, names(got), fault)
		}
	}
	for list, want := range map[string]string{
		"":             "no cipher is left",
		"RC4-MD5":      "unknown cipher",
		"HIGH:!ALL":    "no cipher is left",
		"ECDHE+RC4":    "unknown cipher",
		"@SECLEVEL=0":  "unknown cipher",
		"DES-CBC3-SHA": "unknown cipher",
	} {
		if got, fault := cipherSuites(list); got != nil || !strings.HasPrefix(fault, want) {
			t.Errorf("%s: got %v, %q", list, got, fault)
		}
	}
	// The default is what crypto/tls chooses by itself.
	chosen, _ := cipherSuites("DEFAULT")
	for _, suite := range tls.CipherSuites() {
		if slices.Contains(suite.SupportedVersions, tls.VersionTLS12) != slices.Contains(chosen, suite.ID) {
			t.Errorf("%s is wrong", suite.Name)
		}
	}
}
