// Package arch holds the rules on who may import whom, and a test that keeps them. It is no part of the program.
package arch

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// module is this project's import path; packages below it are named here without it.
const module = "swordfish"

// rule says what one package may import besides the standard library. An entry ending in /... allows all packages below.
type rule struct {
	project []string // packages of this project
	modules []string // paths of other modules, or of packages in them
	why     string   // printed when the rule is broken
}

// rules has a line for each package; one ending in /... is for all packages below that have no line of their own. A package
// without any line is an error, so that a new one starts with a decision.
var rules = map[string]rule{
	"cmd/swordfishd": {
		project: []string{"admin", "config", "filler", "filler/...", "hasher", "normalizer", "protocol", "replica", "requestlog", "server", "snapshot", "store", "testdata", "upgrade", "warm"},
		modules: []string{"github.com/alecthomas/kong", "github.com/mattn/go-isatty", "github.com/mattn/go-colorable", "github.com/rs/zerolog", "github.com/vbauerster/mpb/v8", "golang.org/x/sys", "golang.org/x/term"},
		why:     "cmd wires everything by hand, and nothing imports cmd",
	},
	"server": {
		project: []string{"protocol", "normalizer", "hasher", "filler", "store"},
		modules: []string{"github.com/rs/zerolog", "golang.org/x/crypto/bcrypt", "golang.org/x/sys"},
		why:     "server translates between protocol, normalizer, hasher, filler and store; settings and drivers come in through its Options",
	},
	"warm": {
		project: []string{"filler", "filler/memcache", "store"},
		modules: []string{"github.com/rs/zerolog"},
		why:     "warm hands keys to filler and copies to store; what it has to know of routes and sources it is handed",
	},
	"requestlog": {
		why: "requestlog is a file format: it is handed samples and knows no server",
	},
	"admin": {
		project: []string{"server", "filler", "snapshot", "store", "warm"},
		modules: []string{"github.com/prometheus/client_golang", "github.com/rs/zerolog"},
		why:     "admin shows the figures of server, filler, snapshot and store over HTTP; what changes anything is handed in, and nobody else imports Prometheus",
	},
	"upgrade": {
		modules: []string{"golang.org/x/sys"},
		why:     "upgrade is a conversation between two processes: what they hand over is cmd's business",
	},
	"protocol": {
		why: "protocol turns bytes into requests and results into bytes: it knows no socket, clock or store",
	},
	"normalizer": {
		why: "normalizer is a pure function of routes and keys",
	},
	"hasher": {
		modules: []string{"github.com/zeebo/xxh3", "github.com/dchest/siphash"},
		why:     "hasher is a pure function of a seed and bytes",
	},
	"store": {
		modules: []string{"golang.org/x/sys"},
		why:     "store knows no protocol and no filler; it is handed its hash and digest functions",
	},
	"snapshot": {
		project: []string{"store"},
		modules: []string{"github.com/klauspost/compress/zstd", "github.com/rs/zerolog", "github.com/zeebo/xxh3"},
		why:     "snapshot keeps a store's items in a file: it sees the store and nothing above it",
	},
	"filler": {
		modules: []string{"github.com/alitto/pond/v2", "github.com/rs/zerolog"},
		why:     "filler is handed functions, above all the one that puts a fill; sources are packages below it, and only they import drivers",
	},
	"filler/postgres": {
		project: []string{"filler"},
		modules: []string{"github.com/jackc/pgx/v5", "github.com/rs/zerolog"},
		why:     "a source sees filler and its own driver",
	},
	"filler/sqlite": {
		project: []string{"filler"},
		modules: []string{"modernc.org/sqlite", "github.com/rs/zerolog"},
		why:     "a source sees filler and its own driver",
	},
	"filler/memcache": {
		project: []string{"filler"},
		modules: []string{"github.com/bradfitz/gomemcache", "github.com/rs/zerolog"},
		why:     "a source sees filler and its own driver",
	},
	"filler/fillertest": {
		project: []string{"filler"},
		modules: []string{"github.com/rs/zerolog"},
		why:     "fillertest asks every source the same questions: it sees filler and no driver",
	},
	"config": {
		modules: []string{"github.com/goccy/go-yaml", "github.com/knadh/koanf", "github.com/dustin/go-humanize"},
		why:     "config makes one validated struct; only cmd imports it and copies the fields across, so config needs nobody's types",
	},
	"testdata": {
		why: "testdata holds embedded files and their rows: anybody may read them in tests, so it imports nobody",
	},
	"internal/testenv": {
		modules: []string{"github.com/jackc/pgx/v5/pgconn", "golang.org/x/sys"},
		why:     "testenv starts servers for tests; only tests import it, so its driver reaches no binary",
	},
	"internal/transcript": {
		modules: []string{"golang.org/x/tools/txtar"},
		why:     "transcript reads files for the tests of several packages, and knows none of them",
	},
	"deploy":        {why: "deploy holds files for containers; its tests check them with config, which reads them"},
	"e2e":           {why: "end-to-end tests see the built program from outside, as a client and an operator do"},
	"internal/arch": {why: "the rules look at packages from outside"},
	"bench/replay": {
		project: []string{"hasher", "store"},
		modules: []string{"golang.org/x/sys"},
		why:     "a replay drives the store's own code beside models of other policies",
	},
	"bench/cmd/storebench": {
		project: []string{"store", "hasher", "snapshot"},
		why:     "it measures the store without a server",
	},
	"bench/...": {
		project: []string{"bench/..."},
		modules: []string{"github.com/HdrHistogram/hdrhistogram-go", "golang.org/x/sys"},
		why:     "a benchmark treats every server alike, from outside",
	},
}

// inTests is what the tests of any package may import in addition: helpers, data, clients and databases to compare with.
var inTests = rule{
	project: []string{"internal/testenv", "internal/transcript", "filler/fillertest", "testdata"},
	modules: []string{
		"github.com/bradfitz/gomemcache", "github.com/jackc/pgx/v5", "modernc.org/sqlite", "golang.org/x/tools/txtar",
		"golang.org/x/sys", "github.com/rs/zerolog", "github.com/HdrHistogram/hdrhistogram-go", "github.com/goccy/go-yaml",
	},
}

// wholeProgram are the packages whose tests wire several packages together, as cmd does.
var wholeProgram = []string{"cmd/swordfishd", "server", "admin", "snapshot", "deploy"}

// pkg is what the rules look at; the fields are those of go list.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// violations returns a sentence for each import that breaks a rule, in order of packages and imports.
func violations(rules map[string]rule, pkgs []pkg) []string {
	var found []string
	for _, p := range pkgs {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		r, ok := ruleFor(rules, name)
		if !ok {
			found = append(found, fmt.Sprintf("%s has no rule in internal/arch: decide what it may import and say why", name))
			continue
		}
		for _, path := range p.Imports {
			if !r.allows(path) {
				found = append(found, fmt.Sprintf("%s must not import %s: %s", name, path, r.why))
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			inProject := path == module || strings.HasPrefix(path, module+"/")
			own := path == p.ImportPath
			whole := inProject && slices.Contains(wholeProgram, name)
			if !r.allows(path) && !inTests.allows(path) && !own && !whole {
				found = append(found, fmt.Sprintf("tests of %s must not import %s: %s", name, path, r.why))
			}
		}
	}
	sort.Strings(found)
	return slices.Compact(found)
}

// ruleFor finds the line for a package: its own, else that of the nearest directory above with /... behind it.
func ruleFor(rules map[string]rule, name string) (rule, bool) {
	if r, ok := rules[name]; ok {
		return r, true
	}
	for dir := name; dir != ""; {
		dir = dir[:max(strings.LastIndexByte(dir, '/'), 0)]
		if r, ok := rules[dir+"/..."]; ok {
			return r, true
		}
	}
	return rule{}, false
}

// allows tells whether a package under this rule may import path.
func (r rule) allows(path string) bool {
	if name, ok := strings.CutPrefix(path, module+"/"); ok {
		return slices.ContainsFunc(r.project, func(allowed string) bool {
			dir, below := strings.CutSuffix(allowed, "...")
			return name == allowed || below && strings.HasPrefix(name, dir)
		})
	}
	first, _, _ := strings.Cut(path, "/")
	if !strings.Contains(first, ".") {
		return path != module && path != "C" // the standard library; cgo is not for us
	}
	return slices.ContainsFunc(r.modules, func(allowed string) bool {
		return path == allowed || strings.HasPrefix(path, allowed+"/")
	})
}
