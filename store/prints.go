package store

// printBucket remembers 16-bit fingerprints of hashes, the oldest forgotten first. A table of them tells, for two bytes
// each, what was met lately: payloads, so that only those that come again are shared, and evicted keys, so that those that
// come back get a better place than strangers.
type printBucket struct {
	print [printWays]uint16
	next  uint16
	_     [3]uint16
}

// printWays is how many fingerprints share a bucket, a cache line: a stranger is taken for one of them once in
// 65,536/printWays.
const printWays = 28

// metElsewhere tells whether the payload of digest h was met under another key, and remembers it. by is the key's hash, of
// which the print has three bits: one key that is given the same payload again and again does not make it worth sharing.
func metElsewhere(table []printBucket, h, by uint64) bool {
	b, print := printOf(table, h)
	print = print&^7 | uint16(by>>13&7)
	for _, p := range b.print {
		if p|7 == print|7 && p != 0 {
			return p != print
		}
	}
	b.add(max(print, 1))
	return false
}

func (b *printBucket) add(print uint16) {
	b.print[b.next] = print
	b.next = (b.next + 1) % printWays
}

// met tells whether h was met before, and remembers it.
func met(table []printBucket, h uint64) bool {
	b, print := printOf(table, h)
	for _, p := range b.print {
		if p == print {
			return true
		}
	}
	b.add(print)
	return false
}

// How a key was evicted, as its print tells.
type eviction uint8

const (
	unknown            eviction = iota
	evictedOnProbation          // before it was hit
	evictedFromMain             // it had been hit, but not lately
)

// fromMain in a print tells evictedFromMain; the other 15 bits are of the hash.
const fromMain = 1 << 15

// remember notes that h was evicted.
func remember(table []printBucket, h uint64, how eviction) {
	b, print := evictionOf(table, h)
	if how == evictedFromMain {
		print |= fromMain
	}
	b.print[b.next] = print
	b.next = (b.next + 1) % printWays
}

// recall tells how h was evicted, and forgets it. An eviction before about the last n is unknown.
func recall(table []printBucket, h uint64, n int64) eviction {
	b, print := evictionOf(table, h)
	for age := range int(min(n/int64(len(table))+1, printWays)) {
		p := &b.print[(int(b.next)+printWays-1-age)%printWays]
		if *p&^fromMain != print {
			continue
		}
		how := evictedOnProbation
		if *p&fromMain != 0 {
			how = evictedFromMain
		}
		*p = 0
		return how
	}
	return unknown
}

func printOf(table []printBucket, h uint64) (*printBucket, uint16) {
	return &table[h>>20%uint64(len(table))], max(uint16(h>>40), 1)
}

func evictionOf(table []printBucket, h uint64) (*printBucket, uint16) {
	b, print := printOf(table, h)
	return b, max(print&^fromMain, 1)
}
