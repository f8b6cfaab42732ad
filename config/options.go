package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// option is one command-line option. Those of memcached 1.6.45 are all here.
type option struct {
	short        byte // 0: none
	long         string
	arg          string // what its value is called in help; empty: it takes none
	mayHaveValue bool   // --verbose=anything
	help         string
	note         string // why it has no effect
	ask          Ask
	set          func(l *loader, g given)
}

func (o *option) String() string {
	if o.short != 0 {
		return "-" + string(o.short)
	}
	return "--" + o.long
}

const notYet = "not there yet"

var optionTable = []*option{
	{short: 'p', long: "port", arg: "NUM", help: "TCP port (default 11211; -1: any free one)", set: setPort},
	{short: 'l', long: "listen", arg: "ADDR,...", help: "addresses to listen on, each with its own :PORT if need be (default 127.0.0.1; 0.0.0.0 or * is every one)", set: setListen},
	{short: 'm', long: "memory-limit", arg: "MIB", help: "memory for everything, overhead included (default 64)", set: setMemory},
	{short: 'c', long: "conn-limit", arg: "NUM", help: "connections at a time (default 1024)", set: intOption(func(o *Options) *int { return &o.MaxConns }, 1, 1<<30, "Maximum connections must be greater than 0")},
	{short: 't', long: "threads", arg: "NUM", help: "workers (default 4)", set: setThreads},
	{short: 'I', long: "max-item-size", arg: "SIZE", help: "largest item, with k or m (default 1m, or half of -m)", set: setMaxItem},
	{short: 'M', long: "disable-evictions", help: "refuse writes when memory is full, evict nothing", set: flag(func(o *Options) *bool { return &o.NoEvict })},
	{short: 'C', long: "disable-cas", help: "keep no CAS", set: flag(func(o *Options) *bool { return &o.NoCAS })},
	{short: 'b', long: "listen-backlog", arg: "NUM", help: "connections that may wait to be accepted (default 1024)", set: intOption(func(o *Options) *int { return &o.Backlog }, 1, 1<<30, "")},
	{short: 'R', long: "max-reqs-per-event", arg: "NUM", help: "commands of a connection before the others have their turn (default: bounded by bytes alone)", set: intOption(func(o *Options) *int { return &o.ReqsPerEvent }, 1, 1<<30, "Number of requests per event must be greater than 0")},
	{short: 'v', long: "verbose", mayHaveValue: true, help: "say more; -vv and -vvv still more", set: setVerbose},
	{short: 'P', long: "pidfile", arg: "FILE", help: "write the process id to FILE", set: stringOption(func(o *Options) *string { return &o.PIDFile })},
	{short: 'A', long: "enable-shutdown", help: "admit the shutdown command", set: flag(func(o *Options) *bool { return &o.AllowStop })},
	{short: 'F', long: "disable-flush-all", help: "refuse flush_all", set: flag(func(o *Options) *bool { return &o.NoFlush })},
	{short: 'X', long: "disable-dumping", help: "refuse stats cachedump and lru_crawler metadump", set: flag(func(o *Options) *bool { return &o.NoDump })},
	{short: 'W', long: "disable-watch", help: "refuse watch", set: flag(func(o *Options) *bool { return &o.NoWatch })},
	{short: 'D', arg: "CHAR", help: "delimiter of prefixes in stats detail, and stats detail on", set: setDelimiter},
	{short: 'o', long: "extended", arg: "NAME,NAME=VALUE,...", help: "further options, see below", set: setExtended},
	{short: 'B', long: "protocol", arg: "NAME", help: "what connections speak: ascii, binary or auto, as the first byte says (default auto)", set: setProtocol},
	{short: 'U', long: "udp-port", arg: "NUM", help: "UDP port (default 0: off; -1: any free one)", set: setUDP},
	{short: 'e', long: "memory-file", arg: "FILE", help: "keep memory over a restart", set: stringOption(func(o *Options) *string { return &o.MemoryFile })},
	{short: 's', long: "unix-socket", arg: "FILE", help: "listen on a UNIX socket, and not on the network", set: setSocket},
	{short: 'a', long: "unix-mask", arg: "MASK", help: "permissions of the UNIX socket, in octal (default 700)", set: setAccess},
	{short: 'S', long: "enable-sasl", help: "binary protocol, with authentication by SASL PLAIN", set: setSASL},
	{short: 'Y', long: "auth-file", arg: "FILE", help: "ascii protocol, with authentication: the first command is a set of \"user password\"; FILE has up to 8 lines user:password", set: setAuthFile},
	{short: 'Z', long: "enable-ssl", help: "TLS on all addresses but those with notls: before them; see the names with ssl_ below", set: flag(func(o *Options) *bool { return &o.TLS.On })},
	{short: 'd', long: "daemon", help: "run in the background; returns once it listens", set: flag(func(o *Options) *bool { return &o.Daemon })},
	{short: 'u', long: "user", arg: "NAME", help: "give up root for this user", set: stringOption(func(o *Options) *string { return &o.User })},
	{short: 'r', long: "enable-coredumps", help: "dump core on a crash, without a limit", set: flag(func(o *Options) *bool { return &o.CoreDumps })},
	{short: 'k', long: "lock-memory", help: "keep all memory from being swapped out", set: flag(func(o *Options) *bool { return &o.LockMemory })},
	{short: 'L', long: "enable-largepages", help: "accepted as in memcached", note: "huge pages are asked for where they help, and for the rest the kernel's setting holds"},
	{short: 'f', long: "slab-growth-factor", arg: "NUM", help: "accepted as in memcached", note: "there are no slab classes", set: setGrowth},
	{short: 'n', long: "slab-min-size", arg: "BYTES", help: "accepted as in memcached", note: "there are no slab classes", set: intOption(func(o *Options) *int { return &o.ChunkSize }, 1, 1<<30, "Chunk size must be greater than 0")},
	{short: 'N', long: "napi-ids", arg: "NUM", help: "accepted as in memcached", note: "connections are dealt to workers at accept", set: setNAPI},
	{short: 'h', long: "help", help: "print this help", ask: AskHelp},
	{short: 'V', long: "version", help: "print the version", ask: AskVersion},
	{short: 'i', long: "license", help: "print the licence", ask: AskLicense},
	{long: "sasl-pwdb", arg: "FILE", help: "passwords for -S, lines user:password (default $MEMCACHED_SASL_PWDB)", set: stringOption(func(o *Options) *string { return &o.SASLFile })},
	{long: "config", arg: "FILE", help: "sources and routes: swordfish.yaml", set: func(l *loader, g given) { l.c.File = g.value }},
	{long: "memcached-conf", arg: "FILE", help: "options from Debian's memcached.conf; the command line wins", set: func(l *loader, g given) {
		if g.at.file != "" {
			l.fail(g.at, "--memcached-conf stands in such a file itself; take it out")
		}
	}},
}

func shortOption(c byte) *option {
	i := slices.IndexFunc(optionTable, func(o *option) bool { return o.short == c })
	if i < 0 {
		return nil
	}
	return optionTable[i]
}

// ownOption is a long option of a subcommand.
func ownOption(name string) *option {
	return &option{long: name, arg: "VALUE", set: func(l *loader, g given) { *l.in.Own[name] = g.value }}
}

func ownFlag(name string) *option {
	return &option{long: name, set: func(l *loader, g given) { *l.in.OwnFlags[name] = true }}
}

func (l *loader) applyAll(all []given) {
	for _, g := range all {
		if g.opt.set != nil {
			g.opt.set(l, g)
		}
		if g.opt.note != "" {
			l.note("%s has no effect: %s", g.opt, g.opt.note)
		}
	}
}

func flag(field func(*Options) *bool) func(*loader, given) {
	return func(l *loader, g given) { *field(&l.c.Options) = true }
}

func stringOption(field func(*Options) *string) func(*loader, given) {
	return func(l *loader, g given) {
		if g.value == "" {
			l.fail(g.at, "%s: its value is empty; write %s %s", g.opt, g.opt, g.opt.arg)
			return
		}
		*field(&l.c.Options) = g.value
	}
}

// intOption sets a whole number from low to high. tooLow is memcached's sentence for one below low.
func intOption(field func(*Options) *int, low, high int, tooLow string) func(*loader, given) {
	return func(l *loader, g given) {
		if n, ok := l.number(g.at, g.opt.String(), g.value, low, high, tooLow); ok {
			*field(&l.c.Options) = n
		}
	}
}

// number reads a whole number in bounds, or fails with a problem.
func (l *loader) number(at place, what, s string, low, high int, tooLow string) (int, bool) {
	n, err := strconv.Atoi(s)
	switch {
	case err == nil && n < low && tooLow != "":
		l.fail(at, "%s: %s", what, tooLow)
	case err == nil && (n < low || n > high):
		l.fail(at, "%s: %d is out of bounds; write a number from %d to %d", what, n, low, high)
	case err != nil:
		l.fail(at, "%s: %q is no whole number; write one from %d to %d", what, s, low, high)
	default:
		return n, true
	}
	return 0, false
}

func setPort(l *loader, g given) {
	// A number over 65535 is refused in memcached's words.
	n, ok := l.number(g.at, "-p", g.value, -1, 1<<30, "")
	if !ok {
		return
	}
	if n > 65535 {
		l.fail(g.at, "-p: Invalid port number %d. Write one from 1 to 65535", n)
		return
	}
	l.c.Port, l.portSeen = n, true
}

func setUDP(l *loader, g given) {
	if n, ok := l.number(g.at, "-U", g.value, -1, 65535, ""); ok {
		l.c.UDPPort = n
	}
}

func setListen(l *loader, g given) {
	if !l.listenSeen {
		l.listen, l.interfaces, l.listenSeen = nil, nil, true
	}
	l.listenAt = g.at
	if !slices.Contains(l.interfaces, g.value) {
		l.interfaces = append(l.interfaces, g.value)
	}
	for _, one := range strings.FieldsFunc(g.value, func(r rune) bool { return r == ',' || r == ';' }) {
		if !slices.Contains(l.listen, one) {
			l.listen = append(l.listen, one)
		}
	}
	if len(l.listen) == 0 {
		l.fail(g.at, "-l: %q holds no address; write one such as 127.0.0.1", g.value)
	}
}

func setMemory(l *loader, g given) {
	const most = 1 << 30 // MiB, a PiB: beyond any machine, and its bytes fit an int64
	if n, ok := l.number(g.at, "-m", g.value, 1, most, ""); ok {
		l.c.Memory, l.memoryAt = int64(n)<<20, g.at
	}
}

func setThreads(l *loader, g given) {
	n, ok := l.number(g.at, "-t", g.value, 1, 1024, "Number of threads must be greater than 0")
	if !ok {
		return
	}
	l.c.Threads = n
	if n > 64 {
		l.note("-t %d is a high number of workers; the number of cores or less serves better", n)
	}
}

func setNAPI(l *loader, g given) {
	if n, ok := l.number(g.at, "-N", g.value, 1, 1<<30, "Maximum number of NAPI IDs must be greater than 0"); ok {
		l.show("num_napi_ids", strconv.Itoa(n))
	}
}

func setMaxItem(l *loader, g given) {
	digits, unit := g.value, 1
	if digits != "" {
		switch digits[len(digits)-1] {
		case 'k', 'K':
			unit = 1 << 10
		case 'm', 'M':
			unit = 1 << 20
		}
	}
	if unit > 1 {
		digits = digits[:len(digits)-1]
	}
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil:
		l.fail(g.at, "-I: %q is no size; write bytes, or a number with k or m such as 1m", g.value)
	case n < 0 || n > 1<<30 || n*unit > 1<<30:
		l.fail(g.at, "-I: Cannot set item size limit higher than a gigabyte. Write 1024m or less")
	case n*unit < 1024:
		l.fail(g.at, "-I: Item max size cannot be less than 1024 bytes. Write 1k or more")
	default:
		l.c.MaxItem, l.maxItemSeen, l.maxItemAt = n*unit, true, g.at
	}
}

func setVerbose(l *loader, g given) {
	if !l.verboseSeen {
		l.c.Verbosity, l.verboseSeen = 0, true
	}
	l.c.Verbosity++
}

func setDelimiter(l *loader, g given) {
	if g.value == "" {
		l.fail(g.at, "-D: No delimiter specified. Write one such as -D :")
		return
	}
	l.c.Delimiter, l.c.Detail = g.value[0], true
}

func setProtocol(l *loader, g given) {
	switch g.value {
	case "auto", "ascii", "binary":
	default:
		l.fail(g.at, "-B: Invalid value for binding protocol: %s -- should be one of auto, binary, or ascii", g.value)
		return
	}
	l.c.Protocol, l.protocolSeen = g.value, true
}

func setGrowth(l *loader, g given) {
	f, err := strconv.ParseFloat(g.value, 64)
	switch {
	case err != nil:
		l.fail(g.at, "-f: %q is no number; write one such as 1.25", g.value)
	case !(f > 1):
		l.fail(g.at, "-f: Factor must be greater than 1")
	default:
		l.c.GrowthFactor = f
	}
}

// finishOptions checks what only all options together can tell.
func (l *loader) finishOptions() {
	c := l.c
	if c.UDPPort != 0 && !l.portSeen {
		c.Port = c.UDPPort
	}
	if half := c.Memory / 2; !l.maxItemSeen {
		c.MaxItem = int(min(1<<20, half))
	} else if int64(c.MaxItem) > half {
		at := l.maxItemAt
		if at.file == "" {
			at = l.memoryAt
		}
		l.fail(at, "-I: Cannot set item size limit higher than 1/2 of memory max. Lower -I (%d bytes) or raise -m (%d bytes)", c.MaxItem, c.Memory)
	}
	l.finishListen()
	l.finishAuth()
	l.finishTLS()
}

// Help returns the options as lines for --help.
func Help() string {
	var b strings.Builder
	for _, o := range optionTable {
		names := make([]string, 0, 2)
		if o.short != 0 {
			names = append(names, "-"+string(o.short))
		}
		if o.long != "" {
			names = append(names, "--"+o.long)
		}
		head := strings.Join(names, ", ")
		switch {
		case o.arg != "" && o.long != "":
			head += "=" + o.arg
		case o.arg != "":
			head += " " + o.arg
		}
		fmt.Fprintf(&b, "  %-38s %s%s\n", head, o.help, o.aside())
	}
	b.WriteString("\nNames for -o (memcached's other ones are accepted and have no effect):\n")
	for _, e := range extendedTable {
		if e.help != "" {
			fmt.Fprintf(&b, "  %-38s %s\n", e.head(), e.help)
		}
	}
	return b.String()
}

// aside tells in help that an option does nothing.
func (o *option) aside() string {
	if o.note == "" {
		return ""
	}
	return " (no effect: " + o.note + ")"
}

// seconds is a whole number of seconds as a duration.
func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
