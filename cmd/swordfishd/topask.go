package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"swordfish/admin"
	"swordfish/server"
)

// httpAsker asks over the admin port.
type httpAsker struct {
	base, token string
	keys        int
	client      *http.Client
}

// askHTTP asks at host:port, or below a URL where a proxy stands in front.
func askHTTP(at, token string, keys int) asker {
	if !strings.Contains(at, "://") {
		at = "http://" + at
	}
	// No proxy of the environment: it would get the token.
	return &httpAsker{strings.TrimSuffix(at, "/"), token, keys, &http.Client{Timeout: askTime, Transport: &http.Transport{}}}
}

func (h *httpAsker) where() string { return h.base }
func (h *httpAsker) close()        { h.client.CloseIdleConnections() }

func (h *httpAsker) get(ctx context.Context, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+path, nil)
	if err != nil {
		return refusedError(err.Error())
	}
	if h.token != "" {
		r.Header.Set("Authorization", "Bearer "+h.token)
	}
	resp, err := h.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, 8<<20)
	switch resp.StatusCode {
	case http.StatusOK:
		if err := json.NewDecoder(body).Decode(into); err != nil {
			return refusedError("what answers is no Swordfish: " + err.Error())
		}
		return nil
	case http.StatusUnauthorized:
		return refusedError("a token is needed: " + tokenRemedy)
	}
	said, _ := io.ReadAll(io.LimitReader(body, 200))
	return refusedError(fmt.Sprintf("%s: %s", resp.Status, strings.TrimSpace(string(said))))
}

func (h *httpAsker) ask(ctx context.Context) (*figures, error) {
	var st admin.Stats
	var routes []admin.Route
	top := server.Top{}
	if err := h.get(ctx, "/api/stats", &st); err != nil {
		return nil, err
	}
	at := time.Now()
	if err := h.get(ctx, "/api/routes", &routes); err != nil {
		return nil, err
	}
	if h.keys > 0 {
		if err := h.get(ctx, "/api/top?n="+strconv.Itoa(h.keys), &top); err != nil {
			return nil, err
		}
	}
	second := float64(time.Second)
	f := &figures{
		at: at, version: st.Version, pid: int64(st.Pid), uptime: time.Duration(st.Uptime * second), connections: st.Connections.Open, maxConnections: st.Connections.Limit,
		hits: st.Gets.Hits, misses: st.Gets.Misses, sets: st.Sets, p50: time.Duration(st.Gets.P50 * second), p99: time.Duration(st.Gets.P99 * second),
		used: st.Memory.Used, live: st.Memory.Live, limit: st.Memory.Limit, items: st.Items.Held, negative: st.Items.Negative,
		values: st.Shared.Values, sharedItems: st.Shared.Items, shared: st.Shared.Bytes,
		loaded: st.Fills.Loaded, absent: st.Fills.Absent, failed: st.Fills.Failed, dropped: st.Fills.Dropped, queued: st.Fills.Queued, inFlight: st.Fills.InFlight,
		passes: st.Passes.Count, evicted: st.Items.Evicted, expired: st.Items.Expired, gets: make(map[string]routeCounts, len(routes)),
	}
	for i := range routes {
		r := &routes[i]
		f.routes = append(f.routes, topRoute{Name: r.Name, State: r.State, Items: r.Items, Queued: r.Queued})
		f.gets[r.Name] = routeCounts{r.Hits + r.Stale, r.Misses, r.Loaded, r.Failed}
	}
	for _, k := range top.Keys {
		f.keys = append(f.keys, topKey(k))
	}
	return f, nil
}

// textAsker asks by memcached's protocol and the words of an operator on it.
type textAsker struct {
	network, addr string
	keys          int
	conn          net.Conn // nil: not connected
	in            *bufio.Reader
}

// askText asks at host:port, or at the path of a UNIX socket.
func askText(at string, keys int) asker {
	network := "tcp"
	if strings.Contains(at, "/") {
		network = "unix"
	}
	return &textAsker{network: network, addr: at, keys: keys}
}

func (a *textAsker) where() string { return a.addr }

func (a *textAsker) close() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}

// lines sends a command and returns the lines of its answer up to END. Where the server refuses, or does not know the command,
// refusal is what it says.
func (a *textAsker) lines(command string) (all []string, refusal string, err error) {
	if _, err := io.WriteString(a.conn, command+"\r\n"); err != nil {
		return nil, "", err
	}
	for size := 0; size < 8<<20; {
		line, err := a.in.ReadString('\n')
		if err != nil {
			return nil, "", err
		}
		size += len(line)
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "END":
			return all, "", nil
		case line == "ERROR", strings.HasPrefix(line, "CLIENT_ERROR "), strings.HasPrefix(line, "SERVER_ERROR "):
			return nil, line, nil
		}
		all = append(all, line)
	}
	return nil, "", errors.New("the answer does not end")
}

// stats are the lines of a stats command by name, and the names in their order.
func (a *textAsker) stats(command string) (m map[string]string, names []string, refusal string, err error) {
	lines, refusal, err := a.lines(command)
	m = make(map[string]string, len(lines))
	for _, line := range lines {
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "STAT "), " ")
		m[name] = value
		names = append(names, name)
	}
	return m, names, refusal, err
}

func (a *textAsker) ask(ctx context.Context) (*figures, error) {
	f, err := a.once(ctx)
	if err != nil {
		a.close() // what is still to be read from it, nobody knows
	}
	return f, err
}

func (a *textAsker) once(ctx context.Context) (*figures, error) {
	if a.conn == nil {
		d := net.Dialer{Timeout: askTime}
		c, err := d.DialContext(ctx, a.network, a.addr)
		if err != nil {
			return nil, err
		}
		a.conn, a.in = c, bufio.NewReader(c)
	}
	stop := context.AfterFunc(ctx, func() { _ = a.conn.SetDeadline(time.Unix(1, 0)) }) // fails where it is closed already
	defer stop()
	if err := a.conn.SetDeadline(time.Now().Add(askTime)); err != nil {
		return nil, err
	}
	st, _, refusal, err := a.stats("stats")
	if err != nil {
		return nil, err
	}
	if refusal != "" {
		return nil, refusedError(fmt.Sprintf("it answers %q to stats; the admin port tells with a token: --admin=HOST:PORT --token-file=FILE", refusal))
	}
	f := &figures{at: time.Now(), version: st["version"], gets: map[string]routeCounts{}}
	number := func(m map[string]string, name string) int64 {
		n, _ := strconv.ParseInt(m[name], 10, 64) // what is not told is 0
		return n
	}
	count := func(m map[string]string, name string) uint64 { return uint64(max(number(m, name), 0)) }
	f.pid, f.uptime = number(st, "pid"), time.Duration(number(st, "uptime"))*time.Second
	f.connections, f.maxConnections = number(st, "curr_connections"), number(st, "max_connections")
	f.hits, f.misses, f.sets = count(st, "get_hits"), count(st, "get_misses"), count(st, "cmd_set")
	f.live, f.limit, f.items = number(st, "bytes"), number(st, "limit_maxbytes"), number(st, "curr_items")
	f.used, f.evicted, f.expired = f.live, count(st, "evictions"), count(st, "reclaimed")+count(st, "crawler_reclaimed")
	fish, _, refusal, err := a.stats("stats fish")
	if err != nil {
		return nil, err
	}
	if refusal != "" {
		f.note = "the server knows no stats fish, so it is a memcached: sharing, loads, routes and keys are ours"
		return f, nil
	}
	f.used, f.negative, f.passes = number(fish, "used_bytes"), number(fish, "negative_items"), count(fish, "passes")
	f.values, f.sharedItems, f.shared = number(fish, "data"), number(fish, "data_items"), number(fish, "data_bytes")
	f.p50, f.p99 = time.Duration(number(fish, "get_us_p50"))*time.Microsecond, time.Duration(number(fish, "get_us_p99"))*time.Microsecond
	routes, names, _, err := a.stats("stats routes")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if i := strings.LastIndexByte(name, ':'); i >= 0 {
			f.addRoute(name[:i], name[i+1:], count(routes, name))
		}
	}
	if a.keys == 0 {
		return f, nil
	}
	lines, refusal, err := a.lines("top " + strconv.Itoa(a.keys))
	if err != nil {
		return nil, err
	}
	if refusal != "" {
		f.note = "keys are not shown: " + refusal
	}
	for _, line := range lines {
		if k, ok := readTopKey(line); ok {
			f.keys = append(f.keys, k)
		}
	}
	return f, nil
}

// addRoute takes a line of stats routes. A route's first line comes before its others.
func (f *figures) addRoute(route, name string, n uint64) {
	if len(f.routes) == 0 || f.routes[len(f.routes)-1].Name != route {
		f.routes = append(f.routes, topRoute{Name: route, State: "on"})
	}
	r, c := &f.routes[len(f.routes)-1], f.gets[route]
	switch name {
	case "hits", "stale_hits":
		c.hits += n
	case "misses":
		c.misses = n
	case "items":
		r.Items = int64(n)
	case "loaded":
		c.loaded = n
		f.loaded += n
	case "absent":
		f.absent += n
	case "failed":
		c.failed = n
		f.failed += n
	case "queued":
		r.Queued = int64(n)
		f.queued += int64(n)
	case "in_flight":
		f.inFlight += int64(n)
	case "off", "down":
		if n > 0 && r.State != "off" {
			r.State = name
		}
	default:
		if strings.HasPrefix(name, "dropped_") && name != "dropped_ring" && name != "dropped_lease_table" {
			f.dropped += n
		}
	}
	f.gets[route] = c
}

// readTopKey reads a line of top: key KEY route=ROUTE gets_per_second=RATE share=SHARE%.
func readTopKey(line string) (k topKey, ok bool) {
	fields := strings.Fields(line)
	if len(fields) != 5 || fields[0] != "key" {
		return k, false
	}
	k.Key = fields[1]
	if plain, err := strconv.Unquote(k.Key); err == nil { // one with bytes that a terminal would obey
		k.Key = plain
	}
	k.Route = strings.TrimPrefix(fields[2], "route=")
	if k.Route == "-" {
		k.Route = ""
	}
	var errs [2]error
	k.Gets, errs[0] = strconv.ParseFloat(strings.TrimPrefix(fields[3], "gets_per_second="), 64)
	k.Share, errs[1] = strconv.ParseFloat(strings.TrimSuffix(strings.TrimPrefix(fields[4], "share="), "%"), 64)
	k.Share /= 100
	return k, cmp.Or(errs[0], errs[1]) == nil
}
