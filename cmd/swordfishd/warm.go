package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"swordfish/config"
	"swordfish/requestlog"
	"swordfish/warm"
)

// order is a warm-up as it was asked for on the command line.
type order struct {
	warm.Spec
	file  string // of Keys and of Log: where the list is; "-" is standard input
	addr  string // the server's admin port
	token string
}

// warmUp has a running server warm itself up, and shows how far it is. The server does the work; it stops when this process ends,
// however it ends.
func warmUp(args []string, out, errOut io.Writer) error {
	o, err := readOrder(args, out)
	if err != nil || o == nil {
		return err
	}
	list, err := o.open()
	if err != nil {
		return err
	}
	if list != nil {
		defer list.Close()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	show := newDisplay(out)
	last, err := o.run(ctx, list, show.tell)
	show.end(&last)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("stopped with %s; the same command goes on", shareText(&last))
	case err != nil:
		return err
	case last.State == warm.GivenUp:
		return errors.New(last.Error)
	case last.State != warm.Done:
		return fmt.Errorf("the server ended it with %s; the same command goes on", shareText(&last))
	}
	return nil
}

// readOrder reads the command line. A nil order was answered already.
func readOrder(args []string, out io.Writer) (*order, error) {
	var route, from, rate, until, addr, tokenFile string
	var full bool
	c, err := load(config.Input{
		Asking: true,
		Args:   joinFrom(args),
		Own: map[string]*string{
			"route": &route, "from": &from, "rate": &rate, "until": &until, "admin": &addr, "token-file": &tokenFile,
		},
		OwnFlags: map[string]*bool{"full-speed": &full},
	}, out)
	if err != nil || c == nil {
		return nil, err
	}
	wrong := func(format string, args ...any) (*order, error) { return nil, usageError{fmt.Errorf(format, args...)} }
	o := &order{addr: addr}
	if o.token, err = adminToken(c, tokenFile); err != nil {
		return nil, err
	}
	if o.addr == "" {
		o.addr = reachable(c.Admin.Listen)
	}
	if o.addr == "" {
		return wrong("the configuration has admin: off, and warm asks the server over that port: give it an address, such as -o admin=127.0.0.1:9696")
	}
	if !strings.Contains(o.addr, ":") {
		o.addr = net.JoinHostPort("127.0.0.1", o.addr)
	}
	if from == "" {
		return wrong("--from is missing; write --from %s", strings.Join(config.WarmForms, ", or --from "))
	}
	kind, arg, fault := config.WarmFrom(from)
	if fault != "" {
		return wrong("--from: %s", fault)
	}
	o.Spec = warm.Spec{Route: route, From: warm.From(kind), Full: full}
	switch o.From {
	case warm.Keys, warm.Log:
		o.file = arg
	default:
		o.Addr = arg
	}
	if o.From == warm.Table && route == "" {
		return wrong("--from table loads the keys of a route; write --route=NAME")
	}
	if o.Rate, err = parseRate(rate); err != nil {
		return wrong("--rate: %v", err)
	}
	if until != "" {
		if o.Until, err = strconv.Atoi(strings.TrimSuffix(until, "%")); err != nil || o.Until < 1 || o.Until > 100 {
			return wrong("--until: %q is no share; write one such as 95%%", until)
		}
	}
	return o, nil
}

// joinFrom makes one word of --from and what follows it: --from keys FILE is --from="keys FILE".
func joinFrom(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		word := args[i]
		from, found := strings.CutPrefix(word, "--from=")
		if word == "--from" && i+1 < len(args) {
			i++
			from, found = args[i], true
		}
		if !found {
			joined = append(joined, word)
			continue
		}
		takes := from == "keys" || from == "memcached" || from == "peer" || from == "log"
		if takes && i+1 < len(args) && (args[i+1] == "-" || !strings.HasPrefix(args[i+1], "-")) {
			i++
			from += " " + args[i]
		}
		joined = append(joined, "--from="+from)
	}
	return joined
}

// parseRate reads 2k/s, 2000/s or 2000; empty is no limit.
func parseRate(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	digits := strings.TrimSuffix(s, "/s")
	times := 1.0
	for suffix, n := range map[string]float64{"k": 1e3, "M": 1e6} {
		if rest, ok := strings.CutSuffix(digits, suffix); ok {
			digits, times = rest, n
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(n*times >= warm.LeastRate && n*times <= warm.MostRate) {
		return 0, fmt.Errorf("%q is no rate; write one such as 2k/s, keys a second", s)
	}
	return n * times, nil
}

// open opens the list of keys, if there is one, and counts it where that can be done beforehand.
func (o *order) open() (io.ReadCloser, error) {
	switch {
	case o.file == "-" && o.From == warm.Keys:
		return io.NopCloser(os.Stdin), nil
	case o.file == "":
		return nil, nil
	case o.From == warm.Log: // of another server: its keys in their order
		entries, err := requestlog.Read(o.file)
		if err != nil {
			return nil, usageError{fmt.Errorf("--from log: %w", err)}
		}
		var b bytes.Buffer
		for _, e := range entries {
			if !strings.ContainsAny(e.Key, "\r\n") { // such a key cannot be of a route
				b.WriteString(e.Key + "\n")
			}
		}
		o.From, o.Total = warm.Keys, int64(len(entries))
		return io.NopCloser(&b), nil
	}
	f, err := os.Open(o.file)
	if err != nil {
		return nil, usageError{fmt.Errorf("--from keys: %w; name a file with a key a line, or - for standard input", err)}
	}
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
		if o.Total, err = countLines(f); err != nil {
			f.Close()
			return nil, usageError{fmt.Errorf("--from keys: %w", err)}
		}
	}
	return f, nil
}

// countLines counts the lines of f that are not empty, and goes back to its beginning.
func countLines(f *os.File) (n int64, err error) {
	in := bufio.NewReaderSize(f, 64<<10)
	filled := false // the line at hand
	for {
		chunk, err := in.ReadSlice('\n')
		filled = filled || len(bytes.TrimRight(chunk, "\r\n")) > 0
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if filled {
			n++
		}
		filled = false
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return n, err
}

// run asks the server and passes its progress on until that ends.
func (o *order) run(ctx context.Context, list io.Reader, tell func(*warm.Progress)) (last warm.Progress, err error) {
	q := url.Values{"route": {o.Route}, "from": {string(o.From)}}
	for name, value := range map[string]string{"addr": o.Addr, "rate": number(o.Rate), "until": number(float64(o.Until)), "total": number(float64(o.Total))} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if o.Full {
		q.Set("pace", "full")
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+o.addr+"/api/warm?"+q.Encode(), list)
	if err != nil {
		return last, usageError{fmt.Errorf("--admin: %q is no address", o.addr)}
	}
	if o.token != "" {
		ask.Header.Set("Authorization", "Bearer "+o.token)
	}
	transport := &http.Transport{} // no proxy: the port is this machine's, or one behind a tunnel
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(ask)
	if err != nil {
		return last, fmt.Errorf("%w; is swordfishd running with its admin port at %s? --admin=HOST:PORT names another", err, o.addr)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return last, refused(answer)
	}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return last, fmt.Errorf("the server's answer cannot be read: %w", err)
		}
		tell(&last)
	}
	if err := lines.Err(); err != nil {
		return last, fmt.Errorf("the server is gone: %w", err)
	}
	return last, nil
}

func number(n float64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

// refused is what the server says instead of beginning.
func refused(answer *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10)) // what there is of it
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) == nil && said.Error != "" {
		return usageError{errors.New(said.Error)}
	}
	remedy := ""
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		remedy = "; " + tokenRemedy
	case http.StatusNotFound:
		remedy = "; is that the admin port of a Swordfish that can be warmed up?"
	}
	return usageError{fmt.Errorf("the server answers %s: %s%s", answer.Status, strings.TrimSpace(string(text)), remedy)}
}

// shareText tells how much is there.
func shareText(p *warm.Progress) string {
	if p.Total == 0 {
		return fmt.Sprintf("%d keys looked at", p.Seen)
	}
	return fmt.Sprintf("%.1f%% of %d keys there", 100*p.Share, p.Total)
}

// leftText tells how long the rest will take; empty where nobody knows.
func leftText(p *warm.Progress) string {
	if p.Total <= p.Seen || p.Rate <= 0 {
		return ""
	}
	left := time.Duration(float64(p.Total-p.Seen) / p.Rate * float64(time.Second))
	return left.Round(time.Second).String()
}
