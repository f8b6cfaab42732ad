package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"swordfish/warm"
)

// warmRoutes shows warm-ups and runs them.
func (a *Admin) warmRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/warm", func(w http.ResponseWriter, _ *http.Request) {
		jobs := []warm.Progress{}
		if a.o.Warmer != nil {
			jobs = append(jobs, a.o.Warmer.Jobs()...)
		}
		reply(w, http.StatusOK, jobs)
	})
	mux.HandleFunc("POST /api/warm", a.warm)
}

// warmPatience is how long the one who asked may leave a line unread, or a list of keys unsent.
const warmPatience = 30 * time.Second

// warm runs a warm-up and answers with its progress, a JSON object a line, until it has ended. It stops when the one who asked
// leaves. The parameters stand in the query; a list of keys is the body.
func (a *Admin) warm(w http.ResponseWriter, r *http.Request) {
	if a.o.Warmer == nil {
		fail(w, http.StatusConflict, "there is nothing to warm up")
		return
	}
	spec, err := specOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	out := http.NewResponseController(w)
	if err := out.EnableFullDuplex(); err != nil && spec.From == warm.Keys { // HTTP/2 has it anyway
		fail(w, http.StatusConflict, "a list of keys cannot be read this way: "+err.Error())
		return
	}
	_ = out.SetReadDeadline(time.Time{}) // the wait for the next keys is bounded below
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if spec.From == warm.Keys {
		spec.List = &patientReader{out, r.Body}
	}
	began := false
	tell := func(p warm.Progress) {
		if !began {
			began = true
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
		b, err := json.Marshal(p)
		if err == nil {
			_ = out.SetWriteDeadline(time.Now().Add(warmPatience))
			_, err = w.Write(append(b, '\n'))
		}
		if err != nil || out.Flush() != nil {
			cancel()
		}
	}
	_, err = a.o.Warmer.Run(ctx, spec, tell)
	var wrong *warm.Error
	switch {
	case err == nil:
	case errors.As(err, &wrong):
		fail(w, http.StatusConflict, err.Error())
	default:
		fail(w, http.StatusServiceUnavailable, err.Error())
	}
}

// specOf reads the parameters.
func specOf(r *http.Request) (spec warm.Spec, err error) {
	q := r.URL.Query()
	spec = warm.Spec{Route: q.Get("route"), From: warm.From(q.Get("from")), Addr: q.Get("addr")}
	if s := q.Get("rate"); s != "" {
		if spec.Rate, err = strconv.ParseFloat(s, 64); err != nil || !(spec.Rate >= warm.LeastRate && spec.Rate <= warm.MostRate) {
			return spec, badRequest("rate: write a number of keys a second, 0.01 or more")
		}
	}
	switch s := q.Get("pace"); s {
	case "", "default":
	case "full":
		spec.Full = true
	default:
		return spec, badRequest("pace: write full, or leave it out")
	}
	if s := q.Get("until"); s != "" {
		if spec.Until, err = strconv.Atoi(s); err != nil || spec.Until < 1 || spec.Until > 100 {
			return spec, badRequest("until: write a number from 1 to 100")
		}
	}
	if s := q.Get("total"); s != "" {
		if spec.Total, err = strconv.ParseInt(s, 10, 64); err != nil || spec.Total < 0 {
			return spec, badRequest("total: write how many keys there are")
		}
	}
	if spec.From == warm.Log && spec.Addr != "" {
		return spec, badRequest("addr: only the server's own log is read this way; send the keys of another one as a list")
	}
	return spec, nil
}

// patientReader reads a body whose sender may take its time, but not for ever.
type patientReader struct {
	out  *http.ResponseController
	body io.Reader
}

func (p *patientReader) Read(b []byte) (int, error) {
	_ = p.out.SetReadDeadline(time.Now().Add(warmPatience))
	return p.body.Read(b)
}

// warm sends how far warm-ups are: of several of one kind the last.
func (e *emitter) warm(jobs []warm.Progress) {
	running := 0
	last := make(map[[2]string]*warm.Progress)
	for i := range jobs {
		p := &jobs[i]
		if p.State == warm.Running {
			running++
		}
		last[[2]string{p.Route, string(p.From)}] = p
	}
	e.gauge("swordfish_warm_running", "Warm-ups under way.", float64(running))
	for at, p := range last {
		route := label{"route", cmp.Or(at[0], noRoute)}
		from := label{"from", at[1]}
		e.gauge("swordfish_warm_share", "Of the keys that the last warm-up looks at, those that are there, 0 to 1.", p.Share, route, from)
		for _, l := range []struct {
			result string
			n      int64
		}{{"loaded", p.Loaded}, {"present", p.Present}, {"absent", p.NoRow}, {"failed", p.Failed}, {"passed", p.Passed}, {"waiting", p.Waiting}} {
			e.gauge("swordfish_warm_keys", "Keys of the last warm-up, by what became of them.", float64(l.n), route, from, label{"result", l.result})
		}
	}
}
