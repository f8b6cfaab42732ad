package main

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"swordfish/config"
	"swordfish/store"
)

var errStopping = errors.New("reload: the server is stopping")

// reload reads the configuration again and takes over sources and routes. What cannot be used changes nothing and is logged
// with its places. It waits for files and for another reload, never for a database.
func (a *app) reload() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errStopping
	}
	a.tellReloading()
	defer a.tellReady() // also when it was in vain: the server serves on
	began := time.Now()
	c, err := config.Load(a.input)
	if err == nil {
		err = a.takeOver(c)
	}
	if err == nil {
		a.log.Info().Dur("took", time.Since(began)).Int("sources", len(c.Sources)).Int("routes", len(c.Routes)).Msg("configuration reloaded")
		return nil
	}
	var wrong *config.Error
	if errors.As(err, &wrong) {
		for _, p := range wrong.Problems {
			a.log.Error().Str("file", p.File).Int("line", p.Line).Str("problem", p.Text).Msg("reload: nothing was changed")
		}
	} else {
		a.log.Error().Err(err).Msg("reload: nothing was changed")
	}
	return err
}

// takeOver puts c to work: the store learns the routes first, then the filler, and last the workers, who until then know the
// old ids only and open no lease for a route that is gone.
func (a *app) takeOver(c *config.Config) error {
	old := a.config.Load()
	users, err := readUsers(a.login)
	if err != nil {
		return err
	}
	opened, err := a.sources.update(c.Sources, c.MaxItem)
	if err != nil {
		return err
	}
	held := a.held()
	ids, table, err := a.setRoutes(c)
	if err != nil {
		return errors.Join(err, opened.except(a.sources).close())
	}
	if err := a.filler.Apply(sourceSpecs(c, opened), a.fillerRoutes(c, ids, table)); err != nil {
		_, _, back := a.setRoutes(old)
		return errors.Join(err, back, opened.except(a.sources).close())
	}
	a.server.SetRoutes(table)
	a.table.Store(table)
	if users != nil {
		a.server.SetUsers(users)
		a.noteUsers(users)
	}
	a.endOldLoads(old, c)
	a.logSources(a.sources, opened)
	a.sources = opened // the filler closes those that are gone
	a.config.Store(c)
	a.logRoutes(old, c, held)
	options := changed(old.Options, c.Options, optionNames)
	if options = a.takeOptions(&c.Options, options); len(options) > 0 {
		a.log.Warn().Strs("options", options).Msg("reload: these options hold from the next start on")
	}
	for _, note := range c.Notes {
		if !slices.Contains(old.Notes, note) {
			a.log.Warn().Msg(note)
		}
	}
	return nil
}

// takeOptions puts those of the changed options to work that can change while the server runs, and returns the others.
func (a *app) takeOptions(o *config.Options, names []string) (rest []string) {
	for _, name := range names {
		var err error
		switch name {
		case "-m":
			err = a.store.SetMemory(o.Memory)
		case "-o pass_inline", "-o pass_background":
			err = a.store.SetPasses(o.PassInline, o.PassBack)
		case "snapshot":
			a.snapshots.SetOptions(snapshotOptions(&o.Snapshot))
		default:
			rest = append(rest, name)
			continue
		}
		if err != nil {
			a.log.Error().Err(err).Str("option", name).Msg("reload: option not changed")
			continue
		}
		a.log.Info().Str("option", name).Msg("reload: option changed")
	}
	return rest
}

// endOldLoads moves the epochs of changed routes once more: a lease opened after the store knew the new routes and before the
// filler did is loaded by the old query, and may not be put.
func (a *app) endOldLoads(old, next *config.Config) {
	was := make(map[string]uint64, len(old.Routes))
	for i := range old.Routes {
		was[old.Routes[i].Name] = storeRoute(&old.Routes[i]).QueryPrint
	}
	for i := range next.Routes {
		r := storeRoute(&next.Routes[i])
		before, known := was[r.Name]
		switch {
		case !known || before == r.QueryPrint:
		case r.MissOnReload:
			a.store.Invalidate(a.ids[r.Name])
		default:
			a.store.MakeStale(a.ids[r.Name])
		}
	}
}

// held tells what the store holds of each route.
func (a *app) held() map[string]store.RouteStats {
	held := make(map[string]store.RouteStats, len(a.ids))
	for name, id := range a.ids {
		held[name] = a.store.RouteStats(id)
	}
	return held
}

func (a *app) logSources(old, next sources) {
	for name, src := range next {
		was, known := old[name]
		switch {
		case !known:
			a.log.Info().Str("source", name).Msg("reload: source opened")
		case was.Source != src.Source:
			a.log.Info().Str("source", name).Msg("reload: source opened anew")
		}
	}
	for name := range old {
		if _, known := next[name]; !known {
			a.log.Info().Str("source", name).Msg("reload: source closed")
		}
	}
}

// logRoutes tells which routes changed and what that did to their items; held is what they had.
func (a *app) logRoutes(old, next *config.Config, held map[string]store.RouteStats) {
	was := make(map[string]*config.Route, len(old.Routes))
	for i := range old.Routes {
		was[old.Routes[i].Name] = &old.Routes[i]
	}
	for i := range next.Routes {
		r := &next.Routes[i]
		o := was[r.Name]
		delete(was, r.Name)
		if o == nil {
			a.log.Info().Str("route", r.Name).Msg("reload: route added")
			continue
		}
		settings := changedSettings(o, r)
		if len(settings) == 0 {
			continue
		}
		e := a.log.Info().Str("route", r.Name).Strs("changed", settings)
		items := held[r.Name].Items
		switch {
		case !slices.Equal(o.KeyPrint(), r.KeyPrint()):
			e = e.Int64("items_out_of_reach", items)
		case !slices.Equal(o.QueryPrint(), r.QueryPrint()) && r.MissOnReload:
			e = e.Int64("items_dropped", items)
		case !slices.Equal(o.QueryPrint(), r.QueryPrint()):
			e = e.Int64("items_stale", items)
		}
		e.Msg("reload: route changed")
	}
	for i := range old.Routes {
		if name := old.Routes[i].Name; was[name] != nil {
			a.log.Info().Str("route", name).Int64("items_out_of_reach", held[name].Items).Msg("reload: route removed")
		}
	}
}

// settingNames are the settings behind the fields of config.Route; those without a name follow from others.
var settingNames = map[string]string{
	"Name": "name", "Key": "key", "Prefix": "prefix", "Normalize": "normalize", "Parts": "", "Sources": "source", "Query": "query", "Keys": "keys",
	"UsesKeys": "", "Fresh": "fresh", "Stale": "stale", "Keep": "keep", "Negative": "negative", "Settle": "settle",
	"Ahead": "refresh_ahead", "JitterPercent": "jitter", "Encode": "encode", "Flags": "flags", "Rows": "rows",
	"IgnoreSets": "on_client_set", "MissOnReload": "on_reload", "MissOnChange": "on_change", "Limits": "limits", "Watch": "watch", "Pos": "",
}

// changedSettings names the settings of two routes that differ.
func changedSettings(old, next *config.Route) []string { return changed(*old, *next, settingNames) }

// optionNames are the options behind the fields of config.Options; Listen follows from others.
var optionNames = map[string]string{
	"Listen": "", "Interfaces": "-l", "Socket": "-s", "Access": "-a", "User": "-u", "Daemon": "-d", "CoreDumps": "-r", "LockMemory": "-k", "Shown": "-o",
	"Port": "-p", "UDPPort": "-U", "Memory": "-m", "MaxItem": "-I", "NoEvict": "-M", "NoCAS": "-C", "MaxConns": "-c",
	"MaxConnsFast": "-o maxconns_fast", "Threads": "-t", "Backlog": "-b", "ReqsPerEvent": "-R", "Verbosity": "-v",
	"IdleTimeout": "-o idle_timeout", "ConnMemory": "-o read_buf_mem_limit", "Protocol": "-B", "AuthFile": "-Y", "SASL": "-S", "SASLFile": "--sasl-pwdb", "Delimiter": "-D", "Detail": "-D", "AllowStop": "-A", "NoFlush": "-F",
	"NoDump": "-X", "NoWatch": "-W", "WatchBuffer": "-o watcher_logbuf_size", "LogBuffer": "-o worker_logbuf_size", "PIDFile": "-P", "MemoryFile": "-e", "PassInline": "-o pass_inline", "PassBack": "-o pass_background",
	"NoSharing": "-o no_sharing", "NoCrawler": "-o no_lru_crawler", "NoMaintainer": "-o no_lru_maintainer", "NoReassign": "-o no_slab_reassign",
	"GrowthFactor": "-f", "ChunkSize": "-n", "TLS": "-Z and -o ssl_...", "UDP": "", "Admin": "admin", "Snapshot": "snapshot",
}

// changed returns the names of the fields in which two structs of one type differ, each once.
func changed[T any](old, next T, names map[string]string) []string {
	var found []string
	a, b := reflect.ValueOf(old), reflect.ValueOf(next)
	for i := range a.NumField() {
		name := names[a.Type().Field(i).Name]
		if name != "" && !slices.Contains(found, name) && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			found = append(found, name)
		}
	}
	return found
}
