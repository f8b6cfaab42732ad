package protocol

import "strconv"

// Reply is a fixed answer line.
type Reply uint8

const (
	Error Reply = iota
	Stored
	NotStored
	Exists
	NotFound
	Deleted
	Touched
	OK
	End
	Reset
	MetaNoop
	BadFormat
	BadLine
	BadChunk
	BadExptime
	BadDelta
	BadToken
	BadFlags
	DuplicateFlag
	InvalidFlag
	TooManyFlags
	OpaqueTooLong
	BadKey
	BadInitial
	BadDeltaValue
	BadSetMode
	BadDeltaMode
	NonNumeric
	TooLarge
	NoMemoryStore
	NoMemoryDelta
	FlushNotAllowed
	DropNotAllowed
	MemLimitTooSmall
	MemLimitUnit
	MemLimitBounds
	LRUShares
	LRUFactors
	SlabsReassign
	AutomoveWindow
	CrawlerRunning
	CrawlerDisabled
	CrawlerBadClass
	CrawlerNoClass
	CrawlerNoHash
	CrawlerSleep
	MetadumpNotAllowed
	MgdumpNotAllowed
	MetadumpStacked
	MgdumpStacked
	WatchStacked
	MetaEnd
	ShutdownNotEnabled
	ShutdownMode
	WatchNotAllowed
	WatcherTooMany
	DetailUsage
	NoTLS
	NotOverUDP
	DetailNotAllowed
	DumpNotAllowed
	SlabID
	TooManyConnections
	Unauthenticated
	LoginTooLong
	LoginTermination
	LoginFormat
	LoginFailed
)

var replies = [...]string{
	Error:              "ERROR\r\n",
	Stored:             "STORED\r\n",
	NotStored:          "NOT_STORED\r\n",
	Exists:             "EXISTS\r\n",
	NotFound:           "NOT_FOUND\r\n",
	Deleted:            "DELETED\r\n",
	Touched:            "TOUCHED\r\n",
	OK:                 "OK\r\n",
	End:                "END\r\n",
	Reset:              "RESET\r\n",
	MetaNoop:           "MN\r\n",
	BadFormat:          "CLIENT_ERROR bad command line format\r\n",
	BadLine:            "CLIENT_ERROR bad command line\r\n",
	BadChunk:           "CLIENT_ERROR bad data chunk\r\n",
	BadExptime:         "CLIENT_ERROR invalid exptime argument\r\n",
	BadDelta:           "CLIENT_ERROR invalid numeric delta argument\r\n",
	BadToken:           "CLIENT_ERROR bad token in command line format\r\n",
	BadFlags:           "CLIENT_ERROR invalid or duplicate flag\r\n",
	DuplicateFlag:      "CLIENT_ERROR duplicate flag\r\n",
	InvalidFlag:        "CLIENT_ERROR invalid flag\r\n",
	TooManyFlags:       "CLIENT_ERROR options flags are too long\r\n",
	OpaqueTooLong:      "CLIENT_ERROR opaque token too long\r\n",
	BadKey:             "CLIENT_ERROR error decoding key\r\n",
	BadInitial:         "CLIENT_ERROR invalid numeric initial value\r\n",
	BadDeltaValue:      "CLIENT_ERROR invalid numeric delta value\r\n",
	BadSetMode:         "CLIENT_ERROR invalid mode for ms M token\r\n",
	BadDeltaMode:       "CLIENT_ERROR invalid mode for ma M token\r\n",
	NonNumeric:         "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
	TooLarge:           "SERVER_ERROR object too large for cache\r\n",
	NoMemoryStore:      "SERVER_ERROR out of memory storing object\r\n",
	NoMemoryDelta:      "SERVER_ERROR out of memory\r\n",
	FlushNotAllowed:    "CLIENT_ERROR flush_all not allowed\r\n",
	DropNotAllowed:     "CLIENT_ERROR invalidate not allowed\r\n",
	MemLimitTooSmall:   "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n",
	MemLimitUnit:       "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n",
	MemLimitBounds:     "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n",
	LRUShares:          "ERROR hot and warm pcts must not exceed 80\r\n",
	LRUFactors:         "ERROR hot/warm age factors must be greater than 0\r\n",
	SlabsReassign:      "CLIENT_ERROR slab reassignment disabled\r\n",
	AutomoveWindow:     "CLIENT_ERROR automove window too low or too high\r\n",
	CrawlerRunning:     "ERROR failed to start lru crawler thread\r\n",
	CrawlerDisabled:    "CLIENT_ERROR lru crawler disabled\r\n",
	CrawlerBadClass:    "BADCLASS invalid class id\r\n",
	CrawlerNoClass:     "NOTSTARTED no items to crawl\r\n",
	CrawlerNoHash:      "ERROR an unknown error happened\r\n",
	CrawlerSleep:       "CLIENT_ERROR sleep must be one second or less\r\n",
	MetadumpNotAllowed: "ERROR metadump not allowed\r\n",
	MgdumpNotAllowed:   "ERROR key dump not allowed\r\n",
	MetadumpStacked:    "ERROR cannot pipeline other commands before metadump\r\n",
	MgdumpStacked:      "ERROR cannot pipeline other commands before mgdump\r\n",
	WatchStacked:       "ERROR cannot pipeline other commands before watch\r\n",
	MetaEnd:            "EN\r\n",
	ShutdownNotEnabled: "SERVER_ERROR: shutdown not enabled\r\n",
	ShutdownMode:       "CLIENT_ERROR invalid shutdown mode\r\n",
	WatchNotAllowed:    "CLIENT_ERROR watch commands not allowed\r\n",
	WatcherTooMany:     "WATCHER_TOO_MANY log watcher limit reached\r\n",
	DetailUsage:        "CLIENT_ERROR usage: stats detail on|off|dump\r\n",
	NoTLS:              "Error TLS not enabled\r\n",
	NotOverUDP:         "CLIENT_ERROR not over UDP, use TCP\r\n",
	DetailNotAllowed:   "CLIENT_ERROR stats detail not allowed\r\n",
	DumpNotAllowed:     "CLIENT_ERROR stats cachedump not allowed\r\n",
	SlabID:             "CLIENT_ERROR Illegal slab id\r\n",
	TooManyConnections: "ERROR Too many open connections\r\n",
	Unauthenticated:    "CLIENT_ERROR unauthenticated\r\n",
	LoginTooLong:       "CLIENT_ERROR auth token too long\r\n",
	LoginTermination:   "CLIENT_ERROR bad command line termination\r\n",
	LoginFormat:        "CLIENT_ERROR bad authentication token format\r\n",
	LoginFailed:        "CLIENT_ERROR authentication failure\r\n",
}

// AppendReply appends the line with its line end.
func AppendReply(dst []byte, r Reply) []byte { return append(dst, replies[r]...) }

// MaxValueHeader bounds what AppendValue adds to the key.
const MaxValueHeader = len("VALUE  4294967295 2147483647 18446744073709551615\r\n")

// AppendValue appends the line that announces a value of n bytes. The value and AppendLineEnd follow.
func AppendValue(dst, key []byte, flags uint32, n int) []byte {
	dst = appendValue(dst, key, flags, n)
	return append(dst, '\r', '\n')
}

// AppendValueUnique is AppendValue with the number that cas compares, for gets and gats.
func AppendValueUnique(dst, key []byte, flags uint32, n int, unique uint64) []byte {
	dst = appendValue(dst, key, flags, n)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, unique, 10)
	return append(dst, '\r', '\n')
}

func appendValue(dst, key []byte, flags uint32, n int) []byte {
	dst = append(dst, "VALUE "...)
	dst = append(dst, key...)
	dst = append(dst, ' ')
	if flags == 0 {
		dst = append(dst, '0')
	} else {
		dst = strconv.AppendUint(dst, uint64(flags), 10)
	}
	dst = append(dst, ' ')
	return strconv.AppendUint(dst, uint64(n), 10)
}

// AppendLineEnd ends a value.
func AppendLineEnd(dst []byte) []byte { return append(dst, '\r', '\n') }

// AppendNumber appends the answer of incr and decr.
func AppendNumber(dst []byte, n uint64) []byte {
	dst = strconv.AppendUint(dst, n, 10)
	return append(dst, '\r', '\n')
}

// AppendVersion appends the answer of version.
func AppendVersion(dst []byte, version string) []byte {
	dst = append(dst, "VERSION "...)
	dst = append(dst, version...)
	return append(dst, '\r', '\n')
}

// AppendClientError appends an error of our own wording; a line end in why becomes a blank.
func AppendClientError(dst []byte, why string) []byte {
	return AppendText(append(dst, "CLIENT_ERROR "...), why)
}

// AppendText appends a line of an answer to an operator's word; a line end in text becomes a blank.
func AppendText(dst []byte, text string) []byte {
	return append(appendOneLine(dst, text), '\r', '\n')
}

// appendOneLine appends text with blanks for its line ends.
func appendOneLine(dst []byte, text string) []byte {
	for i := range len(text) {
		c := text[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		dst = append(dst, c)
	}
	return dst
}

// AppendStat appends one line of a stats answer.
func AppendStat(dst []byte, name, value string) []byte {
	dst = append(dst, "STAT "...)
	dst = append(dst, name...)
	dst = append(dst, ' ')
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}
