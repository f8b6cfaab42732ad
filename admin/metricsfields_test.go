package admin

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// sending is a collector that sends what a function does.
type sending func(e *emitter)

func (sending) Describe(chan<- *prometheus.Desc) {}
func (s sending) Collect(ch chan<- prometheus.Metric) {
	s(&emitter{&collector{descs: make(map[string]*prometheus.Desc)}, ch})
}

// scrape returns what Prometheus would be told.
func scrape(t *testing.T, s sending) string {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(s)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// figures calls f for every number, flag and time in v, with its name; what is in an array stands for the first of it.
func figures(v reflect.Value, name string, f func(name string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			f(name, v)
			return
		}
		for i := range v.NumField() {
			if at := v.Type().Field(i); at.IsExported() {
				figures(v.Field(i), name+"."+at.Name, f)
			}
		}
	case reflect.Array:
		figures(v.Index(0), name, f)
	case reflect.String:
	default:
		f(name, v)
	}
}

// change makes a figure another one, and returns how to undo it.
func change(t *testing.T, v reflect.Value) (undo func()) {
	t.Helper()
	before := reflect.New(v.Type()).Elem()
	before.Set(v)
	switch {
	case v.CanUint():
		v.SetUint(v.Uint() + 1)
	case v.CanInt():
		v.SetInt(v.Int() + int64(time.Second))
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(v.Interface().(time.Time).Add(time.Hour)))
	default:
		t.Fatalf("a %s", v.Type())
	}
	return func() { v.Set(before) }
}

// Whatever the packages count can be scraped: a figure that changes changes what Prometheus is told.
func TestEveryFigureIsAMetric(t *testing.T) {
	w := start(t, nil)
	st := w.server.Stats()
	route := w.server.Routes()[0]
	route.Client.Misses = 1 // of which known_absent is a part
	source := w.filler.Sources()[0]
	elsewhere := map[string]string{
		".Uptime":            "process_start_time_seconds",
		".Latency":           "swordfish_get_duration_seconds, by route",
		".Counters.CmdGet":   "the hits and misses of swordfish_operations_total",
		".Counters.CmdTouch": "the hits and misses of swordfish_operations_total",
		".Store.HashPower":   "swordfish_memory_index_bytes",
		".Store.Holds.Count": "swordfish_pass_hold_seconds",
		".Store.Holds.P50":   "swordfish_pass_hold_seconds",
		".Store.Holds.P99":   "swordfish_pass_hold_seconds",
		".Store.Holds.Max":   "swordfish_pass_hold_seconds",
		"route.Fills.ID":     "the route's name is a label",
		"route.Fills.Queued": "swordfish_route_keys_queued, by lane",
		"source.Probing":     "swordfish_source_up is 0 meanwhile",
		"source.Reached":     "readyz",
		"source.Since":       "swordfish_source_up",
	}
	seen := 0
	for _, part := range []struct {
		name  string
		value reflect.Value
		send  sending
	}{
		{"", reflect.ValueOf(&st).Elem(), func(e *emitter) { e.server(&st); e.store(&st.Store, w.store) }},
		{"route", reflect.ValueOf(&route).Elem(), func(e *emitter) { e.route(&route) }},
		{"source", reflect.ValueOf(&source).Elem(), func(e *emitter) { e.source(&source) }},
	} {
		before := scrape(t, part.send)
		figures(part.value, part.name, func(name string, v reflect.Value) {
			seen++
			undo := change(t, v)
			defer undo()
			told := scrape(t, part.send) != before
			if _, ok := elsewhere[name]; ok == told {
				t.Errorf("%s: told %v, to be found elsewhere %v", name, told, ok)
			}
		})
	}
	if seen < 100 {
		t.Errorf("only %d figures", seen)
	}
}
