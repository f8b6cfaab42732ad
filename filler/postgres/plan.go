package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// plan is what Explain needs of a query plan.
type plan struct {
	relations []*relation // tables, each once for each alias
	functions []string    // called as a source of rows, but for unnest
	gathers   bool        // rows are put together or cut off on the way: they say nothing of the rows that come out
}

// relation is a table under one alias.
type relation struct {
	schema, name, alias string
	whole               bool       // read from one end to the other
	columns             []string   // compared for equality with something that is not a constant
	casts               []cast     // of its columns, to be compared
	against             [][]string // by index in columns: what they are compared with
}

type cast struct{ column, to string }

// node is a node of EXPLAIN (FORMAT JSON).
type node struct {
	Type      string `json:"Node Type"`
	Schema    string `json:"Schema"`
	Relation  string `json:"Relation Name"`
	Alias     string `json:"Alias"`
	Function  string `json:"Function Name"`
	IndexCond string `json:"Index Cond"`
	Recheck   string `json:"Recheck Cond"`
	HashCond  string `json:"Hash Cond"`
	MergeCond string `json:"Merge Cond"`
	Join      string `json:"Join Filter"`
	Filter    string `json:"Filter"`
	Plans     []node `json:"Plans"`
}

// parsePlan reads the JSON of EXPLAIN (FORMAT JSON, VERBOSE).
func parsePlan(text []byte) (*plan, error) {
	var roots []struct{ Plan node }
	if err := json.Unmarshal(text, &roots); err != nil {
		return nil, fmt.Errorf("the plan: %w", err)
	}
	if len(roots) != 1 {
		return nil, errors.New("EXPLAIN returned no plan")
	}
	p := &plan{}
	p.collect(&roots[0].Plan)
	p.compare(&roots[0].Plan)
	return p, nil
}

// collect finds what is read.
func (p *plan) collect(n *node) {
	switch {
	case n.Relation != "":
		rel := p.relation(n.Alias)
		if rel == nil {
			rel = &relation{schema: n.Schema, name: n.Relation, alias: n.Alias}
			p.relations = append(p.relations, rel)
		}
		if n.Type == "Seq Scan" {
			rel.whole = true
		}
	case n.Type == "Function Scan" && n.Function != "" && n.Function != "unnest": // empty: several arrays side by side
		name := n.Function
		if n.Schema != "" {
			name = n.Schema + "." + name
		}
		p.functions = append(p.functions, name)
	case n.Type == "Aggregate", n.Type == "Limit", n.Type == "Unique", n.Type == "Group", n.Type == "WindowAgg":
		p.gathers = true
	}
	for i := range n.Plans {
		p.collect(&n.Plans[i])
	}
}

func (p *plan) relation(alias string) *relation {
	for _, rel := range p.relations {
		if rel.alias == alias {
			return rel
		}
	}
	return nil
}

// compare finds which columns are compared with what.
func (p *plan) compare(n *node) {
	for _, cond := range []string{n.IndexCond, n.Recheck, n.HashCond, n.MergeCond, n.Join, n.Filter} {
		for _, clause := range strings.Split(cond, " AND ") {
			left, right, ok := strings.Cut(unwrap(clause), " = ")
			if !ok {
				continue
			}
			p.side(left, right)
			p.side(right, left)
		}
	}
	for i := range n.Plans {
		p.compare(&n.Plans[i])
	}
}

// columnRef is a column, perhaps with a cast, as the server prints it: c.os, (c.os)::text, ((c.os)::text), c."Odd name".
var columnRef = regexp.MustCompile(`^\(*("(?:[^"]|"")+"|[\w$]+)\.("(?:[^"]|"")+"|[\w$]+)\)*(?:::([^()]+(?:\([\d,]+\))?))?\)*$`)

// constant is a literal, perhaps with a cast.
var constant = regexp.MustCompile(`^\(*('|-?\d|true|false|NULL)`)

func (p *plan) side(column, other string) {
	m := columnRef.FindStringSubmatch(column)
	if m == nil || constant.MatchString(other) {
		return
	}
	rel := p.relation(unquote(m[1]))
	if rel == nil {
		return
	}
	name := unquote(m[2])
	if m[3] != "" && !slices.Contains(rel.casts, cast{name, m[3]}) {
		rel.casts = append(rel.casts, cast{name, m[3]})
	}
	at := slices.Index(rel.columns, name)
	if at < 0 {
		at = len(rel.columns)
		rel.columns = append(rel.columns, name)
		rel.against = append(rel.against, nil)
	}
	rel.against[at] = append(rel.against[at], other)
}

// comparedWith returns the column that is compared with a part: with the column of an unnested array that bears the part's name, or
// with the parameter itself.
func (rel *relation) comparedWith(part string, param int) string {
	for i, others := range rel.against {
		for _, other := range others {
			if m := columnRef.FindStringSubmatch(other); m != nil && strings.EqualFold(unquote(m[2]), part) {
				return rel.columns[i]
			}
			if strings.Contains(other, "$"+strconv.Itoa(param)+")") || strings.HasSuffix(other, "$"+strconv.Itoa(param)) {
				return rel.columns[i]
			}
		}
	}
	// An alias of another name, such as k(key, ord) for @keys: if there is only one column, it is that one.
	if param == 1 && len(rel.columns) == 1 && part == "keys" {
		return rel.columns[0]
	}
	return ""
}

// unwrap takes the parentheses off that enclose a whole clause, and those that a split condition has left open.
func unwrap(s string) string {
	for {
		s = strings.TrimSpace(s)
		switch open, closed := strings.Count(s, "("), strings.Count(s, ")"); {
		case open > closed && strings.HasPrefix(s, "("):
			s = s[1:]
		case closed > open && strings.HasSuffix(s, ")"):
			s = s[:len(s)-1]
		case strings.HasPrefix(s, "(") && strings.HasSuffix(s, ")") && encloses(s):
			s = s[1 : len(s)-1]
		default:
			return s
		}
	}
}

// encloses tells whether the first parenthesis is closed by the last one.
func encloses(s string) bool {
	depth := 0
	for i, c := range s {
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i == len(s)-1
			}
		}
	}
	return false
}

func unquote(name string) string {
	if len(name) > 1 && name[0] == '"' {
		return strings.ReplaceAll(name[1:len(name)-1], `""`, `"`)
	}
	return name
}
