package testenv

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// Browser is a headless Chromium, steered over its DevTools protocol on a pipe. It ends with the test.
type Browser struct {
	t   testing.TB
	to  *os.File
	log string

	mu      sync.Mutex // guards the rest
	next    int
	answers map[int]chan message
	pages   map[string]*Page // by session
	gone    error
}

// message is one of the protocol, either way.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// Chromium starts a browser.
func Chromium(t testing.TB) *Browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		Missing(t, "chromium", "apt-get install chromium")
	}
	dir, err := os.MkdirTemp("", "fish")
	if err != nil {
		t.Fatal(err)
	}
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &Browser{t: t, to: to, log: filepath.Join(dir, "log"), answers: map[int]chan message{}, pages: map[string]*Page{}}
	cmd := exec.Command(path, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-sandbox", "--user-data-dir="+filepath.Join(dir, "profile"), "about:blank")
	cmd.ExtraFiles = []*os.File{in, out} // 3 and 4
	cmd.Env = append(os.Environ(), "HOME="+dir)
	p, err := start(cmd, "TERM", dir, b.log)
	in.Close()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	go b.listen(from)
	t.Cleanup(func() {
		to.Close() // which ends it
		p.end(syscall.SIGTERM)
		from.Close()
		os.RemoveAll(dir)
	})
	return b
}

// listen reads what the browser says, each message ended by a zero byte.
func (b *Browser) listen(from *os.File) {
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			b.gone = fmt.Errorf("the browser is gone: %w", err)
			for _, c := range b.answers {
				close(c)
			}
			b.answers = nil
			b.mu.Unlock()
			return
		}
		var m struct {
			message
			Params json.RawMessage `json:"params"`
		}
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) != nil {
			continue
		}
		b.mu.Lock()
		if c := b.answers[m.ID]; c != nil && m.ID != 0 {
			delete(b.answers, m.ID)
			c <- m.message
		} else if p := b.pages[m.Session]; p != nil {
			p.event(m.Method, m.Params)
		}
		b.mu.Unlock()
	}
}

// call asks the browser for something and reads the answer into result, if that is not nil.
func (b *Browser) call(session, method string, params, result any) {
	b.t.Helper()
	c := make(chan message, 1)
	b.mu.Lock()
	if b.gone != nil {
		b.mu.Unlock()
		b.t.Fatalf("%s: %v\n%s", method, b.gone, tail(b.log))
	}
	b.next++
	id := b.next
	b.answers[id] = c
	b.mu.Unlock()
	if params == nil {
		params = struct{}{}
	}
	text, err := json.Marshal(message{ID: id, Session: session, Method: method, Params: params})
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", method, err, tail(b.log))
	}
	m, ok := <-c
	switch {
	case !ok:
		err = errors.New("the browser is gone")
	case m.Error != nil:
		err = errors.New(m.Error.Message)
	case result != nil:
		err = json.Unmarshal(m.Result, result)
	}
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", method, err, tail(b.log))
	}
}

// Look is how a page is looked at.
type Look struct {
	Width, Height int
	Dark          bool
	Phone         bool // touch, and text as small as it comes
}

// Page is an open page.
type Page struct {
	b       *Browser
	session string

	// Guarded by Browser.mu.
	problems []string
	requests []string
}

// Open opens a page and waits until it and what it names have been loaded.
func (b *Browser) Open(url string, look Look) *Page {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p := &Page{b: b, session: attached.SessionID}
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		p.call(domain+".enable", nil, nil)
	}
	p.Look(look)
	p.call("Page.navigate", map[string]any{"url": url}, nil)
	p.Until(`location.href !== "about:blank" && document.readyState === "complete"`)
	return p
}

// Look changes how the page is looked at.
func (p *Page) Look(look Look) {
	p.b.t.Helper()
	scale := 1
	if look.Phone {
		scale = 2
	}
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": look.Width, "height": look.Height, "deviceScaleFactor": scale, "mobile": look.Phone,
	}, nil)
	scheme := map[bool]string{false: "light", true: "dark"}[look.Dark]
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

func (p *Page) call(method string, params, result any) {
	p.b.t.Helper()
	p.b.call(p.session, method, params, result)
}

// event notes what went wrong on the page and what it asked for. The caller holds Browser.mu.
func (p *Page) event(method string, params json.RawMessage) {
	var e struct {
		Entry            struct{ Level, Text, URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Request struct{ URL string }
	}
	_ = json.Unmarshal(params, &e) // what is of another form stays empty
	switch method {
	case "Log.entryAdded":
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			p.problems = append(p.problems, e.Entry.Level+": "+e.Entry.Text+" "+e.Entry.URL)
		}
	case "Runtime.exceptionThrown":
		p.problems = append(p.problems, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case "Network.requestWillBeSent":
		p.requests = append(p.requests, e.Request.URL)
	}
}

// Problems returns what the page threw and what the browser complained about, refusals by its content policy among them.
func (p *Page) Problems() []string {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return append([]string(nil), p.problems...)
}

// Requests returns the addresses that the page asked for.
func (p *Page) Requests() []string {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return append([]string(nil), p.requests...)
}

// Eval returns what an expression of JavaScript yields, a promise's result included.
func (p *Page) Eval(expression string, into any) {
	p.b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	p.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		p.b.t.Fatalf("%s: %s", expression, r.ExceptionDetails.Exception.Description)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(r.Result.Value, into); err != nil {
		p.b.t.Fatalf("%s: %s: %v", expression, r.Result.Value, err)
	}
}

// Until waits until an expression is true.
func (p *Page) Until(expression string) {
	p.b.t.Helper()
	if !poll(func() bool {
		var yes bool
		p.Eval("Boolean("+expression+")", &yes)
		return yes
	}) {
		p.b.t.Fatalf("never: %s; problems of the page: %v", expression, p.Problems())
	}
}

// Text returns the text of the element that a selector finds first.
func (p *Page) Text(selector string) (text string) {
	p.b.t.Helper()
	p.Eval(fmt.Sprintf("document.querySelector(%q).textContent", selector), &text)
	return text
}

// Screenshot writes what is seen as a PNG file, the whole page or its first screen.
func (p *Page) Screenshot(file string, whole bool) {
	p.b.t.Helper()
	var shot struct{ Data string }
	p.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": whole}, &shot)
	b, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		p.b.t.Fatal(err)
	}
}
