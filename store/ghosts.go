package store

// ghosts remember which keys were evicted lately, and how, for two bytes each, so that those that come back get a better
// place than strangers.
type ghosts []printBucket

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
func (gh ghosts) remember(h uint64, how eviction) {
	b, print := gh.bucket(h)
	if how == evictedFromMain {
		print |= fromMain
	}
	b.add(print)
}

// recall tells how h was evicted, and forgets it. An eviction before about the last n is unknown.
func (gh ghosts) recall(h uint64, n int64) eviction {
	b, print := gh.bucket(h)
	for age := range int(min(n/int64(len(gh))+1, printWays)) {
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

func (gh ghosts) bucket(h uint64) (*printBucket, uint16) {
	return &gh[h>>20%uint64(len(gh))], max(uint16(h>>40)&^fromMain, 1)
}
