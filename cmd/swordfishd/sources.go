package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"

	"swordfish/config"
	"swordfish/filler"
	"swordfish/filler/memcache"
	"swordfish/filler/postgres"
	"swordfish/filler/sqlite"
)

// sources are the open sources by name.
type sources map[string]source

// source is an open source with the settings it was opened with.
type source struct {
	filler.Source
	spec *config.Source // nil: opened by other means, and right for any settings
}

// fits tells whether the source need not be opened anew for spec.
func (s *source) fits(spec *config.Source) bool {
	if s.spec == nil {
		return true
	}
	was, now := *s.spec, *spec
	was.Pos, now.Pos = "", ""
	was.Rate, now.Rate = 0, 0 // the filler's business
	return reflect.DeepEqual(was, now)
}

// update returns the sources that specs describe: those of s that fit, and the others opened. s stays as it is; after an error
// nothing new is open. A database that is down is no error: its source connects when it can.
func (s sources) update(specs []config.Source, maxItem int) (sources, error) {
	next := make(sources, len(specs))
	for i := range specs {
		spec := &specs[i]
		src, open := s[spec.Name]
		if !open || !src.fits(spec) {
			opened, err := openSource(spec, maxItem)
			if err != nil {
				return nil, errors.Join(err, next.except(s).close())
			}
			src = source{Source: opened}
		}
		src.spec = spec
		next[spec.Name] = src
	}
	return next, nil
}

// openSource opens the source that spec describes. Of values over maxItem bytes none is kept.
func openSource(spec *config.Source, maxItem int) (src filler.Source, err error) {
	switch spec.Kind {
	case config.Postgres:
		o := postgres.Options{MaxConns: spec.MaxConns, StatementTimeout: spec.StatementTimeout}
		if spec.ExecMode == config.Unnamed {
			o.Mode = postgres.Unnamed
		}
		for _, dsn := range spec.DSN {
			o.DSNs = append(o.DSNs, dsn.Reveal())
		}
		src, err = postgres.New(o)
	case config.SQLite:
		src, err = sqlite.Open(spec.Path)
	case config.Memcache:
		src, err = memcache.New(memcache.Options{
			Addr: spec.URL.Reveal(), MaxConns: spec.MaxConns, MaxValue: maxItem, Keys: spec.Keys,
		})
	default:
		err = fmt.Errorf("kind %s is not known", spec.Kind)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: source %q: %w", spec.Pos, spec.Name, err)}
	}
	return src, nil
}

// except returns those of s that other does not have.
func (s sources) except(other sources) sources {
	left := maps.Clone(s)
	maps.DeleteFunc(left, func(name string, src source) bool { return other[name].Source == src.Source })
	return left
}

func (s sources) close() error {
	var errs []error
	for _, src := range s {
		if c, ok := src.Source.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
