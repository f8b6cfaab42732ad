package store

// since is a set of hashes of keys that something newer than a snapshot happened to since its load began: they were written,
// deleted, touched or loaded. Its size is fixed; once it is full nothing more is known of the shard's keys.
type since struct {
	slots []uint64 // open addressing; 0 is empty
	n     int
	full  bool
}

// The slots of a shard: a 64th of the memory limit for all shards, within bounds.
const (
	sinceLeast = 1 << 10
	sinceMost  = 1 << 15
	sinceShare = 64
)

// newer notes, while a snapshot is loaded, that what it has for h is outdated.
func (sh *shard) newer(h uint64) {
	if sh.since != nil {
		sh.since.add(h)
	}
}

func (x *since) find(h uint64) *uint64 {
	for i := h * groupMix >> 20; ; i++ {
		if s := &x.slots[i&uint64(len(x.slots)-1)]; *s == h || *s == 0 {
			return s
		}
	}
}

func (x *since) add(h uint64) {
	h = max(h, 1) // two hashes that are taken for one only keep more out
	if x.full {
		return
	}
	switch s := x.find(h); {
	case *s == h:
	case x.n >= len(x.slots)*3/4:
		x.full = true
	default:
		*s = h
		x.n++
	}
}

// has tells whether h was added, as far as that is known.
func (x *since) has(h uint64) bool { return x.n > 0 && *x.find(max(h, 1)) != 0 }
