package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"swordfish/admin"
	"swordfish/config"
	"swordfish/filler"
	"swordfish/hasher"
	"swordfish/normalizer"
	"swordfish/protocol"
	"swordfish/server"
	"swordfish/snapshot"
	"swordfish/store"
	"swordfish/warm"
)

// protocolVersion is the memcached whose behaviour is followed; version and stats answer it.
const protocolVersion = server.DefaultVersion

// app is everything that runs, wired.
type app struct {
	log     zerolog.Logger
	store   *store.Store
	filler  *filler.Filler
	server  *server.Server
	admin   *admin.Admin // nil: HTTP is off
	adminAt string       // as configured when it began
	stop    chan bool    // a client sent shutdown; true: graceful
	seed    hasher.Seed
	table   atomic.Pointer[normalizer.Table]

	tracker  warm.Tracker
	warmer   *warm.Warmer
	startup  *startup  // nil: nothing begins with the server
	requests *requests // nil: nobody writes down what is asked for

	snapshots *snapshot.Keeper

	input  config.Input    // what reload reads again
	login  *config.Options // of the start: where passwords are read from again
	config atomic.Pointer[config.Config]

	mu      sync.Mutex // one reload at a time; guards the rest
	sources sources
	ids     map[string]store.RouteID // of the routes, by name
	closed  bool

	fills fillGate
	demo  bool         // the sources were there before
	heir  *heir        // nil: no upgrade has started this process
	left  *server.Held // what of the server is still here after an upgrade
	next  int          // the process that goes on then
}

// newApp builds what c, read from in, describes and starts nothing but background work. opened holds sources that are there
// already, by name; newApp opens the others and owns all of them. certificates are nil without TLS.
func newApp(in config.Input, c *config.Config, opened sources, certificates *server.Certificates, log zerolog.Logger) (*app, error) {
	return newAppAfter(nil, in, c, opened, certificates, log)
}

// newAppAfter is newApp for the process that goes on where another has stopped, which h has learnt of. Nothing of what that one
// may have to take back is changed: takeOver does that. A nil h is none.
func newAppAfter(h *heir, in config.Input, c *config.Config, opened sources, certificates *server.Certificates, log zerolog.Logger) (_ *app, err error) {
	a := &app{log: log, input: in, login: &c.Options, sources: opened, stop: make(chan bool, 1), heir: h}
	a.config.Store(c)
	var users *server.Users
	var inherited *store.Inherited
	seed := hasher.NewSeed()
	if h != nil {
		users, inherited = h.users, &store.Inherited{File: h.memory, State: h.estate.State}
		if seed, err = store.InheritedSeed(h.memory); err != nil {
			return nil, systemError{err}
		}
	} else {
		if users, err = readUsers(a.login); err != nil {
			return nil, err
		}
		if saved, ok := store.SavedSeed(c.MemoryFile); ok && c.MemoryFile != "" {
			seed = saved
		}
	}
	memory, most := fitMemory(c.Memory, groupLimit(os.DirFS("/")), log)
	s, err := store.Open(store.Options{
		Inherit: inherited,
		Memory:  memory, MostMemory: most, MaxItem: c.MaxItem, NoEvict: c.NoEvict, NoCAS: c.NoCAS, NoSharing: c.NoSharing,
		PassInline: c.PassInline, PassBackground: c.PassBack,
		Seed: seed, KeyHash: seed.Key, Digest: seed.Payload, File: c.MemoryFile,
	})
	if errors.Is(err, store.ErrOptions) {
		return nil, usageError{err}
	}
	if err != nil {
		return nil, systemError{err}
	}
	a.store, a.seed = s, seed
	a.snapshots = snapshot.New(s, snapshotOptions(&c.Snapshot), log)
	if kept, why := s.Warm(); h != nil {
	} else if kept {
		log.Info().Str("file", c.MemoryFile).Int64("items", s.Stats().Items).Msg("going on with the items of the memory file")
	} else if why != "" {
		log.Warn().Str("file", c.MemoryFile).Str("reason", why).Msg("starting with an empty cache")
	}
	table, err := a.startFiller(c)
	if err != nil {
		a.giveUp()
		return nil, err
	}
	o := server.Options{
		Store: s, Seed: &seed, Routes: table, Filler: a.filler,
		Workers: c.Threads, MaxConns: c.MaxConns, IdleTimeout: c.IdleTimeout, ConnMemory: c.ConnMemory, Users: users, NoFlush: c.NoFlush,
		NoWatch: c.NoWatch, WatchBuffer: c.WatchBuffer, LogBuffer: c.LogBuffer, NoDump: c.NoDump,
		NoCrawler: c.NoCrawler, NoMaintainer: c.NoMaintainer, NoReassign: c.NoReassign, Detail: c.Detail, Delimiter: c.Delimiter, Verbosity: c.Verbosity,
		Version: protocolVersion, Logger: log, Settings: settings(c), SetLogLevel: setLogLevel,
		SetVerbose: func(level int) { zerolog.SetGlobalLevel(levelOf(level)) },
		Operator:   server.Operator{Reload: a.reload, Pattern: a.pattern, Warm: a.warmLines, Snapshot: a.snapshots.Save, SnapshotState: a.snapshotState},
		Listen:     listeners(c), UDP: udpAddresses(c), TLS: certificates, WaitForRoom: !c.MaxConnsFast, ReqsPerEvent: c.ReqsPerEvent,
		AdminWords: map[string]server.AdminWords{"any": server.WordsAny, "off": server.WordsNone}[c.Admin.Words],
	}
	if h != nil {
		o.Sockets, o.Conns, o.ConnsLeft = h.sockets, h.conns, h.estate.Left
	}
	if c.AllowStop {
		o.OnShutdown = func(graceful bool) {
			select {
			case a.stop <- graceful:
			default:
			}
		}
	}
	a.server = server.New(o)
	a.table.Store(table)
	a.warmer = a.newWarmer(c)
	a.noteUsers(users)
	return a, nil
}

// listeners are where c says to listen.
func listeners(c *config.Config) []server.Listener {
	speak := map[string]protocol.Only{"ascii": protocol.OnlyText, "binary": protocol.OnlyBinary}
	all := make([]server.Listener, 0, len(c.Listen))
	for _, l := range c.Listen {
		one := server.Listener{
			Address: l.Address(), TLS: tlsMode(c, l.TLS), Only: speak[cmp.Or(l.Proto, c.Protocol)], Tag: l.Tag, Backlog: c.Backlog,
		}
		if l.Path != "" {
			one.Network, one.Address, one.Access, one.TLS = "unix", l.Path, c.Access, server.NoTLS // memcached, too, encrypts no UNIX socket
		}
		all = append(all, one)
	}
	return all
}

// udpAddresses are where c says to answer datagrams.
func udpAddresses(c *config.Config) []string {
	var all []string
	for _, l := range c.UDP {
		all = append(all, l.Address())
	}
	return all
}

// pattern returns the key pattern of a route.
func (a *app) pattern(route string) string {
	for i := range a.config.Load().Routes {
		if r := &a.config.Load().Routes[i]; r.Name == route {
			return r.Key
		}
	}
	return ""
}

// startFiller gives the routes their ids, compiles their patterns and starts what loads for them. It starts without routes as
// well: a reload may bring some.
func (a *app) startFiller(c *config.Config) (*normalizer.Table, error) {
	ids, table, err := a.setRoutes(c)
	if err != nil {
		return nil, err
	}
	if a.sources, err = a.sources.update(c.Sources, c.MaxItem); err != nil {
		return nil, err
	}
	a.filler, err = filler.New(filler.Options{
		Sources: sourceSpecs(c, a.sources), Routes: a.fillerRoutes(c, ids, table), Hooks: tracked(a.fills.hooks(hooks(a.store)), &a.tracker), Logger: a.log, MaxValue: c.MaxItem,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return table, nil
}

// setRoutes makes c's routes those of the store and returns their ids and their table, nil without routes. Nothing has
// changed after an error.
func (a *app) setRoutes(c *config.Config) ([]store.RouteID, *normalizer.Table, error) {
	if _, err := compile(c, standIns(c)); err != nil {
		return nil, nil, err
	}
	known := make([]store.Route, len(c.Routes))
	for i := range c.Routes {
		known[i] = storeRoute(&c.Routes[i])
	}
	ids, err := a.store.SetRoutes(known)
	if err != nil {
		return nil, nil, usageError{err}
	}
	a.ids = make(map[string]store.RouteID, len(ids))
	for i, id := range ids {
		a.ids[c.Routes[i].Name] = id
	}
	if len(c.Routes) == 0 {
		return nil, nil, nil
	}
	table, err := compile(c, ids)
	return ids, table, err
}

// standIns are ids for a table that is only looked at.
func standIns(c *config.Config) []store.RouteID {
	ids := make([]store.RouteID, len(c.Routes))
	for i := range ids {
		ids[i] = store.RouteID(i + 1)
	}
	return ids
}

// compile makes the key table of the configured routes. Its errors get the place in the file.
func compile(c *config.Config, ids []store.RouteID) (*normalizer.Table, error) {
	rs := make([]normalizer.Route, len(c.Routes))
	for i := range c.Routes {
		r := &c.Routes[i]
		rs[i] = normalizer.Route{
			ID: uint16(ids[i]), Name: r.Name, Key: r.Key, Prefix: r.Prefix,
			Lower: r.Normalize.Lower, Drop: r.Normalize.Drop, Alias: r.Normalize.Alias,
		}
	}
	table, err := normalizer.Compile(rs)
	if err == nil {
		return table, nil
	}
	var wrong *normalizer.Error
	if errors.As(err, &wrong) {
		for i := range c.Routes {
			if c.Routes[i].Name == wrong.Route {
				err = fmt.Errorf("%s: %w", c.Routes[i].Pos, err)
				break
			}
		}
	}
	return nil, usageError{err}
}

func storeRoute(r *config.Route) store.Route {
	return store.Route{
		Name: r.Name, KeyPrint: hasher.Fingerprint(r.KeyPrint()...), QueryPrint: hasher.Fingerprint(r.QueryPrint()...),
		Fresh: seconds(r.Fresh), Stale: seconds(r.Stale), Keep: seconds(r.Keep), Negative: seconds(r.Negative),
		Ahead: seconds(r.Ahead), JitterPercent: uint32(r.JitterPercent), MemoryPercent: uint32(r.Limits.MemoryPercent), Settle: r.Settle, IgnoreSets: r.IgnoreSets, MissOnReload: r.MissOnReload,
	}
}

// seconds are what the store counts in. It adds up several: what is longer than 34 years is that.
func seconds(d time.Duration) uint32 { return uint32(min(d/time.Second, 1<<30)) }

func sourceSpecs(c *config.Config, opened sources) []filler.SourceSpec {
	specs := make([]filler.SourceSpec, len(c.Sources))
	for i := range c.Sources {
		s := &c.Sources[i]
		specs[i] = filler.SourceSpec{
			Name: s.Name, Source: opened[s.Name].Source, Timeout: s.StatementTimeout, Rate: s.Rate, MaxLoads: s.MaxConns,
		}
	}
	return specs
}

// fillerRoutes makes the filler's routes. Their queues are cut so that together they leave a quarter of the lease table free:
// each key that waits has a lease, and a route that is slow, or asked for much at once, would else take those of all others.
func (a *app) fillerRoutes(c *config.Config, ids []store.RouteID, table *normalizer.Table) []filler.Route {
	routes := fillerRoutes(c, ids, table)
	shareQueues(routes, a.store.Settings().LeaseSlots*3/4)
	return routes
}

// shareQueues cuts queues down in proportion until they hold no more than room together.
func shareQueues(routes []filler.Route, room int) {
	total := 0
	for i := range routes {
		total += routes[i].Limits.Queue
	}
	if total <= room {
		return
	}
	for i := range routes {
		q := &routes[i].Limits.Queue
		*q = max(1, int(int64(*q)*int64(room)/int64(total)))
	}
}

func fillerRoutes(c *config.Config, ids []store.RouteID, table *normalizer.Table) []filler.Route {
	routes := make([]filler.Route, len(c.Routes))
	for i := range c.Routes {
		routes[i] = fillerRoute(&c.Routes[i], ids[i], table)
	}
	return routes
}

func fillerRoute(r *config.Route, id store.RouteID, table *normalizer.Table) filler.Route {
	fr := filler.Route{
		ID: uint16(id), Name: r.Name, Query: r.Query, Keys: r.Keys, Sources: r.Sources,
		Split: func(dst []filler.Part, canonical []byte) []filler.Part {
			var buf [normalizer.MaxParts]normalizer.Part
			for _, p := range table.Parts(buf[:0], uint16(id), canonical) {
				dst = append(dst, filler.Part(p))
			}
			return dst
		},
		Compose: func(dst []byte, parts []filler.Part) []byte {
			var buf [normalizer.MaxParts]normalizer.Part
			all := buf[:0]
			for _, p := range parts {
				all = append(all, normalizer.Part(p))
			}
			return table.Compose(dst, uint16(id), all)
		},
		Limits: filler.Limits{
			Batch: r.Limits.Batch, Window: r.Limits.Window, Concurrency: r.Limits.Concurrency, Rate: r.Limits.Rate,
			Queue: r.Limits.Queue, NegativesRate: r.Limits.NegativesRate,
		},
	}
	for _, p := range table.PartSpecs(uint16(id)) {
		fr.Parts = append(fr.Parts, filler.PartSpec(p))
	}
	fr.Encode = map[config.Encode]filler.Encoding{config.Raw: filler.EncodeRaw, config.JSON: filler.EncodeJSON, config.PHP: filler.EncodePHP}[r.Encode]
	if r.Flags != nil {
		fr.Flags, fr.SetFlags = *r.Flags, true
	}
	if r.Rows == config.RowList {
		fr.Rows = filler.RowsList
	}
	return fr
}

// hooks lets the filler put into the store. The two packages do not know each other.
func hooks(s *store.Store) filler.Hooks {
	put := func(l filler.Lease, f store.Fill) filler.PutStatus {
		f.Now = s.Now()
		return putStatus(s.PutLease(store.Lease(l), &f))
	}
	return filler.Hooks{
		Put: func(l filler.Lease, route uint16, key, value []byte, flags uint32) filler.PutStatus {
			return put(l, store.Fill{Route: store.RouteID(route), Key: key, Value: value, Flags: flags})
		},
		PutTTL: func(l filler.Lease, route uint16, key, value []byte, flags uint32, ttl time.Duration) filler.PutStatus {
			f := store.Fill{Route: store.RouteID(route), Key: key, Value: value, Flags: flags}
			if ttl > 0 {
				f.Deadline = s.Now().Second() + max(seconds(ttl), 1)
			}
			return put(l, f)
		},
		PutMany: func(route uint16, puts []filler.BulkPut) {
			var hashes [filler.PutsAtOnce]uint64
			for i := range puts {
				hashes[i] = puts[i].Lease.Hash
			}
			s.AheadFill(hashes[:len(puts)])
			for i := range puts {
				p := &puts[i]
				p.Status = put(p.Lease, store.Fill{Route: store.RouteID(route), Key: p.Key, Value: p.Value, Flags: p.Flags, New: p.New})
			}
		},
		Absent: func(l filler.Lease, route uint16, key []byte) filler.PutStatus {
			return put(l, store.Fill{Route: store.RouteID(route), Key: key, Absent: true})
		},
		Failed: func(l filler.Lease, route uint16, key []byte) filler.PutStatus {
			return put(l, store.Fill{Route: store.RouteID(route), Key: key, Failed: true})
		},
		End:   func(l filler.Lease) bool { return s.EndLease(store.Lease(l)) },
		Alive: func(l filler.Lease) bool { return s.LeaseAlive(store.Lease(l)) },
		Sent: func(l filler.Lease, within time.Duration) {
			deadline := store.Time(0)
			if within > 0 {
				deadline = s.Now() + store.Time(within.Milliseconds())
			}
			s.LeaseSent(store.Lease(l), deadline)
		},
		SourceDown: func(route uint16, down bool) { s.SetSourceDown(store.RouteID(route), down) },
	}
}

func putStatus(st store.PutStatus) filler.PutStatus {
	switch st {
	case store.PutStored:
		return filler.Stored
	case store.PutSame:
		return filler.Same
	case store.PutNegative:
		return filler.Negative
	case store.PutKept:
		return filler.Kept
	case store.PutTooLarge:
		return filler.TooLarge
	case store.PutNoRoom:
		return filler.NoRoom
	}
	return filler.Killed
}

// giveUp is close for a program that has served nobody. What its memory file held is there for the next start.
func (a *app) giveUp() {
	warm, _ := a.store.Warm()
	if err := a.close(context.Background(), warm && a.login.MemoryFile != ""); err != nil {
		a.log.Error().Err(err).Msg("stop")
	}
}

// close stops what runs, in the order in which requests pass through it: clients, loads, sources, store. Clients have a part
// of the time that ctx leaves: one that does not take its replies is cut off, and loads are not lost by it. Items that are to
// be kept are kept whatever of it outlives the time.
func (a *app) close(ctx context.Context, keep bool) error {
	var errs []error
	if a.admin != nil { // it reads what goes away below
		part, cancel := partOf(ctx, 4)
		defer cancel()
		if err := a.admin.Shutdown(part); err != nil {
			errs = append(errs, fmt.Errorf("admin: %w", err))
		}
	}
	a.startup.close()
	if a.warmer != nil {
		a.warmer.Close()
	}
	if a.server != nil {
		part, cancel := partOf(ctx, 2)
		defer cancel()
		err := a.server.Shutdown(part)
		switch {
		case err == nil, errors.Is(err, server.ErrStopped):
		case errors.Is(err, server.ErrErrands):
			errs = append(errs, err)
		case part.Err() != nil: // all are closed nevertheless
			a.log.Warn().Err(err).Msg("clients that had not taken their replies were cut off")
		default:
			errs = append(errs, err)
		}
	}
	if err := a.requests.close(); err != nil {
		errs = append(errs, err)
	}
	reloaded := a.endReloads(ctx)
	if !reloaded {
		errs = append(errs, errors.New("reload: it is still at work"))
	}
	if a.filler != nil {
		if err := a.filler.Shutdown(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	if reloaded {
		errs = append(errs, a.sources.close())
	}
	if a.snapshots != nil {
		a.snapshots.Stop(ctx) // what went wrong is logged: it is no reason to lose the memory file
	}
	busy := errors.Join(errs...) != nil
	if keep {
		if err := a.store.Save(); err != nil {
			errs = append(errs, err)
		} else {
			a.log.Info().Str("file", a.login.MemoryFile).Msg("the items are kept for the next start")
		}
	}
	if !busy { // else something may still use the memory, which the process's end frees
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}

// endReloads lets a reload under way end, and no other begin. False: it outlives ctx.
func (a *app) endReloads(ctx context.Context) bool {
	ended := make(chan struct{})
	go func() {
		a.mu.Lock()
		a.closed = true
		a.mu.Unlock()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
	}
	select { // ctx may be over before it begins
	case <-ended:
		return true
	case <-time.After(time.Second):
		return false
	}
}

// partOf is ctx with an nth of its time.
func partOf(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/time.Duration(n))
}

// settings are the lines of `stats settings` that the server does not know itself.
func settings(c *config.Config) []server.Setting {
	word := map[bool]string{true: "yes", false: "no"}
	onOff := map[bool]string{true: "on", false: "off"}
	protocols := map[string]string{"auto": "auto-negotiate"}
	proto := c.Protocol
	if p, ok := protocols[proto]; ok {
		proto = p
	}
	all := append(tlsSettings(&c.TLS), []server.Setting{
		{Name: "tcpport", Value: strconv.Itoa(c.Port)},
		{Name: "udpport", Value: strconv.Itoa(c.UDPPort)},
		{Name: "inter", Value: cmp.Or(c.Interfaces, defaultInterfaces(c))},
		{Name: "domain_socket", Value: cmp.Or(c.Socket, "NULL")},
		{Name: "umask", Value: strconv.FormatInt(int64(c.Access), 8)},
		{Name: "evictions", Value: onOff[!c.NoEvict]},
		{Name: "growth_factor", Value: strconv.FormatFloat(c.GrowthFactor, 'f', 2, 64)},
		{Name: "chunk_size", Value: strconv.Itoa(c.ChunkSize)},
		{Name: "stat_key_prefix", Value: string(rune(c.Delimiter))},
		{Name: "detail_enabled", Value: word[c.Detail]},
		{Name: "reqs_per_event", Value: strconv.Itoa(cmp.Or(c.ReqsPerEvent, 20))}, // memcached's default
		{Name: "cas_enabled", Value: word[!c.NoCAS]},
		{Name: "tcp_backlog", Value: strconv.Itoa(c.Backlog)},
		{Name: "binding_protocol", Value: proto},
		{Name: "auth_enabled_sasl", Value: word[c.SASL]},
		{Name: "auth_enabled_ascii", Value: cmp.Or(c.AuthFile, "no")},
		{Name: "item_size_max", Value: strconv.Itoa(c.MaxItem)},
		{Name: "memory_file", Value: cmp.Or(c.MemoryFile, "(null)")},
		{Name: "maxconns_fast", Value: word[c.MaxConnsFast]},
		{Name: "pass_inline", Value: strconv.Itoa(c.PassInline)},
		{Name: "pass_background", Value: strconv.Itoa(c.PassBack)},
	}...)
	for _, name := range slices.Sorted(maps.Keys(c.Shown)) {
		all = append(all, server.Setting{Name: name, Value: c.Shown[name]})
	}
	if c.Shown["temporary_ttl"] != "" {
		all = append(all, server.Setting{Name: "temp_lru", Value: "yes"})
	}
	return all
}

// defaultInterfaces is what stats settings shows where -l was not given.
func defaultInterfaces(c *config.Config) string {
	if c.Socket != "" || len(c.Listen) == 0 {
		return "NULL"
	}
	return c.Listen[0].Host
}
