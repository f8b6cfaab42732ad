package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"swordfish/config"
)

// -U arrives with the addresses of -l, and others are told of the ports.
func TestUDP(t *testing.T) {
	r := startApp(t, "", "-U", "-1", "-l", "127.0.0.1,[::1]")
	if got := r.ask("set a 0 0 1\r\nx"); got != "STORED" {
		t.Fatal(got)
	}
	if n := len(r.server.UDPAddrs()); n != 2 {
		t.Fatalf("%d addresses for UDP", n)
	}
	for _, addr := range r.server.UDPAddrs() {
		c, err := net.Dial("udp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		c.Write([]byte("\x00\x05\x00\x00\x00\x01\x00\x00get a\r\n"))
		buf := make([]byte, 2000)
		n, err := c.Read(buf)
		if got := string(buf[:n]); err != nil || got != "\x00\x05\x00\x00\x00\x01\x00\x00VALUE a 0 1\r\nx\r\nEND\r\n" {
			t.Errorf("%s: %q, %v", addr, got, err)
		}
	}
	settings := r.ask("stats settings")
	for _, want := range []string{"STAT udpport -1\n", "STAT num_threads_per_udp 1\n"} {
		if !strings.Contains(settings, want) {
			t.Errorf("settings lack %q", want)
		}
	}
	name := filepath.Join(t.TempDir(), "ports")
	t.Setenv("MEMCACHED_PORT_FILENAME", name)
	if err := r.announce(r.config.Load()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if want := regexp.MustCompile(`^TCP INET: \d+\nTCP INET6: \d+\nUDP INET: \d+\nUDP INET6: \d+\n$`); err != nil || !want.Match(text) {
		t.Errorf("ports: %q, %v", text, err)
	}
}

// Without TCP there is nothing for the demo to be tried by.
func TestDemoWithoutTCP(t *testing.T) {
	err := demo([]string{"-p", "0", "-U", "12345"}, os.Stdout, os.Stderr)
	if err == nil || !strings.Contains(err.Error(), "-p 0: the demo") {
		t.Errorf("got %v", err)
	}
	if c, err := config.Load(config.Input{Args: []string{"-p", "0", "-U", "12345"}}); err != nil || defaultInterfaces(c) != "NULL" {
		t.Errorf("got %v", err)
	}
}
