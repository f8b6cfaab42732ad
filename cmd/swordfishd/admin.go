package main

import (
	"fmt"
	"os"

	"swordfish/admin"
	"swordfish/config"
)

// startAdmin serves HTTP for operators as c says.
func (a *app) startAdmin(c *config.Admin) error {
	if a.admin == nil {
		if err := a.bindAdmin(c); err != nil || a.admin == nil {
			return err
		}
	}
	if err := a.admin.Start(); err != nil {
		return systemError{err}
	}
	a.log.Info().Stringer("address", a.admin.Addr()).Bool("token", c.Token != "").Msg("admin listening")
	return nil
}

// bindAdmin listens where HTTP for operators is to be served. That its usual port is taken is no reason not to serve clients;
// that an address which was asked for cannot be had is.
func (a *app) bindAdmin(c *config.Admin) error {
	if c.Listen == "" {
		return nil
	}
	var listening *os.File
	if a.heir != nil && a.heir.estate.Admin == c.Listen {
		listening = a.heir.admin
	}
	change := func(f func(string) error) func(string) error {
		return func(what string) error {
			err := errStopping
			a.fills.do(func() { err = f(what) })
			return err
		}
	}
	served := admin.New(admin.Options{
		Addr: c.Listen, Token: c.Token.Reveal(), Hosts: c.Hosts, Pprof: c.Pprof, Version: release, Logger: a.log,
		Server: a.server, Store: a.store, Filler: a.filler, Warmer: a.warmer, Snapshot: a.snapshots.Status, NotReady: a.notReady,
		Listening: listening,
		Do: admin.Actions{
			Invalidate: change(a.server.Invalidate), Refresh: change(a.server.Refresh), Route: a.server.SwitchRoute, LogLevel: setLogLevel, Reload: a.reload,
			Snapshot: a.snapshots.Save,
		},
	})
	err := served.Bind()
	switch {
	case err == nil:
		a.admin, a.adminAt = served, c.Listen
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
