package server

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// slowSecret is a hashed password that takes its time.
type slowSecret struct {
	password string
	takes    time.Duration
	checks   atomic.Int32
	at       atomic.Int32 // checks under way
	overlap  atomic.Bool
}

func (s *slowSecret) matches(password string) bool {
	if s.at.Add(1) > 1 {
		s.overlap.Store(true)
	}
	defer s.at.Add(-1)
	s.checks.Add(1)
	time.Sleep(s.takes)
	return password == s.password
}

func (s *slowSecret) work() int { return 1 }

// slowGate has a user whose password takes a tenth of a second to check, and one whose password the file has as it is.
func slowGate() (*gate, *slowSecret) {
	s := &slowSecret{password: "right", takes: 100 * time.Millisecond}
	u := &Users{plain: make(map[tag]struct{}), hashed: map[string][]secret{"slow": {s}}, decoy: s, proven: make(map[tag]struct{})}
	u.plain[u.tag("plain", "right")] = struct{}{}
	g := &gate{}
	g.open(u, time.Second, zerolog.Nop())
	return g, s
}

// answerOf is what became of an attempt.
type answerOf struct {
	ok    bool
	after time.Duration
}

// attempts makes one attempt after the other, each from a connection of its own, and returns what they were told.
func attempts(g *gate, all ...string) []answerOf {
	began := time.Now()
	answers := make([]answerOf, len(all))
	var told sync.WaitGroup
	for i, one := range all {
		user, password, _ := strings.Cut(one, ":")
		a := g.try([]byte(user), []byte(password))
		if a == nil {
			answers[i] = answerOf{true, time.Since(began)}
			continue
		}
		told.Add(1)
		g.wait(a, func() {
			answers[i] = answerOf{a.ok, time.Since(began)}
			told.Done()
		})
	}
	told.Wait()
	return answers
}

func TestGate(t *testing.T) {
	const ms = time.Millisecond
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		name   string
		all    []string
		want   []answerOf
		checks int32
		errors uint64
	}{
		{"right", []string{"slow:right"}, []answerOf{{true, 100 * ms}}, 1, 0},
		{"wrong", []string{"slow:wrong"}, []answerOf{{false, 1000 * ms}}, 1, 1},
		{"unknown user", []string{"nobody:right"}, []answerOf{{false, 1000 * ms}}, 1, 1},
		{"plain", []string{"plain:right"}, []answerOf{{true, 0}}, 0, 0},
		{"plain and wrong costs the same", []string{"plain:wrong"}, []answerOf{{false, 1000 * ms}}, 1, 1},
		{"one after the other", []string{"slow:wrong", "slow:bad", "slow:right"}, []answerOf{{false, 1000 * ms}, {false, 1000 * ms}, {true, 300 * ms}}, 3, 2},
		{"plain waits for nobody", []string{"slow:wrong", "plain:right"}, []answerOf{{false, 1000 * ms}, {true, 0}}, 1, 1},
		{"the same password at once is checked once", []string{"slow:right", "slow:right", "slow:wrong", "slow:wrong", "slow:right"},
			[]answerOf{{true, 100 * ms}, {true, 100 * ms}, {false, 1000 * ms}, {false, 1000 * ms}, {true, 100 * ms}}, 2, 2},
		{"impossible ones are not checked", []string{"slow:right\x00", "slow\x00:right", "slow:" + long, long + ":right", "slow:"},
			[]answerOf{{false, 1000 * ms}, {false, 1000 * ms}, {false, 1000 * ms}, {false, 1000 * ms}, {false, 1000 * ms}}, 1, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, s := slowGate()
				got := attempts(g, test.all...)
				for i, want := range test.want {
					if got[i] != want {
						t.Errorf("%s: %v, want %v", test.all[i], got[i], want)
					}
				}
				if n := s.checks.Load(); n != test.checks || s.overlap.Load() {
					t.Errorf("%d checks, want %d; at a time: %v", n, test.checks, s.overlap.Load())
				}
				if cmds, errors := g.cmds.Load(), g.errors.Load(); cmds != uint64(len(test.all)) || errors != test.errors || g.dropped.Load() != 0 {
					t.Errorf("counted %d attempts, %d errors, %d dropped", cmds, errors, g.dropped.Load())
				}
				g.work.Wait()
			})
		})
	}
}

// What was right once is known; another file knows nothing of it.
func TestGateRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := slowGate()
		for _, want := range []answerOf{{true, 100 * time.Millisecond}, {true, 0}, {true, 0}} {
			if got := attempts(g, "slow:right")[0]; got != want {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
		if got := attempts(g, "slow:wrong")[0]; got.ok {
			t.Error("a wrong password is taken")
		}
		old := g.users.Load()
		g.users.Store(&Users{hashed: old.hashed, decoy: old.decoy, proven: make(map[tag]struct{})})
		if got := attempts(g, "slow:right")[0]; got.after == 0 {
			t.Error("another file remembers")
		}
		for i := range maxProven + 10 {
			s.password = fmt.Sprint(i)
			if !g.users.Load().prove("slow", s.password, g.users.Load().tag("slow", s.password)) {
				t.Fatal("refused")
			}
		}
		if n := len(g.users.Load().proven); n > maxProven {
			t.Errorf("remembers %d", n)
		}
		g.work.Wait()
	})
}

// A password that waits is checked against the users of the moment at which its turn comes.
func TestGateTakesOtherUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := slowGate()
		old := g.users.Load()
		other := &slowSecret{password: "other", takes: 100 * time.Millisecond}
		next := &Users{plain: make(map[tag]struct{}), hashed: map[string][]secret{"slow": {other}}, decoy: other, proven: make(map[tag]struct{})}
		next.plain[next.tag("new", "one")] = struct{}{}
		time.AfterFunc(50*time.Millisecond, func() { g.users.Store(next) })
		const ms = time.Millisecond
		all := []string{"slow:wrong", "slow:right", "slow:other", "new:one"}
		want := []answerOf{{false, 1000 * ms}, {false, 1000 * ms}, {true, 300 * ms}, {true, 300 * ms}}
		for i, got := range attempts(g, all...) {
			if got != want[i] {
				t.Errorf("%s: %v, want %v", all[i], got, want[i])
			}
		}
		if n := s.checks.Load(); n != 1 || len(old.proven) != 0 {
			t.Errorf("%d checks by the old file, which remembers %d", n, len(old.proven))
		}
		g.work.Wait()
	})
}

// A flood of wrong passwords waits in bounded room and is answered in bounded time, by one goroutine.
func TestGateFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := slowGate()
		before := runtime.NumGoroutine()
		var most atomic.Int32
		var told sync.WaitGroup
		const flood = 1000
		for i := range flood {
			a := g.try([]byte("slow"), fmt.Append(nil, "guess", i))
			told.Add(1)
			g.wait(a, func() {
				if a.ok {
					t.Error("a guess is taken")
				}
				told.Done()
			})
			most.Store(max(most.Load(), int32(runtime.NumGoroutine()-before)))
		}
		if got := attempts(g, "plain:right")[0]; got != (answerOf{true, 0}) {
			t.Errorf("in the flood: %v", got)
		}
		told.Wait()
		// The first may have left the list before the last came.
		if n := s.checks.Load(); n < maxChecks || n > maxChecks+1 || g.dropped.Load() != uint64(flood-n) || g.errors.Load() != flood {
			t.Errorf("%d checks, %d dropped, %d errors", n, g.dropped.Load(), g.errors.Load())
		}
		if most.Load() > 1 {
			t.Errorf("%d goroutines", most.Load())
		}
		g.work.Wait()
		if len(g.checks) != 0 || len(g.waiting) != 0 || len(g.failed) != 0 || g.working {
			t.Errorf("left over: %+v", g)
		}
	})
}

// A stop answers all who wait, at once but for the check that is under way.
func TestGateStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := slowGate()
		began := time.Now()
		var told sync.WaitGroup
		for i := range 20 {
			a := g.try([]byte("slow"), fmt.Append(nil, "guess", i))
			told.Add(1)
			g.wait(a, told.Done)
		}
		synctest.Wait()
		g.stop()
		told.Wait()
		g.work.Wait()
		if took := time.Since(began); took > 100*time.Millisecond || s.checks.Load() > 1 {
			t.Errorf("took %v, %d checks", took, s.checks.Load())
		}
		if got := attempts(g, "slow:right", "plain:right"); got[0] != (answerOf{false, 0}) || got[1] != (answerOf{true, 0}) {
			t.Errorf("afterwards: %v", got)
		}
		g.work.Wait()
	})
}

func TestReadUsers(t *testing.T) {
	const bcrypted = "$2b$04$abcdefghijklmnopqrstuu6EHRqObzoilTUtSLMHy6BpCdW7W2.yi" // "pass word ü"
	for _, test := range []struct {
		name, file string
		kind       UsersKind
		in, out    []string
		err        string
	}{
		{"plain", "foo:bar\nbaaaz:quux\n", TextUsers, []string{"foo:bar", "baaaz:quux"}, []string{"foo:quux", "foo:", "foo:barx", "fo:obar", ":bar"}, ""},
		{"no line end", "foo:bar", TextUsers, []string{"foo:bar"}, []string{"foo:ba"}, ""},
		{"line ends of Windows", "foo:bar\r\nx:y\r\n", TextUsers, []string{"foo:bar", "x:y"}, []string{"foo:bar\r"}, ""},
		{"comments and empty lines", "# who may\n\nfoo:bar\n#x:y\n", TextUsers, []string{"foo:bar"}, []string{"#x:y", "x:y"}, ""},
		{"two passwords", "foo:old\nfoo:new\nfoo:" + bcrypted + "\n", TextUsers, []string{"foo:old", "foo:new", "foo:pass word ü"}, nil, ""},
		{"hashed", "foo:" + bcrypted + "\n", TextUsers, []string{"foo:pass word ü"}, []string{"foo:" + bcrypted, "foo:pass word", "fox:pass word ü"}, ""},
		{"colon in a password", "foo:a:b\n", TextUsers, []string{"foo:a:b"}, []string{"foo:a", "foo:b"}, ""},
		{"colon in a password of SASL", "foo:a:b::\n", SASLUsers, []string{"foo:a", "foo:a:b", "foo:a:b:"}, []string{"foo:b", "foo:a:"}, ""},
		{"fields behind the password", "foo:bar:::::::\n", SASLUsers, []string{"foo:bar"}, nil, ""},
		{"fields behind a hash", "foo:" + bcrypted + ":::\n", SASLUsers, []string{"foo:pass word ü"}, []string{"foo:" + bcrypted}, ""},
		{"of this host", "foo@here:bar\n", SASLUsers, []string{"foo@here:bar", "foo:bar"}, []string{"foo@there:bar"}, ""},
		{"of this host, hashed", "foo@here:" + bcrypted + "\n", SASLUsers, []string{"foo@here:pass word ü", "foo:pass word ü"}, []string{"foo@there:pass word ü"}, ""},
		{"of another host", "foo@there:bar\n", SASLUsers, []string{"foo@there:bar"}, []string{"foo:bar"}, ""},
		{"hosts mean nothing in text", "foo@here:bar\n", TextUsers, []string{"foo@here:bar"}, []string{"foo:bar"}, ""},
		{"nine users", strings.Repeat("x:y\n", 8) + "foo:bar\nnonsense\n", TextUsers, []string{"x:y"}, []string{"foo:bar"}, "note: line 9 "},
		{"nine users of SASL", strings.Repeat("x:y\n", 8) + "foo:bar\n", SASLUsers, []string{"x:y", "foo:bar"}, nil, ""},

		{"empty", "", TextUsers, nil, nil, "it names no user; write lines like user:password"},
		{"comments only", "# nobody\n\n", SASLUsers, nil, nil, "it names no user"},
		{"no colon", "foo:bar\n\nfoo bar\n", TextUsers, nil, nil, "3: there is no colon in it; write user:password"},
		{"no user", ":bar\n", TextUsers, nil, nil, "1: there is no user before the colon"},
		{"no password", "foo:\n", TextUsers, nil, nil, "1: there is no password behind the colon"},
		{"no password before fields", "foo::::\n", SASLUsers, nil, nil, "1: there is no password behind the colon"},
		{"long line", "foo:" + strings.Repeat("x", 252) + "\n", TextUsers, nil, nil, "1: the line has more than 255 bytes; shorten it"},
		{"binary", "foo:bar\n\x00\n", TextUsers, nil, nil, "2: there is a byte in it that no client can send"},
		{"other hash", "foo:$apr1$x$y\n", SASLUsers, nil, nil, "1: a hash of the kind $apr1$ is not taken; make it with htpasswd -nB USER"},
		{"large", strings.Repeat("foo:bar\n", 200_000), SASLUsers, nil, nil, "over 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := writeFile(t, t.TempDir(), "passwords", test.file)
			var u *Users
			var err error
			if strings.Contains(test.file, "@here") {
				u, _, err = parseUsers([]byte(test.file), test.kind, "here")
			} else {
				u, err = ReadUsers(path, test.kind)
			}
			note, noted := strings.CutPrefix(test.err, "note: ")
			switch {
			case noted:
				if err != nil || !strings.Contains(u.Note(), note) {
					t.Fatalf("got the note %q and %v", u.Note(), err)
				}
			case test.err != "":
				if err == nil || !strings.HasPrefix(err.Error(), "password file "+path) || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want %q", err, test.err)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			is := func(one string) bool {
				user, password, _ := strings.Cut(one, ":")
				tag := u.tag(user, password)
				return u.known(tag) || u.decoy != nil && u.prove(user, password, tag)
			}
			for _, one := range test.in {
				if !is(one) {
					t.Errorf("%s is refused", one)
				}
			}
			for _, one := range test.out {
				if is(one) {
					t.Errorf("%s is taken", one)
				}
			}
		})
	}
}
