package config

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// input reads files from a map and the environment from another.
func input(files, env map[string]string, args ...string) Input {
	return Input{
		Args: args,
		Env:  func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: func(name string) ([]byte, error) {
			text, ok := files[name]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			return []byte(text), nil
		},
	}
}

func mustLoad(t *testing.T, in Input) *Config {
	t.Helper()
	c, err := Load(in)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantError wants Load to fail with exactly that text.
func wantError(t *testing.T, in Input, want string) {
	t.Helper()
	c, err := Load(in)
	if err == nil {
		t.Fatalf("got %+v, want the error\n%s", c, want)
	}
	var e *Error
	if !errors.As(err, &e) || c != nil {
		t.Fatalf("got %+v and %T, want nil and *Error", c, err)
	}
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, input(nil, nil))
	want := &Config{Options: Options{
		Listen: []Listen{{Host: "127.0.0.1", Port: 11211}}, Port: 11211, Memory: 64 << 20, MaxItem: 1 << 20, MaxConns: 1024, MaxConnsFast: true,
		Threads: 4, Backlog: 1024, Access: 0o700, Protocol: "auto", Delimiter: ':', WatchBuffer: 256 << 10, LogBuffer: 64 << 10, PassInline: 16, PassBack: 64, GrowthFactor: 1.25, ChunkSize: 48, TLS: defaultTLS(),
		Admin: Admin{Listen: "127.0.0.1:9696", Words: "local"},
	}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string // parted at blanks
		want string // what differs from the defaults, as shown by diff
	}{
		{"value behind", "-m 1024 -p 11300 -c 4096 -t 2", "Memory=1073741824 Port=11300 MaxConns=4096 Threads=2 Listen=[127.0.0.1:11300]"},
		{"value in the same word", "-m1024 -p11300", "Memory=1073741824 Port=11300 Listen=[127.0.0.1:11300]"},
		{"long", "--memory-limit=64 --port=11300", "Port=11300 Listen=[127.0.0.1:11300]"},
		{"long, value behind", "--memory-limit 128 --conn-limit 5", "Memory=134217728 MaxConns=5"},
		{"long, cut short", "--memory-l=128 --thr=3 --disable-c", "Memory=134217728 Threads=3 NoCAS=true"},
		{"cluster", "-vvMC", "Verbosity=2 NoEvict=true NoCAS=true"},
		{"cluster with a value", "-vvm64", "Verbosity=2"},
		{"verbose", "-v -vv --verbose --verbose=7", "Verbosity=5"},
		{"blank before the value", "-m\t128", "Memory=134217728"},
		{"any free port", "-p -1", "Port=-1 Listen=[127.0.0.1:0]"},
		{"UDP port alone", "-U 11300", "UDPPort=11300 Port=11300 Listen=[127.0.0.1:11300] UDP=[127.0.0.1:11300]"},
		{"UDP on addresses with ports of their own", "-U 11300 -l 10.0.0.1,tag[a]:10.0.0.2:99 -p 11400", "UDPPort=11300 Port=11400 Listen=[10.0.0.1:11400 10.0.0.2:99//a] UDP=[10.0.0.1:11300 10.0.0.2:99] Interfaces=10.0.0.1,tag[a]:10.0.0.2:99"},
		{"UDP alone", "-U 11300 -p 0", "UDPPort=11300 Port=0 Listen=[] UDP=[127.0.0.1:11300]"},
		{"neither TCP nor UDP", "-p 0", "Port=0 Listen=[] Notes=[-p 0 turns TCP off, and nothing else is there to listen on; write a port, or -1 for any free one]"},
		{"UDP and TCP port", "-U 11300 -p 11400", "UDPPort=11300 Port=11400 Listen=[127.0.0.1:11400] UDP=[127.0.0.1:11300]"},
		{"listen", "-l 10.0.0.1,10.0.0.2:99", "Listen=[10.0.0.1:11211 10.0.0.2:99] Interfaces=10.0.0.1,10.0.0.2:99"},
		{"listen twice", "-l 10.0.0.1 -l 10.0.0.2;10.0.0.1", "Listen=[10.0.0.1:11211 10.0.0.2:11211] Interfaces=10.0.0.1,10.0.0.2;10.0.0.1"},
		{"listen everywhere", "-l *", "Listen=[:11211] Interfaces=*"},
		{"listen on IPv6", "-l [::1]:99,::1,[fe80::1]", "Listen=[[::1]:99 [::1]:11211 [fe80::1]:11211] Interfaces=[::1]:99,::1,[fe80::1]"},
		{"listen on a name", "-l localhost:99", "Listen=[localhost:99] Interfaces=localhost:99"},
		{"listen, protocol and tag", "-l proto[ascii]:tag[a]:127.0.0.1:99,tag_web_:::1", "Listen=[127.0.0.1:99/ascii/a [::1]:11211//web] Interfaces=proto[ascii]:tag[a]:127.0.0.1:99,tag_web_:::1"},
		{"UNIX socket", "-s /run/m.sock", "Socket=/run/m.sock Listen=[/run/m.sock]"},
		{"UNIX socket before UDP", "-s /run/m.sock -U 5 -p 5", "Socket=/run/m.sock Port=5 UDPPort=5 Listen=[/run/m.sock] Notes=[-U has no effect: -s turns the network off]"},
		{"UNIX socket and no port", "-s /run/m.sock -p 0 -a 0770", "Socket=/run/m.sock Port=0 Access=-rwxrwx--- Listen=[/run/m.sock]"},
		{"UNIX socket before the network", "-s /run/m.sock -l ::1 -p 5", "Socket=/run/m.sock Port=5 Interfaces=::1 Listen=[/run/m.sock] Notes=[-l has no effect: -s turns the network off]"},
		{"item size", "-I 2m", "MaxItem=2097152"},
		{"item size in k", "-I 512K", "MaxItem=524288"},
		{"item size in bytes", "-I 2048", "MaxItem=2048"},
		{"little memory", "-m 1", "Memory=1048576 MaxItem=524288"},
		{"half of memory", "-m 2 -I 1m", "Memory=2097152"},
		{"switches", "-AFXW -D_", "AllowStop=true NoFlush=true NoDump=true NoWatch=true Delimiter=95 Detail=true"},
		{"files", "-P /run/x.pid", "PIDFile=/run/x.pid"},
		{"extended", "-o idle_timeout=60,no_maxconns_fast,pass_inline=8,,pass_background=32", "IdleTimeout=1m0s MaxConnsFast=false PassInline=8 PassBack=32"},
		{"buffers of watch", "-o watcher_logbuf_size=8,worker_logbuf_size=4", "WatchBuffer=8192 LogBuffer=4096"},
		{"extended without effect", "-o modern,slab_automove,slab_automove=2 -o hash_algorithm=xxh3", "Shown=map[slab_automove:2] Notes=[-o modern has no effect here -o slab_automove has no effect here -o hash_algorithm has no effect here]"},
		{"extended, shown", "-o slab_automove,hot_max_factor=.5,slab_chunk_max=16,hashpower=20", "Shown=map[hashpower_init:20 hot_max_factor:0.50 slab_automove:1 slab_chunk_max:16384] " +
			"Notes=[-o slab_automove has no effect here -o hot_max_factor has no effect here -o slab_chunk_max has no effect here -o hashpower has no effect here]"},
		{"maxconns_fast, the last one counts", "-o no_maxconns_fast -o maxconns_fast", ""},
		{"no_modern", "-o no_modern", "MaxConnsFast=false NoCrawler=true NoMaintainer=true NoReassign=true"},
		{"after no_modern", "-o no_modern,lru_crawler,maxconns_fast -o lru_maintainer,slab_reassign", ""},
		{"without them", "-o no_lru_crawler,no_lru_maintainer,no_slab_reassign", "NoCrawler=true NoMaintainer=true NoReassign=true"},
		{"backlog and slabs", "-b 5 -f 1.1 -n 96", "Backlog=5 GrowthFactor=1.1 ChunkSize=96 Notes=[-f has no effect: there are no slab classes -n has no effect: there are no slab classes]"},
		{"protocol", "-B auto", ""},
		{"ascii", "-B ascii", "Protocol=ascii"},
		{"binary", "-B binary", "Protocol=binary"},
		{"end of options", "-v --", "Verbosity=1"},
		{"many workers", "-t 65", "Threads=65 Notes=[-t 65 is a high number of workers; the number of cores or less serves better]"},
		{"as in a unit file", "-d -u memcache -k -r -L -R 30 -N 2 -a 770 -e /tmp/m", "Daemon=true User=memcache LockMemory=true CoreDumps=true ReqsPerEvent=30 Access=-rwxrwx--- MemoryFile=/tmp/m Shown=map[num_napi_ids:2] Notes=[" +
			"-L has no effect: huge pages are asked for where they help, and for the rest the kernel's setting holds " +
			"-N has no effect: connections are dealt to workers at accept]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, input(nil, nil, strings.Split(tt.args, " ")...))
			if got := diff(c); !sameWords(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// diff lists the fields of c's Options and its notes that are not the defaults.
func diff(c *Config) string {
	base := defaults()
	base.Listen, base.MaxItem = []Listen{{Host: "127.0.0.1", Port: 11211}}, 1<<20
	var out []string
	got, was := reflect.ValueOf(c.Options), reflect.ValueOf(base)
	for i := range got.NumField() {
		if reflect.DeepEqual(got.Field(i).Interface(), was.Field(i).Interface()) {
			continue
		}
		shown := fmt.Sprint(got.Field(i).Interface())
		if listen, ok := got.Field(i).Interface().([]Listen); ok {
			var all []string
			for _, a := range listen {
				s := a.Path
				if s == "" {
					s = a.Address()
				}
				if a.Proto != "" || a.Tag != "" {
					s += "/" + a.Proto + "/" + a.Tag
				}
				all = append(all, s)
			}
			shown = fmt.Sprint(all)
		}
		out = append(out, got.Type().Field(i).Name+"="+shown)
	}
	if len(c.Notes) > 0 {
		out = append(out, fmt.Sprintf("Notes=%v", c.Notes))
	}
	return strings.Join(out, " ")
}

// sameWords compares two texts whatever the order of their words.
func sameWords(a, b string) bool {
	return slices.Equal(slices.Sorted(slices.Values(strings.Fields(a))), slices.Sorted(slices.Values(strings.Fields(b))))
}

func TestOptionErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string // parted at blanks
		want string
	}{
		{"unknown", "-q", `invalid option -- 'q' in "-q"; --help lists them`},
		{"unknown long", "--memory-limt=5", `unrecognized option '--memory-limt'; did you mean memory-limit?`},
		{"ambiguous", "--enable-s", `option '--enable-s' is ambiguous; possibilities: '--enable-sasl' '--enable-shutdown' '--enable-ssl'; write one in full`},
		{"long without a value", "--port", `option '--port' requires an argument; write --port=NUM`},
		{"long with a value too many", "--disable-cas=1", `option '--disable-cas' doesn't allow an argument; write it alone`},
		{"no value", "-m", `option requires an argument -- 'm'; write -m MIB`},
		{"no number", "-m 1g", `-m: "1g" is no whole number; write one from 1 to 1073741824`},
		{"no memory", "-m 0", `-m: 0 is out of bounds; write a number from 1 to 1073741824`},
		{"port", "-p 65536", `-p: Invalid port number 65536. Write one from 1 to 65535`},
		{"port word", "-p x", `-p: "x" is no whole number; write one from -1 to 1073741824`},
		{"connections", "-c 0", `-c: Maximum connections must be greater than 0`},
		{"threads", "-t 0", `-t: Number of threads must be greater than 0`},
		{"requests", "-R 0", `-R: Number of requests per event must be greater than 0`},
		{"factor", "-f 1", `-f: Factor must be greater than 1`},
		{"factor word", "-f x", `-f: "x" is no number; write one such as 1.25`},
		{"chunk", "-n 0", `-n: Chunk size must be greater than 0`},
		{"item size over half", "-m 1 -I 1m", `-I: Cannot set item size limit higher than 1/2 of memory max. Lower -I (1048576 bytes) or raise -m (1048576 bytes)`},
		{"item size too small", "-I 1023", `-I: Item max size cannot be less than 1024 bytes. Write 1k or more`},
		{"item size too large", "-m 9000 -I 1025m", `-I: Cannot set item size limit higher than a gigabyte. Write 1024m or less`},
		{"item size word", "-I 1g", `-I: "1g" is no size; write bytes, or a number with k or m such as 1m`},
		{"item size unit only", "-I m", `-I: "m" is no size; write bytes, or a number with k or m such as 1m`},
		{"protocol", "-B udp", `-B: Invalid value for binding protocol: udp -- should be one of auto, binary, or ascii`},
		{"two problems", "-c 0 -t 0", "-c: Maximum connections must be greater than 0\n-t: Number of threads must be greater than 0"},
		{"stray argument", "-v serve", `unexpected argument "serve": options begin with a dash, and a subcommand comes first`},
		{"stray argument behind --", "-v -- -m", `unexpected argument "-m": options begin with a dash, and a subcommand comes first`},
		{"listen port", "-l 127.0.0.1:x", `-l: Invalid port number: "x"; write one from 1 to 65535`},
		{"listen nowhere", "-l ,", `-l: "," holds no address; write one such as 127.0.0.1`},
		{"listen without host", "-l :11211", `-l: ":11211" holds no address; write one such as 127.0.0.1`},
		{"listen IPv6", "-l [::1", `-l: Invalid IPV6 address: "[::1"; write [ADDR] or [ADDR]:PORT`},
		{"listen protocol", "-l proto[x]:::1", `-l: Invalid protocol spec: "proto[x]:::1"; write proto[ascii]:ADDR, proto[binary]:ADDR or proto[negotiating]:ADDR`},
		{"listen tag", "-l tag[x:::1", `-l: Invalid tag in socket config: "tag[x:::1"; write tag[NAME]:ADDR`},
		{"listen long tag", "-l tag[123456789]:::1", `-l: Listener tags must be between 1 and 8 characters: "123456789"`},
		{"listen notls", "-l notls:127.0.0.1", `-l: 'notls' option is valid only when SSL is enabled; write -Z, or take it out of "notls:127.0.0.1"`},
		{"suboption", "-o idle_timout=5", `-o: Illegal suboption "idle_timout"; did you mean idle_timeout?`},
		{"suboption without value", "-o idle_timeout", `-o: Missing numeric argument for idle_timeout; write idle_timeout=SECONDS`},
		{"suboption out of bounds", "-o hashpower=8", `-o hashpower: Initial hashtable multiplier of 8 is too low; write a whole number from 12 to 32`},
		{"suboption no number", "-o idle_timeout=x", `-o idle_timeout: "x" is out of bounds; write a whole number from 0 to 2147483647`},
		{"suboption name", "-o hash_algorithm=md5", `-o hash_algorithm: Unknown hash_algorithm option (jenkins, murmur3, xxh3)`},
		{"suboption ratio", "-o slab_automove_ratio=2", `-o slab_automove_ratio: slab_automove_ratio must be > 0 and < 1`},
		{"UNIX socket's path", "-s /" + strings.Repeat("x", 107), `-s: the path of a UNIX socket has at most 107 bytes, and this one has 108; choose a shorter one`},
		{"UNIX socket's mask", "-s /run/x -a 780", `-a: "780" is no access mask that lets somebody in; write three octal digits such as 0770`},
		{"UNIX socket's mask, too much", "-s /run/x -a 1777", `-a: "1777" is no access mask that lets somebody in; write three octal digits such as 0770`},
		{"config", "--config nowhere.yaml", `--config: open nowhere.yaml: file does not exist; name a file that can be read`},
		{"memcached.conf", "--memcached-conf nowhere.conf", `--memcached-conf: open nowhere.conf: file does not exist; name a file that can be read`},
		{"pidfile", "--pidfile=", `-P: its value is empty; write -P FILE`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, input(nil, nil, strings.Split(tt.args, " ")...), tt.want)
		})
	}
}

func TestAsk(t *testing.T) {
	for _, tt := range []struct {
		args string
		want Ask
	}{
		{"-h", AskHelp}, {"--help", AskHelp}, {"-vvh", AskHelp}, {"-V -h", AskVersion}, {"--version", AskVersion}, {"-i", AskLicense}, {"-c 0 -h", AskHelp},
	} {
		t.Run(tt.args, func(t *testing.T) {
			if c := mustLoad(t, input(nil, nil, strings.Fields(tt.args)...)); c.Ask != tt.want {
				t.Errorf("Ask = %d, want %d", c.Ask, tt.want)
			}
		})
	}
	for _, want := range []string{"-m, --memory-limit=MIB", "-D CHAR", "idle_timeout=SECONDS", "--config=FILE", "(no effect: "} {
		if !strings.Contains(Help(), want) {
			t.Errorf("Help lacks %q", want)
		}
	}
}

func TestOwnOptions(t *testing.T) {
	var key string
	var offline, other bool
	in := input(nil, nil, "-v", "--key", "chr|a=b", "-m", "128", "--off")
	in.Own = map[string]*string{"key": &key}
	in.OwnFlags = map[string]*bool{"offline": &offline, "other": &other}
	if c := mustLoad(t, in); key != "chr|a=b" || c.Memory != 128<<20 || !offline || other {
		t.Errorf("key = %q, Memory = %d, offline = %v, other = %v", key, c.Memory, offline, other)
	}
	in.Args = []string{"--offline=yes"}
	wantError(t, in, `option '--offline' doesn't allow an argument; write it alone`)
	wantError(t, input(nil, nil, "--key=a"), `unrecognized option '--key'; known are `+knownLong())
}

func knownLong() string {
	var names []string
	for _, o := range optionTable {
		if o.long != "" {
			names = append(names, o.long)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// debianConf has the form of Debian's file.
const debianConf = `# memcached default config file
-d

# Log memcached's output
logfile /var/log/memcached.log

# -vv
-v
-m 128   # megabytes
-p 11212
-u memcache
-l 10.0.0.1
-l 10.0.0.2
-o "idle_timeout=5" --conn-limit=77

-P '/var/run/memcached/memcached.pid'
`

func TestMemcachedConf(t *testing.T) {
	files := map[string]string{
		"memcached.conf": debianConf,
		"bad.conf":       "-m 64\n-c 0\n\n-I 64m\n-x\nfoo -p 1\n",
		"inner.conf":     "--memcached-conf memcached.conf\n",
	}
	notes := "Notes=[memcached.conf:5: logfile is left out: the log goes to standard error]"
	for _, tt := range []struct {
		name string
		args string
		want string
	}{
		{"alone", "--memcached-conf memcached.conf", "Memory=134217728 Port=11212 Listen=[10.0.0.1:11212 10.0.0.2:11212] Interfaces=10.0.0.1,10.0.0.2 MaxConns=77 IdleTimeout=5s Verbosity=1 PIDFile=/var/run/memcached/memcached.pid User=memcache " + notes},
		{"the command line wins", "-m 256 -vvv -l ::1 -p 1 --memcached-conf=memcached.conf -c 9", "Memory=268435456 Port=1 Listen=[[::1]:1] Interfaces=::1 MaxConns=9 IdleTimeout=5s Verbosity=3 PIDFile=/var/run/memcached/memcached.pid User=memcache " + notes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, input(files, nil, strings.Fields(tt.args)...))
			if got := diff(c); !sameWords(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("errors have lines", func(t *testing.T) {
		wantError(t, input(files, nil, "--memcached-conf", "bad.conf"), `bad.conf:2: -c: Maximum connections must be greater than 0
bad.conf:4: -I: Cannot set item size limit higher than 1/2 of memory max. Lower -I (67108864 bytes) or raise -m (67108864 bytes)
bad.conf:5: invalid option -- 'x' in "-x"; --help lists them`)
	})
	t.Run("not within itself", func(t *testing.T) {
		wantError(t, input(files, nil, "--memcached-conf", "inner.conf"), `inner.conf:1: --memcached-conf stands in such a file itself; take it out`)
	})
}

func TestDurationsOfOptions(t *testing.T) {
	c := mustLoad(t, input(nil, nil, "-o", "idle_timeout=90"))
	if c.IdleTimeout != 90*time.Second {
		t.Errorf("IdleTimeout = %v, want 1m30s", c.IdleTimeout)
	}
}
