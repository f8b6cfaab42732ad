package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"swordfish/config"
)

// stopTime bounds an orderly stop.
const stopTime = 10 * time.Second

func serve(args []string, out, errOut io.Writer) error {
	in := config.Input{Args: args}
	c, err := load(in, out)
	if err != nil || c == nil {
		return err
	}
	ready := func(*app) error { return nil }
	if c.Daemon {
		b := inBackground()
		if b == nil {
			return daemonize()
		}
		ready = func(*app) error { return b.listens(c.Verbosity == 0) }
	}
	return serveConfig(in, c, nil, errOut, ready)
}

// serveConfig serves c, which was read from in, until a signal or a shutdown command ends it. ready is called once it
// listens; its error ends the server.
func serveConfig(in config.Input, c *config.Config, opened sources, errOut io.Writer, ready func(a *app) error) error {
	signal.Ignore(syscall.SIGPIPE) // whoever read the log may be gone
	log := newLogger(errOut)
	makePlaces(c.Threads)
	zerolog.SetGlobalLevel(levelOf(c.Verbosity))
	certificates, err := readCertificates(&c.TLS) // as root, whose files they may be
	if err != nil {
		return err
	}
	if err := prepare(c, log); err != nil {
		return err
	}
	a, err := newApp(in, c, opened, certificates, log)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	for _, note := range c.Notes {
		log.Warn().Msg(note)
	}
	if c.User == "" && isRoot() {
		log.Warn().Msg("running as root; -u NAME gives that up")
	}
	a.loadSnapshot() // from now on clients win
	if err := a.server.Start(); err != nil {
		a.giveUp()
		return systemError{err}
	}
	if err := a.startRequests(&c.RequestLog); err != nil {
		a.giveUp()
		return err
	}
	a.startWarm(c)
	if err := a.startAdmin(&c.Admin); err != nil {
		a.giveUp()
		return err
	}
	if err := a.announce(c); err != nil {
		a.giveUp()
		return systemError{err}
	}
	defer a.withdraw(c)
	for _, addr := range a.server.Addrs() {
		log.Info().Stringer("address", addr).Str("version", release).Int("memory_mib", int(c.Memory>>20)).
			Int("workers", c.Threads).Int("routes", len(c.Routes)).Msg("listening")
	}
	for _, addr := range a.server.UDPAddrs() {
		log.Info().Stringer("address", addr).Msg("answering UDP")
	}
	if err := ready(a); err != nil {
		a.giveUp()
		return systemError{err}
	}
	a.tellReady()
	a.snapshots.Start()
	keep := false // the memory file
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				go a.hangUp() // logs what is wrong; closing waits for it
				continue
			}
			keep = s == syscall.SIGUSR1
			log.Info().Stringer("signal", s).Msg("stopping: the commands in hand are finished")
		case keep = <-a.stop:
			log.Info().Msg("stopping: a client sent shutdown")
		}
		break
	}
	a.tellStopping()
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	go func() {
		if s := <-signals; s != nil {
			log.Warn().Stringer("signal", s).Msg("stopping at once")
			cancel()
		}
	}()
	keep = keep && c.MemoryFile != ""
	if err := a.close(ctx, keep); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	log.Info().Msg("stopped")
	return nil
}

// makePlaces sets GOMAXPROCS. A worker keeps its place in the scheduler while it waits briefly for its next request, so each needs
// one of its own, and everything else needs one at least: with fewer, requests wait for milliseconds. A higher number in the
// environment stands; without any, everything else has as many as there are CPUs.
func makePlaces(workers int) {
	others := 1
	if os.Getenv("GOMAXPROCS") == "" {
		others = runtime.NumCPU()
	}
	runtime.GOMAXPROCS(max(workers+others, runtime.GOMAXPROCS(0)))
}

// announce writes what others look for: the pid file, and the file that memcached's test-suite reads ports from.
func (a *app) announce(c *config.Config) error {
	if c.PIDFile != "" {
		a.writePID(c.PIDFile)
	}
	name := os.Getenv("MEMCACHED_PORT_FILENAME")
	if name == "" || c.Socket != "" {
		return nil
	}
	text := ""
	for _, addr := range slices.Concat(a.server.Addrs(), a.server.UDPAddrs()) {
		at, err := netip.ParseAddrPort(addr.String())
		if err != nil {
			continue
		}
		family := "INET"
		if at.Addr().Is6() {
			family = "INET6"
		}
		text += fmt.Sprintf("%s %s: %d\n", strings.ToUpper(addr.Network()), family, at.Port())
	}
	// Renamed into place, so that nobody reads half of it.
	if err := os.WriteFile(name+".lck", []byte(text), 0o644); err != nil {
		return fmt.Errorf("MEMCACHED_PORT_FILENAME: %w", err)
	}
	return os.Rename(name+".lck", name)
}

func (a *app) withdraw(c *config.Config) {
	if c.PIDFile != "" {
		a.removePID(c.PIDFile)
	}
}
