package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"swordfish/config"
	"swordfish/internal/testenv"
)

// http asks the program's admin port, with a token if one is given, and returns status and body.
func (r *running) http(method, path, token string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.admin.Addr().String()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// closedPort is one that nobody listens on.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Neither the databases' password nor the token is told by anything that an operator or a client can read, while loads fail.
func TestSecretsAreNotTold(t *testing.T) {
	const password, token = "p4ss/w0rd+of=db", "t0ken-for-the-admin-port"
	dsn := "postgres://fish:" + url.QueryEscape(password) + "@127.0.0.1:" + closedPort(t) + "/shop?sslmode=disable"
	t.Setenv("SHOP_DSN", dsn)
	t.Setenv("ADMIN_TOKEN", token)
	yaml := "admin: {listen: \"127.0.0.1:0\", token: \"${ADMIN_TOKEN}\", pprof: true}\n" +
		"sources:\n  main: {kind: postgres, dsn: \"${SHOP_DSN}\"}\n  keyword: {kind: postgres, dsn: \"host=127.0.0.1 port=1 user=fish password='" + password + "'\"}\n" +
		"routes:\n  - {name: user, key: \"user:{id:int}\", source: [main, keyword], query: \"SELECT ord, v FROM f(@id)\", fresh: 60s}\n"
	r := startApp(t, yaml)
	if err := r.startAdmin(&r.config.Load().Admin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.admin.Shutdown(context.Background()) })
	r.get("user:1")
	for end := time.Now().Add(time.Minute); !strings.Contains(r.ask("sources"), "last_error"); {
		if time.Now().After(end) {
			t.Fatalf("the sources do not fail: %s", r.ask("sources"))
		}
	}
	r.files.write("swordfish.yaml", strings.Replace(yaml, "fresh", "frehs", 1)+"nonsense: true\n")
	told := map[string]string{"reload": r.ask("reload")}
	for _, word := range []string{
		"explain user:1", "sources", "routes", "queue", "top", "dedup", "help", "stats", "stats settings", "stats fish", "stats routes", "stats conns",
	} {
		told[word] = r.ask(word)
	}
	for _, path := range []string{
		"/", "/metrics", "/livez", "/readyz", "/api/stats", "/api/routes", "/api/routes/unmatched", "/api/queue", "/api/sources", "/api/dedup", "/api/top",
		"/api/history", "/api/explain?key=user:1", "/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/cmdline",
	} {
		code, body := r.http("GET", path, token)
		if code >= 500 && path != "/readyz" {
			t.Errorf("%s: %d", path, code)
		}
		told[path] = body
		_, told[path+" without the token"] = r.http("GET", path, "")
	}
	_, told["POST reload"] = r.http("POST", "/api/reload", token)
	r.log.mu.Lock()
	told["log"] = r.log.b.String()
	r.log.mu.Unlock()
	for what, text := range told {
		for _, secret := range secretForms(password, token, dsn) {
			if strings.Contains(text, secret) {
				t.Errorf("%s tells %q", what, secret)
			}
		}
	}
	if !strings.Contains(told["/api/sources"], "127.0.0.1") || !strings.Contains(told["log"], "source is down") || !strings.Contains(told["readyz"]+told["/readyz"], "source main has not been reached yet") {
		t.Errorf("the failure is not told: %s", told["/api/sources"])
	}
}

// secretForms are secrets as they might be written.
func secretForms(secrets ...string) (all []string) {
	for _, s := range secrets {
		b := []byte(s)
		all = append(all, s, url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString(b), base64.URLEncoding.EncodeToString(b), hex.EncodeToString(b))
	}
	return all
}

// wantSilence wants none of the secrets in what was told, by who told it, and each to have told something.
func wantSilence(t *testing.T, told map[string]string, secrets ...string) {
	t.Helper()
	for what, text := range told {
		if text == "" {
			t.Errorf("%s tells nothing", what)
		}
		for _, secret := range secretForms(secrets...) {
			if strings.Contains(text, secret) {
				t.Errorf("%s tells %q: %s", what, secret, text)
			}
		}
	}
}

// A configuration that cannot be used is told without its secrets, too.
func TestSecretsInBadConfigurations(t *testing.T) {
	const password = "p4ssw0rd-of-the-db"
	for name, dsn := range map[string]string{
		"port": "postgres://fish:" + password + "@host:port/shop", "option": "postgres://fish:" + password + "@host/shop?sslmode=perhaps",
		"form": "password=" + password + " =", "url": "postgres://fish:" + password + "@[::1/shop",
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/f.yaml"
			text := fmt.Sprintf("sources:\n  main: {kind: postgres, dsn: %q}\n", dsn)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"serve", "-p", "-1"}, {"check"}} {
				var out, errOut bytes.Buffer
				if code := run(append(args, "--config="+path), &out, &errOut); code != exitUsage {
					t.Errorf("%s: exit code %d", args[0], code)
				}
				if text := out.String() + errOut.String(); strings.Contains(text, password) || text == "" {
					t.Errorf("%s tells %q", args[0], text)
				}
			}
		})
	}
}

// That the usual port is taken is told and no more; that one which was asked for is taken ends the start.
func TestAdminPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := startApp(t, "")
	r.log.take(t)
	c := config.Admin{Listen: taken.Addr().String()}
	if err := r.startAdmin(&c); err != nil || r.admin != nil {
		t.Errorf("the usual port: %v", err)
	}
	if got := r.log.take(t); len(got) != 1 || !strings.Contains(got[0], "level=warn") || !strings.Contains(got[0], "-o admin=127.0.0.1:PORT chooses another port") {
		t.Errorf("logged %s", got)
	}
	var out, errOut bytes.Buffer
	code := run([]string{"serve", "-p", "-1", "-o", "admin=" + taken.Addr().String()}, &out, &errOut)
	want := "admin: listen on " + taken.Addr().String() + ": listen tcp " + taken.Addr().String() + ": bind: address already in use; choose another address with -o admin=127.0.0.1:PORT, or -o admin=off\n"
	if code != exitSystem || !strings.HasSuffix(errOut.String(), "swordfishd: "+want) {
		t.Errorf("asked for: exit code %d, %s", code, errOut.String())
	}
	if err := r.startAdmin(&config.Admin{}); err != nil || r.admin != nil {
		t.Errorf("off: %v", err)
	}
}

// What is asked over HTTP is done.
func TestAdminActs(t *testing.T) {
	level := zerolog.GlobalLevel()
	defer zerolog.SetGlobalLevel(level)
	r := startApp(t, fmt.Sprintf("sources:\n  main: {kind: sqlite, path: %s}\nroutes:\n%s", sqliteFile(t, "a"), userRoute("main", "user:{id:int}")), "-o", "admin=0")
	if err := r.startAdmin(&r.config.Load().Admin); err != nil {
		t.Fatal(err)
	}
	ok := func(path string) {
		t.Helper()
		if code, body := r.http("POST", path, ""); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	r.loads("user:1", "a 1")
	ok("/api/refresh?key=user:1")
	for end := time.Now().Add(time.Minute); r.stat("user:loaded") < 2; {
		if time.Now().After(end) {
			t.Fatal("it is not loaded again")
		}
	}
	ok("/api/route?name=user&state=off")
	ok("/api/invalidate?what=user")
	if got := r.ask("get user:1"); got != "END" {
		t.Errorf("invalidated: got %q", got)
	}
	if got := r.stat("user:off"); got != 1 {
		t.Errorf("off: got %d", got)
	}
	ok("/api/log_level?level=error")
	if got := zerolog.GlobalLevel(); got != zerolog.ErrorLevel {
		t.Errorf("log level: got %v", got)
	}
	zerolog.SetGlobalLevel(zerolog.InfoLevel)
	r.log.take(t)
	ok("/api/reload")
	if got := r.log.take(t); !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "configuration reloaded") }) {
		t.Errorf("logged %s", got)
	}
	for path, want := range map[string]string{
		"/api/route?name=nobody&state=on": `there is no route \"nobody\"; routes lists them`, "/api/refresh?key=plain": "no route takes this key",
		"/api/log_level?level=loud": "no such level", "/api/log_level?level=disabled": "no such level", "/api/invalidate?what=plain": `\"plain\" is neither a route nor a key of one`,
	} {
		if code, body := r.http("POST", path, ""); code != http.StatusConflict || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := r.http("GET", "/readyz", ""); code != http.StatusOK {
		t.Errorf("readyz: %d %s", code, body)
	}
}

// Nor do a database that answers with errors, a client's password, right or wrong, or the other commands make anybody tell. All is
// logged that can be.
func TestSecretsBesideErrors(t *testing.T) {
	const password, right, wrong, token = "p4ssw0rd-of-the-db", "right-one-0f-a-client", "wr0ng-one-of-a-client", "t0ken-for-the-admin-port"
	level := zerolog.GlobalLevel()
	defer zerolog.SetGlobalLevel(level)
	zerolog.SetGlobalLevel(zerolog.TraceLevel)
	pg := testenv.Postgres(t)
	dsn, err := url.Parse(pg.DSN)
	if err != nil {
		t.Fatal(err)
	}
	dsn.User = url.UserPassword(dsn.User.Username(), password) // which this Postgres does not ask for
	t.Setenv("SHOP_DSN", dsn.String())
	t.Setenv("ADMIN_TOKEN", token)
	yaml := "admin: {listen: \"127.0.0.1:0\", token: \"${ADMIN_TOKEN}\"}\nsources:\n  main: {kind: postgres, dsn: \"${SHOP_DSN}\"}\nroutes:\n" +
		"  - {name: user, key: \"user:{id:int}\", source: main, query: \"SELECT ord, nothing AS v FROM unnest(@id::bigint[]) WITH ORDINALITY AS k(id, ord)\"}\n" +
		"  - {name: none, key: \"none:{id:int}\", source: main, query: \"SELECT ord, 1/(id-id) AS v FROM unnest(@id::bigint[]) WITH ORDINALITY AS k(id, ord)\"}\n"
	file := passwordFile(t, "", "fish:"+right+"\n")
	r := startApp(t, yaml, "-Y", file)
	if err := r.startAdmin(&r.config.Load().Admin); err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, given := range []string{wrong, right} {
		r.dial()
		said := "fish " + given
		told["login with "+given[:5]] = r.ask(fmt.Sprintf("set auth 0 0 %d\r\n%s", len(said), said))
	}
	r.get("user:1")
	r.get("none:1")
	for end := time.Now().Add(time.Minute); r.stat("user:failed") == 0 || r.stat("none:failed")+r.stat("none:absent") == 0; {
		if time.Now().After(end) {
			t.Fatalf("the loads do not fail: %s", r.ask("stats routes"))
		}
	}
	for _, word := range []string{"explain user:1", "explain none:1", "sources", "routes", "queue", "stats", "stats settings", "stats fish", "stats routes", "stats conns", "reload"} {
		told[word] = r.ask(word)
	}
	for _, path := range []string{"/metrics", "/api/stats", "/api/routes", "/api/sources", "/api/explain?key=user:1", "/api/explain?key=none:1"} {
		_, told[path] = r.http("GET", path, token)
	}
	config, tokenFile := passwordFile(t, "", yaml), passwordFile(t, "", token)
	for name, args := range map[string][]string{
		"check": {"check", "--config=" + config}, "top": {"top", "--once", "--interval=100ms", "--admin=" + r.admin.Addr().String(), "--token-file=" + tokenFile},
		"top refused":     {"top", "--once", "--config=" + config, "--admin=" + r.server.Addrs()[0].String()},
		"estimate":        {"estimate", "--from=sql", "--config=" + config, "--query=SELECT nothing"},
		"estimate by DSN": {"estimate", "--from=sql", "--dsn=postgres://u:" + password + "@127.0.0.1:x/y", "--query=SELECT 1"},
	} {
		var out, errOut bytes.Buffer
		run(args, &out, &errOut)
		told[name] = out.String() + errOut.String()
	}
	r.log.mu.Lock()
	told["log"] = r.log.b.String()
	r.log.mu.Unlock()
	wantSilence(t, told, password, right, wrong, token, dsn.String())
	for what, want := range map[string]string{"log": "nothing", "check": `column \"nothing\" does not exist`, "estimate": "nothing", "login with right": "STORED", "login with wr0ng": "CLIENT_ERROR"} {
		if !strings.Contains(strings.ReplaceAll(told[what], `"`, `\"`), want) && !strings.Contains(told[what], want) {
			t.Errorf("%s does not tell of %s: %s", what, want, told[what])
		}
	}
}
