package server

import "testing"

// A client that watched and has gone leaves its place to others, also where nothing happens that it could be told.
func TestWatcherThatHasGone(t *testing.T) {
	s, addr := startServer(t, Options{})
	other := talk(t, addr)
	for range maxWatchers + 5 {
		c := talk(t, addr)
		if got := c.ask("watch evictions\r\n", "OK"); got != "OK\r\n" {
			t.Fatalf("got %q", got)
		}
		c.Close()
		for tries := 0; s.Stats().Connections > 1; tries++ {
			if other.ask("version\r\n", "VERSION"); tries == 20_000 {
				t.Fatal("it is still there")
			}
		}
	}
}
