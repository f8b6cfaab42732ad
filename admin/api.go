package admin

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// apiRoutes is the JSON API. Names of fields are stable; fields may be added. See docs/ADMIN.md.
func (a *Admin) apiRoutes(mux *http.ServeMux) {
	show := func(path string, read func(r *http.Request) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := read(r)
			if err != nil {
				fail(w, http.StatusBadRequest, err.Error())
				return
			}
			reply(w, http.StatusOK, v)
		})
	}
	show("/api/stats", func(*http.Request) (any, error) { return a.stats(), nil })
	show("/api/routes", func(*http.Request) (any, error) { return a.routeViews(), nil })
	show("/api/routes/unmatched", func(*http.Request) (any, error) { return shapes(a.o.Server.Unmatched()), nil })
	show("/api/queue", func(*http.Request) (any, error) { return a.queue(), nil })
	show("/api/sources", func(*http.Request) (any, error) { return a.sources(), nil })
	show("/api/dedup", func(*http.Request) (any, error) { return a.o.Server.Dedup(), nil })
	show("/api/top", func(r *http.Request) (any, error) {
		n, err := countOf(r)
		return a.o.Server.Top(n), err
	})
	show("/api/explain", func(r *http.Request) (any, error) {
		key, err := keyOf(r)
		if err != nil {
			return nil, err
		}
		return a.o.Server.Explain(key, true), nil
	})
	show("/api/snapshot", func(*http.Request) (any, error) { return snapshotView(a.o.Snapshot()), nil })
	show("/api/history", func(*http.Request) (any, error) { return a.live.history(), nil })
	mux.HandleFunc("GET /api/live", a.live.serve)
	a.actionRoutes(mux)
	a.warmRoutes(mux)
}

// badRequest is a mistake of the one who asks.
type badRequest string

func (e badRequest) Error() string { return string(e) }

const (
	maxKey   = 250
	topShown = 20
	topMost  = 100
)

// keyOf returns the parameter key, which must be one that a client could send.
func keyOf(r *http.Request) (string, error) {
	key := r.FormValue("key")
	switch {
	case key == "":
		return "", badRequest("key: write the key to look at")
	case len(key) > maxKey:
		return "", badRequest("key: a key has at most " + strconv.Itoa(maxKey) + " bytes")
	case strings.ContainsAny(key, " \r\n\x00"):
		return "", badRequest("key: a key has no blank, line end or NUL")
	}
	return key, nil
}

func countOf(r *http.Request) (int, error) {
	s := r.FormValue("n")
	if s == "" {
		return topShown, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > topMost {
		return 0, badRequest("n: write a number from 1 to " + strconv.Itoa(topMost))
	}
	return n, nil
}

func reply(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // a number that is none, which nothing here yields
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // an error says that the client has left
}

// fail answers with what is wrong.
func fail(w http.ResponseWriter, code int, why string) {
	reply(w, code, struct {
		Error string `json:"error"`
	}{why})
}
