package admin

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"
)

// livez answers while the process can answer at all and its store can be locked, which live tries every second.
func (a *Admin) livez(w http.ResponseWriter, r *http.Request) {
	if silent := a.live.silent(); silent > livePatience {
		plain(w, http.StatusServiceUnavailable, fmt.Sprintf("the store has not answered for %v\n", silent.Round(time.Second)))
		return
	}
	plain(w, http.StatusOK, "ok\n")
}

// livePatience is far longer than anybody holds a lock, or a busy machine lets a process wait.
const livePatience = 15 * time.Second

// readyz tells whether clients should be sent here. A source that can no longer be reached is no reason against it: what is
// held is served on.
func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	var why []string
	if a.o.NotReady != nil {
		why = a.o.NotReady()
	}
	if len(why) == 0 {
		plain(w, http.StatusOK, "ok\n")
		return
	}
	text := ""
	for _, sentence := range why {
		text += fmt.Sprintf("not ready: %s\n", sentence)
	}
	plain(w, http.StatusServiceUnavailable, text)
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // an error says that the client has left
}

// longestProfile is the most seconds that a profile may be asked for.
const longestProfile = 300

// pprofRoutes serves profiles, but not the command line. Those that take their time move the deadline of their answer by
// themselves.
func pprofRoutes(mux *http.ServeMux) {
	bounded := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if s := r.FormValue("seconds"); s != "" {
				if n, err := strconv.ParseFloat(s, 64); err != nil || n < 0 || n > longestProfile {
					fail(w, http.StatusBadRequest, fmt.Sprintf("seconds: write a number from 0 to %d", longestProfile))
					return
				}
			}
			h(w, r)
		}
	}
	mux.HandleFunc("GET /debug/pprof/", bounded(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/profile", bounded(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", bounded(pprof.Trace))
}
