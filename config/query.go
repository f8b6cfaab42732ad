package config

import (
	"slices"
	"strings"
)

// checkQuery holds the @names of the query against the parts of the key.
func (d *document) checkQuery(r *Route, v, at value) {
	asked := slices.ContainsFunc(r.Sources, func(name string) bool { return d.l.c.kindOf(name) != Memcache })
	switch {
	case !asked && len(r.Sources) > 0:
		if at.doc != nil {
			at.fail("it loads from a memcache source only, which is asked for whole keys; take the query out")
		}
		return
	case at.doc == nil:
		v.fail("it has no query; write the SQL that loads its keys")
		return
	}
	if r.Query == "" || r.Key == "" { // problems already
		return
	}
	args := queryArgs(r.Query)
	r.UsesKeys = slices.Contains(args, "keys")
	known := d.queryNames(r)
	for _, arg := range args {
		if !slices.Contains(known, arg) {
			at.fail("it asks for @%s, and there is no such parameter; %s", arg, didYouMean(arg, known))
		}
	}
	if len(args) == 0 {
		at.fail("it asks for no part of the key, so every key would load the same; use @%s", strings.Join(known, ", @"))
	}
}

// checkKeysQuery wants the query for keys to be asked of a database, and to ask for nothing itself.
func (d *document) checkKeysQuery(r *Route, at value) {
	if r.Keys == "" {
		return
	}
	if args := queryArgs(r.Keys); len(args) > 0 {
		at.fail("it asks for @%s, and there is nothing to give it: it returns all keys; take it out", args[0])
	}
	database := slices.ContainsFunc(r.Sources, func(name string) bool { return d.l.c.kindOf(name) != Memcache })
	if !database && len(r.Sources) > 0 {
		at.fail("the route loads from a memcache source only, which runs no query; take it out")
	}
}

// queryNames lists the parameters that a query may use: with PostgreSQL an array a part of the key, with SQLite, which has no
// arrays, all parts at once as JSON in @batch; with both @keys, the whole canonical keys.
func (d *document) queryNames(r *Route) []string {
	var names []string
	for _, s := range d.l.c.Sources {
		if !slices.Contains(r.Sources, s.Name) {
			continue
		}
		switch s.Kind {
		case SQLite:
			names = append(names, "batch")
		case Postgres:
			names = append(names, r.Parts...)
		}
	}
	if names == nil { // the sources are wrong, which is a problem already
		names = append(slices.Clone(r.Parts), "batch")
	}
	return append(names, "keys")
}

// queryArgs lists the names behind @ in an SQL text, each once, in their order. As pgx does, it looks neither into quotes
// nor into comments, and takes @ as the start of a name only before a letter or _.
func queryArgs(sql string) []string {
	var names []string
	for i := 0; i < len(sql); {
		switch c := sql[i]; {
		case c == '\'':
			escapes := i > 0 && (sql[i-1] == 'e' || sql[i-1] == 'E') && (i == 1 || !isWord(sql[i-2]))
			i = skipQuote(sql, i, escapes)
		case c == '"':
			i = skipQuote(sql, i, false)
		case strings.HasPrefix(sql[i:], "--"):
			i = skipLine(sql, i)
		case strings.HasPrefix(sql[i:], "/*"):
			i = skipComment(sql, i)
		case c == '@' && i+1 < len(sql) && isWord(sql[i+1]) && !isDigit(sql[i+1]):
			end := i + 1
			for end < len(sql) && isWord(sql[end]) {
				end++
			}
			if name := sql[i+1 : end]; !slices.Contains(names, name) {
				names = append(names, name)
			}
			i = end
		default:
			i++
		}
	}
	return names
}

// skipQuote returns the index behind the quoted text that begins at i. A doubled quote is one inside.
func skipQuote(sql string, i int, escapes bool) int {
	quote := sql[i]
	for i++; i < len(sql); i++ {
		switch {
		case escapes && sql[i] == '\\':
			i++
		case sql[i] != quote:
		case i+1 < len(sql) && sql[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return len(sql)
}

func skipLine(sql string, i int) int {
	if n := strings.IndexByte(sql[i:], '\n'); n >= 0 {
		return i + n + 1
	}
	return len(sql)
}

// skipComment returns the index behind a comment, which may hold others.
func skipComment(sql string, i int) int {
	depth := 0
	for i < len(sql) {
		switch {
		case strings.HasPrefix(sql[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(sql[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return i
}

func isWord(c byte) bool {
	return c == '_' || isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
