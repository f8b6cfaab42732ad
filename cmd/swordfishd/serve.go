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
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"swordfish/config"
)

// stopTime bounds an orderly stop.
const stopTime = 10 * time.Second

func serve(args []string, out, errOut io.Writer) error {
	h, err := newHeir()
	if err != nil {
		return systemError{err}
	}
	err = serveAfter(h, args, out, errOut)
	h.refuse(err)
	return err
}

// serveAfter is serve for a process that h says an upgrade has started; nil: it was not.
func serveAfter(h *heir, args []string, out, errOut io.Writer) error {
	in := config.Input{Args: args}
	c, err := load(in, out)
	if err != nil || c == nil {
		return err
	}
	ready := func(*app) error { return nil }
	if c.Daemon && h == nil {
		b := inBackground()
		if b == nil {
			return daemonize()
		}
		ready = func(*app) error { return b.listens(c.Verbosity == 0) }
	}
	return serveConfig(h, in, c, nil, errOut, ready)
}

// serveConfig serves c, which was read from in, until a signal or a shutdown command ends it, or another process goes on. ready
// is called once it listens; its error ends the server.
func serveConfig(h *heir, in config.Input, c *config.Config, opened sources, errOut io.Writer, ready func(a *app) error) error {
	program, programErr := os.Executable()
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
	demo := opened != nil
	if h != nil {
		if opened, err = h.prepare(c); err != nil {
			return err
		}
	}
	a, err := newAppAfter(h, in, c, opened, certificates, log)
	if err != nil {
		return err
	}
	a.demo = demo
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	for _, note := range c.Notes {
		log.Warn().Msg(note)
	}
	if c.User == "" && isRoot() {
		log.Warn().Msg("running as root; -u NAME gives that up")
	}
	if err := a.bind(c); err != nil {
		a.close(context.Background(), false)
		return err
	}
	a.keepRequests(&c.RequestLog)
	a.loadSnapshot() // from now on clients win
	if err := a.server.Start(); err != nil {
		a.giveUp()
		return systemError{err}
	}
	if err := a.startRequests(&c.RequestLog); err != nil && h != nil {
		log.Error().Err(err).Msg("what is asked for is not written down") // no reason to lose what was handed over
	} else if err != nil {
		a.giveUp()
		return err
	}
	if h == nil { // else what was to be warm is
		a.startWarm(c)
	}
	if err := a.startAdmin(&c.Admin); err != nil {
		a.giveUp()
		return err
	}
	if err := a.announce(c); err != nil && h != nil {
		log.Error().Err(err).Msg("announcing the ports")
	} else if err != nil {
		a.giveUp()
		return systemError{err}
	}
	defer func() {
		if a.left == nil { // else the files are another process's
			a.withdraw(c)
		}
	}()
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
	if !c.LockMemory {
		trim()
	}
	keep := false            // the memory file
	var upgrading chan error // nil: no upgrade is under way
	var hangUps sync.WaitGroup
	preparing, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	for {
		select {
		case err := <-upgrading:
			if err == nil {
				a.depart()
				a.passOn(signals, &hangUps)
				return nil
			}
			upgrading = nil
			log.Error().Err(err).Msg("no upgrade: this process serves on as before; put right what is wrong and send SIGUSR2 again")
			continue
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				hangUps.Go(a.hangUp) // logs what is wrong; closing waits for it
				continue
			case s == syscall.SIGUSR2 && programErr != nil:
				log.Error().Err(programErr).Msg("no upgrade: it is not known where this program lies; stop it and start the other one")
				continue
			case s == syscall.SIGUSR2:
				if upgrading == nil {
					log.Info().Str("program", program).Msg("upgrade: starting the program that lies there now")
					upgrading = make(chan error, 1)
					go func() { upgrading <- a.upgrade(preparing, program, os.Args) }()
				}
				continue
			}
			keep = s == syscall.SIGUSR1
			log.Info().Stringer("signal", s).Msg("stopping: the commands in hand are finished")
		case keep = <-a.stop:
			log.Info().Msg("stopping: a client sent shutdown")
		}
		break
	}
	if upgrading != nil {
		if giveUp(); <-upgrading == nil { // too late: the other process is to stop
			how := syscall.SIGTERM
			if keep {
				how = syscall.SIGUSR1
			}
			err := syscall.Kill(a.next, how)
			a.depart()
			return err
		}
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

// bind listens everywhere. For a process that an upgrade has started the memory is its own afterwards, and the old one has gone.
func (a *app) bind(c *config.Config) error {
	if err := a.server.Bind(); err != nil {
		return systemError{err}
	}
	if err := a.bindAdmin(&c.Admin); err != nil {
		return err
	}
	if a.heir == nil {
		return nil
	}
	if err := a.heir.ready(); err != nil {
		return systemError{err}
	}
	a.store.Begin()
	if a.heir.offer.Memory != c.Memory {
		a.takeOptions(&c.Options, []string{"-m"})
	}
	a.log.Info().Int64("items", a.store.Stats().Items).Int("connections", len(a.heir.conns)).Msg("going on where the old process has stopped")
	a.heir.conns = nil
	return nil
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
