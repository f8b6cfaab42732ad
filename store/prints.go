package store

// printBucket remembers 16-bit fingerprints of hashes, the oldest forgotten first. A table of them tells, for two bytes
// each, what was met lately: payloads, so that only those that come again are shared, and evicted keys, so that those that
// come back are not on probation a second time.
type printBucket struct {
	print [printWays]uint16
	next  uint16
	_     [3]uint16
}

// printWays is how many fingerprints share a bucket, a cache line: a stranger is taken for one of them once in
// 65,536/printWays.
const printWays = 28

// met tells whether h was met before, and remembers it.
func met(table []printBucket, h uint64) bool {
	b, print := printOf(table, h)
	for _, p := range b.print {
		if p == print {
			return true
		}
	}
	b.print[b.next] = print
	b.next = (b.next + 1) % printWays
	return false
}

// recall tells whether h was met before, and forgets it.
func recall(table []printBucket, h uint64) bool {
	b, print := printOf(table, h)
	for i, p := range b.print {
		if p == print {
			b.print[i] = 0
			return true
		}
	}
	return false
}

func printOf(table []printBucket, h uint64) (*printBucket, uint16) {
	return &table[h>>20%uint64(len(table))], max(uint16(h>>40), 1)
}
