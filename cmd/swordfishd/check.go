package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"swordfish/config"
	"swordfish/filler"
	"swordfish/normalizer"
)

// check says what is wrong with a configuration, or what a key means in it. Unless it is about a key or told to stay offline,
// it asks every source about the routes' queries, and changes nothing there.
func check(args []string, out, _ io.Writer) error {
	var key string
	var offline bool
	c, err := load(config.Input{
		Args: args, Own: map[string]*string{"key": &key}, OwnFlags: map[string]*bool{"offline": &offline},
	}, out)
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
	users, err := readUsers(&c.Options)
	if err != nil {
		return err
	}
	certificates, err := readCertificates(&c.TLS)
	if err != nil {
		return err
	}
	var b strings.Builder
	if certificates != nil {
		leaf := certificates.Leaf()
		fmt.Fprintf(&b, "certificate: %s, good from %s to %s\n", leaf.Subject, leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
		if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
			b.WriteString("warning: today is not among the certificate's days, so clients that look will refuse\n")
		}
	}
	if users != nil && users.Note() != "" {
		fmt.Fprintf(&b, "note: %s\n", users.Note())
	}
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
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	if !offline {
		if err := askSources(c, table, out); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "configuration is good: %d MiB, %d workers, %d connections, %d sources, %d routes\n",
		c.Memory>>20, c.Threads, c.MaxConns, len(c.Sources), len(c.Routes))
	return err
}

// checkTime bounds the questions about one route, beside its source's statement timeout.
const checkTime = 10 * time.Second

// askSources prints what the sources say about the routes' queries. A query that is wrong is a configuration that is wrong; a
// source that cannot be asked is a failure of another kind, for its queries may be good.
func askSources(c *config.Config, table *normalizer.Table, out io.Writer) error {
	opened, err := sources(nil).update(c.Sources, c.MaxItem)
	if err != nil {
		return err
	}
	defer opened.close()
	var mistakes, failures []error
	failed := make(map[string]bool) // sources
	routes := fillerRoutes(c, standIns(c), table)
	for i := range c.Routes {
		r := &c.Routes[i]
		for _, name := range r.Sources {
			source, ok := opened[name].Source.(filler.Explainer)
			if !ok || failed[name] {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), opened[name].spec.StatementTimeout+checkTime)
			advice, err := source.Explain(ctx, &routes[i])
			cancel()
			if err != nil {
				failed[name] = true
				failures = append(failures, fmt.Errorf("source %s: %w; queries on it are not checked (--offline checks none)", name, err))
				continue
			}
			if l, ok := opened[name].Source.(filler.Lister); ok && r.Keys != "" {
				if err := checkKeys(l, &routes[i], opened[name].spec.StatementTimeout+checkTime); err != nil {
					mistakes = append(mistakes, fmt.Errorf("%s: route %q on source %s: %w", r.Pos, r.Name, name, err))
				}
			}
			for _, a := range advice {
				if a.Level == filler.Mistake {
					mistakes = append(mistakes, fmt.Errorf("%s: route %q on source %s: %s", r.Pos, r.Name, name, a.Text))
				} else if _, err := fmt.Fprintf(out, "%s: route %s on source %s: %s\n", a.Level, r.Name, name, a.Text); err != nil {
					return err
				}
			}
		}
	}
	if len(mistakes) > 0 {
		return usageError{errors.Join(append(mistakes, failures...)...)}
	}
	return errors.Join(failures...)
}

// checkKeys has a source look at a route's query for keys.
func checkKeys(l filler.Lister, r *filler.Route, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := l.KeyColumns(ctx, r)
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
