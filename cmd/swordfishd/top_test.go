package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"swordfish/internal/testenv"
)

// topped is a server with a route and its admin port, of which some keys were asked for.
func topped(t *testing.T) *running {
	t.Helper()
	r := startApp(t, fmt.Sprintf("sources:\n  main: {kind: sqlite, path: %s}\nroutes:\n%s", sqliteFile(t, "a"), userRoute("main", "user:{id:int}")), "-o", "admin=0")
	if err := r.startAdmin(&r.config.Load().Admin); err != nil {
		t.Fatal(err)
	}
	r.loads("user:1", "a 1")
	for range 20 {
		r.get("user:1")
		r.get("plain\x1b[2J")
	}
	r.ask("version") // the gets are counted when this is answered
	return r
}

// topFrames runs top and returns its frames.
func topFrames(t *testing.T, args ...string) []topFrame {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := run(append([]string{"top", "--json", "--interval=100ms"}, args...), &out, &errOut); code != exitOK {
		t.Fatalf("top %v: exit code %d: %s", args, code, errOut.Bytes())
	}
	var all []topFrame
	for d := json.NewDecoder(&out); ; {
		var f topFrame
		if err := d.Decode(&f); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
}

// fakeAsker is a server that answers, or not.
type fakeAsker struct {
	name string
	pid  int64
	err  error
}

func (a *fakeAsker) ask(context.Context) (*figures, error) { return &figures{pid: a.pid}, a.err }
func (a *fakeAsker) where() string                         { return a.name }
func (a *fakeAsker) close()                                {}

// With the options of a server that has another one's admin port beside it, that server is shown.
func TestTopAsksTheServerThatWasMeant(t *testing.T) {
	gone := errors.New("connection refused")
	admin, own, same, dead := &fakeAsker{"admin", 1, nil}, &fakeAsker{"own", 2, nil}, &fakeAsker{"same", 1, nil}, &fakeAsker{"dead", 0, gone}
	for _, tt := range []struct {
		all  []asker
		own  bool
		want asker
	}{
		{[]asker{admin, own}, true, own}, {[]asker{admin, own}, false, admin}, {[]asker{admin, same}, true, admin},
		{[]asker{admin, dead}, true, admin}, {[]asker{dead, own}, true, own}, {[]asker{dead, dead}, true, nil},
	} {
		got, _, err := firstAnswer(t.Context(), tt.all, tt.own)
		if got != tt.want || (err == nil) != (tt.want != nil) {
			t.Errorf("%v, own %v: got %v, %v", tt.all, tt.own, got, err)
		}
	}
	for args, want := range map[string]bool{"": false, "-p 11311": true, "-p 11311 -o admin=9697": false, "-s /tmp/socket": true} {
		o, err := readTop(strings.Fields(args), io.Discard)
		if err != nil || o.own != want {
			t.Errorf("%q: %+v, %v", args, o, err)
		}
	}
}

// The two ways to ask tell the same, and what happened.
func TestTopAsks(t *testing.T) {
	r := topped(t)
	var frames []topFrame
	for _, way := range []string{"--admin=" + r.admin.Addr().String(), "--server=" + r.server.Addrs()[0].String()} {
		got := topFrames(t, "--once", way)
		if len(got) != 1 {
			t.Fatalf("%s: %d frames", way, len(got))
		}
		f := got[0]
		if f.Items != 1 || f.Memory.Limit != 64<<20 || f.Memory.Used <= 0 || f.Memory.Live <= 0 || f.Limit == 0 || f.P50 <= 0 || f.Ratio != -1 {
			t.Errorf("%s: %+v", way, f)
		}
		if len(f.Routes) != 1 || f.Routes[0].Name != "user" || f.Routes[0].State != "on" || f.Routes[0].Items != 1 {
			t.Errorf("%s: routes %+v", way, f.Routes)
		}
		if i := slices.IndexFunc(f.Keys, func(k topKey) bool { return k.Key == "user:1" && k.Route == "user" && k.Gets > 0 && k.Share > 0 }); i < 0 {
			t.Errorf("%s: keys %+v", way, f.Keys)
		}
		frames = append(frames, f)
	}
	a, b := frames[0], frames[1]
	if a.Shared != b.Shared || a.Negative != b.Negative || len(a.Keys) != len(b.Keys) {
		t.Errorf("the two ways differ:\n%+v\n%+v", a, b)
	}
}

// Rates are of the interval.
func TestTopRates(t *testing.T) {
	began := time.Now()
	before := &figures{
		at: began, hits: 100, misses: 10, passes: 7, loaded: 5,
		gets: map[string]routeCounts{"user": {hits: 50, misses: 10, loaded: 5}},
	}
	now := &figures{
		at: began.Add(2 * time.Second), hits: 290, misses: 20, passes: 3, loaded: 6,
		gets: map[string]routeCounts{"user": {hits: 50, misses: 10, loaded: 6}}, routes: []topRoute{{Name: "user", State: "on", Queued: 3}},
	}
	f := now.since(before)
	if f.Gets != 100 || f.Ratio != 0.95 || f.Loads.Loaded != 0.5 || f.Passes != 0 { // a counter that went back was started anew
		t.Errorf("got %+v", f)
	}
	if r := f.Routes[0]; r.Gets != 0 || r.Ratio != -1 || r.Loaded != 0.5 || r.Queued != 3 {
		t.Errorf("got %+v", r)
	}
}

// cancelling ends a context at the nth write.
type cancelling struct {
	b      bytes.Buffer
	n      int
	cancel func()
}

func (w *cancelling) Write(p []byte) (int, error) {
	if w.n--; w.n == 0 {
		w.cancel()
	}
	return w.b.Write(p)
}

// Without a terminal there is a text each interval, and no key can write to the terminal that shows it in the end.
func TestTopAsText(t *testing.T) {
	r := topped(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	from := askText(r.server.Addrs()[0].String(), 10)
	defer from.close()
	first, err := from.ask(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := &cancelling{n: 2, cancel: cancel}
	if err := topAsText(ctx, &topOptions{every: topLeast}, from, first, out); err != nil {
		t.Fatal(err)
	}
	text := out.b.String()
	for _, want := range []string{"\nmemory    [", "\nROUTE ", "\nuser  ", " user:1\n", ` plain\x1b[2J`} {
		if strings.Count(text, want) != 2 {
			t.Errorf("%q comes %d times, want 2", want, strings.Count(text, want))
		}
	}
	if strings.Contains(text, "\x1b") || t.Failed() {
		t.Errorf("got %q", text)
	}
}

// A memcached is shown as far as it tells.
func TestTopOfMemcached(t *testing.T) {
	f := topFrames(t, "--once", "--server="+testenv.Memcached(t))[0]
	if f.Memory.Limit != 64<<20 || !strings.Contains(f.Note, "it is a memcached") {
		t.Errorf("got %+v", f)
	}
}

func TestTopRefusals(t *testing.T) {
	const token = "the-token-of-the-admin-port"
	t.Setenv("ADMIN_TOKEN", token)
	r := startApp(t, "admin: {listen: \"127.0.0.1:0\", token: \"${ADMIN_TOKEN}\"}\n")
	if err := r.startAdmin(&r.config.Load().Admin); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := "--admin=" + r.admin.Addr().String()
	if f := topFrames(t, "--once", at, "--token-file="+file); len(f) != 1 {
		t.Errorf("with the token: %d frames", len(f))
	}
	port := closedPort(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no token":   {[]string{at}, exitFailed, "a token is needed: --token-file=FILE has it"},
		"nobody":     {[]string{"-p", port, "-o", "admin=" + port}, exitFailed, "no server answers at http://127.0.0.1:" + port + " or at 127.0.0.1:" + port},
		"interval":   {[]string{"--interval=1"}, exitUsage, `--interval: "1": write a time`},
		"two ways":   {[]string{at, "--server=x"}, exitUsage, "choose one of the two"},
		"token file": {[]string{at, "--token-file=" + file + "x"}, exitUsage, "--token-file: open"},
		"not ours":   {[]string{"--admin=" + r.server.Addrs()[0].String()}, exitFailed, "no server answers"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if code := run(append([]string{"top", "--once"}, tc.args...), &out, &errOut); code != tc.code || !strings.Contains(errOut.String(), tc.want) {
				t.Errorf("exit code %d, %s; want %d, %s", code, errOut.String(), tc.code, tc.want)
			}
		})
	}
}

// Whoever asks need not have the environment that the server was started with.
func TestAskingNeedsNoEnvironment(t *testing.T) {
	const token = "the-token-of-the-admin-port"
	t.Setenv("ADMIN_TOKEN", token)
	r := startApp(t, "admin: {listen: \"127.0.0.1:0\", token: \"${ADMIN_TOKEN}\"}\n")
	if err := r.startAdmin(&r.config.Load().Admin); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	yaml, file := filepath.Join(dir, "swordfish.yaml"), filepath.Join(dir, "token")
	text := fmt.Sprintf("admin: {listen: %q, token: \"${NOT_MY_TOKEN}\"}\nsources: {main: {kind: postgres, dsn: \"${NOT_MY_DATABASE}\"}}\n", r.admin.Addr())
	for path, content := range map[string]string{yaml: text, file: token + "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(want string, args ...string) {
		t.Helper()
		var out, errOut bytes.Buffer
		run(args, &out, &errOut)
		if said := out.String() + errOut.String(); !strings.Contains(said, want) || strings.Contains(said, "NOT_MY") {
			t.Errorf("%v: %s", args, said)
		}
	}
	top, warm := []string{"top", "--once", "--interval=100ms", "--config=" + yaml}, []string{"warm", "--from=log", "--config=" + yaml}
	const warmed = "there is no log of requests" // it was let in
	ask("a token is needed: --token-file=FILE has it, or SWORDFISH_TOKEN", top...)
	ask("--token-file=FILE has it, or SWORDFISH_TOKEN", warm...)
	ask("connections", append(top, "--token-file="+file)...)
	ask(warmed, append(warm, "--token-file="+file)...)
	t.Setenv("SWORDFISH_TOKEN", token)
	ask("connections", top...)
	ask(warmed, warm...)
}

// On a narrow terminal what stands above the tables is folded, and nothing of it is lost.
func TestTopIsFolded(t *testing.T) {
	r := topped(t)
	from := askHTTP(r.admin.Addr().String(), "", 10)
	f, err := from.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines := f.since(f).lines(from.where(), true)
	head := slices.Index(lines, "")
	words := func(lines []string) string { return strings.Join(strings.Fields(strings.Join(lines, " ")), " ") }
	for _, width := range []int{40, 60, 80, 200} {
		got := fold(lines, width)
		at := slices.Index(got, "")
		if words(got) != words(lines) || !slices.Equal(got[at:], lines[head:]) {
			t.Errorf("%d columns: %q", width, got)
		}
		for _, line := range got[:at] {
			if len(line) > width && width > 40 {
				t.Errorf("%d columns: %q", width, line)
			}
		}
		if width == 200 && at != head {
			t.Errorf("folded without need: %q", got)
		}
	}
	if got := fold(lines, 5); words(got) != words(lines) {
		t.Errorf("5 columns: %q", got)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 3: "3", 0.25: "0.25", 12.34: "12.3", 123.4: "123", 9999: "9999", 12345: "12.3 k", 464184: "464 k", 2e6: "2000 k", 1.5e7: "15.0 M"} {
		if got := short(v); got != want {
			t.Errorf("short(%v): got %q, want %q", v, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 20: "1.0 MiB", 5 << 30: "5.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d): got %q, want %q", n, got, want)
		}
	}
	if got := bar(1, 2, 4); got != "[##--]" {
		t.Errorf("got %q", got)
	}
}
