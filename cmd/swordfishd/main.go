// Command swordfishd is a memcached-protocol server that always answers from memory and loads what was missing behind the
// client's back.
//
// The first argument without a dash is a subcommand; without one it serves. Exit codes:
//
//	0   stopped as asked, or the question was answered
//	1   something failed while running
//	64  usage or configuration: nothing was started
//	67  there is no user of the name that -u has
//	71  the system refused: an address is taken, memory cannot be reserved
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"swordfish/config"
	"swordfish/server"
)

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 64
	exitNoUser = 67
	exitSystem = 71
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// command is a subcommand; args are those behind its name.
type command struct {
	name, help string
	run        func(args []string, out, errOut io.Writer) error
}

func commands() []command {
	return []command{
		{"serve", "answer from memory, load from the configured sources (the default)", serve},
		{"demo", "serve real devices and countries from an embedded database, to try it out", demo},
		{"check", "say what is wrong with the configuration, and ask its sources about the queries", check},
		{"warm", "have a running server load keys before anybody asks for them", warmUp},
		{"top", "show what a running server does", top},
		{"estimate", "say what holding equal values once would save", estimate},
		{"version", "print the version", version},
		{"help", "print this help", help},
	}
}

func run(args []string, out, errOut io.Writer) int {
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	for _, c := range commands() {
		if c.name == name {
			return exitCode(c.run(args, out, errOut), errOut)
		}
	}
	fmt.Fprintf(errOut, "swordfishd: there is no subcommand %q; try swordfishd help\n", name)
	return exitUsage
}

// systemError is a failure that lies with the machine.
type systemError struct{ error }

func (e systemError) Unwrap() error { return e.error }

// noUserError is a user that -u names and nobody knows.
type noUserError struct{ error }

func (e noUserError) Unwrap() error { return e.error }

// exitCode reports err, line by line, and names its exit code.
func exitCode(err error, errOut io.Writer) int {
	if err == nil {
		return exitOK
	}
	var said backgroundError
	if errors.As(err, &said) {
		return int(said)
	}
	code, remedy := exitFailed, ""
	var wrong *config.Error
	var usage usageError
	var noUser noUserError
	var system systemError
	switch {
	case errors.As(err, &wrong), errors.As(err, &usage):
		code = exitUsage
	case server.AddrInUse(err):
		code, remedy = exitSystem, "; another program has the port: choose one with -p, such as -p 11311"
	case errors.As(err, &noUser):
		code = exitNoUser
	case errors.As(err, &system) && errors.Is(err, syscall.EACCES):
		code, remedy = exitSystem, "; the user that the server runs as may not do that: a port below 1024 needs CAP_NET_BIND_SERVICE, a file a directory of its own"
	case errors.As(err, &system):
		code = exitSystem
	}
	for line := range strings.Lines(err.Error() + remedy) {
		fmt.Fprintf(errOut, "swordfishd: %s\n", strings.TrimSuffix(line, "\n"))
	}
	return code
}

// usageError is a configuration that only the packages it is for could refuse.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// load reads the configuration, or answers what the command line asks for instead; then the Config is nil.
func load(in config.Input, out io.Writer) (*config.Config, error) {
	c, err := config.Load(in)
	if err != nil {
		return nil, err
	}
	switch c.Ask {
	case config.AskHelp:
		return nil, help(nil, out, nil)
	case config.AskVersion:
		return nil, askedVersion(out)
	case config.AskLicense:
		_, err := io.WriteString(out, "Swordfish is free software under the MIT License; see the file LICENSE.\n")
		return nil, err
	}
	return c, nil
}

func help(_ []string, out, _ io.Writer) error {
	var b strings.Builder
	b.WriteString(versionLine() + `

Usage: swordfishd [COMMAND] [OPTION]...

A memcached-protocol server that always answers from memory. A miss is answered at once and loaded in the background from
the site's own database, so that the next GET hits.

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.help)
	}
	b.WriteString(`
check reads the same options. It prepares and explains each query on each of its sources, in a transaction that cannot write,
and exits with 64 if one is wrong, with 1 if a source cannot be asked.
  --offline                              ask no source
  --key=KEY                              explain what a key means, offline

warm has a running server load keys ahead, over its admin port, which --config or --admin=HOST:PORT names. Ctrl-C stops it; the same
command goes on later.
  --route=NAME                           only the keys of this route
  --from WHAT                            table; keys FILE (- is standard input); memcached HOST:PORT; peer HOST:PORT; log; log FILE
  --rate=2k/s                            keys a second at most, beside what the database's latency allows
  --full-speed                           whatever the database's other clients notice
  --until=95%                            enough once this share of the keys is there
  --token-file=FILE                      the admin port's token, which may also be in the environment, as SWORDFISH_TOKEN

top asks a running server over its admin port, or, where nobody answers there, over memcached's protocol. Where it is follows from the
options that it was started with. On a terminal q leaves; elsewhere a text is written each interval.
  --admin=HOST:PORT                      ask this admin port, and nobody else
  --server=HOST:PORT                     ask here by memcached's protocol; also the path of a UNIX socket
  --token-file=FILE                      the admin port's token, as for warm
  --interval=TIME                        between two looks, 1s
  --keys=N                               of the keys asked for most, 20
  --once                                 one look
  --json                                 a line of JSON for each look
` + estimateHelp + `
Options are memcached's, and two more for files:
` + config.Help())
	b.WriteString(`
Examples:
  swordfishd demo                                   try it out, with telnet
  swordfishd -m 1024 -p 11211 -l 127.0.0.1 -c 4096 -t 2 -vv
  swordfishd --memcached-conf=/etc/memcached.conf --config=/etc/swordfish.yaml
  swordfishd check --config=swordfish.yaml --key='chr|os=ios|country=IN'
  swordfishd warm --config=swordfish.yaml --route=characteristics --from table

Exit codes: 0 stopped as asked; 1 failed while running; 64 usage or configuration; 67 no such user; 71 the system refused (address taken, no
memory). SIGTERM and SIGINT finish the commands in hand and stop; a second one stops at once. SIGHUP reads the configuration
again, as reload does on telnet; a bad one changes nothing. SIGUSR1 stops and keeps the items where -e names a file.
SIGUSR2 has the program that lies at this one's path now go on with sockets, items and connections; if it cannot, nothing changes.
`)
	_, err := io.WriteString(out, b.String())
	return err
}
