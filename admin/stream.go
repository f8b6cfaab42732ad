package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// streamPatience is how long a listener may leave an event unread.
const streamPatience = 10 * time.Second

// serve answers /api/live: a point a second as a server-sent event, until the client leaves or the server stops.
func (l *live) serve(w http.ResponseWriter, r *http.Request) {
	c := l.listen()
	if c == nil {
		fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d dashboards are open already; close one", maxStreams))
		return
	}
	defer l.leave(c)
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(text []byte) bool {
		_ = out.SetWriteDeadline(time.Now().Add(streamPatience))
		_, err := w.Write(text)
		return err == nil && out.Flush() == nil
	}
	if !send([]byte("retry: 2000\n\n")) {
		return
	}
	for {
		select {
		case <-l.done:
			return
		case <-r.Context().Done():
			return
		case p := <-c:
			b, err := json.Marshal(p)
			if err != nil || !send(fmt.Appendf(nil, "data: %s\n\n", b)) {
				return
			}
		}
	}
}
