package protocol

import (
	"math"
	"strconv"
	"strings"
)

// parseTune reads the commands by which memcached is tuned: cache_memlimit, lru, lru_crawler and slabs. What has no
// counterpart here is checked as memcached does, and answered OK.
func (p *Parser) parseTune(command string, line []byte) Status {
	switch command {
	case "cache_memlimit":
		return p.parseMemLimit(line)
	case "lru":
		return p.refuse(p.tuneLRU(line))
	case "lru_crawler":
		return p.parseCrawler(line)
	}
	return p.refuse(p.tuneSlabs(line))
}

func (p *Parser) parseMemLimit(line []byte) Status {
	if p.nwords < 2 {
		return p.refuse(Error)
	}
	r := &p.Request
	megabytes, ok := strictUint32(p.word(line, 1))
	switch {
	case !ok:
		return p.refuse(Error)
	case megabytes < 8:
		return p.refuse(MemLimitTooSmall)
	case megabytes > 1_000_000_000:
		return p.refuse(MemLimitUnit)
	}
	r.Verb, r.Level = MemLimit, megabytes
	return Ready
}

// abbreviates tells whether word is the beginning of full, which memcached takes for it.
func abbreviates(word []byte, full string) bool { return strings.HasPrefix(full, string(word)) }

// tuneLRU answers lru tune, mode and temp_ttl.
func (p *Parser) tuneLRU(line []byte) Reply {
	if p.nwords < 2 {
		return Error
	}
	switch sub := p.word(line, 1); {
	case abbreviates(sub, "tune") && p.nwords >= 6:
		hot, hotOK := strictUint32(p.word(line, 2))
		warm, warmOK := strictUint32(p.word(line, 3))
		hotFactor, hotFactorOK := p.float(line, 4)
		warmFactor, warmFactorOK := p.float(line, 5)
		switch {
		case !hotOK || !warmOK || !hotFactorOK || !warmFactorOK:
			return Error
		case hot+warm > 80:
			return LRUShares
		case hotFactor <= 0 || warmFactor <= 0:
			return LRUFactors
		}
		return OK
	case abbreviates(sub, "mode") && p.nwords >= 3:
		if mode := p.word(line, 2); !abbreviates(mode, "flat") && !abbreviates(mode, "segmented") {
			return Error
		}
		return OK
	case abbreviates(sub, "temp_ttl") && p.nwords >= 3:
		if _, ok := strictInt32(p.word(line, 2)); !ok {
			return Error
		}
		return OK
	}
	return Error
}

// float reads word i as C's strtod does, but for its hexadecimal numbers.
func (p *Parser) float(line []byte, i int) (float64, bool) {
	word := p.word(line, i)
	if len(word) > 31 {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(word), 64)
	return v, err == nil && !math.IsNaN(v)
}

// tuneSlabs answers slabs reassign and automove. There are no slabs, so nothing can be moved by hand, and what is to be
// moved by itself does not matter.
func (p *Parser) tuneSlabs(line []byte) Reply {
	if p.nwords < 3 {
		return Error
	}
	sub := p.word(line, 1)
	switch {
	case abbreviates(sub, "reassign") && p.nwords == 4:
		return SlabsReassign
	case !abbreviates(sub, "automove"):
		return Error
	}
	switch what := p.word(line, 2); {
	case abbreviates(what, "ratio"), abbreviates(what, "freeratio"):
		if p.nwords < 4 {
			return Error
		}
		if _, ok := p.float(line, 3); !ok {
			return Error
		}
	case abbreviates(what, "window"):
		if p.nwords < 4 {
			return BadFormat
		}
		seconds, ok := strictUint32(p.word(line, 3))
		if !ok {
			return BadFormat
		}
		if seconds < 3 || seconds > 1800 {
			return AutomoveWindow
		}
	default:
		level, ok := strictUint32(what)
		if !ok {
			return BadFormat
		}
		if level > 2 {
			return Error
		}
	}
	return OK
}

// Crawl is what lru_crawler is to do.
type Crawl uint8

const (
	CrawlEnable Crawl = iota
	CrawlDisable
	CrawlOnce // look for expired items now
	Metadump  // a line about each item
	Mgdump    // each key as a mg command
)

// parseCrawler reads lru_crawler.
func (p *Parser) parseCrawler(line []byte) Status {
	r := &p.Request
	r.Verb = Crawler
	if p.nwords < 2 {
		return p.refuse(Error)
	}
	sub := p.word(line, 1)
	if p.nwords == 2 {
		switch {
		case abbreviates(sub, "enable"):
			r.Crawl = CrawlEnable
		case abbreviates(sub, "disable"):
			r.Crawl = CrawlDisable
		default:
			return p.refuse(Error)
		}
		return Ready
	}
	if p.nwords > 3 {
		return p.refuse(Error)
	}
	arg := p.word(line, 2)
	switch {
	case abbreviates(sub, "crawl"):
		r.Crawl = CrawlOnce
	case abbreviates(sub, "metadump"):
		r.Crawl = Metadump
	case abbreviates(sub, "mgdump"):
		r.Crawl = Mgdump
	case abbreviates(sub, "tocrawl"):
		if _, ok := strictUint32(arg); !ok {
			return p.refuse(BadFormat)
		}
		return p.refuse(OK)
	case abbreviates(sub, "sleep"):
		microseconds, ok := strictUint32(arg)
		switch {
		case !ok:
			return p.refuse(BadFormat)
		case microseconds > 1_000_000:
			return p.refuse(CrawlerSleep)
		}
		return p.refuse(OK)
	default:
		return p.refuse(Error)
	}
	r.Classes = readClasses(arg)
	return Ready
}

// Classes are the slab classes that lru_crawler is to look at. Here all items are in the first.
type Classes uint8

const (
	ClassesHeld  Classes = iota // the first is among them
	ClassesEmpty                // the first is not
	ClassesNone                 // the list names none
	ClassesBad                  // one of them is no class
	ClassesHash                 // all, by way of the hash table, which crawl does not go
)

// maxClasses is how many bytes of a list of classes memcached looks at.
const maxClasses = 511

// readClasses reads "all", "hash", or numbers divided by commas.
func readClasses(list []byte) Classes {
	switch string(list) {
	case "all":
		return ClassesHeld
	case "hash":
		return ClassesHash
	}
	list = list[:min(len(list), maxClasses)]
	classes := ClassesNone
	for word := range strings.SplitSeq(string(list), ",") {
		if word == "" {
			continue
		}
		class, ok := strictUint32([]byte(word))
		if !ok || class < 1 || class > MaxSlabClass {
			return ClassesBad
		}
		switch {
		case class == 1:
			classes = ClassesHeld
		case classes == ClassesNone:
			classes = ClassesEmpty
		}
	}
	return classes
}

// MaxSlabClass is memcached's last slab class.
const MaxSlabClass = 63
