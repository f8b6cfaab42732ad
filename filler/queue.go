package filler

// chunkLen is the number of entries in a chunk: large enough that a chunk's head is nothing beside its keys.
const chunkLen = 128

// entry is a queued lease. Its key lies in the buffer beside it.
type entry struct {
	lease   Lease
	off     uint32 // of the key in the buffer
	n       uint8  // length of the key
	lane    Lane
	tries   uint8 // loads that failed so far
	checked bool  // its parts passed the check against known types
}

// chunk is a run of entries with their keys, both without pointers.
type chunk struct {
	next        *chunk
	first, last int // entries[first:last] are queued
	entries     [chunkLen]entry
	keys        []byte
}

// queue is a first-in first-out list of leases. Its zero value is empty. It belongs to the dispatcher, without locks.
type queue struct {
	head, tail *chunk
	n          int
}

// push appends a lease with a copy of its key. Chunks come from and go back to pool.
func (q *queue) push(pool *chunkPool, e entry, key []byte) {
	c := q.tail
	if c == nil || c.last == chunkLen {
		c = pool.get()
		if q.tail == nil {
			q.head = c
		} else {
			q.tail.next = c
		}
		q.tail = c
	}
	e.off, e.n = uint32(len(c.keys)), uint8(len(key))
	c.keys = append(c.keys, key...)
	c.entries[c.last] = e
	c.last++
	q.n++
}

// front returns the oldest entry and its key, valid until drop. The queue must not be empty.
func (q *queue) front() (*entry, []byte) {
	e := &q.head.entries[q.head.first]
	return e, q.head.keys[e.off : e.off+uint32(e.n)]
}

// drop takes the oldest entry away.
func (q *queue) drop(pool *chunkPool) {
	c := q.head
	c.first++
	q.n--
	if c.first == c.last {
		if q.head = c.next; q.head == nil {
			q.tail = nil
		}
		pool.put(c)
	}
}

// moveTo appends everything in q to dst and leaves q empty.
func (q *queue) moveTo(dst *queue) {
	if q.head == nil {
		return
	}
	if dst.tail == nil {
		dst.head = q.head
	} else {
		dst.tail.next = q.head
	}
	dst.tail = q.tail
	dst.n += q.n
	*q = queue{}
}

// chunkPool keeps a few empty chunks for reuse.
type chunkPool struct {
	free *chunk
	n    int
}

// poolChunks is how many empty chunks are kept: 8,192 keys, about 1 MiB.
const poolChunks = 64

func (p *chunkPool) get() *chunk {
	c := p.free
	if c == nil {
		return &chunk{keys: make([]byte, 0, chunkLen*64)}
	}
	p.free = c.next
	p.n--
	c.next = nil
	return c
}

func (p *chunkPool) put(c *chunk) {
	if p.n >= poolChunks {
		return
	}
	c.first, c.last, c.keys = 0, 0, c.keys[:0]
	c.next = p.free
	p.free = c
	p.n++
}
