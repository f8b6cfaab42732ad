package snapshot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"swordfish/store"
)

// logs keeps what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestKeeperSchedule: a save every so often, at the stop, and when asked; options change meanwhile.
func TestKeeperSchedule(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot")
	synctest.Test(t, func(t *testing.T) {
		x := open(t, 8)
		x.set(0, "k", "v")
		var log logs
		k := New(x.Store, Options{Path: path, Every: time.Minute, OnStop: true}, zerolog.New(&log))
		k.Load() // not asked for
		k.Start()
		saves := func(want uint64) {
			t.Helper()
			synctest.Wait()
			if st := k.Status(); st.Saves != want || st.Failed != 0 {
				t.Errorf("at %v: %d saves, want %d; %s", st.SavedAt, st.Saves, want, log.String())
			}
		}
		time.Sleep(time.Minute - time.Second)
		saves(0)
		time.Sleep(2 * time.Second)
		saves(1)
		time.Sleep(time.Minute)
		saves(2)
		k.SetOptions(Options{Path: path, Every: time.Hour, OnStop: true})
		time.Sleep(time.Hour - time.Second)
		saves(2)
		time.Sleep(2 * time.Second)
		saves(3)
		k.SetOptions(Options{Path: path, OnStop: true})
		time.Sleep(10 * time.Hour)
		saves(3)
		if err := k.Save(); err != nil {
			t.Error(err)
		}
		saves(4)
		if !k.Hold() {
			t.Error("something is said to go on")
		}
		if err := k.Save(); !errors.Is(err, errHeld) {
			t.Errorf("while it is held: %v", err)
		}
		saves(4)
		k.Resume()
		x.set(0, "late", "v")
		k.Stop(context.Background())
		saves(5)
		if err := k.Save(); !errors.Is(err, errStopped) {
			t.Errorf("after the stop: %v", err)
		}
		if n := strings.Count(log.String(), "snapshot written"); n != 5 {
			t.Errorf("%d lines in the log:\n%s", n, log.String())
		}
		y := open(t, 8)
		k = New(y.Store, Options{Path: path, Load: true}, zerolog.New(&log))
		k.Load()
		synctest.Wait()
		if _, ok := y.get(0, "late"); !ok || !strings.Contains(log.String(), "snapshot loaded") {
			t.Errorf("the item of the stop is not there:\n%s", log.String())
		}
		k.Stop(context.Background())
		x.end()
		y.end()
	})
}

// TestKeeperFirstStart: where there is no snapshot yet, none was loaded, which is no failure. What is no snapshot is one.
func TestKeeperFirstStart(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign")
	if err := os.WriteFile(foreign, []byte("a shopping list"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{filepath.Join(dir, "none"): "", foreign: "load failed at="} {
		var log logs
		k := New(open(t, 8).Store, Options{Path: path, Load: true}, zerolog.New(&log))
		k.Load()
		k.Stop(context.Background())
		st, lines := k.Status(), k.status()
		if failed := want != ""; st.LoadedAt.IsZero() == failed || (st.LoadError != "") != failed || strings.Contains(lines, "\nload ") != failed || !strings.Contains(lines, want) {
			t.Errorf("%s: %+v\n%s", path, st, lines)
		}
		if want == "" && !strings.Contains(log.String(), "there is no snapshot to load yet") {
			t.Errorf("log: %s", log.String())
		}
	}
}

// TestKeeperRefusals: what a save waits for, and what a stop leaves alone.
func TestKeeperRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	x := furnished(t, 2000)
	var log logs
	off := New(x.Store, Options{}, zerolog.Nop())
	if err := off.Save(); !errors.Is(err, ErrOff) {
		t.Errorf("without a file: %v", err)
	}
	if lines := off.status(); lines != "off" {
		t.Errorf("without a file: %s", lines)
	}
	off.Start()
	off.Stop(context.Background())

	x.save(path)
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	y := open(t, 8)
	k := New(y.Store, Options{Path: path, Load: true, OnStop: true}, zerolog.New(&log))
	l := Begin(y.Store)
	k.load, k.st.LoadedAt = l, time.Now() // as if it were slow
	k.Start()
	if err := k.Save(); !errors.Is(err, ErrLoading) {
		t.Errorf("during a load: %v", err)
	}
	if lines := k.status(); !strings.Contains(lines, "load under way") || !strings.Contains(lines, "save none yet") {
		t.Errorf("status:\n%s", lines)
	}
	// A stop in the middle of the load: the rest of the file is in no memory.
	l.after = func() { k.end(errStopped) }
	k.runLoad(l, path)
	k.Stop(context.Background())
	now, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(was, now) {
		t.Errorf("a snapshot that was half loaded was replaced, %v", err)
	}
	if !strings.Contains(log.String(), "was not loaded to its end, and stays") {
		t.Errorf("log:\n%s", log.String())
	}
	if st := k.Status(); st.Loading || st.Loaded.Items[store.Loaded] == 0 || st.LoadError == "" {
		t.Errorf("%+v", st)
	}

	// A stop whose time is up leaves the old one.
	k = New(x.Store, Options{Path: path, OnStop: true}, zerolog.New(&log))
	k.Start()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	k.Stop(ctx)
	now, err = os.ReadFile(path)
	if st := k.Status(); err != nil || !bytes.Equal(was, now) || st.Failed != 1 || st.Error == "" || !strings.Contains(k.status(), "save failed") {
		t.Errorf("%v, %+v", err, st)
	}

	// One that was never started has nothing to save: its store may be empty because the start failed.
	k = New(open(t, 8).Store, Options{Path: path, OnStop: true}, zerolog.New(&log))
	k.Stop(context.Background())
	k.Stop(context.Background())
	if now, err = os.ReadFile(path); err != nil || !bytes.Equal(was, now) {
		t.Errorf("a Keeper that was not started saved, %v", err)
	}
}

// status is what Lines says, in one string.
func (k *Keeper) status() string {
	st := k.Status()
	return strings.Join(st.Lines(), "\n")
}
