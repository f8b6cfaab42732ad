package server

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// gate decides who may use the server. A password that was right before, or that the file has as it is, a worker recognizes
// by itself. All others go to one goroutine that checks one at a time, and a failure is told only when so much time has
// passed since the question. So hashes cost the workers nothing, a guess learns nothing from the time it took, and whoever
// guesses waits alone.
type gate struct {
	users atomic.Pointer[Users] // nil: everybody may
	delay time.Duration         // from a question to the answer that it was wrong
	log   zerolog.Logger        // sampled by itself, so that guesses keep nothing else out of the log

	cmds, errors, dropped atomic.Uint64 // attempts, those that failed, and those of them for which there was no room to wait

	mu      sync.Mutex // guards the rest
	checks  map[tag]*check
	waiting []*check   // those of checks that have not begun
	failed  []*attempt // to be told, the next one first
	working bool       // the goroutine is there
	stopped bool
	news    chan struct{} // has a token when the goroutine has something to look at
	work    sync.WaitGroup
}

const (
	maxChecks        = 64                     // passwords that wait to be checked; those who come with another one have failed
	defaultFailDelay = 300 * time.Millisecond // less than clients are ready to wait, some of them half a second
)

// check is a password that is to be checked, once for all who have come with it.
type check struct {
	attempt
	asking []*attempt
}

// attempt is a client's try to show who it is.
type attempt struct {
	users          *Users
	user, password string // where checkable
	tag            tag    // where checkable
	checkable      bool   // it may be right
	due            time.Time
	ok             bool   // the answer, before told is called
	told           func() // called once, on another goroutine; must not block
}

func (g *gate) open(users *Users, delay time.Duration, log zerolog.Logger) {
	g.users.Store(users)
	g.log = log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second})
	if g.delay = delay; delay <= 0 {
		g.delay = defaultFailDelay
	}
	g.checks, g.news = make(map[tag]*check), make(chan struct{}, 1)
}

// try returns nil when user and password are right. Else they are wrong or not known yet, and what it returns is to be
// handed to wait. It keeps neither slice.
func (g *gate) try(user, password []byte) *attempt {
	a := &attempt{users: g.users.Load(), due: time.Now().Add(g.delay)}
	// A file has no longer ones, and no NUL, at which other programs' hashes end.
	if len(user) > maxEntry || len(password) > maxEntry || bytes.IndexByte(user, 0) >= 0 || bytes.IndexByte(password, 0) >= 0 {
		return a
	}
	a.user, a.password = string(user), string(password)
	a.tag = a.users.tag(a.user, a.password)
	a.checkable = a.users.decoy != nil
	if a.users.known(a.tag) {
		g.cmds.Add(1)
		return nil
	}
	return a
}

// wait has told called when a.ok is the answer: for a right password once it is checked, for a wrong one not before a.due.
func (g *gate) wait(a *attempt, told func()) {
	a.told = told
	g.mu.Lock()
	defer g.mu.Unlock()
	switch c := g.checks[a.tag]; {
	case !a.checkable || g.stopped:
		g.fail(a)
	case c != nil:
		c.asking = append(c.asking, a)
	case len(g.checks) >= maxChecks:
		g.dropped.Add(1)
		g.fail(a)
	default:
		c = &check{*a, []*attempt{a}}
		g.checks[a.tag] = c
		g.waiting = append(g.waiting, c)
	}
	if !g.working {
		g.working = true
		g.work.Go(g.run)
	}
	g.wake()
}

func (g *gate) wake() {
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// fail queues the answer that a was wrong. The caller holds mu.
func (g *gate) fail(a *attempt) {
	g.refuse()
	at, _ := slices.BinarySearchFunc(g.failed, a.due, func(other *attempt, due time.Time) int { return other.due.Compare(due) })
	g.failed = slices.Insert(g.failed, at, a)
}

// run checks what waits and tells what is due, until there is nothing of either.
func (g *gate) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due, next, left := g.take(time.Now())
		for _, a := range due {
			a.told()
		}
		switch {
		case next != nil:
			g.decide(next, g.right(next))
		case left < 0:
			return
		default:
			timer.Reset(left)
			select {
			case <-timer.C:
			case <-g.news:
			}
		}
	}
}

// right checks a password, against the users of now: they may be others than those that the client met.
func (g *gate) right(c *check) bool {
	u, t := g.users.Load(), c.tag
	if u != c.users {
		t = u.tag(c.user, c.password)
	}
	return u.known(t) || u.decoy != nil && u.prove(c.user, c.password, t)
}

// take returns the failures that are due, and either a check to be done or how long nothing is; less than 0: until somebody
// calls wait again, which then starts another run.
func (g *gate) take(now time.Time) (due []*attempt, next *check, left time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		for _, c := range g.waiting {
			g.end(c, false)
		}
		g.waiting = nil
	}
	n := 0
	for n < len(g.failed) && (g.stopped || !g.failed[n].due.After(now)) {
		n++
	}
	due = slices.Clone(g.failed[:n])
	g.failed = slices.Delete(g.failed, 0, n)
	switch {
	case len(g.waiting) > 0:
		next = g.waiting[0]
		g.waiting = slices.Delete(g.waiting, 0, 1)
	case len(g.failed) > 0:
		left = g.failed[0].due.Sub(now)
	case len(due) == 0:
		g.working, left = false, -1
	}
	return due, next, left
}

// decide answers those who ask about c.
func (g *gate) decide(c *check, right bool) {
	g.mu.Lock()
	asking := g.end(c, right)
	g.mu.Unlock()
	for _, a := range asking {
		a.told()
	}
}

// end takes c off the list and queues its failures, or returns whom to tell that they are right. The caller holds mu.
func (g *gate) end(c *check, right bool) []*attempt {
	delete(g.checks, c.tag)
	if !right {
		for _, a := range c.asking {
			g.fail(a)
		}
		return nil
	}
	for _, a := range c.asking {
		a.ok = true
	}
	g.cmds.Add(uint64(len(c.asking)))
	return c.asking
}

// refuse counts an attempt that cannot be right.
func (g *gate) refuse() {
	g.cmds.Add(1)
	g.errors.Add(1)
}

// stop has all that wait told that they have failed. What is being checked is decided first.
func (g *gate) stop() {
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.wake()
}

// SetUsers makes u those who may use the server from now on; clients that are in stay in. The server must have been made
// with users.
func (s *Server) SetUsers(u *Users) {
	if u == nil || s.gate.users.Load() == nil {
		panic("server: SetUsers on a server without authentication, or with nobody")
	}
	s.gate.users.Store(u)
}
