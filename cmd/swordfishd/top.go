package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"swordfish/config"
)

// asker asks a running server for its figures. It is used by one goroutine.
type asker interface {
	ask(ctx context.Context) (*figures, error)
	where() string
	close()
}

// topOptions are what top was told on its command line.
type topOptions struct {
	every time.Duration
	keys  int
	once  bool
	json  bool
	ask   []asker // the first that answers is asked from then on

	// own says that the admin port was not chosen, and the listener was: another server of this machine may have that port.
	own bool
}

const (
	topEvery    = time.Second
	topLeast    = 100 * time.Millisecond
	topKeys     = 20
	topKeysMost = 100
	askTime     = 5 * time.Second // for an answer
)

// top shows a running server's figures until it is told to stop: on a terminal in place, elsewhere one text, or with --json one
// line, each interval.
func top(args []string, out, _ io.Writer) error {
	o, err := readTop(args, out)
	if err != nil || o == nil {
		return err
	}
	defer func() {
		for _, a := range o.ask {
			a.close()
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	from, first, err := firstAnswer(ctx, o.ask, o.own)
	if err != nil {
		return err
	}
	if f, ok := out.(*os.File); ok && !o.once && !o.json && os.Getenv("TERM") != "dumb" &&
		term.IsTerminal(int(f.Fd())) && term.IsTerminal(int(os.Stdin.Fd())) {
		return topOnTerminal(ctx, o, from, first, os.Stdin, f)
	}
	return topAsText(ctx, o, from, first, out)
}

// readTop reads the command line, which may have the server's own options: they say where it listens. It returns nil when the
// question was answered.
func readTop(args []string, out io.Writer) (*topOptions, error) {
	every, keys := topEvery.String(), strconv.Itoa(topKeys)
	var at, server, tokenFile string
	o := &topOptions{}
	c, err := load(config.Input{
		Asking:   true,
		Args:     args,
		Own:      map[string]*string{"interval": &every, "keys": &keys, "admin": &at, "server": &server, "token-file": &tokenFile},
		OwnFlags: map[string]*bool{"once": &o.once, "json": &o.json},
	}, out)
	if err != nil || c == nil {
		return nil, err
	}
	if o.every, err = time.ParseDuration(every); err != nil || o.every < topLeast {
		return nil, usageError{fmt.Errorf("--interval: %q: write a time such as 1s, 100ms at least", every)}
	}
	if o.keys, err = strconv.Atoi(keys); err != nil || o.keys < 0 || o.keys > topKeysMost {
		return nil, usageError{fmt.Errorf("--keys: %q: write a number from 0 to %d", keys, topKeysMost)}
	}
	token, err := adminToken(c, tokenFile)
	if err != nil {
		return nil, err
	}
	switch {
	case at != "" && server != "":
		return nil, usageError{errors.New("--admin and --server: choose one of the two ways to ask")}
	case at != "":
		o.ask = []asker{askHTTP(at, token, o.keys)}
	case server != "":
		o.ask = []asker{askText(server, o.keys)}
	default:
		o.own = !c.Admin.Explicit && len(c.Listen) > 0 && c.Listen[0].Address() != net.JoinHostPort("127.0.0.1", defaultPort)
		if c.Admin.Listen != "" {
			o.ask = append(o.ask, askHTTP(reachable(c.Admin.Listen), token, o.keys))
		}
		for _, l := range c.Listen {
			if l.Path != "" {
				o.ask = append(o.ask, askText(l.Path, o.keys))
			} else if l.TLS == "" && !c.TLS.On || l.TLS == "notls" {
				o.ask = append(o.ask, askText(reachable(l.Address()), o.keys))
			}
		}
	}
	if len(o.ask) == 0 {
		return nil, usageError{errors.New("the admin port is off and every listener is encrypted: nobody is left to ask")}
	}
	return o, nil
}

// tokenName is the environment's name for the admin port's token, for those who do not have the server's environment.
const tokenName = "SWORDFISH_TOKEN"

// tokenRemedy says where a token may stand.
const tokenRemedy = "--token-file=FILE has it, or " + tokenName + " in the environment"

// adminToken finds the token of the admin port: in the file that was named, else where the server has it from, else in the environment.
func adminToken(c *config.Config, file string) (string, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", usageError{fmt.Errorf("--token-file: %w", err)}
		}
		return strings.TrimSpace(string(b)), nil
	}
	if token := c.Admin.Token.Reveal(); token != "" {
		return token, nil
	}
	return os.Getenv(tokenName), nil
}

// reachable is an address to connect to for one to listen on.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// defaultPort is memcached's.
const defaultPort = "11211"

// firstAnswer finds who answers. A refusal, as for want of a token, ends the search: somebody is there. With own it is not the first
// one if a later one is another process, which the listener then is, and not the admin port.
func firstAnswer(ctx context.Context, all []asker, own bool) (asker, *figures, error) {
	var asked []string
	var last error
	for i, a := range all {
		first, err := a.ask(ctx)
		if err == nil {
			for _, other := range all[i+1:] {
				if !own {
					break
				}
				if f, err := other.ask(ctx); err == nil && f.pid != first.pid {
					return other, f, nil
				}
			}
			return a, first, nil
		}
		var refused refusedError
		if errors.As(err, &refused) {
			return nil, nil, fmt.Errorf("%s: %w", a.where(), err)
		}
		asked, last = append(asked, a.where()), err
	}
	return nil, nil, fmt.Errorf("no server answers at %s: %w; --admin=HOST:PORT or --server=HOST:PORT say where it is, or the options it was started with",
		strings.Join(asked, " or at "), last)
}

// refusedError is the answer of a server that does not want to tell.
type refusedError string

func (e refusedError) Error() string { return string(e) }

// topAsText writes a frame each interval, to a pipe or a file.
func topAsText(ctx context.Context, o *topOptions, from asker, last *figures, out io.Writer) error {
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := from.ask(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", from.where(), err)
		}
		f := now.since(last)
		last = now
		if o.json {
			err = json.NewEncoder(out).Encode(f)
		} else {
			text := strings.Join(f.lines(from.where(), false), "\n") + "\n"
			if n > 0 {
				text = "\n" + text
			}
			_, err = io.WriteString(out, text)
		}
		if err != nil || o.once {
			return err
		}
	}
}

// topOnTerminal shows frames in place, until q, Ctrl-C or a signal. A server that is gone may come back.
func topOnTerminal(ctx context.Context, o *topOptions, from asker, last *figures, in, out *os.File) error {
	s, err := openScreen(in, out)
	if err != nil {
		return err
	}
	defer s.close()
	s.draw([]string{"asking " + from.where()})
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	var shown []string
	for {
		select {
		case <-ctx.Done():
			return nil
		case key, ok := <-s.keys:
			if !ok || key == 'q' || key == 'Q' || key == 3 || key == 4 { // Ctrl-C, Ctrl-D
				return nil
			}
			continue
		case <-tick.C:
		}
		now, err := from.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.draw(append([]string{from.where() + ": " + printableKey(err.Error()) + "; asked again", ""}, shown...))
		default:
			width, _ := s.size()
			shown = append(fold(now.since(last).lines(from.where(), true), width), "", "q leaves")
			last = now
			s.draw(shown)
		}
	}
}
