//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"swordfish/testdata"
)

// TestE2EDemoAsPrinted types what the demo prints, as a newcomer does with telnet.
func TestE2EDemoAsPrinted(t *testing.T) {
	p := start(t, nil, "demo", "-p", "-1")
	var text string
	eventually(t, "the demo says what to type", func() bool {
		if !p.running() {
			t.Fatalf("it ended:\n%s", tail(p.log))
		}
		text = tail(p.out)
		return strings.Contains(text, "Ctrl-C")
	})
	telnet := regexp.MustCompile(`(?m)^ +telnet (\S+) (\d+)$`).FindStringSubmatch(text)
	gets := regexp.MustCompile(`(?m)^get (\S+)$`).FindAllStringSubmatch(text, -1)
	if telnet == nil || len(gets) != 2 {
		t.Fatalf("got no line for telnet, or not two gets, in:\n%s", text)
	}
	first, second := gets[0][1], gets[1][1]
	if first == second {
		t.Errorf("both gets ask %s", first)
	}
	c := dial(t, net.JoinHostPort(telnet[1], telnet[2]))
	if c.hits(first) {
		t.Errorf("the first get hits")
	}
	c.routeReaches("loaded", 1) // people take longer to paste a line
	value, flags, _ := c.get(second)
	if want := characteristic(t, testdata.ColdCountry, &testdata.Devices()[0]); value != want || flags != 0 {
		t.Errorf("%s: got %q with flags %d, want %q", second, value, flags, want)
	}
	for _, line := range []string{"stats", "stats routes", "quit"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the demo does not print %q", line)
		}
	}
	st := c.stats()
	if st["get_hits"] != "1" || st["get_misses"] != "1" || st["curr_items"] != "1" {
		t.Errorf("stats: got %s hits, %s misses, %s items, want one each", st["get_hits"], st["get_misses"], st["curr_items"])
	}
	c.send("quit\r\n")
	if b, err := io.ReadAll(c.in); len(b) > 0 || err != nil {
		t.Errorf("after quit: got %q, %v", b, err)
	}
	p.end(syscall.SIGINT)
}

// characteristic returns the payload that belongs to a request.
func characteristic(t testing.TB, country string, d *testdata.Device) string {
	t.Helper()
	for i := range testdata.Characteristics() {
		c := &testdata.Characteristics()[i]
		if c.Country == country && c.OS == d.OS && c.Browser == d.Browser && c.Category == d.Category {
			return c.Payload
		}
	}
	t.Fatalf("no characteristic for %s and device %d", country, d.ID)
	return ""
}

// TestE2EExitCodes runs what answers or fails at once.
func TestE2EExitCodes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	good := writeFile(t, dir, "good.yaml", config{dsn: "postgres://nobody@127.0.0.1:1/none"}.String())
	typo := writeFile(t, dir, "typo.yaml", strings.Replace(config{dsn: "x"}.String(), "    source: main\n", "    sauce: main\n", 1))
	broken := writeFile(t, dir, "broken.yaml", "sources:\n  main: {kind: postgres\nroutes:\n")
	pattern := writeFile(t, dir, "pattern.yaml", strings.Replace(config{dsn: "x"}.String(), "|dev=", "#dev=", 1))
	key := string(testdata.AppendKey(nil, "IN", &testdata.Devices()[0]))
	for _, tc := range []struct {
		name   string
		args   []string
		code   int
		stdout []string // parts of it
		stderr []string
	}{
		{"help", []string{"-h"}, 0, []string{"Usage:", "demo", "check", "--config", "-m", "Exit codes"}, nil},
		{"help in words", []string{"help"}, 0, []string{"Usage:"}, nil},
		{"help of a subcommand", []string{"demo", "-h"}, 0, []string{"Usage:"}, nil},
		{"version", []string{"version"}, 0, []string{"swordfishd ", "go1."}, nil},
		{"version as memcached", []string{"-V"}, 0, []string{"memcached 1.6.45\nswordfishd "}, nil},
		{"port taken", []string{"-p", port}, 71, nil, []string{"127.0.0.1:" + port, "-p"}},
		{"port taken in the demo", []string{"demo", "-p", port}, 71, nil, []string{"127.0.0.1:" + port, "-p"}},
		{"bad option", []string{"--treads=4"}, 64, nil, []string{"--treads", "did you mean threads"}},
		{"bad letter", []string{"-Q"}, 64, nil, []string{"-Q"}},
		{"bad number", []string{"-m", "lots"}, 64, nil, []string{"-m", "lots"}},
		{"bad subcommand", []string{"sevre"}, 64, nil, []string{"sevre", "help"}},
		{"file not there", []string{"--config=" + dir + "/none.yaml"}, 64, nil, []string{"none.yaml"}},
		{"unknown field", []string{"--config=" + typo}, 64, nil, []string{"typo.yaml:6", "sauce", "source"}},
		{"no YAML", []string{"--config=" + broken}, 64, nil, []string{"broken.yaml:3:"}},
		{"bad pattern", []string{"--config=" + pattern}, 64, nil, []string{"pattern.yaml:4:", "characteristics"}},
		{"check of a bad file", []string{"check", "--config=" + typo}, 64, nil, []string{"typo.yaml:6"}},
		{"check offline", []string{"check", "--offline", "--config=" + good}, 0, []string{"good", "characteristics", "postgres"}, nil},
		{"check of a database that is not there", []string{"check", "--config=" + good}, 1, []string{"characteristics"}, []string{"source main", "--offline"}},
		{
			"check of a key", []string{"check", "--config=" + good, "--key=" + shuffled(key)}, 0,
			[]string{"route      characteristics", "canonical  chr|browser=", "country = IN"}, nil,
		},
		{"check of a plain key", []string{"check", "--config=" + good, "--key=session:1"}, 0, []string{"plain"}, nil},
		{"check of an impossible key", []string{"check", "--config=" + good, "--key=a b"}, 64, nil, []string{"--key"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := command(t, tc.args...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			code := 0
			var exit *exec.ExitError
			if err := cmd.Run(); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != tc.code {
				t.Errorf("got exit code %d, want %d", code, tc.code)
			}
			for _, part := range tc.stdout {
				if !strings.Contains(stdout.String(), part) {
					t.Errorf("standard output lacks %q", part)
				}
			}
			for _, part := range tc.stderr {
				if !strings.Contains(stderr.String(), part) {
					t.Errorf("standard error lacks %q", part)
				}
			}
			if tc.code == 0 && stderr.Len() > 0 || strings.Contains(stderr.String(), "goroutine ") {
				t.Errorf("standard error is not clean")
			}
			if t.Failed() {
				t.Logf("swordfishd %q printed\n%s\nand as errors\n%s", tc.args, stdout.String(), stderr.String())
			}
		})
	}
}

// shuffled reverses the parts of a key.
func shuffled(key string) string {
	parts := strings.Split(key, "|")
	for i, j := 1, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, "|")
}

// TestE2ESignalFinishesCommandsInHand: what a client had sent before the signal is answered in full, though the answers are
// many times what a socket holds, and new clients are turned away.
func TestE2ESignalFinishesCommandsInHand(t *testing.T) {
	for _, tc := range []struct {
		name   string
		signal syscall.Signal
		burst  int // gets of 7 bytes each in one write
	}{
		{"SIGTERM", syscall.SIGTERM, 3000},
		{"SIGINT", syscall.SIGINT, 3000},
		{"SIGTERM with commands still in the socket", syscall.SIGTERM, 40_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pidfile := t.TempDir() + "/pid"
			s := serve(t, "", "-P", pidfile)
			c := dial(t, s.addr)
			value := strings.Repeat("v", 2000)
			c.want("STORED", "set k 0 0 %d\r\n%s", len(value), value)
			c.send("%s", strings.Repeat("get k\r\n", tc.burst))
			s.signal(tc.signal)
			one := "VALUE k 0 2000\r\n" + value + "\r\nEND\r\n"
			got, err := io.ReadAll(c.in)
			if err != nil {
				t.Errorf("the connection ended with %v", err)
			}
			if string(got) != strings.Repeat(one, tc.burst) {
				t.Errorf("got %d bytes of replies, want %d", len(got), tc.burst*len(one))
			}
			s.wait(0)
			if c, err := net.Dial("tcp", s.addr); err == nil {
				c.Close()
				t.Error("somebody listens still")
			}
			if _, err := os.Stat(pidfile); !os.IsNotExist(err) {
				t.Errorf("the pid file is still there: %v", err)
			}
		})
	}
}
