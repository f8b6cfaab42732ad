package protocol

import (
	"strconv"
	"time"
)

// Streams are what watch can show, as bits.
type Streams uint32

const (
	WatchFetchers   Streams = 1 << iota // look-ups
	WatchMutations                      // storage commands
	WatchEvictions                      // items that had to make room
	WatchConnEvents                     // connections
	WatchDeletions                      // deletes
	watchNothing                        // words that memcached knows and nothing here belongs to
)

// streams are the words of watch in the order in which memcached takes a prefix for one of them.
var streams = [...]struct {
	name string
	bits Streams
}{
	{"rawcmds", watchNothing}, {"evictions", WatchEvictions}, {"fetchers", WatchFetchers}, {"mutations", WatchMutations},
	{"sysevents", watchNothing}, {"connevents", WatchConnEvents}, {"proxyreqs", watchNothing}, {"proxyevents", watchNothing},
	{"proxyuser", watchNothing}, {"deletions", WatchDeletions},
}

// parseWatch reads watch [stream...], without one the fetchers. With a word that is no stream there are none: other reasons to
// refuse it come first.
func (p *Parser) parseWatch(line []byte) Status {
	r := &p.Request
	r.Verb, r.Streams = Watch, 0
	if p.nwords < 2 {
		r.Streams = WatchFetchers
		return Ready
	}
	for i := 1; i < p.nwords; i++ {
		known := false
		for _, s := range streams {
			if known = abbreviates(p.word(line, i), s.name); known {
				r.Streams |= s.bits
				break
			}
		}
		if !known {
			r.Streams = 0
			break
		}
	}
	return Ready
}

// LogHead is what every line of watch begins with.
type LogHead struct {
	Time time.Time
	ID   uint64 // grows from line to line
	Type string
}

func (h *LogHead) appendTo(dst []byte) []byte {
	dst = append(dst, "ts="...)
	dst = strconv.AppendInt(dst, h.Time.Unix(), 10)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, int64(h.Time.Nanosecond()/1000), 10) // without leading zeros, as there
	dst = append(dst, " gid="...)
	dst = strconv.AppendUint(dst, h.ID, 10)
	dst = append(dst, " type="...)
	return append(dst, h.Type...)
}

// LogItem is a line about a key. Which of its fields are shown goes by the type of the line.
type LogItem struct {
	LogHead
	Key     []byte
	Status  string
	Command string
	TTL     int64 // seconds, -1 for no end; less for over
	Age     uint32
	Fetched bool
	Held    bool   // there is an item, which is in the first class
	Conn    uint64 // number of the connection
	Size    int
}

// AppendLogGet appends a line about a look-up.
func AppendLogGet(dst []byte, l *LogItem) []byte {
	dst = l.keyed(dst)
	dst = append(dst, " status="...)
	dst = append(dst, l.Status...)
	return l.placed(dst, true)
}

// AppendLogStore appends a line about a storage command.
func AppendLogStore(dst []byte, l *LogItem) []byte {
	dst = l.keyed(dst)
	dst = append(dst, " status="...)
	dst = append(dst, l.Status...)
	dst = append(dst, " cmd="...)
	dst = append(dst, l.Command...)
	dst = append(dst, " ttl="...)
	dst = strconv.AppendUint(dst, uint64(max(l.TTL, 0)), 10)
	return l.placed(dst, true)
}

// AppendLogDelete appends a line about a delete.
func AppendLogDelete(dst []byte, l *LogItem) []byte {
	dst = l.keyed(dst)
	dst = append(dst, " cmd="...)
	dst = append(dst, l.Command...)
	return l.placed(dst, false)
}

// AppendLogEviction appends a line about an item that had to go.
func AppendLogEviction(dst []byte, l *LogItem) []byte {
	dst = l.keyed(dst)
	if l.Fetched {
		dst = append(dst, " fetch=yes"...)
	} else {
		dst = append(dst, " fetch=no"...)
	}
	dst = append(dst, " ttl="...)
	dst = strconv.AppendInt(dst, l.TTL, 10)
	dst = append(dst, " la="...)
	dst = strconv.AppendUint(dst, uint64(l.Age), 10)
	return l.placed(dst, false)
}

func (l *LogItem) keyed(dst []byte) []byte {
	dst = l.appendTo(dst)
	dst = append(dst, " key="...)
	return appendURI(dst, l.Key)
}

func (l *LogItem) placed(dst []byte, conn bool) []byte {
	class := " clsid=0"
	if l.Held {
		class = " clsid=1"
	}
	dst = append(dst, class...)
	if conn {
		dst = append(dst, " cfd="...)
		dst = strconv.AppendUint(dst, l.Conn, 10)
	}
	dst = append(dst, " size="...)
	dst = strconv.AppendInt(dst, int64(l.Size), 10)
	return append(dst, '\n')
}

// AppendLogConn appends a line about a connection; reason is why it ended, empty where it begins.
func AppendLogConn(dst []byte, h *LogHead, host, port, transport, reason string, conn uint64) []byte {
	dst = h.appendTo(dst)
	dst = append(dst, " rip="...)
	dst = append(dst, host...)
	dst = append(dst, " rport="...)
	dst = append(dst, port...)
	dst = append(dst, " transport="...)
	dst = append(dst, transport...)
	if reason != "" {
		dst = append(dst, " reason="...)
		dst = append(dst, reason...)
	}
	dst = append(dst, " cfd="...)
	dst = strconv.AppendUint(dst, conn, 10)
	return append(dst, '\n')
}

// AppendLogFault appends a line about what broke a connection.
func AppendLogFault(dst []byte, h *LogHead, conn uint64, fault string) []byte {
	dst = h.appendTo(dst)
	dst = append(dst, " fd="...)
	dst = strconv.AppendUint(dst, conn, 10)
	dst = append(dst, " msg="...)
	return append(appendOneLine(dst, fault), '\n')
}

// AppendLogSkipped appends how many lines the watcher did not get because it was slow.
func AppendLogSkipped(dst []byte, n uint64) []byte {
	dst = append(dst, "skipped="...)
	dst = strconv.AppendUint(dst, n, 10)
	return append(dst, '\n')
}
