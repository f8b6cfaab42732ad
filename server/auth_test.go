package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// soon is a FailDelay for tests that are not about it.
const soon = time.Millisecond

// publicDir returns a directory that a server which has given up root can read.
func publicDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fish")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeFile(t testing.TB, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// usersOf makes users of a file with these lines.
func usersOf(t testing.TB, kind UsersKind, lines ...string) *Users {
	t.Helper()
	u, err := ReadUsers(writeFile(t, t.TempDir(), "passwords", strings.Join(lines, "\n")+"\n"), kind)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const textPasswords = "foo:bar\nbaaaz:quux\ncolon:a:b\nspace:a b\n"

// logins are connections to a server with textPasswords. A client waits for the answer to each step, because memcached
// drops answers to attempts that come behind one another. The last step of some is answered by nothing.
var logins = []struct {
	name  string
	steps []string
}{
	{"good", []string{"set foo 0 0 7\r\nfoo bar\r\nset a 0 0 2\r\nhi\r\nget a\r\n"}},
	{"second user", []string{"set x 1 2 10\r\nbaaaz quux\r\nget a\r\n", "version\r\n"}},
	{"colon in the password", []string{"set x 0 0 9\r\ncolon a:b\r\n", "mn\r\n"}},
	{"half of that password", []string{"set x 0 0 7\r\ncolon a\r\n", "mn\r\n"}},
	{"blank in the password", []string{"set x 0 0 9\r\nspace a b\r\n", "mn\r\n"}},
	{"wrong password", []string{"set foo 0 0 7\r\nfoo bab\r\n", "get a\r\n"}},
	{"wrong, then right", []string{"set foo 0 0 7\r\nfoo bab\r\n", "set foo 0 0 7\r\nfoo bar\r\n", "get none\r\n"}},
	{"unknown user", []string{"set foo 0 0 7\r\nfox bar\r\n", "get foo\r\n"}},
	{"prefix of the password", []string{"set foo 0 0 6\r\nfoo ba\r\n", "get foo\r\n"}},
	{"more than the password", []string{"set foo 0 0 8\r\nfoo barx\r\n", "get foo\r\n"}},
	{"no password", []string{"set foo 0 0 4\r\nfoo \r\n", "set foo 0 0 3\r\nfoo\r\n", "set foo 0 0 0\r\n\r\n", "set foo 0 0 1\r\n \r\n"}},
	{"NUL", []string{"set foo 0 0 8\r\nfoo bar\x00\r\n", "version\r\n"}},
	{"other commands", []string{
		"get foo\r\n", "gets foo\r\n", "version\r\n", "stats\r\n", "stats settings\r\n", "flush_all\r\n", "watch fetchers\r\n", "lru_crawler metadump all\r\n",
		"shutdown\r\n", "mg foo v\r\n", "ms foo 2\r\n", "mn abcd\r\n", "me foobar\r\n", "incr foo 1\r\n", "add foo 0 0 7\r\n", "foo bar\r\n", "quit now\r\n", "verbosity 1\r\n",
	}},
	{"our words", []string{
		"explain foo\r\n", "routes\r\n", "route x on\r\n", "invalidate x\r\n", "reload\r\n", "sources\r\n", "help me\r\n", "log_level debug\r\n", "stats fish\r\n", "stats routes\r\n",
	}},
	{"meta no-op", []string{"mn\r\n"}},
	{"quit", []string{"quit\r\n"}},
	{"get without a key", []string{"get\r\n"}},
	{"empty lines", []string{"\r\n\r\n"}},
	{"five bytes", []string{"12345\n"}},
	{"six bytes", []string{"123456\n", "version\r\n"}},
	{"noreply", []string{"set foo 0 0 7 noreply\r\nfoo bab\r\n", "set foo 0 0 7 noreply\r\nfoo bar\r\n", "get none\r\n"}},
	{"many words", []string{"set foo 0 0 7 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25\r\nfoo bar\r\n", "get none\r\n"}},
	{"too few words", []string{"set foo 0 0\r\n", "set foo 0 0 \r\n", "set    \r\n", "set\r\n"}},
	{"blanks", []string{"set  foo   0  0  7  \r\nfoo bar\r\n", "get none\r\n"}},
	{"leading blank", []string{" set foo 0 0 7\r\n", "foo bar\r\n"}},
	{"a word that begins with set", []string{"settle foo 0 0 7\r\nfoo bar\r\n", "get none\r\n"}},
	{"numbers not looked at", []string{"set foo x y 7\r\nfoo bar\r\n", "get none\r\n"}},
	{"bad lengths", []string{"set foo 0 0 -1\r\n", "set foo 0 0 7x\r\n", "set foo 0 0 x\r\n", "set foo 0 0 4294967296\r\n", "set foo 0 0 99999999999999999999\r\n"}},
	{"long lengths", []string{"set foo 0 0 2147483646\r\n", "set foo 0 0 16385\r\n", "set foo 0 0 4294967295\r\n", "set foo 0 0 007\r\nfoo bar\r\n", "get none\r\n"}},
	{"bare line feed", []string{"set foo 0 0 71\nfoo bar\r\n", "get none\n"}},
	{"bare line feed cuts the length", []string{"set foo 0 0 17\nf\r\n", "version\r\n"}},
	{"carriage return twice", []string{"set foo 0 0 7\r\r\nfoo bar\r\n", "get none\r\n"}},
	{"no line end behind the data", []string{"set foo 0 0 7\r\nfoo barxx", "get none\r\n", "set foo 0 0 7\r\nfoo bar\r\n"}},
	{"data too long", []string{"set foo 0 0 7\r\nfoo barba", "r\r\nversion\r\n"}},
	{"long", []string{"set foo 0 0 16000\r\nfoo " + strings.Repeat("b", 15996) + "\r\n", "version\r\n"}},
	{"binary", []string{"\x80\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\r\n"}},
	{"a line without end", []string{strings.Repeat("x", 3000)}},
	{"a login, then a login", []string{"set foo 0 0 7\r\nfoo bar\r\n", "set foo 0 0 7\r\nfoo bab\r\n", "get none\r\n"}},
}

// answerEnds begin the last lines of answers to the steps.
var answerEnds = regexp.MustCompile(`^(STORED|CLIENT_ERROR|ERROR|END|VERSION|MN)`)

// converse plays the steps and returns the answers, and whether the other side closed.
func converse(t *testing.T, addr string, steps []string) (answers string, closed bool) {
	t.Helper()
	c := talk(t, addr)
	defer c.Close()
	var all strings.Builder
	for _, step := range steps {
		if _, err := c.Write([]byte(step)); err != nil {
			return all.String(), true
		}
		for {
			line, err := c.r.ReadString('\n')
			all.WriteString(line)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%q: no answer after %q", step, all.String())
			}
			if err != nil {
				return all.String(), true
			}
			if answerEnds.MatchString(line) {
				break
			}
		}
	}
	c.CloseWrite()
	rest, _ := io.ReadAll(c.r)
	return all.String() + string(rest), false
}

// rightOracle skips tests that compare with another memcached than the one that is followed. One that asks for passwords
// cannot be asked for its version.
func rightOracle(t *testing.T) {
	t.Helper()
	if out, err := exec.Command(testenv.MemcachedPath(t), "-V").Output(); err != nil || string(out) != "memcached "+DefaultVersion+"\n" {
		testenv.Missing(t, "memcached "+DefaultVersion, fmt.Sprintf("this one says %q; make oracle builds a newer one", out))
	}
}

// TestLoginLikeMemcached plays the same connections to memcached and to ours, both with -Y.
func TestLoginLikeMemcached(t *testing.T) {
	rightOracle(t)
	memcached := testenv.Memcached(t, "-Y", writeFile(t, publicDir(t), "passwords", textPasswords))
	twins(t, func(t *testing.T, o Options) {
		o.Users, o.FailDelay = usersOf(t, TextUsers, textPasswords), soon
		_, ours := startServer(t, o)
		for _, test := range logins {
			t.Run(test.name, func(t *testing.T) {
				got, ended := converse(t, ours, test.steps)
				want, wantEnded := converse(t, memcached, test.steps)
				if got != want || ended != wantEnded {
					t.Errorf("got  %q, closed %v\nwant %q, closed %v", got, ended, want, wantEnded)
				}
			})
		}
	})
}

// TestLoginsCutAnywhere plays them without waiting for answers, in two pieces and byte by byte.
func TestLoginsCutAnywhere(t *testing.T) {
	users := usersOf(t, TextUsers, textPasswords)
	for _, test := range logins {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, Options{Users: users, FailDelay: time.Nanosecond})
			in := []byte(strings.Join(test.steps, ""))
			play := func(sizes ...int) []byte {
				s.o.Store.FlushAll(s.o.Store.Now(), s.o.Store.Now())
				return playSession(t, s, in, sizes...)
			}
			whole := play(len(in))
			for cut := 0; cut < len(in); cut += 1 + len(in)/300 {
				if got := play(cut, len(in)); !bytes.Equal(got, whole) {
					t.Fatalf("cut after %d bytes: got %q, want %q", cut, got, whole)
				}
			}
			if got := play(1); !bytes.Equal(got, whole) {
				t.Fatalf("byte by byte: got %q, want %q", got, whole)
			}
		})
	}
}

// saslLogins are connections to a server with SASL and the user testuser, whose password is testpass.
var saslLogins = []struct{ name, packets string }{
	{"before", "version\nsaslmechs\nversion opaque=7"},
	{"get before", "get key=k opaque=9\nversion"},
	{"set before", "set key=k value=abc flags=0 exptime=0\nversion"},
	{"stat before", "stat\nversion"},
	{"quit before", "quit\nversion"},
	{"quitq before", "quitq\nversion"},
	{"noop before", "noop\nversion"},
	{"flush before", "flush\nversion"},
	{"unknown before", "0x55 key=k\nversion"},
	{"version with a body", "version key=x\nversion"},
	{"good", "saslauth key=PLAIN value=\\0testuser\\0testpass opaque=3\nset key=k value=abc flags=0 exptime=0\nget key=k\nnoop"},
	{"wrong", "saslauth key=PLAIN value=\\0testuser\\0wrong\nget key=k\nversion"},
	{"unknown user", "saslauth key=PLAIN value=\\0nobody\\0testpass\nget key=k"},
	{"wrong, then right", "saslauth key=PLAIN value=\\0testuser\\0wrong\nsaslauth key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"right, then wrong", "saslauth key=PLAIN value=\\0testuser\\0testpass\nsaslauth key=PLAIN value=\\0testuser\\0wrong\nget key=none"},
	{"right twice", "saslauth key=PLAIN value=\\0testuser\\0testpass\nsaslauth key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"right, then mechanisms", "saslauth key=PLAIN value=\\0testuser\\0testpass\nsaslmechs\nget key=none"},
	{"two steps", "saslauth key=PLAIN\nsaslstep key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"one step of two", "saslauth key=PLAIN\nget key=none"},
	{"wrong step, right step", "saslauth key=PLAIN\nsaslstep key=PLAIN value=\\0testuser\\0wrong\nsaslstep key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"empty step, right step", "saslauth key=PLAIN\nsaslstep key=PLAIN\nsaslstep key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"step of another mechanism", "saslauth key=PLAIN\nsaslstep key=FOO value=\\0testuser\\0testpass\nget key=none"},
	{"steps, mechanisms between", "saslauth key=PLAIN\nsaslmechs\nsaslstep key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"steps, bad mechanism between", "saslauth key=PLAIN\nsaslauth key=\\{33*X} value=x\nsaslstep key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"steps, unknown mechanism between", "saslauth key=PLAIN\nsaslauth key=FOO value=x\nsaslstep key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"step alone", "saslstep key=PLAIN value=\\0testuser\\0testpass\nversion"},
	{"step after a failure", "saslauth key=PLAIN value=\\0testuser\\0wrong\nsaslstep key=PLAIN value=\\0testuser\\0testpass\nversion"},
	{"step after success", "saslauth key=PLAIN value=\\0testuser\\0testpass\nsaslstep key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"empty auth after success", "saslauth key=PLAIN value=\\0testuser\\0testpass\nsaslauth key=PLAIN\nsaslstep key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"mechanism in lower case", "saslauth key=plain value=\\0testuser\\0testpass\nget key=none"},
	{"unknown mechanism", "saslauth key=FOO value=\\0testuser\\0testpass\nsaslauth key=PLAIN value=\\0testuser\\0testpass\nget key=none"},
	{"mechanisms like PLAIN", "saslauth key=PLAI value=\\0testuser\\0testpass\nsaslauth key=PLAINX value=\\0testuser\\0testpass"},
	{"long mechanisms", "saslauth key=\\{32*X} value=x\nsaslauth key=\\{33*X} value=x\nversion"},
	{"success, then a bad mechanism", "saslauth key=PLAIN value=\\0testuser\\0testpass\nsaslauth key=\\{33*X} value=x\nget key=none"},
	{"key too long", "saslauth key=\\{251*X} value=x\nversion"},
	{"acting as oneself", "saslauth key=PLAIN value=testuser\\0testuser\\0testpass\nget key=none"},
	{"acting as another", "saslauth key=PLAIN value=other\\0testuser\\0testpass\nget key=none"},
	{"blanks around the name", "saslauth key=PLAIN value=\\0\\x20testuser\\t\\0testpass\nget key=none"},
	{"other case", "saslauth key=PLAIN value=\\0TestUser\\0testpass\nget key=none"},
	{"blank before the password", "saslauth key=PLAIN value=\\0testuser\\0\\x20testpass\nget key=none"},
	{"messages cut short", "saslauth key=PLAIN value=testuser\nsaslauth key=PLAIN value=\\0testuser\nsaslauth key=PLAIN value=\\0testuser\\0\n" +
		"saslauth key=PLAIN value=\\0\\0testpass\nsaslauth key=PLAIN value=\\0\nsaslauth key=PLAIN value=\\0\\x20\\0testpass\nversion"},
	{"more behind the password", "saslauth key=PLAIN value=\\0testuser\\0testpass\\0\nsaslauth key=PLAIN value=\\0testuser\\0testpass\\0x\nversion"},
	{"long messages", "saslauth key=PLAIN value=\\0testuser\\0\\{1000*x}\nversion"},
	{"longer messages", "saslauth key=PLAIN value=\\0testuser\\0\\{20000*x}\nversion"},
	{"the longest message", "saslauth key=PLAIN value=\\0testuser\\0\\{524214*x}\nversion"},
	{"message too long", "saslauth key=PLAIN value=\\0testuser\\0\\{524215*x}\nversion"},
	{"message too long after success", "saslauth key=PLAIN value=\\0testuser\\0testpass\nsaslauth key=PLAIN value=\\{600000*x}\nget key=none"},
	{"mechanisms with extras", "saslmechs extras=00\nversion"},
	{"mechanisms with a key", "saslmechs key=x\nversion"},
	{"mechanisms with a value", "saslmechs value=x\nversion"},
	{"auth with extras", "saslauth extras=00 key=PLAIN\nversion"},
	{"auth without a mechanism", "saslauth value=PLAIN\nversion"},
	{"a CAS", "saslauth key=PLAIN value=\\0testuser\\0testpass opaque=99 cas=5\nsaslmechs cas=9"},
	{"text", "raw version\\r\\n"},
}

// saslMemcached starts a memcached with -S whose database has testuser. Its user is of this host, as for ours.
func saslMemcached(t *testing.T, host string) (addr string) {
	t.Helper()
	const tool = "/usr/sbin/saslpasswd2" // where not everybody's PATH leads
	if _, err := os.Stat(tool); err != nil {
		testenv.Missing(t, "saslpasswd2", "apt-get install sasl2-bin libsasl2-modules libsasl2-modules-db")
	}
	dir := publicDir(t)
	db := filepath.Join(dir, "sasldb2")
	writeFile(t, dir, "memcached.conf", "mech_list: plain\nsasldb_path: "+db+"\n")
	add := exec.Command(tool, "-f", db, "-u", host, "-c", "-p", "testuser")
	add.Stdin = strings.NewReader("testpass")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("saslpasswd2: %v\n%s", err, out)
	}
	if err := os.Chmod(db, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SASL_CONF_PATH", dir)
	return testenv.Memcached(t, "-S")
}

// TestSASLLikeMemcached plays the same connections to memcached and to ours, both with -S.
func TestSASLLikeMemcached(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	rightOracle(t)
	memcached := saslMemcached(t, host)
	twins(t, func(t *testing.T, o Options) {
		o.Users, o.FailDelay = usersOf(t, SASLUsers, "testuser@"+host+":testpass"), soon
		_, ours := startServer(t, o)
		for _, test := range saslLogins {
			t.Run(test.name, func(t *testing.T) {
				in := packets(t, []byte(test.packets))
				got, want := spellAnswers(playSocket(t, ours, in, len(in))), spellAnswers(playSocket(t, memcached, in, len(in)))
				if !bytes.Equal(got, want) {
					t.Errorf("got\n%swant\n%s", got, want)
				}
			})
		}
	})
}

func TestSASLCutAnywhere(t *testing.T) {
	for _, test := range saslLogins {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, Options{Users: usersOf(t, SASLUsers, "testuser:testpass"), FailDelay: time.Nanosecond})
			in := packets(t, []byte(test.packets))
			play := func(sizes ...int) []byte {
				s.o.Store.FlushAll(s.o.Store.Now(), s.o.Store.Now())
				return spellAnswers(playSession(t, s, in, sizes...))
			}
			whole := play(len(in))
			for cut := 0; cut < len(in); cut += 1 + len(in)/300 {
				if got := play(cut, len(in)); !bytes.Equal(got, whole) {
					t.Fatalf("cut after %d bytes: got %s, want %s", cut, got, whole)
				}
			}
		})
	}
}

// Whoever guesses waits alone: the others are served, nothing grows with the guessers but their connections, and a shutdown
// tells them at once.
func TestFailedLoginsWaitAlone(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		o.Users, o.FailDelay = usersOf(t, TextUsers, textPasswords), time.Hour
		s, addr := startServer(t, o)
		good := talk(t, addr)
		good.ask("set a 0 0 7\r\nfoo bar\r\n", "STORED")
		const guesses = 50
		guessers := make([]*conversation, guesses)
		for i := range guessers {
			guessers[i] = talk(t, addr)
		}
		good.until(s, func(Counters) bool { return s.conns.open.Load() == guesses+1 })
		before := runtime.NumGoroutine()
		for i, c := range guessers {
			fmt.Fprintf(c, "set a 0 0 9\r\nfoo guess\r\nset mark%d 0 0 1\r\nx\r\n", i)
		}
		good.until(s, func(n Counters) bool { return n.AuthErrors == guesses })
		if grown := runtime.NumGoroutine() - before; grown > 2 {
			t.Errorf("%d more goroutines", grown)
		}
		if n := s.Stats().Counters; n.AuthCmds != guesses+1 || n.AuthDrops != 0 {
			t.Errorf("counted %d attempts, %d dropped", n.AuthCmds, n.AuthDrops)
		}
		for i := range guesses {
			if got := good.ask(fmt.Sprintf("get mark%d\r\n", i), "END"); got != "END\r\n" {
				t.Fatalf("a guesser's command was run: %q", got)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		for _, c := range guessers {
			if got, _ := io.ReadAll(c.r); !strings.HasPrefix(string(got), "CLIENT_ERROR authentication failure\r\n") {
				t.Fatalf("got %q", got)
			}
		}
	})
}

// A client that goes away while its password is checked leaves nothing behind.
func TestGoneWhileChecked(t *testing.T) {
	twins(t, func(t *testing.T, o Options) {
		slow := &slowSecret{password: "right", takes: 50 * time.Millisecond}
		o.Users, o.FailDelay = usersOf(t, TextUsers, textPasswords), soon
		o.Users.hashed["slow"], o.Users.decoy = []secret{slow}, slow
		s, addr := startServer(t, o)
		good := talk(t, addr)
		good.ask("set a 0 0 7\r\nfoo bar\r\n", "STORED")
		for range 3 {
			c := dial(t, addr)
			fmt.Fprint(c, "set a 0 0 10\r\nslow wrong\r\n")
			c.SetLinger(0) // a reset, which is noticed though nothing is read
			good.until(s, func(Counters) bool { return slow.checks.Load() > 0 })
			c.Close()
		}
		good.until(s, func(n Counters) bool { return n.AuthErrors >= 1 && s.conns.open.Load() == 1 })
		if got := good.ask("get a\r\n", "END"); got != "END\r\n" {
			t.Errorf("got %q", got)
		}
	})
}

// What is counted is what memcached counts.
func TestAuthStatsLikeMemcached(t *testing.T) {
	rightOracle(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	stats := regexp.MustCompile(`STAT (auth_\w+) (\d+)`)
	t.Run("text", func(t *testing.T) {
		_, ours := startServer(t, Options{FailDelay: soon, Users: usersOf(t, TextUsers, textPasswords)})
		var counted [2][]string
		for i, addr := range []string{ours, testenv.Memcached(t, "-Y", writeFile(t, publicDir(t), "passwords", textPasswords))} {
			c := talk(t, addr)
			for _, command := range []string{
				"get a\r\n", "set a 0 0 7\r\nfoo bab\r\n", "set a 0 0 7\r\nfox bar\r\n", "set a 0 0 3\r\nfoo\r\n", "set a 0 0 99999\r\n", "set a 0 0 1\r\nfoo", "set a 0 0 7\r\nfoo bar\r\n",
			} {
				c.ask(command, "")
			}
			counted[i] = stats.FindAllString(c.ask("stats\r\n", "END"), -1)
		}
		if got, want := fmt.Sprint(counted[0]), fmt.Sprint(counted[1]); got != want || want != "[STAT auth_cmds 3 STAT auth_errors 2]" {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("SASL", func(t *testing.T) {
		_, ours := startServer(t, Options{FailDelay: soon, Users: usersOf(t, SASLUsers, "testuser@"+host+":testpass")})
		var counted [2]string
		for i, addr := range []string{ours, saslMemcached(t, host)} {
			b := talkBinary(t, addr)
			for _, line := range []string{
				"version", "saslmechs", "saslauth key=PLAIN value=\\0testuser\\0wrong", "saslauth key=FOO value=x", "saslauth key=\\{33*X} value=x", "saslstep key=PLAIN",
				"saslauth key=PLAIN value=x", "saslauth key=PLAIN value=\\{600000*x}", "saslauth key=PLAIN", "saslstep key=PLAIN value=\\0testuser\\0testpass",
			} {
				b.ask("%s", line)
			}
			for a := b.ask("stat"); len(a.key) > 0; a = b.read() {
				if strings.HasPrefix(string(a.key), "auth_") {
					counted[i] += fmt.Sprintf("%s %s\n", a.key, a.value)
				}
			}
		}
		if counted[0] != counted[1] || counted[1] != "auth_cmds 5\nauth_errors 4\n" {
			t.Errorf("got\n%swant\n%s", counted[0], counted[1])
		}
	})
}
