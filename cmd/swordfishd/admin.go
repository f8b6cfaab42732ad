package main

import (
	"fmt"

	"swordfish/admin"
	"swordfish/config"
)

// startAdmin serves HTTP for operators as c says. That its usual port is taken is no reason not to serve clients; that an
// address which was asked for cannot be had is.
func (a *app) startAdmin(c *config.Admin) error {
	if c.Listen == "" {
		return nil
	}
	served := admin.New(admin.Options{
		Addr: c.Listen, Token: c.Token.Reveal(), Hosts: c.Hosts, Pprof: c.Pprof, Version: release, Logger: a.log,
		Server: a.server, Store: a.store, Filler: a.filler, Warmer: a.warmer, Snapshot: a.snapshots.Status, NotReady: a.notReady,
		Do: admin.Actions{
			Invalidate: a.server.Invalidate, Refresh: a.server.Refresh, Route: a.server.SwitchRoute, LogLevel: setLogLevel, Reload: a.reload,
			Snapshot: a.snapshots.Save,
		},
	})
	err := served.Start()
	switch {
	case err == nil:
		a.admin = served
		a.log.Info().Stringer("address", served.Addr()).Bool("token", c.Token != "").Msg("admin listening")
	case c.Explicit:
		return systemError{fmt.Errorf("%v; choose another address with -o admin=127.0.0.1:PORT, or -o admin=off", err)}
	default:
		a.log.Warn().Err(err).Msg("no metrics and no dashboard: -o admin=127.0.0.1:PORT chooses another port for them, -o admin=off does without")
	}
	return nil
}

// notReady says what is missing before clients should be sent here. A source that has answered once may go away again: what it
// brought is served on.
func (a *app) notReady() (why []string) {
	for _, s := range a.filler.Sources() {
		if !s.Reached {
			why = append(why, fmt.Sprintf("source %s has not been reached yet", s.Name))
		}
	}
	if a.config.Load().Snapshot.Wait {
		if st := a.snapshots.Status(); st.Loading {
			why = append(why, fmt.Sprintf("the snapshot is being loaded: %.0f %%", 100*st.Loaded.Part()))
		}
	}
	return append(why, a.startup.waiting()...)
}
