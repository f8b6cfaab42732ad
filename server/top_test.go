package server

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"swordfish/store"
)

// stream gives keys to a sampler, so many a second, in equal parts as given, for a time.
func stream(p *sampler, now *store.Time, perSecond int, d time.Duration, key func(i int) (string, store.RouteID)) {
	q := &store.Lookup{}
	n := 0
	for end := *now + store.Time(d.Milliseconds()); *now < end; *now += 10 {
		p.tick(*now)
		for range max(perSecond/100, 1) {
			name, id := key(n)
			n++
			q.Key, q.Route, q.Now, q.Hash = []byte(name), id, *now, testSeed.Key([]byte(name))
			if p.left--; p.left <= 0 {
				p.take(q)
			}
		}
	}
}

func rates(p *sampler, now store.Time) sampled {
	sum := sampled{keys: map[sampledKey]float64{}}
	p.addTo(&sum, now)
	return sum
}

func checkRate(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within*want {
		t.Errorf("%s: got %.4g a second, want %.4g within %g %%", what, got, want, 100*within)
	}
}

// While there are few gets all are counted, and from the first second on the rate is right.
func TestSamplerCountsFewGetsExactly(t *testing.T) {
	for _, seconds := range []int{1, 5, 60, 300} {
		var p sampler
		p.start(1)
		now := store.Time(5_000)
		stream(&p, &now, 100, time.Duration(seconds)*time.Second, func(i int) (string, store.RouteID) {
			if i%10 == 0 {
				return "rare", 2
			}
			return "often", 1
		})
		got := rates(&p, now)
		checkRate(t, "often", got.keys[sampledKey{1, "often"}], 90, 0.02)
		checkRate(t, "rare", got.keys[sampledKey{2, "rare"}], 10, 0.02)
		checkRate(t, "route 1", got.routes[1], 90, 0.02)
	}
}

// With many gets only some are looked at, and the rates of the frequent keys are still right, among many rare ones.
func TestSamplerUnderLoad(t *testing.T) {
	var p sampler
	p.start(1)
	now := store.Time(5_000)
	key := func(i int) (string, store.RouteID) {
		switch {
		case i%10 < 3:
			return "hot", 1
		case i%10 == 3:
			return "warm", 1
		}
		return fmt.Sprint("cold", i), 0
	}
	stream(&p, &now, 200_000, 20*time.Second, key)
	if p.every < 128 {
		t.Errorf("every sample stands for %d gets only", p.every)
	}
	got := rates(&p, now)
	checkRate(t, "hot", got.keys[sampledKey{1, "hot"}], 60_000, 0.15)
	checkRate(t, "warm", got.keys[sampledKey{1, "warm"}], 20_000, 0.25)
	checkRate(t, "routes", got.routes[1], 80_000, 0.15)
	checkRate(t, "plain", got.routes[0], 120_000, 0.15)
	if len(got.keys) != topSlots {
		t.Errorf("%d keys told apart, want %d", len(got.keys), topSlots)
	}
	for at, r := range got.keys { // a sample of a cold key stands for a few hundred gets
		if at.route == 0 && r > 100 {
			t.Errorf("%s: got %.4g a second, though it came once", at.key, r)
		}
	}

	// It is quiet for a while, and then a few gets are seen at once.
	now += 60_000
	p.tick(now)
	if p.every != 1 {
		t.Errorf("after a minute a sample stands for %d gets", p.every)
	}
	before := rates(&p, now)
	checkRate(t, "hot, two half-lives later", before.keys[sampledKey{1, "hot"}], 60_000/4*(1-math.Exp2(-20./30))/(1-math.Exp2(-80./30)), 0.15)
	stream(&p, &now, 10, time.Second, func(int) (string, store.RouteID) { return "new", 3 })
	if rates(&p, now).routes[3] == 0 {
		t.Error("gets after the quiet time were not seen")
	}
}

func TestSamplerFadesForever(t *testing.T) {
	var p sampler
	p.start(1)
	now := store.Time(5_000)
	for range 50 { // a day between two bursts is many half-lives
		stream(&p, &now, 100, 5*time.Second, func(int) (string, store.RouteID) { return "k", 1 })
		got := rates(&p, now)
		if r := got.keys[sampledKey{1, "k"}]; math.IsNaN(r) || r < 5 || r > 110 {
			t.Fatalf("got a rate of %g", r)
		}
		now += 86_400_000
	}
	if r := rates(&p, now).keys[sampledKey{1, "k"}]; r != 0 && r > 1e-100 {
		t.Errorf("a day later: %g", r)
	}
}

func TestSamplerDoesNotAllocate(t *testing.T) {
	s := routed(t, Options{})
	c := newClient(t, s)
	c.ask("set k 0 0 1\r\nx\r\n")
	in := []byte("get k\r\n")
	if n := testing.AllocsPerRun(3*sampleMost, func() {
		c.out = c.out[:0]
		c.send(in)
	}); n != 0 {
		t.Errorf("a get allocates %v times while all are sampled", n)
	}
	if s.workers[0].sample.n == 0 {
		t.Error("nothing was sampled")
	}
}

func TestTopWord(t *testing.T) {
	x := newExplained(t)
	for range 6 {
		x.ask("get session:1\r\n")
	}
	x.ask("get chr|dev=1|country=IN|os=IOS\r\nmg chr|country=IN|dev=1|platform=ios v\r\ngat 0 bad\x1bkey\r\n")
	x.pass(time.Second)
	got := x.ask("top\r\n")
	want := "route - gets_per_second=6.92 share=77.8%\r\n" +
		"route characteristics gets_per_second=1.98 share=22.2%\r\n" +
		"key session:1 route=- gets_per_second=5.93 share=66.7%\r\n" +
		"key chr|country=IN|dev=1|os=ios route=characteristics gets_per_second=1.98 share=22.2%\r\n" +
		"key \"bad\\x1bkey\" route=- gets_per_second=0.988 share=11.1%\r\n" +
		"END\r\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := x.ask("top 1\r\n"); strings.Count(got, "\nkey ") != 1 {
		t.Errorf("top 1: got\n%s", got)
	}
	x.pass(time.Hour)
	if got := x.ask("top\r\n"); got != "END\r\n" {
		t.Errorf("an hour later: got\n%s", got)
	}
}

func TestDedupWord(t *testing.T) {
	x := newExplained(t)
	if got := x.ask("dedup\r\n"); got != "END\r\n" {
		t.Errorf("an empty store: got %q", got)
	}
	x.w.srv.dedup.at = time.Time{}
	devs := make([]int, 0, 11)
	for dev := 10; dev < 21; dev++ {
		devs = append(devs, dev)
	}
	x.load(devs...) // the first stays in its record, ten share a datum of 116 bytes
	x.ask("set session:1 0 0 3\r\nabc\r\n")
	got := x.ask("dedup\r\n")
	at, rest, _ := strings.Cut(got, " example=")
	want := "route characteristics items=11 shared=10 value_bytes=1276 stored_bytes=232 ratio=5.50\r\n" +
		"route - items=1 shared=0 value_bytes=3 stored_bytes=3 ratio=1.00\r\n" +
		"value keys=10 bytes=116 saved_bytes=1044"
	if at != want || !strings.HasPrefix(rest, "chr|country=IN|dev=") || !strings.HasSuffix(rest, "\r\nEND\r\n") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	x.load(30)
	if again := x.ask("dedup\r\n"); again != got {
		t.Errorf("at once once more it was walked again:\n%s", again)
	}
}

// An operator's words are for clients on this machine, unless others are let in or nobody is.
func TestAdminWordsAreForLocalClients(t *testing.T) {
	for _, tt := range []struct {
		name  string
		words AdminWords
		local bool
		want  string
	}{
		{"local", WordsLocal, true, ""},
		{"from elsewhere", WordsLocal, false, "CLIENT_ERROR an operator's words are for clients on this machine; -o admin_words=any lets others send them\r\n"},
		{"from anywhere", WordsAny, false, ""},
		{"off", WordsNone, true, "CLIENT_ERROR an operator's words are off; -o admin_words=local lets clients on this machine send them\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, Options{AdminWords: tt.words, SetLogLevel: func(string) error { return nil }})
			c := newClient(t, s)
			c.session.local = tt.local
			for i := range words {
				name, _, _ := strings.Cut(words[i].name, " ")
				got := c.ask(name + " info\r\n")
				refused := strings.Contains(got, "operator's words")
				if refused != (tt.want != "") || refused && got != tt.want {
					t.Errorf("%s: got %q, want %q", name, got, tt.want)
				}
			}
			if got := c.ask("version\r\nstats fish\r\n"); !strings.HasPrefix(got, "VERSION") || !strings.HasSuffix(got, "END\r\n") {
				t.Errorf("got %q", got)
			}
			got := c.ask("refresh_certs\r\nlog_level info\r\n") // a word of memcached's, and one that is not
			if refused := strings.Contains(got, "operator's words"); refused != (tt.want != "") {
				t.Errorf("got %q", got)
			}
			if got := c.ask("explain k noreply\r\nversion\r\n"); tt.want != "" && got != "VERSION 1.6.45\r\n" {
				t.Errorf("noreply: got %q", got)
			}
		})
	}
	for remote, want := range map[string]bool{
		"tcp:127.0.0.1:1": true, "tcp:127.8.8.8:1": true, "tcp6:[::1]:1": true, "tcp6:[::ffff:127.0.0.1]:1": true, "udp:127.0.0.1:1": true,
		"tcp:10.0.0.1:1": false, "tcp6:[fe80::1%lo]:1": false, "tcp6:[::]:1": false, "tcp:?": false, noAddr: false,
	} {
		if got := (&connInfo{remote: remote}).isLocal(&Listener{}); got != want {
			t.Errorf("%s: got %v, want %v", remote, got, want)
		}
		if !(&connInfo{remote: remote}).isLocal(&Listener{Network: "unix"}) {
			t.Errorf("%s on a UNIX socket: not local", remote)
		}
	}
}
