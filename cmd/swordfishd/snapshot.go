package main

import (
	"swordfish/config"
	"swordfish/snapshot"
)

func snapshotOptions(c *config.Snapshot) snapshot.Options {
	return snapshot.Options{Path: c.Path, Every: c.Every, OnStop: c.OnStop, Load: c.Load}
}

// loadSnapshot begins to load the snapshot, if there is to be one. What the memory file has kept, or another process has handed
// over, is newer.
func (a *app) loadSnapshot() {
	if a.heir != nil {
		return
	}
	c := a.config.Load()
	if warm, _ := a.store.Warm(); warm && c.Snapshot.Load {
		a.log.Info().Str("file", c.Snapshot.Path).Msg("the snapshot is not loaded: the memory file has newer items")
		return
	}
	a.snapshots.Load()
}

// snapshotState is what telnet shows.
func (a *app) snapshotState() []string {
	st := a.snapshots.Status()
	return st.Lines()
}
