package protocol

import "bytes"

// maxWords is how many words of a line memcached looks at. What comes after them is ignored, a noreply there as well.
const maxWords = 23

// span is a word of a line: line[from:to].
type span struct{ from, to uint16 }

// parseCommand reads one command from the start of a line.
func (p *Parser) parseCommand(buf []byte) (int, Status) {
	if len(buf) < p.Need {
		return 0, NeedMore
	}
	p.Need = 0
	r := &p.Request
	r.Form, r.NoReply, r.More, r.TooLarge = Classic, false, false, false
	newline := bytes.IndexByte(buf[:min(len(buf), maxLine)], '\n')
	if newline < 0 && len(buf) <= MaxLine {
		return 0, NeedMore
	}
	if newline < 0 || newline > MaxLine {
		if n, st := p.parseLongGet(buf); st != Hangup || newline < 0 {
			return n, st
		}
	}
	line := buf[:newline]
	if newline > 0 && line[newline-1] == '\r' {
		line = line[:newline-1]
	}
	p.tail = newline + 1 - len(line)
	if newline+1 < 4 {
		return newline + 1, p.refuse(BadFormat)
	}
	if len(line) > 4 && string(line[:4]) == "get " {
		return newline + 1, p.parseGet(Get, line[4:])
	}
	if len(line) > 3 && string(line[:3]) == "mg " && p.parsePlainGet(line) {
		return newline + 1, Ready
	}
	word := bytes.IndexByte(line, ' ')
	if word < 0 {
		word = len(line)
	}
	if word == 2 && line[0] == 'm' {
		if verb := metaVerb(line[1]); verb != Refused {
			return p.parseMeta(verb, line, buf, newline+1)
		}
	}
	verb, family := lookUp(line[:word])
	switch family {
	case familyGet:
		return newline + 1, p.parseGet(verb, line[word:])
	case familyStorage:
		p.split(line)
		return p.parseStorage(verb, line, buf, newline+1)
	case familyKey:
		p.split(line)
		return newline + 1, p.parseKey(verb, line)
	case familyPlain:
		p.split(line)
		p.arguments(line)
		r.Verb = verb
		return newline + 1, Ready
	default:
		p.split(line)
		return newline + 1, p.parseAdmin(line)
	}
}

type family uint8

const (
	familyNone family = iota
	familyGet
	familyStorage
	familyKey
	familyPlain
)

// lookUp names the commands that must start their line; the others are parseAdmin's.
func lookUp(word []byte) (Verb, family) {
	switch string(word) {
	case "get":
		return Get, familyGet
	case "gets":
		return Gets, familyGet
	case "gat":
		return Gat, familyGet
	case "gats":
		return Gats, familyGet
	case "set":
		return Set, familyStorage
	case "add":
		return Add, familyStorage
	case "replace":
		return Replace, familyStorage
	case "append":
		return Append, familyStorage
	case "prepend":
		return Prepend, familyStorage
	case "cas":
		return CAS, familyStorage
	case "delete":
		return Delete, familyKey
	case "incr":
		return Incr, familyKey
	case "decr":
		return Decr, familyKey
	case "touch":
		return Touch, familyKey
	case "stats":
		return Stats, familyPlain
	case "version":
		return Version, familyPlain
	case "quit":
		return Quit, familyPlain
	}
	return Refused, familyNone
}

// refuse makes the request one that is only answered.
func (p *Parser) refuse(why Reply) Status {
	p.Request.Verb, p.Request.Reply = Refused, why
	return Ready
}

// split finds the words of line, at most maxWords of them.
func (p *Parser) split(line []byte) {
	n, at := 0, 0
	for n < maxWords {
		for at < len(line) && line[at] == ' ' {
			at++
		}
		if at == len(line) {
			break
		}
		from := at
		for at < len(line) && line[at] != ' ' {
			at++
		}
		p.words[n] = span{uint16(from), uint16(at)}
		n++
	}
	p.nwords = n
}

// word returns word i of a split line, clipped; there must be one.
func (p *Parser) word(line []byte, i int) []byte {
	w := p.words[i]
	return line[w.from:w.to:w.to]
}

// noReply tells whether the last word of a split line asks for silence.
func (p *Parser) noReply(line []byte) bool {
	return p.nwords > 0 && string(p.word(line, p.nwords-1)) == "noreply"
}

// arguments hands the words after the command over.
func (p *Parser) arguments(line []byte) {
	r := &p.Request
	r.NArgs = max(p.nwords-1, 0)
	for i := range r.Args {
		r.Args[i] = nil
		if i < r.NArgs {
			r.Args[i] = p.word(line, i+1)
		}
	}
}

// parseGet reads what follows the word of get, gets, gat or gats on a whole line.
func (p *Parser) parseGet(verb Verb, rest []byte) Status {
	r := &p.Request
	r.Verb = verb
	keys := trimSpaces(rest)
	if verb == Gat || verb == Gats {
		var word []byte
		word, keys = NextKey(keys)
		keys = trimSpaces(keys)
		if len(keys) > 0 {
			exptime, ok := strictInt32(word)
			if !ok {
				return p.refuse(BadExptime)
			}
			r.Exptime = exptime
		}
	}
	if len(keys) == 0 {
		return p.refuse(BadFormat)
	}
	if len(keys) > MaxKey && longWord(keys) >= 0 {
		if verb == Get || verb == Gets {
			p.split(rest)
			p.nwords = min(p.nwords, maxWords-1) // the command is not among them
			r.NoReply = p.noReply(rest)
		}
		return p.refuse(BadFormat)
	}
	r.Keys = keys
	return Ready
}

// parseLongGet begins a list of keys whose line is longer than MaxLine. Of another line it says Hangup, without using any of it.
func (p *Parser) parseLongGet(buf []byte) (int, Status) {
	word := bytes.IndexByte(buf[:MaxLine], ' ')
	if word < 0 {
		return 0, Hangup
	}
	verb, family := lookUp(buf[:word])
	if family != familyGet {
		return 0, Hangup
	}
	r := &p.Request
	r.Verb = verb
	n := word
	if verb == Gat || verb == Gats {
		left := trimSpaces(buf[word:MaxLine])
		end := bytes.IndexByte(left, ' ')
		if end < 0 {
			return 0, Hangup
		}
		n = MaxLine - len(left) + end
		exptime, ok := strictInt32(left[:end])
		if !ok {
			p.where = atSkip
			return n, p.refuse(BadExptime)
		}
		r.Exptime = exptime
	}
	p.where, p.key = atKeys, false
	m, st := p.parseKeys(buf[n:])
	return n + m, st
}

// parseKeys reads as much of a list of keys as buf holds. The request's Verb and Exptime still stand.
func (p *Parser) parseKeys(buf []byte) (int, Status) {
	r := &p.Request
	words := buf
	newline := bytes.IndexByte(buf, '\n')
	if newline >= 0 {
		words = buf[:newline]
		if newline > 0 && words[newline-1] == '\r' {
			words = words[:newline-1]
		}
	} else {
		words = buf[:bytes.LastIndexByte(buf, ' ')+1]
		// The last byte of an unfinished word may turn out to be half of the line end.
		if len(buf)-len(words) > MaxKey+1 && len(trimSpaces(words)) == 0 {
			p.where = atSkip
			return len(words), p.refuse(BadFormat)
		}
	}
	if bad := longWord(words); bad >= 0 {
		words = words[:bad]
		if len(trimSpaces(words)) == 0 {
			p.where = atSkip
			return bad, p.refuse(BadFormat)
		}
		newline = -1
	}
	r.Keys = trimSpaces(words)
	r.More = newline < 0
	p.key = p.key || len(r.Keys) > 0
	if r.More {
		p.tail = 0
		if len(r.Keys) == 0 {
			return len(words), NeedMore
		}
		return len(words), Ready
	}
	p.where = atLine
	p.tail = newline + 1 - len(words)
	if !p.key {
		return newline + 1, p.refuse(BadFormat)
	}
	return newline + 1, Ready
}

// Unread gives back the keys of a get that were not answered yet: left must be what NextKey left of Request.Keys. It
// returns how many of the bytes that Parse consumed count as unconsumed again; the next Parse goes on with these keys.
func (p *Parser) Unread(left []byte) int {
	p.where, p.key = atKeys, true
	return len(left) + p.tail
}

// NextKey cuts the first word off words, the Keys of a Request. At the end key is empty.
func NextKey(words []byte) (key, left []byte) {
	words = trimSpaces(words)
	end := bytes.IndexByte(words, ' ')
	if end < 0 {
		return words[:len(words):len(words)], words[len(words):]
	}
	return words[:end:end], words[end:]
}

// trimSpaces cuts blanks off the front.
func trimSpaces(b []byte) []byte {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	return b
}

// longWord returns where the first word longer than MaxKey begins, or -1.
func longWord(words []byte) int {
	at := 0
	for at < len(words) {
		end := bytes.IndexByte(words[at:], ' ')
		if end < 0 {
			end = len(words) - at
		}
		if end > MaxKey {
			return at
		}
		at += end + 1
	}
	return -1
}

// skipLine returns how much of buf belongs to a line that is thrown away, and whether it ends there.
func skipLine(buf []byte) (n int, found bool) {
	newline := bytes.IndexByte(buf, '\n')
	if newline < 0 {
		return len(buf), false
	}
	return newline + 1, true
}

// maxLength is the largest length a client may announce at all; with its line end it fits 31 bits.
const maxLength = 1<<31 - 1 - 2

// parseStorage reads <verb> <key> <flags> <exptime> <length> [<unique>] [noreply] and the value after the line, which
// with its newline is buf[:head]. Once the length is known the value belongs to the command, whatever else is wrong.
func (p *Parser) parseStorage(verb Verb, line, buf []byte, head int) (int, Status) {
	r := &p.Request
	if p.nwords < 5 {
		return head, p.refuse(BadFormat)
	}
	length, ok := strictInt32(p.word(line, 4))
	if !ok || length < 0 || length > maxLength {
		return head, p.refuse(BadFormat)
	}
	block := length + 2
	r.Verb, r.Unique = verb, 0
	r.NoReply = p.noReply(line)
	r.Key = p.word(line, 1)
	flags, flagsOK := looseFlags(line[p.words[2].from:])
	exptime, exptimeOK := looseExptime(line[p.words[3].from:])
	ok = flagsOK && exptimeOK && len(r.Key) <= MaxKey
	r.Flags, r.Exptime = flags, exptime
	if verb == CAS && ok {
		if ok = p.nwords > 5; ok {
			r.Unique, ok = strictUint64(p.word(line, 5))
		}
	}
	if !ok {
		p.swallow = block
		return head, p.refuse(BadFormat)
	}
	if p.TooLarge != nil && p.TooLarge(len(r.Key), int(length)) {
		p.swallow = block
		r.TooLarge, r.Value = true, nil
		return head, Ready
	}
	return p.takeValue(buf, head, int(block))
}

// takeValue takes the value behind the line, which with its newline is buf[:head]; with its own line end it has n bytes.
func (p *Parser) takeValue(buf []byte, head, n int) (int, Status) {
	r := &p.Request
	whole := head + n
	if len(buf) < whole {
		p.Need = whole
		return 0, NeedMore
	}
	end := whole - 2
	if buf[end] != '\r' || buf[end+1] != '\n' {
		return whole, p.refuse(BadChunk)
	}
	r.Value = buf[head:end:end]
	p.whole = whole
	return whole, Ready
}

// parseKey reads delete <key>, incr and decr <key> <delta>, touch <key> <exptime>, each with noreply or not.
func (p *Parser) parseKey(verb Verb, line []byte) Status {
	r := &p.Request
	least := 3
	if verb == Delete {
		least = 2
	}
	if p.nwords < least {
		return p.refuse(BadFormat)
	}
	r.Verb, r.Unique = verb, 0
	r.NoReply = p.noReply(line)
	r.Key = p.word(line, 1)
	if len(r.Key) > MaxKey {
		return p.refuse(BadFormat)
	}
	ok := true
	switch verb {
	case Incr, Decr:
		if r.Delta, ok = strictUint64(p.word(line, 2)); !ok {
			return p.refuse(BadDelta)
		}
	case Touch:
		if r.Exptime, ok = strictInt32(p.word(line, 2)); !ok {
			return p.refuse(BadExptime)
		}
	}
	return Ready
}

// parseAdmin reads the rarer commands. They may stand behind blanks.
func (p *Parser) parseAdmin(line []byte) Status {
	r := &p.Request
	r.NoReply = p.noReply(line)
	if p.nwords == 0 {
		return p.refuse(Error)
	}
	p.arguments(line)
	ok := true
	switch string(p.word(line, 0)) {
	case "flush_all":
		r.Verb, r.Exptime = FlushAll, 0
		silent := 0
		if r.NoReply {
			silent = 1
		}
		if r.NArgs != silent {
			if r.Exptime, ok = strictInt32(p.word(line, 1)); !ok {
				return p.refuse(BadExptime)
			}
		}
		return Ready
	case "verbosity":
		r.Verb = Verbosity
		if r.NArgs == 0 {
			return p.refuse(BadFormat)
		}
		if r.Level, ok = strictUint32(r.Args[0]); !ok {
			return p.refuse(BadFormat)
		}
		return Ready
	case "shutdown":
		r.Verb = Shutdown
		return Ready
	case "watch":
		return p.parseWatch(line)
	case "cache_memlimit", "lru", "lru_crawler", "slabs":
		return p.parseTune(string(p.word(line, 0)), line)
	case "help", "explain", "top", "dedup", "routes", "route", "invalidate", "refresh", "reload", "queue", "sources", "snapshot", "warm", "log_level", "refresh_certs":
		r.Verb, r.Word = Admin, p.word(line, 0)
		return Ready
	}
	if p.nwords > 1 && bytes.HasPrefix(p.word(line, p.nwords-1), []byte("HTTP/")) {
		return Hangup
	}
	return p.refuse(Error)
}
