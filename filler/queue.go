package filler

// chunkLen is the number of entries in a chunk: large enough that a chunk's head is nothing beside its keys.
const chunkLen = 128

// entry is a queued lease. Its key lies in the buffer beside it.
type entry struct {
	lease   Lease  // a zero Serial: moved to another lane, nothing is left here
	off     uint32 // of the key in the buffer
	n       uint8  // length of the key
	lane    Lane
	tries   uint8 // loads that failed so far
	checked uint8 // the plan whose types its parts passed; 0: none
}

// chunk is a run of entries with their keys, both without pointers.
type chunk struct {
	next, prev  *chunk
	id          uint32 // in its pool
	first, last int    // entries[first:last] are queued, but for those that were moved
	live        int    // those that were not
	entries     [chunkLen]entry
	keys        []byte
}

// queue is a first-in first-out list of leases. Its zero value is empty. It belongs to the dispatcher, without locks.
type queue struct {
	head, tail *chunk
	n          int
}

// place is where an entry lies. It has no pointer, so that an index of places costs the garbage collector nothing.
type place struct {
	chunk uint32
	at    uint16
	route uint16
}

// push appends a lease with a copy of its key. Chunks come from and go back to pool.
func (q *queue) push(pool *chunkPool, e entry, key []byte) place {
	c := q.tail
	if c == nil || c.last == chunkLen {
		c = pool.get()
		old := q.tail
		if old == nil {
			q.head = c
		} else {
			old.next, c.prev = c, old
		}
		q.tail = c
		if old != nil && old.live == 0 {
			q.unlink(pool, old)
		}
	}
	e.off, e.n = uint32(len(c.keys)), uint8(len(key))
	c.keys = append(c.keys, key...)
	at := c.last
	c.entries[at] = e
	c.last++
	c.live++
	q.n++
	return place{chunk: c.id, at: uint16(at)}
}

// front returns the oldest entry and its key, valid until drop. The queue must not be empty.
func (q *queue) front(pool *chunkPool) (*entry, []byte) {
	for q.head.entries[q.head.first].lease.Serial == 0 {
		q.next(pool)
	}
	e := &q.head.entries[q.head.first]
	return e, q.head.key(e)
}

func (c *chunk) key(e *entry) []byte { return c.keys[e.off : e.off+uint32(e.n)] }

// drop takes the entry away that front returned.
func (q *queue) drop(pool *chunkPool) {
	q.head.live--
	q.next(pool)
	q.n--
	q.tidy(pool)
}

// next steps over the oldest entry.
func (q *queue) next(pool *chunkPool) {
	c := q.head
	c.first++
	if c.first == c.last {
		q.unlink(pool, c)
	}
}

// tidy gives back the chunks of a queue in which nothing is left but the places of moved entries.
func (q *queue) tidy(pool *chunkPool) {
	for q.n == 0 && q.head != nil {
		q.next(pool)
	}
}

// cut takes the entry at p out of the queue, wherever it stands, and returns it with its key, valid until the next push. Only an
// entry that was pushed to q and not dropped since has a place.
func (q *queue) cut(pool *chunkPool, p place) (entry, []byte) {
	c := pool.byID[p.chunk]
	e := c.entries[p.at]
	c.entries[p.at].lease = Lease{}
	c.live--
	q.n--
	key := c.key(&e)
	if c.live == 0 && c != q.tail { // what was moved must not keep memory, however long the oldest entry waits
		q.unlink(pool, c)
	}
	q.tidy(pool)
	return e, key
}

// unlink takes a chunk without entries out of the list and gives it back.
func (q *queue) unlink(pool *chunkPool, c *chunk) {
	if c.prev == nil {
		q.head = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		q.tail = c.prev
	} else {
		c.next.prev = c.prev
	}
	pool.put(c)
}

// moveTo appends everything in q to dst and leaves q empty.
func (q *queue) moveTo(dst *queue) {
	if q.head == nil {
		return
	}
	if dst.tail == nil {
		dst.head = q.head
	} else {
		dst.tail.next, q.head.prev = q.head, dst.tail
	}
	dst.tail = q.tail
	dst.n += q.n
	*q = queue{}
}

// chunkPool numbers all chunks in use and keeps a few empty ones.
type chunkPool struct {
	free *chunk
	n    int
	byID []*chunk
	ids  []uint32 // not in use
}

// poolChunks is how many empty chunks are kept: 8,192 keys, about 1 MiB.
const poolChunks = 64

func (p *chunkPool) get() *chunk {
	c := p.free
	if c == nil {
		c = &chunk{keys: make([]byte, 0, chunkLen*64)}
	} else {
		p.free = c.next
		p.n--
		c.next = nil
	}
	if n := len(p.ids); n > 0 {
		c.id = p.ids[n-1]
		p.ids = p.ids[:n-1]
		p.byID[c.id] = c
	} else {
		c.id = uint32(len(p.byID))
		p.byID = append(p.byID, c)
	}
	return c
}

func (p *chunkPool) put(c *chunk) {
	p.byID[c.id] = nil
	p.ids = append(p.ids, c.id)
	if p.n >= poolChunks {
		return
	}
	c.first, c.last, c.live, c.prev, c.keys = 0, 0, 0, nil, c.keys[:0]
	c.next = p.free
	p.free = c
	p.n++
}
