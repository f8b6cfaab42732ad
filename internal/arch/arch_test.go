package arch

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestImports holds the arrows between this project's packages.
func TestImports(t *testing.T) {
	// testdata is named, because the wildcard leaves out directories of this name.
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...", module+"/testdata")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 5 {
		t.Fatalf("go list found %d packages", len(pkgs))
	}
	for _, v := range violations(rules, pkgs) {
		t.Error(v)
	}
}

// TestViolations shows that the checker can fail.
func TestViolations(t *testing.T) {
	rules := map[string]rule{
		"server":        {project: []string{"store"}, modules: []string{"golang.org/x/sys"}, why: "WHY-SERVER"},
		"store":         {why: "WHY-STORE"},
		"filler/sqlite": {modules: []string{"modernc.org/sqlite"}, why: "WHY-SQLITE"},
		"bench/...":     {project: []string{"bench/..."}, why: "WHY-BENCH"},
		"filler":        {why: "WHY-FILLER"},
		"cmd/swordfish": {project: []string{"filler/..."}, why: "WHY-CMD"},
	}
	for _, tc := range []struct {
		name string
		pkg  pkg
		want []string // parts of the only violation; none: allowed
	}{
		{"standard library", pkg{ImportPath: "swordfish/store", Imports: []string{"fmt", "net/http"}}, nil},
		{"allowed package", pkg{ImportPath: "swordfish/server", Imports: []string{"swordfish/store"}}, nil},
		{"allowed module", pkg{ImportPath: "swordfish/server", Imports: []string{"golang.org/x/sys/unix"}}, nil},
		{"below", pkg{ImportPath: "swordfish/cmd/swordfish", Imports: []string{"swordfish/filler/sqlite"}}, nil},
		{"rule of the directory", pkg{ImportPath: "swordfish/bench/cmd/x", Imports: []string{"swordfish/bench/load"}}, nil},
		{"backwards", pkg{ImportPath: "swordfish/store", Imports: []string{"swordfish/server"}}, []string{"store must not import swordfish/server", "WHY-STORE"}},
		{"driver", pkg{ImportPath: "swordfish/filler", Imports: []string{"modernc.org/sqlite"}}, []string{"filler must not import", "WHY-FILLER"}},
		{"name with the same beginning", pkg{ImportPath: "swordfish/server", Imports: []string{"swordfish/storefront"}}, []string{"storefront", "WHY-SERVER"}},
		{"module with the same beginning", pkg{ImportPath: "swordfish/server", Imports: []string{"golang.org/x/system"}}, []string{"x/system", "WHY-SERVER"}},
		{"cgo", pkg{ImportPath: "swordfish/store", Imports: []string{"C"}}, []string{"must not import C"}},
		{"no rule", pkg{ImportPath: "swordfish/util"}, []string{"util has no rule"}},
		{"test helper in a test", pkg{ImportPath: "swordfish/store", TestImports: []string{"swordfish/internal/testenv"}}, nil},
		{"its own package in a test", pkg{ImportPath: "swordfish/store", XTestImports: []string{"swordfish/store"}}, nil},
		{"test helper in the program", pkg{ImportPath: "swordfish/server", Imports: []string{"swordfish/internal/testenv"}}, []string{"server must not import swordfish/internal/testenv"}},
		{"a neighbour in a test", pkg{ImportPath: "swordfish/store", XTestImports: []string{"swordfish/server"}}, []string{"tests of store must not", "WHY-STORE"}},
		{"the whole program in a test", pkg{ImportPath: "swordfish/server", XTestImports: []string{"swordfish/config"}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := violations(rules, []pkg{tc.pkg})
			if len(tc.want) == 0 {
				if len(got) > 0 {
					t.Errorf("got %q", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("got %q, want one violation", got)
			}
			for _, part := range tc.want {
				if !strings.Contains(got[0], part) {
					t.Errorf("got %q, want %q in it", got[0], part)
				}
			}
		})
	}
}

// TestSkipsGoThroughTestenv: a test may skip only by testenv.Missing, which says so loudly and fails in CI.
func TestSkipsGoThroughTestenv(t *testing.T) {
	skip := regexp.MustCompile(`\b(t|tb|b|f)\.(Skip|Skipf|SkipNow)\(`)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "../.." {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || filepath.Base(filepath.Dir(path)) == "testenv" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for n, line := range strings.Split(string(b), "\n") {
			if skip.MatchString(line) {
				t.Errorf("%s:%d: %s: use testenv.Missing", path, n+1, strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
