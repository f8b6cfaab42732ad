package filler

import "time"

// logEvery is the shortest distance between two log lines about one route or one source.
const logEvery = 5 * time.Second

// logLimiter lets one line pass and counts those it holds back. It belongs to the dispatcher.
type logLimiter struct {
	next       time.Time
	suppressed int
}

func (l *logLimiter) pass(now time.Time) (suppressed int, ok bool) {
	if now.Before(l.next) {
		l.suppressed++
		return 0, false
	}
	suppressed, l.suppressed = l.suppressed, 0
	l.next = now.Add(logEvery)
	return suppressed, true
}

func (f *Filler) logLoad(r *route, name string, err error, keys int, now time.Time) {
	if n, ok := r.limiter.pass(now); ok {
		f.log.Warn().Str("route", name).Err(err).Int("keys", keys).Int("suppressed", n).Msg("load failed")
	}
}

// logSource writes a change of a source's state. Changes come at the breaker's pace, so going up is always written.
func (f *Filler) logSource(s *source, down bool) {
	if down {
		f.log.Error().Str("source", s.name).Str("error", *s.lastErr.Load()).Msg("source is down; stale items live on")
		return
	}
	f.log.Info().Str("source", s.name).Msg("source is up")
}
