package store

import "math/bits"

// printBucket holds 16-bit fingerprints of hashes, the oldest overwritten first.
type printBucket struct {
	print [printWays]uint16
	next  uint16
}

// printWays is how many fingerprints share a bucket, a cache line: a stranger is taken for one of them once in
// 65,536/printWays.
const printWays = 31

func (b *printBucket) add(print uint16) {
	b.next %= printWays // a memory file's sum does not tell of prints
	b.print[b.next] = print
	b.next = (b.next + 1) % printWays
}

// find returns the place of a print between the two, or -1.
func (b *printBucket) find(least, most uint16) int {
	for i, has := range b.print {
		if has >= least && has <= most {
			return i
		}
	}
	return -1
}

// prints remember which payloads were met lately, for two bytes each, so that only those that come again are shared. The
// table starts small and grows by a bucket at a time (linear hashing) as prints come, so that memory is touched only for what
// there is to remember; a print is found until the table has doubled twice.
type prints struct {
	b  []printBucket // the largest it can grow to
	st *printState
}

// printState is the part of prints in the arena.
type printState struct {
	buckets uint32 // in use
	added   uint32 // since the last one came into use
}

const (
	firstBuckets    = 64 // in use from the start: a page
	printsPerBucket = 26 // prints that come before another bucket does: fewer than fit, as they do not spread evenly
)

// used returns how many buckets are in use.
func (p prints) used() uint32 { return max(p.st.buckets, min(firstBuckets, uint32(len(p.b)))) }

// buckets returns where the print of h stands, where it stood before the table grew (often the same), and the print.
func (p prints) buckets(h uint64) (now, before *printBucket, print uint16) {
	n := p.used()
	half := uint32(1) << (bits.Len32(n) - 1)
	i := uint32(h>>20) & (2*half - 1)
	if i >= n {
		i -= half
	}
	was := i
	if was >= half {
		was -= half
	} else if half > 1 {
		was &= half/2 - 1
	}
	return &p.b[i], &p.b[was], uint16(h >> 40)
}

// keyBits of a print are of the key under which the payload was met.
const keyBits = 7

// metElsewhere tells whether the payload of digest h was met under another key than the one of hash by, and remembers it. One
// key that is given the same payload again and again does not make it worth sharing. Of eight other keys one is taken for the
// same.
func (p prints) metElsewhere(h, by uint64) bool {
	b, before, print := p.buckets(h)
	print = max(print&^keyBits|uint16(by>>13&keyBits), 1)
	least, most := max(print&^keyBits, 1), print|keyBits
	if i := b.find(least, most); i >= 0 {
		return b.print[i] != print
	}
	if before != b {
		if i := before.find(least, most); i >= 0 {
			return before.print[i] != print
		}
	}
	b.add(print)
	if n := p.used(); int(n) < len(p.b) {
		if p.st.added++; p.st.added >= printsPerBucket {
			p.st.added, p.st.buckets = 0, n+1
		}
	}
	return false
}
