package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/filler"
	"swordfish/normalizer"
	"swordfish/store"
)

// still is a server with one route whose clock and whose source stand still until told, and a client.
type still struct {
	*conversation
	filler  *filler.Filler
	clock   atomic.Int64           // of items, in milliseconds
	row     atomic.Pointer[string] // what the source has; nil: no row
	loading chan struct{}          // gets a token for each load that waits
	gate    chan struct{}          // lets one go on
	puts    chan struct{}          // gets a token for each load that was put
	begun   bool                   // the load under way was seen to begin
}

// Freshness of still's route, in seconds.
const stillFresh, stillStale, stillNegative, stillSettle = 60, 600, 20, 1

func startStill(t *testing.T, change func(r *store.Route)) *still {
	t.Helper()
	s := &still{loading: make(chan struct{}, 100), gate: make(chan struct{}), puts: make(chan struct{}, 100)}
	s.clock.Store(1000)
	st := newStore(t, store.Options{Clock: func() store.Time { return store.Time(s.clock.Load()) }})
	route := store.Route{
		Name: "user", KeyPrint: 1, QueryPrint: 1, Fresh: stillFresh, Stale: stillStale, Negative: stillNegative,
		Settle: stillSettle * time.Second,
	}
	if change != nil {
		change(&route)
	}
	ids, err := st.SetRoutes([]store.Route{route})
	if err != nil {
		t.Fatal(err)
	}
	id := uint16(ids[0])
	table, err := normalizer.Compile([]normalizer.Route{{ID: id, Name: "user", Key: "user:{id:int}"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, open := context.WithCancel(context.Background())
	source := func(_ context.Context, b *filler.Batch) error {
		s.loading <- struct{}{}
		select {
		case <-s.gate:
		case <-ctx.Done(): // the test is over
			return nil
		}
		if row := s.row.Load(); row != nil {
			for i := range b.Len() {
				b.Row(int64(i+1), []filler.Value{{Kind: filler.Text, Text: []byte(*row)}})
			}
		}
		return nil
	}
	f, err := filler.New(filler.Options{
		Sources: []filler.SourceSpec{{Name: "main", Source: filler.SourceFunc(source), Timeout: time.Hour}},
		Routes: []filler.Route{{
			ID: id, Name: "user", Sources: []string{"main"}, Flags: 7, SetFlags: true, Limits: filler.Limits{Concurrency: 1},
		}},
		Hooks:  hooks(st, s.puts),
		Logger: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.filler = f
	t.Cleanup(func() { f.Shutdown(context.Background()) })
	t.Cleanup(open)
	_, addr := startServer(t, Options{Store: st, Routes: table, Filler: f, Workers: 1})
	s.conversation = talk(t, addr)
	return s
}

// has makes the source have that row; empty: none.
func (s *still) has(row string) {
	if row == "" {
		s.row.Store(nil)
		return
	}
	s.row.Store(&row)
}

// begin waits until a load is under way. Before that, what kills its lease keeps it from being sent at all.
func (s *still) begin() {
	<-s.loading
	s.begun = true
}

// load lets the load under way finish and waits until it is put.
func (s *still) load() {
	if !s.begun {
		<-s.loading
	}
	s.begun = false
	s.gate <- struct{}{}
	<-s.puts
}

func (s *still) advance(seconds int) { s.clock.Add(int64(seconds) * 1000) }

// leased returns how many loads were leased so far.
func (s *still) leased() int {
	s.t.Helper()
	_, values := statNames(s.t, s.ask("stats routes\r\n", "END"))
	n, err := strconv.Atoi(values["user:leased"])
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// say sends a command and tells how it went: the reply, of gets only value/flags or "miss", and " load" if that leased one.
func (s *still) say(command string) string {
	s.t.Helper()
	before := s.leased()
	if _, err := s.Write([]byte(command + "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	line := func() string {
		l, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %v", command, err)
		}
		return strings.TrimSuffix(l, "\r\n")
	}
	got := line()
	if f := strings.Fields(got); f[0] == "VALUE" {
		got = line() + "/" + f[2]
		line() // END
	} else if got == "END" {
		got = "miss"
	}
	if s.leased() > before {
		got += " load"
	}
	return got
}

// unique asks for the number that cas compares, and for no load.
func (s *still) unique() uint64 {
	s.t.Helper()
	var flags, size int
	var unique uint64
	reply := s.ask("gets user:1\r\n", "END")
	if _, err := fmt.Sscanf(reply, "VALUE user:1 %d %d %d", &flags, &size, &unique); err != nil {
		s.t.Fatalf("gets: %q", reply)
	}
	return unique
}

// states are what a key of a route can be in when a command comes. The source has the row 100, or none where it says so.
var states = []struct {
	name    string
	arrange func(s *still)
}{
	{"absent", func(s *still) {}},
	{"fresh", func(s *still) {
		s.say("get user:1")
		s.load()
	}},
	{"stale", func(s *still) {
		s.say("get user:1")
		s.load()
		s.advance(stillFresh)
	}},
	{"negative", func(s *still) {
		s.has("")
		s.say("get user:1")
		s.load()
	}},
	{"client", func(s *still) { s.say("set user:1 3 0 2\r\n50") }},
	{"client, stale", func(s *still) {
		s.say("set user:1 3 0 2\r\n50")
		s.advance(stillFresh)
	}},
}

// TestClientWritesOnRouteKeys plays each command on each state of a key. Expected is what the command answers, then what a get
// finds, then what a get finds once that get's load has brought the row 200. A load that the command itself leased is put
// before the get. UNIQUE stands for the number that cas compares.
func TestClientWritesOnRouteKeys(t *testing.T) {
	for _, test := range []struct {
		command string
		want    map[string]string
	}{
		{"get user:1", map[string]string{
			"absent": "miss load, 200/7", "fresh": "100/7, 100/7", "stale": "100/7 load, 200/7", "negative": "miss, miss",
			"client": "50/3, 50/3", "client, stale": "50/3 load, 200/7",
		}},
		{"set user:1 4 0 2\r\n60", map[string]string{
			"absent": "STORED, 60/4", "fresh": "STORED, 60/4", "stale": "STORED, 60/4", "negative": "STORED, 60/4",
			"client": "STORED, 60/4", "client, stale": "STORED, 60/4",
		}},
		{"add user:1 4 0 2\r\n60", map[string]string{
			"absent": "STORED, 60/4", "fresh": "NOT_STORED, 100/7", "stale": "NOT_STORED, 100/7 load, 200/7",
			"negative": "STORED, 60/4", "client": "NOT_STORED, 50/3", "client, stale": "NOT_STORED, 50/3 load, 200/7",
		}},
		{"replace user:1 4 0 2\r\n60", map[string]string{
			"absent": "NOT_STORED, miss load, 200/7", "fresh": "STORED, 60/4", "stale": "STORED, 60/4",
			"negative": "NOT_STORED, miss", "client": "STORED, 60/4", "client, stale": "STORED, 60/4",
		}},
		{"cas user:1 4 0 2 UNIQUE\r\n60", map[string]string{
			"absent": "NOT_FOUND, miss load, 200/7", "fresh": "STORED, 60/4", "stale": "STORED, 60/4",
			"negative": "NOT_FOUND, miss", "client": "STORED, 60/4", "client, stale": "STORED, 60/4",
		}},
		{"cas user:1 4 0 2 1\r\n60", map[string]string{
			"absent": "NOT_FOUND, miss load, 200/7", "fresh": "EXISTS, 100/7", "stale": "EXISTS, 100/7 load, 200/7",
			"negative": "NOT_FOUND, miss", "client": "EXISTS, 50/3", "client, stale": "EXISTS, 50/3 load, 200/7",
		}},
		{"append user:1 9 9 1\r\n5", map[string]string{ // deadlines stay, so what was stale is refilled
			"absent": "NOT_STORED, miss load, 200/7", "fresh": "STORED, 1005/7", "stale": "STORED, 1005/7 load, 200/7",
			"negative": "NOT_STORED, miss", "client": "STORED, 505/3", "client, stale": "STORED, 505/3 load, 200/7",
		}},
		{"prepend user:1 9 9 1\r\n5", map[string]string{
			"absent": "NOT_STORED, miss load, 200/7", "fresh": "STORED, 5100/7", "stale": "STORED, 5100/7 load, 200/7",
			"negative": "NOT_STORED, miss", "client": "STORED, 550/3", "client, stale": "STORED, 550/3 load, 200/7",
		}},
		{"incr user:1 7", map[string]string{
			"absent": "NOT_FOUND, miss load, 200/7", "fresh": "107, 107/7", "stale": "107, 107/7 load, 200/7",
			"negative": "NOT_FOUND, miss", "client": "57, 57/3", "client, stale": "57, 57/3 load, 200/7",
		}},
		{"decr user:1 1", map[string]string{
			"absent": "NOT_FOUND, miss load, 200/7", "fresh": "99, 99 /7", "stale": "99, 99 /7 load, 200/7",
			"negative": "NOT_FOUND, miss", "client": "49, 49/3", "client, stale": "49, 49/3 load, 200/7",
		}},
		{"touch user:1 1000", map[string]string{
			"absent": "NOT_FOUND, miss load, 200/7", "fresh": "TOUCHED, 100/7", "stale": "TOUCHED, 100/7 load, 200/7",
			"negative": "NOT_FOUND, miss", "client": "TOUCHED, 50/3", "client, stale": "TOUCHED, 50/3 load, 200/7",
		}},
		{"gat 1000 user:1", map[string]string{
			"absent": "miss load, 200/7", "fresh": "100/7, 100/7", "stale": "100/7 load, 200/7", "negative": "miss, miss",
			"client": "50/3, 50/3", "client, stale": "50/3 load, 200/7",
		}},
		{"delete user:1", map[string]string{
			"absent": "NOT_FOUND, miss load, 200/7", "fresh": "DELETED, miss load, 200/7", "stale": "DELETED, miss load, 200/7",
			"negative": "NOT_FOUND, miss load, 200/7", "client": "DELETED, miss load, 200/7", "client, stale": "DELETED, miss load, 200/7",
		}},
		{"set user:1 4 -1 2\r\n60", map[string]string{
			"absent": "STORED, miss load, 200/7", "fresh": "STORED, miss load, 200/7", "stale": "STORED, miss load, 200/7",
			"negative": "STORED, miss load, 200/7", "client": "STORED, miss load, 200/7", "client, stale": "STORED, miss load, 200/7",
		}},
		{"set user:1 4 0 2000000\r\n" + strings.Repeat("x", 2_000_000), map[string]string{
			"absent": tooLarge + ", miss load, 200/7", "fresh": tooLarge + ", miss load, 200/7", "stale": tooLarge + ", miss load, 200/7",
			"negative": tooLarge + ", miss load, 200/7", "client": tooLarge + ", miss load, 200/7",
			"client, stale": tooLarge + ", miss load, 200/7",
		}},
		{"flush_all", map[string]string{
			"absent": "OK, miss load, 200/7", "fresh": "OK, miss load, 200/7", "stale": "OK, miss load, 200/7",
			"negative": "OK, miss load, 200/7", "client": "OK, miss load, 200/7", "client, stale": "OK, miss load, 200/7",
		}},
		{"invalidate user", map[string]string{
			"absent": "OK, miss load, 200/7", "fresh": "OK, miss load, 200/7", "stale": "OK, miss load, 200/7",
			"negative": "OK, miss load, 200/7", "client": "OK, miss load, 200/7", "client, stale": "OK, miss load, 200/7",
		}},
	} {
		name, _, _ := strings.Cut(test.command, "\r")
		for _, state := range states {
			t.Run(name+", "+state.name, func(t *testing.T) {
				s := startStill(t, nil)
				s.has("100")
				state.arrange(s)
				command := test.command
				if strings.Contains(command, "UNIQUE") {
					unique := uint64(1)
					if state.name != "absent" && state.name != "negative" {
						unique = s.unique() // leases where the item is stale, and the cas ends that
					}
					command = strings.Replace(command, "UNIQUE", strconv.FormatUint(unique, 10), 1)
				}
				s.has("200")
				got := s.say(command)
				if strings.HasSuffix(got, " load") {
					s.load()
				}
				then := s.say("get user:1")
				got += ", " + then
				if strings.HasSuffix(then, " load") {
					s.load()
					got += ", " + s.say("get user:1")
				}
				if want := test.want[state.name]; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
}

const tooLarge = "SERVER_ERROR object too large for cache"

// step is a command, or "has ROW", "load", "wait SECONDS".
type step struct{ do, want string }

func (s *still) play(steps []step) {
	s.t.Helper()
	for i, step := range steps {
		word, arg, _ := strings.Cut(step.do, " ")
		got := ""
		switch word {
		case "has":
			s.has(arg)
		case "begin":
			s.begin()
		case "load":
			s.load()
		case "wait":
			n, err := strconv.Atoi(arg)
			if err != nil {
				s.t.Fatal(err)
			}
			s.advance(n)
		default:
			got = s.say(step.do)
		}
		if got != step.want {
			s.t.Fatalf("step %d, %.60s: got %s, want %s", i+1, step.do, got, step.want)
		}
	}
}

func TestClientItemsInTime(t *testing.T) {
	for _, test := range []struct {
		name   string
		ignore bool
		steps  []step
	}{
		{"exptime before fresh ends", false, []step{
			{"set user:1 3 10 2\r\n50", "STORED"}, {"wait 9", ""}, {"get user:1", "50/3"}, {"wait 1", ""},
			{"get user:1", "miss load"}, {"has 200", ""}, {"load", ""}, {"wait 20", ""}, {"get user:1", "200/7"},
		}},
		{"exptime after fresh ends: a row replaces it and its exptime", false, []step{
			{"has 200", ""}, {"set user:1 3 100 2\r\n50", "STORED"}, {"wait 60", ""}, {"get user:1", "50/3 load"}, {"load", ""},
			{"get user:1", "200/7"}, {"wait 50", ""}, {"get user:1", "200/7"},
		}},
		{"exptime after fresh ends: without a row it stays to its end", false, []step{
			{"set user:1 3 100 2\r\n50", "STORED"}, {"wait 60", ""}, {"get user:1", "50/3 load"}, {"load", ""},
			{"get user:1", "50/3"}, {"wait 19", ""}, {"get user:1", "50/3"}, {"wait 1", ""}, {"get user:1", "50/3 load"}, {"load", ""},
			{"wait 19", ""}, {"get user:1", "50/3"}, {"wait 1", ""}, {"get user:1", "miss load"}, {"load", ""},
			{"get user:1", "miss"},
		}},
		{"touch moves a client's exptime and not its freshness", false, []step{
			{"has 200", ""}, {"set user:1 3 10 2\r\n50", "STORED"}, {"touch user:1 100", "TOUCHED"}, {"wait 59", ""},
			{"get user:1", "50/3"}, {"wait 1", ""}, {"get user:1", "50/3 load"}, {"load", ""}, {"get user:1", "200/7"},
		}},
		{"a loaded item's touched exptime outlives a refill", false, []step{
			{"has 100", ""}, {"get user:1", "miss load"}, {"load", ""}, {"touch user:1 100", "TOUCHED"}, {"wait 60", ""}, {"has 200", ""},
			{"get user:1", "100/7 load"}, {"load", ""}, {"get user:1", "200/7"}, {"wait 39", ""}, {"get user:1", "200/7"}, {"wait 1", ""},
			{"get user:1", "miss load"},
		}},
		{"gat on a loaded item", false, []step{
			{"has 100", ""}, {"get user:1", "miss load"}, {"load", ""}, {"gat 10 user:1", "100/7"}, {"wait 10", ""}, {"get user:1", "miss load"},
		}},
		{"appending to a loaded item keeps the deadlines", false, []step{
			{"has 100", ""}, {"get user:1", "miss load"}, {"load", ""}, {"wait 59", ""}, {"append user:1 0 0 1\r\n5", "STORED"},
			{"get user:1", "1005/7"}, {"wait 1", ""}, {"get user:1", "1005/7 load"}, {"load", ""}, {"get user:1", "100/7"},
		}},
		{"counting on a client's item keeps its exptime", false, []step{
			{"set user:1 3 10 2\r\n50", "STORED"}, {"wait 5", ""}, {"incr user:1 1", "51"}, {"wait 5", ""}, {"incr user:1 1", "NOT_FOUND"},
		}},
		{"a negative item turns over", false, []step{
			{"get user:1", "miss load"}, {"load", ""}, {"get user:1", "miss"}, {"wait 19", ""}, {"get user:1", "miss"}, {"wait 1", ""}, {"has 200", ""},
			{"get user:1", "miss load"}, {"load", ""}, {"get user:1", "200/7"},
		}},
		{"a delete settles: what is loaded meanwhile is loaded once more", false, []step{
			{"has 100", ""}, {"get user:1", "miss load"}, {"load", ""}, {"delete user:1", "DELETED"}, {"get user:1", "miss load"}, {"load", ""},
			{"get user:1", "100/7"}, {"get user:1", "100/7"}, {"has 200", ""}, {"wait 1", ""}, {"get user:1", "100/7 load"}, {"load", ""},
			{"get user:1", "200/7"}, {"wait 59", ""}, {"get user:1", "200/7"},
		}},
		{"a load that began before a delete is not put", false, []step{
			{"has 100", ""}, {"get user:1", "miss load"}, {"begin", ""}, {"delete user:1", "NOT_FOUND"}, {"load", ""}, {"get user:1", "miss load"},
			{"load", ""}, {"get user:1", "100/7"},
		}},
		{"a client's write ends the settling", false, []step{
			{"delete user:1", "NOT_FOUND"}, {"set user:1 3 0 2\r\n50", "STORED"}, {"get user:1", "50/3"}, {"wait 1", ""}, {"get user:1", "50/3"},
		}},
		{"a delayed flush", false, []step{
			{"has 100", ""}, {"get user:1", "miss load"}, {"load", ""}, {"flush_all 10", "OK"}, {"wait 8", ""}, {"get user:1", "100/7"},
			{"wait 1", ""}, {"get user:1", "miss load"},
		}},
		{"a client's item survives the flush that came before it", false, []step{
			{"flush_all", "OK"}, {"set user:1 3 0 2\r\n50", "STORED"}, {"get user:1", "50/3"},
		}},
		{"ignored: nothing held", true, []step{
			{"set user:1 3 0 2\r\n50", "STORED"}, {"get user:1", "miss load"}, {"add user:1 3 0 2\r\n50", "STORED"}, {"has 100", ""}, {"load", ""},
			{"get user:1", "100/7"},
		}},
		{"ignored: a loaded item", true, []step{
			{"has 100", ""}, {"get user:1", "miss load"}, {"load", ""}, {"set user:1 3 0 2\r\n50", "STORED"}, {"replace user:1 3 0 2\r\n50", "STORED"},
			{"cas user:1 3 0 2 1\r\n50", "STORED"}, {"append user:1 3 0 2\r\n50", "STORED"}, {"get user:1", "100/7"},
			{"set user:1 3 -1 2\r\n50", "STORED"}, {"get user:1", "100/7"},
			{"set user:1 4 0 2000000\r\n" + strings.Repeat("x", 2_000_000), tooLarge}, {"get user:1", "100/7"},
		}},
		{"ignored: a delete is none of it", true, []step{
			{"has 100", ""}, {"get user:1", "miss load"}, {"load", ""}, {"delete user:1", "DELETED"}, {"get user:1", "miss load"},
		}},
		{"ignored: a negative item", true, []step{
			{"get user:1", "miss load"}, {"load", ""}, {"set user:1 3 0 2\r\n50", "STORED"}, {"get user:1", "miss"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			startStill(t, func(r *store.Route) { r.IgnoreSets = test.ignore }).play(test.steps)
		})
	}
}

// The number that cas compares belongs to an item, and moves with its payload or flags only.
func TestCASOnRouteKeys(t *testing.T) {
	s := startStill(t, nil)
	s.has("100")
	s.play([]step{{"get user:1", "miss load"}, {"load", ""}})
	first := s.unique()
	s.play([]step{{"touch user:1 500", "TOUCHED"}, {"wait 60", ""}, {"get user:1", "100/7 load"}, {"load", ""}, {"get user:1", "100/7"}})
	if got := s.unique(); got != first {
		t.Errorf("after a touch and an equal load: %d, before %d", got, first)
	}
	s.play([]step{{"has 200", ""}, {"wait 60", ""}, {"get user:1", "100/7 load"}, {"load", ""}, {"get user:1", "200/7"}})
	second := s.unique()
	if second <= first {
		t.Errorf("after another row: %d, before %d", second, first)
	}
	s.play([]step{
		{fmt.Sprintf("cas user:1 3 0 2 %d\r\n50", first), "EXISTS"},
		{fmt.Sprintf("cas user:1 3 0 2 %d\r\n50", second), "STORED"},
		{"get user:1", "50/3"},
		{fmt.Sprintf("cas user:1 3 0 2 %d\r\n60", second), "EXISTS"},
	})
	third := s.unique()
	s.play([]step{ // a row of the same bytes has other flags
		{"has 50", ""}, {"wait 60", ""}, {"get user:1", "50/3 load"}, {"load", ""}, {"get user:1", "50/7"},
		{fmt.Sprintf("cas user:1 3 0 2 %d\r\n60", third), "EXISTS"},
		{"delete user:1", "DELETED"},
		{fmt.Sprintf("cas user:1 3 0 2 %d\r\n60", third), "NOT_FOUND"},
	})
}

// A key that is loaded ahead of time and then turns stale, or is gone, moves up: it is more urgent than it was.
func TestWaitingLoadMovesUp(t *testing.T) {
	s := startStill(t, func(r *store.Route) { r.Ahead, r.Stale = 10, 10 })
	s.has("100")
	s.play([]step{
		{"get user:1", "miss load"}, {"load", ""}, {"get user:2", "miss load"}, {"begin", ""}, {"wait 50", ""},
		{"get user:1", "100/7 load"}, // ahead of time, behind user:2, whose load keeps the only slot
	})
	queue := func(want string) {
		t.Helper()
		for !strings.Contains(s.ask("queue\r\n", "END"), want) {
		}
	}
	queue("user refresh queued=1 came=1 moved_up=0\r\n")
	s.play([]step{{"get user:1", "100/7"}, {"wait 10", ""}, {"get user:1", "100/7"}})
	queue("user stale queued=1 came=0 moved_up=1\r\n")
	s.play([]step{{"wait 10", ""}, {"get user:1", "miss"}, {"get user:1", "miss"}})
	queue("user miss queued=1 came=2 moved_up=1\r\n")
	s.play([]step{{"has 200", ""}, {"load", ""}, {"load", ""}, {"get user:1", "200/7"}})
}

func TestMovingUpAllocatesNothing(t *testing.T) {
	s := startStill(t, nil)
	w := newServer(t, Options{Filler: s.filler, Workers: 1}).workers[0]
	w.lookup.Route = 1
	if n := testing.AllocsPerRun(1000, func() {
		w.item = store.Item{Promote: store.Lease{Hash: 1, Serial: 1}, Urgency: store.ForMiss}
		w.lease(&w.lookup, &w.item)
		w.end()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestIgnoredWritesAreCounted(t *testing.T) {
	s := startStill(t, func(r *store.Route) { r.IgnoreSets = true })
	s.play([]step{
		{"set user:1 3 0 2\r\n50", "STORED"}, {"append user:1 3 0 2\r\n50", "STORED"}, {"set plain 3 0 2\r\n50", "STORED"},
	})
	_, values := statNames(t, s.ask("stats routes\r\n", "END"))
	if got := values["user:ignored_sets"]; got != "2" {
		t.Errorf("got %s, want 2", got)
	}
}
