package store

// ghosts remember which keys were evicted lately, and how, for two bytes each, so that those that come back get a better
// place than strangers. How many others of a bucket were evicted since tells about how long ago it was. How far back a shard remembers follows from how many items it holds: with large values few, so that
// only a part of the table is in use. The shard's lock guards them.
type ghosts struct {
	b    []printBucket // the most that can be in use
	used *uint32       // of them, in the arena
}

// Items held for each bucket in use: at most as many that a bucket's prints are one and a half times that, and at least more
// than chance gives one bucket.
const (
	ghostsMost  = printWays * 2 / 3
	ghostsLeast = 8
)

// How a key was evicted, as its print tells.
type eviction uint8

const (
	unknown            eviction = iota
	evictedOnProbation          // before it was hit
	evictedFromMain             // it had been hit, but not lately
)

// fromMain in a print tells evictedFromMain; the other 15 bits are of the hash.
const fromMain = 1 << 15

// remember notes that h was evicted from a shard of so many items.
func (gh ghosts) remember(h uint64, how eviction, items int64) {
	gh.fit(items)
	b, print := gh.bucket(h)
	if how == evictedFromMain {
		print |= fromMain
	}
	b.add(print)
}

// fit sets how many buckets are in use. What stands in a bucket that another takes over from is lost.
func (gh ghosts) fit(items int64) {
	n, most := max(*gh.used, 1), uint32(len(gh.b))
	for items > int64(n)*ghostsMost && n < most {
		more := min(2*n, most)
		clear(gh.b[n:more])
		n = more
	}
	for items < int64(n)*ghostsLeast && n > 1 {
		n /= 2
	}
	*gh.used = n
}

// recall tells how h was evicted and about how many keys ago, and forgets it. An eviction that lies further back than about
// one and a half times the number of items is unknown.
func (gh ghosts) recall(h uint64, items int64) (how eviction, ago int64) {
	b, print := gh.bucket(h)
	n := int64(max(*gh.used, 1))
	for age := range min(items*3/(2*n)+1, printWays) {
		p := &b.print[(int64(b.next)+printWays-1-age)%printWays]
		if *p&^fromMain != print {
			continue
		}
		how = evictedOnProbation
		if *p&fromMain != 0 {
			how = evictedFromMain
		}
		*p = 0
		return how, age * n
	}
	return unknown, 0
}

func (gh ghosts) bucket(h uint64) (*printBucket, uint16) {
	return &gh.b[h>>20%uint64(max(*gh.used, 1))], max(uint16(h>>40)&^fromMain, 1)
}
