package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxYAML bounds the file's size: a configuration is written by hand.
const maxYAML = 4 << 20

// maxDepth bounds the levels of a file, far over what the settings need.
const maxDepth = 50

// document walks a parsed YAML file. It asks for the fields it knows, by name, so that whatever else stands there is an error
// with its line; the decoding into structs of the YAML package cannot say as much.
type document struct {
	l       *loader
	file    string
	anchors map[string]ast.Node
	keys    map[string]value // the setting keys of each source that has it, to be held against the routes
	warms   []warmAt
}

// value is a node of the document. where says what it is, in messages: `route "chr": limits`.
type value struct {
	doc   *document
	node  ast.Node // without anchor, alias and tag; nil is null
	line  int
	where string
}

// field is an entry of a mapping.
type field struct {
	name string
	value
}

func (l *loader) loadYAML(name string) {
	data, err := l.in.ReadFile(name)
	if err != nil {
		l.fail(place{}, "--config: %v; name a file that can be read", err)
		return
	}
	if len(data) > maxYAML {
		l.fail(place{file: name}, "the file has %d bytes; at most %d are read", len(data), maxYAML)
		return
	}
	d := &document{l: l, file: name, anchors: map[string]ast.Node{}, keys: map[string]value{}}
	root, ok := d.parse(data)
	if !ok {
		return
	}
	d.readTop(root)
}

// parse returns the one document in data; an empty one is a null value.
func (d *document) parse(data []byte) (root value, ok bool) {
	file, err := parseYAML(data)
	if err != nil {
		line, text := 0, err.Error()
		var positioned yaml.Error
		if errors.As(err, &positioned) {
			line, text = tokenLine(positioned.GetToken()), positioned.GetMessage()
		}
		d.fail(line, "no valid YAML: %s; mind the indentation, and quote values that hold \": \" or \" #\"", text)
		return value{}, false
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); doc.Body == nil || directive {
			continue
		}
		if body != nil {
			d.fail(tokenLine(doc.Body.GetToken()), "a second document begins here; put everything into one")
			return value{}, false
		}
		body = doc.Body
	}
	if !d.anchorsIn(body, 0) {
		return value{}, false
	}
	return d.value(body, ""), true
}

// parseYAML turns a panic of the parser into an error: a reload with a bad file must change nothing, least of all end the
// server.
func parseYAML(data []byte) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			file, err = nil, errors.New("the parser gave up")
		}
	}()
	return parser.ParseBytes(data, 0)
}

// anchorsIn notes what is anchored below n. It refuses depths that no configuration needs.
func (d *document) anchorsIn(n ast.Node, depth int) bool {
	if depth > maxDepth {
		d.fail(tokenLine(n.GetToken()), "the file is nested over %d levels deep; flatten it", maxDepth)
		return false
	}
	ok := true
	switch n := n.(type) {
	case *ast.AnchorNode:
		ok = d.anchorsIn(n.Value, depth+1)
		if n.Name != nil && n.Value != nil {
			d.anchors[n.Name.GetToken().Value] = n.Value
		}
	case *ast.TagNode:
		ok = d.anchorsIn(n.Value, depth+1)
	case *ast.MappingNode:
		for _, v := range n.Values {
			ok = ok && d.anchorsIn(v, depth+1)
		}
	case *ast.MappingValueNode:
		ok = d.anchorsIn(n.Value, depth+1)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			ok = ok && d.anchorsIn(v, depth+1)
		}
	}
	return ok
}

func (d *document) fail(line int, format string, args ...any) {
	d.l.fail(place{file: d.file, line: line}, format, args...)
}

func tokenLine(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line
}

// value looks through anchors, aliases and tags.
func (d *document) value(n ast.Node, where string) value {
	v := value{doc: d, where: where}
	if n != nil {
		v.line = tokenLine(n.GetToken())
	}
	for range maxDepth {
		switch inner := n.(type) {
		case *ast.AnchorNode:
			n = inner.Value
			continue
		case *ast.TagNode:
			n = inner.Value
			continue
		case *ast.AliasNode:
			name := ""
			if inner.Value != nil {
				name = inner.Value.GetToken().Value
			}
			target, known := d.anchors[name]
			if !known {
				v.fail("there is no anchor &%s; write one or take *%s out", name, name)
			}
			n = target
			continue
		case *ast.NullNode, *ast.CommentGroupNode:
			n = nil
		}
		break
	}
	v.node = n
	return v
}

func (v value) fail(format string, args ...any) {
	if v.where != "" {
		format = strings.ReplaceAll(v.where, "%", "%%") + ": " + format
	}
	v.doc.fail(v.line, format, args...)
}

// inside says where a field of v is.
func (v value) inside(name string) string {
	if v.where == "" {
		return name
	}
	return v.where + ": " + name
}

// isNull tells an absent value: nothing, or null, behind a field's name.
func (v value) isNull() bool { return v.node == nil }

// fields returns the entries of a mapping, in the file's order and merged ones (<<) first where not overwritten. Where known
// are given, other names are problems and left out.
func (v value) fields(known ...string) []field {
	return v.fieldsAt(0, known)
}

func (v value) fieldsAt(depth int, known []string) []field {
	var entries []*ast.MappingValueNode
	switch n := v.node.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		v.fail("a mapping is expected here; write name: value lines")
		return nil
	}
	var out []field
	index := map[string]int{}
	put := func(f field) {
		if i, again := index[f.name]; again {
			out[i] = f
			return
		}
		index[f.name] = len(out)
		out = append(out, f)
	}
	var own []field
	for _, e := range entries {
		if e.Key == nil {
			continue
		}
		if _, merge := e.Key.(*ast.MergeKeyNode); merge && depth < maxDepth {
			for _, f := range v.doc.value(e.Value, v.where).fieldsAt(depth+1, known) {
				put(f)
			}
			continue
		}
		key := v.doc.value(e.Key, v.where)
		name, ok := key.text()
		if !ok {
			key.fail("a plain name is expected left of \":\"")
			continue
		}
		if known != nil && !slices.Contains(known, name) {
			key.fail("unknown field %q; %s", name, didYouMean(name, known))
			continue
		}
		f := field{name: name, value: v.doc.value(e.Value, v.inside(name))}
		if f.line == 0 || f.isNull() {
			f.line = key.line
		}
		own = append(own, f)
	}
	for _, f := range own {
		put(f)
	}
	return out
}

// peek returns the scalar of a mapping's own field, "" without one. It reports no problems.
func (v value) peek(name string) string {
	m, ok := v.node.(*ast.MappingNode)
	if !ok {
		return ""
	}
	for _, e := range m.Values {
		if key, ok := e.Key.(*ast.StringNode); ok && key.Value == name {
			text, _ := value{node: e.Value}.text()
			return text
		}
	}
	return ""
}

// items returns the values of a sequence, or the value itself as the only one.
func (v value) items() []value {
	list, ok := v.node.(*ast.SequenceNode)
	if !ok {
		return []value{v}
	}
	out := make([]value, 0, len(list.Values))
	for _, n := range list.Values {
		item := v.doc.value(n, v.where)
		if item.line == 0 {
			item.line = v.line
		}
		out = append(out, item)
	}
	return out
}

func (v value) isMapping() bool {
	switch v.node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

func (v value) isList() bool {
	_, ok := v.node.(*ast.SequenceNode)
	return ok
}

// text returns a scalar as it is written, without quotes.
func (v value) text() (string, bool) {
	switch n := v.node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		if n.Value == nil {
			return "", true
		}
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return strings.TrimSpace(n.GetToken().Value), true
	}
	return "", false
}

// str returns a scalar that is not empty, or fails with a problem that ends in the remedy.
func (v value) str(remedy string) (string, bool) {
	s, ok := v.text()
	switch {
	case v.isNull() || ok && s == "":
		v.fail("it is empty; %s", remedy)
		return "", false
	case !ok:
		v.fail("one plain value is expected here; %s", remedy)
	}
	return s, ok
}

// strings returns a list of scalars, or one alone.
func (v value) strings(remedy string) []string {
	var out []string
	for _, item := range v.items() {
		if s, ok := item.str(remedy); ok {
			out = append(out, s)
		}
	}
	return out
}
