package store

// emptySearch finds the segment with the most dead bytes in a list of them, over as many lock holds as that takes: in a large
// store a shard has a thousand, and to read what is known of each at once would make others wait. What was left free at a segment's
// end, because the next record did not fit, is no gain: the records would leave as much elsewhere.
type emptySearch struct {
	begun bool
	log   int    // key logs: the one that at is in
	at    uint32 // segment to look at next; noSegment at the end of the list
	best  uint32 // of those seen; noSegment if none is worth it
	dead  uint32 // its dead bytes, or how many more than which are worth it
}

// searchMost bounds the segments that one lock hold looks at.
const searchMost = 64

// begin begins a search at the head of a list for a segment with more dead bytes than said.
func (e *emptySearch) begin(head, dead uint32) {
	*e = emptySearch{begun: true, at: head, best: noSegment, dead: dead}
}

// walk looks at no more than n segments, but not at the one being written, which ends the list, and returns how many.
func (e *emptySearch) walk(meta []segMeta, tail uint32, n int) (looked int) {
	for ; e.at != noSegment && looked < n; looked++ {
		if e.at == tail {
			e.at = noSegment
			break
		}
		m := &meta[e.at]
		if m.used-m.live > e.dead {
			e.best, e.dead = e.at, m.used-m.live
		}
		e.at = m.next
	}
	return looked
}

// leave lets go of a segment that is given back, of which next is the one behind. Without the best so far the search has to begin anew.
func (e *emptySearch) leave(seg, next uint32) {
	if e.at == seg {
		e.at = next
	}
	if e.best == seg {
		e.begun = false
	}
}
