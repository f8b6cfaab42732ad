// Package protocol reads and writes memcached's wire formats: bytes to a Request, the outcome to an appended reply. It
// knows no socket, no clock and no store; whoever holds those drives a Parser with what has arrived and appends the
// replies to a buffer of its own. Every text a client can see stands in this package.
//
// text.go holds the classic text commands, meta.go the meta commands among them, binary.go the binary protocol, which a
// connection speaks whose first byte is 0x80.
package protocol

const (
	MaxKey  = 250      // bytes in a key
	MaxLine = 2048     // bytes of a command line without its newline that are waited for; of get, gets, gat and gats more are
	maxLine = 16 << 10 // bytes in a command line with its newline, where they have arrived together
)

// Form is which of the formats a request came in. It is answered in the same.
type Form uint8

const (
	Classic Form = iota
	Meta
	Binary
)

// Verb is what a Request asks for.
type Verb uint8

const (
	Refused Verb = iota // not a command that can be run: Request.Reply is the answer
	Get
	Gets
	Gat
	Gats
	Set
	Add
	Replace
	Append
	Prepend
	CAS
	Delete
	Incr
	Decr
	Touch
	FlushAll
	Version
	Verbosity
	Stats
	Shutdown
	Admin // an operator's word: Request.Word
	Noop  // meta, binary
	Debug // meta
	MemLimit
	Crawler
	Watch
	Quit
	Login    // Parser.Locked, text: Request.User and Password
	SASLList // Parser.SASL: which mechanisms there are
	SASLAuth // Key: the mechanism, Value: what the client says first
	SASLStep // Value: what it says next
)

// Request is one command. Its slices alias the buffer given to Parse and die with the next call of Parse or the next
// change of that buffer. Only the fields named for its Verb mean anything.
type Request struct {
	Form     Form
	Verb     Verb
	NoReply  bool  // the client wants no answer, not even an error
	More     bool  // get family: the list of keys goes on, the next Parse brings the rest; no END yet
	TooLarge bool  // storage: the announced value was refused by Parser.TooLarge and is being swallowed; Value is nil
	Reply    Reply // Refused, not binary

	Quiet  bool   // meta, binary: no answer where all went well; a get that found nothing is not answered instead
	Meta   Choice // meta
	Opcode byte   // binary
	Opaque uint32 // binary: given back with the answer
	Code   Code   // Refused, binary

	Flags   uint32
	Exptime int64  // storage, touch, gat, flush_all, and incr and decr that Vivify: seconds as the client wrote them; meta: T
	Level   uint32 // verbosity; cache_memlimit: MiB
	Unique  uint64 // cas and all of binary and meta: what the client compares with, 0 being nothing but for cas
	Delta   uint64 // incr, decr
	Initial uint64 // with Vivify
	Vivify  bool   // incr, decr: an absent key becomes Initial; meta: N

	Key   []byte // all commands with exactly one key; binary stats: the group; SASLAuth, SASLStep: the mechanism
	Keys  []byte // get family: the words of the line, for NextKey
	Value []byte // storage: without the line end after it

	User, Password []byte // Login

	Streams Streams // watch; 0: a word of it is none
	Crawl   Crawl   // lru_crawler
	Classes Classes // lru_crawler crawl, metadump, mgdump

	Word  []byte    // Admin: the command
	Args  [3][]byte // stats, shutdown, Admin: the words after the command
	NArgs int       // how many there were; only the first three are in Args
}

// Status is what Parse found.
type Status uint8

const (
	NeedMore Status = iota // no complete command: call again with the unconsumed bytes and more
	Ready                  // Request holds a command
	Hangup                 // close the connection, after the replies so far, without another
)

// Parser splits the byte stream of one connection into requests. It holds the little that must outlive a buffer: how
// much of a refused value is still to be thrown away, and whether a list of keys goes on. The zero value is ready. It
// is not safe for concurrent use.
//
// What it answers depends on the bytes alone, not on how they were cut into buffers. Like memcached it makes one exception: a
// line of more than MaxLine bytes is taken where one buffer holds all of it, and ends the connection where it does not.
type Parser struct {
	Request Request

	Only Only // set before the first Parse
	SASL bool // binary: the authentication commands are there; set before the first Parse

	// Locked: the client has not shown who it is. Text then takes nothing but a Login, the binary protocol nothing but version
	// and the authentication commands. It may change between two calls of Parse, after a Login or an authentication command.
	Locked bool

	// TooLarge says whether a value of n bytes under a key of k bytes is over the limit; it is asked before any byte of
	// the value is waited for. Nil: nothing is.
	TooLarge func(k, n int) bool

	// Need is, after NeedMore, how many bytes the command in hand takes in all, counted from the first unconsumed byte;
	// 0 where that is not known yet, and then it is less than MaxLine+2.
	Need int

	whole   int // bytes of the last command with a value
	swallow int64
	where   where
	begun   bool
	binary  bool
	ended   bool // nothing that follows is read
	key     bool // in keys: at least one key was seen
	tail    int  // bytes consumed behind Request.Keys
	words   [maxWords]span
	decoded [MaxKey]byte // a key that came base64-coded
	nwords  int
}

// Only is what a connection may speak.
type Only uint8

const (
	Any        Only = iota // the first byte decides
	OnlyText               // 0x80 is as good as any other byte
	OnlyBinary             // another first byte ends the connection
)

// where a Parser stands in the stream.
type where uint8

const (
	atLine where = iota // before a command line
	atKeys              // inside the list of keys of a get
	atSkip              // inside a line to be thrown away
)

// Parse looks for the next command in buf, the unconsumed bytes of the connection. n bytes of buf are used up, whatever
// the status; with Ready they may not be changed before the request has been run.
func (p *Parser) Parse(buf []byte) (n int, st Status) {
	if p.ended {
		return 0, Hangup
	}
	if p.swallow > 0 {
		n = int(min(p.swallow, int64(len(buf))))
		p.swallow -= int64(n)
	}
	if p.where == atSkip {
		m, found := skipLine(buf[n:])
		n += m
		if found {
			p.where = atLine
		}
	}
	if n == len(buf) {
		return n, NeedMore
	}
	if !p.begun {
		p.begun = true
		p.binary = p.Only == OnlyBinary || p.Only == Any && buf[0] == binaryRequest
		if p.binary {
			p.Request.Form = Binary
		}
	}
	var m int
	switch {
	case p.binary:
		m, st = p.parseBinary(buf[n:])
	case p.Locked:
		m, st = p.parseLogin(buf[n:])
	case p.where == atKeys:
		m, st = p.parseKeys(buf[n:])
	default:
		m, st = p.parseCommand(buf[n:])
	}
	return n + m, st
}

// Undo gives back the storage command with its value that Parse has just brought, for it to be parsed again later. It returns
// how many of the bytes that Parse consumed count as unconsumed again.
func (p *Parser) Undo() int { return p.whole }

// Idle tells whether the parser stands between two commands: nothing of one has been consumed.
func (p *Parser) Idle() bool { return p.swallow == 0 && p.where == atLine }
