package server

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"swordfish/filler"
	"swordfish/store"
)

// Times are told in seconds of the item clock.
func TestMetaTimes(t *testing.T) {
	clock := &testClock{now: 10_000}
	c := newClient(t, newServer(t, Options{Store: newStore(t, store.Options{Clock: clock.read})}))
	for _, step := range []struct {
		after store.Time // milliseconds
		ask   string
		want  string
	}{
		{0, "ms a 1 T100\r\nx\r\n", "HD\r\n"},
		{0, "mg a t l\r\n", "HD t100 l0\r\n"},
		{3000, "mg a l t\r\n", "HD l3 t97\r\n"},
		{2000, "mg a u l\r\n", "HD l2\r\n"},
		{1000, "mg a l\r\n", "HD l3\r\n"},
		{0, "mg a l h\r\n", "HD l0 h1\r\n"},
		{0, "mg a t T50 t\r\n", ""}, // no flag twice
		{0, "mg a T50 t\r\n", "HD t50\r\n"},
		{0, "mg a t T60\r\n", "HD t50\r\n"},
		{0, "mg a R60 t\r\n", "HD t60\r\n"},
		{1000, "mg a R60 t\r\n", "HD t59 W\r\n"},
		{0, "mg a R60 t\r\n", "HD t59 Z\r\n"},
		{58_000, "mg a t\r\n", "HD t1 Z\r\n"},
		{1000, "mg a t k\r\n", "EN ka\r\n"},
		{0, "mg a N30 t T40\r\n", "HD t30 W\r\n"},
		{0, "mg a t\r\n", "HD t40 Z\r\n"},
		{40_000, "ma a N20 J5 v t\r\n", "VA 1 t20\r\n5\r\n"},
		{5000, "ma a v t T7\r\n", "VA 1 t15\r\n6\r\n"},
		{0, "mg a t\r\n", "HD t7\r\n"},
		{0, "md a I T3\r\n", "HD\r\n"},
		{2000, "mg a v t\r\n", "VA 1 t1 X W\r\n6\r\n"},
		{1000, "mg a v t\r\n", "EN\r\n"},
		{0, "ms a 1 T10\r\nx\r\n", "HD\r\n"},
		{0, "md a x T5\r\n", "HD\r\n"},
		{4000, "mg a v t s\r\n", "VA 0 t1 s0\r\n\r\n"},
		{0, "ms b 1 MA N8\r\nx\r\n", "HD\r\n"},
		{0, "ms b 1 MA N80\r\ny\r\n", "HD\r\n"},
		{0, "mg b v t\r\n", "VA 2 t8\r\nxy\r\n"},
		{0, "mg b T-1 t v\r\n", "VA 2 t0\r\nxy\r\n"},
		{0, "mg b\r\n", "EN\r\n"},
	} {
		clock.advance(step.after)
		got := c.ask(step.ask)
		if step.want == "" {
			if !strings.HasPrefix(got, "CLIENT_ERROR") {
				t.Fatalf("%q: got %q", step.ask, got)
			}
		} else if got != step.want {
			t.Fatalf("%q: got %q, want %q", step.ask, got, step.want)
		}
	}
	c.ask("ms c 1 T100 F3\r\nx\r\n")
	clock.advance(7000)
	if got := c.ask("me c\r\n"); !strings.HasPrefix(got, "ME c exp=93 la=7 cas=") || !strings.HasSuffix(got, " fetch=no cls=1 size=65\r\n") {
		t.Errorf("me: %q", got)
	}
}

// On a route W and Z tell of the load that is under way.
func TestMetaOnRoutes(t *testing.T) {
	var gate atomic.Pointer[chan struct{}] // loads wait until it is closed, however many keys they bring together
	shut := func() chan struct{} {
		ch := make(chan struct{})
		gate.Store(&ch)
		return ch
	}
	first := shut()
	f := startFilled(t, Options{}, func(ctx context.Context, b *filler.Batch) error {
		<-*gate.Load()
		row(b)
		return nil
	})
	c := talk(t, f.addr)
	steps := func(pairs ...string) {
		t.Helper()
		for i := 0; i < len(pairs); i += 2 {
			ask := pairs[i] + "\r\nmn\r\n"
			if got := strings.TrimSuffix(c.ask(ask, "MN"), "MN\r\n"); got != pairs[i+1] {
				t.Fatalf("%q: got %q, want %q", pairs[i], got, pairs[i+1])
			}
		}
	}
	steps(
		"mg user:1 v k", "EN kuser:1\r\n",
		"mg user:2 v N30 k", "VA 0 kuser:2 W\r\n\r\n", // the load is not kept from putting
		"mg user:2 v", "VA 0 Z\r\n\r\n",
		"me user:3", "EN\r\n", // loads nothing
	)
	close(first)
	<-f.puts
	<-f.puts
	second := shut()
	steps(
		"mg user:1 v k", "VA 14 kuser:1\r\nname of user:1\r\n",
		"mg user:2 v f", "VA 14 f7\r\nname of user:2\r\n",
		"md user:1 I", "HD\r\n",
		"mg user:1 v", "VA 14 X W\r\nname of user:1\r\n",
		"mg user:1 v", "VA 14 Z X\r\nname of user:1\r\n",
		"ms user:1 3\r\nown", "HD\r\n", // ends the load
		"mg user:1 v", "VA 3\r\nown\r\n",
	)
	close(second)
}

func TestMetaCountsLikeTheOthers(t *testing.T) {
	s := newServer(t, Options{Store: usualStore(t)})
	c := newClient(t, s)
	c.ask("mg a\r\nmg a T5\r\nms a 1\r\n1\r\nmg a\r\nmg a T5\r\nmg b N5\r\nma a\r\nma a MD\r\nma x\r\nma x MD\r\nma y N0\r\nmd x\r\nmd a C5\r\nmd a I\r\nmd a\r\nme b\r\nme a\r\nmn\r\n" +
		"ms a 1 C5\r\n1\r\nms b 1 C5\r\n1\r\nms b 2000000\r\n" + strings.Repeat("x", 2_000_000) + "\r\nms b 1\r\nxx\r\n")
	c.w.publish()
	got := s.Stats().Counters
	want := Counters{CmdGet: 4, GetHits: 2, GetMisses: 2, CmdTouch: 1, TouchHits: 1, CmdSet: 4, IncrHits: 1, DecrHits: 1, IncrMisses: 1, DecrMisses: 1,
		DeleteHits: 1, DeleteMisses: 2, CmdMeta: 2, CasMisses: 1, CasBadval: 1, StoreTooLarge: 1}
	got.BytesRead, got.BytesWritten = 0, 0
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A value that needs a larger buffer is looked up twice, which must not show.
func TestLargeMetaValues(t *testing.T) {
	s := newServer(t, Options{})
	value := strings.Repeat("v", 300_000)
	newClient(t, s).ask("ms big 300000\r\n" + value + "\r\nmd big I\r\n")
	for _, step := range []struct{ ask, want string }{
		{"mg big h v\r\n", "VA 300000 h0 X W\r\n" + value + "\r\n"},
		{"mg big h v\r\n", "VA 300000 h1 Z X\r\n" + value + "\r\n"},
		{"mg big T-1 v\r\n", "VA 300000 Z X\r\n" + value + "\r\n"},
		{"mg big v\r\n", "EN\r\n"},
	} {
		if got := newClient(t, s).ask(step.ask); got != step.want {
			t.Fatalf("%q: got %.50q and %d bytes in all", step.ask, got, len(got))
		}
	}
	if n := s.Stats().Counters; n.CmdGet != 3 || n.CmdTouch != 1 {
		t.Errorf("counted %+v", n)
	}
}
