package main

import (
	"errors"
	"fmt"
	"io"

	"swordfish/config"
	"swordfish/filler"
	"swordfish/filler/postgres"
	"swordfish/filler/sqlite"
)

// sources are the open sources by name.
type sources map[string]filler.Source

// open opens the source that spec describes, unless it is there already. A database that is down is no error: its source
// connects when it can.
func (s sources) open(spec *config.Source) error {
	if s[spec.Name] != nil {
		return nil
	}
	var src filler.Source
	var err error
	switch spec.Kind {
	case config.Postgres:
		o := postgres.Options{MaxConns: spec.MaxConns, StatementTimeout: spec.StatementTimeout}
		for _, dsn := range spec.DSN {
			o.DSNs = append(o.DSNs, dsn.Reveal())
		}
		src, err = postgres.New(o)
	case config.SQLite:
		src, err = sqlite.Open(spec.Path)
	default:
		err = fmt.Errorf("kind %s is not there yet", spec.Kind)
	}
	if err != nil {
		return usageError{fmt.Errorf("%s: source %q: %w", spec.Pos, spec.Name, err)}
	}
	s[spec.Name] = src
	return nil
}

func (s sources) close() error {
	var errs []error
	for _, src := range s {
		if c, ok := src.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
