package snapshot

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"swordfish/store"
)

// Options say where a Keeper's snapshot is and when it is written and loaded.
type Options struct {
	Path   string        // empty: none
	Every  time.Duration // between the beginnings of two saves; 0: only when asked
	OnStop bool          // write one at the end
	Load   bool          // load it at the beginning
}

// Errors of Save.
var (
	ErrOff     = errors.New("snapshot: no file is configured; write snapshot: {path: FILE}")
	ErrLoading = errors.New("snapshot: one is being loaded, and what is not there yet would be missing; try again later")
	errStopped = errors.New("snapshot: the server is stopping")
	errHeld    = errors.New("snapshot: the items are going over to another process; ask that one")
)

// Keeper writes and loads the snapshot of a store. Its methods are safe for concurrent use.
type Keeper struct {
	s    *store.Store
	log  zerolog.Logger
	ctx  context.Context // of what goes on until the stop
	end  context.CancelCauseFunc
	work sync.WaitGroup
	set  chan struct{} // options have changed

	mu      sync.Mutex // guards the rest
	o       Options
	started bool
	stopped bool
	held    bool
	saving  *counts // nil: none is being written
	load    *Load   // nil: none is being loaded
	cut     bool    // the load was ended by the stop
	st      Status
}

// Status is what a Keeper has done and does.
type Status struct {
	Options
	Saving  bool
	SavedAt time.Time // when the one under way began, or the last one
	Saved   Written   // so far, or by the last one
	Took    time.Duration
	Error   string    // of the last one
	Whole   time.Time // when the last one that went well began
	Saves   uint64    // that went well
	Failed  uint64

	Loading   bool
	LoadedAt  time.Time // when it began; zero: none was asked for, or there was none
	Loaded    Loaded
	LoadTook  time.Duration
	LoadError string
}

// New makes a Keeper that does nothing yet.
func New(s *store.Store, o Options, log zerolog.Logger) *Keeper {
	k := &Keeper{s: s, o: o, log: log, set: make(chan struct{}, 1)}
	k.ctx, k.end = context.WithCancelCause(context.Background())
	return k
}

// Load begins to load in the background, if the options say so. It is called before clients come: what they do from then on is
// newer than the snapshot.
func (k *Keeper) Load() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.o.Load || k.o.Path == "" || k.stopped {
		return
	}
	l := Begin(k.s)
	if l == nil {
		return
	}
	k.load = l
	k.st.LoadedAt = time.Now()
	path := k.o.Path
	k.work.Go(func() { k.runLoad(l, path) })
}

func (k *Keeper) runLoad(l *Load, path string) {
	done, err := l.Run(k.ctx, path)
	l.End()
	k.mu.Lock()
	k.load, k.cut = nil, k.ctx.Err() != nil
	took := time.Since(k.st.LoadedAt)
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case absent: // a first start, which is no failure
		k.st.LoadedAt = time.Time{}
	case err != nil:
		k.st.LoadError = err.Error()
	}
	if !absent {
		k.st.Loaded, k.st.LoadTook = done, took
	}
	k.mu.Unlock()
	e, what := k.log.Info(), "snapshot loaded"
	switch {
	case absent:
		k.log.Info().Str("file", path).Msg("there is no snapshot to load yet")
		return
	case err != nil && done.Read() == 0:
		e, what = k.log.Warn().Err(err), "no snapshot was loaded"
	case err != nil:
		e, what = k.log.Warn().Err(err), "the snapshot was not loaded to its end"
	case done.Damaged > 0 || !done.Whole && done.Early == "":
		e = k.log.Warn()
	}
	if done.Damaged > 0 || !done.Whole {
		e = e.Int64("damaged_places", done.Damaged).Int64("items_lost", done.Lost).Bool("whole", done.Whole)
	}
	if done.Early != "" {
		e = e.Str("ended_early", done.Early)
	}
	for r, n := range done.Items {
		if n > 0 {
			e = e.Int64(store.LoadResult(r).String(), n)
		}
	}
	e.Str("file", path).Dur("took", took).Msg(what)
}

// Start begins the schedule. Only what was started saves at its stop.
func (k *Keeper) Start() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.started && !k.stopped {
		k.started = true
		k.work.Go(k.schedule)
	}
}

// SetOptions changes when and where the next snapshot is written. Load is for the next start.
func (k *Keeper) SetOptions(o Options) {
	k.mu.Lock()
	k.o = o
	k.mu.Unlock()
	select {
	case k.set <- struct{}{}:
	default:
	}
}

// schedule saves whenever Every has passed.
func (k *Keeper) schedule() {
	var last time.Duration
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		k.mu.Lock()
		every := k.o.Every
		k.mu.Unlock()
		switch {
		case every == 0:
			t.Stop()
		case every != last:
			t.Reset(every)
		}
		last = every
		select {
		case <-k.ctx.Done():
			return
		case <-k.set:
		case <-t.C:
			if last = 0; every == 0 { // the timer's own first time
				continue
			}
			if err := k.Save(); err != nil {
				k.log.Warn().Err(err).Msg("a scheduled snapshot is left out")
			}
		}
	}
}

// Save begins to write a snapshot in the background. An error says why it could not begin; how it went is in Status and in the log.
func (k *Keeper) Save() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.o.Path == "":
		return ErrOff
	case k.stopped:
		return errStopped
	case k.held:
		return errHeld
	case k.load != nil:
		return ErrLoading
	case k.saving != nil:
		return ErrBusy
	}
	c, path := k.begin(), k.o.Path
	k.work.Go(func() { k.write(k.ctx, path, true, c) })
	return nil
}

// Hold keeps snapshots from being begun, for good or until Resume. False: one is being written or loaded, and nothing is kept
// from anything.
func (k *Keeper) Hold() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.saving != nil || k.load != nil {
		return false
	}
	k.held = true
	return true
}

// Resume ends a Hold.
func (k *Keeper) Resume() {
	k.mu.Lock()
	k.held = false
	k.mu.Unlock()
}

// begin notes that a save begins. mu is held.
func (k *Keeper) begin() *counts {
	k.saving = new(counts)
	k.st.SavedAt = time.Now()
	return k.saving
}

// write writes one and notes how it went.
func (k *Keeper) write(ctx context.Context, path string, gently bool, c *counts) {
	err := write(ctx, k.s, path, gently, c)
	done := c.read()
	k.mu.Lock()
	took := time.Since(k.st.SavedAt)
	k.saving, k.st.Saved, k.st.Took, k.st.Error = nil, done, took, ""
	if err != nil {
		k.st.Failed++
		k.st.Error = err.Error()
	} else {
		k.st.Saves++
		k.st.Whole = k.st.SavedAt
	}
	k.mu.Unlock()
	if err != nil {
		k.log.Error().Err(err).Str("file", path).Dur("took", took).Msg("no snapshot was written; what was there is untouched")
		return
	}
	k.log.Info().Str("file", path).Int64("items", done.Items).Int64("shared_values", done.Payloads).
		Int64("bytes", done.Bytes).Dur("took", took).Msg("snapshot written")
}

// Stop ends what goes on and, where the options say so and Start was called, writes a snapshot, in haste, while ctx lasts. It
// returns when nothing uses the store any more; a second call does nothing.
func (k *Keeper) Stop(ctx context.Context) {
	k.mu.Lock()
	if k.stopped {
		k.mu.Unlock()
		return
	}
	k.stopped = true
	k.mu.Unlock()
	k.end(errStopped)
	k.work.Wait()
	k.mu.Lock()
	o, save := k.o, k.started && k.o.OnStop && k.o.Path != ""
	if save && k.cut {
		save = false
		k.log.Warn().Str("file", o.Path).Msg("no snapshot at the stop: the one that is there was not loaded to its end, and stays")
	}
	var c *counts
	if save {
		c = k.begin()
	}
	k.mu.Unlock()
	if save {
		k.write(ctx, o.Path, false, c)
	}
}

// Status tells what was done and what goes on.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	st := k.st
	st.Options = k.o
	if k.saving != nil {
		st.Saving, st.Saved, st.Took = true, k.saving.read(), time.Since(st.SavedAt)
	}
	if k.load != nil {
		st.Loading, st.Loaded, st.LoadTook = true, k.load.Progress(), time.Since(st.LoadedAt)
	}
	return st
}
