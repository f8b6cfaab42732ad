package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"swordfish/config"
	"swordfish/filler"
	"swordfish/normalizer"
)

// estimateKeys is how many keys of a route are asked for together.
const estimateKeys = 4096

// routeItems loads what the routes of a configuration have: all keys that they can enumerate, each with its value as it would be held.
type routeItems struct {
	add    func(key, value []byte)
	filler *filler.Filler
	table  *normalizer.Table

	loads  sync.WaitGroup // leases that have not ended
	mu     sync.Mutex     // held while add runs; guards failed
	failed int
	serial uint64
}

// readRoutes adds the items of the routes that can say which keys they have, of those of o.source if it is set, and tells on errOut
// which these are.
func (o *estimateOptions) readRoutes(ctx context.Context, c *config.Config, errOut io.Writer, add func(key, value []byte)) error {
	var named, unnamed []string
	for i := range c.Routes {
		r := &c.Routes[i]
		switch {
		case o.source != "" && !slices.Contains(r.Sources, o.source):
		case r.Keys != "":
			named = append(named, r.Name)
		default:
			unnamed = append(unnamed, r.Name)
		}
	}
	if len(named) == 0 {
		return usageError{errors.New("--from=sql: no route of the configuration can list its keys; give one keys: with a query, or say by " +
			"--query=SQL what the items are, as SELECT key, value FROM items does")}
	}
	fmt.Fprintf(errOut, "without --query: the items of the routes %s\n", strings.Join(named, ", "))
	if len(unnamed) > 0 {
		fmt.Fprintf(errOut, "left out, since nothing says which keys they have (keys:): %s\n", strings.Join(unnamed, ", "))
	}
	ids := standIns(c)
	table, err := compile(c, ids)
	if err != nil {
		return err
	}
	specs := slices.Clone(c.Sources)
	for i := range specs {
		specs[i].MaxConns++ // one lists while others load
	}
	opened, err := sources(nil).update(specs, c.MaxItem)
	if err != nil {
		return err
	}
	defer opened.close()
	routes := fillerRoutes(c, ids, table)
	x := &routeItems{add: add, table: table}
	x.filler, err = filler.New(filler.Options{
		Sources: sourceSpecs(c, opened), Routes: routes, Hooks: x.hooks(), Logger: zerolog.New(errOut).Level(zerolog.WarnLevel), MaxValue: c.MaxItem,
	})
	if err != nil {
		return usageError{err}
	}
	defer x.filler.Shutdown(context.WithoutCancel(ctx))
	for i := range routes {
		if slices.Contains(named, routes[i].Name) {
			if err := x.route(ctx, &routes[i], opened); err != nil {
				return fmt.Errorf("route %s: %w", routes[i].Name, err)
			}
		}
	}
	return nil
}

// hooks take what is loaded. Nothing else touches the leases, so they live until they end.
func (x *routeItems) hooks() filler.Hooks {
	end := func(f func()) filler.PutStatus {
		x.mu.Lock()
		defer x.mu.Unlock()
		f()
		x.loads.Done()
		return filler.Stored
	}
	failed := func() { x.failed++ }
	return filler.Hooks{
		Put: func(_ filler.Lease, _ uint16, key, value []byte, _ uint32) filler.PutStatus {
			return end(func() { x.add(key, value) })
		},
		Absent:     func(filler.Lease, uint16, []byte) filler.PutStatus { return end(func() {}) },
		Failed:     func(filler.Lease, uint16, []byte) filler.PutStatus { return end(failed) },
		End:        func(filler.Lease) bool { end(failed); return true },
		Alive:      func(filler.Lease) bool { return true },
		Sent:       func(filler.Lease, time.Duration) {},
		SourceDown: func(uint16, bool) {},
	}
}

// route lists the keys of a route and has them loaded, page by page.
func (x *routeItems) route(ctx context.Context, r *filler.Route, opened sources) error {
	var lister filler.Lister
	for _, name := range r.Sources {
		if l, ok := opened[name].Source.(filler.Lister); ok && lister == nil {
			lister = l
		}
	}
	if lister == nil {
		return errors.New("none of its sources can list keys")
	}
	columns, err := lister.KeyColumns(ctx, r)
	if err != nil {
		return err
	}
	bulk := &filler.Bulk{Ended: func(int, filler.End) {}}
	done := make(chan struct{}, 1)
	bulk.Done = func(time.Duration) { done <- struct{}{} }
	bulk.Reset(r.ID)
	spell := r.KeyOf(columns)
	var raw, key []byte
	return lister.List(ctx, r, nil, filler.Pages{
		Most: func() (int, error) { return estimateKeys, ctx.Err() },
		Row: func(vals []filler.Part) {
			raw = spell(raw[:0], vals)
			var id uint16
			if key, id = x.table.Append(key[:0], raw); id == r.ID {
				x.serial++
				bulk.Add(filler.Lease{Hash: 1, Serial: x.serial}, key, true)
			}
		},
		End: func(filler.Cursor) error {
			if bulk.Len() > 0 {
				x.loads.Add(bulk.Len())
				x.filler.LoadBulk(bulk) // the filler is not shut down before this has ended
				<-done
				x.loads.Wait()
				bulk.Reset(r.ID)
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			if x.failed > 0 {
				return fmt.Errorf("%d keys could not be loaded; swordfishd check says more", x.failed)
			}
			return ctx.Err()
		},
	})
}
