package deploy

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"swordfish/config"
	"swordfish/internal/testenv"
)

// adminToken is the one that Prometheus shows.
func adminToken(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("admin.token")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Prometheus asks where swordfishd listens, by a name that it answers to, with the token that it wants; Grafana asks Prometheus.
func TestMonitorsMeet(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Environment map[string]string
			Volumes     []string
			Ports       []string
		}
	}
	readYAML(t, "../docker-compose.yml", &compose)
	swordfish := compose.Services["swordfish"]
	c, err := config.Load(config.Input{
		Args: []string{"--config", "swordfish.yaml"},
		Env:  func(name string) (string, bool) { v, ok := swordfish.Environment[name]; return v, ok },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Admin.Token.Reveal(); got != adminToken(t) {
		t.Errorf("swordfishd wants %q, Prometheus shows %q", got, adminToken(t))
	}
	var prometheus struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string `yaml:"job_name"`
			Authorization struct {
				File string `yaml:"credentials_file"`
			}
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	readYAML(t, "prometheus.yml", &prometheus)
	job := prometheus.ScrapeConfigs[0]
	host, port, err := net.SplitHostPort(job.StaticConfigs[0].Targets[0])
	_, listens, _ := net.SplitHostPort(c.Admin.Listen)
	if _, service := compose.Services[host]; err != nil || !service || !slices.Contains(c.Admin.Hosts, host) || port != listens || job.JobName != "swordfish" {
		t.Errorf("Prometheus asks %s:%s as %s; swordfishd listens on %s as %v", host, port, job.JobName, c.Admin.Listen, c.Admin.Hosts)
	}
	if !slices.Contains(swordfish.Ports, "127.0.0.1:"+port+":"+port) {
		t.Errorf("the port is published as %v", swordfish.Ports)
	}
	mounted := func(service, inside string) bool {
		return slices.ContainsFunc(compose.Services[service].Volumes, func(v string) bool {
			_, at, _ := strings.Cut(v, ":")
			return at == inside+":ro"
		})
	}
	for _, name := range append(prometheus.RuleFiles, job.Authorization.File, "prometheus.yml") {
		if !mounted("prometheus", "/etc/prometheus/"+name) {
			t.Errorf("Prometheus has no %s", name)
		}
	}
	var source struct {
		Datasources []struct{ Type, URL string }
	}
	readYAML(t, "grafana/datasource.yml", &source)
	if len(source.Datasources) != 1 || source.Datasources[0].Type != "prometheus" || source.Datasources[0].URL != "http://prometheus:9090" {
		t.Errorf("Grafana asks %+v", source.Datasources)
	}
	var boards struct {
		Providers []struct {
			Options struct{ Path string }
		}
	}
	readYAML(t, "grafana/boards.yml", &boards)
	home := compose.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if len(boards.Providers) != 1 || !mounted("grafana", home) || !strings.HasPrefix(home, boards.Providers[0].Options.Path+"/") {
		t.Errorf("Grafana has its board in %s and looks in %+v", home, boards.Providers)
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Queries name series that exist, and Prometheus's own tool accepts them and the configuration.
func TestQueriesNameSeries(t *testing.T) {
	queries := testenv.BoardQueries(t, "grafana/swordfish.json")
	if len(queries) < 30 {
		t.Fatalf("the board has %d queries", len(queries))
	}
	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	readYAML(t, "rules.yml", &alerts)
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			queries = append(queries, testenv.BoardQuery{Panel: r.Alert, Expr: r.Expr})
		}
	}
	known := series(t)
	name := regexp.MustCompile(`\b(?:swordfish|process|go)_\w+`)
	used := map[string]bool{}
	for _, q := range queries {
		names := name.FindAllString(q.Expr, -1)
		if len(names) == 0 && !strings.HasPrefix(q.Expr, "up{") {
			t.Errorf("%s asks for nothing: %s", q.Panel, q.Expr)
		}
		for _, n := range names {
			used[n] = true
			if !known[n] {
				t.Errorf("%s asks for %s, which is not in admin/metrics.md", q.Panel, n)
			}
		}
	}
	if len(used) < 30 {
		t.Errorf("only %d series are shown", len(used))
	}
	var rules strings.Builder // a rule is a query that promtool reads
	rules.WriteString("groups:\n- name: board\n  rules:\n")
	for i, q := range queries {
		b, err := json.Marshal(q.Expr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&rules, "  - {record: \"board:query%d\", expr: %s}\n", i, b)
	}
	path := t.TempDir() + "/rules.yml"
	if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	testenv.Promtool(t, nil, "check", "rules", "--lint=none", path)
	testenv.Promtool(t, nil, "check", "rules", "rules.yml")
	testenv.Promtool(t, nil, "check", "config", "prometheus.yml")
}

// series are the names in admin/metrics.md as queries use them.
func series(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../admin/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(b), -1) {
		known[m[1]] = true
		if m[2] == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[m[1]+suffix] = true
			}
		}
	}
	return known
}
