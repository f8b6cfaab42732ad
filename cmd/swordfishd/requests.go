package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"swordfish/config"
	"swordfish/requestlog"
	"swordfish/server"
)

// requests carries what the server is asked for to the log of requests.
type requests struct {
	server *server.Server
	log    *requestlog.Log
	logger zerolog.Logger // sampled
	stop   chan struct{}
	work   sync.WaitGroup

	mu sync.Mutex // TakeRequests is for one at a time
}

// takeEvery is how often the workers' samples are taken: their room is for a second.
const takeEvery = 400 * time.Millisecond

// checkRequests tells why startRequests would fail, while another process writes the log.
func checkRequests(c *config.RequestLog) error {
	if c.Path == "" {
		return nil
	}
	return requestsError(requestlog.Check(c.Path))
}

func requestsError(err error) error {
	if err == nil {
		return nil
	}
	return usageError{fmt.Errorf("request_log: %w; its directory has to exist and to be writable for the user that the server runs as", err)}
}

// keepRequests has the server keep, from its start on, what it is asked for until startRequests takes that.
func (a *app) keepRequests(c *config.RequestLog) {
	if c.Path != "" {
		a.server.TakeRequests(func(string, []byte, uint64) {})
	}
}

// startRequests opens the log, if there is to be one.
func (a *app) startRequests(c *config.RequestLog) error {
	if c.Path == "" {
		return nil
	}
	l, err := requestlog.Open(requestlog.Options{Path: c.Path, MaxSize: c.MaxSize})
	if err != nil {
		return requestsError(err)
	}
	r := &requests{server: a.server, log: l, logger: a.log.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Minute}), stop: make(chan struct{})}
	a.requests = r
	r.take()
	r.work.Go(func() { r.run(c.Every) })
	return nil
}

func (r *requests) run(every time.Duration) {
	take, write := time.NewTicker(takeEvery), time.NewTicker(every)
	defer take.Stop()
	defer write.Stop()
	for {
		select {
		case <-take.C:
			r.take()
		case <-write.C:
			r.note(r.log.Flush())
		case <-r.stop:
			return
		}
	}
}

// take adds what was sampled.
func (r *requests) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server.TakeRequests(func(route string, key []byte, weight uint64) { r.note(r.log.Add(route, key, weight)) })
}

func (r *requests) note(err error) {
	if err != nil {
		r.logger.Error().Err(err).Msg("the log of requests could not be written")
	}
}

// flush writes down all that was sampled so far.
func (r *requests) flush() {
	r.take()
	r.note(r.log.Flush())
}

// close writes the rest. The server has to have stopped.
func (r *requests) close() error {
	if r == nil {
		return nil
	}
	close(r.stop)
	r.work.Wait()
	r.take()
	return r.log.Close()
}
