package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// newLogger writes for people on a terminal, and JSON otherwise.
func newLogger(out io.Writer) zerolog.Logger {
	if f, ok := out.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
			out = zerolog.ConsoleWriter{Out: f, TimeFormat: time.TimeOnly}
		}
	}
	return zerolog.New(out).With().Timestamp().Logger()
}

// levelOf is the log level for a number of -v.
func levelOf(verbosity int) zerolog.Level {
	switch {
	case verbosity <= 0:
		return zerolog.InfoLevel
	case verbosity == 1:
		return zerolog.DebugLevel
	}
	return zerolog.TraceLevel
}

// setLogLevel is what log_level does. The process has one level.
func setLogLevel(name string) error {
	for level := zerolog.TraceLevel; level <= zerolog.ErrorLevel; level++ { // a server that logs no error is none to be trusted
		if strings.EqualFold(level.String(), name) {
			zerolog.SetGlobalLevel(level)
			return nil
		}
	}
	return errors.New("no such level; write trace, debug, info, warn or error")
}
