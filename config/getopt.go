package config

import (
	"slices"
	"strings"
)

// word is one word of a command line and where it stands.
type word struct {
	text string
	at   place
}

func commandLine(args []string) []word {
	words := make([]word, 0, len(args))
	for _, a := range args {
		words = append(words, word{text: a})
	}
	return words
}

// given is an option as it was given.
type given struct {
	opt   *option
	value string
	at    place
}

// parse reads words as getopt_long does, and complains in its words: clusters (-vvm64), values behind or in the same word, --name=value, --name value,
// long names cut short where that is clear, "--" as the end.
func (l *loader) parse(words []word) []given {
	var out []given
	for i := 0; i < len(words); i++ {
		w := words[i]
		next := func() (string, bool) {
			if i+1 == len(words) {
				return "", false
			}
			i++
			return words[i].text, true
		}
		switch {
		case w.text == "--":
			for _, rest := range words[i+1:] {
				l.fail(rest.at, "unexpected argument %q: options begin with a dash, and a subcommand comes first", rest.text)
			}
			return out
		case strings.HasPrefix(w.text, "--"):
			out = l.parseLong(out, w, next)
		case len(w.text) > 1 && w.text[0] == '-':
			out = l.parseCluster(out, w, next)
		default:
			l.fail(w.at, "unexpected argument %q: options begin with a dash, and a subcommand comes first", w.text)
		}
	}
	return out
}

func (l *loader) parseLong(out []given, w word, next func() (string, bool)) []given {
	name, value, has := strings.Cut(w.text[2:], "=")
	opt := l.longOption(w, name)
	switch {
	case opt == nil:
		return out
	case opt.arg == "" && has && !opt.mayHaveValue:
		l.fail(w.at, "option '--%s' doesn't allow an argument; write it alone", opt.long)
		return out
	case opt.arg != "" && !has:
		if value, has = next(); !has {
			l.fail(w.at, "option '--%s' requires an argument; write --%s=%s", opt.long, opt.long, opt.arg)
			return out
		}
	}
	return append(out, given{opt: opt, value: trimLeft(value), at: w.at})
}

// longOption finds the option of that name, or the only one that begins with it.
func (l *loader) longOption(w word, name string) *option {
	var found []*option
	var known []string
	options := slices.Clone(optionTable)
	for own := range l.in.Own {
		options = append(options, ownOption(own))
	}
	for own := range l.in.OwnFlags {
		options = append(options, ownFlag(own))
	}
	for _, o := range options {
		if o.long == "" {
			continue
		}
		if o.long == name {
			return o
		}
		if name != "" && strings.HasPrefix(o.long, name) {
			found = append(found, o)
		}
		known = append(known, o.long)
	}
	switch len(found) {
	case 1:
		return found[0]
	case 0:
		l.fail(w.at, "unrecognized option '--%s'; %s", name, didYouMean(name, known))
	default:
		names := make([]string, 0, len(found))
		for _, o := range found {
			names = append(names, "'--"+o.long+"'")
		}
		slices.Sort(names)
		l.fail(w.at, "option '--%s' is ambiguous; possibilities: %s; write one in full", name, strings.Join(names, " "))
	}
	return nil
}

func (l *loader) parseCluster(out []given, w word, next func() (string, bool)) []given {
	for i := 1; i < len(w.text); i++ {
		opt := shortOption(w.text[i])
		if opt == nil {
			l.fail(w.at, "invalid option -- '%c' in %q; --help lists them", rune(w.text[i]), w.text)
			return out
		}
		if opt.arg == "" {
			out = append(out, given{opt: opt, at: w.at})
			continue
		}
		value := w.text[i+1:]
		if value == "" {
			var has bool
			if value, has = next(); !has {
				l.fail(w.at, "option requires an argument -- '%c'; write -%c %s", opt.short, opt.short, opt.arg)
				return out
			}
		}
		return append(out, given{opt: opt, value: trimLeft(value), at: w.at})
	}
	return out
}

// trimLeft takes leading blanks off a value, as memcached does.
func trimLeft(s string) string { return strings.TrimLeft(s, " \t\n\v\f\r") }

// memcachedConf reads a file as Debian's start scripts do: options a line, # begins a comment unless escaped, -d and -h and
// lines without a dash (logfile) are left out.
func (l *loader) memcachedConf(name string) []word {
	data, err := l.in.ReadFile(name)
	if err != nil {
		l.fail(place{}, "--memcached-conf: %v; name a file that can be read", err)
		return nil
	}
	var words []word
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		at := place{file: name, line: number}
		line = strings.TrimSpace(uncomment(line))
		switch {
		case line == "" || strings.HasPrefix(line, "-d") || strings.HasPrefix(line, "-h"):
		case line[0] != '-':
			directive, _, _ := strings.Cut(line, " ")
			l.note("%s:%d: %s is left out: the log goes to standard error", name, number, directive)
		default:
			for _, text := range splitWords(line) {
				words = append(words, word{text: text, at: at})
			}
		}
	}
	return words
}

func uncomment(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] != '\\') {
			return line[:i]
		}
	}
	return line
}

// splitWords parts a line at blanks. Quotes, single or double, hold a word together; a backslash takes the next byte as it is.
func splitWords(line string) []string {
	var words []string
	var b strings.Builder
	var quote byte
	inWord := false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
			inWord = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			b.WriteByte(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			if inWord {
				words = append(words, b.String())
				b.Reset()
			}
			inWord = false
		default:
			b.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, b.String())
	}
	return words
}
