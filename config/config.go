// Package config reads what an operator wrote (memcached's command-line options, Debian's memcached.conf, swordfish.yaml and
// the environment for its secrets) and returns one validated Config. Every default lives here and nowhere else. It knows no
// other package of the project: cmd copies the fields across. What only a route's pattern, a database or the machine can
// tell is checked there.
package config

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Config is a valid configuration. Only Load makes one.
type Config struct {
	Ask     Ask    // what the command line asks for instead of serving; nothing else is set then
	Options        // memcached's
	File    string // of --config; empty without one
	Sources []Source
	Routes  []Route
	Warm    []Warm
	Notes   []string // accepted settings without an effect, to be logged at start

	RequestLog RequestLog
}

// Ask is a question on the command line that is answered at once.
type Ask uint8

const (
	AskNothing Ask = iota
	AskHelp        // -h
	AskVersion     // -V
	AskLicense     // -i
)

// Options are memcached's command-line options that have, or will have, an effect. Zero values are as stated; all others are
// defaults that Load fills in.
type Options struct {
	Listen       []Listen      // -l with -p, or -s alone; empty only where UDP is not
	UDP          []Listen      // -l with -U; empty: no UDP
	Interfaces   string        // -l as given; empty: it was not
	Port         int           // -p as given; -1 asks for any free port
	Socket       string        // -s: listen on this UNIX socket and nowhere else; empty is none
	Access       fs.FileMode   // -a: permissions of Socket
	UDPPort      int           // -U as given; 0 is off, -1 asks for any free port
	Memory       int64         // -m in bytes, overhead included
	MaxItem      int           // -I in bytes, at most half of Memory
	NoEvict      bool          // -M
	NoCAS        bool          // -C
	MaxConns     int           // -c
	MaxConnsFast bool          // -o maxconns_fast: refuse connections over MaxConns instead of letting them wait
	User         string        // -u: whose identity root takes on; empty: it stays root
	Daemon       bool          // -d
	CoreDumps    bool          // -r
	LockMemory   bool          // -k
	Threads      int           // -t: workers
	Backlog      int           // -b
	ReqsPerEvent int           // -R: commands of a connection in one turn; 0: it was not given, bytes alone bound a turn
	Verbosity    int           // how many -v
	IdleTimeout  time.Duration // -o idle_timeout; 0 is never
	ConnMemory   int64         // -o read_buf_mem_limit in bytes; 0 is the default
	NoSharing    bool          // -o no_sharing
	NoCrawler    bool          // -o no_lru_crawler
	NoMaintainer bool          // -o no_lru_maintainer
	NoReassign   bool          // -o no_slab_reassign
	Protocol     string        // -B: auto, ascii or binary; -Y and -S say which of the latter
	AuthFile     string        // -Y; empty is none
	SASL         bool          // -S
	SASLFile     string        // --sasl-pwdb, or what the environment says; with SASL and without AuthFile never empty
	Delimiter    byte          // -D, for stats detail
	Detail       bool          // -D was given: stats detail is on
	AllowStop    bool          // -A: the shutdown command
	NoFlush      bool          // -F
	NoDump       bool          // -X
	NoWatch      bool          // -W
	WatchBuffer  int           // -o watcher_logbuf_size, bytes
	LogBuffer    int           // -o worker_logbuf_size, bytes
	PIDFile      string        // -P; empty is none
	MemoryFile   string        // -e; empty is none
	PassInline   int           // -o pass_inline: records per lock hold before an insert
	PassBack     int           // -o pass_background: records per lock hold in the background
	GrowthFactor float64       // -f, for stats settings only
	ChunkSize    int           // -n, for stats settings only
	TLS          TLSOptions    // -Z
	Admin        Admin         // -o admin, admin_words, admin_pprof, and admin in the file
	Snapshot     Snapshot      // -o snapshot, snapshot_..., and snapshot in the file

	// Shown are values of options for stats settings alone, by their names there; nil: none given.
	Shown map[string]string
}

func defaults() Options {
	return Options{
		Port:         11211,
		Memory:       64 << 20,
		MaxConns:     1024,
		MaxConnsFast: true,
		Threads:      4,
		Backlog:      1024,
		Access:       0o700,
		Protocol:     "auto",
		Delimiter:    ':',
		WatchBuffer:  256 << 10,
		LogBuffer:    64 << 10,
		PassInline:   16,
		PassBack:     64,
		GrowthFactor: 1.25,
		ChunkSize:    48,
		TLS:          defaultTLS(),
		Admin:        Admin{Listen: DefaultAdmin, Words: "local"},
	}
}

// Input is where Load reads from. The zero value of a function means the process's own.
type Input struct {
	Args     []string                          // the command line behind the program's name and subcommand
	Own      map[string]*string                // further long options with a value, such as check's --key, and where they go
	OwnFlags map[string]*bool                  // further long options without one
	Asking   bool                              // somebody asks a server that runs: see Load
	Env      func(name string) (string, bool)  // default os.LookupEnv
	ReadFile func(name string) ([]byte, error) // default os.ReadFile
}

// Load reads all layers: defaults, then --memcached-conf, then the command line, which wins; --config adds sources and
// routes. An error is an *Error with every problem found, each with its place and a remedy.
//
// For somebody who only asks a server that runs, the file's part on admin is read and no other, and its token is empty where the
// environment does not have it: whoever asks need not be able to start the server.
func Load(in Input) (*Config, error) {
	if in.Env == nil {
		in.Env = os.LookupEnv
	}
	if in.ReadFile == nil {
		in.ReadFile = os.ReadFile
	}
	l := &loader{in: in, c: &Config{Options: defaults()}}
	flags := l.parse(commandLine(in.Args))
	for _, g := range flags {
		if g.opt.ask != AskNothing {
			return &Config{Ask: g.opt.ask}, nil
		}
	}
	for _, g := range flags {
		if g.opt.long == "memcached-conf" {
			l.applyAll(l.parse(l.memcachedConf(g.value)))
		}
	}
	l.listenSeen, l.verboseSeen = false, false // the command line's -l and -v replace the file's, they do not add to them
	l.applyAll(flags)
	l.finishOptions()
	if l.c.File != "" {
		l.loadYAML(l.c.File)
	}
	l.finishAdmin()
	l.finishSnapshot()
	if len(l.problems) > 0 {
		return nil, &Error{Problems: inOrder(l.problems)}
	}
	return l.c, nil
}

// loader is one run of Load.
type loader struct {
	in       Input
	c        *Config
	problems []Problem

	portSeen, listenSeen, verboseSeen, maxItemSeen bool
	protocolSeen                                   bool
	listen                                         []string
	interfaces                                     []string // -l as given, each once
	listenAt                                       place
	maxItemAt, memoryAt                            place
	saslAt, authAt                                 place
	noted                                          map[string]bool
	given                                          map[string]bool // names under -o on the command line, and token
	snapshotAt                                     place
	adminAt                                        place
}

// Problem is one thing that is wrong, with its remedy.
type Problem struct {
	File string // empty: the command line
	Line int
	Text string
}

func (p Problem) String() string {
	if p.File == "" {
		return p.Text
	}
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Error is a configuration that cannot be used. Its text has a line for each problem.
type Error struct {
	Problems []Problem
}

func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// place is where an option stands; the zero place is the command line.
type place struct {
	file string
	line int
}

func (l *loader) fail(at place, format string, args ...any) {
	l.problems = append(l.problems, Problem{File: at.file, Line: at.line, Text: fmt.Sprintf(format, args...)})
}

// note records once that a setting has no effect.
func (l *loader) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if l.noted[text] {
		return
	}
	if l.noted == nil {
		l.noted = map[string]bool{}
	}
	l.noted[text] = true
	l.c.Notes = append(l.c.Notes, text)
}

// maxProblems bounds an error's length.
const maxProblems = 20

// inOrder sorts by place, the command line first, and cuts what would be too much to read.
func inOrder(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	if more := len(problems) - maxProblems; more > 0 {
		last := problems[maxProblems-1]
		problems = append(problems[:maxProblems:maxProblems], Problem{File: last.File, Text: fmt.Sprintf("and %d more", more)})
	}
	return problems
}
