package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"swordfish/config"
	"swordfish/normalizer"
)

// check says what is wrong with a configuration, or what a key means in it. It reads files only and asks no database.
func check(args []string, out, _ io.Writer) error {
	var key string
	c, err := load(config.Input{Args: args, Own: map[string]*string{"key": &key}}, out)
	if err != nil || c == nil {
		return err
	}
	table, err := compile(c, standIns(c))
	if err != nil {
		return err
	}
	if key != "" {
		return explain(table, key, out)
	}
	var b strings.Builder
	for _, note := range c.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	for _, overlap := range table.Overlaps() {
		fmt.Fprintf(&b, "warning: %s\n", overlap)
	}
	for i := range c.Sources {
		s := &c.Sources[i]
		fmt.Fprintf(&b, "source %s: %s, at most %d connections, statements of at most %s\n", s.Name, s.Kind, s.MaxConns, s.StatementTimeout)
	}
	for i := range c.Routes {
		r := &c.Routes[i]
		fmt.Fprintf(&b, "route %s: %s from %s; fresh %s, stale %s, keep %s, negative %s; %s\n",
			r.Name, r.Key, strings.Join(r.Sources, ", "), r.Fresh, r.Stale, r.Keep, r.Negative, r.Encode)
	}
	fmt.Fprintf(&b, "configuration is good: %d MiB, %d workers, %d connections, %d sources, %d routes\n",
		c.Memory>>20, c.Threads, c.MaxConns, len(c.Sources), len(c.Routes))
	_, err = io.WriteString(out, b.String())
	return err
}

// explain prints what a key means. A key that no client could send is an error.
func explain(table *normalizer.Table, key string, out io.Writer) error {
	if len(key) > normalizer.MaxKey || strings.ContainsAny(key, " \r\n\x00") {
		return usageError{errors.New("--key: a key has at most 250 bytes, and no space, line end or NUL")}
	}
	e := table.Explain(key)
	var b strings.Builder
	fmt.Fprintf(&b, "key        %s\n", e.Key)
	if e.Route == 0 {
		b.WriteString("route      none: a plain key, nothing is ever loaded for it\n")
	} else {
		fmt.Fprintf(&b, "route      %s\ncanonical  %s\n", e.Name, e.Canonical)
	}
	for _, p := range e.Parts {
		value := p.Value
		if !p.Present {
			value = "(absent: NULL)"
		}
		fmt.Fprintf(&b, "part       %s = %s\n", p.Name, value)
	}
	for _, why := range e.Why {
		fmt.Fprintf(&b, "           %s\n", why)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
