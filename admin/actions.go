package admin

import (
	"errors"
	"net/http"
)

// actionRoutes is what changes something: POST only, parameters in the query or as a form. An answer is {"ok":true}, or says
// with status 409 why it could not be done.
func (a *Admin) actionRoutes(mux *http.ServeMux) {
	act := func(path string, do func(r *http.Request) error) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := r.ParseForm(); err != nil {
				fail(w, http.StatusBadRequest, "the parameters cannot be read: "+err.Error())
				return
			}
			err := do(r)
			var bad badRequest
			switch {
			case errors.As(err, &bad):
				fail(w, http.StatusBadRequest, err.Error())
			case err != nil:
				fail(w, http.StatusConflict, err.Error())
			default:
				a.o.Logger.Info().Str("client", r.RemoteAddr).Str("action", path).Msg("admin action")
				reply(w, http.StatusOK, struct {
					OK bool `json:"ok"`
				}{true})
			}
		})
	}
	act("/api/invalidate", func(r *http.Request) error {
		what := r.Form.Get("what")
		if what == "" || len(what) > maxKey {
			return badRequest("what: write the name of a route, or a key of one")
		}
		return a.o.Do.Invalidate(what)
	})
	act("/api/refresh", func(r *http.Request) error {
		key, err := keyOf(r)
		if err != nil {
			return err
		}
		return a.o.Do.Refresh(key)
	})
	act("/api/route", func(r *http.Request) error {
		name, state := r.Form.Get("name"), r.Form.Get("state")
		if name == "" || state != "on" && state != "off" {
			return badRequest("name, state: write the name of a route, and on or off")
		}
		return a.o.Do.Route(name, state == "off")
	})
	act("/api/log_level", func(r *http.Request) error {
		level := r.Form.Get("level")
		if level == "" {
			return badRequest("level: write trace, debug, info, warn or error")
		}
		return a.o.Do.LogLevel(level)
	})
	act("/api/reload", func(*http.Request) error { return a.o.Do.Reload() })
	act("/api/snapshot", func(*http.Request) error { return a.o.Do.Snapshot() })
}
